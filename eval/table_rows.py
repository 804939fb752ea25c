"""Rows of the benchmark table: published ones from reference.json, ours from records, and their ranking."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eval.records import Evaluation
from eval.suites import SUITES, measured, pooled_stderr
from memphis.errors import MemphisError
from memphis.formatting import score_text
from memphis.store import read_json

FOLDER = Path(__file__).resolve().parent
REFERENCE = FOLDER / "reference.json"
RESULTS = FOLDER / "results"
NOISE = 1.96  # standard errors of a difference; below it a difference is not significant at 95 %
SUITE_TITLES = {  # each suite has a table of its own
    "card": "Measured as the model card did (suite `card`)",
    "current": "Measured by lm-evaluation-harness as it is today (suite `current`)",
}

LISTED_TITLES = {  # suites whose columns the data decide; nothing published to compare them with
    "heldout": "Held-out rows of the run's own sources (suite `heldout`): % right, 95 % Wilson interval, rows",
    "tasks": "Single tasks of lm-eval, as it has them (`eval.tasks`): % right ± one standard error, items",
}


@dataclass(frozen=True)
class Cell:
    """Right answers of n items and standard error of their share. seeds: set if each item was answered with several."""

    count: int
    n: int
    stderr: float | None
    seeds: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        return self.count / self.n / max(1, len(self.seeds))

    def text(self) -> str:
        """Format as `18.80 ± 1.08`: percent and percentage points."""
        return f"{100 * self.share:.2f}" + ("" if self.stderr is None else f" ± {100 * self.stderr:.2f}")


@dataclass(frozen=True)
class Row:
    """Model under one suite; cells by benchmark, tasks by lm-eval's name.

    hub: its id on the hub, if it has one. excluded: benchmark -> why its number does not count. facts: for the notes.
    """

    model: str
    hub: str | None
    size: str
    data: str
    method: str
    suite: str
    cells: Mapping[str, Cell]
    published: bool = False
    excluded: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Cell] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.model if self.published else f"{self.model} (ours)"


@dataclass(frozen=True)
class Reference:
    """Published numbers, from reference.json. subject, base: hub ids of the model repeated here and of its base."""

    benchmarks: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Row]
    subject: str
    base: str
    card: str

    def published(self, hub: str | None) -> Row | None:
        return next((row for row in self.rows if hub is not None and row.hub == hub), None)

    def title(self, benchmark: str) -> str:
        return str(self.benchmarks[benchmark]["title"])


def read_reference(file: Path = REFERENCE) -> Reference:
    """Read reference.json. Raises MemphisError if it is damaged or a count does not give the printed percentage."""
    try:
        value = read_json(file)
        rows = [_published_row(row, value["benchmarks"]) for row in value["rows"]]
        subject = value["subject"]
        return Reference(value["benchmarks"], rows, subject["model"], subject["base"], value["source"]["card"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MemphisError(f"{file}: damaged table of published numbers ({error}); restore it with git") from error


def _published_row(row: Mapping[str, Any], benchmarks: Mapping[str, Mapping[str, Any]]) -> Row:
    cells = {}
    for name, benchmark in benchmarks.items():
        count, n, printed = row["counts"][name], benchmark["items"], row["printed"][name]
        if f"{100 * count / n:.{len(printed.partition('.')[2])}f}" != printed:
            raise ValueError(f"{row['hub']}: {count} of {n} is not {printed} %")
        cells[name] = Cell(count, n, math.sqrt(count / n * (1 - count / n) / (n - 1)))  # one sample of n items
    words = {key: row[key] for key in ("model", "hub", "size", "data", "method")}
    excluded, facts = row.get("excluded", {}), {"today": row.get("today")}
    return Row(**words, suite="card", cells=cells, published=True, excluded=excluded, facts=facts)


def our_rows(evaluations: Iterable[Evaluation], reference: Reference) -> list[Row]:
    """Return a row per evaluation and suite.

    Raises MemphisError for a limited record, missing items, and a record without any suite that the table shows.
    """
    rows = []
    for evaluation in evaluations:
        suites = [suite for suite in SUITE_TITLES if suite in evaluation.records]
        if not suites and not LISTED_TITLES.keys() & evaluation.records.keys():
            held, cure = ", ".join(evaluation.records), "evaluate with eval=card or eval=current"
            raise MemphisError(f"{evaluation.file}: the table has no column for suite {held}; {cure}")
        words = describe(evaluation, reference)
        rows += [_our_row(evaluation, suite, words, reference) for suite in suites]
    return rows


def _our_row(evaluation: Evaluation, suite: str, words: Mapping[str, Any], reference: Reference) -> Row:
    record = evaluation.records[suite]
    row = {key: words[key] for key in ("model", "hub", "size", "data", "method")} | {"suite": suite}
    facts = {"stage": evaluation.stage, "run": words["run"] or {}}
    if "not_loadable" in record:
        return Row(**row, cells={}, facts=facts | {"not_loadable": str(record["not_loadable"])})
    if not record["comparable"]:
        raise MemphisError(
            f"{evaluation.file}: suite {suite} was limited to {record['limit']} items of each task, and limited and "
            "full results do not go into one table; evaluate with eval.limit=null"
        )
    cells: dict[str, Cell] = {}
    tasks: dict[str, Cell] = {}
    for column in SUITES[suite].columns:
        whole, parts = record["columns"][column.name], [record["tasks"][task] for task in column.tasks]
        items = reference.benchmarks[column.name]["items"]
        if whole["n"] != items:
            raise MemphisError(f"{evaluation.file}: {column.name} has {whole['n']} of {items} items; evaluate again")
        stderr = pooled_stderr([part["stderr"] for part in parts], [part["n"] for part in parts])
        cells[column.name] = _cell(whole | {"stderr": stderr})
        tasks |= {task: _cell(part) for task, part in zip(column.tasks, parts, strict=True)}
    facts |= {key: record[key] for key in ("versions", "engine", "dtype", "seed", "fingerprint", "truncated_prompts")}
    published = reference.published(words["hub"])
    excluded = published.excluded if published else {}
    return Row(**row, cells=cells, excluded=excluded, tasks=tasks, facts=facts)


def listed_rows(
    evaluations: Iterable[Evaluation], suite: str, reference: Reference, *, per_task: bool
) -> list[list[str]]:
    """Return the table of a suite of LISTED_TITLES: a header and a row per evaluation that has it; [] without any.

    A limited record is marked. per_task: also the single tasks of a column.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for evaluation in evaluations:
        record = evaluation.records.get(suite, {})
        cells = {}
        for column in measured(record) if "columns" in record else ():
            cells[column.name] = record["columns"][column.name]
            if per_task and len(column.tasks) > 1:
                cells |= {task: record["tasks"][task] for task in column.tasks}
        if cells:
            name = f"{describe(evaluation, reference)['model']} (ours)"
            only = "" if record["limit"] is None else f", first {record['limit']} only: not comparable"
            found.append((name, {key: f"{score_text(cell)}, N = {cell['n']}{only}" for key, cell in cells.items()}))
    names = list(dict.fromkeys(name for _, cells in found for name in cells))
    return (
        [["Model", *names], *([name, *(cells.get(key, "–") for key in names)] for name, cells in found)]
        if found
        else []
    )


