"""Preview for `plan=true`: what stages base, data and sft would find in files of this disk, in a process of its own.

`python -m memphis.stages.preview PARENT FOLDER` reads FOLDER/request.json, and writes FOLDER/found.json and nothing
outside FOLDER. The stages' own code runs, so that refusals are theirs. memphis/engine/preview.py starts it.
"""

import sys
from pathlib import Path
from typing import Any

from memphis.config.forms import BaseForm, DataForm, parse
from memphis.data import prompts, tokens
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.processes import die_with_parent
from memphis.stages import base, data
from memphis.stages.context import Context, Runtime, Worker
from memphis.store import read_json, write_json

SAMPLE = 20_000  # rows of a source that are tokenised at most


def preview(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what the stages of `request` find: the fields of memphis.engine.preview.Preview, as plain values."""
    worker = Worker(Runtime(request["device"], 1, 4096))

    def context(spec: dict[str, Any], out: Path) -> Context:
        out.mkdir()
        return Context(spec["kind"], {}, spec["seed"] or 0, 0, spec["places"], out, worker)

    verdicts: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for spec in request["models"]:
        try:
            summary = base.run(context(spec, folder / spec["key"]), parse(BaseForm, spec["config"]))
            verdicts[spec["key"]] = summary["packing"]
        except MemphisError as error:
            verdicts[spec["key"]] = str(error)
    usable = request["tokenizer"] and not any(isinstance(verdict, str) for verdict in verdicts.values())
    vocabulary = tokens.load_tokenizer(Path(request["tokenizer"])) if usable else None
    for spec in request["sources"]:
        (name,) = spec["config"]["sources"]
        out = folder / f"source-{len(sources)}"
        try:
            summary = data.run(context(spec, out), parse(DataForm, spec["config"]))
            counts = _counts(read_rows(out / "sft.jsonl"), vocabulary, request["sft"])
            sources[name] = {"rows": summary["rows"], "warnings": summary.get("warnings", []), **counts}
        except MemphisError as error:
            sources[name] = str(error)
    return {"verdicts": verdicts, "sources": sources}


def _counts(rows: list[dict[str, Any]], vocabulary: Any, sft: dict[str, Any]) -> dict[str, Any]:
    """Return what stage sft would make of the rows, from at most SAMPLE of them, evenly spaced.

    Without a vocabulary four characters are taken for a token.
    """
    taken = rows[:: -(-len(rows) // SAMPLE)]
    scale = len(rows) / len(taken)
    if vocabulary is None:
        characters = sum(len(span.text) for row in taken for span in prompts.spans(row, sft["eos"]))
        return {"examples": len(rows), "tokens": round(characters * scale / 4)}
    examples, counts = tokens.sft_examples(taken, vocabulary, **sft)
    asked = tokens.prompt_ids([row["prompt"] for row in taken if row["kind"] == "cot"], vocabulary)
    return {
        "examples": round(len(examples) * scale),
        "tokens": round(counts["tokens"] * scale),
        "exact": scale == 1,
        "longest": max((len(example.sequences[0].input_ids) for example in examples), default=0),
        "longest_prompt": max(map(len, asked), default=0),
    }


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    folder = Path(sys.argv[2])
    write_json(folder / "found.json", preview(read_json(folder / "request.json"), folder))


if __name__ == "__main__":
    main()
