"""Tests for diccoser_jax/report.py."""

import copy
import json
import re

import matplotlib.image
import numpy as np
import pytest

from diccoser_jax import report

CLASSIFICATION = {
    "status": "finished",
    "command": "python -m diccoser_jax.main --config=configs/some.py",
    "protocol": {
        "corpus": "some_corpus",
        "task": "classification",
        "class_names": ["anger", "boredom", "sadness"],
        "folds": "5 speaker-disjoint folds, seed 0",
        "fold": 0,
        "speakers": {"train": ["03", "08"], "validation": ["09"], "test": ["10"]},
        "examples": {"train": 40, "validation": 20, "test": 12},
        "warnings": ["one label | is rare"],
        "skipped": [{"file": "a|b.wav", "reason": "not\naudio"}],
        "counts": {"anger": 31},
        "hours": 0.4,
    },
    "config": {"model": {"network": "diccoser_cs", "frontend": "logmel"}, "seed": 3},
    "versions": {"jax": "0.10.2"},
    "seed": 3,
    "folds": [
        {
            "fold": 0,
            "wa": 9 / 12,
            "ua": 0.65,
            "recalls": {"anger": 0.8, "boredom": 0.5, "sadness": None},
            "confusion": [[8, 2, 0], [1, 1, 0], [0, 0, 0]],
            "validation_score": 0.712,
            "best_epoch": 2,
            "epochs": 3,
            "seconds": 93.1,
        }
    ],
    "all": {
        "wa": 9 / 12,
        "ua": 0.65,
        "confusion": [[8, 2, 0], [1, 1, 0], [0, 0, 0]],
    },
    "parameters": 428868,
    "seconds": 93.1,
}


def make_regression():
    results = copy.deepcopy(CLASSIFICATION)
    protocol = results["protocol"]
    protocol["task"] = "regression"
    protocol["dimension_names"] = ["arousal", "valence"]
    del protocol["class_names"]
    results["folds"] = [
        {
            "fold": fold,
            "ccc": {
                "arousal": {"pooled": 0.701 + fold / 10, "per_recording_mean": 0.602},
                "valence": {"pooled": 0.503, "per_recording_mean": None},
            },
            "best_epoch": 2,
            "epochs": 3,
            "seconds": 10.0,
        }
        for fold in (0, 1)
    ]
    results["all"] = {"ccc": results["folds"][0]["ccc"]}
    rng = np.random.default_rng(0)
    results["tracks"] = [
        {
            "recording": "dev_1",
            "labels": rng.normal(size=(50, 2)).tolist(),
            "predictions": rng.normal(size=(50, 2)).tolist(),
        }
    ]
    return results


def metrics_lines(epochs=3):
    for epoch in range(1, epochs + 1):
        for step in (20 * epoch - 10, 20 * epoch):
            yield {"step": step, "epoch": epoch, "train_loss": 2 / step}
        yield {
            "step": 20 * epoch,
            "epoch": epoch,
            "validation_loss": 3 / epoch,
            "validation_score": 0.2 * epoch,
        }


LINES = tuple(metrics_lines())


def save(workdir, results, lines=LINES):
    (workdir / "results.json").write_text(json.dumps(results))
    (workdir / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )


def table(text, first):
    """Rows of the Markdown table whose header begins with `first`, as lists."""
    block = re.search(rf"^\| {re.escape(first)} \|(?:.|\n)*?\n\n", text, re.MULTILINE)
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block[0].split("\n")[:-2]]
    return [[cell.strip() for cell in row] for row in rows if "---" not in row[0]]


def assert_drawn(path):
    pixels = matplotlib.image.imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 300
    ink = np.mean(np.any(pixels < 0.9, axis=-1))
    assert ink > 0.005, f"{path} is {ink:.2%} ink"


