"""Tests for `../benchmarks`: the drivers; what contestants compute is in peers_test."""

import argparse
import json
import os
import pathlib
import sys
import textwrap
import time

import numpy as np
import pytest

from benchmarks import (
    contest,
    input_pipeline,
    measure,
    ours,
    scaling,
    streaming,
    streams,
    workloads,
)

FAKE = """
    import os, sys, threading, time

    print("chatter while it is imported")


    class Fake:
        parameters = 7

        def __init__(self, workload):
            self.workload, self.steps = workload, 0
            # A pool that never rests; the file is as long as its work.
            threading.Thread(target=self.spin, daemon=True).start()

        def spin(self):
            with open(os.environ["SPIN_FILE"], "ab", buffering=0) as file:
                while True:
                    file.write(b".")
                    time.sleep(0.001)

        def train_step(self):
            print("chatter on stdout")
            os.system("echo chatter of a child")
            sys.stdout.flush()
            self.steps += 1
            if os.environ.get("CRASH_AT") == str(self.steps):
                print("no more strength", file=sys.stderr)
                os._exit(3)
            return float(os.environ.get("LOSS", self.workload.samples))

        def infer(self):
            raise RuntimeError("no compiler\\nin line two")


    def build(workload):
        return Fake(workload)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The environment of a contestant called ``fake_contestant``."""
    (tmp_path / "fake_contestant.py").write_text(textwrap.dedent(FAKE))
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{inherited}")
    monkeypatch.setenv("SPIN_FILE", str(tmp_path / "spin"))
    return "fake_contestant"


def state(process):
    """R, S, T (stopped), Z, ..."""
    stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_everybody_is_first_equally_often():
    names = ["a", "b", "c"]
    rounds = [measure.rotated(names, r) for r in range(4)]
    assert rounds == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
    assert measure.rotated([], 3) == []


def test_statistics_of_numbers_worked_by_hand():
    summary = measure.summary([4.0, 1.0, 3.0, 2.0, 10.0])
    assert summary == {
        "all": [4.0, 1.0, 3.0, 2.0, 10.0],
        "median": 3.0,
        "min": 1.0,
        "max": 10.0,
        "quartiles": [2.0, 4.0],
    }
    assert measure.summary([5.0])["quartiles"] == [5.0, 5.0]
    # Rounds at 2, 3 and 1 times the speed: not the ratio 4 / 2 of the medians.
    assert measure.median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2.0
    assert measure.median_ratio([1.0, 6.0, 30.0], [1.0, 2.0, 3.0]) == 3.0
    with pytest.raises(ValueError, match="shorter"):
        measure.median_ratio([1.0, 2.0], [1.0])


def test_exponent_of_a_power_law():
    assert scaling.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert scaling.exponent([1], [3]) is None


def test_exponents_leave_out_what_did_not_fit():
    def point(value, seconds):
        point = {"axis": "length", "network": "DiCCOSER-CS", "value": value}
        point["temp_bytes"] = value**2
        return point | ({"seconds": {"min": seconds}} if seconds else {"reason": "no"})

    points = [point(1, 8), point(2, 8), point(4, 8), point(8, 16), point(16, None)]
    fits = scaling.exponents(points, "DiCCOSER-CS")
    assert fits["time"]["longer"] == pytest.approx(1)
    assert 0 < fits["time"]["all"] < 1
    assert fits["memory"]["all"] == pytest.approx(2)
    assert scaling.exponents(points, "CNN-LSTM")["time"]["all"] is None
    report = scaling.report(points)
    assert "time grows as length^0.30, over the longer windows as length^1.00." in (
        report
    )
    assert "\n| length of the window, s (batch of 1): no |" in report


@pytest.mark.parametrize("axis", scaling.AXES)
def test_every_point_is_a_workload(axis):
    _, networks, values, quick_values = scaling.AXES[axis]
    assert set(quick_values) <= set(values)
    for network in networks:
        for value in values:
            workload = workloads.find(scaling.spec(network, axis, value))
            size = workload.batch_size * workload.samples / 16_000
            assert workload.config
            if axis in ("length", "batch"):
                assert size == value * (3 if axis == "batch" else 1)
            else:
                assert size == 15
                assert value in (workload.features, workload.local_stacks)


def test_a_workload_can_be_changed():
    workload = workloads.find("classification_raw:batch_size=2:dropout_rate=0.25")
    assert (workload.batch_size, workload.dropout_rate) == (2, 0.25)
    assert workload.samples == workloads.WORKLOADS["classification_raw"].samples
    for spec in ("nothing", "small:size=3", "small:samples", "small:samples=many"):
        with pytest.raises(ValueError, match="workload '"):
            workloads.find(spec)


