"""Tests of a full disk and a forbidden path: earlier files stay complete, and one line says what to do."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from memphis.errors import MemphisError, NoSpace, Stopped
from memphis.jsonl import RowLog, read_rows, write_rows
from memphis.store import Store, finish, write_json
from memphis.store.claims import Claim
from memphis.store.disk import explain, explained
from memphis.training import checkpoint
from tests.small_disk import SmallDisk, small_disk
from tests.test_store import build, stage


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "1m") as mounted:
        yield mounted


def full(error: BaseException) -> bool:
    return isinstance(explain(error, Path("/")), NoSpace)


def test_a_file_is_there_whole_or_as_it_was(disk: SmallDisk) -> None:
    file, rows = disk.root / "a.json", disk.root / "rows.jsonl"
    write_json(file, {"a": 1})
    write_rows(rows, [{"a": 1}])
    disk.fill()
    for write in (lambda: write_json(file, ["x" * 9000]), lambda: write_rows(rows, [{"x": "x" * 9000}])):
        with pytest.raises(OSError, match="No space left") as caught:
            write()
        assert full(caught.value)
    assert json.loads(file.read_text()) == {"a": 1}
    assert read_rows(rows) == [{"a": 1}]
    assert {path.name for path in disk.root.iterdir()} == {"a.json", "rows.jsonl", ".ballast"}
    disk.empty()
    write_json(file, ["x" * 9000])
    assert json.loads(file.read_text()) == ["x" * 9000]


def write_many(log: RowLog) -> None:
    for step in range(2, 10_000):
        log({"step": step})


def test_rows_written_before_the_disk_was_full_are_whole(disk: SmallDisk) -> None:
    log = RowLog(disk.root / "metrics.jsonl")
    log({"step": 1})
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        write_many(log)
    rows = read_rows(log.path)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    disk.empty()
    log.cut(len(log.path.read_bytes().split(b"\n")[0]) + 1)
    log({"step": 2})
    assert [row["step"] for row in read_rows(log.path)] == [1, 2]


def test_the_checkpoint_before_stays_whole_and_half_a_one_takes_no_room(disk: SmallDisk) -> None:
    weights = {"w": torch.nn.Parameter(torch.arange(50_000.0))}
    optimizer = torch.optim.AdamW(weights.values())

    def write(step: int) -> None:
        checkpoint.write(disk.root / "checkpoint", step, weights, optimizer, {}, {}, lambda point: None)

    write(1)
    disk.fill()
    with pytest.raises(Exception, match="No space left") as caught:
        write(2)
    assert full(caught.value)
    assert [path.name for path in (disk.root / "checkpoint").iterdir()] == ["1"]
    found = checkpoint.read(disk.root / "checkpoint", weights, optimizer)
    assert found is not None
    assert found[0]["step"] == 1
    disk.empty()
    write(2)
    assert [path.name for path in (disk.root / "checkpoint").iterdir()] == ["2"]


def test_weights_that_do_not_fit_are_told_as_a_full_disk(disk: SmallDisk) -> None:
    with pytest.raises(Exception, match="No space left") as caught:  # the library raises its own exception
        save_file({"w": torch.zeros(2**20)}, disk.root / "model.safetensors")
    assert full(caught.value)


def test_a_stage_that_cannot_be_finished_loses_nothing_it_continues_from(disk: SmallDisk) -> None:
    store = Store(disk.root / "store")
    store.create()
    path = store.publish(stage())
    claim = Claim(path)
    assert claim.acquire(lambda: False)
    for name in ("checkpoint", "shards", "model"):
        (claim.part / name).mkdir()
        (claim.part / name / "x").write_text("x")
    (claim.part / ".rows.jsonl.1.2.tmp").write_text("of a writer that was killed")
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        finish(claim, stage().spec() | {"long": "x" * 9000}, {}, 1.0, {})
    claim.release()
    assert store.fault(path) == "not built"
    again = Claim(path)
    disk.empty()
    assert again.acquire(lambda: False)
    assert (again.part / "checkpoint" / "x").exists()
    assert (again.part / "shards" / "x").exists()
    finish(again, stage().spec(), {}, 1.0, {})
    again.release()
    assert store.fault(path) is None
    assert sorted(store.record(path)["outputs"]) == ["model/x"]
    assert sorted(found.name for found in path.iterdir()) == ["DONE", "model", "stage.json"]


def test_no_claim_is_left_by_one_that_could_not_write_it(disk: SmallDisk) -> None:
    store = Store(disk.root / "store")
    store.create()
    path = store.publish(stage())
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        Claim(path).acquire(lambda: False)
    assert not list(store.root.glob("*.claim"))


def test_a_read_only_root_is_one_line(tmp_path: Path) -> None:
    refused = pytest.raises(MemphisError, match="Read-only file system; set runtime.root")
    with small_disk(tmp_path / "disk", "1m", "ro") as mounted, refused:
        Store(mounted.root / "runs" / "store").create()


def test_what_the_disk_refuses_is_one_line(tmp_path: Path) -> None:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        full_disk = pytest.raises(NoSpace, match=rf"{os.strerror(number).lower()} \(.* free\); free some")
        with full_disk, explained(tmp_path):
            raise OSError(number, os.strerror(number))
    with pytest.raises(MemphisError, match=r"/here/x: permission denied; set runtime\.root"), explained(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "here" / "x"))
    for other in (PermissionError(errno.EACCES, "Permission denied", "/elsewhere"), OSError(errno.EIO, "broken")):
        with pytest.raises(OSError, match=str(other.strerror)), explained(tmp_path):
            raise other


@pytest.mark.parametrize("earlier", [MemphisError("stage sft failed"), Stopped("stopped in sft")])
def test_a_fault_that_is_being_written_down_is_the_one_that_is_told(tmp_path: Path, earlier: Exception) -> None:
    def fail() -> None:
        try:
            raise earlier
        finally:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(type(earlier), match="in sft|sft failed"), explained(tmp_path):
        fail()


def test_another_users_stage_is_not_taken_for_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    store.create()
    path = build(store, stage())
    real = os.access
    monkeypatch.setattr(os, "access", lambda file, mode: not str(file).endswith("rows.jsonl") and real(file, mode))
    with pytest.raises(MemphisError, match=r"rows\.jsonl: permission denied; set runtime\.root"):
        store.fault(path)


def test_a_disk_that_is_full_before_anything_starts(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(NoSpace, match=r"no space left on device \(0.0 MiB free\); free some, or set"):
        Store(disk.root / "store").create()
