"""Tests of top-p without a full sort: exactly what sorting everything gives, in both engines."""

import pytest
import torch

from memphis.sampling import hf
from memphis.sampling.hf import choose
from memphis.sampling.top_p import MOST, SMALL, mask_rest, nucleus

VOCABULARY = 3 * SMALL


def logits(seed: int, scale: float, rows: int = 24) -> torch.Tensor:
    """Draw rows that are flat, peaked, full of equal logits, and at the very edge of a top_p of 0.5 and 0.8."""
    drawn = torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * scale
    drawn[1] = drawn[1].bfloat16().float()
    drawn[2], drawn[2, :2] = -30.0, 1.0  # two halves, equal
    drawn[3], drawn[3, 5], drawn[3, 9] = -40.0, 0.8, 0.8 - torch.tensor(4.0).log()  # 80 and 20 %
    drawn[4] = 0.0  # no order at all
    drawn[5], drawn[5, 7] = -torch.inf, 0.0
    return drawn


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.5, 0.8, 0.95, 0.99999])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_transformers_draws_what_it_drew(top_p: float, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    given = logits(3, scale)
    found = [choose(given, 0.7, top_p, torch.Generator().manual_seed(seed)) for seed in range(4)]
    monkeypatch.setattr(hf, "SMALL", VOCABULARY)
    for seed, tokens in enumerate(found):
        assert torch.equal(choose(given, 0.7, top_p, torch.Generator().manual_seed(seed)), tokens)


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_vllm_masks_what_it_masked(top_p: float, scale: float) -> None:
    given = logits(4, scale)
    each = torch.full((len(given),), top_p)
    expected = masked(given.clone(), each)
    found = given.clone()
    unsure = mask_rest(found, each)
    assert torch.equal(found[unsure], given[unsure])
    found[unsure] = masked(found[unsure], each[unsure])
    assert torch.equal(found, expected)
    if scale == 6.0 and top_p in (0.3, 0.5, 0.8):
        assert len(unsure) < len(given) / 2  # the others are not left to the sort


def masked(logits: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Mask as vLLM 0.32 does, ascending."""
    ordered, order = logits.sort(dim=-1, descending=False)
    total = torch.cumsum(ordered.softmax(dim=-1), dim=-1)
    mask = total <= 1 - p.unsqueeze(dim=1)
    mask[:, -1] = False
    return logits.scatter_(dim=-1, index=order, src=ordered.masked_fill(mask, -torch.inf))


def test_rows_in_doubt_are_unsure() -> None:
    shares = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.5, 0.29999, 0.15, 0.05], [0.4, 0.4, 0.15, 0.05]])
    few = torch.tensor([[0.2, 0.2, 0.1, 0.1]])
    inside, sure = nucleus(shares, shares, 0.7)
    assert inside.tolist() == [[True, True, False, False]] * 3
    assert sure.tolist() == [True, True, False]  # equal tokens
    assert nucleus(shares, shares, 0.8)[1].tolist() == [False, False, False]  # at the edge
    assert nucleus(few, few, 0.7)[1].tolist() == [False]  # not reached
    assert not nucleus(shares * torch.nan, shares * torch.nan, 0.7)[1].any()
    assert MOST < SMALL
