"""Choose the plots of a run and of a comparison: series and error bars from their data, drawn by plots.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.report.arms import CONTROL, Arm, Comparison
from experiments.report.plots import Series, dots, lines, stacked
from experiments.report.statistics import spread
from memphis.pipeline import KINDS

BASE = -1  # position of the base model on the axis of iterations, left of SFT
ACCURACY = "accuracy (%)"
ONE_ERROR = "bars: ± 1 standard error"
OVER_SEEDS = "mean over seeds, bars: ± 1 standard error of the mean"
SAMPLED = "iteration (its samples are by the model before it)"


def _place(row: dict[str, Any]) -> float:
    return BASE if row["label"] == KINDS["base"].title else row["iteration"]


def _title(column: dict[str, Any]) -> str:
    return f"{column['title']}, N\u00a0=\u00a0{column['n']}"  # non-breaking spaces keep it on one line


def _ticks(places: Iterable[float]) -> dict[float, str]:
    return {x: {BASE: "base", 0: "SFT"}.get(int(x), str(int(x))) for x in sorted(set(places))}


def accuracy_of_run(run: dict[str, Any], control: dict[str, Any] | None) -> list[str]:
    """Plot accuracy by iteration, one line per column; and for each column that the control has too, both."""
    rows = [row for row in run["scores"] if row["columns"]]
    if not rows:
        return []
    columns = {name: column for row in rows for name, column in row["columns"].items()}
    series = [Series(_title(c), _scores(rows, n), look) for look, (n, c) in enumerate(columns.items())]
    title = f"{run['name']}, seed {run['seed']}: accuracy by iteration"
    known = control["scores"] if control else []
    said = ("iteration", f"{ACCURACY}, {ONE_ERROR}")
    found = [lines(title, series, *said, ticks=_ticks(map(_place, rows)))]
    ours, theirs = ([row for row in one if row["columns"] and _place(row) != BASE] for one in (rows, known))
    for name, column in columns.items():
        other = _scores(theirs, name)
        if other:
            both = [Series(run["method"], _scores(ours, name), 0), Series(f"control: {CONTROL}", other, 1)]
            ticks = _ticks(map(_place, [*ours, *theirs]))
            found.append(lines(f"With the control: {_title(column)}", both, *said, ticks=ticks))
    return found


def _scores(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float, float | None]]:
    return [(_place(row), *_percent(row["columns"][name])) for row in rows if name in row["columns"]]


def _percent(cell: dict[str, Any]) -> tuple[float, float | None]:
    return 100 * cell["score"], None if cell["stderr"] is None else 100 * cell["stderr"]


def cycles_of_run(run: dict[str, Any]) -> list[str]:
    """Plot pass@1 and pass@k, where the samples went, how far the weights moved: as far as there are data."""
    cycles, found = run["iterations"], []
    judged = [cycle for cycle in cycles if "pass@1" in cycle]
    if judged:
        points = {
            f"pass@{name}": [(c["iteration"], 100 * c[key], _times(c.get(f"{key}_se"), 100)) for c in judged]
            for name, key in (("1", "pass@1"), (str(judged[0]["k"]), "pass@k"))
        }
        series = [Series(name, values, look) for look, (name, values) in enumerate(points.items())]
        title = "Right answers among samples, by iteration"
        found.append(lines(title, series, SAMPLED, f"share (%), {ONE_ERROR}", ticks=_ticks_of(judged)))
    if yields := [cycle for cycle in cycles if "yield" in cycle]:
        rows = [(f"iteration {c['iteration']}: {c['pairs']} pairs", c["yield"]) for c in yields]
        found.append(_yield("Pair yield: where the samples went", rows, "samples"))
    if moved := [cycle for cycle in cycles if "drift_sft" in cycle]:
        names = {"drift_sft": "from SFT", "drift_prev": "from the model before the iteration"}
        series = [
            Series(name, [(c["iteration"], 100 * c[key], None) for c in moved], look)
            for look, (key, name) in enumerate(names.items())
        ]
        y_label = "norm of the difference / norm of the weights (%)"
        found.append(lines("Drift of the weights after merging", series, "iteration", y_label, ticks=_ticks_of(moved)))
    return found


def _ticks_of(cycles: Sequence[dict[str, Any]]) -> dict[float, str]:
    return {float(cycle["iteration"]): str(cycle["iteration"]) for cycle in cycles}


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _yield(title: str, rows: Sequence[tuple[str, dict[str, float]]], x_label: str) -> str:
    parts = list(dict.fromkeys(part for _, values in rows for part in values))
    return stacked(title, [(label, [v.get(p, 0) for p in parts]) for label, v in rows], parts, x_label)


def losses_of_run(run: dict[str, Any]) -> list[str]:
    curves = {name: points for name, points in run["curves"].items() if points}
    found = []
    before = _before_the_axis(run)
    own, base = ([name for name in curves if (name in before) is first] for first in (False, True))
    for title, names, y_label in (
        ("Training loss by step", own, "loss per token (SFT and rank losses are different sums)"),
        ("Training loss of the base model by step", base, "loss per token"),
    ):
        series = [
            Series(name if len(names) > 1 else "", [(x, y, None) for x, y in curves[name]], look)
            for look, name in enumerate(names)
        ]
        if series:
            found.append(lines(title, series, "optimizer step", y_label, markers=False))
    return found


def _before_the_axis(run: dict[str, Any]) -> set[str]:
    """Return names of the stages whose steps are not the run's own."""
    return {stage["name"] for stage in run["stages"] if KINDS[stage["kind"]].starts}


