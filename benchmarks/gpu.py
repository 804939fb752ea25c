"""Speed of training on one GPU: `python benchmarks/gpu.py`, some minutes; `--tiny` is a miniature on any machine.

A model of the shape of StableLM 3B with random weights takes real steps of the real training loop, on rows as long as
the recipe's. Each setting has a process of its own; what fails is skipped, and said. Tokens are useful ones: padding is
waste, and recomputed activations are no credit in the MFU.
"""

import argparse
import importlib.metadata
import json
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from transformers import StableLmConfig

from benchmarks.harness import Contender, step_by_step
from benchmarks.material import config
from benchmarks.ours import make_plan, random_model, run
from benchmarks.worker import Gate
from memphis import memory
from memphis.config.sections import Neftune, Optim, TrainedModel
from memphis.data.tokens import IGNORE, Example, Sequence
from memphis.devices import cores, gpus
from memphis.errors import MemphisError
from memphis.losses import CrossEntropy, RankLoss
from memphis.shape import from_config
from memphis.training.layers import compile_layers, recompute

# Rows of the recipe's sources and their mean tokens: docs/recipe.md, "Memory". Spread and share of the prompt: guesses.
SOURCES = ((27_676, 123), (7_000, 160), (5_000, 350), (4_693, 446))
SPREAD, PROMPT, ANSWER = 0.6, 0.45, 67
CUDA = torch.cuda.is_available()
Job = Literal["sft", "rank"]


@dataclass(frozen=True)
class Scale:
    """Differences between the measurement and its miniature. lengths: factor on those of the rows."""

    model: StableLmConfig
    dtype: Literal["float32", "bfloat16"]
    window: int
    micro_batch_tokens: int
    steps: int
    lengths: float


MINIATURE = config(hidden=32, layers=1, heads=2, intermediate=48, vocab_size=600, max_position_embeddings=128)
STABLELM = config(hidden=2560, layers=32, heads=32, intermediate=6912, vocab_size=50304)
TINY = Scale(MINIATURE, "float32", window=8, micro_batch_tokens=256, steps=4, lengths=0.1)
FULL = Scale(STABLELM, "bfloat16", window=128, micro_batch_tokens=16384, steps=6, lengths=1.0)
OURS = "benchmarks.gpu:ours"
CONTENDERS = (
    Contender("sft", "", OURS, {"job": "sft"}),
    Contender("rank", "", OURS, {"job": "rank"}),
    Contender("sft, half of the tokens", "", OURS, {"job": "sft", "share": 0.5}),
    Contender("sft, everything recomputed", "", OURS, {"job": "sft", "checkpointing": True}),
    Contender("sft, compiled", "", OURS, {"job": "sft", "compiled": True}),
    Contender("rank, compiled", "", OURS, {"job": "rank", "compiled": True}),
)


def examples(scale: Scale, rejected: int = 0, number: int | None = None) -> list[Example]:
    """Random tokens. Rows as long as those of the recipe's sources; pairs are TinyCoT's prompts with two answers."""
    draw = np.random.default_rng(0)
    rows, means = (np.array(column) for column in zip(*SOURCES, strict=True))
    found = []
    for i in range(number or scale.steps * scale.window):
        mean = means[0] if rejected else draw.choice(means, p=rows / rows.sum())
        length = int(scale.lengths * draw.lognormal(np.log(mean) - SPREAD**2 / 2, SPREAD))
        length = min(max(length, 8), scale.model.max_position_embeddings)
        prompt = int(PROMPT * length)
        sizes = [length - prompt] + [max(2, int(scale.lengths * draw.normal(ANSWER, 15))) for _ in range(rejected)]
        ids = draw.integers(3, scale.model.vocab_size, prompt + sum(sizes)).tolist()
        ends = np.cumsum([prompt, *sizes]).tolist()
        answers = [ids[a:b] for a, b in pairwise(ends)]
        sequences = tuple(Sequence(ids[:prompt] + answer, [IGNORE] * prompt + answer) for answer in answers)
        found.append(Example(str(i), sequences, prompt))
    return found


def estimate(scale: Scale, job: Job, tokens: int, checkpointing: Any = "auto") -> memory.Memory:
    """The need by the formula of memphis/memory.py, and the number of layers that it recomputes here."""
    room = torch.cuda.get_device_properties(0).total_memory - memory.RESERVE if CUDA else None
    longest, rejected = scale.model.max_position_embeddings, 0
    if job == "rank":
        longest, rejected = longest // 4, 1
    tokens, slots = memory.micro_batch(tokens, longest, rejected)
    requested = TrainedModel(dtype=scale.dtype, checkpointing=checkpointing)
    shape = from_config(scale.model.to_dict())
    assert shape is not None
    return memory.training(shape, requested, "adalite", tokens=tokens, slots=slots, room=room)


def ours(
    gate: Gate, work: Path, *, tiny: bool, job: Job, share: float = 1.0, compiled: bool = False, **checkpointing: Any
) -> None:
    """The recipe's steps. share: of the scale's micro_batch_tokens. compiled, checkpointing: runtime.compile and
    model.checkpointing."""
    scale = TINY if tiny else FULL
    tokens = int(share * scale.micro_batch_tokens)
    need = estimate(scale, job, tokens, **checkpointing)
    model = random_model(scale.model, "cuda" if CUDA else "cpu")
    if compiled:
        compile_layers(model)
    recompute(model, need.recomputed)
    plan = replace(
        make_plan(job, scale.window),
        optim=Optim(lr=1e-5 if job == "sft" else 5e-7),
        objective=CrossEntropy(mixce=0.75) if job == "sft" else RankLoss(),
        neftune=Neftune(length=scale.model.max_position_embeddings),
        micro_batch_tokens=tokens,
        dtype=scale.dtype,
    )
    fixed = {"micro_batch_tokens": tokens, "recomputed_layers": need.recomputed, "estimated_gib": need.total / 2**30}
    run(partial(gate, **fixed), model, work, examples(scale, rejected=int(job == "rank")), plan)


def measure(contender: Contender, scale: Scale) -> dict[str, Any]:
    """Medians over all steps but two, in which things are compiled and allocated; or why there are none."""
    with tempfile.TemporaryDirectory() as work:
        try:
            first, *found = (each[contender.name] for each in step_by_step([contender], Path(work), scale.steps - 1))
        except MemphisError as error:
            return {"skipped": str(error)}
    return {"steps": len(found), **{key: statistics.median(row[key] for row in found) for key in first}}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a miniature of everything; its numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where the results go")
    arguments = parser.parse_args()
    if not CUDA and not arguments.tiny:
        sys.exit("error: torch finds no GPU here; `python benchmarks/gpu.py --tiny` runs a miniature on the CPU")
    # Asked of nvidia-smi: a context of CUDA in this process would take memory from the others.
    cards = [f"one {gpu.name} with {gpu.memory / 2**30:.1f} GiB" for gpu in gpus("cuda")] or ["no GPU"]
    hardware = f"{cards[0]}, {cores()} cores of {platform.machine()}"
    print(hardware, flush=True)
    results = []
    for contender in CONTENDERS:
        options = {**contender.options, "tiny": arguments.tiny}
        found = measure(replace(contender, options=options), TINY if arguments.tiny else FULL)
        row = {"setting": contender.name, **options, **found}
        shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
        print(", ".join(f"{key} {value}" for key, value in shown.items()), flush=True)
        results.append(row)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    result = {
        "hardware": hardware,
        "versions": {**versions, "cuda": torch.version.cuda, "python": platform.python_version()},
        "tiny": arguments.tiny,
        "results": results,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
