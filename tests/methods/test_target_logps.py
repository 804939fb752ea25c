import pytest
import torch
from torch import Tensor

from memphis.methods import losses
from memphis.methods.losses import target_logps


def problem(dtype=torch.float64, n=9, width=5, vocab=11) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, width, generator=generator, dtype=dtype)
    weight = torch.randn(vocab, width, generator=generator, dtype=dtype)
    bias = torch.randn(vocab, generator=generator, dtype=dtype)
    return hidden, weight, bias, torch.randint(vocab, (n,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    return logits.log_softmax(1).gather(1, targets[:, None]).squeeze(1)


def gradients(function, hidden, weight, bias, targets, trainable: bool) -> list[Tensor]:
    hidden = hidden.clone().requires_grad_()
    weight, bias = weight.clone().requires_grad_(trainable), bias.clone().requires_grad_(trainable)
    logps = function(hidden, weight, bias, targets)
    scale = torch.linspace(-2, 3, len(targets), dtype=logps.dtype)
    (logps * scale).sum().backward()
    return [logps.detach(), hidden.grad, *([weight.grad, bias.grad] if trainable else [])]


def chunked(rows: int, vocab: int = 11):
    def function(hidden, weight, bias, targets):
        itemsize = 8 if hidden.dtype == torch.float64 else 4
        return target_logps(hidden, weight, targets, bias=bias, chunk_bytes=rows * vocab * itemsize)

    return function


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_gradcheck(trainable, with_bias, rows):
    hidden, weight, bias, targets = problem()
    hidden.requires_grad_()
    weight.requires_grad_(trainable)
    bias.requires_grad_(trainable)

    def function(hidden, weight, bias):
        return target_logps(hidden, weight, targets, bias=bias if with_bias else None, chunk_bytes=rows * 88)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 9, 1000])
