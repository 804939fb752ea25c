"""Tests that a kind's version rises when its results change: each kind runs on fixed inputs and is compared with the
results recorded for its version. `python -m tests.test_versions` rewrites the file for the current versions.
"""

import hashlib
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest

from memphis import config
from memphis.config.forms import parse
from memphis.data.tiny import Difficulty
from memphis.data.tiny_corpus import base_corpus
from memphis.data.tiny_tokenizer import train_tokenizer
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.pipeline import KINDS
from memphis.recipe import recipe
from memphis.stages.context import Context, Runtime, Worker
from memphis.store import Stage, flatten
from memphis.training import model as models
from tests.composing import compose_config

GOLDEN = Path(__file__).parent / "golden" / "kinds.json"
SMALL = [
    *("model.base.hidden=32", "model.base.layers=2", "model.base.heads=2", "model.base.intermediate=64"),
    *("model.base.max_positions=512", "model.base.vocab_size=560", "model.base.texts=64", "model.base.steps=4"),
    *("data.sources.tiny.train=48", "data.sources.tiny.questions=6", "data.sources.tiny.dev=4"),
    *(
        "rank.optim.lr=5.0e-5",
        "data.sources.tiny.test=6",
        "generate=hf",
        "generate.num_samples=2",
        "generate.max_new_tokens=6",
    ),
    *("generate.temperature=1.0", "generate.shard_size=4", "sft.epochs=1", "rank.global_batch_size=4", "iterations=1"),
    *("eval.limit=4",),
]


def stages() -> dict[str, Stage]:
    cfg = compose_config(*SMALL)
    chain = recipe(cfg, Path("identities.json"))
    return {stage.kind: stage for stage in reversed(chain) if stage.name != "evaluate-1"}


def fixed_inputs(root: Path) -> dict[str, Path]:
    """Write inputs that depend on no stage's code: two random models and hand-made samples."""
    model = root / "model-a" / "model"
    other = root / "model-b" / "model"
    for seed, path in enumerate((model, other)):
        path.mkdir(parents=True)
        tokenizer = train_tokenizer(base_corpus(64, 0, Difficulty()), 560, path)
        made = models.new_tiny(tokenizer, hidden=32, layers=2, heads=2, intermediate=64, max_positions=512, seed=seed)
        models.save(made, tokenizer, path)
    samples = root / "samples"
    samples.mkdir()
    good, bad = "So 1 + 1 = 2.\n### Answer:\n{}", "No idea"
    questions = read_rows(root / "data" / "questions.jsonl")
    rows = [
        {
            "id": row["id"],
            "samples": [
                {"text": text, "token_ids": [1], "finished": True}
                for text in (good.format(row["answer"]), good.format("99999"), bad)
            ],
        }
        for row in questions
    ]
    write_rows(samples / "samples.jsonl", rows)
    return {
        "data": root / "data",
        "model": root / "model-a",
        "previous": root / "model-a",
        "updated": root / "model-b",
        "sft": root / "model-a",
        "samples": samples,
        "pairs": root / "pairs",
    }


