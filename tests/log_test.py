"""Tests for `../diccoser_jax/log.py`."""

import json

import pytest

from diccoser_jax.log import Log, read_events


def _open(workdir, step=0, losses=()):
    return Log(
        workdir,
        step=step,
        losses=losses,
        total_steps=8,
        steps_per_line=2,
        score_name="UA",
    )


def _lines(workdir):
    return [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text().split("\n")[:-1]
    ]


def _events(workdir):
    """Value of each tag and step of the one file of TensorBoard events."""
    (path,) = workdir.glob("events.*")
    found = [
        (value.tag, event.step, value.simple_value)
        for event in read_events(path)
        for value in event.summary.value
    ]
    assert len({key[:2] for key in found}) == len(found)
    return {key[:2]: key[2] for key in found}


def test_lines_hold_means_and_validations(tmp_path, capsys):
    with _open(tmp_path) as log:
        for loss in (3.0, 1.0, 5.0):
            log.train(1, loss)
        log.validation(1, loss=2.5, score=0.25, best=0.5)
        for loss in (7.0, 9.0):
            log.train(2, loss)
        assert log.step == 5
    assert _lines(tmp_path) == [
        {"step": 2, "epoch": 1, "train_loss": 2.0},
        {"step": 3, "epoch": 1, "validation_loss": 2.5, "validation_score": 0.25},
        {"step": 5, "epoch": 2, "train_loss": 8.0},
    ]
    assert _events(tmp_path) == {
        ("train/loss", 2): 2.0,
        ("validation/loss", 3): 2.5,
        ("validation/score", 3): 0.25,
        ("train/loss", 5): 8.0,
    }
    shown = capsys.readouterr().err
    assert "loss=8.000, UA=0.250, best=0.500" in shown.replace("\r", "\n")


def test_an_interrupted_run_shows_every_step_once(tmp_path):
    with _open(tmp_path) as log:
        for loss in (1.0, 1.0, 2.0, 2.0):
            log.train(1, loss)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "tra')
    (path,) = tmp_path.glob("events.*")
    with path.open("ab") as file:
        file.write(path.read_bytes()[:-5])  # the last event is cut
    (times,) = ([e.wall_time for e in read_events(path)],)
    with _open(tmp_path, step=2) as log:
        for loss in (3.0, 3.0):
            log.train(1, loss)
    assert [(line["step"], line["train_loss"]) for line in _lines(tmp_path)] == [
        (2, 1.0),
        (4, 3.0),
    ]
    assert _events(tmp_path) == {
        ("train/loss", 2): pytest.approx(1.0),
        ("train/loss", 4): pytest.approx(3.0),
    }
    (path,) = tmp_path.glob("events.*")
    assert [e.wall_time for e in read_events(path) if e.step == 2] == [times[2]]


def test_a_line_that_was_begun_is_finished(tmp_path):
    with _open(tmp_path) as log:
        for loss in (1.0, 1.0, 2.0):
            log.train(1, loss)
        assert log.losses == [2.0]
    with _open(tmp_path, step=3, losses=[2.0]) as log:
        log.train(1, 4.0)
    assert [(line["step"], line["train_loss"]) for line in _lines(tmp_path)] == [
        (2, 1.0),
        (4, 3.0),
    ]


def test_tensorboard_reads_the_events(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    with _open(tmp_path) as log:
        for loss in (1.0, 1.0, 2.0, 2.0):
            log.train(1, loss)
    with _open(tmp_path, step=2) as log:
        for loss in (3.0, 3.0):
            log.train(1, loss)
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(2, 1.0), (4, 3.0)]


def test_a_full_disk_is_an_error_that_names_the_file(small_disk):
    def train_until_full():
        for _ in range(10_000):
            log.train(1, 1.0)

    with _open(small_disk) as log:
        with pytest.raises(OSError, match="No space left"):
            _fill(small_disk)
        with pytest.raises(OSError, match=r"No space left .*(metrics|events)"):
            train_until_full()
    (small_disk / "rest").unlink()
    step = max([line["step"] for line in _lines(small_disk)], default=0)
    with _open(small_disk, step=step) as log:
        log.train(1, 1.0)
        log.train(1, 1.0)
    assert _lines(small_disk)[-1]["step"] == step + 2
    assert ("train/loss", step + 2) in _events(small_disk)


def _fill(folder):
    with (folder / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
