"""Tests for `../data_prep/recola/recola_dataset_builder.py`."""

import shutil

import layouts
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import build, corpus
from data_prep.recola import recola_dataset_builder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recola"


def checked(folder, config, **options):
    """Checks, and returns the metadata and the recordings."""
    builder = recola_dataset_builder.Builder(
        config=config, manual_dir=folder, data_dir=folder.parent / "shards", **options
    )
    builder.check()
    units = builder._units.values()
    return builder.info.metadata, {r.id: r for group in units for r in group}


def prepared(folder, config, **options):
    shards = build.build(
        f"recola/{config}", folder, folder.parent / "shards", progress=False, **options
    )
    return tfds.builder_from_directory(shards)


def arff(folder, stem="train_1", dimension="arousal"):
    return folder / f"ratings_gold_standard/{dimension}/{stem}.arff"


def raters(folder, stem="P16", dimension="arousal"):
    return folder / f"RECOLA-Annotation/emotional_behaviour/{dimension}/{stem}.csv"


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize("sample_rate_hz", [16_000, 44_100])
def test_each_label_lies_on_the_sound_that_it_describes(folder, sample_rate_hz):
    tracks = layouts.recola_avec(folder, sample_rate_hz=sample_rate_hz)
    reader = prepared(folder, "avec", window_seconds=1.0, shift_seconds=0.4)
    for stem, track in tracks.items():
        for split in (stem, f"{stem}_eval"):
            records = list(reader.as_data_source(split))
            heard = np.concatenate([layouts.heard(r["audio"]) for r in records])
            arousal = np.concatenate([r["labels"][:, 0] for r in records])
            # Levels are 0.4 apart; resampling smears a loud frame into a quiet one.
            np.testing.assert_allclose(heard, arousal, atol=0.15)
            for slip in (1, -1):
                error = np.abs(heard - np.roll(arousal, slip))
                assert np.mean(error > 0.2) > 0.5
        labels = np.concatenate([r["labels"] for r in records])
        np.testing.assert_array_equal(labels, track.astype(np.float32))


def test_counts_of_avec(folder):
    layouts.recola_avec(folder, frames=30)
    metadata, recordings = checked(folder, "avec")
    assert sorted(recordings) == sorted(layouts.AVEC_STEMS)
    assert metadata["counts"]["speaker"] == dict.fromkeys(layouts.AVEC_STEMS, 1)
    assert metadata["units"]["dev_3"] == {"speakers": ["dev_3"], "sex": "unknown"}
    assert metadata["dimension_names"] == ["arousal", "valence"]
    assert metadata["warnings"] == []
    assert not metadata["partial"]
    assert metadata["hours"] == pytest.approx(18 * 30 / 25 / 3600, rel=0.01)


def test_five_minutes_are_7501_rows_and_71_windows(folder):
    layouts.recola_avec(folder, ["train_1"], frames=7500, sample_rate_hz=16_000)
    assert sum(",300.00," in line for line in arff(folder).open()) == 1
    metadata, recordings = checked(folder, "avec", allow_partial=True)
    assert recordings["train_1"].label.shape == (7500, 2)
    assert recordings["train_1"].label.dtype == np.float32
    assert metadata["counts"]["split"] == {"train_1": 71, "train_1_eval": 15}


def test_a_missing_partition_is_an_error_that_lists_it(folder):
    layouts.recola_avec(folder, layouts.AVEC_STEMS[:9], frames=10)
    message = (
        r"9 of 18 documented recordings; by speaker: dev_1 0 of 1 \(1 missing\), .*"
        r"dev_9 .*allow_partial"
    )
    with pytest.raises(corpus.CorpusError, match=message):
        checked(folder, "avec")
    metadata, _ = checked(folder, "avec", allow_partial=True)
    assert metadata["partial"]
    assert "dev_9 0 of 1 (1 missing)" in metadata["warnings"][0]


