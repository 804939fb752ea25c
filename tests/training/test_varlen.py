"""Tests of attention for rows of any length. The kernel needs a GPU: on a CPU an equivalent loop replaces it."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from memphis.losses import RankLoss
from memphis.training import attention
from memphis.training.batches import flatten
from memphis.training.loop import score
from tests.training.conftest import make_examples
from tests.training.plain import make_model, plain_gradients, worst_error
from tests.training.test_equalities import RANK, SFT, TOLERANCE, flat_gradients

Kernel = Callable[..., Tensor]


def looped(*, corner: str = "lower right", shift: int = 0, off: int = 0) -> Kernel:
    """Return torch.nn.attention.varlen.varlen_attn, by its documentation. corner, shift, off: mistakes in its use."""

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seq_q: Tensor,
        cu_seq_k: Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float | None = None,
        window_size: tuple[int, int] = (-1, -1),
        enable_gqa: bool = False,
    ) -> Tensor:
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert window_size[1] == 0
        assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
        assert enable_gqa or query.shape[1] == key.shape[1]
        assert (cu_seq_q[-1], cu_seq_k[-1]) == (len(query), len(key))
        assert (int(cu_seq_q.diff().max()), int(cu_seq_k.diff().max())) == (max_q, max_k)
        ends = cu_seq_q.clone()
        ends[1:-1] += shift
        outputs = []
        for (a, b), (c, d) in zip(ends.unfold(0, 2, 1).tolist(), cu_seq_k.unfold(0, 2, 1).tolist(), strict=True):
            q = query[a:b].transpose(0, 1)  # [H, queries, D]
            k, v = (x[c:d].transpose(0, 1).repeat_interleave(len(q) // x.shape[1], 0) for x in (key, value))
            scores = q @ k.transpose(1, 2) * (scale or 1 / math.sqrt(q.shape[-1]))
            diagonal = 0 if corner == "upper left" else (d - c) - (b - a)
            seen = torch.ones(b - a, d - c, dtype=torch.bool).tril(diagonal)
            if window_size[0] >= 0:
                seen = seen.triu(diagonal - window_size[0] - off)
            outputs.append((scores.masked_fill(~seen, -math.inf).softmax(-1) @ v).transpose(0, 1))
        return torch.cat(outputs)

    return attend


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], None]:
    def replaced(kernel: Kernel) -> None:
        monkeypatch.setattr(attention, "_has_kernel", lambda device, dtype, head_dim: True)
        monkeypatch.setattr(attention, "varlen_attn", kernel)

    return replaced


# Up to three completions share a prompt; the very first completion is a single token.
CASES = {"one": (SFT, {}, {}), "two": (RANK, {"rejected": 1}, {}), "three": (RANK, {"rejected": 2}, {})}
CASES["gold"] = (replace(RANK, objective=RankLoss(ce_target="gold")), {"rejected": 1, "gold": True}, {"gold": True})


@pytest.mark.parametrize("kind", ["stablelm", "llama"])  # as many heads for keys as for queries, and fewer
@pytest.mark.parametrize("case", CASES)
def test_it_equals_blocks_and_padded_batches(case: str, kind: str, use: Callable[[Kernel], None]) -> None:
    plan, shape, how = CASES[case]
    model, window = make_model(kind=kind), make_examples(7, longest=60, **shape)
    in_blocks, scores = flat_gradients(model, window, plan), score(model, window, plan)
    use(looped())
    packed = flat_gradients(model, window, plan)
    assert worst_error(packed, in_blocks) <= TOLERANCE
    assert (
        worst_error(packed, plain_gradients(model, window, loss="rank" if plan.objective.comparing else "sft", **how))
        <= TOLERANCE
    )
    torch.testing.assert_close(score(model, window, plan), scores, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("window", [7, 10_000])
def test_sliding_windows(window: int, use: Callable[[Kernel], None]) -> None:
    model, examples = make_model(kind="mistral", window=window), make_examples(7, longest=60, rejected=2)
    expected = plain_gradients(model, examples, loss="rank")
    assert worst_error(flat_gradients(model, examples, RANK), expected) <= TOLERANCE
    use(looped())
    assert worst_error(flat_gradients(model, examples, RANK), expected) <= TOLERANCE
    use(looped(off=1))
    assert (worst_error(flat_gradients(model, examples, RANK), expected) > 100 * TOLERANCE) == (window < 60)


@pytest.mark.parametrize("mistake", [{"corner": "upper left"}, {"shift": 1}, {"shift": -1}], ids=str)
def test_mistakes_are_noticed(mistake: dict[str, object], use: Callable[[Kernel], None]) -> None:
    model, window = make_model(), make_examples(7, rejected=1)
    expected = flat_gradients(model, window, RANK)
    use(looped(**mistake))  # type: ignore[arg-type]
    wrong = flat_gradients(model, window, RANK)
    assert not worst_error(wrong, expected) <= 1000 * TOLERANCE  # rows that attend to nothing are NaN


def test_nothing_is_padded_and_no_query_computed_twice(use: Callable[[Kernel], None]) -> None:
    model, window = make_model(), make_examples(7, rejected=2)
    batch = flatten(window, range(7))
    seen = []

    def kernel(query: Tensor, key: Tensor, *args: object, **kwargs: object) -> Tensor:
        seen.append((len(query), len(key)))
        return looped()(query, key, *args, **kwargs)

    use(kernel)
    score(model, window, replace(RANK, micro_batch_tokens=10_000))
    read = sum(len(sequence.input_ids) for example in window for sequence in example.sequences)
    assert seen == [(len(batch.input_ids), read)] * 2  # layers
    assert read > len(batch.input_ids)
    assert flatten(make_examples(7), range(7)).rows.packed.slots is None  # nothing shared, nothing gathered


def test_under_autocast_it_computes_in_half_precision(use: Callable[[Kernel], None]) -> None:
    """Check the cast: rotary embeddings leave queries and keys in float32, which the kernel does not take."""
    model, window = make_model(), make_examples(7, rejected=1)
    plan, kinds = replace(RANK, dtype="bfloat16"), set()
    expected = flat_gradients(model, window, plan)

    def kernel(query: Tensor, key: Tensor, value: Tensor, *args: object, **kwargs: object) -> Tensor:
        kinds.update((query.dtype, key.dtype, value.dtype))
        return looped()(query, key, value, *args, **kwargs)

    use(kernel)
    assert worst_error(flat_gradients(model, window, plan), expected) < 0.05
    assert kinds == {torch.bfloat16}


def test_other_devices_and_precisions_use_blocks() -> None:
    for device, dtype, head_dim in (
        ("cpu", torch.bfloat16, 64),
        ("cuda", torch.float32, 64),
        ("cuda", torch.bfloat16, 60),
    ):
        assert not attention._has_kernel(torch.device(device), dtype, head_dim)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_real_kernel_equals_blocks(kv_heads: int) -> None:
    """Compare outputs and gradients of torch's kernel in bfloat16 on a GPU with blocks in float32."""
    device = torch.device("cuda")
    window = make_examples(9, rejected=2, longest=200)
    rows = flatten(window, range(9)).to(device).rows
    torch.manual_seed(0)
    shapes = [(1, heads, int(rows.owned.sum()), 80) for heads in (4, kv_heads, kv_heads)]
    inputs = [torch.randn(shape, device=device).bfloat16() for shape in shapes]
    weights = torch.randn(1, shapes[0][2], 4, 80, device=device)
    assert attention._has_kernel(device, torch.bfloat16, 80)
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        with attention.attending(rows):
            output, _ = attention.row_attention(torch.nn.Identity(), *leaves, None, scaling=80**-0.5)
        gradients = torch.autograd.grad((output.float() * weights).sum(), leaves)
        results.append({str(i): x.float() for i, x in enumerate((output, *gradients))})
    assert worst_error(*results) < 0.02
