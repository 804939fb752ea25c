"""How fast training is on one GPU: `python benchmarks/gpu.py`, under 8 minutes; `--tiny` is a miniature on any machine.

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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import StableLmConfig, StableLmForCausalLM, TrainerCallback  # noqa: E402

from memphis import memory  # noqa: E402
from memphis.config.sections import Model, Neftune, Optim  # noqa: E402
from memphis.data.tiny_tokenizer import train_tokenizer  # noqa: E402
from memphis.data.tokens import Example, Sequence  # noqa: E402
from memphis.devices import cores, gpus, peak_flops  # noqa: E402
from memphis.jsonl import RowLog, read_rows  # noqa: E402
from memphis.losses import CrossEntropy, RankLoss  # noqa: E402
from memphis.shape import Shape  # noqa: E402
from memphis.training import attention  # noqa: E402
from memphis.training.layers import compile_layers, recompute  # noqa: E402
from memphis.training.loop import train  # noqa: E402
from memphis.training.model import freeze  # noqa: E402
from memphis.training.train_plan import TrainPlan  # noqa: E402

Report = Callable[..., None]
Dtype = Literal["float32", "bfloat16"]
Job = Literal["sft", "rank"]
Checkpointing = bool | Literal["auto"]

# Rows of the recipe's sources and their mean tokens: docs/recipe.md, "Memory". Spread and share of the prompt: guesses.
SOURCES = ((27_676, 123), (7_000, 160), (5_000, 350), (4_693, 446))
SPREAD, PROMPT, ANSWER = 0.6, 0.45, 67
MODEL: dict[str, Any] = {
    **dict.fromkeys(("path", "revision", "parameters", "base")),
    **{"freeze_embeddings": "both", "master_dtype": "float32", "dtype": "float32"},
    "checkpointing": False,
}
WARM_UP = 2  # steps that are not counted: the first ones compile and allocate
TOO_FEW = f"too few steps in the budget of this part: {{}}, of which {WARM_UP} would not count"


@dataclass(frozen=True)
class Scale:
    """What differs between the measurement and its miniature. lengths: factor on those of the rows."""

    shape: Shape
    dtype: Dtype
    max_length: int
    window: int
    micro_batch_tokens: int
    steps: int
    lengths: float
    recipe: tuple[str, ...]


# Seconds that a part may take, the start of its process included.
BUDGETS = {"ours": 200, "trl defaults": 75, "trl packing": 75, "recipe": 120}
RECIPE = ("generate=hf", "eval=none", "tracking=none", "iterations=1", "data.sources.tiny.dev=8")
FULL = Scale(
    Shape(hidden=2560, layers=32, heads=32, kv_heads=32, intermediate=6912, vocab_size=50304),
    "bfloat16",
    max_length=4096,
    window=128,
    micro_batch_tokens=16384,
    steps=6,
    lengths=1.0,
    recipe=(*RECIPE, "runtime.device=cuda", "model.base.steps=300", "data.sources.tiny.questions=120"),
)
TINY = Scale(
    Shape(hidden=32, layers=1, heads=2, kv_heads=2, intermediate=48, vocab_size=600),
    "float32",
    max_length=128,
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
    shape = scale.shape
    config = StableLmConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=scale.max_length,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = StableLmForCausalLM(config)
    freeze(model, "both")
    return model


def examples(scale: Scale, number: int, rejected: int = 0) -> list[Example]:
    """Random tokens. Rows as long as those of the recipe's sources; pairs are TinyCoT's prompts with two answers."""
    draw = np.random.default_rng(0)
    rows, means = (np.array(column) for column in zip(*SOURCES, strict=True))
    found = []
    for i in range(number):
        mean = means[0] if rejected else draw.choice(means, p=rows / rows.sum())
        length = int(scale.lengths * draw.lognormal(np.log(mean) - SPREAD**2 / 2, SPREAD))
        length = min(max(length, 8), scale.max_length)
        prompt = int(PROMPT * length)
        sizes = [length - prompt] + [max(2, int(scale.lengths * draw.normal(ANSWER, 15))) for _ in range(rejected)]
        ids = draw.integers(3, scale.shape.vocab_size, prompt + sum(sizes)).tolist()
        ends = np.cumsum([prompt, *sizes]).tolist()
        answers = [ids[a:b] for a, b in pairwise(ends)]
        sequences = tuple(Sequence(ids[:prompt] + answer, [-100] * prompt + answer) for answer in answers)
        found.append(Example(str(i), sequences, prompt))
    return found


class Variant(NamedTuple):
    """The keys model.checkpointing, runtime.compile, and runtime.micro_batch_tokens as a share of the scale's."""

    job: Job
    checkpointing: Checkpointing = "auto"
    compile: bool = False
    share: float = 1.0