def test_same_as_log_softmax_whatever_the_chunk(trainable, rows):
    arguments = problem()
    for ours, theirs in zip(
        gradients(chunked(rows), *arguments, trainable), gradients(plain, *arguments, trainable), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("trainable", [False, True])
def test_float32_to_the_tolerance_of_training(trainable):
    arguments = problem(torch.float32, n=200, width=64, vocab=501)
    for ours, theirs in zip(
        gradients(chunked(33, 501), *arguments, trainable), gradients(plain, *arguments, trainable), strict=True
    ):
        assert (ours - theirs).norm() / theirs.norm() < 1e-6


@pytest.mark.parametrize("trainable", [False, True])
def test_bfloat16_is_as_near_as_plain_autograd(trainable):
    exact = problem(torch.float64, n=64, width=32, vocab=101)
    low = [x.bfloat16() if x.is_floating_point() else x for x in exact]
    rounded = [x.double() if x.is_floating_point() else x for x in low]
    truth = gradients(plain, *rounded, trainable)
    ours = gradients(chunked(10, 101), *low, trainable)
    theirs = gradients(
        lambda h, w, b, t: losses.token_logps(torch.nn.functional.linear(h, w, b)[:, None], torch.stack([t, t], 1))[
            :, 0
        ],
        *low,
        trainable,
    )
    assert [x.dtype for x in ours] == [torch.float32] + [torch.bfloat16] * (len(ours) - 1)
    for a, b, true in zip(ours, theirs, truth, strict=True):
        assert (a - true).norm() <= 1.2 * (b - true).norm()


def test_confident_tokens_keep_their_small_gradient_in_bfloat16():
    weight = torch.eye(2).bfloat16() * 8
    hidden = torch.tensor([[1.0, 0.0]]).bfloat16().requires_grad_()  # p of the target: 1 - 3.4e-4
    target_logps(hidden, weight, torch.tensor([0])).backward()
    assert hidden.grad[0, 0].item() == pytest.approx(8 * 3.353e-4, rel=0.01)  # W[y] - p W, rounded apart, would be 0


def test_autocast_decides_the_dtype():
    hidden, weight, bias, targets = problem(torch.float32)
    for trainable in (False, True):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(trainable)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logps = target_logps(h, w, targets, bias=bias)
        expected = target_logps(hidden.bfloat16(), weight.bfloat16(), targets, bias=bias.bfloat16())
        assert torch.equal(logps, expected)
        logps.sum().backward()
        assert h.grad.dtype == torch.float32
        assert not trainable or w.grad.dtype == torch.float32


def test_no_gradient_where_none_is_wanted():
    hidden, weight, _, targets = problem()
    assert not target_logps(hidden, weight, targets).requires_grad
    with torch.no_grad():
        assert not target_logps(hidden.requires_grad_(), weight.requires_grad_(), targets).requires_grad
    hidden = hidden.detach()
    weight.grad = None
    target_logps(hidden, weight, targets).sum().backward()  # only the head learns
    assert weight.grad.abs().sum() > 0


def test_no_targets():
    hidden, weight, _, targets = problem()
    for trainable in (False, True):
        h, w = hidden[:0].clone().requires_grad_(), weight.clone().requires_grad_(trainable)
        logps = target_logps(h, w, targets[:0])
        assert logps.shape == (0,)
        logps.sum().backward()
        assert not trainable or (w.grad == 0).all()


def test_large_logits_stay_finite():
    hidden, weight, bias, targets = problem(torch.float32)
    logps = target_logps(1e4 * hidden.requires_grad_(), weight, targets, bias=bias)
    logps.sum().backward()
    assert logps.isfinite().all()
    assert hidden.grad.isfinite().all()


@pytest.mark.parametrize("trainable", [False, True])
def test_no_tensor_is_larger_than_a_chunk(trainable):
    """Check the largest tensor made in forward and backward, recorded by a dispatch mode."""
    from torch.utils._python_dispatch import TorchDispatchMode

    n, width, vocab, chunk_bytes = 64, 4, 1000, 8 * 4000
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(x.nbytes for x in (out if isinstance(out, tuple | list) else [out]) if isinstance(x, Tensor))
            return out

    hidden, weight, _, targets = problem(torch.float32, n, width, vocab)
    hidden.requires_grad_()
    weight.requires_grad_(trainable)
    with Watch():
        target_logps(hidden, weight, targets, chunk_bytes=chunk_bytes).sum().backward()
    assert max(sizes) == chunk_bytes < n * vocab * 4


def test_refuses_shapes_that_do_not_fit():
    hidden, weight, _, targets = problem()
    for arguments in [
        (hidden, weight[:, :-1], targets),
        (hidden, weight, targets[:-1]),
        (hidden[None], weight, targets),
    ]:
        with pytest.raises(ValueError, match="are not"):
            target_logps(*arguments)


@pytest.mark.parametrize("trainable", [False, True])
def test_exact_for_losses_built_on_it(trainable):
    """Compare MixCE plus rank of three sequences through the chunked head with the gradients of full logits."""
    arguments = problem()
    ids = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])

    def loss_on(function):
        def run(hidden, weight, bias, targets):
            logps = function(hidden, weight, bias, targets)
            sums, counts = losses.per_sequence(logps, ids, 3)
            total, count = losses.mixce(logps[ids == 0], 0.75)
            return total / count + 0.25 * losses.rank((sums / counts)[None], torch.ones(1, 3, dtype=torch.bool))

        return run

    def run(function):
        hidden, weight, bias = (x.clone().requires_grad_(i == 0 or trainable) for i, x in enumerate(arguments[:3]))
        loss_on(function)(hidden, weight, bias, arguments[3]).backward()
        return [x.grad for x in (hidden, weight, bias) if x.requires_grad]

    for ours, theirs in zip(run(chunked(2)), run(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("head", ["frozen", "trainable", "no gradient"])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_greedy_says_where_the_target_is_the_most_likely_token(head, rows):
    hidden, weight, bias, targets = problem()
    likeliest = (hidden @ weight.T + bias).argmax(1)
    targets[::2] = likeliest[::2]
    greedy = torch.zeros(len(targets), dtype=torch.bool)
    hidden.requires_grad_(head != "no gradient")
    weight.requires_grad_(head == "trainable")
    given = target_logps(hidden, weight, targets, bias=bias, greedy=greedy, chunk_bytes=rows * 11 * 8)
    assert torch.equal(greedy, targets == likeliest)
    assert 0 < greedy.sum() < len(greedy)
    assert torch.equal(given, target_logps(hidden, weight, targets, bias=bias, chunk_bytes=rows * 11 * 8))
