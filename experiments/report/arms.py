"""Group runs by arm: an arm is everything but the seed. Finds what the arms differ in and names them by it.

A `Comparison` is also what experiments/<folder>/results.json holds: arms, seeds, scores with their counts, costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.report.statistics import Difference, Spread, paired, spread
from memphis.config.methods import CHOICES, LOSS_KEYS, methods
from memphis.errors import MemphisError

CONTROL = "sft_continued"


@dataclass(frozen=True)
class Arm:
    """Runs that differ in the seed alone. label: how they differ from other arms. settings: values of varying keys."""

    label: str
    method: str
    settings: dict[str, Any]
    runs: list[dict[str, Any]]

    @property
    def complete(self) -> dict[int, dict[str, Any]]:
        """Complete runs by seed: those that got to their end."""
        return {run["seed"]: run for run in self.runs if run["complete"]}

    def cells(self, column: str, label: str | None = None) -> dict[int, dict[str, Any]]:
        """Return seed -> cell of the last model, or of the one with that label."""
        found = {}
        for seed, run in self.complete.items():
            rows = [row for row in run["scores"] if label in (None, row["label"])]
            if rows and column in rows[-1]["columns"]:
                found[seed] = rows[-1]["columns"][column]
        return found

    def scores(self, column: str, label: str | None = None) -> dict[int, float]:
        """Return seed -> score (0 to 1) of the last model, or of the one with that label."""
        return {seed: cell["score"] for seed, cell in self.cells(column, label).items()}

    def minus(self, other: "Arm", column: str) -> Difference | None:
        """Return the difference to another arm over the seeds that both have, asked as many questions; None without."""
        mine, theirs = self.cells(column), other.cells(column)
        shared = [seed for seed in mine.keys() & theirs.keys() if mine[seed]["n"] == theirs[seed]["n"]]
        return paired(*({seed: cells[seed]["score"] for seed in shared} for cells in (mine, theirs)))

    def score(self, column: str) -> Spread | None:
        values = list(self.scores(column).values())
        return spread(values) if values else None

    def cost(self, key: str) -> float | None:
        """Return the mean over the complete runs that recorded it."""
        values = [cost for run in self.complete.values() if (cost := run["costs"][key]) is not None]
        return sum(values) / len(values) if values else None


@dataclass
class Comparison:
    """Arms to compare. factor: the only key in which they differ, if it is one; numeric: has numbers, in rising order.

    items: label of an arm -> column -> Difference of the items against the baseline, where a single pair of runs can be
    compared by its answers.
    """

    arms: list[Arm]
    baseline: str
    factor: str | None
    numeric: bool
    items: dict[str, dict[str, Difference]] = field(default_factory=dict)

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [run for arm in self.arms for run in arm.runs]

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """Columns of the last models in their order, as the first run that has one describes it."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            for name, column in run["scores"][-1]["columns"].items() if run["complete"] and run["scores"] else ():
                found.setdefault(name, column)
        return found

    def arm(self, label: str) -> Arm:
        """Find an arm by its label, or by a part that no other has. Raises MemphisError with the labels there are."""
        fitting = [arm for arm in self.arms if arm.label == label] or [a for a in self.arms if label in a.label]
        if len(fitting) != 1:
            there = ", ".join(arm.label for arm in self.arms)
            raise MemphisError(
                f"--baseline={label}: {'no' if not fitting else 'more than one'} such arm; use one of {there}"
            )
        return fitting[0]

    def difference(self, arm: Arm, column: str) -> Difference | None:
        """Return the difference to the baseline: over seeds, or over items for one pair of runs; None for itself."""
        if arm.label == self.baseline:
            return None
        over_seeds = arm.minus(self.arm(self.baseline), column)
        if over_seeds is not None and over_seeds.n == 1:
            return self.items.get(arm.label, {}).get(column, over_seeds)
        return over_seeds

    def incomplete(self) -> list[str]:
        return [
            f"{arm.label}, seed {r['seed']}: {r['status']}" for arm in self.arms for r in arm.runs if not r["complete"]
        ]