# Compiled ones come last: what was compiled stays so.
VARIANTS = (
    *(Variant("sft"), Variant("rank"), Variant("sft", share=0.5), Variant("sft", checkpointing=True)),
    *(Variant("sft", compile=True), Variant("rank", compile=True)),
)


def ours(scale: Scale, report: Report, deadline: float) -> None:
    model, compiled = make_model(scale), False
    model.set_attn_implementation(attention.NAME)
    for variant in VARIANTS:
        tokens = int(variant.share * scale.micro_batch_tokens)
        what = variant._asdict() | {"micro_batch_tokens": tokens}
        if time.monotonic() > deadline:
            report(**what, skipped="the budget of this part is spent")
            continue
        if variant.compile and not compiled:
            compile_layers(model)
            compiled = True
        need = estimate(scale, variant.job, variant.checkpointing, tokens, "adalite")
        recompute(model, need.recomputed)
        what |= {"recomputed_layers": need.recomputed, "estimated_gib": need.total / 2**30}
        try:
            found = measure(model, scale, variant.job, tokens, deadline)
        except torch.OutOfMemoryError:
            found = {"skipped": "out of memory"}
        report(**what, **found)
        model.zero_grad()  # of a step that was not finished
        torch.cuda.empty_cache()


def estimate(scale: Scale, job: Job, checkpointing: Checkpointing, tokens: int, optimizer: str) -> memory.Memory:
    """What the formula of memphis/memory.py expects, and the number of layers that it recomputes here."""
    requested = replace(Model(**MODEL), dtype=scale.dtype, checkpointing=checkpointing)
    room = torch.cuda.get_device_properties(0).total_memory - memory.RESERVE if torch.cuda.is_available() else None
    rejected = 1 if job == "rank" else 0
    tokens, slots = memory.micro_batch(tokens, scale.max_length if job == "sft" else scale.max_length // 4, rejected)
    return memory.training(scale.shape, requested, optimizer, tokens=tokens, slots=slots, room=room)


class OutOfTime(Exception):
    """The part's budget is spent; the steps until here count."""


def measure(model: Any, scale: Scale, job: Job, tokens: int, deadline: float) -> dict[str, Any]:
    """Medians over the steps after the warm-up, from the rows that the training loop writes."""
    plan = TrainPlan(
        family=job,
        epochs=1,
        global_batch_size=scale.window,
        optim=Optim(lr=1e-5 if job == "sft" else 5e-7),
        seed=0,
        objective=CrossEntropy(mixce=0.75) if job == "sft" else RankLoss(),
        neftune=Neftune(length=scale.max_length),
        micro_batch_tokens=tokens,
        dtype=scale.dtype,
    )

    def look(where: str) -> None:
        if where == "step" and time.monotonic() > deadline:
            raise OutOfTime

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    rows = examples(scale, scale.steps * scale.window, rejected=1 if job == "rank" else 0)
    with tempfile.TemporaryDirectory() as folder:
        log = RowLog(Path(folder) / "rows.jsonl")
        with suppress(OutOfTime):
            train(model, rows, plan, out_dir=Path(folder), log=log, kill_point=look, checkpoint_every=1e9)
        steps = read_rows(Path(folder) / "rows.jsonl")
    if len(steps) <= WARM_UP:
        return {"skipped": TOO_FEW.format(len(steps))}
    return {
        "steps": len(steps) - WARM_UP,
        "tokens_per_second": middle(steps[WARM_UP:], "perf/tokens_per_sec"),
        "mfu": middle(steps[WARM_UP:], "perf/mfu"),
        "step_seconds": middle(steps[WARM_UP:], "perf/step_s"),
        "first_step_seconds": steps[0]["perf/step_s"],
        "peak_gib": max(row["perf/mem_alloc_gib"] for row in steps) if torch.cuda.is_available() else None,
        "loss": steps[-1][f"{job}/loss"],
    }


def middle(rows: list[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row[key] is not None]
    return statistics.median(values) if values else None


class Clock(TrainerCallback):
    """Times and TRL's own count of real tokens, at the end of every step."""

    def __init__(self, deadline: float) -> None:
        self.deadline, self.seen = deadline, []  # type: tuple[float, list[tuple[float, float]]]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "num_tokens" in logs and "loss" in logs:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seen.append((time.perf_counter(), float(logs["num_tokens"])))
            control.should_training_stop = time.monotonic() > self.deadline


def trl(scale: Scale, report: Report, deadline: float, *, packing: bool) -> None:
    """SFTTrainer as it comes (padded batches of 8, everything recomputed), or packed into micro-batches as ours are."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = examples(scale, scale.steps * scale.window)
    data = [{"input_ids": row.sequences[0].input_ids, "labels": row.sequences[0].labels} for row in rows]
    mean = sum(len(row["input_ids"]) for row in data) / len(data)
    settings: dict[str, Any] = {"gradient_accumulation_steps": max(1, scale.window // 8)}
    model = make_model(scale)
    if packing:
        packs = max(1, scale.micro_batch_tokens // scale.max_length)
        full = scale.window * mean / scale.max_length  # packs that hold as many rows as a step of ours
        need = estimate(scale, "sft", "auto", scale.micro_batch_tokens, "adamw")
        settings = {
            "packing": True,
            "per_device_train_batch_size": packs,
            "gradient_accumulation_steps": max(1, round(full / packs)),
            "gradient_checkpointing": need.recomputed > 0,  # where memory asks for it, all or nothing
        }
        if importlib.util.find_spec("flash_attn") is not None:
            model.set_attn_implementation("flash_attention_2")
    what = {"job": "sft", "trl": importlib.metadata.version("trl"), "settings": settings}
    what["attention"] = model.config._attn_implementation
    clock = Clock(deadline)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(["a b c"] * 20, 560, Path(folder))
        args = SFTConfig(
            output_dir=folder,
            max_length=scale.max_length,
            num_train_epochs=1,
            **{"learning_rate": 1e-5, "logging_steps": 1, "report_to": "none", "save_strategy": "no"},
            disable_tqdm=True,
            bf16=scale.dtype == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            **settings,
        )
        trainer = SFTTrainer(
            model=model, args=args, train_dataset=Dataset.from_list(data), processing_class=tokenizer, callbacks=[clock]
        )
        try:
            trainer.train()
        except torch.OutOfMemoryError:
            report(**what, skipped="out of memory")
            return
    counted = clock.seen[WARM_UP - 1 :]
    if len(counted) < 2:
        report(**what, skipped=TOO_FEW.format(len(clock.seen)))
        return
    (began, before), (ended, after) = counted[0], counted[-1]
    speed = (after - before) / (ended - began)
    on_gpu = torch.cuda.is_available()
    peak = peak_flops(torch.cuda.get_device_name(0)) if on_gpu else None
    report(
        **what,
        steps=len(counted) - 1,
        tokens_per_second=speed,
        mfu=speed * scale.shape.model_flops(mean) / peak if peak else None,
        peak_gib=torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    )


def recipe(scale: Scale, report: Report, deadline: float) -> None:
    """The laptop's recipe with small numbers, from base model to merge, without evaluation and tracking."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(REPOSITORY / "train.py"), *scale.recipe]
        environment = {**os.environ, "MEMPHIS_RUNS": folder}
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=deadline - began
            )
        except subprocess.TimeoutExpired:
            report(skipped="the budget of this part is spent")
            return
        if done.returncode:
            raise SystemExit((done.stderr or done.stdout).strip().splitlines()[-1])
        records = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("store/*/stage.json"))]
        stages = {record["name"]: round(record["seconds"], 2) for record in records}
        report(seconds=time.monotonic() - began, stages=stages, command=["train.py", *scale.recipe])


