"""Tests of two FSDP2 processes against one, with gloo on a CPU; checkpoints move between any numbers of processes."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule

from memphis.config.sections import Neftune
from memphis.errors import Stopped
from memphis.jsonl import RowLog
from memphis.training import distributed, loop
from memphis.training.batches import num_tokens, partition
from memphis.training.layers import recompute
from memphis.training.loop import train
from memphis.training.train_plan import TrainPlan
from tests.training.conftest import make_examples
from tests.training.plain import make_model, worst_error
from tests.training.test_loop import BASE, DPO, RANK, SFT, lasting

SHORT = {"epochs": 1, "warmup_ratio": 0.0}
HF = replace(SFT, neftune=Neftune(alpha=1.0, variant="hf"), **SHORT)
# Nine examples in windows of four: the last window is a single one, in which the second device has nothing to do.
PLANS: dict[str, tuple[TrainPlan, dict[str, Any], str]] = {
    "sft": (HF, {}, "both"),
    "base": (replace(BASE, **SHORT), {}, "none"),
    "rank": (replace(RANK, **SHORT), {"rejected": 2}, "both"),
    "dpo": (replace(DPO, **SHORT), {"rejected": 1}, "input"),
    "padded": (replace(RANK, packing="padded", **SHORT), {"rejected": 2}, "none"),
    "mean": (replace(SFT, reduction="microbatch_mean", **SHORT), {}, "both"),
}


def trained(name: str, out: Path, stop_after: int | None = None) -> dict[str, Any]:
    """Train and return the results: weights, displacement, gradients before each step, rows."""
    plan, shape, frozen = PLANS[name]
    model = make_model(frozen=frozen, packed=plan.shared)
    examples, gradients, steps = make_examples(9, **shape), [], []
    if name == "rank":
        recompute(model, 1)
    start = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    original = loop.make_optimizer

    def watched(params: list, *rest: Any) -> torch.optim.Optimizer:
        optimizer = original(params, *rest)

        def look(*_: Any) -> None:
            gradients.append(dict(zip(start, [distributed.full_tensor(p.grad).clone() for p in params], strict=True)))

        optimizer.register_step_pre_hook(look)
        return optimizer

    out.mkdir(exist_ok=True)
    loop.make_optimizer = watched
    how = {"out_dir": out, "log": RowLog(out / "m"), "kill_point": steps.append}
    try:
        if stop_after is None:
            train(model, examples, plan, **how)
        else:  # only the last rank requests the stop
            with pytest.raises(Stopped):
                train(
                    model,
                    examples,
                    plan,
                    should_stop=lambda: (
                        distributed.rank() == distributed.size() - 1 and steps.count("step") == stop_after
                    ),
                    **how,
                )
    finally:
        loop.make_optimizer = original
    weights = distributed.full_state_dict(model, torch.float32)
    moved = {n: weights[n] - w for n, w in start.items()} if weights else {}
    layers = 2 if distributed.size() > 1 and plan.shared else 0
    assert sum(isinstance(module, FSDPModule) for module in model.modules()) == layers
    return {"weights": weights, "moved": moved, "gradients": gradients, "rows": lasting(out / "m")}


def _process(rank: int, work: Callable[[Path], Any], out: Path) -> None:
    dist.GroupMember.WORLD = None  # left by a vLLM engine that an earlier test started in the parent process
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2)
    result = work(out)
    if rank == 0:
        torch.save(result, out / "result")
    dist.barrier()
    os._exit(0)


def in_two(work: Callable[[Path], Any], out: Path) -> Any:
    """Run `work` in two forked processes, which need no imports; return the result of the first."""
    out.mkdir()
    torch.multiprocessing.start_processes(_process, (work, out), nprocs=2, start_method="fork")
    return torch.load(out / "result")


def all_plans(out: Path) -> dict[str, Any]:
    return {name: trained(name, out / name) for name in PLANS}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_two(all_plans, tmp_path_factory.mktemp("two") / "out")


def gradient_error(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return max(map(worst_error, ours["gradients"][:1], theirs["gradients"][:1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_two_devices_do_what_one_does(name: str, two: dict[str, Any], tmp_path: Path) -> None:
    one = trained(name, tmp_path / "one")
    assert len(two[name]["gradients"]) == len(one["gradients"])
    assert gradient_error(two[name], one) <= 1e-5
    assert worst_error(two[name]["moved"], one["moved"]) <= 1e-3
    assert len(one["rows"]) == len(two[name]["rows"])
    for ours, theirs in zip(one["rows"], two[name]["rows"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-3, abs=1e-6)


def averaged(out: Path) -> dict[str, Any]:
    FSDPModule.set_gradient_divide_factor = lambda self, factor: None  # FSDP's own: the mean over devices
    return trained("base", out / "base")


def skewed(out: Path) -> dict[str, Any]:
    distributed.gather = lambda numbers: [list(numbers)]  # each device divides by the totals of its own partition
    return trained("base", out / "base")


@pytest.mark.slow
@pytest.mark.parametrize("mutation", [averaged, skewed])
def test_means_over_devices_are_noticed(mutation: Callable[[Path], Any], tmp_path: Path) -> None:
    one = trained("base", tmp_path / "one")
    wrong = in_two(mutation, tmp_path / "two")
    assert gradient_error(wrong, one) > 0.1


def stopped_and_continued(out: Path) -> dict[str, Any]:
    for name in ("rank", "base"):
        trained(name, out / name, stop_after=2)
    names = sorted(path.name for path in (out / "rank" / "checkpoint" / "2").iterdir())
    if distributed.rank() == 0:
        for name in ("rank", "base"):
            shutil.copytree(out / name, out / f"{name}-for-one")
    distributed.broadcast()
    return {"files": names, **{name: trained(name, out / name) for name in ("rank", "base")}}


def of_one(out: Path) -> dict[str, Any]:
    return {name: trained(name, out.parent / f"one-{name}") for name in ("rank", "base")}


@pytest.mark.slow
def test_checkpoints_continue_on_any_number_of_devices(two: dict[str, Any], tmp_path: Path) -> None:
    again = in_two(stopped_and_continued, tmp_path / "two")
    shards = [f"shard-0000{i}-model-00001-of-00001.safetensors" for i in (1, 2)]
    assert again["files"] == ["extra.safetensors", *shards, "state.json"]
    for name in ("rank", "base"):  # the same number: bit for bit
        assert all(torch.equal(w, two[name]["weights"][n]) for n, w in again[name]["weights"].items())
        assert again[name]["rows"] == two[name]["rows"]
        fewer = trained(name, tmp_path / "two" / f"{name}-for-one")
        assert worst_error(fewer["moved"], two[name]["moved"]) <= 1e-3
        trained(name, tmp_path / f"one-{name}", stop_after=2)
    more = in_two(of_one, tmp_path / "more")
    for name in ("rank", "base"):
        assert worst_error(more[name]["moved"], two[name]["moved"]) <= 1e-3
        assert [row["step"] for row in more[name]["rows"]] == [row["step"] for row in two[name]["rows"]]


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("same_cut", [False, True])
def test_a_window_is_shared_out_whole_and_evenly(devices: int, same_cut: bool) -> None:
    window = make_examples(40, rejected=1)
    parts = partition(window, 100, devices, same_cut=same_cut)
    assert len(parts) == devices
    assert sorted(i for part in parts for group in part for i in group) == list(range(40))
    if same_cut:
        groups = [tuple(group) for part in parts for group in part]
        assert sorted(groups) == sorted(tuple(group) for group in partition(window, 100, 1)[0])
    else:
        loads = [sum(num_tokens(window[i]) for group in part for i in group) for part in parts]
        assert max(loads) - min(loads) <= max(map(num_tokens, window))
    assert [len(part) for part in partition(window[:1], 100, devices)] == [1] + [0] * (devices - 1)