def test_classification(tmp_path):
    save(tmp_path, CLASSIFICATION)
    path = report.write(tmp_path)
    assert path == tmp_path / "report.md"
    assert {p.name for p in tmp_path.iterdir()} == {
        *("results.json", "metrics.jsonl", "report.md"),
        *("curves.png", "confusion.png"),
    }
    for name in ("curves.png", "confusion.png"):
        assert_drawn(tmp_path / name)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# diccoser_cs on some_corpus\n")
    assert table(text, "measure")[1:] == [
        ["**UA (mean recall)**", "**0.650**", "0.333, chance"],
        ["**WA (accuracy)**", "**0.750**", "0.833, largest class only"],
    ]
    assert table(text, "class")[1:] == [
        ["anger", "0.800", "8", "10"],
        ["boredom", "0.500", "1", "2"],
        ["sadness", "–", "0", "0"],  # noqa: RUF001
    ]
    assert table(text, "fold")[1:] == [["0", "0.650", "0.750", "0.712", "2", "3", "93"]]
    assert table(text, "file")[1:] == [[r"a\|b.wav", "not audio"]]
    for expected in (
        "- one label \\| is rare\n",
        "Skipped files: 1\n",
        "| train speakers | 2: 03, 08 |",
        "| test examples | 12 |",
        "| hours of speech | 0.40 |",
        "| count of anger | 31 |",
        "| model.network | diccoser_cs |",
        "| jax | 0.10.2 |",
        "428,868 parameters · seed 3 · 93 s",
        "```sh\npython -m diccoser_jax.main --config=configs/some.py\n```",
        "](confusion.png)",
        "](curves.png)",
    ):
        assert expected in text
    assert "nan" not in text.lower()


def test_regression_with_several_folds_and_tracks(tmp_path):
    save(tmp_path, make_regression())
    text = report.write(tmp_path).read_text(encoding="utf-8")
    for name in ("curves.png", "tracks.png"):
        assert_drawn(tmp_path / name)
        assert f"]({name})" in text
    assert "confusion" not in text
    assert table(text, "measure")[1:] == [
        ["**CCC, arousal**", "**0.701**", "0.602, mean of the recordings"],
        ["**CCC, valence**", "**0.503**", "–, mean of the recordings"],  # noqa: RUF001
    ]
    assert [row[:3] for row in table(text, "fold")] == [
        ["fold", "CCC, arousal", "CCC, valence"],
        ["0", "0.701", "0.503"],
        ["1", "0.801", "0.503"],
        ["all", "0.701", "0.503"],
    ]


def test_regression_without_tracks(tmp_path):
    results = make_regression()
    del results["tracks"]
    save(tmp_path, results)
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert not (tmp_path / "tracks.png").exists()
    assert "tracks.png" not in text


def lines_of(axes):
    return {line.get_label(): np.array(line.get_data()).T for line in axes.get_lines()}


def test_curves_show_what_was_logged():
    repeated = [{"step": 20, "epoch": 1, "train_loss": 9.0}]  # By a resumed run.
    records = [*repeated, *LINES]
    loss, score = report._draw_curves(CLASSIFICATION, records).axes
    steps = np.arange(10, 61, 10)
    np.testing.assert_array_equal(lines_of(loss)["train"], np.c_[steps, 2 / steps])
    np.testing.assert_allclose(
        lines_of(loss)["validation"], [[20, 3], [40, 1.5], [60, 1]]
    )
    np.testing.assert_allclose(
        lines_of(score)["validation"], [[20, 0.2], [40, 0.4], [60, 0.6]]
    )
    # Epoch 2 is the best by the results, though a later one scores higher.
    for axes in (loss, score):
        assert lines_of(axes)["best epoch (2)"][0, 0] == 40
    np.testing.assert_allclose(lines_of(score)["chance"][:, 1], 1 / 3)
    entries = [text.get_text() for text in score.get_legend().get_texts()]
    assert entries == ["validation", "chance", "best epoch (2)"]


