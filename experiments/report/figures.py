"""Choose the plots of a run and of a comparison: series and error bars from their data, drawn by plots.py."""

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.report.arms import CONTROL, Arm, Comparison
from experiments.report.plots import Point, Series, dots, lines, stacked
from experiments.report.results import FALSE, columns_of
from experiments.report.statistics import spread
from memphis.pipeline import KINDS

BASE = -1  # position of the base model on the axis of iterations, left of SFT
ACCURACY = "accuracy (%)"
ONE_ERROR = "bars: ± 1 standard error"
OVER_SEEDS = "mean over seeds, bars: ± 1 standard error of the mean"
SAMPLED = "iteration (its samples are by the model before it)"

Mean = tuple[float, float | None]  # in %, with its standard error


def _place(row: dict[str, Any]) -> float:
    return BASE if row["label"] == KINDS["base"].title else row["iteration"]


def _title(column: dict[str, Any], name: str, rows: Iterable[dict[str, Any]]) -> str:
    """Return the title of a column, with its N and what is true of some of `rows`, the evaluated models, alone."""
    limits = {str(row["columns"][name]["limit"]) for row in rows if "limit" in row["columns"].get(name, {})}
    some = f"; of some models the first {', '.join(sorted(limits))} items of each task only" if limits else ""
    return f"{column['title']}, N\u00a0=\u00a0{column['n']}{some}"  # non-breaking spaces keep it on one line


def _models(places: Iterable[float]) -> dict[float, str]:
    """Return ticks for evaluated models."""
    return {x: {BASE: "base", 0: "SFT"}.get(int(x), str(int(x))) for x in sorted(set(places))}


def _percent(value: float, error: float | None) -> Mean:
    return 100 * value, None if error is None else 100 * error


def _mean(values: Sequence[float]) -> Mean | None:
    if not values:
        return None
    found = spread(values)
    return _percent(found.mean, found.error)


def _series(curves: Iterable[tuple[str, Sequence[Point | None]]]) -> list[Series]:
    """Give every labelled curve its own look; one without points keeps the look for which others know it."""
    return [Series(label, points, look) for look, (label, points) in enumerate(curves) if points]


def _by_iteration(title: str, series: Sequence[Series], x_label: str, y_label: str) -> list[str]:
    """Plot what has points over iterations; [] if nothing has."""
    ticks = {point[0]: str(int(point[0])) for one in series for point in one.points if point}
    return [lines(title, series, x_label, y_label, ticks=ticks)] if series else []


def _losses(title: str, series: Sequence[Series], y_label: str) -> list[str]:
    """Plot what has points over steps; [] if nothing has."""
    return [lines(title, series, "optimizer step", y_label, markers=False)] if series else []


def _own_curves(run: dict[str, Any], own: bool = True) -> dict[str, list[Point]]:
    """Return the losses of the stages whose steps are the run's own, or else those of the base model, by stage."""
    base = {stage["name"] for stage in run["stages"] if KINDS[stage["kind"]].starts}
    curves = run.get("curves", {}).items()
    return {name: [(x, y, None) for x, y in curve] for name, curve in curves if curve and (name not in base) is own}


def _yields(title: str, rows: Sequence[tuple[str, dict[str, float]]], x_label: str) -> list[str]:
    """Plot where samples went; [] for no rows."""
    parts = list(dict.fromkeys(part for _, values in rows for part in values))
    bars = [(label, [values.get(part, 0) for part in parts]) for label, values in rows]
    return [stacked(title, bars, parts, x_label)] if rows else []


# --------------------------------------------------------------------------------------------------------------- a run


def accuracy_of_run(run: dict[str, Any], control: dict[str, Any] | None) -> list[str]:
    """Plot accuracy by iteration, one line per column; and for each column that the control has too, both."""
    rows = [row for row in run["scores"] if row["columns"]]
    if not rows:
        return []

    def points(rows: Sequence[dict[str, Any]], name: str) -> list[Point]:
        cells = ((row, row["columns"][name]) for row in rows if name in row["columns"])
        return [(_place(row), *_percent(cell["score"], cell["stderr"])) for row, cell in cells]

    columns = columns_of(rows)
    series = _series((_title(column, name, rows), points(rows, name)) for name, column in columns.items())
    labels = ("iteration", f"{ACCURACY}, {ONE_ERROR}")
    title = f"{run['name']}, seed {run['seed']}: accuracy by iteration"
    found = [lines(title, series, *labels, ticks=_models(map(_place, rows)))]
    known = control["scores"] if control else []
    ours, theirs = ([row for row in one if row["columns"] and _place(row) != BASE] for one in (rows, known))
    for name, column in columns.items():
        if other := points(theirs, name):
            both = [Series(run["method"], points(ours, name), 0), Series(f"control: {CONTROL}", other, 1)]
            ticks = _models(map(_place, [*ours, *theirs]))
            found.append(
                lines(f"With the control: {_title(column, name, [*ours, *theirs])}", both, *labels, ticks=ticks)
            )
    return found