def _cell(result: Mapping[str, Any]) -> Cell:
    return Cell(result["count"], result["n"], result["stderr"], tuple(result.get("seeds") or ()))


def describe(evaluation: Evaluation, reference: Reference) -> dict[str, Any]:
    """Return the words of the row: those of a committed copy, else those from the run's config.yaml and run.json."""
    words = {"model": evaluation.stage, "hub": None, "size": "–", "data": "–", "method": "–", "run": None}
    if evaluation.about is not None:
        about = {key: value for key, value in evaluation.about.items() if key in words and value is not None}
        return words | {"model": evaluation.file.stem} | about
    if evaluation.run is None:
        return words
    try:
        config = yaml.safe_load((evaluation.run / "config.yaml").read_text(encoding="utf-8"))
        return words | _of_run(config, read_json(evaluation.run / "run.json"), reference)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise MemphisError(f"{evaluation.run}: its config.yaml or run.json cannot be read ({error!r})") from error


def _of_run(config: Mapping[str, Any], info: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    model, git = config["model"], info.get("git") or {}
    start = reference.published(model["path"])
    words: dict[str, Any] = {"run": {"id": info["run_id"], "commit": git.get("sha"), "dirty": git.get("dirty")}}
    if start is not None:
        words["size"] = start.size
    elif model.get("parameters"):
        words["size"] = f"{model['parameters'] / 1e9:.2g}B"
    taught = config["rank"]["loss"] != "none" and config["iterations"] > 0
    if not taught and config["sft"]["from"] == "base":  # evaluated as it is
        known = {"model": start.model, "data": start.data, "method": start.method} if start else {}
        return words | {"model": model["path"] or "tiny base model", "hub": model["path"]} | known
    sources = config["data"]["sources"]
    # The tiny task's rows are generated, too, and say nothing of it.
    human = all(source.get("human", "generated") != "generated" for source in sources.values())
    mixed = [name for name, source in sources.items() if source.get("human") == "mixed"]
    words["data"] = ("Human" + (f" (mixed: {', '.join(mixed)})" if mixed else "")) if human else "Generated"
    words["method"] = "Self-teaching" if taught else "SFT"
    slug = [] if info["slug"] == "default" else [info["slug"]]
    return words | {"model": ", ".join([config["name"], *slug, f"seed {config['seed']}"])}


def ordered(rows: Sequence[Row], suite: str) -> list[Row]:
    """Return the rows of a suite that have numbers: the published ones in the card's order, each followed by our
    measurements of the same model, then our other ones."""
    place = {row.hub: index for index, row in enumerate(row for row in rows if row.published)}
    chosen = [row for row in rows if row.suite == suite and row.cells]
    return sorted(chosen, key=lambda row: (place.get(row.hub, len(place)), not row.published))


def best_two(rows: Sequence[Row], benchmark: str) -> tuple[float | None, float | None]:
    """Return the best and the second best share of a column; cells that do not count are left out."""
    shares = {row.cells[benchmark].share for row in rows if benchmark not in row.excluded}
    first, second, *_ = [*sorted(shares, reverse=True), None, None]
    return first, second