@pytest.mark.parametrize("classes", [2, 10])
def test_confusion_shows_counts_and_shares(classes):
    confusion = np.arange(classes**2).reshape(classes, classes)
    results = copy.deepcopy(CLASSIFICATION)
    results["protocol"]["class_names"] = [f"class {i}" for i in range(classes)]
    results["all"]["confusion"] = confusion.tolist()
    figure = report._draw_confusion(results)
    shown = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert len(shown) == classes**2 - 1  # A zero stays blank.
    share = confusion[1, 0] / confusion[1].sum()
    assert shown[0, 1] == f"{confusion[1, 0]}\n{share:.0%}"
    assert figure.axes[0].get_yticklabels()[1].get_text() == (
        f"class 1 ({confusion[1].sum()})"
    )


def test_a_cut_last_line_is_left_out_and_no_other(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "epoch": 1, "train_loss": 2.0}\n{"step": 2, "ep')
    assert report.read_metrics(path) == [{"step": 1, "epoch": 1, "train_loss": 2.0}]
    path.write_text('{"step": 1, "ep\n{"step": 2, "epoch": 1}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:1 is not valid JSON"):
        report.read_metrics(path)
    path.write_text('{"step": 1, "epoch": 1}\n{"epoch": 1}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2 lacks \['step'\]"):
        report.read_metrics(path)


@pytest.mark.parametrize("lines", [(), [{"step": 1, "epoch": 1, "train_loss": 2.0}]])
def test_little_or_nothing_logged(tmp_path, lines):
    save(tmp_path, CLASSIFICATION, lines)
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert ("](curves.png)" in text) == bool(lines)
    (tmp_path / "metrics.jsonl").unlink()
    assert "No curves" in report.write(tmp_path).read_text(encoding="utf-8")


def test_not_finite_numbers_are_dashes(tmp_path):
    results = copy.deepcopy(CLASSIFICATION)
    results["folds"][0] |= {"validation_score": float("nan"), "best_epoch": None}
    save(tmp_path, results, [{"step": 1, "epoch": 1, "train_loss": float("nan")}])
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert table(text, "fold")[1][3:5] == ["–", "–"]  # noqa: RUF001
    assert "nan" not in text.lower()


def test_nothing_to_warn_of(tmp_path):
    results = copy.deepcopy(CLASSIFICATION)
    results["protocol"] |= {"warnings": [], "skipped": []}
    save(tmp_path, results)
    assert "## Warnings\n\nNone.\n" in report.write(tmp_path).read_text("utf-8")


def test_missing_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json does not exist"):
        report.write(tmp_path)


def without(*keys):
    results = copy.deepcopy(CLASSIFICATION)
    inner = results
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return json.dumps(results)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON"),
        ('{"status": ', "is not valid JSON"),
        ("[]", r"expected an object, got \[\]"),
        (without("all"), r"lacks \['all'\]"),
        (without("protocol", "class_names"), r"lacks \['class_names'\]"),
        (without("folds", 0, "confusion"), r"lacks \['confusion'\]"),
        (
            json.dumps(CLASSIFICATION).replace('"boredom", ', ""),
            r"confusion must be \(2, 2\).*got \(3, 3\)",
        ),
        (
            json.dumps(CLASSIFICATION).replace('"classification"', '"ranking"'),
            "must be classification or regression, got 'ranking'",
        ),
    ],
)
def test_damaged_results_are_named(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        report.write(tmp_path)
    assert str(path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_report_is_replaced_whole(tmp_path, monkeypatch):
    save(tmp_path, CLASSIFICATION)
    before = report.write(tmp_path).read_bytes()
    results = copy.deepcopy(CLASSIFICATION)
    results["all"]["ua"] = 0.123
    save(tmp_path, results)

    replace = report.os.replace

    def fail_at_the_report(source, target):
        if target.name == "report.md":
            raise OSError("disk full")
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(report.os, "replace", fail_at_the_report)
        with pytest.raises(OSError, match="disk full"):
            report.write(tmp_path)
    assert (tmp_path / "report.md").read_bytes() == before
    assert b"0.123" in report.write(tmp_path).read_bytes()
    assert not list(tmp_path.glob("*.tmp"))