def test_recordings_of_the_test_partition_are_left_out_unless_labelled(folder):
    layouts.recola_avec(folder, [*layouts.AVEC_STEMS, "test_1", "test_2"], frames=10)
    for dimension in ("arousal", "valence"):
        arff(folder, "test_1", dimension).unlink()
    with pytest.raises(corpus.CorpusError, match=r"test_2 1 of 0 \(1 too many\)"):
        checked(folder, "avec")
    for dimension in ("arousal", "valence"):
        arff(folder, "test_2", dimension).unlink()
    metadata, recordings = checked(folder, "avec")
    assert len(recordings) == 18
    assert metadata["warnings"] == [
        "2 recordings without labels left out: test_1, test_2."
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: arff(f).unlink(),
            "train_1.wav: has no ratings of arousal; expected ratings_gold_standard",
        ),
        (
            lambda f: (f / "recordings_audio/dev_2.wav").unlink(),
            "arousal/dev_2.arff: there is no audio file dev_2.wav",
        ),
        (
            lambda f: shutil.rmtree(f / "ratings_gold_standard/valence"),
            "dev_1.wav: has no ratings of valence",
        ),
        (
            lambda f: shutil.rmtree(f / "recordings_audio"),
            "arousal/dev_1.arff: there is no audio file dev_1.wav",
        ),
        (
            lambda f: layouts.write_arff(arff(f), np.zeros(29)),
            "train_1.wav: 29 ratings of arousal and 30 of valence",
        ),
        (
            lambda f: edit(arff(f), "GoldStandard", "Gold"),
            "attributes are instance_name, frametime, gold; expected frameTime and Gol",
        ),
        (
            lambda f: edit(arff(f), "'train_1.wav',0.40,", "'train_1.wav',0.44,"),
            "train_1.arff: a rating at 0.44 s; expected the one at 0.4 s",
        ),
        (
            lambda f: edit(arff(f), "0.40,", "0.40,x"),
            r"line 20 is \"'train_1.wav',0.40,x.*expected 3 columns",
        ),
        (lambda f: edit(arff(f), "0.40,", "0.40,nan,"), "line 20 .*4 columns"),
        (lambda f: edit(arff(f), "0.40,", "0.40,nan\n"), "line 20 .*not finite"),
        (lambda f: layouts.write_arff(arff(f), np.full(30, -30)), "rating of -30"),
        (
            lambda f: arff(f).write_text("version https://git-lfs.github.com/spec/v1"),
            "train_1.arff: a Git LFS pointer",
        ),
        (lambda f: arff(f).write_bytes(b""), "train_1.arff: empty"),
        (lambda f: arff(f).write_bytes(b"\0" * 99), "train_1.arff: holds zero bytes"),
        (
            lambda f: layouts.write_arff(arff(f), []),
            "train_1.arff: holds no ratings after 0 s",
        ),
        (
            lambda f: (f / "recordings_audio/train_1.wav").write_bytes(b"RIFF"),
            "train_1.wav: cannot be decoded as audio",
        ),
    ],
)
def test_what_is_wrong_is_named(folder, damage, message):
    layouts.recola_avec(folder, frames=30)
    damage(folder)
    with pytest.raises(corpus.CorpusError, match=message):
        checked(folder, "avec")


@pytest.mark.parametrize("rows", [32, 4, 60])
def test_a_track_of_another_length_is_an_error_with_both(folder, rows):
    layouts.recola_avec(folder, ["train_1"], frames=30, sample_rate_hz=16_000)
    for dimension in ("arousal", "valence"):
        layouts.write_arff(arff(folder, dimension=dimension), np.zeros(rows))
    message = rf"{rows} label rows, {rows / 25:.2f} s, for 1.22 s of audio"
    with pytest.raises(corpus.CorpusError, match=message):
        checked(folder, "avec", allow_partial=True)