def test_the_pipeline_is_measured_on_batches_of_the_step():
    workload = workloads.find(input_pipeline.WORKLOAD)
    assert workload.batch_size == input_pipeline.BATCH_SIZE
    assert workload.samples == input_pipeline.WINDOW_SECONDS * 16_000


def test_whole_epochs_are_delivered(classification):
    total = len(
        classification.source(list(classification.metadata["units"]), evaluation=False)
    )
    whole = total // 10 * 10
    delivered, seconds = input_pipeline.deliver(classification, whole + 1)
    assert delivered == 2 * whole
    assert seconds > 0


def test_table():
    assert measure.table(("who", "s"), [["a|b", "1.5"], ["c", "10.25"]]) == (
        "| who  |     s |\n| ---- | ----: |\n| a\\|b |   1.5 |\n| c    | 10.25 |"
    )


def test_unknown_names_are_told():
    with pytest.raises(argparse.ArgumentTypeError, match="'theirs' is not one of ours"):
        measure.names_from(["ours"])("ours,theirs")
    with pytest.raises(argparse.ArgumentTypeError, match="workload 'tiny'"):
        measure.workload_names("small,tiny")
    assert measure.workload_names("small,small:batch_size=1")[1] == "small:batch_size=1"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_chatter_does_not_break_the_protocol_and_a_stopped_child_rests(fake, tmp_path):
    spun = tmp_path / "spin"
    with measure.Child(fake, "small", timeout_s=60) as child:
        assert child.call("build")["parameters"] == 7
        first = child.call("train_step", calls=2)
        assert first["loss"] == workloads.SMALL.samples
        assert len(first["seconds"]) == 2
        assert min(first["seconds"]) > 0
        for _ in range(1000):  # a signal is delivered when it is delivered
            if state(child.process) == "T":
                break
            time.sleep(0.01)
        size = spun.stat().st_size
        for _ in range(1000):
            assert spun.stat().st_size == size
            assert state(child.process) == "T"
        assert child.call("train_step")["loss"] == workloads.SMALL.samples
        with pytest.raises(measure.ChildError, match="RuntimeError: no compiler in"):
            child.call("infer")
        # An error is an answer; it lives.
        assert child.call("analyse", program="train_step") == {}
        peak = child.call("peak")
        assert peak["bytes"] > 2**20
    assert child.process.returncode == -9


def test_who_fails_is_a_row_with_a_reason(fake, monkeypatch):
    # Three steps before the rounds and two in each; the second round is the last.
    monkeypatch.setenv("CRASH_AT", "7")
    result = contest.contest(
        "train_step",
        "small",
        [fake, "no_such_library"],
        repetitions=7,
        timeout_s=60,
    )
    rows = result["contestants"]
    assert rows[fake] == {"reason": "exit 3: no more strength"}
    assert "No module named 'no_such_library'" in rows["no_such_library"]["reason"]
    assert result["fastest_peer"] is None
    assert result["matmul_flops_per_second"] > 0
    report = contest.report(result)
    assert f"\n| {fake}: exit 3: no more strength " in report
    assert "times as fast" not in report


def test_a_loss_that_is_not_finite_is_no_result(fake, monkeypatch):
    monkeypatch.setenv("LOSS", "nan")
    with measure.Child(fake, "small") as child:
        child.call("build")
        with pytest.raises(measure.ChildError, match="the loss is nan"):
            child.call("train_step")


def test_who_takes_too_long_is_left(fake):
    with (
        measure.Child(fake, "small", timeout_s=0.001) as child,
        pytest.raises(measure.ChildError, match=r"no answer to build in 0\.001 s"),
    ):
        child.call("build")
    assert child.process.returncode == -9


def test_a_table_says_who_is_faster_and_how_near_the_limit():
    def row(seconds, ratio):
        return {
            "seconds": measure.summary(seconds),
            "ratio_to_ours": ratio,
            "first_call_seconds": 3.0,
            "import_and_build_seconds": 4.0,
        }

    result = {
        "contestants": {
            "ours": row([0.5, 0.5, 0.5], 1.0),
            "plain_flax": row([1.0, 1.0, 2.0], 2.0),
            "pytorch": {"reason": "ModuleNotFoundError"},
        },
        "fastest_peer": "plain_flax",
        "flops": 50e9,
        "matmul_flops_per_second": 200e9,
    }
    header, _, ours, plain, missing, *sentences = contest.report(result).split("\n")
    assert [c.strip() for c in ours.split("|")][1:-1] == [
        *("ours", "0.5", "0.5 to 0.5", "1.00", "50%", "3", "4")
    ]
    assert [c.strip() for c in plain.split("|")][2:6] == [
        *("1", "1 to 1.5", "2.00", "25%")
    ]
    assert "pytorch: ModuleNotFoundError" in missing
    assert "times ours" in header
    assert "Ours is 2.00 times as fast as the fastest peer, plain_flax." in sentences


