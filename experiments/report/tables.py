"""Format the numbers of a comparison as rows of text: for the terminal, for Markdown, for HTML and as CSV."""

import csv
import io
from collections.abc import Sequence

from experiments.report.arms import Arm, Comparison
from experiments.report.statistics import Difference, paired
from memphis.formatting import aligned, duration, printable, rounded
from memphis.pipeline import KINDS

COSTS = {
    "steps": "optimizer steps",
    "trained_tokens": "trained tokens",
    "generated_tokens": "generated tokens",
    "seconds": "device time",
    "cpu_seconds": "CPU time",
}
START = KINDS["sft"].title  # the model that every method starts from
COST_NOTE = (
    "Cost: mean per run of what the last model took beyond the base model, reused stages included; evaluations not. "
    "CPU time is that of all threads, over the runs that recorded it."
)
UNITS = {  # of costs beyond SFT's, by which a gain is divided
    "trained_tokens": (1e6, "million trained tokens"),
    "generated_tokens": (1e6, "million generated tokens"),
    "cpu_seconds": (60.0, "CPU minute"),
}
_CSV = (
    *("arm", "method", "seed", "status", "model", "iteration", "column"),
    *("count", "n", "score", "stderr", *COSTS),
)


def score_table(comparison: Comparison, column: str, *, costs: bool = False) -> list[list[str]]:
    """Return header and one row per arm, scores in %: mean ± sd, seeds, gain over its own SFT, difference to the
    baseline, its interval and p."""
    against = comparison.baseline if len(comparison.baseline) <= 20 else "baseline"
    header = ["arm", "accuracy, %", "seeds", "minus own SFT", f"minus {against}", "95 % interval", "p"]
    rows = [[*header, *(COSTS.values() if costs else ())]]
    for arm in comparison.arms:
        score = arm.score(column)
        shown = "–" if score is None else f"{100 * score.mean:.1f}"
        if score is not None and score.sd is not None:
            shown += f" ± {100 * score.sd:.1f}"
        last = arm.cells(column)
        numbers = {cell["n"] for cell in last.values()}
        if numbers - {comparison.columns[column]["n"]}:
            shown += f" (N = {', '.join(map(str, sorted(numbers)))})"
        start = {seed: c["score"] for seed, c in arm.cells(column, START).items() if c["n"] == last[seed]["n"]}
        gained = paired(arm.scores(column), start)  # not with a start that was asked less
        cells = [arm.label, shown, seeds(arm), _difference(gained)[0], *_difference(comparison.difference(arm, column))]
        if arm.label == comparison.baseline:
            cells[4] = "baseline"
        rows.append([*cells, *(cost_cells(arm) if costs else ())])
    return rows


def _difference(found: Difference | None) -> list[str]:
    """Return mean ± standard error in points, interval, p."""
    if found is None:
        return ["–", "–", "–"]
    mean = f"{100 * found.mean:+.1f}" + ("" if found.error is None else f" ± {100 * found.error:.1f}")
    if found.p is None:
        return [mean, "–", "–"]
    p = f"{found.p:.3f}" if found.p >= 0.0005 else "<0.001"
    return [mean, _interval(found), f"{p}{' (items)' if found.items else ''}"]


def _interval(found: Difference) -> str:
    return " to ".join(f"{100 * bound:+.1f}" for bound in (found.low, found.high) if bound is not None)


def seeds(arm: Arm) -> str:
    """Return `3`, or `2 of 3` where some are not complete."""
    complete = len(arm.complete)
    return str(complete) if complete == len(arm.runs) else f"{complete} of {len(arm.runs)}"


def all_seeds(comparison: Comparison) -> str:
    return ", ".join(map(str, sorted({run["seed"] for run in comparison.runs})))


def cost_cells(arm: Arm) -> list[str]:
    values = {key: arm.cost(key) for key in COSTS}
    return ["–" if v is None else duration(v) if key.endswith("seconds") else rounded(v) for key, v in values.items()]


def cost_table(comparison: Comparison) -> list[list[str]]:
    return [["arm", "seeds", *COSTS.values()], *([a.label, seeds(a), *cost_cells(a)] for a in comparison.arms)]


