"""What a run has found, for people: a table, a figure, samples before and after, and what it cost.

Reads summary.json, stages.json and run.json of the run directory and the directories of its stages; writes results.md,
accuracy.svg, accuracy.png and samples.md beside them. Model output is data here: it is quoted, never interpreted.
"""

import gzip
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memphis.console import duration, percent, printable, rounded
from memphis.store import read_json

SHOWN = 3  # samples
MAX_CHARS = 1_500  # of one quoted text
LEGS = {"training": ("base", "sft", "rank"), "engine": ("generate", "evaluate"), "other": ("data", "pairs", "merge")}
_QUESTION_KEYS = ("prompt", "question", "input", "query")  # of the documents of our tasks
# Okabe and Ito's colours, which people with any kind of colour vision tell apart; yellow is left out, it is too light.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vP*"


@dataclass(frozen=True)
class Answer:
    """What a model wrote to one question."""

    question: str
    reference: str
    text: str
    right: bool


@dataclass(frozen=True)
class Change:
    """The same questions answered by an earlier and by a later model."""

    before: str  # which model
    after: str
    what: str  # which questions, how answered
    pairs: dict[str, tuple[Answer, Answer]]

    def count(self, before: bool, after: bool) -> int:
        return sum((a.right, b.right) == (before, after) for a, b in self.pairs.values())

    def sentence(self) -> str:
        return (
            f"{self.before} → {self.after} on {self.what}: {self.count(False, True)} went from wrong to right, "
            f"{self.count(True, False)} from right to wrong, {self.count(True, True)} stayed right, "
            f"{self.count(False, False)} stayed wrong"
        )


