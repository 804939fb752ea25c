"""Tests of keys, claims, takeover, and of the checks when a stage is reused."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memphis.engine import plan
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY
from memphis.store import Stage, Store, claims, derived_seed, differences, file_identity, finish
from memphis.store.__main__ import main
from memphis.store.claims import Claim


def stage(name: str = "data", **changes: object) -> Stage:
    return Stage(**{"name": name, "kind": "data", "version": 1, "config": {"a": 1}, "seed": 7, **changes})  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


def build(store: Store, one: Stage, files: dict[str, str] | None = None) -> Path:
    path = store.publish(one)
    claim = Claim(path)
    assert claim.acquire(lambda: store.fault(path) is None)
    for name, text in (files or {"rows.jsonl": "1\n", "model/weights": "w"}).items():
        (claim.part / name).parent.mkdir(exist_ok=True)
        (claim.part / name).write_text(text)
    finish(claim, one.spec(), {"n": 1}, 0.5, {})
    claim.release()
    return path


def test_the_key_is_what_is_read_and_nothing_else() -> None:
    base = stage()
    assert base.key == stage(name="other name", iteration=3).key
    for change in (
        {"version": 2},
        {"config": {"a": 2}},
        {"seed": 8},
        {"external": {"x": "repo@1"}},
        {"inputs": {"data": base}},
    ):
        assert stage(**change).key != base.key
    assert stage(inputs={"data": base}).key != stage(inputs={"other": base}).key
    changed_input = stage(config={"a": 5})
    assert stage(inputs={"data": base}).key != stage(inputs={"data": changed_input}).key


def test_keys_do_not_depend_on_process_or_order() -> None:
    one = Stage("x", "sft", 1, {"b": [1, 2.5, None], "a": {"d": 5e-7, "c": "é"}}, seed=3)
    two = Stage("y", "sft", 1, {"a": {"c": "é", "d": 5e-7}, "b": [1, 2.5, None]}, seed=3)
    assert one.key == two.key
    code = "from memphis.store import Stage; print(Stage('x','sft',1,{'b':[1,2.5,None],'a':{'d':5e-7,'c':'é'}},seed=3).key)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == one.key


def test_derived_seeds_differ_by_use() -> None:
    uses = [
        (0, "sft"),
        (1, "sft"),
        (0, "generate", 1),
        (0, "generate", 2),
        (0, "generate", 1, "shard", 0),
        (0, "generate", 1, "shard", 1),
    ]
    seeds = [derived_seed(*use) for use in uses]  # type: ignore[arg-type]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= value < 2**31 for value in seeds)


def test_a_finished_stage_is_used_as_it_is(store: Store) -> None:
    path = build(store, stage())
    assert store.fault(path) is None
    record = store.record(path)
    assert record["key"] == stage().key
    assert record["summary"] == {"n": 1}
    assert set(record["outputs"]) == {"rows.jsonl", "model/weights"}
    assert not list(store.root.glob("*.part-*"))
    assert not list(store.root.glob("*.claim"))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: (path / "rows.jsonl").write_text(""), "has 0 bytes, was written with 2"),
        (lambda path: (path / "rows.jsonl").unlink(), "is missing"),
        (lambda path: (path / "rows.jsonl").write_text("2\n"), "was changed after it was written"),
        (lambda path: (path / "stage.json").write_text("{}"), "stage.json was edited"),
        (lambda path: (path / "DONE").unlink(), "not built"),
    ],
)
def test_damage_is_noticed_at_reuse(store: Store, harm, reason: str) -> None:
    path = build(store, stage())
    harm(path)
    assert reason in (store.fault(path) or "")


def test_a_copy_with_new_times_is_still_good(store: Store) -> None:
    path = build(store, stage())
    os.utime(path / "rows.jsonl")
    assert store.fault(path) is None


def test_verify_finds_what_size_and_time_hide(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(store, stage())
    stat = (path / "rows.jsonl").stat()
    (path / "rows.jsonl").write_text("2\n")
    os.utime(path / "rows.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.fault(path) is None  # the cheap check cannot detect it
    assert main(["--root", str(store.root.parent), "verify"]) == 1
    assert "rows.jsonl is damaged" in capsys.readouterr().out
    assert "was changed" in (store.fault(path) or "")  # from now on the cheap check does


def test_a_thin_stage_serves_all_but_readers_of_weights(store: Store) -> None:
    path = build(store, stage())
    store.drop_weights(path)
    assert store.fault(path) is None
    assert store.fault(path, weights=True) == "weights were dropped"
    assert not (path / "model").exists()
    claim = Claim(path)
    assert claim.acquire(lambda: store.fault(path, weights=True) is None)
    (claim.part / "rows.jsonl").write_text("1\n")
    (claim.part / "model").mkdir()
    (claim.part / "model/weights").write_text("w")
    finish(claim, stage().spec(), {}, 0.1, {})
    claim.release()
    assert store.fault(path, weights=True) is None


def test_why_names_the_key_that_differs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    build(store, stage())
    other = stage(config={"a": 1, "b": {"c": 2}})
    store.publish(other)
    assert main(["--root", str(store.root.parent), "why", other.directory]) == 0
    out = capsys.readouterr().out
    assert "not built" in out
    assert "config.b.c: 2, there None" in out
    assert differences(other.identity, stage().identity) == [("config.b.c", 2, None)]
    with pytest.raises(MemphisError, match="names 0 stages"):
        main(["--root", str(store.root.parent), "why", "nothing"])
    assert main(["--root", str(store.root.parent), "ls"]) == 0


def test_an_unwritable_root_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemphisError, match="set runtime.root"):
        Store(tmp_path / "file" / "store").create()


RIVAL = """
    import sys, time
    from pathlib import Path
    from memphis.store.claims import Claim
    from memphis.store import Store, finish, read_json
    path = Path(sys.argv[1]); store = Store(path.parent)
    claim = Claim(path)
    if not claim.acquire(lambda: store.fault(path) is None):
        print("reused"); sys.exit()
    time.sleep(0.3)
    (claim.part / "rows.jsonl").write_text("1\\n")
    if len(sys.argv) > 2:
        print("part", flush=True); time.sleep(300)
    finish(claim, read_json(store.specs / f"{path.name}.json"), {}, 0.3, {})
    claim.release()
    print("built")