def cycles_of_run(run: dict[str, Any]) -> list[str]:
    """Plot pass@1 and pass@k, where the samples went, how far the weights moved: as far as there are data."""

    def curve(key: str) -> list[Point]:
        cycles = [cycle for cycle in run["iterations"] if key in cycle]
        return [(cycle["iteration"], *_percent(cycle[key], cycle.get(f"{key}_se"))) for cycle in cycles]

    ks = [cycle["k"] for cycle in run["iterations"] if "k" in cycle][:1]
    passes = [("pass@1", curve("pass@1")), *((f"pass@{k}", curve("pass@k")) for k in ks)]
    false = [(name, curve(f"{role}_false")) for role, name in FALSE.items()]
    drifts = [("from SFT", curve("drift_sft")), ("from the model before the iteration", curve("drift_prev"))]
    judged = [cycle for cycle in run["iterations"] if "yield" in cycle]
    yields = [(f"iteration {cycle['iteration']}: {cycle['pairs']} pairs", cycle["yield"]) for cycle in judged]
    title, y_label = "Right answers among samples, by iteration", "norm of the difference / norm of the weights (%)"
    return [
        *_by_iteration(title, _series(passes), SAMPLED, f"share (%), {ONE_ERROR}"),
        *_yields("Pair yield: where the samples went", yields, "samples"),
        *_by_iteration("Texts with a false equation, by iteration", _series(false), SAMPLED, "share (%)"),
        *_by_iteration("Drift of the weights after merging", _series(drifts), "iteration", y_label),
    ]


def losses_of_run(run: dict[str, Any]) -> list[str]:
    found = []
    for title, y_label, own in (
        ("Training loss by step", "loss per token (SFT and rank losses are different sums)", True),
        ("Training loss of the base model by step", "loss per token", False),
    ):
        curves = list(_own_curves(run, own).items())
        found += _losses(title, _series(curves if len(curves) > 1 else [("", curve) for _, curve in curves]), y_label)
    return found


# -------------------------------------------------------------------------------------------------------- a comparison


def results(comparison: Comparison) -> list[str]:
    """Plot per column the last model by arm, or by the factor if that is a number; and the column by iteration."""
    return [plot for name in comparison.columns for plot in _of_column(comparison, name)]


def _of_column(comparison: Comparison, name: str) -> list[str]:
    scored = [row for arm in comparison.arms for run in arm.complete.values() for row in run["scores"]]
    title, y_label = _title(comparison.columns[name], name, scored), _accuracy(comparison)
    means = [_score(arm, name) for arm in comparison.arms]
    if comparison.numeric:
        found = [_by_factor(comparison, title, y_label, means)]
    else:
        labelled = enumerate(zip(comparison.arms, means, strict=True))
        rows = [(arm.label, *mean, look) for look, (arm, mean) in labelled if mean is not None]
        found = [dots(f"Last model: {title}", rows, y_label)]
    series = []
    for look, arm in enumerate(comparison.arms):
        labels = {row["label"]: _place(row) for run in arm.complete.values() for row in run["scores"]}
        # The base model is the same for all, and so far off that the others could not be told apart.
        places = sorted(((x, label) for label, x in labels.items() if x != BASE), key=lambda place: place[0])
        points = [(x, *mean) for x, label in places if (mean := _score(arm, name, label)) is not None]
        series.append(Series(arm.label, points, look))
    ticks = _models(point[0] for one in series for point in one.points if point)
    if len(ticks) > 1 and comparison.factor != "iterations":  # there one arm is the beginning of the next
        found.append(lines(f"By iteration: {title}", series, "iteration", y_label, ticks=ticks))
    return found


def _accuracy(comparison: Comparison) -> str:
    """Describe scores and what their error bars are here."""
    several = {len(arm.complete) > 1 for arm in comparison.arms if arm.complete}
    if several == {True}:
        return f"{ACCURACY}, {OVER_SEEDS}"
    mixed = f"{OVER_SEEDS}; of the items for a single seed"
    return f"{ACCURACY}, {mixed if True in several else f'one seed, {ONE_ERROR} of the items'}"


