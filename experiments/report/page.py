"""Build report.html: one self-contained file, about one run or about a comparison.

Whatever comes from data, models or the command line is escaped here or, in the sample browser, set as text by page.js.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from experiments.report import figures, tables
from experiments.report.arms import Comparison
from experiments.report.plots import STYLE
from memphis.config.methods import CHOICES
from memphis.formatting import duration, percent, printable, rounded

_HERE = Path(__file__).parent
_OUTCOMES = {"all": "all", "01": "wrong → right", "10": "right → wrong", "11": "right, right", "00": "wrong, wrong"}
_WORDS = {
    "SFT": "supervised fine-tuning of the base model on rationales that people wrote.",
    "iteration": "one cycle of self-teaching: sample answers to training questions, check them, train on them, merge.",
    "SFT continued": "the control: in place of the cycles, SFT goes on with human rationales of the same questions for "
    "as many optimizer steps and tokens. What self-teaching is worth is its difference to this, not to SFT.",
    "pass@1, pass@k": "share of training questions answered rightly by one sample, by at least one of k samples.",
    "pair": "a right and a wrong sample of the same question; surplus samples found no partner.",
    "drift": "how far the weights moved: norm of the difference over norm of the weights.",
    "arm, seed": "an arm is everything that was chosen; the seed is what was drawn.",
}

Section = tuple[str, str, str]  # anchor, heading, HTML


def run_page(
    run: Mapping[str, Any],
    control: dict[str, Any] | None,
    browser: dict[str, Any] | None,
    said: Mapping[str, str],
) -> str:
    """Build the page of one run. control: the run that spends the same on supervised training, if it exists. said: name
    -> sentence (note, changed, time, cost), "" where there is none."""
    sections: list[Section] = []
    scores = [row for row in run["scores"] if row["columns"]]
    accuracy = figures.accuracy_of_run(dict(run), control)
    if scores:
        table = _table(_score_rows(scores, control), "Accuracy in %, ± one standard error of the items.")
        sections.append(("results", "Results", f"{table}{_plots(accuracy)}"))
    sections += _plotted(("cycles", "Samples, pairs, drift", figures.cycles_of_run(dict(run))))
    if cycle_rows := _cycle_rows(run["iterations"]):
        anchor, heading, html = sections.pop()
        sections.append((anchor, heading, html + _table(cycle_rows, "The same numbers by iteration.")))
    sections += _plotted(("losses", "Training", figures.losses_of_run(dict(run))))
    sections += _samples(browser)
    about = {
        "command": " ".join(["python train.py", *run["command"]]),
        "overrides": run["slug"],
        "code": _commit(run),
        "started": f"{datetime.fromtimestamp(run['created'], UTC):%Y-%m-%d %H:%M} UTC",
    }
    stages = _table(_stage_rows(run["stages"]), "Stages in their order.")
    sections.append(("stages", "What ran", _facts(about | {"time": said["time"], "cost": said["cost"]}) + stages))
    config = [["key", "value"], *([key, _value(value)] for key, value in sorted(run["config"].items()))]
    summary = f"<summary>All {len(config) - 1} keys that can change a result</summary>"
    sections.append(("config", "Configuration", f"<details>{summary}{_table(config, '', 'left')}</details>"))
    sections.append(_words())
    facts = {"status": run["status"], "method": run["method"], "note": said["note"]}
    incomplete = f"This run is not complete ({run['status']}): what is shown is what there is."
    warnings = [] if run["complete"] else [incomplete]
    lead = [said["changed"] + "."] if said.get("changed") else []
    return _page(f"{run['name']}, seed {run['seed']}: {run['method']}", facts, lead, warnings, sections, browser)


def comparison_page(comparison: Comparison, title: str, browser: dict[str, Any] | None) -> str:
    arms, runs = comparison.arms, [run for arm in comparison.arms for run in arm.runs]
    results = "".join(
        f"<h3>{_text(column['title'])}, N = {column['n']}</h3>{_table(tables.score_table(comparison, name), name)}"
        for name, column in comparison.columns.items()
    )
    told = _list(tables.notes(comparison)) if comparison.columns else "<p>No evaluation is complete.</p>"
    sections: list[Section] = [("results", "Results", results + told + _plots(figures.results(comparison)))]
    costs = [
        ["arm", "seeds", *tables.COSTS.values()],
        *([a.label, tables.seeds(a), *tables.cost_cells(a)] for a in arms),
    ]
    sections.append(("cost", "Cost", _table(costs, "Mean per run.") + _list([tables.COST_NOTE])))
    drawn = [*figures.drift_by_factor(comparison), *figures.cycles(comparison)]
    sections += _plotted(("cycles", "Samples, pairs, drift", drawn))
    sections += _plotted(("losses", "Training", figures.losses(comparison)))
    sections += _samples(browser)
    keys = list(arms[0].settings)
    differing = [
        ["key", *(arm.label for arm in arms)],
        *([key, *(_value(a.settings[key]) for a in arms)] for key in keys),
    ]
    by_name = (
        " Keys of the method: " + ", ".join(k for k in keys if k in CHOICES) + "." if set(keys) & set(CHOICES) else ""
    )
    table = (
        _table(differing, f"Keys in which the arms differ; all others are equal.{by_name}")
        if keys
        else "<p>None: there is one arm.</p>"
    )
    sections.append(("config", "Configuration differences", table))
    header = ["arm", "seed", "status", "name", "stages built", "from the store", "wall time", "code"]
    rows = [
        [arm.label, str(run["seed"]), run["status"], *_built(run), _commit(run)] for arm in arms for run in arm.runs
    ]
    sections.append(("runs", "What ran", _table([header, *rows], "Runs of the comparison.")))
    facts = {
        "arms": str(len(arms)),
        "runs": f"{sum(run['complete'] for run in runs)} of {len(runs)} complete",
        "seeds": ", ".join(map(str, sorted({run["seed"] for run in runs}))),
        "baseline": comparison.baseline,
    }
    sections.append(_words())
    missing = comparison.incomplete()
    warnings = [f"Not complete and in no mean: {'; '.join(missing)}."] if missing else []
    return _page(title, facts, tables.headlines(comparison), warnings, sections, browser)


def _words() -> Section:
    return "words", "Words", _facts(_WORDS)


def _page(
    title: str,
    facts: Mapping[str, str],
    lead: Sequence[str],
    warnings: Sequence[str],
    sections: Sequence[Section],
    browser: Mapping[str, Any] | None,
) -> str:
    links = "".join(f'<li><a href="#{anchor}">{_text(heading)}</a></li>' for anchor, heading, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{_text(heading)}</h2>{html}</section>\n' for anchor, heading, html in sections
    )
    warned = "".join(f'<p class="warning" role="note">{_text(warning)}</p>' for warning in warnings)
    told = "".join(f'<p class="lead">{_text(sentence)}</p>' for sentence in lead)
    # "<" could end the script element; everything else in JSON is text there.
    data = json.dumps(browser, ensure_ascii=False).replace("<", "\\u003c") if browser else ""
    script = (
        f'<script type="application/json" id="samples-data">{data}</script>\n<script>\n{_file("page.js")}</script>\n'
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # else a browser requests one
        f"<title>{_text(title)}</title>\n<style>\n{STYLE}\n{_file('page.css')}</style>\n</head>\n<body>\n"
        f"<header><h1>{_text(title)}</h1>{told}{_facts(facts)}</header>{warned}\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f"<main>\n{body}</main>\n{script if browser else ''}</body>\n</html>\n"
    )


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _text(value: str) -> str:
    return escape(printable(value))


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items() if value)
    return f'<dl class="facts">{rows}</dl>'


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>" if items else ""


def _plots(drawings: Sequence[str]) -> str:
    return (
        f'<div class="plots">{"".join(f"<figure>{drawing}</figure>" for drawing in drawings)}</div>' if drawings else ""
    )


def _plotted(section: tuple[str, str, Sequence[str]]) -> list[Section]:
    anchor, heading, drawings = section
    return [(anchor, heading, _plots(drawings))] if drawings else []


def _table(rows: Sequence[Sequence[str]], caption: str, style: str = "") -> str:
    """Build a table with headers in its first row and column. If too wide it scrolls by itself, also by keyboard."""
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{_text(first)}</th>{"".join(f"<td>{_text(cell)}</td>" for cell in rest)}</tr>\n'
        for first, *rest in rows[1:]
    )
    told = f"<caption>{_text(caption)}</caption>" if caption else ""
    region = f'class="table {style}" tabindex="0" role="region" aria-label="{_text(caption or "table")}"'
    return f"<div {region}><table>{told}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"


def _score_rows(scores: Sequence[Mapping[str, Any]], control: Mapping[str, Any] | None) -> list[list[str]]:
    columns = {name: column for row in scores for name, column in row["columns"].items()}
    rows = [["model", *(f"{c['title']}, N = {c['n']} ({name})" for name, c in columns.items())]]
    last = [row for row in control["scores"] if row["columns"]][-1:] if control else []
    for row, prefix in [*((row, "") for row in scores), *((row, "control: ") for row in last)]:
        cells = [row["columns"].get(name) for name in columns]
        shown = ["–" if c is None else percent(c["score"], c["stderr"]) for c in cells]
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


def _stage_rows(stages: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["stage", "state", "built in", "counts", "directory"]]
    for stage in stages:
        state = "not built" if not stage["built"] else "from the store" if stage["reused"] else "built"
        counts = ", ".join(f"{rounded(stage[k])} {k}" for k in ("steps", "tokens", "samples", "pairs") if stage.get(k))
        time = "–" if stage["seconds"] is None else duration(stage["seconds"])
        rows.append([stage["name"], state, time, counts, stage["dir"]])
    return rows


def _built(run: Mapping[str, Any]) -> list[str]:
    stages = run["stages"]
    built, reused = (sum(s["built"] and s["reused"] is known for s in stages) for known in (False, True))
    wall = "–" if run["wall_s"] is None else duration(run["wall_s"])
    return [run["name"], f"{built} of {len(stages)}", str(reused), wall]


def _commit(run: Mapping[str, Any]) -> str:
    return f"{(run['commit'] or 'unknown')[:9]}{' + changes' if run['dirty'] else ''}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _samples(browser: Mapping[str, Any] | None) -> list[Section]:
    if not browser:
        return []
    models = browser["models"]
    first = models.index("SFT") if "SFT" in models[:-1] else 0

    def options(chosen: int) -> str:
        return "".join(
            f"<option{' selected' if k == chosen else ''}>{_text(name)}</option>" for k, name in enumerate(models)
        )

    buttons = "".join(
        f'<button type="button" data-outcome="{key}" aria-pressed="{str(key == "all").lower()}">{_text(name)}</button>'
        for key, name in _OUTCOMES.items()
    )
    html = (
        f"<p>{len(browser['rows'])} of {browser['total']} {_text(browser['what'])}, chosen by a fixed hash of their "
        "ids. Long texts are cut.</p>"
        '<div class="controls">'
        f'<label>from <select id="from">{options(first)}</select></label>'
        f'<label>to <select id="to">{options(len(models) - 1)}</select></label>'
        f"<fieldset><legend>answers</legend>{buttons}</fieldset>"
        '<label>search <input id="search" type="search" autocomplete="off"></label></div>'
        '<p id="count" class="soft" role="status"></p><div id="list"></div>'
        '<button type="button" id="more" hidden>show more</button>'
        "<noscript><p>The samples need JavaScript.</p></noscript>"
    )
    return [("samples", "Answers to the same questions", html)]
