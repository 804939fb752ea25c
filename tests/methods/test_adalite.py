import copy
import math

import pytest
import torch

from memphis.methods import adalite
from memphis.methods.adalite import Adalite

VARIANTS = ["jan31", "feb5"]


def parameters(dtype=torch.float64) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 6), (5,), (2, 3, 4), (), (1,), (3, 1)]
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]


def feed(params, step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)


def test_first_step_by_hand():
    p = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 12.0]], dtype=torch.float64))  # norm 13
    p.grad = torch.tensor([[5.0, 1.0], [-3.0, 3.0]], dtype=torch.float64)  # centralised [[2, -2], [-3, 3]]
    Adalite([p], lr=0.1, eps=1e-12).step()
    ratio, pull = 13 / math.sqrt(26), 0.01 * (1 - 1 / 13)  # g / sqrt(g²) = ±1, whose rms is 1
    expected = torch.tensor(
        [[3 - 0.1 * (ratio + 3 * pull), 4 - 0.1 * (-ratio + 4 * pull)], [0.1 * ratio, 12 - 0.1 * (ratio + 12 * pull)]]
    )
    torch.testing.assert_close(p.detach(), expected.double())


def test_eps_accumulates_in_the_statistic():
    p = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
    optimizer = Adalite([p], lr=0.0)
    seen = {}
    for step in range(1, 101):
        p.grad = torch.zeros_like(p)
        optimizer.step()
        seen[step] = optimizer.state[p]["c"][0].item() / 1e-5
    expected = {1: 1, 2: 1.43, 3: 1.83, 10: 4.43, 50: 16.7, 100: 30.0}
    assert {step: seen[step] for step in expected} == pytest.approx(expected, abs=0.05)
    assert torch.equal(p, torch.ones_like(p))


@pytest.mark.parametrize(("std", "relative"), [(1e-6, 316), (1e-3, 281), (1e-2, 83), (1e-1, 9.8)])
def test_size_of_the_first_step(std, relative):
    """Check the first step: 316 lr for small gradients of any size; for large ones it shrinks as the gradient grows."""
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(1024, 1024))
    before = p.detach().clone()
    p.grad = std * torch.randn(1024, 1024)
    Adalite([p], lr=1e-5, decay=0).step()
    assert ((p - before).norm() / before.norm()).item() / 1e-5 == pytest.approx(relative, rel=0.03)


def test_norm_is_pulled_to_one():
    for size in (0.1, 10.0):
        p = torch.nn.Parameter(torch.full((4,), size / 2, dtype=torch.float64))
        p.grad = 1e-30 * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        with_pull, without = copy.deepcopy(p), copy.deepcopy(p)
        with_pull.grad, without.grad = p.grad.clone(), p.grad.clone()
        Adalite([with_pull], lr=0.1, decay=0.5).step()
        Adalite([without], lr=0.1, decay=0.0).step()
        torch.testing.assert_close((with_pull - without).detach(), -0.1 * 0.5 * (p - p / size).detach())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("through_file", [False, True])
