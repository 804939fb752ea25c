"""Tests of faults in the W&B server, the disk or wandb itself: the run goes on, ends in time, and keeps its data."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
import wandb

from memphis.runs import REPOSITORY
from memphis.tracking import GRACE_SECONDS, Tracker, session
from tests.small_disk import small_disk
from tests.tracking import made_up
from tests.tracking.made_up import RUN_ID, SFT, history, row
from tests.wandb_server import MUTE_SECONDS

ROWS = [row(k, **{"sft/loss": 1 / k}) for k in range(1, 7)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(session, "INIT_SECONDS", 1.0)
    monkeypatch.setattr(session, "FINISH_SECONDS", 2.0)


def until(what, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def ends_by_itself():
    """Check that the block did not wait for a silent server, which holds a connection for much longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < MUTE_SECONDS / 2


@pytest.fixture
def callers(monkeypatch):
    """Record the threads that call wandb: a caller may have to wait for it."""
    found = set()

    def watched(original):
        def call(*args, **named):
            found.add(threading.current_thread())
            return original(*args, **named)

        return call

    for holder, name in ((wandb, "init"), (wandb.Run, "log"), (wandb.Run, "log_artifact")):
        monkeypatch.setattr(holder, name, watched(getattr(holder, name)))
    return found


def losses(items):
    return [(item["global_step"], item["sft/loss"]) for item in items if "sft/loss" in item]


ALL = losses(ROWS)


def test_a_lost_server_costs_less_than_a_minute(monkeypatch):
    monkeypatch.undo()
    assert session.FINISH_SECONDS + GRACE_SECONDS < 60


@pytest.mark.slow
def test_a_mute_server_at_the_start(run_dir, open_tracker, online, callers, capsys):
    online.mute()
    with ends_by_itself(), open_tracker(mode="wandb") as tracker:
        tracker.rows(SFT, 0, ROWS)
        until(lambda: tracker._clock["start"] > 0)
    assert callers == {tracker._thread}  # the run itself never waits
    assert "recording offline" in capsys.readouterr().err
    assert losses(history(run_dir)) == ALL


@pytest.mark.slow
@pytest.mark.parametrize("end", ["mute", "kill"])
def test_a_server_that_is_lost_on_the_way(run_dir, open_tracker, online, end, callers, capsys):
    with contextlib.ExitStack() as stack, open_tracker(mode="wandb") as tracker:
        tracker.rows(SFT, 0, ROWS[:3])
        until(lambda: RUN_ID in online.runs and len(losses(online.runs[RUN_ID].history)) == 3)
        getattr(online, end)()
        stack.enter_context(ends_by_itself())
        tracker.rows(SFT, 3, ROWS[3:])
        until(lambda: tracker._clock["stages"] > 0 and tracker._jobs.empty())
    assert callers == {tracker._thread}
    (output,) = [line for line in capsys.readouterr().err.splitlines() if "did not answer" in line]
    assert output.endswith(f"`python -m memphis.tracking push {run_dir} --new-id` makes a whole one from the files")
    assert losses(history(run_dir)) == ALL
    sent = json.loads((run_dir / "wandb" / "sent.json").read_text())
    assert sent[SFT.directory] == 6


def test_wandbs_own_process_is_killed(run_dir, open_tracker, capsys):
    wandb.teardown()
    with contextlib.ExitStack() as stack, open_tracker() as tracker:
        tracker.rows(SFT, 0, ROWS[:3])
        until(lambda: tracker._clock["stages"] > 0)
        (service,) = [child for child in psutil.Process().children() if "wandb-core" in child.name()]
        service.kill()
        service.wait(60)
        for step in range(3, 6):
            tracker.rows(SFT, step, ROWS[step : step + 1])
        stack.enter_context(ends_by_itself())
    output = capsys.readouterr().err.splitlines()
    assert len([line for line in output if line.startswith("tracking: ")]) == 1, output
    with contextlib.suppress(OSError):  # the connection to the killed service
        wandb.teardown()


def test_a_full_disk(tmp_path, composed):
    with small_disk(tmp_path / "disk", "6m") as disk:
        run = made_up.run_at(disk.root, composed)
        with ends_by_itself(), Tracker(composed, run) as tracker:
            until(lambda: tracker._clock["start"] > 0)
            disk.fill()
            for step in range(6):
                tracker.rows(SFT, step, ROWS[step : step + 1])
        disk.empty()
    wandb.teardown()


def test_the_end_waits_as_long_as_was_said_and_no_longer(open_tracker, monkeypatch):
    waited = []
    tracker = open_tracker()
    join = tracker._thread.join
    monkeypatch.setattr(tracker._thread, "join", lambda seconds=None: (waited.append(seconds), join(seconds)))
    tracker.close(0)
    assert waited == [session.FINISH_SECONDS + GRACE_SECONDS]


def test_finish_that_hangs(open_tracker, monkeypatch, capsys):
    monkeypatch.setattr(session, "FINISH_SECONDS", 0.5 - GRACE_SECONDS)
    released = threading.Event()
    tracker = open_tracker()
    tracker.rows(SFT, 0, ROWS)
    until(lambda: tracker._clock["stages"] > 0)
    monkeypatch.setattr(wandb.Run, "finish", lambda *_, **__: released.wait(600))
    tracker.close(0)
    assert tracker._thread.is_alive()  # it still waits, and was abandoned
    assert "did not answer in time" in capsys.readouterr().err
    monkeypatch.undo()
    released.set()
    tracker._thread.join()
    wandb.teardown()


PROGRAM = """
import sys, time
from pathlib import Path
from memphis.tracking import Tracker, session
from tests.composing import compose_config
from tests.tracking import made_up
session.FINISH_SECONDS = 2.0
cfg = compose_config("seed=7", "tracking=wandb")
with Tracker(cfg, made_up.run_at(Path(sys.argv[1]), cfg)) as tracker:
    tracker.rows(made_up.SFT, 0, [made_up.row(5, **{"sft/loss": 1.0})])
    while not tracker._clock["stages"]:
        time.sleep(0.05)
    print("ready", flush=True)
    sys.stdin.readline()
print("closed", flush=True)
"""


@pytest.mark.slow
def test_the_process_ends_although_the_server_has_fallen_silent(tmp_path, online):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY, env=os.environ) as process:
        assert process.stdout.readline() == "ready\n"
        online.mute()
        out, _ = process.communicate("\n", timeout=MUTE_SECONDS / 2)  # a silent server would hold it for longer
    assert out == "closed\n"
    assert process.returncode == 0
