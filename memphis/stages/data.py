"""Data stage: read the sources once; rows for training, questions for generation, held-out rows for evaluation, and
counts of kept and dropped ones."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from memphis.config.forms import DataForm
from memphis.config.sections import SourceRows, TinyTask
from memphis.data import cleaning, heldout, tiny
from memphis.errors import MemphisError
from memphis.formatting import HUMAN
from memphis.jsonl import write_rows
from memphis.stages.context import Context
from memphis.store import digest, write_json

if TYPE_CHECKING:
    from memphis.data import sources


def run(context: Context, config: DataForm) -> dict[str, Any]:
    read: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}  # source -> rows, questions
    held: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    revisions: dict[str, str] = {}
    warnings: list[str] = []
    for name, source in config.sources.items():
        if isinstance(source, TinyTask):
            rows, own, counts[name] = _tiny(context, source)
        else:
            found = _read(context, name, context.places[name], source, config)
            rows, counts[name] = found.rows, found.counts
            own = [_question(row) for row in rows] if source.questions is True else []
            revisions |= {name: found.revision} if found.revision else {}
            warnings += found.warnings
            if source.heldout is not None or f"{name}.heldout" in context.places:
                held += (kept_out := _hold_out(context, name, source, config, rows))
                counts[name]["heldout"] = len(kept_out)
        read[name] = rows, own
    if held:
        _drop_held_out(read, counts, held)
        write_rows(context.out / "heldout.jsonl", held)
    for name, source in config.sources.items():
        if isinstance(source, SourceRows) and source.asked:
            read[name] = read[name][0], _some_questions(name, source, read[name][0])
    sft = [row for rows, _ in read.values() for row in rows]
    questions = [row for _, own in read.values() for row in own]
    write_rows(context.out / "sft.jsonl", sft)
    write_rows(context.out / "questions.jsonl", questions)
    write_json(context.out / "counts.json", counts)
    context.log({f"data/{name}/{key}": value for name, count in counts.items() for key, value in count.items()})
    content = digest([sft, questions, *([held] if held else [])])
    summary: dict[str, Any] = {"rows": len(sft), "questions": len(questions), "content": content}
    written = {name: {"human": source.human, "rows": counts[name]["kept"]} for name, source in config.sources.items()}
    kept = {human: [counts[name]["kept"] for name, s in config.sources.items() if s.human == human] for human in HUMAN}
    summary["human"] = {"rows": {human: sum(rows) for human, rows in kept.items()}, "sources": written}
    summary |= {"heldout": len(held)} if held else {}
    return summary | {key: value for key, value in (("revisions", revisions), ("warnings", warnings)) if value}


def _tiny(context: Context, source: TinyTask) -> tuple[list[Any], list[Any], dict[str, int]]:
    difficulty = tiny.Difficulty(source.max_number, source.max_factor, source.max_steps)
    rows, questions = tiny.training_rows(source.train, source.questions, context.seed, difficulty)
    write_rows(context.out / "dev.jsonl", tiny.problems("dev", source.dev, context.seed, difficulty))
    write_rows(context.out / "test.jsonl", tiny.problems("test", source.test, context.seed, difficulty))
    number = max(len(rows), len(questions))
    return rows, questions, {"rows": number, "kept": number}


def _hold_out(
    context: Context, name: str, source: SourceRows, config: DataForm, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the held-out rows of a source: those chosen among its `rows`, or those of another file or split."""
    if isinstance(source.heldout, float):
        found = [row for row in rows if heldout.chosen(row, source.heldout)]
        if not found:
            what = f"data.sources.{name}.heldout={source.heldout}"
            raise MemphisError(f"{what}: none of {len(rows)} rows is held out; raise it, or name a file")
    else:
        role = f"{name}.heldout"  # of a file, which is no part of the config
        split = "train" if source.heldout is None else str(source.heldout)
        which = None if role in context.places else source.config  # a file has no configurations
        apart = replace(source, config=which, split=split, limit=None, expect_rows=None, heldout=None)
        other = _read(context, name, context.places.get(role, context.places[name]), apart, config).rows
        found = [row | {"id": f"{name}/heldout/{row['id'].rpartition('/')[2]}"} for row in other]
    return [{"data": name, **_question(row)} for row in heldout.unique(found)]


def _drop_held_out(
    read: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]],
    counts: dict[str, dict[str, int]],
    held: list[dict[str, Any]],
) -> None:
    """Drop, from all sources, rows and questions with the prompt of a held-out row, and count them."""
    prompts = {key for row in held for key in heldout.keys(row)}
    for name, (rows, own) in read.items():
        left = heldout.without(rows, prompts), heldout.without(own, prompts)
        if rows and not left[0]:
            raise MemphisError(f"data.sources.{name}: all {len(rows)} rows are held out; lower data.sources.*.heldout")
        dropped = len({row["id"] for row in (*rows, *own)} - {row["id"] for row in (*left[0], *left[1])})
        if dropped:
            counts[name] |= {"kept": counts[name]["kept"] - dropped, "dropped_heldout": dropped}
        read[name] = left


def _some_questions(name: str, source: SourceRows, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first `source.questions` rows of each of its origins as questions. Raises MemphisError if there are
    fewer."""
    own = []
    for origin in source.origins or [""]:
        fitting = [row for row in rows if cleaning.group(row["source"], source.origins) in (origin, "")]
        if len(fitting) < source.questions:
            of = f" of {origin}" if origin else ""
            raise MemphisError(f"data.sources.{name}.questions={source.questions}: there are {len(fitting)} rows{of}")
        own += fitting[: source.questions]
    return [_question(row) for row in own]


def _read(context: Context, name: str, place: str, source: SourceRows, config: DataForm) -> "sources.Read":
    from memphis.data import sources  # `datasets` takes a second to load, and the laptop run has no use for it

    found = sources.read(
        name,
        place,
        source,
        max_drop_frac=config.max_drop_frac,
        min_rationale_chars=config.min_rationale_chars,
        scratch=context.out / "scratch",
    )
    commit = f" (commit {found.revision})" if found.revision else ""
    counts = ", ".join(f"{key} {value}" for key, value in found.counts.items())
    print(f"{name}: {place}{commit}: {counts}", flush=True)
    return found


def _question(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "source", "prompt", "rationale", "answer")}
