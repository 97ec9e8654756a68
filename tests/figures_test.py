"""Tests for `../diccoser_jax/figures.py`: pictures show what they were given."""

import numpy as np
import pytest

from diccoser_jax import calibration, figures

LINES = [
    *(
        {"step": s, "epoch": -(-s // 20), "train_loss": 2 / s}
        for s in range(10, 61, 10)
    ),
    *(
        {
            "step": 20 * epoch,
            "epoch": epoch,
            "validation_loss": 3 / epoch,
            "validation_score": 0.2 * epoch,
        }
        for epoch in (1, 2, 3)
    ),
]


def lines_of(axes):
    return {line.get_label(): np.array(line.get_data()).T for line in axes.get_lines()}


def texts_of(axes):
    return {text.get_position(): text.get_text() for text in axes.texts}


def test_curves_show_what_was_logged():
    repeated = [{"step": 20, "epoch": 1, "train_loss": 9.0}]  # By a resumed run.
    figure = figures.curves("classification", [*repeated, *LINES], 2, chance=1 / 3)
    loss, score = figure.axes
    steps = np.arange(10, 61, 10)
    np.testing.assert_array_equal(lines_of(loss)["train"], np.c_[steps, 2 / steps])
    np.testing.assert_allclose(
        lines_of(loss)["validation"], [[20, 3], [40, 1.5], [60, 1]]
    )
    np.testing.assert_allclose(
        lines_of(score)["validation"], [[20, 0.2], [40, 0.4], [60, 0.6]]
    )
    # Epoch 2 is the best by the results, though a later one scores higher.
    np.testing.assert_allclose(lines_of(loss)["best epoch (2)"], [[40, 1.5]])
    np.testing.assert_allclose(lines_of(score)["best epoch (2)"], [[40, 0.4]])
    np.testing.assert_allclose(lines_of(score)["chance"][:, 1], 1 / 3)
    entries = [text.get_text() for text in score.get_legend().get_texts()]
    assert entries == ["validation", "best epoch (2)", "chance"]


def test_curves_of_folds_show_every_run():
    other = [line | {"step": line["step"] + 5} for line in LINES]
    folds = {fold: [(LINES, 2), (other, 3)] for fold in range(6)}
    figure = figures.fold_curves("regression", folds)
    shown = [axes for axes in figure.axes if axes.lines]
    assert len(shown) == 12
    titles = [axes.get_title(loc="left") for axes in shown]
    assert [t for t in titles if t] == [f"fold {fold}" for fold in range(6)]
    for axes in shown[5:10]:  # Scores of the first five: two runs and two stars.
        assert [line.get_xdata()[0] for line in axes.lines] == [20, 40, 25, 65]
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["train", "validation", "best epoch"]


@pytest.mark.parametrize("classes", [2, 10])
def test_confusion_shows_counts_and_shares(classes):
    confusion = np.arange(classes**2).reshape(classes, classes)
    names = [f"class {i}" for i in range(classes)]
    (axes,) = figures.confusion(confusion, names, "some title").axes
    shown = texts_of(axes)
    assert len(shown) == classes**2 - 1  # A zero stays blank.
    share = confusion[1, 0] / confusion[1].sum()
    assert shown[0, 1] == f"{confusion[1, 0]}\n{share:.0%}"
    assert axes.get_yticklabels()[1].get_text() == f"class 1 ({confusion[1].sum()})"
    painted = axes.images[0].get_array()
    np.testing.assert_allclose(painted[1], confusion[1] / confusion[1].sum())


def test_confusion_of_each_fold_in_per_cent():
    confusions = {
        "fold 0": np.array([[3, 1], [0, 0]]),
        "fold 1": np.array([[1, 1], [0, 5]]),
    }
    first, second = figures.fold_confusions(confusions).axes
    assert texts_of(first) == {(0, 0): "75", (1, 0): "25"}
    assert texts_of(second) == {(0, 0): "50", (1, 0): "50", (1, 1): "100"}
    assert second.get_title(loc="left") == "fold 1"


def test_reliability_shows_the_bins():
    posteriors = np.array([[0.9, 0.1], [0.95, 0.05], [0.3, 0.7], [0.6, 0.4]])
    shown = calibration.reliability(posteriors, np.array([0, 1, 1, 1]), bins=5)
    axes = figures.reliability({"before": shown, "after": shown}).axes
    upper = [a for a in axes if a.get_title(loc="left")]
    assert upper[0].get_title(loc="left") == "before: ECE 0.438"
    np.testing.assert_allclose(
        lines_of(upper[1])["network"], [[0.6, 0], [0.7, 1], [0.925, 0.5]]
    )
    heights = [bar.get_height() for bar in axes[2].patches]
    np.testing.assert_allclose(heights, [0, 0, 0.25, 0.25, 0.5])


def test_dots_stand_beside_their_names():
    scores = {"recall": np.array([0.5, np.nan, 0.25])}
    intervals = np.array([[0.4, 0.1, 0.2], [0.6, 0.2, 0.3]])
    (axes,) = figures.dots(
        ["a", "b", "c"], scores, intervals=intervals, lines={"chance": 0.2}
    ).axes
    np.testing.assert_array_equal(
        lines_of(axes)["recall"], [[0.5, 0], [np.nan, 1], [0.25, 2]]
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    low, high = axes.get_ylim()
    assert low > high  # The first name is on top.
    np.testing.assert_allclose(
        np.array(axes.collections[0].get_segments())[:, :, 0], intervals.T
    )
    np.testing.assert_allclose(lines_of(axes)["chance"][:, 0], 0.2)
    (axes,) = figures.dots(["a", "b"], {"CCC": np.array([-0.4, 0.9])}).axes
    assert axes.get_xlim()[0] < -0.4


def test_many_names_become_a_histogram():
    scores = {"UA": np.linspace(0, 1, 200), "WA": np.linspace(0, 1, 200)}
    axes = figures.dots([str(i) for i in range(200)], scores).axes
    assert [sum(bar.get_height() for bar in a.patches) for a in axes] == [200, 200]


def test_tracks_lie_over_seconds():
    targets = np.random.default_rng(0).normal(size=(50, 2))
    outputs = targets + 1
    names = ["arousal", "valence"]
    figure = figures.tracks("dev_1", names, targets, outputs, [0.5, 0.6])
    seconds = np.arange(50) / 25
    for d, axes in enumerate(figure.axes):
        lines = lines_of(axes)
        for name, values in (("gold standard", targets), ("prediction", outputs)):
            np.testing.assert_array_equal(lines[name], np.c_[seconds, values[:, d]])
        assert axes.get_ylabel() == names[d]
        assert axes.get_title(loc="right") == ["CCC 0.500", "CCC 0.600"][d]


def test_bars_stand_in_groups_with_what_a_paper_gives():
    means = {"wa": [0.5, 0.6], "ua": [0.4, 0.7]}
    deviations = {"wa": [0.1, 0.0], "ua": [0.05, 0.02]}
    paper = {"wa": [None, 0.65], "ua": [None, None]}
    (axes,) = figures.bars(["a", "b"], means, deviations, paper, chance=0.25).axes
    heights = {(round(bar.get_x(), 3), bar.get_height()) for bar in axes.patches}
    assert [height for _, height in sorted(heights)] == [0.5, 0.6, 0.4, 0.7]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["WA", "UA"]
    assert sorted(t.get_text() for t in axes.texts) == [
        *("0.400", "0.500", "0.600", "0.700")
    ]
    diamonds = [line for line in axes.get_lines() if line.get_marker() == "D"]
    (place,) = [x for line in diamonds for x in np.array(line.get_data()).T]
    second = sorted(bar.get_x() + bar.get_width() / 2 for bar in axes.patches)[1]
    np.testing.assert_allclose(place, [second, 0.65])
    (chance,) = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    np.testing.assert_allclose(chance.get_ydata(), 0.25)
    assert axes.get_ylim()[1] > 0.72
    (axes,) = figures.bars(["a"], {"ccc_x": [-0.2]}, {"ccc_x": [0.1]}).axes
    assert axes.get_ylim()[0] < -0.3


def test_pairs_share_a_colour():
    labels = ["A, raw", "A, log_mel", "B, raw", "B, log_mel"]
    scores = {"ua": [0.1, 0.2, 0.3, 0.4]}
    (axes,) = figures.bars(labels, scores, {"ua": [0.0] * 4}).axes
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [True, False] * 2
    (axes,) = figures.bars(labels[:2], {"ua": [0.1, 0.2]}, {"ua": [0.0] * 2}).axes
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()


def test_convergence_is_the_mean_as_long_as_all_train():
    runs = [
        {"train_loss": [3.0, 2.0, 1.0], "validation_score": [0.1, 0.2, 0.3]},
        {"train_loss": [1.0, 1.0], "validation_score": [0.3, 0.4]},
    ]
    loss, score = figures.convergence({"a": runs, "b": [{}]}).axes
    np.testing.assert_allclose(lines_of(loss)["a"], [[1, 2], [2, 1.5]])
    np.testing.assert_allclose(lines_of(score)["a"], [[1, 0.2], [2, 0.3]])
    assert "b" not in lines_of(loss)


def test_points_have_the_colour_of_their_class_or_value():
    points = np.arange(8.0).reshape(4, 2)
    classes = np.array([0, 1, 1, 0])
    (axes,) = figures.scatters({"p": (points, classes)}, ["x", "y"], columns=1).axes
    found = {c.get_label(): c.get_offsets() for c in axes.collections}
    np.testing.assert_array_equal(found["x"], points[[0, 3]])
    np.testing.assert_array_equal(found["y"], points[[1, 2]])
    values = np.linspace(-1, 1, 4)
    axes, bar = figures.scatters({"p": (points, values)}, ["z"], columns=1).axes
    np.testing.assert_array_equal(axes.collections[0].get_array(), values)
    assert bar.get_ylabel() == "z"


def test_names_are_not_formulas():
    confusion = np.eye(2, dtype=int)
    content = figures.png(figures.confusion(confusion, ["$a_", "b$\\frac"], "$^$_{"))
    assert content.startswith(b"\x89PNG")
