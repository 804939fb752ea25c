"""Speed of training on one GPU: `python benchmarks/gpu.py`, under 8 minutes; `--tiny` is a miniature on any machine.

A model of the shape of StableLM 3B with random weights and rows as long as the recipe's take real steps of the real
training loop; TRL's SFT, where it is installed, gets the same model and rows; then the laptop's recipe runs on the GPU
with the Hugging Face engine. Each part has a budget of seconds and a process of its own; what does not fit in is
skipped, and said. Tokens are useful ones: padding is waste, and recomputed activations are no credit in the MFU.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import StableLmConfig, StableLmForCausalLM  # noqa: E402

from benchmarks import material  # noqa: E402
from memphis import memory  # noqa: E402
from memphis.config.sections import Neftune, Optim, TrainedModel  # noqa: E402
from memphis.data.tiny_tokenizer import train_tokenizer  # noqa: E402
from memphis.data.tokens import Example, Sequence  # noqa: E402
from memphis.devices import cores, gpus, peak_flops  # noqa: E402
from memphis.jsonl import RowLog, read_rows  # noqa: E402
from memphis.losses import CrossEntropy, RankLoss  # noqa: E402
from memphis.shape import Shape, from_config  # noqa: E402
from memphis.training import attention  # noqa: E402
from memphis.training.layers import compile_layers, recompute  # noqa: E402
from memphis.training.loop import train  # noqa: E402
from memphis.training.model import freeze  # noqa: E402
from memphis.training.train_plan import TrainPlan  # noqa: E402

# Rows of the recipe's sources and their mean tokens: docs/recipe.md, "Memory". Spread and share of the prompt: guesses.
SOURCES = ((27_676, 123), (7_000, 160), (5_000, 350), (4_693, 446))
SPREAD, PROMPT, ANSWER = 0.6, 0.45, 67
WARM_UP = 2  # steps that are not counted: the first ones compile and allocate
CUDA = torch.cuda.is_available()


@dataclass(frozen=True)
class Scale:
    """Differences between the measurement and its miniature. lengths: factor on those of the rows."""

    model: StableLmConfig
    dtype: Literal["float32", "bfloat16"]
    window: int
    micro_batch_tokens: int
    steps: int
    lengths: float
    recipe: tuple[str, ...]

    @property
    def shape(self) -> Shape:
        shape = from_config(self.model.to_dict())
        assert shape is not None
        return shape


RECIPE = ("generate=hf", "eval=none", "tracking=none", "iterations=1", "data.sources.tiny.dev=8")
FULL = Scale(
    material.config(hidden=2560, layers=32, heads=32, intermediate=6912, vocab_size=50304),
    "bfloat16",
    window=128,
    micro_batch_tokens=16384,
    steps=6,
    lengths=1.0,
    recipe=(*RECIPE, "runtime.device=cuda", "model.base.steps=300", "data.sources.tiny.questions=120"),
)
TINY = Scale(
    material.config(hidden=32, layers=1, heads=2, intermediate=48, vocab_size=600, max_position_embeddings=128),
    "float32",
    window=8,
    micro_batch_tokens=256,
    steps=4,
    lengths=0.1,
    recipe=(
        *(*RECIPE, "runtime.device=cpu", "model.base.texts=64", "model.base.steps=4", "model.base.hidden=32"),
        *("model.base.layers=1", "model.base.heads=2", "model.base.intermediate=64", "model.base.vocab_size=560"),
        *("data.sources.tiny.train=16", "data.sources.tiny.questions=16", "data.sources.tiny.test=4"),
        *("sft.epochs=1", "generate.num_samples=2", "generate.max_new_tokens=4", "until=generate-1"),
    ),
)


def make_model(scale: Scale) -> StableLmForCausalLM:
    """Float32 weights, embeddings and head frozen, as in the recipe."""
    with torch.device("cuda" if CUDA else "cpu"):
        model = StableLmForCausalLM(scale.model)
    freeze(model, "both")
    return model


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
        sequences = tuple(Sequence(ids[:prompt] + answer, [-100] * prompt + answer) for answer in answers)
        found.append(Example(str(i), sequences, prompt))
    return found


class Variant(NamedTuple):
    """The keys model.checkpointing, runtime.compile, and runtime.micro_batch_tokens as a share of the scale's."""

    job: Literal["sft", "rank"]
    checkpointing: bool | Literal["auto"] = "auto"
    compile: bool = False
    share: float = 1.0


