"""Tests for `../diccoser_jax/log.py`."""

import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from diccoser_jax.log import Log


def _open(workdir, step=0):
    return Log(workdir, step=step, total_steps=8, steps_per_line=2, score_name="UA")


def _lines(workdir):
    return [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text().split("\n")[:-1]
    ]


def _events(workdir):
    """(tag, step, value) of all TensorBoard files, after purging."""
    found = {}
    for path in sorted(workdir.glob("events.*")):
        content, position = path.read_bytes(), 0
        while position < len(content):
            (size,) = struct.unpack_from("<Q", content, position)
            event = event_pb2.Event.FromString(
                content[position + 12 : position + 12 + size]
            )
            position += 16 + size
            if event.session_log.status == event_pb2.SessionLog.START:
                found = {k: v for k, v in found.items() if k[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = value.simple_value
    return found


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