def finish(run_dir: Path) -> str:
    """Write results.md, accuracy.svg, accuracy.png and samples.md (of these what the run has numbers for) into
    `run_dir`; returns the text that ends the run on the terminal."""
    summary = read_json(run_dir / "summary.json")
    scores = [row for row in summary["scores"] if row["columns"]]
    stages = [stage for stage in read_json(run_dir / "stages.json") if stage["built"]]
    paths = {stage["name"]: run_dir.parents[2] / stage["dir"] for stage in stages}
    title = f"{summary['name']}, seed {summary['seed']}, {summary['slug']}: {summary['status']}"
    change = find_change(stages, paths)
    time, cost = time_line(stages, summary["wall_s"]), cost_line(stages)
    following = next_command(stages, paths, read_json(run_dir / "run.json")["argv"][1:])

    notes = _notes(stages, paths)
    parts = [f"# {title}", *([_markdown_table(scores)] if scores else ["No evaluation was asked for."])]
    written = ["results.md"]
    if scores:
        draw(scores, f"{summary['name']}, seed {summary['seed']}: accuracy by iteration", run_dir / "accuracy")
        written += ["accuracy.svg", "accuracy.png"]
        parts += [*notes, "![Accuracy by iteration](accuracy.svg)"]
    if change is not None:
        (run_dir / "samples.md").write_text(_samples_page(title, change), encoding="utf-8")
        written.append("samples.md")
        parts.append(f"{change.sentence()}. [Three of them](samples.md).")
    if (run_dir / "model").is_dir():
        written.append("model/")
    parts += [f"Time: {time}.", f"Cost: {cost}.", f"Worth trying next: `{following}`", _stage_table(stages)]
    (run_dir / "results.md").write_text(printable("\n\n".join(parts)) + "\n", encoding="utf-8")

    lines = ["", title, *(["", *_terminal_table(scores)] if scores else []), ""]
    facts = [("note", note) for note in notes]
    facts += [("changed", change.sentence() if change else ""), ("time", time), ("cost", cost)]
    facts += [("written", f"{_short(run_dir)}: {', '.join(written)}"), ("try next", following)]
    lines += [f"{name:<9} {text}" for name, text in facts if text]
    return printable("\n".join(lines))


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _columns(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All columns of a run in their order, with what does not depend on the row."""
    return {name: column for row in scores for name, column in row["columns"].items()}


def _names(scores: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Short names of the columns: without the suite when there is only one."""
    columns = _columns(scores)
    several = len({name.split("/")[0] for name in columns}) > 1
    return {name: name if several else name.split("/")[-1] for name in columns}


def _table(scores: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of text: label, then `45.3 ± 2.0` per column; N is in a row of its own, and in a cell where it differs."""
    columns = _columns(scores)
    rows = [["N", *(str(column["n"]) for column in columns.values())]]
    for row in scores:
        cells = [row["label"]]
        for name, last in columns.items():
            cell = row["columns"].get(name)
            text = "–" if cell is None else percent(cell["score"], cell["stderr"])
            cells.append(text if cell is None or cell["n"] == last["n"] else f"{text} (N = {cell['n']})")
        rows.append(cells)
    return rows


def _markdown_table(scores: Sequence[dict[str, Any]]) -> str:
    titles = [f"{column['title']}<br>`{name}`" for name, column in _columns(scores).items()]
    rows = [["", *titles], ["---", *["---:"] * len(titles)], *_table(scores)]
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return f"{table}\n\nAccuracy in %, ± one standard error in percentage points."


def _terminal_table(scores: Sequence[dict[str, Any]]) -> list[str]:
    rows = [["accuracy, %", *_names(scores).values()], *_table(scores)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append("   ".join(cells).rstrip())
    return lines


def _notes(stages: Sequence[dict[str, Any]], paths: dict[str, Path]) -> list[str]:
    """What a reader must know before comparing: limits and prompts that were cut."""
    records = [
        r for s in stages if s["kind"] == "evaluate" for r in read_json(paths[s["name"]] / "record.json").values()
    ]
    notes = []
    if limits := {str(record["limit"]) for record in records if not record["comparable"]}:
        notes.append(
            f"Only the first {', '.join(sorted(limits))} items of each task: not comparable with published numbers."
        )
    if cut := sum(record["truncated_prompts"] for record in records):
        notes.append(f"{cut} prompts did not fit the model's context and were cut from the left.")
    if empty := sum(record.get("empty_answers", 0) for record in records):
        notes.append(f"{empty} generated answers are empty: the model ended its text at once.")
    return notes


def _stage_table(stages: Sequence[dict[str, Any]]) -> str:
    rows = ["## Stages", "", "| stage | directory | built in | |", "| --- | --- | ---: | --- |"]
    for stage in stages:
        reused = "from the store" if stage["reused"] else ""
        rows.append(f"| {stage['name']} | `{stage['dir']}` | {duration(stage['seconds'])} | {reused} |")
    return "\n".join(rows)


def time_line(stages: Sequence[dict[str, Any]], wall_s: float) -> str:
    """Wall seconds by kind of leg and stage. Only what was built now counts; what was reused is named."""
    built = [stage for stage in stages if not stage["reused"]]
    parts = []
    for leg, kinds in LEGS.items():
        seconds = {kind: sum(stage["seconds"] for stage in built if stage["kind"] == kind) for kind in kinds}
        shares = [f"{kind} {duration(value)}" for kind, value in seconds.items() if value]
        if shares:
            parts.append(f"{leg} {duration(sum(seconds.values()))} ({', '.join(shares)})")
    if (rest := wall_s - sum(stage["seconds"] for stage in built)) > 0:
        parts.append(f"starting processes and waiting {duration(rest)}")
    text = f"{duration(wall_s)}: {', '.join(parts)}"
    reused = [stage["seconds"] for stage in stages if stage["reused"]]
    return f"{text}; {len(reused)} stages from the store (built in {duration(sum(reused))})" if reused else text


def cost_line(stages: Sequence[dict[str, Any]]) -> str:
    """Tokens of the whole chain, reused stages included."""

    def tokens(*kinds: str) -> int:
        return sum(stage["summary"].get("tokens", 0) for stage in stages if stage["kind"] in kinds)

    uses = {"for the base model": tokens("base"), "in SFT": tokens("sft"), "in the iterations": tokens("rank")}
    trained = ", ".join(f"{rounded(number)} {use}" for use, number in uses.items() if number)
    return f"tokens trained on: {trained or 'none'}; generated to learn from: {rounded(tokens('generate'))}"


def next_command(stages: Sequence[dict[str, Any]], paths: dict[str, Path], overrides: Sequence[str]) -> str:
    """The same run with another SLERP factor; the whole recipe when this run had no merge in it."""
    merges = [stage["name"] for stage in stages if stage["kind"] == "merge"]
    if not merges:
        return "python train.py"
    factor = read_json(paths[merges[0]] / "stage.json")["config"]["slerp"]["t"]
    unwanted = re.compile(r"-|\+sweep=|slerp\.t=|.*(\*\*\*|,)")  # flags, sweeps, masked secrets
    kept = [item for item in overrides if not unwanted.match(item)]
    return shlex.join(["python", "train.py", *kept, f"slerp.t={0.9 if factor == 0.5 else 0.5}"])


def find_change(stages: Sequence[dict[str, Any]], paths: dict[str, Path]) -> Change | None:
    """Answers before and after: of the evaluations of SFT (else base) and of the last model, when both were made with
    a generated answer; else of the samples of the first and the last iteration; None when there are no two models."""
    evaluated = {stage["name"]: stage for stage in stages if stage["kind"] == "evaluate"}
    *earlier, last = evaluated.values() or [None]
    first = evaluated.get("evaluate-sft", earlier[0] if earlier else None)
    if last is not None and first is not None and first is not last:
        task, before = _evaluation_answers(paths[first["name"]])
        same, after = _evaluation_answers(paths[last["name"]])
        if task and task == same:
            pairs = _common(before, after)
            return Change(_model_of(first), _model_of(last), f"the {len(pairs)} questions of {task}", pairs)
    judged = list({stage["iteration"]: stage for stage in stages if stage["kind"] == "pairs"}.values())
    data = [stage for stage in stages if stage["kind"] == "data"]
    if len(judged) < 2 or not data:
        return None
    questions = {row["id"]: row for row in _lines(paths[data[0]["name"]] / "questions.jsonl")}
    pairs = _common(*(_judged_answers(paths[stage["name"]], questions) for stage in (judged[0], judged[-1])))
    sampler = f"iteration {judged[-1]['iteration'] - 1}"
    return Change("SFT", sampler, f"{len(pairs)} training questions (first sample of each)", pairs)


def _model_of(evaluation: dict[str, Any]) -> str:
    label = evaluation["name"].removeprefix("evaluate-")
    return {"base": "base", "sft": "SFT"}.get(label, f"iteration {label}")


def _common(before: dict[str, Answer], after: dict[str, Answer]) -> dict[str, tuple[Answer, Answer]]:
    return {key: (before[key], after[key]) for key in before if key in after}


def _evaluation_answers(directory: Path) -> tuple[str, dict[str, Answer]]:
    """The first task with generated answers and what was answered, by item; ("", {}) when answers were only scored."""
    for record in read_json(directory / "record.json").values():
        for task, result in record["tasks"].items():
            if result["metric"].startswith("acc"):  # choices were scored, nothing was written
                continue
            file = result["samples"] if isinstance(result["samples"], str) else result["samples"][0]  # of several seeds
            rows = [row for row in _lines(directory / file) if row["filter"] == result["filter"]]
            found = {}
            for row in rows:
                question = next((row["doc"][key] for key in _QUESTION_KEYS if key in row["doc"]), "")
                answer = Answer(question, str(row["target"]), row["resps"][0][0], bool(row[result["metric"]]))
                found[str(row["doc_id"])] = answer
            return task, found
    return "", {}


def _judged_answers(directory: Path, questions: dict[str, dict[str, Any]]) -> dict[str, Answer]:
    found = {}
    for row in _lines(directory / "judged.jsonl"):
        question, sample = questions[row["id"]], row["samples"][0]
        found[row["id"]] = Answer(question["prompt"], question["answer"], sample["text"], bool(sample["correct"]))
    return found


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def choose(change: Change) -> list[str]:
    """Ids of the samples to show: in the order of a hash of the id, the first two that went from wrong to right and the
    first that went the other way; places left over go to the first of all others."""
    order = sorted(change.pairs, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    better = [key for key in order if not change.pairs[key][0].right and change.pairs[key][1].right]
    worse = [key for key in order if change.pairs[key][0].right and not change.pairs[key][1].right]
    chosen = [*better[: SHOWN - 1], *worse[:1]]
    return [*chosen, *(key for key in order if key not in chosen)][:SHOWN]


def _samples_page(title: str, change: Change) -> str:
    parts = [
        f"# Before and after: {title}",
        f"{change.sentence()}.",
        "How these were chosen: by a fixed hash of the question's id, the first two that went from wrong to right and "
        "the first that went from right to wrong; places left over go to the first of all others.",
    ]
    for key in choose(change):
        before, after = change.pairs[key]
        parts += [f"## Question {key}", _quoted(before.question), "Reference answer:", _quoted(before.reference)]
        for name, answer in ((change.before, before), (change.after, after)):
            parts += [f"{name}, **{'right' if answer.right else 'wrong'}**:", _quoted(answer.text)]
    return printable("\n\n".join(parts)) + "\n"


def _quoted(text: str) -> str:
    """A code block that the text cannot end."""
    text = text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} […]"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text.strip()}\n{fence}"


def draw(scores: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Accuracy by iteration, one line per column, to `path`.svg and `path`.png."""
    from matplotlib import rc_context  # half a second that `--help` should not pay
    from matplotlib.figure import Figure

    columns = _columns(scores)
    with rc_context({"svg.hashsalt": "memphis", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, column) in enumerate(columns.items()):
            rows = [(x, row["columns"][name]) for x, row in enumerate(scores) if name in row["columns"]]
            shift = 0.06 * (place - (len(columns) - 1) / 2)  # so that error bars do not hide one another
            axes.errorbar(
                [x + shift for x, _ in rows],
                [100 * cell["score"] for _, cell in rows],
                yerr=[100 * (cell["stderr"] or 0.0) for _, cell in rows],
                label=f"{column['title']}, N = {column['n']}",
                color=_COLOURS[place % len(_COLOURS)],
                marker=_MARKERS[place % len(_MARKERS)],
                linestyle=("-", "--", "-.", ":")[place // len(_COLOURS) % 4],
                capsize=3,
            )
        axes.set_xticks(range(len(scores)), [row["label"] for row in scores])
        axes.set_xlim(-0.4, len(scores) - 0.6)
        axes.set_ylim(bottom=max(-2.0, axes.get_ylim()[0]))  # a marker at 0 stays whole
        axes.set_xlabel("model")
        axes.set_ylabel("accuracy (%), bars: ± 1 standard error")
        axes.set_title(title, loc="left")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Title": title})
        figure.savefig(path.with_suffix(".png"), dpi=150)