def results(root: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    chain = stages()
    inputs: dict[str, Path] = {}
    for kind in KINDS:
        out = root / kind
        out.mkdir()
        stage = chain[kind]
        worker = Worker(Runtime("cpu", 1, 4096))
        chosen = {role: inputs[role] for role in stage.inputs}
        context = Context(kind, chosen, stage.seed or 0, stage.iteration, {}, out, worker)
        form = parse(KINDS[kind].form, stage.config)
        summary = __import__(f"memphis.stages.{kind}", fromlist=["run"]).run(context, form)
        worker.close()
        if kind == "data":
            inputs = fixed_inputs(root)
        found[kind] = {"version": KINDS[kind].version, "result": observed(kind, out, summary)}
    return found


def observed(kind: str, out: Path, summary: dict[str, Any]) -> dict[str, Any]:
    rows = read_rows(out / "metrics.jsonl")
    match kind:
        case "data":
            return {name: text_hash(out / f"{name}.jsonl") for name in ("sft", "questions", "dev", "test")}
        case "base" | "sft" | "rank":
            return {
                key: [row[key] for row in rows if key in row]
                for key in rows[0]
                if key.endswith(("/loss", "grad_norm", "/lr", "label_tokens"))
            }
        case "generate":
            return {
                "tokens": [sample["token_ids"] for row in read_rows(out / "samples.jsonl") for sample in row["samples"]]
            }
        case "pairs":
            return {"pairs": text_hash(out / "pairs.jsonl"), "judged": text_hash(out / "judged.jsonl"), **rows[-1]}
        case "merge":
            return rows[-1]
        case _:
            return {
                name: {k: column[k] for k in ("count", "n", "score")} for name, column in summary["columns"].items()
            }


def text_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same(one: Any, other: Any) -> bool:
    """True if both are equal, up to rounding that differs between processors."""
    if isinstance(one, dict):
        keys = [key for key in one if key != "_t"]
        return keys == [key for key in other if key != "_t"] and all(same(one[key], other[key]) for key in keys)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=2e-3, abs_tol=1e-6)
    return bool(one == other)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return results(tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("kind", list(KINDS))
def test_results_move_only_with_the_version(now: dict[str, dict[str, Any]], kind: str) -> None:
    kept = json.loads(GOLDEN.read_text())[kind]
    mine = json.loads(json.dumps(now[kind]))
    if mine["version"] == kept["version"]:
        assert same(mine["result"], kept["result"]), (
            f"results of kind {kind} moved: bump {kind} in memphis/stages/__init__.py"
        )
    else:
        assert mine["version"] > kept["version"]
        pytest.fail(f"{kind} was bumped: write {GOLDEN.name} anew with `python -m tests.test_versions`")


def test_a_moved_result_is_noticed(now: dict[str, dict[str, Any]]) -> None:
    changed = json.loads(json.dumps(now["sft"]["result"]))
    changed["sft/loss"][-1] *= 1.01
    assert not same(changed, json.loads(json.dumps(now["sft"]["result"])))


def test_every_key_of_the_config_is_read_or_known_to_be_free() -> None:
    """Check that each leaf of the config enters some stage's key, with at least one method, or is listed as free."""
    assert not set.intersection(*(unread(compose_config(f"method={method}")) for method in ("memphis", "dpo")))


def unread(base: config.Config) -> set[str]:
    keys = {stage.key for stage in recipe(base, Path("x"))}
    free = (
        "name",
        "plan",
        "until",
        "runtime.",
        "tracking.",
        "iterations",
        "eval.at",
        "eval.data_dir",
        "model.parameters",
        "model.shape",
        "model.path",
        "model.revision",
        "rank.loss",
        "rank.start",
        "sft.from",
        "sft.continued",
        "rank.examples",
        "sft.optim.allow_large_steps",
        "rank.optim.allow_large_steps",
    )
    plain = config.to_dict(base)
    found = set()
    for key, value in flatten(plain).items():
        if key.startswith(free):
            continue
        changed = json.loads(json.dumps(plain))
        target = changed
        *parents, last = key.split(".")
        for part in parents:
            target = target[part]
        target[last] = other_value(key, value)
        if changed == plain:
            continue  # a key with one value only
        try:
            cfg = config.from_dict(changed)
        except MemphisError:
            continue  # refused in this config: nothing can be reused wrongly
        if {stage.key for stage in recipe(cfg, Path("x"))} == keys:
            found.add(key)
    return found


def other_value(key: str, value: Any) -> Any:
    choices = {
        "generate.engine": "hf", "data.overlong": "truncate", "data.eos": "final", "model.freeze_embeddings": "none",
        "model.packing": "padded", "model.dtype": "bfloat16", "model.master_dtype": "bfloat16", "pairs.mode": "one", "pairs.dedup": "none",
        "pairs.unfinished": "incorrect", "pairs.order": "shuffle", "pairs.answer.mode": "exact", "slerp.method": "lerp",
        "slerp.scope": "model", "rank.ce_target": "gold",
    }  # fmt: skip
    if key in choices:
        return choices[key]
    if key.endswith("schedule"):
        return "linear"
    if key.endswith("reduction"):
        return "sequence"
    if key.endswith("optim.name"):
        return "adamw"
    if key.endswith("optim.variant"):
        return "feb5"
    if key.endswith("neftune.variant"):
        return "hf"
    if isinstance(value, bool):
        return not value
    if value is None:
        return 0.5 if key.endswith("mixce") else 7
    if isinstance(value, int):
        return (
            value * 2
            if key == "model.base.hidden"
            else value + (2 if key.endswith("heads") else -1 if value > 1 else 1)
        )
    if isinstance(value, float):
        return value / 2
    if isinstance(value, list):
        return [3] if key == "eval.seeds" else [("x", "number")]
    return value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(results(Path(folder)), indent=1) + "\n")
