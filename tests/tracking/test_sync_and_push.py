"""Tests of sync (offline recordings to W&B) and push (a new W&B run from files), against a local server."""

import shutil
from dataclasses import replace

import pytest

from memphis.errors import MemphisError
from memphis.store import Store, write_json
from memphis.tracking import __main__ as program
from memphis.tracking.push import push
from memphis.tracking.segments import Segment, look, segments, sync
from tests.tracking.made_up import DATA, GENERATE, PAIRS, RUN_ID, SFT, finished, finished_pairs, row

ROWS = [row(k, **{"sft/loss": 1 / k}) for k in range(1, 7)]


@pytest.fixture
def offline(run_dir, open_tracker, monkeypatch):
    """Write a run with three offline segments of two rows each, the last with a table and an artifact."""
    with monkeypatch.context() as context:
        for name in ("WANDB_BASE_URL", "WANDB_API_KEY"):
            context.delenv(name, raising=False)
        pairs = finished_pairs(Store(run_dir.parents[2] / "store"), 3)
        for attempt in (1, 2, 3):
            with open_tracker() as tracker:
                tracker.rows(SFT, 0, ROWS[: 2 * attempt])
                if attempt == 3:
                    tracker.finished(PAIRS, pairs, False)
                    tracker.summary({"scores": [], "wall_s": 3.0})
    return run_dir


def curve(server, run_id=RUN_ID):
    return [(item["global_step"], item["sft/loss"]) for item in server.runs[run_id].history if "sft/loss" in item]


@pytest.mark.slow
def test_three_segments_become_one_run_once(offline, online, capsys):
    assert len(segments(offline)) == 3
    (offline / "wandb" / "offline-run-20200101_000000-x").mkdir()
    (offline / "wandb" / "offline-run-20200101_000000-x" / "run-x.wandb").write_bytes(
        b":W&B\xff\xff\x00"
    )  # a run killed at its start
    assert program.main(["sync", str(offline)]) == 1  # something was left out
    output = capsys.readouterr().out.splitlines()
    assert output == [
        "offline-run-20200101_000000-x: left out, its attempt ended before it had written anything",
        f"{RUN_ID}: sent, 3 segments",
    ]
    assert list(online.runs) == [RUN_ID]
    received = online.runs[RUN_ID]
    assert curve(online) == [(k, 1 / k) for k in range(1, 7)]
    assert (received.attributes["groupName"], received.config["slerp_t"]) == ("slerp_factor", 0.9)
    assert received.summary["final/wall_s_total"] == 3.0
    assert any(name.startswith("media/table/samples") for name in received.files)
    (pairs,) = [made for made in online.artifacts.values() if made.type == "dataset"]
    assert (pairs.aliases, pairs.committed, set(pairs.files)) == (
        ["iter-1", "latest"],
        True,
        {"pairs.jsonl", "counts.json"},
    )
    assert [source["name"] for source in pairs.metadata["inputs"]] == [DATA.directory, GENERATE.directory]

    messages = []
    shutil.rmtree(offline / "wandb" / "offline-run-20200101_000000-x")
    assert sync(offline, messages.append)
    assert [line.partition(": ")[2] for line in messages] == ["sent before"] * 3
    assert len(curve(online)) == 6


@pytest.mark.slow
def test_a_truncated_segment_is_sent_as_far_as_it_goes(offline, online):
    last = segments(offline)[1]
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    assert isinstance(look(last), Segment)
    messages = []
    assert sync(offline, messages.append), messages
    steps = [step for step, _ in curve(online)]
    assert set(steps) >= {1, 2, 5, 6}
    assert len(steps) == len(set(steps))


@pytest.mark.slow
def test_a_run_that_lost_staged_files_is_not_half_sent(offline, online):
    shutil.rmtree(offline / "wandb" / "data" / "artifacts" / "staging")
    messages = []
    assert not sync(offline, messages.append)
    assert len(messages) == 1
    assert messages[0].startswith(f"{RUN_ID}: not sent, ")
    assert messages[0].endswith(f"push {offline} --new-id`")
    assert not online.runs