def _score(arm: Arm, column: str, label: str | None = None) -> Mean | None:
    """Return mean in % and its standard error: over seeds; of the items where there is a single seed."""
    cells = list(arm.cells(column, label).values())
    if len(cells) == 1:
        return _percent(cells[0]["score"], cells[0]["stderr"])
    return _mean([cell["score"] for cell in cells])


def _by_factor(comparison: Comparison, title: str, y_label: str, means: Sequence[Mean | None]) -> str:
    """Plot means, one per arm, over the factor."""
    factor = comparison.factor or ""
    points = [(float(x), *mean) for x, mean in enumerate(means) if mean is not None]
    ticks = {float(x): str(arm.settings[factor]) for x, arm in enumerate(comparison.arms)}
    return lines(f"{title}, by {factor}", [Series("", points, 0)], f"{factor} (not to scale)", y_label, ticks=ticks)


def cycles(comparison: Comparison) -> list[str]:
    """Plot pass@1, pass@k and drift by iteration, one line per arm, and where the samples of the last cycle went."""
    ks = {cycle.get("k") for run in comparison.runs for cycle in run["iterations"]} - {None}
    pass_k = f"pass@{ks.pop()}" if len(ks) == 1 else "pass@k, k = samples per question"
    shares = ("Right answers among samples: {} by iteration", SAMPLED, f"share (%), {OVER_SEEDS}")
    drifts = ("{} by iteration", "iteration", f"norm of the difference / norm (%), {OVER_SEEDS}")
    found = []
    for key, name, (title, *labels) in (
        ("pass@1", "pass@1", shares),
        ("pass@k", pass_k, shares),
        ("chosen_false", "Chosen texts with a false equation:", (*("{} by iteration", SAMPLED), shares[-1])),
        ("drift_sft", "Drift from SFT", drifts),
    ):
        curves = []
        for arm in comparison.arms:
            values: dict[float, list[float]] = {}
            for cycle in (cycle for run in arm.complete.values() for cycle in run["iterations"] if key in cycle):
                values.setdefault(float(cycle["iteration"]), []).append(cycle[key])
            points = [(k, *mean) for k, seeds in sorted(values.items()) if (mean := _mean(seeds)) is not None]
            curves.append((arm.label, points))
        found += _by_iteration(title.format(name), _series(curves), *labels)
    rows = []
    for arm in comparison.arms:
        last = [end["yield"] for end in _last_cycles(arm) if "yield" in end]
        parts = dict.fromkeys(part for one in last for part in one)
        if last:
            rows.append((arm.label, {part: spread([one.get(part, 0) for one in last]).mean for part in parts}))
    title = "Pair yield of the last iteration: where the samples went"
    return found + _yields(title, rows, "samples, mean over seeds")


def _last_cycles(arm: Arm) -> list[dict[str, Any]]:
    return [run["iterations"][-1] for run in arm.complete.values() if run["iterations"]]


def drift_by_factor(comparison: Comparison) -> list[str]:
    """Plot how far the last model is from SFT, which the SLERP factor controls; [] for other factors."""
    drifts = [[end["drift_sft"] for end in _last_cycles(arm) if "drift_sft" in end] for arm in comparison.arms]
    if comparison.factor != "slerp.t" or not any(drifts):
        return []
    y_label = f"norm of the difference / norm (%), {OVER_SEEDS}"
    return [_by_factor(comparison, "Drift of the last model from SFT", y_label, [_mean(found) for found in drifts])]


def losses(comparison: Comparison) -> list[str]:
    """Plot losses of the lowest seed of each arm: SFT and what follows, one line per arm."""
    curves: list[tuple[str, list[Point | None]]] = []
    for arm in comparison.arms:
        seed, run = min(arm.complete.items(), default=(None, None))
        points = [point for curve in _own_curves(run).values() for point in (*curve, None)] if run else []
        curves.append((f"{arm.label}, seed {seed}", points))
    return _losses(
        "Training loss by step", _series(curves), "loss per token (losses of different methods are different sums)"
    )


def of_folder(comparison: Comparison) -> list[str]:
    """Return the committed figure: the first column alone, and the drift where the SLERP factor is the question."""
    first = [plot for name in list(comparison.columns)[:1] for plot in _of_column(comparison, name)]
    return [*first, *drift_by_factor(comparison)]