def test_a_frame_that_is_not_all_there_is_cut(folder):
    tracks = layouts.recola_avec(folder, ["train_1"], frames=31, sample_rate_hz=16_000)
    layouts.write_loud(
        folder / "recordings_audio/train_1.wav",
        tracks["train_1"][:30, 0],
        tail_samples=639,
    )
    _, recordings = checked(folder, "avec", allow_partial=True)
    np.testing.assert_array_equal(
        recordings["train_1"].label, tracks["train_1"][:30].astype(np.float32)
    )


def test_attributes_may_come_in_any_order_and_lines_end_in_any_way(folder):
    tracks = layouts.recola_avec(folder, frames=10)
    layouts.write_arff(arff(folder), tracks["train_1"][:, 0], ending="\r\n")
    rows = [f"{v:.3f}\t, {t / 25}" for t, v in enumerate([0, *tracks["dev_1"][:, 0]])]
    head = "% préparé\n@RELATION x\n@ATTRIBUTE goldstandard REAL\n"
    head += "@attribute\t'frameTime' numeric\n@DATA\n% comment\n\n"
    arff(folder, "dev_1").write_bytes((head + "\n".join(rows)).encode("latin-1"))
    _, recordings = checked(folder, "avec")
    for stem in ("train_1", "dev_1"):
        np.testing.assert_allclose(recordings[stem].label, tracks[stem], atol=1e-6)


def test_the_mean_of_the_raters(folder):
    ratings = layouts.recola_full(folder)
    metadata, recordings = checked(folder, "mean")
    assert metadata["warnings"] == []
    for stem, given in ratings.items():
        np.testing.assert_allclose(
            recordings[stem].label, np.mean(given, axis=0), atol=1e-6
        )


def test_labels_of_the_full_release_lie_on_their_sound(folder):
    layouts.recola_full(folder)
    for config in ("mean", "ewe"):
        for record in prepared(folder, config).as_data_source("P21_eval"):
            np.testing.assert_allclose(
                layouts.heard(record["audio"]), record["labels"][:, 0], atol=0.05
            )


def test_the_evaluator_weighted_estimator(folder):
    # Three raters who agree, one who goes against them, one who never moves.
    base = np.sin(np.arange(50) / 3)
    rng = np.random.default_rng(0)
    x = np.stack([base + rng.normal(0, s, 50) for s in (0.1, 0.5, 1.0)], axis=1)
    x = np.c_[x, -base, np.full(50, 0.3)]
    weights = []
    for k in range(5):
        others = [x[:, j] for j in range(5) if j != k]
        with np.errstate(invalid="ignore"):
            r = np.corrcoef(x[:, k], sum(others) / 4)[0, 1]
        weights.append(r if r > 0 else 0)
    assert min(weights[:3]) > 0
    assert weights[3] == 0
    assert weights[4] < 1e-9
    expected = sum(w * x[:, k] for k, w in enumerate(weights)) / sum(weights)
    np.testing.assert_allclose(
        recola_dataset_builder.evaluator_weighted(x), expected, rtol=1e-9
    )