def test_a_server_that_is_not_there_is_told_and_nothing_is_marked(offline, online):
    online.kill()
    with pytest.raises(MemphisError, match="the W&B server does not answer"):
        sync(offline, print)
    assert not list(offline.rglob("*.synced"))


def test_sync_needs_segments_and_a_key(run_dir, offline, tmp_path):
    with pytest.raises(MemphisError, match="no W&B key is configured"):
        sync(offline, print)
    with pytest.raises(MemphisError, match="no offline segment in"):
        sync(tmp_path, print)


@pytest.fixture
def untracked(run_dir):
    """Write a finished run that was not tracked: SFT and the pairs of an iteration."""
    store = Store(run_dir.parents[2] / "store")
    store.specs.mkdir(parents=True)
    finished_pairs(store, 3)
    rows = [
        {key: value for key, value in made.items() if key not in ("iteration", "global_step", "stage")} for made in ROWS
    ]
    finished(store, SFT, rows, steps=6, tokens=54)
    finished(store, PAIRS, [{"pairs/count": 3}], pairs=3)
    # A stage's name and iteration come from the run: in the store they may be those of another run, which built it.
    finished(store, replace(DATA, name="data-of-another"), [{"data/tiny/kept": 9}])
    table = [
        {"name": made.name, "iteration": made.iteration, "dir": f"store/{made.directory}"}
        for made in (DATA, SFT, GENERATE, PAIRS)
    ]
    write_json(run_dir / "stages.json", [*table, {"name": "rank-1", "iteration": 1, "dir": "store/rank-0"}])
    write_json(run_dir / "summary.json", {"status": "finished", "scores": [], "wall_s": 3.0})
    return run_dir


def test_push_makes_the_run_from_files(untracked, online, capsys):
    assert program.main(["push", str(untracked)]) == 0
    assert capsys.readouterr().out == f"{untracked}: {online.url}/nobody/memphis/runs/{RUN_ID}\n"
    received = online.runs[RUN_ID]
    assert curve(online) == [(k, 1 / k) for k in range(1, 7)]
    others = [item for item in received.history if "sft/loss" not in item]
    assert [next(key for key in item if "/" in key or key == "samples") for item in others] == [
        "data/tiny/kept",
        "pairs/count",
        "samples",
    ]
    assert [(item["iteration"], item.get("global_step")) for item in others] == [(0, 0), (1, 6), (1, None)]
    assert received.summary["final/wall_s_total"] == 3.0
    assert received.exit_codes == [0]
    assert {made.type for made in online.artifacts.values()} == {"config", "dataset", "run_table"}

    with pytest.raises(MemphisError, match=r"W&B did not take .* --new-id makes another one"):
        push(untracked, new_id=False)
    assert len(curve(online)) == 6
    push(untracked, new_id=True)
    other = next(name for name in online.runs if name != RUN_ID)
    assert curve(online, other) == curve(online)
    assert other.startswith("slerp-t-0-9-")


def test_push_needs_the_server(untracked, online):
    online.kill()
    with pytest.raises(MemphisError, match="the W&B server does not answer"):
        push(untracked, new_id=True)


def test_a_pushed_run_is_continued(untracked, online, open_tracker):
    push(untracked, new_id=False)
    with open_tracker(mode="wandb") as tracker:
        tracker.rows(SFT, 0, [*ROWS, row(7, **{"sft/loss": 0.1})])
    assert [step for step, _ in curve(online)] == [1, 2, 3, 4, 5, 6, 7]


def test_push_does_not_take_the_id_of_recorded_segments(offline, untracked, online):
    with pytest.raises(MemphisError, match="3 recorded segments hold"):
        push(untracked, new_id=False)
    push(untracked, new_id=True)
    assert RUN_ID not in online.runs


def test_push_names_what_is_not_a_run(tmp_path):
    with pytest.raises(MemphisError, match="cannot be read as a run"):
        push(tmp_path, new_id=True)
