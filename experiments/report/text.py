"""Describe the end of one run in words: a table, what changed, where the time went, what it cost, what to try next."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.report.results import columns_of, own_stages, total
from experiments.report.tables import markdown_table
from memphis import REPOSITORY
from memphis.config.keys import shell
from memphis.formatting import aligned, duration, rounded, rows_by_human, score_text
from memphis.pipeline import KINDS
from memphis.store import read_json


def _table(scores: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return rows of text: label, `45.3 ± 2.0` per column; N is in a row of its own, and in a cell where it differs."""
    columns = columns_of(scores)
    rows = [["N", *(str(column["n"]) for column in columns.values())]]
    for row in scores:
        cells = [row["label"]]
        for name, last in columns.items():
            cell = row["columns"].get(name)
            text = "–" if cell is None else score_text(cell)
            cells.append(text if cell is None or cell["n"] == last["n"] else f"{text} (N = {cell['n']})")
        rows.append(cells)
    return rows


def markdown_scores(scores: Sequence[dict[str, Any]]) -> str:
    titles = [f"{column['title']}<br>`{name}`" for name, column in columns_of(scores).items()]
    return markdown_table([["", *titles], *_table(scores)])


def terminal_scores(scores: Sequence[dict[str, Any]]) -> list[str]:
    names = list(columns_of(scores))
    if len({name.split("/")[0] for name in names}) == 1:  # then the suite says nothing
        names = [name.split("/")[-1] for name in names]
    return aligned([["accuracy, %", *names], *_table(scores)])


def notes(stages: Sequence[dict[str, Any]], paths: Mapping[str, Path]) -> list[str]:
    """Return what a reader must know before comparing: limits, prompts that were cut, empty answers."""
    scored = [paths[stage["name"]] for stage in stages if KINDS[stage["kind"]].leaves == "scores"]
    records = [record for path in scored for record in read_json(path / "record.json").values()]
    found = []
    if limits := {str(record["limit"]) for record in records if not record["comparable"]}:
        found.append(
            f"Only the first {', '.join(sorted(limits))} items of each task: not comparable with published numbers."
        )
    if cut := sum(record["truncated_prompts"] for record in records):
        found.append(f"{cut} prompts did not fit the model's context and were cut from the left.")
    if empty := sum(record.get("empty_answers", 0) for record in records):
        found.append(f"{empty} generated answers are empty: the model ended its text at once.")
    return found


def time_line(stages: Sequence[dict[str, Any]], wall_s: float) -> str:
    """Describe wall time by kind of job and stage. Only what was built now counts; what was reused is named."""
    built = [stage for stage in stages if not stage["reused"]]
    parts = []
    jobs: dict[str, list[str]] = {"training": [], "engine": [], "other": []}
    for kind, row in KINDS.items():
        jobs["training" if row.optimizes else "engine" if row.needs == "engine" else "other"].append(kind)
    for job, kinds in jobs.items():
        seconds = {kind: sum(stage["seconds"] for stage in built if stage["kind"] == kind) for kind in kinds}
        shares = [f"{kind} {duration(value)}" for kind, value in seconds.items() if value]
        if shares:
            parts.append(f"{job} {duration(sum(seconds.values()))} ({', '.join(shares)})")
    if (rest := wall_s - sum(stage["seconds"] for stage in built)) > 0:
        parts.append(f"starting processes and waiting {duration(rest)}")
    text = ": ".join(filter(None, [duration(wall_s), ", ".join(parts)]))
    reused = [stage["seconds"] for stage in stages if stage["reused"]]
    return f"{text}; {len(reused)} stages from the store (built in {duration(sum(reused))})" if reused else text


def rows_line(stages: Sequence[dict[str, Any]]) -> str:
    """Describe the rows that stage data kept, by who wrote them; "" for a record that does not say."""
    data = next((stage for stage in stages if KINDS[stage["kind"]].leaves == "rows"), None)
    if data is None or "human" not in data["summary"]:
        return ""
    sources = data["summary"]["human"]["sources"]
    each = "; ".join(f"{name}: {one['human']}, {one['rows']:,}" for name, one in sources.items())
    return f"{rows_by_human((one['human'], one['rows']) for one in sources.values())} ({each})"


def cost_line(method: str, stages: Sequence[dict[str, Any]]) -> str:
    """Describe the tokens of all that the last model comes from, reused stages included."""
    own = own_stages(method, stages)
    uses = {
        "for the base model": total(own, "tokens", lambda kind: kind.starts),
        "in SFT": total(own, "tokens", lambda kind: kind.steps and not kind.cycle),
        "in the iterations": total(own, "tokens", lambda kind: kind.steps and kind.cycle),
    }
    trained = ", ".join(f"{rounded(number)} {use}" for use, number in uses.items() if number)
    generated = total(own, "tokens", lambda kind: kind.leaves == "samples")
    return f"tokens trained on: {trained or 'none'}; generated to learn from: {rounded(generated)}"


def next_command(run: Mapping[str, Any]) -> str:
    """Return this run's command with one word changed, as a line for a shell; "" where no change would tell more.

    Another SLERP factor where a merge made the last model; all of a run that ended early; else, if anything was
    trained, the recipe on one's own rows, or another seed; all items of an evaluation that was limited.
    """
    built = [KINDS[stage["kind"]] for stage in own_stages(run["method"], run["stages"]) if stage["built"]]
    own = [value is True for key, value in run["config"].items() if re.fullmatch(r"data\.sources\..+\.questions", key)]
    if any(kind.merges for kind in built):
        gone, new = r"slerp\.t", [f"slerp.t={0.9 if run['config']['slerp.t'] == 0.5 else 0.5}"]
    elif any(word.lstrip("+").startswith("until=") for word in run["command"]):
        gone, new = "until", []
    elif any(own) and any(kind.steps for kind in built):  # knobs of another method would be refused
        gone, new = r"method|rank\..*|slerp\..*|sft\.continued", ["method=memphis"]
    elif any(kind.steps for kind in built):
        gone, new = "seed", [f"seed={run['seed'] + 1}"]
    elif run["config"].get("eval.limit") is not None:
        gone, new = r"eval\.limit", ["eval.limit=null"]
    else:
        return ""
    # Of older runs: flags, sweeps; and masked secrets. A comma inside brackets or quotes is no sweep.
    unwanted = re.compile(r"-|\+sweep=|.*\*\*\*|[^=]*=[^\[\"'({]*,")
    kept = [word for word in run["command"] if not unwanted.match(word)]
    kept = [word for word in kept if not re.fullmatch(gone, word.lstrip("+").partition("=")[0])]
    return " ".join(map(shell, ["python", script(), *kept, *new]))


def script() -> str:
    """Return train.py as it is called from the current directory."""
    return "train.py" if Path.cwd() == REPOSITORY else str(REPOSITORY / "train.py")
