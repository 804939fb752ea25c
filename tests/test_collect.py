"""Tests of garbage collection: it keeps all that a run directory, a grid or a live builder needs, also indirectly."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memphis.errors import MemphisError
from memphis.store import Stage, Store, claims, collect, with_inputs, write_json
from memphis.store.__main__ import main
from memphis.store.claims import Claim
from tests.test_plan import chain, needed, pretend
from tests.test_store import build, rival, stage

FUTURE_S = 2**33
LATER_S = 2 * collect.HOUR_S


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the collector's clock to two hours after everything was written."""
    monkeypatch.setattr(collect, "_now", lambda store: time.time() + LATER_S)


def names_in(store: Store) -> set[str]:
    return {path.name for path in store.root.iterdir() if path.name != "specs"}


def claim_root(store: Store, place: str, stages: list[Stage]) -> Path:
    """Write the stages.json that a run directory or a frozen grid leaves below the root."""
    folder = store.root.parent / place
    folder.mkdir(parents=True)
    write_json(folder / "stages.json", [{"dir": f"store/{one.directory}"} for one in stages])
    return folder


def gc(store: Store, *more: str) -> int:
    return main(["--root", str(store.root.parent), "gc", *more])


@pytest.mark.usefixtures("later")
def test_runs_and_grids_keep_their_stages_and_stay_reusable(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run, grid, gone = chain("iterations=1"), chain("iterations=1", "slerp.t=0.5"), chain("iterations=1", "seed=7")
    for stages in (run, grid, gone):
        pretend(store, [one for one in stages if not (store.path(one)).exists()])
    claim_root(store, "tiny/s0/default", run)
    claim_root(store, "grids/mine", grid[-1:])  # names only the last stage: its inputs must be followed
    before = names_in(store)
    assert gc(store) == 0
    assert names_in(store) == before  # a dry run
    out = capsys.readouterr().out
    assert gc(store, "--delete") == 0
    assert needed(run, store) == []
    reads = with_inputs(grid[-1:])
    assert all(store.fault(store.path(one)) is None for one in reads)
    wanted = {one.directory for one in [*run, *reads]}
    assert names_in(store) == wanted
    spared = before - wanted
    assert spared
    for name in spared:
        assert f"would remove {name}" in out
    assert out.count("no run directory, grid or live claim needs it") == len(spared)
    assert "that 2 runs and grids and 0 live claims need" in out
    assert gc(store, "--delete") == 0
    assert "removed 0 entries" in capsys.readouterr().out


@pytest.fixture
def rooted(store: Store) -> None:
    """Make a run that needs a stage which is not there: without any run nothing would be removed."""
    claim_root(store, "other/s0/default", [stage(config={"a": 9})])


@pytest.mark.usefixtures("rooted")
def test_nothing_younger_than_an_hour_goes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(store, stage())
    for file in [path, *path.rglob("*")]:
        os.utime(file, (1, 1))  # a copy that kept its times, or a clock that jumped: it is new
    assert gc(store, "--delete") == 0
    assert path.exists()
    assert "1 entries that nothing needs, younger than 1 h 00 m" in capsys.readouterr().out
    with pytest.raises(MemphisError, match="--older-than=10m: give a time of at least 1h"):
        gc(store, "--older-than", "10m")
    with pytest.raises(MemphisError, match="--older-than=soon"):
        gc(store, "--older-than", "soon")


@pytest.mark.usefixtures("later", "rooted")
def test_older_than(store: Store) -> None:
    path = build(store, stage())
    assert gc(store, "--delete", "--older-than", "3h") == 0
    assert path.exists()
    assert gc(store, "--delete", "--older-than", "1.5h") == 0
    assert not path.exists()


@pytest.mark.usefixtures("later", "rooted")
@pytest.mark.parametrize("touched", [1, FUTURE_S, None])
def test_a_live_builder_keeps_what_it_reads_whatever_its_times(store: Store, touched: int | None) -> None:
    source, other = stage(), stage(config={"a": 2})
    reader = Stage("reader", "sft", 1, {}, inputs={"data": source})
    build(store, source)
    build(store, other)
    path = store.publish(reader)
    builder = rival(path, "linger")
    assert builder.stdout is not None
    assert builder.stdout.readline() == "part\n"
    if touched is not None:
        os.utime(path.with_name(f"{path.name}.claim"), (touched, touched))
    assert gc(store, "--delete") == 0
    part = store.part(path)
    assert part is not None
    assert names_in(store) == {source.directory, f"{path.name}.claim", part.name}
    builder.kill()
    builder.wait()
    assert gc(store, "--delete") == 0
    young = {f"{path.name}.claim"} if touched == FUTURE_S else set()  # when times are doubtful, the entry is kept
    assert names_in(store) == young


@pytest.mark.usefixtures("later")
def test_a_half_built_stage_of_a_run_is_kept_to_be_continued(store: Store) -> None:
    wanted, unwanted = stage(), stage(config={"a": 2})
    for one in (wanted, unwanted):
        path = store.publish(one)
        builder = rival(path, "linger")
        assert builder.stdout is not None
        builder.stdout.readline()
        builder.kill()
        builder.wait()
        (store.part(path) / "checkpoint").mkdir()  # type: ignore[operator]
    claim_root(store, "tiny/s0/default", [wanted])
    assert gc(store, "--delete") == 0
    (left,) = names_in(store)
    assert left.startswith(f"{wanted.directory}.part-")
    claim = Claim(store.path(wanted))
    assert claim.acquire(lambda: False)
    assert (claim.part / "checkpoint").is_dir()
    claim.release()


@pytest.mark.usefixtures("later")
def test_leftovers_go(store: Store) -> None:
    one = stage()
    path = build(store, one)
    claim_root(store, "tiny/s0/default", [one])
    for mark in (".damaged-1", ".old-1", ".part-1", ".trash-1", ".part-1.trash-2"):
        (store.root / f"{path.name}{mark}" / "model").mkdir(parents=True)
    for name in (f"{path.name}.grave-1", ".probe-12345678"):
        (store.root / name).write_text("x")
    (store.root / "identities.json").write_text("{}")
    assert gc(store, "--delete") == 0
    assert names_in(store) == {path.name, "identities.json"}


@pytest.mark.usefixtures("later", "rooted")
def test_a_silent_claim_of_another_machine_is_watched_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.25)  # the claim is watched for twice as long
    source = stage()
    build(store, source)
    path = store.publish(Stage("reader", "sft", 1, {}, inputs={"data": source}))
    file = path.with_name(f"{path.name}.claim")
    file.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "started": "0", "slurm_job": None}))
    beat = f"import itertools, os, time\nfor k in itertools.cycle(range(50)):\n os.utime({str(file)!r}, (k, k))\n time.sleep(0.02)"
    builder = subprocess.Popen([sys.executable, "-c", beat])
    while file.stat().st_mtime > 100:  # its clock is in 1970
        time.sleep(0.01)
    assert gc(store, "--delete") == 0
    assert names_in(store) == {source.directory, file.name}
    builder.kill()
    builder.wait()
    assert gc(store, "--delete") == 0
    assert names_in(store) == set()


