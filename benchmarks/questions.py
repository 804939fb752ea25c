"""Questions of README.md, memphis beside TRL and mergekit, and of docs/performance.md: what each trick gives, and how
the cost of a step grows."""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Question, Round, Target, whole_process

SMALL = {"model": "small", "rows": 64}
VOCAB = {"model": "vocab", "rows": 32}  # its vocabulary dominates
PAIRS = {"model": "small", "pairs": 32}
FP32 = {"bf16": False, "gradient_checkpointing": False}
CPO = {**PAIRS, **FP32, "kind": "CPO", "loss_type": "simpo", "cpo_alpha": 1.0}
DPO = {**PAIRS, **FP32, "kind": "DPO", "precompute_ref_log_probs": True}
DPO_WORDS = "TRL DPO: precomputed reference (not counted), fp32, no checkpointing, batch 8"
COMES = "TRL as it comes, but fp32: checkpointing, batch 8"
SFT, RANK, WITHOUT = "benchmarks.ours:sft", "benchmarks.ours:rank", "benchmarks.ours:without"
TRL = "benchmarks.peers:train"


def _sides(size: dict[str, Any], *lengths: int) -> tuple[Contender, ...]:
    """memphis, TRL with padded rows, and with rows packed to each of these lengths."""
    return (
        Contender("ours", "memphis, fp32, flat micro-batches of 1,024 tokens", SFT, size),
        Contender("padded", "TRL tuned: fp32, no checkpointing, padded, batch 8", TRL, {**size, **FP32}),
        *(
            Contender(
                f"packing_{length}",
                f"TRL packing=True, max_length={length}, batch 1, fp32, no checkpointing",
                TRL,
                {**size, **FP32, "packing": True, "max_length": length, "batch": 1},
            )
            for length in lengths
        ),
    )


def _same_loss(rounds: Sequence[Round], but: Sequence[str] = ()) -> None:
    """The model before any counted step is the same after one warm-up step: so is its loss, to rounding."""
    ours = rounds[0]["ours"]["loss"]
    for name, found in rounds[0].items():
        same = name in but or math.isclose(found["loss"], ours, rel_tol=2e-6)
        assert same, f"{name}: loss {found['loss']}, ours {ours}"


def _same_parts(rounds: Sequence[Round]) -> None:
    """Losses differ by definition, their parts do not: sharing changes nothing, and the cross-entropy of the chosen is
    CPO's, which averages over micro-batches where we take all tokens together."""
    _same_loss(rounds, but=("cpo", "dpo"))
    ours, cpo, dpo = (rounds[0][name] for name in ("ours", "cpo", "dpo"))
    assert math.isclose(cpo["ce"], ours["ce"], rel_tol=2e-3), f"cpo: {cpo['ce']}, ours {ours['ce']}"
    assert 0 < math.log(2) - dpo["loss"] < 0.3, "DPO begins at log 2 and has made one step"


MERGE = """
import sys
from pathlib import Path
from memphis.training.merge_files import merge
merge(*map(Path, sys.argv[1:]), t=0.9)
"""


