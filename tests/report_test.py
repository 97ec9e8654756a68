"""Tests for `../diccoser_jax/report.py`."""

import collections
import copy
import dataclasses
import html.parser
import http.server
import json
import re
import shutil
import threading

import matplotlib.image
import numpy as np
import pytest

from diccoser_jax import files, metrics, report, statistics
from diccoser_jax.predictions import Predictions, concatenate

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
        "counts": {"class": {"anger": 31}, "speaker": {"03": 20, "08": 11}},
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
    assert min(pixels.shape[:2]) > 200
    ink = np.mean(np.any(pixels < 0.9, axis=-1))
    assert ink > 0.005, f"{path} is {ink:.2%} ink"


def test_classification(tmp_path):
    """A run that left no predictions, as those of the first version."""
    save(tmp_path, CLASSIFICATION)
    path = report.write(tmp_path)
    assert path == tmp_path / "report.md"
    assert {p.name for p in tmp_path.iterdir()} == {
        *("results.json", "metrics.jsonl", "report.md", "report.html"),
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
    assert table(text, "class") == [
        ["class", "recall", "precision", "right", "of"],
        ["anger", "0.800", "0.889", "8", "10"],
        ["boredom", "0.500", "0.333", "1", "2"],
        ["sadness", "–", "–", "0", "0"],  # noqa: RUF001
    ]
    assert table(text, "fold")[1:] == [["0", "0.650", "0.750", "0.712", "2", "3", "93"]]
    assert table(text, "file")[1:] == [[r"a\|b.wav", "not audio"]]
    for expected in (
        "- one label \\| is rare\n",
        "1 warning about the data",
        "Skipped files: 1\n",
        "| train speakers | 2: 03, 08 |",
        "| test examples | 12 |",
        "| hours of speech | 0.40 |",
        "<summary>Recordings by speaker</summary>\n\n| speaker | recordings |",
        "| anger | 31 |",
        "| model.network | diccoser_cs |",
        "| jax | 0.10.2 |",
        "428,868 parameters · seed 3 · 93 s",
        "```sh\npython -m diccoser_jax.main --config=configs/some.py\n```",
        "](confusion.png)",
        "](curves.png)",
    ):
        assert expected in text
    assert "nan" not in text.lower()
    for absent in ("## Speakers", "## Calibration", "## Statistics", "## Cost"):
        assert absent not in text


def test_regression_with_several_folds(tmp_path):
    save(tmp_path, make_regression())
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert "confusion" not in text
    assert "## Tracks" not in text
    assert table(text, "measure")[1:] == [
        ["**CCC, arousal**", "**0.701**", "0.602, mean of the recordings"],
        ["**CCC, valence**", "**0.503**", "–, mean of the recordings"],  # noqa: RUF001
    ]
    assert [row[:3] for row in table(text, "fold")] == [
        ["fold", "CCC, arousal", "CCC, valence"],
        ["0", "0.701", "0.503"],
        ["1", "0.801", "0.503"],
        ["all rows", "0.701", "0.503"],
    ]


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
    text = report.write(tmp_path).read_text("utf-8")
    assert "\nNo warnings.\n\nNo file was skipped.\n" in text


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

    replace = files.os.replace

    def fail_at_the_report(source, target):
        if target.name == "report.md":
            raise OSError("disk full")
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(files.os, "replace", fail_at_the_report)
        with pytest.raises(OSError, match="disk full"):
            report.write(tmp_path)
    assert (tmp_path / "report.md").read_bytes() == before
    assert b"0.123" in report.write(tmp_path).read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


# Runs that left their predictions.

NAMES = CLASSIFICATION["protocol"]["class_names"]


def run_of_speakers(fold, seed):
    """Predictions of two speakers, 30 utterances each, too sure of themselves.

    Unit variance and means 1.5 apart make 1.5 x the logits (Bayes); 4 x is 8/3 of it.
    """
    rng = np.random.default_rng([fold, seed])
    targets = np.tile(np.arange(3, dtype=np.int32), 20)
    logits = rng.normal(0, 1, (60, 3)) + 1.5 * np.eye(3)[targets]
    speakers = np.repeat([f"{2 * fold:02d}", f"{2 * fold + 1:02d}"], 30)
    return Predictions(
        recordings=np.array([f"{fold}/{i:02d}" for i in range(60)]),
        speakers=speakers,
        folds=np.full(60, fold, np.int32),
        seeds=np.full(60, seed, np.int32),
        targets=targets,
        outputs=(4 * logits).astype(np.float32),
    )


def recording(number, frames=300):
    """Predictions of one recording, best of number 3 and worse for valence."""
    seconds = np.arange(frames) / 25
    targets = np.stack([np.sin(seconds + number), np.cos(seconds)], axis=1)
    outputs = targets * [1, 0.5] + 0.05 * abs(number - 3)
    return Predictions(
        recordings=np.array([f"dev_{number}"] * frames),
        speakers=np.array([f"P{number}"] * frames),
        folds=np.full(frames, number % 2, np.int32),
        seeds=np.zeros(frames, np.int32),
        targets=targets.astype(np.float32),
        outputs=outputs.astype(np.float32),
    )


def confusion_of(predictions):
    answers = predictions.outputs.argmax(axis=1)
    return metrics.confusion_matrix(predictions.targets, answers, 3)


def scores_of(predictions):
    confusion = confusion_of(predictions)
    return {
        "ua": metrics.unweighted_accuracy(confusion),
        "wa": metrics.weighted_accuracy(confusion),
        "confusion": confusion.tolist(),
    }


def make_cross_validation(workdir, folds=3, seeds=(3, 4)):
    """A workdir as a repeated cross-validation leaves it."""
    results = copy.deepcopy(CLASSIFICATION)
    results["protocol"]["warnings"] = ["<b>no</b> markup & *no* emphasis"]
    results["folds"], parts = [], []
    for seed in seeds:
        for fold in range(folds):
            part = run_of_speakers(fold, seed)
            parts.append(part)
            results["folds"].append(
                {
                    "fold": fold,
                    "seed": seed,
                    "speakers": {
                        "train": ["x", "y"],
                        "validation": ["z"],
                        "test": sorted(set(part.speakers.tolist())),
                    },
                    **scores_of(part),
                    "temperature": 8 / 3,
                    "validation_score": 0.7,
                    "best_epoch": 2,
                    "epochs": 3,
                    "seconds": 60.0,
                    "cost": {
                        "wall_seconds": 1800.0,
                        "cpu_seconds": 3600.0,
                        "peak_memory_bytes": 3 * 2**29,
                        "device": "cpu",
                    },
                }
            )
            folder = workdir / f"fold{fold}-seed{seed}"
            folder.mkdir()
            save(folder, results)
    whole = concatenate(parts)
    whole.save(workdir / "predictions.npz")
    results["all"] = scores_of(whole)
    results["statistics"] = statistics.summarise(whole, "classification", NAMES)
    (workdir / "results.json").write_text(json.dumps(results))
    return results, whole


@pytest.fixture(scope="module")
def cross_validation(tmp_path_factory):
    """Workdir, results, predictions and the text of the report."""
    workdir = tmp_path_factory.mktemp("cross_validation")
    results, predictions = make_cross_validation(workdir)
    text = report.write(workdir).read_text(encoding="utf-8")
    return workdir, results, predictions, text


def test_cross_validation(cross_validation):
    workdir, results, _, text = cross_validation
    pictures = {p.name for p in workdir.glob("*.png")}
    assert pictures == {
        *("classes.png", "confusion.png", "confusion-folds.png"),
        *("speakers.png", "calibration.png", "curves.png"),
    }
    for name in pictures:
        assert_drawn(workdir / name)
        assert f"]({name})" in text
    ua = results["statistics"]["measures"]["ua"]
    low, high = ua["interval"]
    assert table(text, "measure")[1] == [
        "**UA (mean recall)**",
        f"**{ua['pooled']:.3f}**",
        f"0.333, chance; 95% interval {low:.3f} to {high:.3f} over 6 speakers; "
        f"{ua['mean']:.3f} ± {ua['std']:.3f} over 3 folds",
    ]
    rows = table(text, "fold")
    assert rows[0][3:6] == ["validation score", "temperature", "best epoch"]
    assert [row[0] for row in rows[1:]] == [
        *(f"{fold}, seed {seed}" for seed in (3, 4) for fold in range(3)),
        *("mean ± std", "all rows"),
    ]
    assert rows[5][1] == f"{results['folds'][4]['ua']:.3f}"
    assert rows[7][1:4] == [
        *(
            f"{m['mean']:.3f} ± {m['std']:.3f}"
            for m in results["statistics"]["measures"].values()
        ),
        "",
    ]
    section = text[text.index("## Statistics") :]
    fold, seed = ua["variance"]["fold"], ua["variance"]["seed"]
    assert table(section, "measure")[1][4:] == [
        *(f"{fold**0.5:.3f}", f"{seed**0.5:.3f}", f"{seed / (fold + seed):.0%}"),
    ]
    assert "With fewer than ten speakers such an interval is too narrow" in section
    assert "Each example counts once for each of 2 seeds." in text
    sides = table(text[text.index("Speakers of each fold") :], "fold")
    assert sides[2] == ["1", "02, 03", "z", "x, y"]
    assert len(sides) == 4
    costs = table(text, "run")
    assert costs[1] == ["fold 0, seed 3", "cpu", "30 min", "60 min", "1.50"]
    assert costs[-1] == ["together", "", "3 h 00 min", "6 h 00 min", "1.50"]
    assert "takes 0.300 kWh" in text
    assert r"- \<b>no\</b> markup & \*no\* emphasis" in text


def test_scores_of_each_speaker(cross_validation):
    _, _, predictions, text = cross_validation
    rows = table(text, "speaker")
    assert rows[0][2:] == ["UA", "WA", "examples"]
    assert len(rows) == 7
    for speaker, fold, ua, wa, examples in rows[1:]:
        part = predictions[predictions.speakers == speaker]
        assert int(fold) == part.folds[0]
        assert ua == f"{metrics.unweighted_accuracy(confusion_of(part)):.3f}"
        assert wa == f"{metrics.weighted_accuracy(confusion_of(part)):.3f}"
        assert examples == "30"  # of either seed
    scores = [row[2] for row in rows[1:]]
    assert scores == sorted(scores, reverse=True)


def test_intervals_of_each_class(cross_validation):
    _, results, _, text = cross_validation
    rows = table(text, "class")
    assert rows[0][1:3] == ["recall", "95% interval"]
    recalls = metrics.recalls(np.array(results["all"]["confusion"]))
    for row, recall in zip(rows[1:], recalls):
        assert row[1] == f"{recall:.3f}"
        low, high = map(float, row[2].split(" to "))
        assert low < recall < high


def test_calibration_before_and_after(cross_validation):
    _, _, _, text = cross_validation
    found = re.search(r"as trained ECE ([\d.]+), with temperature ECE ([\d.]+)", text)
    before, after = map(float, found.groups())
    assert before > 0.1
    assert after < before / 2


def test_each_temperature_is_applied_to_its_own_run(tmp_path):
    results, predictions = make_cross_validation(tmp_path)
    for fold in results["folds"]:
        fold["temperature"] = float(1 + 10 * fold["fold"] + fold["seed"])
    (tmp_path / "results.json").write_text(json.dumps(results))
    temperatures = 1 + 10 * predictions.folds + predictions.seeds
    logits = predictions.outputs / temperatures[:, None].astype(np.float32)
    posteriors = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = report.calibration.expected_calibration_error(
        posteriors, predictions.targets
    )
    _, picture = report._calibration(report._read(tmp_path))
    assert f"with temperature ECE {expected:.3f}" in picture.alt
    del results["folds"][0]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"holds a fold that results\.json lacks"):
        next(report._calibration(report._read(tmp_path)))


