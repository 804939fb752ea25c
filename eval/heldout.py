"""Suite heldout: ask the held-out rows of the data stage, in the format of training, greedily; the caller judges.

A source (`data.sources.X`) is a column, and its origins (`source` of its rows), if there are several, are its tasks.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.suites import ACCURACY, Column, stderr_over_seeds, wilson
from memphis.data import prompts, tokens
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.sampling import Completion, Engine, fitting
from memphis.store import digest


@dataclass(frozen=True)
class Asking:
    """Length of an answer in tokens, the judge of a completion against its row (prompt, source, answer), and the number
    of training rows of the same origin that a prompt begins with, each with its answer."""

    max_new_tokens: int
    judge: Callable[[Completion, Mapping[str, Any]], bool]
    shots: int = 0


def columns(data_dir: Path | None, shots: int) -> tuple[Column, ...]:
    """Return a column per source with held-out rows. Raises MemphisError if there are none."""
    found: dict[str, dict[str, None]] = {}
    for row in _rows(data_dir):
        found.setdefault(row["data"], {})[row["source"]] = None
    return tuple(
        Column(
            name,
            f"Held-out rows of {name}" + (f", {shots}-shot" if shots else ""),
            tuple(f"{name}/{origin}" for origin in origins) if len(origins) > 1 else (name,),
            ACCURACY,
            "none",
            shots=shots,
            variant="heldout",
        )
        for name, origins in found.items()
    )


def ask(
    engine: Engine, model_dir: Path, data_dir: Path | None, tasks: Sequence[str], asking: Asking, limit: int | None
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Ask the rows of `tasks`, all in one batch, and return each task's result and samples, as the harness keeps them.

    limit: number of rows of each task, from its beginning.
    """
    started = time.monotonic()
    everything = _rows(data_dir)
    rows = {task: [r for r in everything if task in (r["data"], f"{r['data']}/{r['source']}")] for task in tasks}
    asked = [row for task in tasks for row in rows[task][:limit]]
    tokenizer = tokens.load_tokenizer(model_dir)
    texts = _texts(data_dir, asked, asking.shots)
    prompt_ids = tokens.encode(texts, tokenizer)
    completions = engine.generate(
        prompt_ids,
        num_samples=1,
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=asking.max_new_tokens,
        stop=prompts.STOP_STRINGS,
        seed=0,
    )
    fit = set(fitting(prompt_ids, engine.max_model_len))
    answered = [
        (row, text, completion, index in fit)
        for index, (row, text, (completion,)) in enumerate(zip(asked, texts, completions, strict=True))
    ]
    seconds = (time.monotonic() - started) / len(asked)
    found = []
    for task in tasks:
        mine, answered = answered[: len(rows[task][:limit])], answered[len(rows[task][:limit]) :]
        samples = [_sample(k, row, text, one, asking) for k, (row, text, one, _) in enumerate(mine)]
        right = [float(sample[ACCURACY]) for sample in samples]
        count, n = round(sum(right)), len(samples)
        result = {
            "task": task,
            "score": count / n,
            "count": count,
            "n": n,
            "n_all": len(rows[task]),
            "stderr": stderr_over_seeds([right]),
            **wilson(count, n),
            "metric": ACCURACY,
            "filter": "none",
            "shots": asking.shots,
            "version": 1.0,
            "prompts_sha256": digest([sample["prompt_hash"] for sample in samples]),
            "truncated_prompts": sum(not fits for *_, fits in mine),
            "unfinished_answers": sum(not one.finished for *_, one, _ in mine),
            "empty_answers": sum(not one.text.strip() for *_, one, _ in mine),
            "seconds": round(seconds * n, 2),
        }
        if result["empty_answers"] == n:
            print(f"warning: all {n} answers of {task} are empty: the model ends its text at once", flush=True)
        found.append((result, samples))
    return found


def _texts(data_dir: Path | None, asked: Sequence[Mapping[str, Any]], shots: int) -> list[str]:
    """Return the prompts of rows: in the format of training, after the first `shots` training rows of the same source
    and origin. Raises MemphisError if there are fewer."""
    before: dict[tuple[str, str], list[str]] = {(row["data"], row["source"]): [] for row in asked}
    for row in read_rows(data_dir / "sft.jsonl") if shots and data_dir else ():
        found = before.get((row["id"].partition("/")[0], row["source"]))
        if found is not None and row["kind"] == "cot" and len(found) < shots:
            found.append(
                f"{prompts.render_cot(row['prompt'])}{prompts.completion_cot(row['rationale'], row['answer'])}\n"
            )
    for (name, origin), found in before.items():
        if len(found) < shots:
            raise MemphisError(f"eval.shots={shots}: {name} has {len(found)} training rows of {origin}; lower it")
    return ["".join(before[row["data"], row["source"]]) + prompts.render_cot(row["prompt"]) for row in asked]


def _sample(index: int, row: Mapping[str, Any], text: str, completion: Completion, asking: Asking) -> dict[str, Any]:
    document = {key: row[key] for key in ("id", "source", "prompt", "answer")}
    return {
        "doc_id": index,
        "doc": document,
        "target": row["answer"],
        "resps": [[completion.text]],
        "filtered_resps": [completion.text],
        "filter": "none",
        "doc_hash": digest(document),
        "prompt_hash": digest(text),
        "target_hash": digest(row["answer"]),
        ACCURACY: float(asking.judge(completion, row)),
    }


def _rows(data_dir: Path | None) -> list[dict[str, Any]]:
    file = data_dir / "heldout.jsonl" if data_dir else None
    if file is None or not file.exists():
        raise MemphisError(f"eval.suites=[heldout]: {data_dir} has no held-out rows; set data.sources.X.heldout")
    return read_rows(file)
