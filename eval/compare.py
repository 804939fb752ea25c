"""Two evaluations of the same items, paired: `python -m eval.compare A B` (run or evaluate stage directories).

Differences are B minus A. A task's p-value is exact (McNemar's test), a benchmark of several tasks is resampled within
each task. Reads samples only, and refuses to compare models with different items or prompts.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.records import Answers, Evaluation, answers, find
from eval.suites import HELDOUT, Column, measured, wilson
from memphis.errors import MemphisError, run_command
from memphis.formatting import aligned

RESAMPLES = 10_000
FEW = 30  # items of a task below which resampling them is rough


@dataclass(frozen=True)
class PairedResult:
    """Result of a task or benchmark: shares of right answers, difference with 95 % interval, items one side got right.

    only_a, only_b: ids (task/item) of the items that only one side got right, or got right in more of its answers.
    """

    suite: str
    name: str
    n: int
    a: float
    b: float
    low: float
    high: float
    p: float
    only_a: Sequence[str]
    only_b: Sequence[str]

    @property
    def difference(self) -> float:
        return self.b - self.a


def compare(a: Evaluation, b: Evaluation, *, resamples: int = RESAMPLES, seed: int = 0) -> list[list[PairedResult]]:
    """Compare per suite and column that both have: first the column, then each of its tasks if it has several.

    Raises MemphisError when nothing can be compared, or when the items are not the same.
    """
    suites = [suite for suite in a.records if suite in b.records]
    if not suites:
        held = " and ".join(f"{', '.join(one.records) or 'none'} ({one.file.parent})" for one in (a, b))
        raise MemphisError(f"no suite in common: {held}; evaluate both with the same one")
    found = []
    for suite in suites:
        for side in (a, b):
            if "not_loadable" in side.records[suite]:
                raise MemphisError(f"{side.file}: the model could not be loaded, so there is nothing to compare")
        for column in _both(a, b, suite):
            pairs = {task: _paired(a, b, suite, task) for task in column.tasks}
            results = [_result(suite, task, {task: pair}, resamples, seed) for task, pair in pairs.items()]
            whole = [_result(suite, column.name, pairs, resamples, seed)] if len(pairs) > 1 else []
            found.append([*whole, *results])
    return found


def _both(a: Evaluation, b: Evaluation, suite: str) -> list[Column]:
    """Return the columns of a suite that both have. Raises MemphisError if there are none, or their tasks differ."""
    mine, theirs = ({column.name: column for column in measured(one.records[suite])} for one in (a, b))
    where = f"suite {suite}: {a.file.parent} and {b.file.parent}"
    if not mine.keys() & theirs.keys():
        raise MemphisError(f"{where} measured nothing in common: {', '.join(mine)}, and {', '.join(theirs)}")
    both = [column for name, column in mine.items() if name in theirs]
    for column in both:
        if column.tasks != theirs[column.name].tasks:
            raise MemphisError(f"{where} differ in the tasks of {column.name}; compare evaluations of the same data")
    return both


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of so many discordant pairs: each is as likely to fall either way."""
    n, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def bootstrap(strata: Sequence[Sequence[float]], resamples: int, seed: int) -> np.ndarray:
    """Return means over all items, items drawn with replacement within each stratum. Deterministic given the seed.

    Drawing n items of k different values is drawing their k counts, so the cost does not depend on n. Each stratum is
    spread by sqrt(n / (n - 1)), without which the means of small ones would vary too little.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for stratum in strata:
        n, expected = len(stratum), sum(stratum)
        values, counts = np.unique(np.asarray(stratum, dtype=float), return_counts=True)
        drawn = generator.multinomial(n, counts / n, size=resamples) @ values
        total += expected + (drawn - expected) * math.sqrt(n / max(1, n - 1))
    return total / sum(map(len, strata))


def _paired(a: Evaluation, b: Evaluation, suite: str, task: str) -> tuple[Answers, Answers]:
    mine, theirs = answers(a, suite, task), answers(b, suite, task)
    where = f"{suite}/{task}: {a.file.parent} and {b.file.parent}"
    if len(mine.items) != len(theirs.items):
        sizes = f"{len(mine.items)} and {len(theirs.items)} items"
        raise MemphisError(f"{where} have {sizes}; compare evaluations with the same eval.limit")
    for (item, document, prompt), (other, other_document, other_prompt) in zip(mine.items, theirs.items, strict=True):
        if (item, document) != (other, other_document):
            raise MemphisError(f"{where} differ in item {item}; compare evaluations of the same data")
        if prompt != other_prompt:
            raise MemphisError(f"{where} ask item {item} with different prompts; compare evaluations of the same data")
    return mine, theirs


def _result(
    suite: str, name: str, pairs: Mapping[str, tuple[Answers, Answers]], resamples: int, seed: int
) -> PairedResult:
    strata = {task: [y - x for x, y in zip(a.right, b.right, strict=True)] for task, (a, b) in pairs.items()}
    drawn = bootstrap(list(strata.values()), resamples, seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    n = sum(map(len, strata.values()))
    a, b = (sum(sum(pair[side].right) for pair in pairs.values()) / n for side in (0, 1))
    differences = [
        (f"{task}/{item}", value)
        for task, values in strata.items()
        for (item, *_), value in zip(pairs[task][0].items, values, strict=True)
    ]
    only_a = [item for item, value in differences if value < 0]
    only_b = [item for item, value in differences if value > 0]
    if len(pairs) == 1 or suite == HELDOUT.name:  # rows of one source, whatever their origins
        p = mcnemar(len(only_a), len(only_b))
    else:  # resamples on the other side of zero; one is added, because no resampling can show a p-value of 0
        p = min(1.0, 2 * (1 + min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))) / (resamples + 1))
    return PairedResult(suite, name, n, a, b, float(low), float(high), p, only_a, only_b)


def report(found: Sequence[Sequence[PairedResult]], *, per_task: bool, flips: int) -> str:
    """Format lines for a terminal, in % and percentage points."""
    rows = [["", "N", "A", "B", "B - A", "95 % interval", "only A", "only B", "p"]]
    for whole, *tasks in found:
        rows.append(_row(f"{whole.suite}/{whole.name}", whole))
        if per_task:
            rows += [_row(f"  {task.name}", task) for task in tasks]
    lines = [
        *aligned(rows),
        "",
        "only A, only B: items that one side alone got right. p: exact (McNemar) for one task, bootstrap over",
        "items within each task for a benchmark of several.",
    ]
    for whole, *_ in found:
        if whole.suite == HELDOUT.name:
            a, b = (_interval(whole, share) for share in (whole.a, whole.b))
            lines.append(f"{whole.suite}/{whole.name}: 95 % Wilson interval of A {a}, of B {b}.")
    if any(task.n < FEW for _, *tasks in found for task in tasks):
        lines.append(f"Some tasks have fewer than {FEW} items: intervals and p-values of their benchmarks are rough.")
    if per_task and (count := sum(len(tasks) for _, *tasks in found)):
        lines.append(f"Of {count} single tasks about {count / 20:.0f} have p < 0.05 by chance alone.")
    for whole, *_ in found if flips else []:
        for side, items in (("A", whole.only_a), ("B", whole.only_b)):
            more = f" and {len(items) - flips} more" if len(items) > flips else ""
            shown = " ".join(items[:flips]) or "none"
            lines.append(f"{whole.suite}/{whole.name}, right in {side} alone ({len(items)}): {shown}{more}")
    return "\n".join(lines)


def _interval(one: PairedResult, share: float) -> str:
    ends = wilson(round(share * one.n), one.n)
    return f"{100 * ends['low']:.2f} to {100 * ends['high']:.2f}"


def _row(name: str, one: PairedResult) -> list[str]:
    shares = [f"{100 * one.a:.2f}", f"{100 * one.b:.2f}", f"{100 * one.difference:+.2f}"]
    interval = f"{100 * one.low:+.2f} to {100 * one.high:+.2f}"
    p = f"{one.p:.4f}" if one.p >= 0.0001 else "<0.0001"
    return [name, str(one.n), *shares, interval, str(len(one.only_a)), str(len(one.only_b)), p]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("a", type=Path, metavar="A", help="run (its last evaluation) or evaluate stage directory")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument("--per-task", action="store_true", help="also the single tasks of a benchmark")
    parser.add_argument("--flips", type=int, default=0, metavar="N", help="show up to N items that flipped, each way")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling; default: %(default)s")
    arguments = parser.parse_args(argv)
    if arguments.resamples < 100:
        raise MemphisError(f"--resamples={arguments.resamples}: too few for an interval; use 100 or more")
    a, b = find(arguments.a), find(arguments.b)
    found = compare(a, b, resamples=arguments.resamples, seed=arguments.seed)
    print(f"A: {a.file.parent}\nB: {b.file.parent}\n")
    print(report(found, per_task=arguments.per_task, flips=max(0, arguments.flips)))
    for suite in dict.fromkeys(whole.suite for whole, *_ in found):
        if (limit := a.records[suite]["limit"]) is not None:
            print(f"Suite {suite}: the first {limit} items of each task alone, not comparable with full results.")
    return 0


if __name__ == "__main__":
    run_command(main)
