"""Committed results in experiments/<folder>: results.json is the source; the block in README.md, results.csv and
figure.svg are made from it, and `check` reports where they differ from it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.report import figures, tables
from experiments.report.arms import KEPT, Arm, Comparison
from experiments.report.plots import standalone
from experiments.report.statistics import Difference
from memphis.errors import MemphisError
from memphis.store import read_json

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MAX_BYTES = 200_000
SCHEMA = 1


def dumps(comparison: Comparison) -> str:
    """Serialise with one line per run: small, and a change of one run is a change of one line. Six decimals."""
    titles = {name: column["title"] for name, column in comparison.columns.items()}
    head = {
        "schema": SCHEMA,
        "baseline": comparison.baseline,
        "factor": comparison.factor,
        "numeric": comparison.numeric,
    }
    head |= {"titles": titles, "items": {k: {c: asdict(d) for c, d in v.items()} for k, v in comparison.items.items()}}
    arms = []
    for arm in comparison.arms:
        about = json.dumps(
            _rounded({"label": arm.label, "method": arm.method, "settings": arm.settings}), ensure_ascii=False
        )
        runs = ",\n  ".join(json.dumps(_rounded(_kept(run)), ensure_ascii=False) for run in arm.runs)
        arms.append(f'{about[:-1]}, "runs": [\n  {runs}\n ]}}')
    first = json.dumps(_rounded(head), ensure_ascii=False)
    rows = ",\n ".join(arms)
    return f'{first[:-1]},\n "arms": [\n {rows}\n]}}\n'


def load(file: Path) -> Comparison:
    """Load what `dumps` wrote. Raises MemphisError when it is something else."""
    try:
        value = read_json(file)
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}")
        arms = [Arm(a["label"], a["method"], a["settings"], a["runs"]) for a in value["arms"]]
        for column in (c for a in arms for run in a.runs for row in run["scores"] for c in row["columns"].items()):
            column[1]["title"] = value["titles"].get(column[0], column[0])
        items = {k: {c: Difference(**d) for c, d in v.items()} for k, v in value["items"].items()}
        return Comparison(arms, value["baseline"], value["factor"], value["numeric"], items)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise MemphisError(f"{file}: not results of `experiments.report --save` ({reason}); save them again") from error


def made_from(comparison: Comparison, folder: Path) -> dict[str, str]:
    """Return the files that follow from the results, README.md with its block replaced; by name."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise MemphisError(f"{readme}: no lines {BEGIN} and {END}; add them where the results belong")
    found = {"results.csv": tables.as_csv(comparison)}
    drawings = figures.of_folder(comparison)
    if drawings:
        found["figure.svg"] = standalone(drawings)
    picture = "\n\n![Results, as in the table](figure.svg)" if drawings else ""
    return found | {"README.md": f"{before}{BEGIN}\n{markdown(comparison)}{picture}\n{END}{after}"}


def markdown(comparison: Comparison) -> str:
    """Format tables, notes and the origin of the numbers."""
    return f"{tables.markdown(comparison)}\n- {provenance(comparison)}"


def provenance(comparison: Comparison) -> str:
    runs = [run for arm in comparison.arms for run in arm.runs]
    commits = sorted({f"{(run['commit'] or 'unknown')[:9]}{' with changes' if run['dirty'] else ''}" for run in runs})
    seeds = ", ".join(map(str, sorted({run["seed"] for run in runs})))
    complete = sum(run["complete"] for run in runs)
    return f"{complete} of {len(runs)} runs complete; seeds {seeds}; code {', '.join(commits)}."


def save(comparison: Comparison, folder: Path) -> list[str]:
    """Write results.json and what follows from it; returns the names. Raises MemphisError when it is too large."""
    text = dumps(comparison)
    if len(text.encode()) > MAX_BYTES:
        size = f"{len(text.encode()) / 1000:.0f} kB"
        raise MemphisError(f"{folder}/results.json: {size}, more than {MAX_BYTES // 1000} kB; save fewer arms or seeds")
    files = made_from(comparison, folder)
    (folder / "results.json").write_text(text, encoding="utf-8")
    for name, content in made_from(load(folder / "results.json"), folder).items():  # as the check will read it
        (folder / name).write_text(content, encoding="utf-8")
    return ["results.json", *files]


def check(root: Path) -> list[str]:
    """Return a line for each file below `root`/*/ that differs from what results.json beside it gives."""
    drifted = []
    for file in sorted(root.glob("*/results.json")):
        for name, content in made_from(load(file), file.parent).items():
            place = file.parent / name
            if not place.is_file() or place.read_text(encoding="utf-8") != content:
                drifted.append(f"{place}: not what {file.name} says")
    return drifted


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the table, the figure and its provenance need of a run; titles are written once."""
    kept = {key: run[key] for key in KEPT}
    numbers = ("count", "n", "score", "stderr")
    scores = [
        {**row, "columns": {name: {k: column[k] for k in numbers} for name, column in row["columns"].items()}}
        for row in run["scores"]
    ]
    return kept | {"scores": scores}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