PARTS: dict[str, Callable[[Scale, Report, float], None]] = {
    "ours": ours,
    "trl defaults": lambda scale, report, deadline: trl(scale, report, deadline, packing=False),
    "trl packing": lambda scale, report, deadline: trl(scale, report, deadline, packing=True),
    "recipe": recipe,
}


def run_part(name: str, scale: Scale, rows: Path, *, tiny: bool) -> None:
    """A part in a process of its own, with what it found in `rows`; why it found no more is added there."""
    if name.startswith("trl") and importlib.util.find_spec("trl") is None:
        RowLog(rows)({"part": name, "skipped": "trl is not installed; the comparison is meant for trl==1.16.0"})
        return
    budget = BUDGETS[name]
    command = [sys.executable, __file__, "--part", name, "--rows", str(rows), *(["--tiny"] if tiny else [])]
    reason = None
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=budget)
        if done.returncode:
            reason = ((done.stderr or done.stdout).strip().splitlines() or ["ended"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"it took longer than its budget of {budget} s"
    if reason is not None:
        RowLog(rows)({"part": name, "skipped": reason})


def hardware() -> str:
    where = f"{cores()} cores of {platform.processor() or platform.machine()}"
    if not torch.cuda.is_available():
        return f"no GPU, {where}"
    # Asked of nvidia-smi: a context of CUDA in this process would take memory from the others.
    found = [f"{gpu.name} with {gpu.memory / 2**30:.1f} GiB" for gpu in gpus("cuda")] or ["GPU that is not listed"]
    return f"one {found[0]}, of {len(found)} visible, {where}"


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    name = row["part"]
    if "job" in row:
        keys = row.keys() & {"checkpointing", "recomputed_layers", "compile", "micro_batch_tokens"}
        settings = row.get("settings") or {key: row[key] for key in sorted(keys)}
        name += f", {row['job']} ({', '.join(f'{key} {value}' for key, value in settings.items())})"
    if "skipped" in row:
        return f"{name}: skipped: {row['skipped']}"
    if "tokens_per_second" not in row:
        return f"{name}: {row['seconds']:.0f} s"
    mfu = "unknown (no peak is known of this device)" if row["mfu"] is None else f"{row['mfu']:.1%}"
    peak = "" if row["peak_gib"] is None else f", peak {row['peak_gib']:.1f} GiB"
    expected = f" (expected {row['estimated_gib']:.1f})" if peak and "estimated_gib" in row else ""
    return f"{name}: {row['tokens_per_second']:,.0f} useful tokens/s, MFU {mfu}{peak}{expected}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a miniature of everything; its numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where the results go")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    scale = TINY if arguments.tiny else FULL
    if arguments.part:
        log = RowLog(arguments.rows)
        deadline = time.monotonic() + BUDGETS[arguments.part] * 0.85  # some was spent on starting
        PARTS[arguments.part](scale, lambda **found: log({"part": arguments.part, **found}), deadline)
        return 0
    if not torch.cuda.is_available() and not arguments.tiny:
        sys.exit("error: torch finds no GPU here; `python benchmarks/gpu.py --tiny` runs a miniature on the CPU")
    began, shown = time.monotonic(), 0
    print(f"{hardware()}; at most {sum(BUDGETS.values())} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.touch()
        for name in PARTS:
            run_part(name, scale, rows, tiny=arguments.tiny)
            found = read_rows(rows)
            print("\n".join(line(row) for row in found[shown:]), flush=True)
            shown = len(found)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    result = {
        "hardware": hardware(),
        "versions": {**versions, "cuda": torch.version.cuda, "python": platform.python_version()},
        "tiny": arguments.tiny,
        "shape": asdict(scale.shape),
        "max_length": scale.max_length,
        "window": scale.window,
        "results": found,
        "seconds": time.monotonic() - began,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['seconds']:.0f} s; written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