def results(comparison: Comparison) -> list[str]:
    """Plot per column the last model by arm, or by the factor if that is a number; and the column by iteration."""
    found = []
    for name, column in comparison.columns.items():
        title = _title(column)
        last = {arm.label: _mean(arm, name) for arm in comparison.arms}
        if comparison.numeric:
            found.append(_by_factor(comparison, title, f"{ACCURACY}, {_bars(comparison)}", last))
        else:
            rows = [(label, *mean, look) for look, (label, mean) in enumerate(last.items()) if mean is not None]
            found.append(dots(f"Last model: {title}", rows, f"{ACCURACY}, {_bars(comparison)}"))
        found += _by_iteration(comparison, name, title)
    return found


def _bars(comparison: Comparison) -> str:
    """Describe what error bars of scores are here."""
    several = {len(arm.complete) > 1 for arm in comparison.arms if arm.complete}
    if several == {True}:
        return OVER_SEEDS
    return f"{OVER_SEEDS}; of the items for a single seed" if True in several else f"one seed, {ONE_ERROR} of the items"


def _mean(arm: Arm, column: str, label: str | None = None) -> tuple[float, float | None] | None:
    """Return mean in % and its standard error: over seeds; of the items where there is a single seed."""
    values = list(arm.scores(column, label).values())
    if not values:
        return None
    mean = spread(values)
    if mean.error is None:
        rows = [row for run in arm.complete.values() for row in run["scores"] if label in (None, row["label"])]
        cells = [row["columns"][column] for row in rows if column in row["columns"]]
        return _percent(cells[-1])
    return 100 * mean.mean, 100 * mean.error


def _by_factor(
    comparison: Comparison, title: str, y_label: str, means: Mapping[str, tuple[float, float | None] | None]
) -> str:
    """Plot means over the factor. means: by label of the arm."""
    factor = comparison.factor or ""
    places = list(enumerate(comparison.arms))
    points = [(float(x), *mean) for x, arm in places if (mean := means[arm.label]) is not None]
    ticks = {float(x): str(arm.settings[factor]) for x, arm in places}
    return lines(f"{title}, by {factor}", [Series("", points, 0)], f"{factor} (not to scale)", y_label, ticks=ticks)


def _by_iteration(comparison: Comparison, name: str, title: str) -> list[str]:
    series, places = [], set()
    for look, arm in enumerate(comparison.arms):
        labels = {row["label"]: _place(row) for run in arm.complete.values() for row in run["scores"]}
        points: list[tuple[float, float, float | None] | None] = []
        for label, x in sorted(labels.items(), key=lambda item: item[1]):
            # The base model is the same for all, and so far off that the others could not be told apart.
            if x != BASE and (mean := _mean(arm, name, label)) is not None:
                points.append((x, *mean))
                places.add(x)
        series.append(Series(arm.label, points, look))
    if len(places) < 2 or comparison.factor == "iterations":  # then one arm is the beginning of the next
        return []
    y_label = f"{ACCURACY}, {_bars(comparison)}"
    return [lines(f"By iteration: {title}", series, "iteration", y_label, ticks=_ticks(places))]