"""


def rival(path: Path, *more: str, heartbeat: str = "20") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(RIVAL), str(path), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env={**os.environ, "MEMPHIS_HEARTBEAT_S": heartbeat}
    )


def test_of_six_rivals_one_builds(store: Store) -> None:
    path = store.publish(stage())
    rivals = [rival(path) for _ in range(6)]
    lines = sorted(process.communicate(timeout=300)[0].strip() for process in rivals)
    assert lines == ["built"] + ["reused"] * 5
    assert store.fault(path) is None
    assert not [p for p in store.root.iterdir() if p.name not in ("specs", path.name)]


def test_a_dead_builder_is_taken_over_with_its_work(store: Store) -> None:
    path = store.publish(stage())
    dead = rival(path, "linger")
    assert dead.stdout is not None
    assert dead.stdout.readline() == "part\n"
    dead.kill()
    dead.wait()
    (store.part(path) / "checkpoint").write_text("step 5")  # type: ignore[operator]
    claim = Claim(path)
    assert claim.acquire(lambda: False)  # at once: the process is gone from this host
    assert (claim.part / "checkpoint").read_text() == "step 5"
    claim.release()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock of a process waiting for a claim: time passes only in its sleeps, or when a test adds some."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_a_silent_builder_on_another_host_is_taken_over_and_loses(store: Store, clock: list[float]) -> None:
    path = store.publish(stage())
    silent = Claim(path)
    silent.file.write_text(
        json.dumps({"token": silent.token, "host": "elsewhere", "pid": 1, "started": "0", "slurm_job": None})
    )
    silent.part.mkdir()
    claim = Claim(path)
    assert claim.acquire(lambda: False)
    assert claims.DEAD_AFTER_S < clock[0] < claims.DEAD_AFTER_S + 2
    assert not silent.part.exists()  # revived, it finds its path gone
    with pytest.raises(OSError, match="No such file"):
        (silent.part / "late").write_text("x")
    assert not silent.held()
    assert claim.held()
    claim.release()


def test_a_live_builder_on_another_host_is_waited_for(store: Store, clock: list[float]) -> None:
    """Wait while the claim file keeps being touched; the builder's clock may be years off."""
    path = store.publish(stage())
    file = path.with_name(f"{path.name}.claim")
    file.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "started": "0", "slurm_job": None}))
    beats = 0

    def done() -> bool:
        nonlocal beats
        beats += 1
        os.utime(file, ns=(10**9 * beats, 10**9 * beats))
        clock[0] += claims.HEARTBEAT_S
        return beats > 30

    lines: list[str] = []
    assert not Claim(path, on_wait=lines.append).acquire(done)
    assert clock[0] > 3 * claims.DEAD_AFTER_S
    assert len(lines) == 1
    assert "elsewhere:1" in lines[0]


