"""Data stage: read the sources once; rows for training, questions for generation, counts of kept and dropped ones."""

from typing import TYPE_CHECKING, Any

from memphis.config.forms import DataForm
from memphis.config.sections import SourceRows, TinyTask
from memphis.data import tiny
from memphis.jsonl import write_rows
from memphis.stages.context import Context
from memphis.store import digest, write_json

if TYPE_CHECKING:
    from memphis.data import sources


def run(context: Context, config: DataForm) -> dict[str, Any]:
    sft: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    revisions: dict[str, str] = {}
    warnings: list[str] = []
    for name, source in config.sources.items():
        if isinstance(source, TinyTask):
            rows, own, counts[name] = _tiny(context, source)
        else:
            found = _read(context, name, source, config)
            rows, counts[name] = found.rows, found.counts
            own = [_question(row) for row in rows] if source.questions else []
            revisions |= {name: found.revision} if found.revision else {}
            warnings += found.warnings
        sft += rows
        questions += own
    write_rows(context.out / "sft.jsonl", sft)
    write_rows(context.out / "questions.jsonl", questions)
    write_json(context.out / "counts.json", counts)
    context.log({f"data/{name}/{key}": value for name, count in counts.items() for key, value in count.items()})
    summary = {"rows": len(sft), "questions": len(questions), "content": digest([sft, questions])}
    return summary | {key: value for key, value in (("revisions", revisions), ("warnings", warnings)) if value}


def _tiny(context: Context, source: TinyTask) -> tuple[list[Any], list[Any], dict[str, int]]:
    difficulty = tiny.Difficulty(source.max_number, source.max_factor, source.max_steps)
    rows, questions = tiny.training_rows(source.train, source.questions, context.seed, difficulty)
    write_rows(context.out / "dev.jsonl", tiny.problems("dev", source.dev, context.seed, difficulty))
    write_rows(context.out / "test.jsonl", tiny.problems("test", source.test, context.seed, difficulty))
    number = max(len(rows), len(questions))
    return rows, questions, {"rows": number, "kept": number}


def _read(context: Context, name: str, source: SourceRows, config: DataForm) -> "sources.Read":
    from memphis.data import sources  # `datasets` takes a second to load, and the laptop run has no use for it

    found = sources.read(
        name,
        context.places[name],
        source,
        max_drop_frac=config.max_drop_frac,
        min_rationale_chars=config.min_rationale_chars,
        scratch=context.out / "scratch",
    )
    commit = f" (commit {found.revision})" if found.revision else ""
    counts = ", ".join(f"{key} {value}" for key, value in found.counts.items())
    print(f"{name}: {context.places[name]}{commit}: {counts}", flush=True)
    return found


def _question(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "source", "prompt", "rationale", "answer")}