def test_curves_of_a_cross_validation_are_those_of_its_folders(cross_validation):
    workdir, _, _, _ = cross_validation
    finished = report._read(workdir)
    assert len(finished.logs) == 6
    assert all(records == list(LINES) for records in finished.logs)


def test_a_single_run_has_intervals_of_its_speakers(tmp_path):
    part = run_of_speakers(0, 3)
    results = copy.deepcopy(CLASSIFICATION)
    results["folds"] = [{"fold": 0, "temperature": 4.0, **scores_of(part)}]
    results["all"] = scores_of(part)
    save(tmp_path, results)
    part.save(tmp_path / "predictions.npz")
    text = report.write(tmp_path).read_text("utf-8")
    assert re.search(r"95% interval [\d.]+ to [\d.]+ over 2 speakers \|", text)
    assert "±" not in text
    assert "One seed: what another seed would change is not known." in text
    lonely = dataclasses.replace(part, speakers=np.array(["00"] * 60))
    lonely.save(tmp_path / "predictions.npz")
    blocks = list(report._statistics(report._read(tmp_path)))
    assert blocks[-1].items[0] == (
        "No interval: a single speaker says nothing about others."
    )


def test_repeated_runs_of_one_fold_vary_by_seed():
    parts = [run_of_speakers(0, seed) for seed in range(3)]
    whole = concatenate(parts)
    summary = statistics.summarise(whole, "classification", NAMES)
    results = CLASSIFICATION | {"all": scores_of(whole), "statistics": summary}
    ua = [scores_of(part)["ua"] for part in parts]
    (_, _, compare), _ = report.headline(results)
    spread = f"{np.mean(ua):.3f} ± {np.std(ua, ddof=1):.3f} over 3 seeds"
    assert compare.endswith(f"over 2 speakers; {spread}")