@pytest.mark.usefixtures("later", "rooted")
def test_what_a_run_needs_that_starts_meanwhile_is_put_back(store: Store) -> None:
    one, other = stage(), stage(config={"a": 2})
    build(store, one)
    build(store, other)
    found = collect.look(store)
    claim_root(store, "tiny/s0/default", [one])
    removed = collect.remove(store, found.garbage)
    assert [entry.path.name for entry in removed] == [other.directory]
    assert names_in(store) == {one.directory}
    assert store.fault(store.path(one)) is None


@pytest.mark.usefixtures("later")
def test_what_cannot_be_read_stops_it(store: Store) -> None:
    path = build(store, stage())
    folder = claim_root(store, "tiny/s0/default", [])
    for broken in (
        '[{"dir": "sto',
        "{}",
        "[]",
        "null",
        "1",
        '"x"',
        '[{"name": "sft"}]',
        "[1]",
        '[{"dir": 1}]',
        "[" * 9999,
    ):
        (folder / "stages.json").write_text(broken)
        with pytest.raises(MemphisError, match=r"stages\.json: cannot be read"):
            gc(store, "--delete")
    for make in (os.mkfifo, os.mkdir):
        (folder / "stages.json").unlink()
        make(folder / "stages.json")
        with pytest.raises(MemphisError, match=r"stages\.json: cannot be read"):
            gc(store, "--delete")
    (folder / "stages.json").rmdir()
    with pytest.raises(MemphisError, match="there is no run directory or grid in it"):
        gc(store, "--delete")
    (folder / "stages.json").symlink_to("nowhere")
    with pytest.raises(MemphisError, match=r"stages\.json: a link to nowhere"):
        gc(store, "--delete")
    (folder / "stages.json").unlink()
    assert path.exists()
    write_json(folder / "stages.json", [{"dir": f"store/{path.name}"}])
    (path / "stage.json").write_text("{")
    assert gc(store, "--delete") == 0  # the spec still lists its inputs
    (store.specs / f"{path.name}.json").unlink()
    with pytest.raises(MemphisError, match="cannot be read, so what"):
        gc(store, "--delete")


