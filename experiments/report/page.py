"""Build report.html: one self-contained file, about one run or about a comparison.

The templates escape whatever comes from data, models or the command line; plots.py does so in drawings.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from experiments.report import figures, tables
from experiments.report.arms import Comparison
from experiments.report.results import COUNTS, FALSE, columns_of
from experiments.report.templating import render
from memphis.config.methods import CHOICES
from memphis.formatting import duration, percent, rounded, score_text


def run_page(
    run: dict[str, Any], control: dict[str, Any] | None, browser: dict[str, Any] | None, facts: Mapping[str, str]
) -> str:
    """Build the page of one run. control: the run that spends the same on supervised training, if it exists. facts:
    name -> sentence (note, changed, time, cost, rows), "" where there is none."""
    return render(
        "run.html",
        run=run,
        facts=facts,
        scores=_score_rows([row for row in run["scores"] if row["columns"]], control),
        accuracy=figures.accuracy_of_run(run, control),
        cycles=figures.cycles_of_run(run),
        cycle_rows=_cycle_rows(run["iterations"]),
        false_rows=_false_rows(run["iterations"]),
        losses=figures.losses_of_run(run),
        browser=browser,
        code=_commit(run),
        started=f"{datetime.fromtimestamp(run['created'], UTC):%Y-%m-%d %H:%M} UTC",
        stages=_stage_rows(run["stages"]),
        config=[[key, _value(value)] for key, value in sorted(run["config"].items())],
    )


def comparison_page(comparison: Comparison, title: str, browser: dict[str, Any] | None) -> str:
    arms, runs, keys = comparison.arms, comparison.runs, list(comparison.arms[0].settings)
    started = []
    for arm in arms:
        for run in arm.runs:
            reused = [stage["reused"] for stage in run["stages"] if stage["built"]]
            built = [f"{reused.count(False)} of {len(run['stages'])}", str(reused.count(True))]
            wall = "–" if run["wall_s"] is None else duration(run["wall_s"])
            started.append([arm.label, str(run["seed"]), run["status"], run["name"], *built, wall, _commit(run)])
    return render(
        "comparison.html",
        title=title,
        about={
            "arms": str(len(arms)),
            "runs": f"{sum(run['complete'] for run in runs)} of {len(runs)} complete",
            "seeds": tables.all_seeds(comparison),
            "baseline": comparison.baseline,
        },
        lead=tables.headlines(comparison),
        missing=comparison.incomplete(),
        columns=[
            (name, f"{column['title']}, N = {column['n']}", tables.score_table(comparison, name))
            for name, column in comparison.columns.items()
        ],
        notes=tables.notes(comparison),
        results=figures.results(comparison),
        costs=tables.cost_table(comparison),
        cost_note=tables.COST_NOTE,
        cycles=[*figures.drift_by_factor(comparison), *figures.cycles(comparison)],
        losses=figures.losses(comparison),
        browser=browser,
        labels=[arm.label for arm in arms],
        keys=[[key, *(_value(arm.settings[key]) for arm in arms)] for key in keys],
        chosen=[key for key in keys if key in CHOICES],
        runs=started,
    )


def _commit(run: Mapping[str, Any]) -> str:
    return f"{(run['commit'] or 'unknown')[:9]}{' + changes' if run['dirty'] else ''}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _score_rows(scores: Sequence[dict[str, Any]], control: Mapping[str, Any] | None) -> list[list[str]]:
    if not scores:
        return []
    columns = columns_of(scores)
    rows = [["model", *(f"{c['title']}, N = {c['n']} ({name})" for name, c in columns.items())]]
    last = [row for row in control["scores"] if row["columns"]][-1:] if control else []
    for row, prefix in [*((row, "") for row in scores), *((row, "control: ") for row in last)]:
        cells = [row["columns"].get(name) for name in columns]
        shown = ["–" if c is None else score_text(c) for c in cells]
        rows.append([prefix + row["label"], *shown])
    return rows


def _cycle_rows(cycles: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    judged = [cycle for cycle in cycles if "pass@1" in cycle]
    if not judged:
        return []
    parts = list(dict.fromkeys(part for cycle in judged for part in cycle.get("yield", {})))
    header = ["iteration", "pass@1, %", f"pass@{judged[0]['k']}, %", "pairs", *(f"samples {part}" for part in parts)]
    rows = [[*header, "drift from SFT, %", "drift in the iteration, %"]]
    for cycle in judged:
        shares = [percent(cycle["pass@1"], cycle["pass@1_se"]), percent(cycle["pass@k"], cycle.get("pass@k_se"))]
        counts = [str(cycle["pairs"]), *(str(cycle.get("yield", {}).get(part, 0)) for part in parts)]
        drifts = [f"{100 * cycle[key]:.2f}" if key in cycle else "–" for key in ("drift_sft", "drift_prev")]
        rows.append([str(cycle["iteration"]), *shares, *counts, *drifts])
    return rows


def _false_rows(cycles: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the shares of texts with a false equation by iteration and source, those of all sources last."""
    rows = [["iteration", "source", *FALSE.values()]]
    for cycle in cycles:
        found = cycle.get("false", {})
        for source, shares in found.items():
            if source or len(found) > 2:
                cells = [f"{100 * shares[role]:.1f}" if role in shares else "–" for role in FALSE]
                rows.append([str(cycle["iteration"]), source or "all", *cells])
    return rows if len(rows) > 1 else []


def _stage_rows(stages: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["stage", "state", "built in", "counts", "directory"]]
    for stage in stages:
        state = "not built" if not stage["built"] else "from the store" if stage["reused"] else "built"
        counts = ", ".join(f"{rounded(stage[k])} {k}" for k in COUNTS if stage.get(k))
        time = "–" if stage["seconds"] is None else duration(stage["seconds"])
        rows.append([stage["name"], state, time, counts, stage["dir"]])
    return rows
