"""Tests of clocks that jump hours forwards or back: no claim is lost and no duration is negative."""

import os
import time
from itertools import count
from pathlib import Path

import pytest

from experiments.report.text import time_line
from memphis.jsonl import RowLog, read_rows
from memphis.runs import Run
from memphis.store import Store, claims
from memphis.store.claims import Claim
from tests.composing import compose_config
from tests.test_plan import chain, needed, pretend
from tests.test_store import build, rival, stage

PAST_S, FUTURE_S = 1, 2**33  # 1970, 2242


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


@pytest.fixture
def going_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every reading of the clock an hour earlier than the one before."""
    looks = count()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600.0 * next(looks))


@pytest.mark.parametrize("touched", [PAST_S, FUTURE_S])
def test_a_live_builder_is_waited_for_whatever_the_times_of_its_claim(
    store: Store, touched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.4)  # polls ten times a second
    path = store.publish(stage())
    builder = rival(path, "linger")
    assert builder.stdout is not None
    assert builder.stdout.readline() == "part\n"
    file = path.with_name(f"{path.name}.claim")
    os.utime(file, (touched, touched))
    owner = file.read_text()
    looks = iter([False, False, True])
    lines: list[str] = []
    assert not Claim(path, on_wait=lines.append).acquire(lambda: next(looks))
    assert file.read_text() == owner
    assert len(lines) == 1
    builder.kill()
    builder.wait()
    claim = Claim(path)
    assert claim.acquire(lambda: False)  # a dead builder's claim is taken over at once, whatever the times
    claim.release()


@pytest.mark.parametrize("touched", [PAST_S, FUTURE_S])
def test_a_finished_stage_is_used_whatever_its_times(store: Store, touched: int) -> None:
    path = build(store, stage())
    for file in path.rglob("*"):
        os.utime(file, (touched, touched))
    assert store.fault(path) is None


@pytest.mark.usefixtures("going_backwards")
def test_rows_keep_their_order(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        log({"step": step})
    rows = read_rows(log.path)
    assert rows[0]["_t"] > rows[2]["_t"]
    assert [row["step"] for row in rows] == [1, 2, 3]


@pytest.mark.usefixtures("going_backwards")
def test_no_duration_is_negative(store: Store) -> None:
    stages = chain("until=sft")
    pretend(store, stages)
    with Run(compose_config("until=sft"), [], stages, store) as run:
        run.start(set())
        summary = run.finish("finished")
    assert needed(stages, store) == []
    assert 0 <= summary["wall_s"] < 3600  # the clock goes back an hour between two readings
    assert all(row["seconds"] == 0.1 for row in summary["stages"])
    assert "-" not in time_line(summary["stages"], summary["wall_s"])
