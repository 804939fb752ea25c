"""Conversion of examples to flat micro-batches: all tokens of several examples in one row without padding, prompts that
several completions share once. Indices only, no model. Vectorised with numpy; see layout.py for what rows are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memphis.data.tokens import Example
from memphis.data.tokens import Sequence as TokenSequence
from memphis.training.layout import Ints, Rows
from memphis.training.train_plan import GOLD


@dataclass(frozen=True)
class FlatBatch:
    """Flat micro-batch of T tokens, S sequences of B examples, N targets (tokens that are trained)."""

    members: tuple[int, ...]  # [B] positions of the examples in the list that was cut
    spans: tuple[tuple[int, int], ...]  # [B] flat start and number of tokens of every example
    longest: tuple[int, ...]  # [B] true length of the example's longest sequence
    rows: Rows
    input_ids: Tensor  # [T]
    position_ids: Tensor  # [T] restart at 0 in every sequence; completions go on from the prompt's length
    predictors: Tensor  # [N] flat position whose hidden state predicts the target
    targets: Tensor  # [N] token ids
    target_sequence: Tensor  # [N] sequence of the target, non-decreasing
    counts: Tensor  # [S] targets of every sequence
    sequence_member: Tensor  # [S] 0..B-1
    column: Tensor  # [S] role of the sequence: 0, 1.. or GOLD

    def to(self, device: torch.device) -> "FlatBatch":
        """Return the batch with its tensors on `device`."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor | Rows)
        }
        return replace(self, **moved)


def sequences_of(example: Example) -> list[tuple[int, TokenSequence]]:
    """Return (column, sequence) pairs of an example, the gold sequence last."""
    pairs = list(enumerate(example.sequences))
    return pairs if example.gold is None else [*pairs, (GOLD, example.gold)]


def num_tokens(example: Example, shared: bool = True) -> int:
    """Return the number of an example's tokens: every completion and its prompt, the latter once if it is shared."""
    sequences = sequences_of(example)
    again = (len(sequences) - 1) * example.prompt_length if shared else 0
    return sum(len(s.input_ids) for _, s in sequences) - again


def cut(examples: Sequence[Example], budget_tokens: int, shared: bool = True) -> list[list[int]]:
    """Return positions of the examples of every micro-batch: longest first, at most `budget_tokens` tokens each (a
    longer example is alone). The cut changes rounding only: every number that the loss is divided by is taken over
    the whole window (except with reduction microbatch_mean). shared: prompts are computed once; see num_tokens."""
    sizes = [num_tokens(example, shared) for example in examples]
    groups: list[list[int]] = []
    room = 0
    for member in sorted(range(len(examples)), key=lambda i: -sizes[i]):
        if not groups or sizes[member] > room:
            groups.append([])
            room = budget_tokens
        groups[-1].append(member)
        room -= sizes[member]
    return groups


def partition(
    examples: Sequence[Example], budget_tokens: int, num_devices: int, *, same_cut: bool = False, shared: bool = True
) -> list[list[list[int]]]:
    """Return for every device its part of a window: positions of the examples of each of its micro-batches.

    Devices get equal numbers of tokens, as nearly as examples allow. same_cut: they divide the micro-batches that one
    device would have.
    """
    if same_cut or num_devices == 1:
        groups = cut(examples, budget_tokens, shared)
        return [groups[device::num_devices] for device in range(num_devices)]
    sizes = [num_tokens(example, shared) for example in examples]
    owned: list[list[int]] = [[] for _ in range(num_devices)]
    loads = [0] * num_devices
    for member in sorted(range(len(examples)), key=lambda i: -sizes[i]):
        device = loads.index(min(loads))
        owned[device].append(member)
        loads[device] += sizes[member]
    cuts = [cut([examples[i] for i in own], budget_tokens, shared) for own in owned]
    return [[[own[i] for i in group] for group in mine] for own, mine in zip(owned, cuts, strict=True)]


def flatten(examples: Sequence[Example], members: Sequence[int]) -> FlatBatch:
    """Build one flat micro-batch of the examples at the positions `members`."""
    tokens: list[list[int]] = []
    labels: list[list[int]] = []
    table: list[tuple[int, int, int, int, int, int]] = []  # per sequence; its columns are unpacked and named below
    spans: list[tuple[int, int]] = []
    longest: list[int] = []
    end = 0
    for number, member in enumerate(members):
        example = examples[member]
        start, prompt = end, example.prompt_length
        sequences = sequences_of(example)
        for k, (role, one) in enumerate(sequences):
            tokens.append(one.input_ids[prompt:] if k else one.input_ids)
            labels.append(one.labels)
            own = end if k else start + prompt  # flat start of what follows the prompt
            end = own + len(one.input_ids) - prompt
            table.append((start, own, prompt, len(one.input_ids), number, role))
        spans.append((start, end - start))
        longest.append(max(len(s.input_ids) for _, s in sequences))
    starts, rests, prompts, lengths, numbers, columns = np.array(table, dtype=np.int64).T
    first = np.diff(numbers, prepend=-1) != 0  # the sequence that owns the example's prompt

    input_ids = _concatenate(tokens)
    rows = Rows(starts, rests, prompts, lengths, first)
    flat, position, sequence = rows.reads()
    position_ids = np.empty(end, dtype=np.int64)
    position_ids[flat] = position

    label = _concatenate(labels)
    trained = np.flatnonzero((label != -100) & (position > 0))  # the first token of a sequence has no predictor
    return FlatBatch(
        members=tuple(members),
        spans=tuple(spans),
        longest=tuple(longest),
        rows=rows,
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        predictors=torch.from_numpy(flat[trained - 1]),
        targets=torch.from_numpy(label[trained]),
        target_sequence=torch.from_numpy(sequence[trained]),
        counts=torch.from_numpy(np.bincount(sequence[trained], minlength=len(lengths))),
        sequence_member=torch.from_numpy(numbers.copy()),
        column=torch.from_numpy(columns.copy()),
    )


def _concatenate(lists: list[list[int]]) -> Ints:
    return np.concatenate([np.array(part, dtype=np.int64) for part in lists])