NO_CLAIMS: dict[str, Callable[[Path], Any]] = {
    "directory": lambda file: file.mkdir(),
    "full directory": lambda file: (file / "x").mkdir(parents=True),
    "dangling link": lambda file: file.symlink_to("nowhere"),
    "link to itself": lambda file: file.symlink_to(file.name),
    "pipe": lambda file: os.mkfifo(file),
    "nothing": lambda file: file.touch(),
    "no text": lambda file: file.write_bytes(b"\xff\x00"),
    "deep": lambda file: file.write_text("[" * 100_000),
} | {
    repr(value): lambda file, value=value: file.write_text(json.dumps(value))
    for value in (
        None, [], "t", 1, {}, {"token": "t"},
        *({"token": "t", "host": socket.gethostname(), "pid": pid, "started": "0"}
          for pid in (-1, 0, 2**22, 2**63, 10**400, True, "1", None, 1.5, [1])),
        {"token": None, "host": socket.gethostname(), "pid": 1, "started": "0"},
        {"token": "t", "host": ["h"], "pid": 1, "started": "0"},
    )
}  # fmt: skip


@pytest.mark.parametrize("what", NO_CLAIMS)
def test_a_claim_that_cannot_be_read_is_waited_for_like_a_silent_one(
    store: Store, clock: list[float], what: str
) -> None:
    path = store.publish(stage())
    claim = Claim(path, on_wait=(lines := []).append)
    NO_CLAIMS[what](claim.file)
    claim.evict()
    assert os.path.lexists(claim.file)
    assert claim.acquire(lambda: False)
    assert claims.DEAD_AFTER_S < clock[0] < claims.DEAD_AFTER_S + 2
    (line,) = lines
    assert line.startswith(f"{claim.file}: claim of user ")
    assert claim.held()
    claim.release()
    assert not os.path.lexists(claim.file)


def test_a_claim_of_another_user_is_waited_for_and_named(
    store: Store, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refuse what the system would refuse another user: reading a claim of mode 0600, then removing it."""
    path = store.publish(stage())
    claim = Claim(path)
    claim.file.write_text("{}")

    def refuse(self: Path, *words: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(MemphisError, match=rf"^{claim.file}: claim of user \w+ that cannot be removed \(Permission de"):
        claim.acquire(lambda: False)
    assert claims.DEAD_AFTER_S < clock[0] < claims.DEAD_AFTER_S + 2


def test_identity_of_local_files_follows_content(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jsonl").write_text("1")
    cache = tmp_path / "identities.json"
    first = file_identity(folder, cache)
    os.utime(folder / "a.jsonl")
    assert file_identity(folder, cache) == first
    (folder / "a.jsonl").write_text("2")
    assert file_identity(folder, cache) != first


def test_a_file_system_that_processes_cannot_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, opened = tmp_path / "store", os.open

    def refused(because: str) -> None:
        with pytest.raises(MemphisError, match=f"runtime.root='{tmp_path}': {because}; set runtime.root"):
            Store(root).create()
        assert [path.name for path in root.iterdir()] == ["specs"]  # no trace of the attempt is left

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda path, flags, *mode, **more: opened(path, flags & ~os.O_EXCL, *mode, **more))
        refused(r"this file system has no exclusive creation of files \(O_EXCL\)")
    with monkeypatch.context() as patch:  # like mounted object stores
        patch.setattr(Path, "rename", lambda self, target: shutil.copytree(self, target))
        refused("this file system has no atomic renaming of directories")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda self, target: raised(OSError(95, "Not supported")))
        refused("this file system has no renaming of directories")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", lambda self, data: raised(OSError(28, "No space left on device")))
        with pytest.raises(MemphisError, match=rf"{root.parent}: no space left on device .*; free some, or set"):
            Store(root).create()
    Store(root).create()


def raised(error: Exception) -> None:
    raise error


BROKEN = ("", "{", "{}", "[]", "null", "1", '"x"', "[1]", '[{"dir": 1}]', '{"name": 1}', "[" * 100_000)


@pytest.mark.parametrize("text", [*BROKEN, "pipe", "directory"])
def test_broken_files_that_can_be_made_again_stop_no_run(store: Store, tmp_path: Path, text: str) -> None:
    """Spoil the list of another grid, the cache of identities, and the spec of another stage."""
    one, other = stage(), stage(config={"a": 2})
    build(store, other)
    needs = tmp_path / "grids" / "fine" / "stages.json"
    grid, cache, spec = tmp_path / "grids" / "a" / "stages.json", store.root / "i.json", store.specs / "data-x.json"
    for file in (needs, grid, cache, spec):
        file.parent.mkdir(parents=True, exist_ok=True)
        {"pipe": os.mkfifo, "directory": os.mkdir}.get(text, lambda path: Path(path).write_text(text))(file)
    needs.rmdir() if text == "directory" else needs.unlink()
    needs.write_text(json.dumps([{"dir": f"store/{other.directory}", "result": True}]))
    assert store.readers() == {other.directory}
    local = tmp_path / "rows.jsonl"
    local.write_text("1\n")
    if text != "directory":  # a cache that cannot be written is none
        assert file_identity(local, cache) == file_identity(local, cache) == file_identity(local, tmp_path / "no" / "c")
    assert plan._nearest(one, store) == "; a=1, built with 2"
