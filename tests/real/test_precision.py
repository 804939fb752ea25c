"""Precision of the packed path on a real model, against a float64 run of the plain one."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from memphis.data.tokens import Example, Sequence, load_tokenizer, sft_examples
from memphis.training.attention import attending
from memphis.training.batches import cut, flatten, sequences_of
from memphis.training.forward import target_logps
from memphis.training.model import load

pytestmark = pytest.mark.slow

ROWS = 14
PAIRS = 6  # of them get the next row's completion as a second one, so that prompts are shared


def real_examples(model: Path, shared: Path) -> list[Example]:
    """Return 20 sequences of real rows, of 76 to 405 tokens."""
    lines = (shared / "data" / "tinycot_sample" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()[::28]
    rows = [json.loads(line) for line in lines[:ROWS]]
    rows = [{**row, "kind": "cot", "answer": row["target"]} for row in rows]
    examples, counts = sft_examples(rows, load_tokenizer(model), max_length=1024, eos="final", overlong="drop")
    assert counts["kept"] == ROWS
    pairs = []
    for example, other in pairwise(examples[: PAIRS + 1]):
        (chosen,), prompt = example.sequences, example.prompt_length
        tail = other.sequences[0].input_ids[other.prompt_length :]
        second = Sequence(chosen.input_ids[:prompt] + tail, [-100] * prompt + tail)
        pairs.append(Example(example.id, (chosen, second), prompt))
    return [*pairs, *examples[PAIRS:]]


@torch.no_grad()
def packed_logps(model: PreTrainedModel, examples: list[Example]) -> list[Tensor]:
    """Return the targets' log-probabilities of every sequence as training computes them."""
    found: dict[tuple[int, int], Tensor] = {}
    for members in cut(examples, 1024):
        batch = flatten(examples, members)
        with attending(batch.rows):
            parts = target_logps(model, batch, dtype=torch.float32).split(batch.counts.tolist())
        for part, member, column in zip(parts, batch.sequence_member.tolist(), batch.column.tolist(), strict=True):
            found[members[member], column] = part.double()
    return [found[key] for key in sorted(found)]


@torch.no_grad()
def plain_logits(model: PreTrainedModel, examples: list[Example]) -> list[tuple[Tensor, Tensor]]:
    """Return (logits [N, V], targets [N]) of every sequence, run alone through the model's own forward pass."""
    found = []
    for sequence in (sequence for example in examples for _, sequence in sequences_of(example)):
        labels = torch.tensor(sequence.labels[1:])
        logits = model(input_ids=torch.tensor([sequence.input_ids])).logits[0, :-1]
        found.append((logits[labels != -100], labels[labels != -100]))
    return found


def logps(logits: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> list[Tensor]:
    """Return the targets' log-probabilities, with the softmax in `dtype`."""
    return [x.to(dtype).log_softmax(-1).gather(-1, y[:, None])[:, 0].double() for x, y in logits]


def test_packed_is_as_near_to_float64_as_the_plain_model_is(smollm2: Path, shared: Path) -> None:
    """Compare with `model(ids).logits`, one sequence at a time.

    The float32 plain run gives each sequence a higher log-probability than the packed run, by 3e-4 to 3e-3. That is a
    property of torch's `log_softmax` (and `cross_entropy`) on a CPU, not of packing. In float32 it adds up the
    exponentials of the vocabulary one after the other in each lane of a vector register: with 49,152 tokens and the 16
    lanes of AVX-512 these are 3,072 additions, and a term below half a unit in the last place of the running sum is
    lost. The sum is too small, every log-probability 9e-6 too large, and 100 targets make 1e-3. The same additions in
    numpy give the same errors to three digits; with 8 lanes (AVX2) they are twice as large, and over the first 2,000
    tokens alone a thirtieth. `losses.target_logps` uses `sum`, which adds in a tree: 4e-8.

    Nothing else contributes. RoPE's tables are computed in float32 by the same code from the same positions; attention
    and matrix products add in another order, which moves both float32 runs by 3e-6 a token, up as often as down. In
    the float64 run transformers still takes norms and tables in float32; norms in float64 change it by 4e-7.
    """
    examples = real_examples(smollm2, shared)
    packed = packed_logps(load(smollm2)[0].eval(), examples)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    logits = plain_logits(model, examples)
    plain, exact_softmax = logps(logits, torch.float32), logps(logits, torch.float64)
    reference = logps(plain_logits(model.double(), examples), torch.float64)
    assert len(packed) == len(reference) == ROWS + PAIRS

    def off(found: list[Tensor]) -> Tensor:
        return torch.cat(found) - torch.cat(reference)

    errors = {"packed": off(packed), "plain": off(plain), "plain, exact softmax": off(exact_softmax)}
    for name, error in errors.items():
        print(f"{name}: mean {error.abs().mean():.1e}, largest {error.abs().max():.1e}, signed {error.mean():.1e}")
    assert errors["packed"].abs().mean() <= errors["plain"].abs().mean()
    assert errors["packed"].abs().max() <= errors["plain"].abs().max()
    # The forward pass alone: neither is nearer, and what is left is a hundredth of the difference.
    assert errors["packed"].abs().mean() <= 1.2 * errors["plain, exact softmax"].abs().mean()
    gaps = torch.stack([(a - b).sum() for a, b in zip(packed, exact_softmax, strict=True)])
    more = torch.stack([(a - b).sum() for a, b in zip(plain, packed, strict=True)])
    print(f"plain minus packed, a sequence: {more.min():.1e} to {more.max():.1e}")
    print("packed minus plain with an exact softmax, a sequence:", " ".join(f"{gap:.0e}" for gap in gaps))
    assert gaps.abs().max() < 3e-4
    assert torch.cat([a - b for a, b in zip(packed, exact_softmax, strict=True)]).mean().abs() < 1e-6