def make_tracks(workdir, recordings):
    results = make_regression()
    recording_of = [recording(i) for i in range(recordings)]
    concatenate(recording_of).save(workdir / "predictions.npz")
    save(workdir, results)
    return results


def test_tracks_of_each_recording(tmp_path):
    make_tracks(tmp_path, 4)
    text = report.write(tmp_path).read_text("utf-8")
    for i in range(4):
        name = f"tracks-{i:02d}.png"
        assert_drawn(tmp_path / name)
        part = recording(i)
        ccc = metrics.CccSums.from_arrays(part.outputs, part.targets).ccc()
        scores = f"arousal {ccc[0]:.3f}, valence {ccc[1]:.3f}"
        assert ccc[1] < 0.9 < ccc[0]
        assert f"![dev_{i} over time: CCC of {scores}]({name})" in text
        assert f"| dev_{i} | 12 | {ccc[0]:.3f} | {ccc[1]:.3f} |" in text
        assert f"dev_{i}, speaker P{i}, fold {i % 2}." in text
    assert table(text, "speaker")[0][2:] == ["CCC, arousal", "CCC, valence", "seconds"]


def test_of_many_recordings_some_are_drawn_and_all_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_MOST_TRACKS", 2)
    make_tracks(tmp_path, 5)
    text = report.write(tmp_path).read_text("utf-8")
    assert "2 of 5 recordings, from the best to the worst by mean CCC" in text
    rows = table(text, "recording")[1:]
    ranked = sorted(rows, key=lambda row: float(row[2]) + float(row[3]))
    shown = re.findall(r"!\[(dev_\d) over time.*\(tracks-\d\d\.png\)", text)
    assert shown == [ranked[-1][0], ranked[0][0]]
    assert len(list(tmp_path.glob("tracks-*.png"))) == 2
    assert len(rows) == 5


