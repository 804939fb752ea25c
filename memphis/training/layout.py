"""Layout of attention's inputs in a flat micro-batch. A sequence is a *row*: the flat positions it reads, in order.

A prompt that several completions share is read by all their rows and *owned* by the first; every flat position is owned
by exactly one row. Index lists are made on first use, once for a micro-batch. Vectorised with numpy.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]

# A row joins a block of attention if it has at least this share of the block's length. Attention costs length^2, a
# block about 0.1 ms (CPU): 0.85 to 0.98 are within 5 %, 0.5 costs 30 to 40 % more (rows of 20 to 400 tokens).
_BLOCK_RATIO = 0.9


@dataclass(frozen=True)
class Slots:
    """Copies of flat positions (several of shared ones), in the order in which attention reads them."""

    flat: Tensor  # [slots] flat position that a slot reads; 0 in padding
    home: Tensor  # [T] slot of the row that owns a flat position
    shared: tuple[tuple[Tensor, Tensor], ...]  # (slots, flat positions) of further readers; in each a position once


@dataclass(frozen=True)
class Blocks:
    """Rows of similar length side by side. Padding comes after all real queries: a causal call needs no mask."""

    shapes: tuple[tuple[int, int], ...]  # rows and padded length of every block; slots are numbered block after block
    slots: Slots


@dataclass(frozen=True)
class Packed:
    """Rows one after the other, without padding. A row's queries are what it owns: all flat positions in flat order.

    Its keys are all that it reads, so that its queries are the last of them.
    """

    slots: Slots | None  # of keys and values; None where they are all flat positions in flat order, too
    query_ends: Tensor  # [rows + 1] int32, begins with 0
    key_ends: Tensor  # [rows + 1] int32, begins with 0
    longest_query: int
    longest_key: int


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in flat order, an entry per sequence: it reads its prompt from `start`, then its rest from `rest`."""

    start: Ints  # flat position of the prompt
    rest: Ints  # flat position of what follows it
    prompt: Ints  # tokens
    length: Ints  # tokens, prompt included
    first: NDArray[np.bool_]  # True if it owns its prompt
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # of the index lists

    def to(self, device: torch.device) -> "Rows":
        return replace(self, device=device)

    @property
    def owned(self) -> Ints:
        """Number of flat positions that each row owns."""
        return np.where(self.first, self.length, self.length - self.prompt)

    def reads(self) -> tuple[Ints, Ints, Ints]:
        """Return what rows read, one after the other: flat position, position in the sequence, sequence number."""
        sequence = np.repeat(np.arange(len(self.length)), self.length)
        position = np.arange(len(sequence)) - np.repeat(np.cumsum(self.length) - self.length, self.length)
        offset = np.where(position < self.prompt[sequence], self.start[sequence], (self.rest - self.prompt)[sequence])
        return offset + position, position, sequence

    def groups(self, ratio: float = _BLOCK_RATIO) -> list[list[int]]:
        """Group rows of similar length; returns their numbers, the longest first.

        ratio: none is shorter than this share of the longest in its group; 1 = all are of the same length.
        """
        groups: list[list[int]] = []
        for i in np.argsort(-self.length, kind="stable").tolist():
            if not groups or self.length[i] < ratio * self.length[groups[-1][0]]:
                groups.append([])
            groups[-1].append(i)
        return groups

    @cached_property
    def blocks(self) -> Blocks:
        groups = self.groups()
        shapes = [(len(group), int(self.length[group[0]])) for group in groups]
        padded = np.concatenate([np.full(*shape) for shape in shapes])
        offsets = np.empty(len(self.length), dtype=np.int64)  # slot at which a row begins
        offsets[np.concatenate(groups)] = np.cumsum(padded) - padded
        return Blocks(tuple(shapes), self._slots(offsets, int(padded.sum())))

    @cached_property
    def packed(self) -> Packed:
        shares = self.owned.sum() < self.length.sum()
        offsets = np.cumsum(self.length) - self.length
        return Packed(
            slots=self._slots(offsets, int(self.length.sum())) if shares else None,
            query_ends=self._tensor(np.append(0, np.cumsum(self.owned)).astype(np.int32)),
            key_ends=self._tensor(np.append(0, np.cumsum(self.length)).astype(np.int32)),
            longest_query=int(self.owned.max()),
            longest_key=int(self.length.max()),
        )

    def _slots(self, offsets: Ints, number: int) -> Slots:
        """Build the index lists. offsets: slot at which each row begins; number: of all slots."""
        flat, position, sequence = self.reads()
        slot = offsets[sequence] + position
        read = np.zeros(number, dtype=np.int64)
        read[slot] = flat
        owned = self.first[sequence] | (position >= self.prompt[sequence])
        home = np.empty(int(self.owned.sum()), dtype=np.int64)
        home[flat[owned]] = slot[owned]
        # The k-th further reader of each prompt: within one k no flat position occurs twice.
        rows = np.arange(len(self.length))
        further = rows - np.maximum.accumulate(np.where(self.first, rows, 0))
        shared = []
        for k in range(1, int(further.max(initial=0)) + 1):
            mine = ~owned & (further[sequence] == k)
            shared.append((self._tensor(slot[mine]), self._tensor(flat[mine])))
        return Slots(self._tensor(read), self._tensor(home), tuple(shared))

    def _tensor(self, numbers: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(numbers).to(self.device)
