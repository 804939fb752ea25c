"""Committed results in experiments/<folder>: results.json is the source; the block in README.md, results.csv and
figure.svg are made from it, and `check` reports where they differ from it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.report import figures, tables
from experiments.report.arms import Arm, Comparison
from experiments.report.plots import standalone
from experiments.report.results import readable
from experiments.report.statistics import Difference
from memphis.errors import MemphisError
from memphis.store import read_json

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MAX_BYTES = 200_000
SCHEMA = 1
_KEPT = ("seed", "status", "complete", "commit", "dirty", "key", "scores", "iterations", "costs")  # of a run
_NUMBERS = ("count", "n", "score", "stderr", "low", "high", "limit")  # of a score, if there; titles are written once


def dumps(comparison: Comparison) -> str:
    """Serialise with one line per run: small, and a change of one run is a change of one line. Six decimals."""

    def line(value: Any) -> str:
        rounded = json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 6))
        return json.dumps(rounded, ensure_ascii=False)

    def kept(run: dict[str, Any]) -> dict[str, Any]:
        scores = [
            {
                **row,
                "columns": {
                    name: {k: column[k] for k in _NUMBERS if k in column} for name, column in row["columns"].items()
                },
            }
            for row in run["scores"]
        ]
        return {key: run[key] for key in _KEPT} | {"scores": scores}

    head: dict[str, Any] = {"schema": SCHEMA}
    head |= {key: getattr(comparison, key) for key in ("baseline", "factor", "numeric")}
    head |= {"titles": {name: column["title"] for name, column in comparison.columns.items()}}
    head |= {"items": {k: {c: asdict(d) for c, d in v.items()} for k, v in comparison.items.items()}}
    arms = []
    for arm in comparison.arms:
        about = line({"label": arm.label, "method": arm.method, "settings": arm.settings})
        runs = ",\n  ".join(line(kept(run)) for run in arm.runs)
        arms.append(f'{about[:-1]}, "runs": [\n  {runs}\n ]}}')
    rows = ",\n ".join(arms)
    return f'{line(head)[:-1]},\n "arms": [\n {rows}\n]}}\n'


def load(file: Path) -> Comparison:
    """Load what `dumps` wrote. Raises MemphisError when it is something else."""
    with readable(file, "not results of `experiments.report --save`", "save them again"):
        value = read_json(file)
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}")
        arms = [Arm(a["label"], a["method"], a["settings"], a["runs"]) for a in value["arms"]]
        for columns in (row["columns"] for arm in arms for run in arm.runs for row in run["scores"]):
            for name, column in columns.items():
                column["title"] = value["titles"].get(name, name)
        items = {k: {c: Difference(**d) for c, d in v.items()} for k, v in value["items"].items()}
        return Comparison(arms, value["baseline"], value["factor"], value["numeric"], items)


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
    runs, seeds = comparison.runs, tables.all_seeds(comparison)
    complete = sum(run["complete"] for run in runs)
    commits = {f"{(run['commit'] or 'unknown')[:9]}{' with changes' if run['dirty'] else ''}" for run in runs}
    origin = f"{complete} of {len(runs)} runs complete; seeds {seeds}; code {', '.join(sorted(commits))}."
    return f"{tables.markdown(comparison)}\n- {origin}"


def save(comparison: Comparison, folder: Path) -> list[str]:
    """Write results.json and what follows from it; returns the names. Raises MemphisError when it is too large."""
    text = dumps(comparison)
    if len(text.encode()) > MAX_BYTES:
        size = f"{len(text.encode()) / 1000:.0f} kB"
        raise MemphisError(f"{folder}/results.json: {size}, more than {MAX_BYTES // 1000} kB; save fewer arms or seeds")
    made_from(comparison, folder)  # fails before anything is written
    (folder / "results.json").write_text(text, encoding="utf-8")
    files = made_from(load(folder / "results.json"), folder)  # as the check will read it
    for name, content in files.items():
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