def test_predictions_that_do_not_fit_are_named(tmp_path):
    save(tmp_path, CLASSIFICATION)
    path = tmp_path / "predictions.npz"
    part = run_of_speakers(0, 3)
    two_classes = dataclasses.replace(part, outputs=part.outputs[:, :2])
    for wrong in (recording(0), two_classes):
        wrong.save(path)
        with pytest.raises(ValueError, match=r"npz does not fit \['anger'"):
            report.write(tmp_path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"predictions\.npz does not hold"):
        report.write(tmp_path)
    assert not (tmp_path / "report.md").exists()


# The page as HTML.

_EMPTY = {"meta", "link", "img", "br"}


class Reader(html.parser.HTMLParser):
    """Collects elements, and fails on one that is not closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page_path(cross_validation):
    return cross_validation[0] / "report.html"


def test_html_is_whole_and_names_nothing_outside_itself(page_path):
    text = page_path.read_text(encoding="utf-8")
    elements = Reader(text).elements
    tags = collections.Counter(tag for tag, _ in elements)
    assert tags["img"] == 6
    assert tags["script"] == tags["iframe"] == tags["object"] == 0
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids)) == tags["h2"]
    for tag, attributes in elements:
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
            assert len(attributes["alt"]) > 20
        elif "href" in attributes:
            target = attributes["href"]
            assert target == "data:," or target.removeprefix("#") in ids
        else:
            assert "src" not in attributes
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = dict(
        entry.strip().split(" ", 1)
        for entry in next(
            a["content"] for _, a in elements if a.get("http-equiv")
        ).split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
    }
    assert "&lt;b&gt;no&lt;/b&gt; markup &amp; *no* emphasis" in text


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium or Chrome is installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_and_requests_nothing(
    browser, page_path, cross_validation, scheme, tmp_path
):
    _, results, _, _ = cross_validation
    tab = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme=scheme)
    requests, complaints = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(page_path.as_uri())
    tab.wait_for_load_state("networkidle")

    text = tab.inner_text("body")
    for expected in (
        "diccoser_cs on some_corpus",
        f"{results['all']['ua']:.3f}",
        "0.333, chance",
        "<b>no</b> markup & *no* emphasis",
        "0, seed 3",
        *("Classes", "Confusion", "Speakers", "Calibration", "Training"),
        *("Statistics", "Protocol", "Counts and warnings", "Cost", "To repeat"),
    ):
        assert expected in text
    widths = tab.evaluate("Array.from(document.images, i => i.naturalWidth)")
    assert len(widths) == 6
    assert min(widths) > 300
    # What is folded away is there once it is asked for.
    assert "model.frontend" not in text
    tab.click("text=Configuration")
    assert "model.frontend" in tab.inner_text("body")
    tab.click("nav >> text=Cost")
    assert tab.evaluate("window.scrollY") > 500

    picture = tab.screenshot(path=tmp_path / "page.png", full_page=True)
    assert len(picture) > 100_000
    margin = matplotlib.image.imread(tmp_path / "page.png")[:, :10, :3]
    assert margin.mean() > 0.95 if scheme == "light" else margin.mean() < 0.2
    for width in (1100, 400):  # No sidewards scrolling, on a telephone neither.
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert requests == [page_path.as_uri()]
    assert complaints == []
    tab.close()


def test_the_policy_forbids_what_somebody_puts_into_the_page(
    browser, page_path, tmp_path
):
    hits = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        tagged = page_path.read_text("utf-8").replace(
            "</body>",
            f'<img src="{address}/image"><script src="{address}/script"></script>'
            f'<link rel="stylesheet" href="{address}/style"></body>',
        )
        without = re.sub(r"<meta http-equiv=[^>]*>", "", tagged)
        assert len(without) < len(tagged)
        found = []
        for text in (tagged, without):
            path = tmp_path / "page.html"
            path.write_text(text, encoding="utf-8")
            tab = browser.new_page()
            tab.goto(path.as_uri())
            tab.wait_for_load_state("networkidle")
            tab.close()
            found.append(sorted(hits))
            hits.clear()
        server.shutdown()
        thread.join()
    assert found == [[], ["/image", "/script", "/style"]]