def cycles(comparison: Comparison) -> list[str]:
    """Plot pass@1, pass@k and drift by iteration, one line per arm, and where the samples of the last cycle went."""
    found = []
    shown = {"pass@1": "pass@1", "pass@k": "pass@k", "drift_sft": "Drift from SFT"}
    ks = {cycle.get("k") for arm in comparison.arms for run in arm.runs for cycle in run["iterations"]} - {None}
    shown["pass@k"] = f"pass@{ks.pop()}" if len(ks) == 1 else "pass@k, k = samples per question"
    for key, title in shown.items():
        drift = key == "drift_sft"
        series = []
        for look, arm in enumerate(comparison.arms):
            values: dict[int, list[float]] = {}
            for run in arm.complete.values():
                for cycle in run["iterations"]:
                    if key in cycle:
                        values.setdefault(cycle["iteration"], []).append(cycle[key])
            if values:
                means = [(float(k), spread(found_k)) for k, found_k in sorted(values.items())]
                points = [(k, 100 * mean.mean, _times(mean.error, 100)) for k, mean in means]
                series.append(Series(arm.label, points, look))
        if series:
            ticks = {p[0]: str(int(p[0])) for one in series for p in one.points if p}
            y_label = f"{'norm of the difference / norm (%)' if drift else 'share (%)'}, {OVER_SEEDS}"
            head = f"{title} by iteration" if drift else f"Right answers among samples: {title} by iteration"
            found.append(lines(head, series, "iteration" if drift else SAMPLED, y_label, ticks=ticks))
    rows = []
    for arm in comparison.arms:
        last = [
            run["iterations"][-1]["yield"]
            for run in arm.complete.values()
            if run["iterations"] and "yield" in run["iterations"][-1]
        ]
        if last:
            parts = dict.fromkeys(part for one in last for part in one)
            rows.append((arm.label, {part: spread([one.get(part, 0) for one in last]).mean for part in parts}))
    if rows:
        found.append(
            _yield("Pair yield of the last iteration: where the samples went", rows, "samples, mean over seeds")
        )
    return found


def drift_by_factor(comparison: Comparison) -> list[str]:
    """Plot how far the last model is from SFT, which the SLERP factor controls; [] for other factors."""
    if comparison.factor != "slerp.t":
        return []

    means: dict[str, tuple[float, float | None] | None] = {}
    for arm in comparison.arms:
        ends = [run["iterations"][-1] for run in arm.complete.values() if run["iterations"]]
        drifts = [end["drift_sft"] for end in ends if "drift_sft" in end]
        mean = spread(drifts) if drifts else None
        means[arm.label] = None if mean is None else (100 * mean.mean, _times(mean.error, 100))
    if not any(means.values()):
        return []
    title, y_label = "Drift of the last model from SFT", f"norm of the difference / norm (%), {OVER_SEEDS}"
    return [_by_factor(comparison, title, y_label, means)]


def losses(comparison: Comparison) -> list[str]:
    """Plot losses of the lowest seed of each arm: SFT and what follows, one line per arm."""
    series = []
    for look, arm in enumerate(comparison.arms):
        for run in list(arm.complete.values())[:1]:
            points: list[tuple[float, float, float | None] | None] = []
            for name, curve in run.get("curves", {}).items():
                if name not in _before_the_axis(run):
                    points += [*((x, y, None) for x, y in curve), None]
            if points:
                series.append(Series(f"{arm.label}, seed {run['seed']}", points, look))
    if not series:
        return []
    y_label = "loss per token (losses of different methods are different sums)"
    return [lines("Training loss by step", series, "optimizer step", y_label, markers=False)]


def of_folder(comparison: Comparison) -> list[str]:
    """Return the committed figure: the first column alone, and the drift where the SLERP factor is the question."""
    first = list(comparison.columns)[:1]
    found = results(comparison)
    per_column = len(found) // max(1, len(comparison.columns))
    return [*(found[:per_column] if first else []), *drift_by_factor(comparison)]