# Compiled ones come last: what was compiled stays so.
VARIANTS = (
    *(Variant("sft"), Variant("rank"), Variant("sft", share=0.5), Variant("sft", checkpointing=True)),
    *(Variant("sft", compile=True), Variant("rank", compile=True)),
)


def ours(scale: Scale, log: RowLog) -> None:
    model, compiled = make_model(scale), False
    model.set_attn_implementation(attention.NAME)
    for variant in VARIANTS:
        if variant.compile and not compiled:
            compile_layers(model)
            compiled = True
        tokens = int(variant.share * scale.micro_batch_tokens)
        need = estimate(scale, variant, tokens, "adalite")
        recompute(model, need.recomputed)
        what = {"part": "ours", **variant._asdict(), "micro_batch_tokens": tokens}
        what |= {"recomputed_layers": need.recomputed, "estimated_gib": need.total / 2**30}
        try:
            found = measure(model, scale, variant.job, tokens)
        except torch.OutOfMemoryError:
            found = {"skipped": "out of memory"}
        log(what | found)
        model.zero_grad()  # of a step that was not finished
        torch.cuda.empty_cache()


def estimate(scale: Scale, variant: Variant, tokens: int, optimizer: str) -> memory.Memory:
    """The need by the formula of memphis/memory.py, and the number of layers that it recomputes here."""
    requested = TrainedModel(dtype=scale.dtype, checkpointing=variant.checkpointing)
    room = torch.cuda.get_device_properties(0).total_memory - memory.RESERVE if CUDA else None
    longest, rejected = (
        (scale.model.max_position_embeddings, 0)
        if variant.job == "sft"
        else (scale.model.max_position_embeddings // 4, 1)
    )
    tokens, slots = memory.micro_batch(tokens, longest, rejected)
    return memory.training(scale.shape, requested, optimizer, tokens=tokens, slots=slots, room=room)


def measure(model: Any, scale: Scale, job: Literal["sft", "rank"], tokens: int) -> dict[str, Any]:
    """Medians over the steps after the warm-up, from the rows that the training loop writes."""
    plan = TrainPlan(
        family=job,
        epochs=1,
        global_batch_size=scale.window,
        optim=Optim(lr=1e-5 if job == "sft" else 5e-7),
        seed=0,
        objective=CrossEntropy(mixce=0.75) if job == "sft" else RankLoss(),
        neftune=Neftune(length=scale.model.max_position_embeddings),
        micro_batch_tokens=tokens,
        dtype=scale.dtype,
    )
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    rows = examples(scale, rejected=1 if job == "rank" else 0)
    with tempfile.TemporaryDirectory() as folder:
        log = RowLog(Path(folder) / "rows.jsonl")
        train(model, rows, plan, out_dir=Path(folder), log=log, checkpoint_every=1e9)
        steps = read_rows(log.path)
    counted = steps[WARM_UP:]

    def middle(key: str) -> float:
        return statistics.median(row[key] for row in counted)

    return {
        "steps": len(counted),
        "tokens_per_second": middle("perf/tokens_per_sec"),
        "mfu": None if counted[0]["perf/mfu"] is None else middle("perf/mfu"),
        "step_seconds": middle("perf/step_s"),
        "first_step_seconds": steps[0]["perf/step_s"],
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if CUDA else None,
        "loss": steps[-1][f"{job}/loss"],
    }


def trl(scale: Scale, log: RowLog, *, packing: bool) -> None:
    """SFTTrainer as it comes (padded batches of 8, everything recomputed), or packed into micro-batches as ours are."""
    from benchmarks import peers

    rows = [row.sequences[0] for row in examples(scale)]
    data = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    mean = sum(len(row.input_ids) for row in rows) / len(rows)
    settings: dict[str, Any] = {"gradient_accumulation_steps": max(1, scale.window // 8)}
    model = make_model(scale)
    if packing:
        packs = max(1, scale.micro_batch_tokens // scale.model.max_position_embeddings)
        full = (
            scale.window * mean / scale.model.max_position_embeddings
        )  # packs that hold as many rows as a step of ours
        need = estimate(scale, Variant("sft"), scale.micro_batch_tokens, "adamw")
        settings = {
            "packing": True,
            "per_device_train_batch_size": packs,
            "gradient_accumulation_steps": max(1, round(full / packs)),
            "gradient_checkpointing": need.recomputed > 0,  # where memory asks for it, all or nothing
        }
        if importlib.util.find_spec("flash_attn") is not None:
            model.set_attn_implementation("flash_attention_2")
    seen: list[tuple[float, float]] = []  # times at the end of every step, and TRL's own count of real tokens

    def step_ended(**found: float) -> None:
        if "loss" in found:  # the last line of a run has none
            if CUDA:
                torch.cuda.synchronize()
            seen.append((time.perf_counter(), found["tokens_so_far"]))

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(["a b c"] * 20, 560, Path(folder))
        here = {
            "max_length": scale.model.max_position_embeddings,
            "num_train_epochs": 1,
            "bf16": scale.dtype == "bfloat16",
        }
        here |= {"use_cpu": not CUDA, **settings}
        args = peers.SFTConfig(**peers.arguments(Path(folder), batch=8, accumulation=1) | here)
        peers.train(peers.SFTTrainer, step_ended, model, tokenizer, args, data)
    (began, before), *_, (ended, after) = seen[WARM_UP - 1 :]
    speed = (after - before) / (ended - began)
    peak = peak_flops(torch.cuda.get_device_name(0)) if CUDA else None
    log(
        {
            "part": "trl packing" if packing else "trl defaults",
            "job": "sft",
            "trl": importlib.metadata.version("trl"),
            "settings": settings,
            "attention": model.config._attn_implementation,
            "steps": len(seen) - WARM_UP,
            "tokens_per_second": speed,
            "mfu": speed * scale.shape.model_flops(mean) / peak if peak else None,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if CUDA else None,
        }
    )


# Seconds that a part may take, the start of its process included.
BUDGETS = {"ours": 200, "trl defaults": 75, "trl packing": 75, "recipe": 120}


def run_part(name: str, scale: Scale, log: RowLog) -> None:
    """A part in a process of its own, which adds what it finds to the log; why it found no more is added here.

    "recipe" is the laptop's recipe with small numbers, from base model to merge, without evaluation and tracking.
    """
    if name.startswith("trl") and importlib.util.find_spec("trl") is None:
        log({"part": name, "skipped": "trl is not installed; the comparison is meant for trl==1.16.0"})
        return
    command = [__file__, "--part", name, "--rows", str(log.path), *(["--tiny"] if scale is TINY else [])]
    if name == "recipe":
        command = ["train.py", *scale.recipe]
    with tempfile.TemporaryDirectory() as runs:
        environment, began = {**os.environ, "MEMPHIS_RUNS": runs}, time.monotonic()
        try:
            subprocess.run(
                [sys.executable, *command],
                cwd=REPOSITORY,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=BUDGETS[name],
            )
        except subprocess.TimeoutExpired:
            log({"part": name, "skipped": f"it took longer than its budget of {BUDGETS[name]} s"})
        except subprocess.CalledProcessError as error:
            log({"part": name, "skipped": ((error.stderr or error.stdout).strip().splitlines() or ["ended"])[-1]})
        else:
            if name == "recipe":
                records = [json.loads(path.read_text()) for path in sorted(Path(runs).glob("store/*/stage.json"))]
                stages = {record["name"]: round(record["seconds"], 2) for record in records}
                log({"part": name, "seconds": time.monotonic() - began, "stages": stages, "command": command})


def hardware() -> str:
    # Asked of nvidia-smi: a context of CUDA in this process would take memory from the others.
    found = [f"one {gpu.name} with {gpu.memory / 2**30:.1f} GiB" for gpu in gpus("cuda")] or ["no GPU"]
    return f"{found[0]}, {cores()} cores of {platform.machine()}"


def line(row: dict[str, Any]) -> str:
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items() if key != "_t"}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a miniature of everything; its numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where the results go")
    parser.add_argument("--part", choices=BUDGETS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    scale = TINY if arguments.tiny else FULL
    if arguments.part:
        log = RowLog(arguments.rows)
        ours(scale, log) if arguments.part == "ours" else trl(scale, log, packing=arguments.part == "trl packing")
        return 0
    if not CUDA and not arguments.tiny:
        sys.exit("error: torch finds no GPU here; `python benchmarks/gpu.py --tiny` runs a miniature on the CPU")
    began, found = time.monotonic(), list[dict[str, Any]]()
    print(f"{hardware()}; at most {sum(BUDGETS.values())} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        log = RowLog(Path(folder) / "rows.jsonl")
        for name in BUDGETS:
            run_part(name, scale, log)
            new = read_rows(log.path)[len(found) :]
            print("\n".join(map(line, new)), flush=True)
            found += new
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    result = {
        "hardware": hardware(),
        "versions": {**versions, "cuda": torch.version.cuda, "python": platform.python_version()},
        "tiny": arguments.tiny,
        "results": found,
        "seconds": time.monotonic() - began,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['seconds']:.0f} s; written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