@pytest.mark.usefixtures("later", "rooted")
@pytest.mark.parametrize("place", ["logs", "wandb", "store", "a/wandb", "grids/logs", "s0/logs/wandb"])
def test_a_run_is_known_by_its_file_whatever_its_name(store: Store, place: str) -> None:
    path = build(store, stage())
    claim_root(store, f"{place}/s0/default", [stage()])
    assert gc(store, "--delete") == 0
    assert path.exists()


@pytest.mark.usefixtures("later", "rooted")
def test_runs_behind_links_keep_their_stages(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, root = build(store, stage()), store.root.parent
    elsewhere = tmp_path_factory.mktemp("disk") / "moved"
    claim_root(store, "tiny/s0/default", [stage()]).parent.rename(elsewhere)
    (root / "tiny" / "s0").symlink_to(elsewhere)
    (elsewhere / "root").symlink_to(root)  # a circle
    (elsewhere / "default" / "01-data").symlink_to(path)
    (elsewhere / "default" / "02-base").symlink_to(store.root / "base-0123456789abcdef")  # not built: no fault
    assert gc(store, "--delete") == 0
    assert path.exists()
    elsewhere.rename(elsewhere.with_name("unmounted"))
    with pytest.raises(MemphisError, match="tiny/s0: a link to nowhere, so what is needed there is unknown"):
        gc(store, "--delete")
    assert path.exists()


@pytest.mark.usefixtures("later", "rooted")
def test_what_the_store_did_not_make_stays(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    garbage, root = build(store, stage()), store.root
    for name in ("my-notes", "data-0123456789abcdef", "x.trash-mine", "a.old-b", ".probe-x", "my.claim", "x.part-1"):
        (root / name).mkdir()
        (root / name / "file").write_text("mine")
    (root / "data-00000000000000aa" / "x").mkdir(parents=True)
    write_json(root / "data-00000000000000aa" / "stage.json", {"kind": "data", "key": "another"})
    (root / "base-0000000000000001").symlink_to(root / "my-notes")
    moved = build(store, stage(config={"a": 3}))
    (root / moved.name).rename(root.parent / "moved-stage")
    moved.symlink_to(root.parent / "moved-stage")
    before = names_in(store)
    assert gc(store, "--delete") == 0
    assert before - names_in(store) == {garbage.name}
    assert f"left alone: {moved.name}: links" in capsys.readouterr().out