def test_raters_who_cannot_be_weighed(folder):
    layouts.recola_full(folder, raters=2)
    with pytest.raises(corpus.CorpusError, match=r"P16.csv: 2 raters; expected .* 3"):
        checked(folder, "ewe")
    for dimension in ("arousal", "valence"):
        layouts.write_raters(raters(folder, "P16", dimension), np.full((60, 6), 0.1))
    with pytest.raises(corpus.CorpusError, match=r"P16.csv: no rater agrees"):
        checked(folder, "ewe")


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_centred_ratings(folder, delimiter):
    layouts.recola_full(folder, ["P16"])
    track = layouts.loudness(60, np.random.default_rng(0))
    for column, dimension in enumerate(("arousal", "valence")):
        path = folder / f"Ratings_affective_behaviour_CCC_centred/{dimension}/P16.csv"
        path.parent.mkdir(parents=True)
        rows = [
            f"{row / 25:.2f}{delimiter}{value}"
            for row, value in enumerate([0.9, *track[:, column]])
        ]
        head = ["time;rating"] if delimiter == ";" else []
        path.write_text("\n".join(head + rows))
    _, recordings = checked(folder, "ccc_centred")
    np.testing.assert_allclose(recordings["P16"].label, track, atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("time;", "frame;", "P16.csv: line 1 is 'frame;FM1"),
        ("\n0.04;", "\n0.04,", "P16.csv: line 3 is '0.04,.*expected 7 columns"),
        ("\n0.04;", "\n0.04;;", "P16.csv: line 3"),
        ("\n0.04;", "\n0.04;0,1", "P16.csv: line 3"),
        ("\n0.4;", "\n0.8;", "P16.csv: a rating at 0.8 s; expected the one at 0.4 s"),
    ],
)
def test_damaged_ratings_are_named(folder, before, after, message):
    layouts.recola_full(folder)
    path = raters(folder)
    text = path.read_bytes().decode().replace("\r", "")
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(corpus.CorpusError, match=message):
        checked(folder, "mean")


def test_a_lost_row_is_found(folder):
    layouts.recola_full(folder)
    lines = raters(folder).read_text().split("\n")
    raters(folder).write_text("\n".join(lines[:20] + lines[21:]))
    with pytest.raises(
        corpus.CorpusError, match=r"a rating at 0.8 s; expected .* 0.76"
    ):
        checked(folder, "mean")


def test_copies_of_labels_may_agree_but_not_differ(folder):
    layouts.recola_full(folder)
    shutil.copytree(folder / "RECOLA-Annotation", folder / "backup/RECOLA-Annotation")
    _, recordings = checked(folder, "mean")
    assert len(recordings) == 2
    raters(folder).write_text(raters(folder).read_text().replace("0.7", "0.6", 1))
    with pytest.raises(corpus.CorpusError, match=r"backup.*P16.csv: has the name of "):
        checked(folder, "mean")


def test_delay_moves_labels_earlier_and_cuts_the_end(folder):
    tracks = layouts.recola_avec(folder)
    reader = prepared(folder, "avec", delay_seconds=0.4)
    assert reader.info.metadata["options"]["delay_seconds"] == 0.4
    (record,) = reader.as_data_source("dev_9_eval")
    np.testing.assert_array_equal(
        record["labels"], tracks["dev_9"][10:].astype(np.float32)
    )
    # The sound stays where it was.
    np.testing.assert_allclose(
        layouts.heard(record["audio"]), tracks["dev_9"][:50, 0], atol=0.15
    )
    with pytest.raises(corpus.CorpusError, match=r"60 label rows are no more than the"):
        checked(folder, "avec", delay_seconds=2.4)


def test_skipping_explains_what_is_missing(folder):
    layouts.recola_avec(folder, frames=10)
    arff(folder, "dev_2").write_text("")
    metadata, recordings = checked(folder, "avec", on_bad_file="skip")
    assert len(recordings) == 17
    assert [bad["file"] for bad in metadata["skipped"]] == [
        "recordings_audio/dev_2.wav"
    ]
    (folder / "recordings_audio/dev_4.wav").unlink()
    arff(folder, "dev_4").unlink()
    arff(folder, "dev_4", "valence").unlink()
    with pytest.raises(corpus.CorpusError, match="dev_4 0 of 1"):
        checked(folder, "avec", on_bad_file="skip")


def test_a_changed_label_makes_other_shards(folder):
    layouts.recola_avec(folder, frames=10)
    before = prepared(folder, "avec").info.metadata["fingerprint"]
    edit(arff(folder), "0.04,", "0.04,-")  # As many bytes would hide from a size.
    edit(arff(folder), "\n@data", "@data")
    assert prepared(folder, "avec").info.metadata["fingerprint"] != before