def group(runs: Sequence[dict[str, Any]], baseline: str | None = None) -> Comparison:
    """Group runs, as `read_run` gives them, by arm. baseline: a label; by default the control, else the first arm.

    Raises MemphisError when two runs with other results claim the same arm and seed.
    """
    groups = _grouped(runs)
    varying = _varying([members[0]["config"] for members in groups])
    factor = varying[0] if len(varying) == 1 and varying[0] not in CHOICES else None
    several = len({run["method"] for run in runs}) > 1
    arms = []
    for first, *others in groups:
        method, config = first["method"], first["config"]
        settings = {key: _portable(config.get(key)) for key in varying}
        siblings = [members[0]["config"] for members in groups if members[0]["method"] == method]
        keys = [factor] if factor else [key for key in _varying(siblings) if not (several and key in CHOICES)]
        # The factor's value; or the method, with what varies among the arms of that method.
        parts = [f"{key}={settings[key]}" for key in keys]
        label = " ".join([method, *parts] if factor is None and (several or not parts) else parts)
        arms.append(Arm(label, method, settings, _by_seed(label, [first, *others])))
    assert len({arm.label for arm in arms}) == len(arms), [arm.label for arm in arms]
    numeric = factor is not None and all(type(arm.settings[factor]) in (int, float) for arm in arms)
    order = list(methods())
    if numeric and factor is not None:
        arms.sort(key=lambda arm: arm.settings[factor])
    else:
        arms.sort(key=lambda arm: (order.index(arm.method) if arm.method in order else len(order), arm.label))
    default = next((arm for arm in arms if arm.method == CONTROL), arms[0])
    comparison = Comparison(arms, default.label, factor, numeric)
    if baseline is not None:
        comparison.baseline = comparison.arm(baseline).label
    return comparison


def along(runs: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return the runs that differ in `key` alone, and in their seeds; of several such sets the one with the most values
    of it, then with the most runs; [] where no run has such a sibling."""

    def count(group: list[dict[str, Any]]) -> int:
        return len({repr(run["config"].get(key)) for run in group})

    found = max(_grouped(runs, key), key=lambda group: (count(group), len(group)), default=[])
    return found if count(found) > 1 else []


def _grouped(runs: Sequence[dict[str, Any]], *apart: str) -> list[list[dict[str, Any]]]:
    """Group runs of equal configurations; seeds and the keys `apart` are ignored."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        rest = sorted((key, value) for key, value in run["config"].items() if not _is_seed(key) and key not in apart)
        groups.setdefault(repr(rest), []).append(run)
    return list(groups.values())


def _varying(configs: Sequence[dict[str, Any]]) -> list[str]:
    keys = sorted({key for config in configs for key in config if not _is_seed(key)})
    # A config has the knobs of its own loss alone: what another lacks is no difference.
    having = {key: [config for config in configs if key in config or key not in LOSS_KEYS] for key in keys}
    return [key for key in keys if len({repr(config.get(key)) for config in having[key]}) > 1]


def _by_seed(label: str, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one run per seed: an equal result under another name counts once, a complete run before a failed one."""
    found: dict[int, dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: not run["complete"]):
        rival = found.setdefault(run["seed"], run)
        if run["complete"] and rival["key"] != run["key"]:
            where = " and ".join(f"{r['name']}/s{r['seed']}/{r['slug']}" for r in (rival, run))
            raise MemphisError(f"two different runs of arm {label}, seed {run['seed']}: {where}; give one of them")
    return [found[seed] for seed in sorted(found)]


def _is_seed(key: str) -> bool:
    """True for a seed, which is not part of an arm: `model.base.seed=${seed}` gives every seed another value."""
    return key.split(".")[-1] == "seed"


def _portable(value: Any) -> Any:
    """Reduce a path of this machine to its last part."""
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~", ".")) else value
