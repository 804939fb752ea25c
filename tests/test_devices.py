"""Tests of training stages on two devices, from command to finished stage: two CPU processes, started by torchrun."""

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from memphis import devices
from memphis.errors import MemphisError
from memphis.store import read_json
from tests import micro
from tests.test_faults import copy, counts, gone, wait_for

SFT = ["until=sft", "sft.optim.name=adalite", "sft.optim.lr=1e-4", "sft.epochs=2", "sft.global_batch_size=16"]


def stage(root: Path, kind: str) -> Path:
    (path,) = (path for path in (root / "store").glob(f"{kind}-*") if (path / "DONE").exists())
    return path


def error(ours: Path, theirs: Path, kind: str, before: str) -> float:
    """Return the error relative to the displacement by the whole stage, as the weights themselves hardly move."""
    a, b, start = (
        torch.cat(
            [tensor.double().flatten() for _, tensor in sorted(load_file(path / "model/model.safetensors").items())]
        )
        for path in (stage(ours, kind), stage(theirs, kind), stage(theirs, before))
    )
    assert not torch.equal(b, start)
    return ((a - b).norm() / (b - start).norm()).item()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stage_is_stopped_killed_and_continued_on_two_devices(unbroken: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "one", tmp_path / "two"
    for root in (alone, together):
        copy(unbroken, root, "data", "base")
    done = micro.run(alone, *SFT, **micro.UNTRACKED)
    assert done.returncode == 0, done.stdout + done.stderr

    two = [*SFT, "runtime.num_devices=2"]
    process = micro.start(
        together, *two, MEMPHIS_CHECKPOINT_S="0", **micro.UNTRACKED
    )  # makes the steps long enough for the signal to arrive in time
    wait_for(lambda: any(counts(together, "sft")), 300)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 85, out + err
    (checkpoint,) = (together / "store").glob("sft-*.part-*/checkpoint/*")
    assert len(list(checkpoint.glob("shard-*.safetensors"))) == 2

    done = micro.run(together, *two, MEMPHIS_TEST_KILL="sft:step:2", **micro.UNTRACKED)  # the first of the two dies
    assert done.returncode == 1
    assert "was ended by SIGKILL" in done.stderr
    assert gone(together)

    done = micro.run(together, *two, **micro.UNTRACKED)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = stage(together, "sft"), stage(alone, "sft")
    assert ours.name == theirs.name  # the number of devices is not part of a key
    assert read_json(ours / "stage.json")["versions"]["devices"] == "2"
    assert read_json(ours / "stage.json")["versions"]["threads"] == "1"
    assert error(together, alone, "sft", "base") <= 1e-3
    assert [row["step"] for row in micro.rows_of(ours)] == [row["step"] for row in micro.rows_of(theirs)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_leg_with_stages_that_do_not_train(unbroken: Path, tmp_path: Path) -> None:
    copy(unbroken, tmp_path, "data", "base", "sft", "generate")
    done = micro.run(tmp_path, "until=rank-1", "runtime.num_devices=2", **micro.UNTRACKED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (stage(tmp_path, "pairs") / "pairs.jsonl").read_bytes() == (
        stage(unbroken, "pairs") / "pairs.jsonl"
    ).read_bytes()
    assert error(tmp_path, unbroken, "rank", "sft") <= 1e-3


def test_more_devices_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 2)
    devices.check_number("cpu", 2)
    with pytest.raises(
        MemphisError, match=r"num_devices=3: runtime.device=cpu finds 2 cores here; runtime.num_devices=2"
    ):
        devices.check_number("cpu", 3)
    monkeypatch.setattr(devices, "gpus", lambda device: [devices.Gpu("H100", 80 << 30)] if device != "cpu" else [])
    with pytest.raises(MemphisError, match=r"num_devices=2: runtime.device=auto finds 1 GPUs here"):
        devices.check_number("auto", 2)
    monkeypatch.setattr(devices, "gpus", lambda device: [])
    with pytest.raises(MemphisError, match=r"num_devices=2: runtime.device=cuda finds 0 GPUs here"):
        devices.check_number("cuda", 2)
    devices.check_number("cuda", 1)  # another check reports a missing GPU


def test_another_process_is_given_a_gpu_by_the_name_it_has_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.gpu_name(1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-0a")
    assert (devices.gpu_name(0), devices.gpu_name(1)) == ("3", "GPU-0a")