def test_resumes_bit_for_bit(variant, through_file, tmp_path):
    straight, broken = parameters(torch.float32), parameters(torch.float32)
    one, two = (Adalite(p, lr=0.01, variant=variant) for p in (straight, broken))
    for step in range(6):
        if step == 3:
            state = copy.deepcopy(two.state_dict())
            if through_file:
                torch.save(state, tmp_path / "optimizer.pt")
                state = torch.load(tmp_path / "optimizer.pt", weights_only=True)
            broken = [torch.nn.Parameter(p.detach().clone()) for p in broken]
            two = Adalite(broken, lr=99.0, variant=variant)  # lr comes from the state too
            two.load_state_dict(state)
        for params, optimizer in ((straight, one), (broken, two)):
            feed(params, step)
            optimizer.step()
    for a, b in zip(straight, broken, strict=True):
        assert torch.equal(a, b)
        assert two.state[b]["step"] == 6
        assert torch.equal(one.state[a]["c"], two.state[b]["c"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_is_one_number_per_row_or_column(variant):
    params = parameters()
    optimizer = Adalite(params, lr=0.01, variant=variant)
    feed(params, 0)
    optimizer.step()
    shapes = [tuple(optimizer.state[p]["c"].shape) for p in params]
    assert shapes == {"jan31": [(4,), (), (2,), (), (), (3,)], "feb5": [(6,), (), (4,), (), (), (1,)]}[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_shapes_stay_finite_and_gradients_are_left_alone(variant):
    params = parameters(torch.float32)
    optimizer = Adalite(params, lr=0.01, variant=variant)
    for step in range(4):
        feed(params, step)
        grads = [p.grad.clone() for p in params]
        optimizer.step()
        for p, grad in zip(params, grads, strict=True):
            assert torch.equal(p.grad, grad)
            assert p.isfinite().all()


def test_missing_gradients_and_frozen_parameters():
    used, unused, frozen = parameters()[:3]
    frozen.requires_grad_(False)
    before = unused.detach().clone(), frozen.detach().clone()
    optimizer = Adalite([used, unused, frozen], lr=0.1)
    used.grad = torch.ones_like(used) + torch.eye(4, 6)
    optimizer.step()
    assert torch.equal(unused, before[0])
    assert torch.equal(frozen, before[1])
    assert set(optimizer.state) == {used}
    unused.grad = torch.arange(5.0, dtype=torch.float64)
    optimizer.step()
    assert (optimizer.state[used]["step"], optimizer.state[unused]["step"]) == (2, 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_parameter_and_zero_gradient(variant):
    zero, still = torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.ones(3, 2))
    zero.grad, still.grad = torch.tensor([[1.0, -1.0]] * 3), torch.zeros(3, 2)
    Adalite([zero, still], lr=0.1, eps=1e-12, variant=variant).step()
    torch.testing.assert_close(zero.detach(), torch.tensor([[-0.1, 0.1]] * 3))  # no trust ratio: steps of lr
    assert torch.equal(still, torch.ones(3, 2))


def test_step_zero_of_a_warm_up_moves_nothing_but_counts():
    p = parameters()[0]
    before = p.detach().clone()
    optimizer = Adalite([p], lr=0.0)
    feed([p], 0)
    optimizer.step()
    assert torch.equal(p, before)
    assert optimizer.state[p]["step"] == 1


def test_groups_have_their_own_settings():
    a, b = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(2, 3))
    optimizer = Adalite([{"params": [a], "lr": 0.0}, {"params": [b]}], lr=0.1)
    feed([a, b], 0)
    optimizer.step()
    assert torch.equal(a, torch.ones(2, 3))
    assert not torch.equal(b, torch.ones(2, 3))


def test_closure():
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))

    def closure() -> torch.Tensor:
        loss = p.square().sum()
        loss.backward()
        return loss

    assert Adalite([p], lr=0.1).step(closure).item() == 5
    assert p[0] != 1


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": -1.0},
        {"lr": 0.1, "eps": 0.0},
        {"lr": 0.1, "decay": -1},
        {"lr": 0.1, "beta_decay": -1},
        {"lr": 0.1, "variant": "v2"},
    ],
)
def test_refuses(settings):
    with pytest.raises(ValueError, match=r"negative|variant"):
        Adalite(parameters(), **settings)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_scale_of_small_gradients_does_not_matter(variant):
    """Show that a wrong normalisation of the loss never shows in weights: other tests must compare gradients."""
    moved = []
    for scale in (1e-9, 1e-7):
        p = parameters()[0]
        before = p.detach().clone()
        optimizer = Adalite([p], lr=1e-3, decay=0, variant=variant)
        feed([p], 0)
        p.grad *= scale
        optimizer.step()
        moved.append(p.detach() - before)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-6, atol=0)


def test_largest_temporary_is_one_parameter():
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            assert "_foreach" not in str(function)
            assert "_local_scalar_dense" not in str(function)  # .item(): waits for the device
            sizes.append(out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    params = [torch.nn.Parameter(torch.randn(8, 16)) for _ in range(5)]
    feed(params, 0)
    with Watch():
        Adalite(params, lr=0.1).step()
    assert max(sizes) == 8 * 16


def _sharded(rank: int, init_file: str) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for variant in VARIANTS:
        torch.manual_seed(0)
        layers = [torch.nn.Linear(6, 7), torch.nn.LayerNorm(7), torch.nn.Linear(7, 5), torch.nn.Linear(5, 1)]
        plain = torch.nn.Sequential(*layers).double()
        sharded = copy.deepcopy(plain)
        fully_shard(sharded, mesh=mesh)
        for step in range(4):
            for model in (plain, sharded):
                if step == 0:
                    model.optimizer = Adalite(model.parameters(), lr=0.01, variant=variant)
                inputs = torch.randn(3, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
                model(inputs).square().sum().backward()
                model.optimizer.step()
                model.optimizer.zero_grad()
        for a, b in zip(plain.parameters(), sharded.parameters(), strict=True):
            torch.testing.assert_close(b.full_tensor(), a.detach())
    dist.destroy_process_group()


@pytest.mark.slow
def test_sharded_parameters_take_the_same_steps(tmp_path):
    """Compare two FSDP2 processes with one; numbers of rows that do not divide by two (7, 5 and 1)."""
    torch.multiprocessing.spawn(_sharded, args=(str(tmp_path / "store"),), nprocs=2)


def test_centralized():
    x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    assert adalite.centralized(x).tolist() == [[-1, 1], [0, 0]]
    assert adalite.centralized(torch.tensor([1.0, 3.0])).tolist() == [-1, 1]
    assert adalite.centralized(torch.tensor([4.0])).tolist() == [4]
    assert adalite.centralized(torch.tensor(4.0)).item() == 4
