"""Read the sources once: rows for training, questions for generation, counts of what was kept and dropped."""

from typing import Any

from memphis.data import tiny
from memphis.rows import write_rows
from memphis.stages.context import Context
from memphis.store import digest, write_json


def run(context: Context) -> dict[str, Any]:
    sft: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for name, source in context.config["sources"].items():
        if source["kind"] == "tiny":
            difficulty = tiny.Difficulty(source["max_number"], source["max_factor"], source["max_steps"])
            taught, asked = tiny.training_rows(source["train"], source["questions"], context.seed, difficulty)
            sft += taught
            questions += asked
            for split in ("dev", "test"):
                write_rows(
                    context.out / f"{split}.jsonl", tiny.problems(split, source[split], context.seed, difficulty)
                )
            counts[name] = {"rows": max(len(taught), len(asked)), "kept": max(len(taught), len(asked))}
    write_rows(context.out / "sft.jsonl", sft)
    write_rows(context.out / "questions.jsonl", questions)
    write_json(context.out / "counts.json", counts)
    context.log({f"data/{name}/{key}": value for name, found in counts.items() for key, value in found.items()})
    return {"rows": len(sft), "questions": len(questions), "content": digest([sft, questions])}