def _merges(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    """Merge two checkpoints on disk, whole processes."""
    models = work / "merging"
    material = [sys.executable, "-m", "benchmarks.material"]
    whole_process([*material, "checkpoints", str(work / "small"), str(models)], "checkpoints", work)
    previous, updated, ours, theirs = (str(models / name) for name in ("previous", "updated", "ours", "mergekit"))
    recipe = {
        "merge_method": "slerp",
        "base_model": previous,
        "models": [{"model": previous}, {"model": updated}],
        "parameters": {"t": 0.9},
        "dtype": "bfloat16",
    }
    file = models / "recipe.json"  # YAML's subset
    file.write_text(json.dumps(recipe))
    commands = {
        "ours": [sys.executable, "-c", MERGE, previous, updated, ours],
        "mergekit": [sys.executable, "-m", "mergekit.scripts.run_yaml", str(file), theirs],
    }
    for number in range(rounds):
        yield {each.name: whole_process(commands[each.name], each.name, work) for each in contenders}
        if number == 0:
            whole_process([*material, "same", ours, theirs], "same", work)
        for merged in (ours, theirs):
            shutil.rmtree(merged)
    shutil.rmtree(models)


COMPARISONS = (
    Question(
        "sft_small",
        "SFT, 4 layers, d 256, vocabulary 8,000; a step of 64 rows; AdamW fused, frozen embeddings and head, lr 1e-5",
        (*_sides(SMALL, 1024, 512), Contender("defaults_fp32", COMES, TRL, {**SMALL, "bf16": False})),
        (
            Target("cpu_s", "padded", 3.0, 3.8),
            Target("cpu_s", "packing_1024", 1.9, 2.5),
            Target("cpu_s", "packing_512", 1.9, 2.5),
            Target("cpu_s", "defaults_fp32"),
            Target("rss_mib", "padded", 0.55, 0.45, at_most=True),
        ),
        _same_loss,
    ),
    Question(
        "sft_vocab",
        "SFT, the same with vocabulary 50,304; a step of 32 rows",
        _sides(VOCAB, 1024),
        (
            Target("cpu_s", "padded", 6.0, 8.0),
            Target("cpu_s", "packing_1024", 4.0, 5.5),
            Target("rss_mib", "padded", 0.30, 0.25, at_most=True),
        ),
        _same_loss,
    ),
    Question(
        "rank",
        "rank stage on the small model: cross-entropy + rank loss; a step of 32 pairs, prompt = half of a row",
        (
            Contender("ours", "memphis, fp32, the prompt of a pair computed once", RANK, PAIRS),
            Contender("cpo", "TRL CPO: simpo + NLL, fp32, no checkpointing, batch 8", TRL, CPO),
            Contender("dpo", DPO_WORDS, TRL, DPO),
            Contender("unshared", "memphis, the prompt computed twice", RANK, {**PAIRS, "shared": False}),
        ),
        (
            Target("cpu_s", "cpo", 3.5, 5.0),
            Target("cpu_s", "dpo", 5.5, 7.0),
            Target("cpu_s", "unshared", 1.2, 1.3),
            Target("rss_mib", "cpo", 0.42, 0.35, at_most=True),
            Target("rss_mib", "dpo", 0.42, 0.35, at_most=True),
        ),
        _same_parts,
    ),
    Question(
        "slerp",
        "SLERP of two checkpoints of 1.2 GB (bf16, 4 files), t = 0.9, whole processes",
        (
            Contender("ours", "memphis.training.merge in a process of its own"),
            Contender("mergekit", "mergekit-yaml of mergekit 0.1.5, slerp, its defaults"),
        ),
        (Target("cpu_s", "mergekit", 2.5, 3.0), Target("rss_mib", "mergekit", 0.25, 0.15, at_most=True)),
        measure=_merges,
    ),
)

# Name of the form without it -> what is left out, in words.
LEFT_OUT = {
    "logits_kept": "derivative of the head taken in the forward pass: instead logits are kept for the backward pass",
    "every_position": "head at target positions only: instead at all positions, logits kept",
    "trainable_head": "frozen head: instead it is trained, and logits are computed twice",
    "padded": "flat micro-batches: instead random batches of 8 rows, padded",
    "sorted_padded": "flat micro-batches: instead batches of 8 rows of similar length, padded",
    "checkpointing": "all activations kept: instead layers are recomputed in the backward pass",
    "adalite": "(another optimizer: Adalite in place of fused AdamW)",
}
# Name -> (what is different from 64 rows, 4 layers, d 256, vocabulary 8,000; options).
SIZES: dict[str, tuple[str, dict[str, int]]] = {
    "base": ("64 rows, 4 layers, d 256, vocabulary 8,000", {}),
    "rows_32": ("32 rows", {"rows": 32}),
    "rows_128": ("128 rows", {"rows": 128}),
    "length_4": ("16 rows, 4 times as long", {"join": 4}),
    "length_16": ("4 rows, 16 times as long", {"join": 16}),
    "vocabulary_32k": ("vocabulary 32,000", {"vocab_size": 32_000}),
    "vocabulary_128k": ("vocabulary 128,000", {"vocab_size": 128_000}),
    "layers_8": ("8 layers", {"layers": 8}),
    "width_512": ("d 512", {"hidden": 512, "intermediate": 1376, "heads": 8}),
    "budget_4k": ("micro-batches of 4,096 tokens, not 1,024", {"budget": 4096}),
    "budget_16k": ("micro-batches of 16,384 tokens", {"budget": 16_384}),
}


def _tricks(title: str, size: dict[str, Any]) -> Question:
    forms = {"ours": "memphis with all of them", **LEFT_OUT}
    products = "the matrix products of our step alone: what no trick can save"
    return Question(
        f"tricks_{size['model']}",
        f"{title}; a step of {size['rows']} rows, one thread",
        (
            *(Contender(name, words, WITHOUT, {"trick": name, **size}) for name, words in forms.items()),
            Contender("products", products, "benchmarks.ours:products", size),
        ),
        (
            *(Target(measure, name) for name in LEFT_OUT for measure in ("cpu_s", "rss_mib")),
            Target("cpu_s", "products"),
        ),
        lambda rounds: _same_loss(rounds, but=("trainable_head", "adalite")),
    )


EXPLANATIONS = (
    _tricks("4 layers, d 256, vocabulary 8,000", SMALL),
    _tricks("the same with vocabulary 50,304", VOCAB),
    Question(
        "growth",
        "a step of 64 rows, 4 layers, d 256, vocabulary 8,000, and what another size changes",
        tuple(Contender(name, words, "benchmarks.ours:sized", options) for name, (words, options) in SIZES.items()),
        tuple(
            Target(measure, "base", at_most=True, ours=name)
            for name in [*SIZES][1:]
            for measure in ("ms_per_token", "rss_mib")
        ),
    ),
)
