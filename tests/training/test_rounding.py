"""Tests of bfloat16 master weights with stochastic rounding in the real loop: resumed and cut anew, bit for bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memphis.config.sections import Optim
from memphis.errors import Stopped
from memphis.jsonl import RowLog, read_rows
from memphis.training.loop import make_optimizer, train
from memphis.training.rounded_step import rounded_step
from memphis.training.train_plan import TrainPlan
from tests.training.conftest import make_examples
from tests.training.plain import make_model

PLAN = TrainPlan(
    family="sft",
    epochs=2,
    global_batch_size=5,
    optim=Optim(lr=1e-4),
    seed=3,
    micro_batch_tokens=60,
    rounding="stochastic",
)
OPTIMS = [Optim(lr=1e-4), Optim(name="adamw", lr=1e-4)]


def trained(root: Path, plan: TrainPlan, **how) -> dict[str, torch.Tensor]:
    root.mkdir(exist_ok=True)
    model = make_model().bfloat16()
    train(model, make_examples(10), plan, out_dir=root, log=RowLog(root / "m"), **how)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("optim", OPTIMS, ids=lambda optim: optim.name)
def test_resumed_it_ends_bit_for_bit_as_unbroken(optim: Optim, tmp_path: Path) -> None:
    plan = replace(PLAN, optim=optim)
    whole = trained(tmp_path / "whole", plan)
    assert {p.dtype for p in whole.values()} == {torch.bfloat16}
    with pytest.raises(Stopped):
        trained(tmp_path / "broken", plan, should_stop=lambda: True)
    broken = trained(tmp_path / "broken", plan)
    assert all(torch.equal(broken[name], whole[name]) for name in whole)
    other = trained(tmp_path / "other", replace(plan, seed=4))
    assert not all(torch.equal(other[name], whole[name]) for name in whole)


def test_the_log_tells_the_share_of_weights_that_moved(tmp_path: Path) -> None:
    shares = {}
    for rounding in ("nearest", "stochastic"):
        trained(tmp_path / rounding, replace(PLAN, rounding=rounding, optim=Optim(lr=1e-6)))
        shares[rounding] = read_rows(tmp_path / rounding / "m")[2]["optim/moved_frac"]
    assert 0 < shares["nearest"] < shares["stochastic"] < 0.5


@pytest.mark.parametrize("optim", OPTIMS, ids=lambda optim: optim.name)
def test_the_draws_do_not_depend_on_the_gradients_or_on_other_tensors(optim: Optim) -> None:
    """Check the draws: a window cut differently, which changes gradients by rounding, must get the same draws."""

    def stepped(gradients: list[torch.Tensor | None]) -> list[torch.Tensor]:
        params = [torch.nn.Parameter(torch.full((64, 64), 0.5).bfloat16()) for _ in gradients]
        optimizer = make_optimizer(params, optim)
        for p, gradient in zip(params, gradients, strict=True):
            p.grad = gradient
        rounded_step(optimizer, params, seed=1, step=2)
        assert all(p.grad is None for p in params)
        assert all(value.dtype is not torch.bfloat16 for p in params for value in optimizer.state[p].values()
                   if isinstance(value, torch.Tensor))  # fmt: skip
        return [p.detach() for p in params]

    draw = torch.Generator().manual_seed(0)
    one, two = (torch.randn(64, 64, generator=draw).bfloat16() for _ in range(2))
    both = stepped([one, two])
    assert torch.equal(stepped([None, two])[1], both[1])
    assert torch.equal(stepped([one, one])[0], both[0])
    assert (both[0] != 0.5).any()
    assert not torch.equal(stepped([one, one])[1], both[0])  # equal updates of two tensors are rounded independently
    assert (stepped([None, None])[0] == 0.5).all()


def test_the_optimizers_own_result_is_what_is_rounded() -> None:
    """Check that the average step over draws is that of a float32 parameter, for both optimizers."""
    for optim in OPTIMS:
        draw = torch.Generator().manual_seed(0)
        start, gradient = (torch.randn(32, 32, generator=draw).bfloat16() for _ in range(2))
        exact = torch.nn.Parameter(start.float())
        exact.grad = gradient.float()
        make_optimizer([exact], optim).step()
        total = torch.zeros(32, 32)
        for seed in range(300):
            p = torch.nn.Parameter(start.clone())
            p.grad = gradient.clone()
            rounded_step(make_optimizer([p], optim), [p], seed=seed, step=0)
            total += p.detach().float() - start.float()
        intended = (exact - start.float()).detach()
        assert ((total / 300 * intended).sum() / intended.square().sum()).item() == pytest.approx(1.0, abs=0.15)