def gain_table(comparison: Comparison, column: str) -> list[list[str]]:
    """Return each method's gain over SFT in points of accuracy, and per cost beyond SFT's; [] without arm sft_only."""
    sft = next((arm for arm in comparison.arms if arm.method == "sft_only"), None)
    if sft is None:
        return []
    rows = [["points gained over SFT", "in all", *(f"per {name}" for _, name in UNITS.values())]]
    for arm in comparison.arms:
        gain = arm.minus(sft, column)
        if arm is sft or gain is None:
            continue
        cells = [arm.label, f"{100 * gain.mean:+.1f}"]
        for key, (unit, _) in UNITS.items():
            mine, its = arm.cost(key), sft.cost(key)
            extra = None if mine is None or its is None else (mine - its) / unit
            cells.append(f"{100 * gain.mean / extra:+.2f}" if extra and extra > 0 else "–")
        rows.append(cells)
    return rows


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader of the table must know."""
    if not comparison.columns:
        return []
    found = ["Accuracy of the last model: mean ± standard deviation over seeds."]
    all_pairs = [comparison.difference(arm, column) for arm in comparison.arms for column in comparison.columns]
    differences = [difference for difference in all_pairs if difference is not None]
    if not all(difference.items for difference in differences):
        found.append(
            "Differences are paired by seed: mean ± standard error, with Student's t for interval and p (two-sided). "
            "With few seeds only large differences can be told from chance."
        )
    if any(difference.items for difference in differences):
        found.append(
            "(items): one seed, so the models are compared question by question (exact McNemar test, bootstrap "
            "interval); this says nothing about other seeds."
        )
    if any(difference.n > 1 and difference.p is None for difference in differences):
        found.append("Where all seeds differ by the very same amount there is no spread to compute a p-value from.")
    others = len(comparison.arms) - 1
    if others > 2:
        found.append(
            f"p-values are not corrected: of {others} comparisons {others / 20:.2g} fall below 0.05 by chance."
        )
    if missing := comparison.incomplete():
        shown = "; ".join(missing[:6]) + (f"; and {len(missing) - 6} more" if len(missing) > 6 else "")
        found.append(f"Not complete and in no mean: {shown}.")
    return found


def headlines(comparison: Comparison) -> list[str]:
    """Return a sentence per arm on the first column, for up to three arms beside the baseline."""
    others = [arm for arm in comparison.arms if arm.label != comparison.baseline]
    found = []
    for name, column in list(comparison.columns.items())[:1] if len(others) <= 3 else []:
        for arm in others:
            difference = comparison.difference(arm, name)
            if difference is None:
                continue
            over = f"over {difference.n} seed{'s' if difference.n > 1 else ''}"
            text = f"{arm.label} minus {comparison.baseline} on {column['title']}: {100 * difference.mean:+.1f} points "
            text += "on the same questions" if difference.items else over
            if difference.p is not None:
                chance = "more than chance explains" if difference.p < 0.05 else "chance alone could explain it"
                text += f", 95 % interval {_interval(difference)}: {chance}"
            found.append(f"{text}.")
    return found


def markdown(comparison: Comparison) -> str:
    """Format a table per column, costs in the first one, notes below."""
    parts = []
    for place, (name, column) in enumerate(comparison.columns.items()):
        parts.append(f"**{column['title']}, N = {column['n']} (`{name}`)**")
        parts.append(markdown_table(score_table(comparison, name, costs=not place)))
        if not place and len(gains := gain_table(comparison, name)) > 1:
            parts.append(markdown_table(gains))
    listed = "\n".join(f"- {note}" for note in [*notes(comparison), COST_NOTE])
    return printable("\n\n".join([*(parts or [markdown_table(cost_table(comparison))]), listed]))


def markdown_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Format a Markdown table. The first row is the header; the first `left` columns are left-aligned."""
    ruled = [rows[0], ["---"] * left + ["---:"] * (len(rows[0]) - left), *rows[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in ruled)


def terminal(comparison: Comparison) -> str:
    lines: list[str] = []
    for name, column in comparison.columns.items():
        lines += ["", f"{column['title']}, N = {column['n']} ({name})", *aligned(score_table(comparison, name))]
    costs = [["cost", *COSTS.values()], *([arm.label, *cost_cells(arm)] for arm in comparison.arms)]
    return printable("\n".join([*lines, "", *aligned(costs), "", *notes(comparison), COST_NOTE]))


def as_csv(comparison: Comparison) -> str:
    """Write one row per arm, seed, evaluated model and column, incomplete runs included; costs are those of the run."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV)
    for arm in comparison.arms:
        for run in arm.runs:
            head = [arm.label, arm.method, run["seed"], run["status"]]
            costs = [run["costs"][key] for key in COSTS]
            scores = [(row, name, cell) for row in run["scores"] for name, cell in row["columns"].items()]
            for row, name, cell in scores:
                shares = (None if cell[key] is None else round(cell[key], 6) for key in ("score", "stderr"))
                where = [row["label"], row["iteration"], name, cell["count"], cell["n"]]
                writer.writerow([*head, *where, *shares, *costs])
            if not scores:
                writer.writerow([*head, *[None] * 7, *costs])
    return printable(file.getvalue())