def test_a_whole_run_on_a_small_workload(tmp_path, capsys):
    output = tmp_path / "deep" / "train_step.json"
    contest.main(
        "train_step",
        "train_step",
        "help",
        [
            *("--workloads=small", "--contestants=ours,plain_flax"),
            *("--settings=plain", "--repetitions=7", f"--output={output}"),
        ],
    )
    content = json.loads(output.read_text())
    assert content["command"].startswith("python -m benchmarks.train_step --workloads")
    assert content["machine"].keys() >= {"cpu", "cores", "memory_bytes", "kernel"}
    assert content["versions"].keys() >= {"python", "jax", "flax", "torch", "keras"}
    (result,) = content["results"]
    assert (result["setting"], result["workload"]) == ("plain", "small")
    assert result["fastest_peer"] == "plain_flax"
    assert result["flops"] > 1e6
    for row in result["contestants"].values():
        assert len(row["seconds"]["all"]) == 7
        assert min(row["seconds"]["all"]) == row["seconds"]["min"] > 0
        assert row["first_call_seconds"] > row["seconds"]["median"]
    ours, plain = (result["contestants"][n] for n in ("ours", "plain_flax"))
    assert ours["parameters"] == plain["parameters"]
    assert ours["ratio_to_ours"] == 1
    printed = capsys.readouterr().out
    assert "### small, plain" in printed
    assert "times as fast as the fastest peer, plain_flax" in printed


def test_streams_in_groups_say_what_whole_windows_say():
    workload = workloads.SMALL
    contestant = streams.build(workload)
    for _ in range(workload.frames):
        answers = contestant.serve(3 * workload.batch_size)
    windows = ours.build(workload).infer()
    # All groups hear the same.
    np.testing.assert_allclose(answers, np.tile(windows, (3, 1)), atol=1e-5)
    assert contestant.carry_bytes > 4 * workload.features
    with pytest.raises(ValueError, match="3 streams are not groups of 2"):
        contestant.serve(3)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are chosen on Linux only")
def test_a_worker_keeps_to_its_cores_and_serves_streams():
    with measure.Child("ours_streams", "small", timeout_s=120, cores=1) as child:
        cores = os.sched_getaffinity(child.process.pid)
        assert len(cores) == 1
        child.call("build")
        answer = child.call("serve", streams=4, rounds=3)
        assert len(answer["seconds"]) == 3
        assert min(answer["seconds"]) > 0
    with pytest.raises(measure.ChildError, match="5000 cores are asked for"):
        measure.Child("ours_streams", "small", cores=5000)


def test_tables_of_streams():
    def row(milliseconds, ratio):
        seconds = measure.summary([milliseconds / 1000] * 3)
        return {"seconds": seconds, "percentile_99": 0.002, "ratio_to_ours": ratio}

    latency = {
        "frontend": "raw",
        "window_frames": 75,
        "contestants": {
            "ours_streams": row(0.25, 1.0),
            "ours": row(5.0, 20.0),
            "pytorch": {"reason": "ModuleNotFoundError"},
        },
    }
    lines = streaming.report_latency([latency]).split("\n")
    assert [cell.strip() for cell in lines[3].split("|")][1:-1] == [
        *("the window again, this package", "raw", "75", "5.000", "2.000", "20.0")
    ]
    assert "pytorch: ModuleNotFoundError" in lines[4]
    capacity = {
        "frontend": "raw",
        "group": 8,
        "streams": 1200,
        "mean_seconds": 0.0385,
        "percentile_99": 0.041,
        "carry_bytes": 46_080,
        "resident_bytes": None,
        "recomputed": [{"contestant": "ours", "streams": 3.25}],
    }
    lines = streaming.report_capacity([capacity]).split("\n")
    assert [cell.strip() for cell in lines[2].split("|")][1:-1] == [
        *("steps, groups of 8", "raw", "1,200", "38.5", "41.0", "45", measure.NOTHING)
    ]
    assert "| 3.2 |" in lines[3].replace("  ", "")


def test_a_percentile_worked_by_hand():
    assert streaming.percentile([0.0, 1.0], 99) == pytest.approx(0.99)
    assert streaming.percentile(list(range(101)), 99) == 99
