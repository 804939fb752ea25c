"""Tests that pin the keys of every stage of many configurations: a key that changes makes everybody build again.

A change that moves keys on purpose bumps the version of a kind, says so, and rewrites the file in its own commit:
`python -m tests.test_keys`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from memphis.recipe import recipe
from tests.composing import compose_config, options

GOLDEN = Path(__file__).parent / "golden" / "keys.json"

METHODS = (  # those of the golden file; a later one has tests of its own
    "dpo",
    "memphis",
    "none",
    "rft",
    "sft_continued",
    "sft_only",
    "spin",
    "star",
)
# Name -> what is typed. {checkpoint}, {rows} and {mirror} stand for files of fixed content, see `outside`.
COMPOSITIONS: dict[str, list[str]] = {
    "default": [],
    "another-seed": ["seed=3"],
    "another-data-seed": ["data.seed=3"],
    "own-base": ["model.base.seed=${seed}", "seed=2"],
    "four-iterations": ["iterations=4"],
    "no-iterations": ["iterations=0"],
    **{f"method-{name}": [f"method={name}"] for name in METHODS},
    **{f"exp-{name}": [f"+exp={name}"] for name in options("exp") if name != "smollm2"},
    **{
        f"exp-memphis_cot-{name}": ["+exp=memphis_cot", f"method={name}", "seed=1"]
        for name in ("star", "rft", "spin", "dpo", "sft_continued", "sft_only", "none")
    },
    **{f"eval-{name}": [f"eval={name}"] for name in options("eval") if not name.startswith("heldout")},
    "eval-final": ["eval.at=final"],
    "eval-limit": ["eval.limit=5", "eval.seeds=[0,1]"],
    "eval-mirror": ["eval=current", "eval.data_dir={mirror}", "eval.allow_truncated=true"],
    "eval-two-suites": ["eval.suites=[tiny,current]"],
    "rationalized": ["method=star", "rank.examples=rationalized"],
    "rationalized-previous": ["method=rft", "rank.examples=rationalized", "iterations=2"],
    "star-from-base": ["method=star", "rank.start=base"],
    "gold": ["rank.ce_target=gold", "data.sources.tiny.train=1500"],
    "scribe-gold-seed": ["+exp=memphis_scribe", "seed=1"],
    "microbatch-mean-sft": ["sft.reduction=microbatch_mean"],
    "microbatch-mean-rank": ["rank.reduction=microbatch_mean", "runtime.micro_batch_tokens=2048"],
    "sequence-reduction": ["sft.reduction=sequence", "rank.reduction=sequence"],
    "micro-batch-is-free": ["runtime.micro_batch_tokens=2048", "runtime.num_devices=2", "runtime.keep=final"],
    "shuffle": ["pairs.order=shuffle"],
    "pairs-product": ["pairs.mode=product", "pairs.max_per_question=4", "pairs.unfinished=incorrect"],
    "pairs-answers": ["pairs.answer.mode=exact", "pairs.dedup=none"],
    "pairs-types": ["pairs.answer.types=[[tiny,number]]", "pairs.answer.symbolic=true"],
    "human-rank": ["rank.examples=human", "data.sources.tiny.train=1500"],
    "lerp": ["slerp.method=lerp", "slerp.t=0.5"],
    "no-merge": ["slerp.method=none"],
    "slerp-model": ["slerp.scope=model", "slerp.dot_threshold=0.999"],
    "slerp-t": ["slerp.t=0.5"],
    "rank-weight": ["rank.weight=0"],
    "rank-sum": ["rank.use_average=false", "rank.mixce=0.9"],
    "rank-dials": ["rank.optim.lr=3.0e-5", "rank.optim.variant=feb5", "rank.schedule=linear", "rank.epochs=1"],
    "dpo-beta": ["method=dpo", "rank.beta=0.3", "rank.optim.name=adamw"],
    "spin-every": ["method=spin", "rank.start=sft"],
    "adamw": ["sft.optim.name=adamw", "sft.optim.lr=3.0e-3"],
    "neftune": ["sft.neftune.alpha=5", "sft.neftune.variant=hf", "rank.neftune.length=128"],
    "mixce-off": ["sft.mixce=null"],
    "master": ["model.master_dtype=bfloat16_stochastic", "model.dtype=bfloat16", "model.freeze_embeddings=none"],
    "checkpointing": ["model.checkpointing=true"],
    "truncate": ["data.overlong=truncate", "data.eos=final", "data.max_drop_frac=0.5", "data.min_rationale_chars=3"],
    "hf-engine": ["generate=hf", "generate.num_samples=4", "generate.shard_size=100"],
    "sampling-card": ["sampling=card"],
    "scale-card-at-tiny": ["sft=small", "rank=card", "slerp=scribe", "sft.max_length=512", "rank.max_length=512"],
    "from-base": ["sft.from=base"],
    "from-checkpoint": ["sft.from={checkpoint}"],
    "from-hub": ["sft.from=owner/name", "iterations=1"],
    "until-pairs": ["until=pairs-1"],
    "until-data": ["+exp=memphis_cot", "until=data"],
    "until-kind": ["until=merge"],
    "own-model-and-rows": ["model=hf", "model.path={checkpoint}", "data=local", "data.path={rows}", "eval=none"],
    "own-model-on-the-hub": ["model=hf", "model.path=owner/name", "model.revision=v2", "eval=current", "method=none"],
    "own-chat-rows": [
        *("model=hf", "model.path={checkpoint}", "data=local", "data.path={rows}", "eval=none", "method=sft_only"),
        *("data.sources.local.kind=chat", "data.sources.local.questions=false"),
    ],
    "continued-from-checkpoint": ["method=sft_continued", "sft.from={checkpoint}"],
    "continued-from-hub-final": ["method=sft_continued", "sft.from=owner/name", "eval.at=final"],
    "sft-is-the-base": [
        "model=hf",
        "model.path={checkpoint}",
        "sft.from={checkpoint}",
        "eval=current",
        "eval.at=every",
    ],
    "until-sft-is-the-base": [
        *("model=hf", "model.path=owner/name", "sft.from=owner/name", "eval=current", "until=sft", "data=local"),
        "data.path={rows}",
    ],
    "continued-two": ["method=sft_continued", "iterations=2", "rank.start=sft"],
    "sweep-of-iterations-1": ["iterations=1", "rank.weight=1", "slerp.t=0.9"],
    **{
        f"published-{name}": [f"model={name}", "method=none", "eval=card", "eval.allow_truncated=true", "runtime=gpu"]
        for name in (
            *("stablelm_3b", "stablehermes_3b", "mpt_7b_instruct", "openllama_7b_v2", "stablelm_zephyr_3b"),
            *("lima2_7b", "memphis_cot_3b"),
        )
    },
    **{f"model-{name}": [f"model={name}", "method=sft_only", "eval=none"] for name in ("pythia_410m", "stablelm_3b")},
    **{
        f"heldout-{name}": [*("data=local", "data.path={rows}", "eval=heldout"), f"data.sources.local.heldout={value}"]
        for name, value in (("share", "0.1"), ("split", "test"), ("file", "{rows}"))
    },
    "tasks": ["eval=none", "eval.at=every", "eval.tasks=[piqa,mmlu]"],
    "card-rank-on-stablelm": ["model=stablelm_3b", "rank=card", "sft=card", "eval=current", "iterations=2"],
}


def outside(root: Path) -> dict[str, Path]:
    """Write local files of fixed content: their sha256 enters keys, their path does not."""
    paths = {"checkpoint": root / "checkpoint", "rows": root / "rows.jsonl", "mirror": root / "mirror"}
    for name in ("checkpoint", "mirror"):
        paths[name].mkdir()
    (paths["checkpoint"] / "config.json").write_text("{}\n")
    (paths["checkpoint"] / "model.safetensors").write_bytes(b"weights")
    (paths["mirror"] / "test.jsonl").write_text('{"question": "1 + 1", "answer": "2"}\n')
    paths["rows"].write_text('{"prompt": "1 + 1", "rationale": "One and one.", "answer": "2"}\n')
    return paths


def chain(overrides: list[str], root: Path, paths: dict[str, Path]) -> list[dict[str, Any]]:
    """Return the pinned properties of every stage of a configuration."""
    typed = [
        item.format(**paths) if "{checkpoint}" in item or "{rows}" in item or "{mirror}" in item else item
        for item in overrides
    ]
    stages = recipe(compose_config(*typed), root / "identities.json")
    return [
        {
            "name": stage.name,
            "kind": stage.kind,
            "key": stage.key,
            "inputs": {role: source.key for role, source in stage.inputs.items()},
        }
        for stage in stages
    ]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    value = json.loads(GOLDEN.read_text())
    assert isinstance(value, dict)
    return value


def test_the_file_covers_every_composition(golden):
    assert list(golden) == list(COMPOSITIONS)
    assert len(golden) >= 60


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_keys_are_as_promised(name, golden, paths, tmp_path):
    assert chain(COMPOSITIONS[name], tmp_path, paths) == golden[name]


def write() -> None:
    """Rewrite the file, one line per stage, so that a diff can be read."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = outside(root)
        blocks = []
        for name, overrides in COMPOSITIONS.items():
            rows = ",\n".join(f"  {json.dumps(stage)}" for stage in chain(overrides, root, paths))
            blocks.append(f"{json.dumps(name)}: [\n{rows}\n]")
    GOLDEN.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


if __name__ == "__main__":
    write()
