"""Comparisons as plain values: contenders, the numbers of a round, and the targets that follow from them."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Numbers = dict[str, float]
Round = dict[str, Numbers]  # contender -> what it took


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    words: its setting, for the reader. run: `module:function`, called in a process of its own with a gate, the work
    directory and `options`; "" when the question starts it otherwise.
    """

    name: str
    words: str
    run: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bf16(self) -> bool:
        """True if it calculates in bfloat16. Without instructions for it that is emulated, many times slower."""
        return self.options.get("bf16", self.options.get("dtype") == "bfloat16")


@dataclass(frozen=True)
class Target:
    """A ratio of two numbers of a round.

    ours, peer: (contender, measure). at_most=False: peer / ours, better when larger; True: ours / peer, better when
    smaller. must: a failure beyond it; None = reported only. ambitious: what was hoped for.
    """

    what: str
    ours: tuple[str, str]
    peer: tuple[str, str]
    must: float | None = None
    ambitious: float | None = None
    at_most: bool = False

    def value(self, rounds: Sequence[Round]) -> float | None:
        """Median over the rounds of each round's ratio; None where a side was not measured."""
        if not {self.ours[0], self.peer[0]} <= rounds[0].keys():
            return None
        pairs = [[found[contender][measure] for contender, measure in (self.ours, self.peer)] for found in rounds]
        return statistics.median(ours / peer if self.at_most else peer / ours for ours, peer in pairs)

    def worse(self, value: float, bound: float, slack: float = 0.0) -> bool:
        """True if `value` is on the wrong side of `bound` by more than the share `slack` of it."""
        return value > bound * (1 + slack) if self.at_most else value < bound * (1 - slack)


@dataclass(frozen=True)
class Question:
    """One result file.

    measure: given the contenders that can run here, the work directory and a number of rounds, yields rounds as they
    end. agree: raises AssertionError when contenders did not do the same work.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...]
    measure: Callable[[Sequence[Contender], Path, int], Iterator[Round]]
    agree: Callable[[Sequence[Round]], None] = lambda _: None
    rounds: int = 5
