"""Study: does the peak relative step predict whether a short run hurts a pretrained model, and which optimizer is best?

`python -m experiments.peak_step MODEL ROWS WORK` builds what is missing of the runs of README.md and writes its tables;
the same command goes on after an interruption, and where nothing is missing it only writes. MODEL: checkpoint
directory. ROWS: directory with train.jsonl and heldout.jsonl (columns prompt, rationale, target, source). WORK:
directory for runs and rows, some 4 GB.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memphis import REPOSITORY
from memphis.config.sections import SftTraining
from memphis.data import tokens
from memphis.data.tokens import IGNORE, Example
from memphis.devices import cores
from memphis.jsonl import read_rows, write_rows
from memphis.methods.relative_step import gains, peak_factor
from memphis.methods.schedules import cosine
from memphis.pipeline import KINDS
from memphis.store import Store, read_json
from memphis.training.loop import score
from memphis.training.model import load
from memphis.training.step_size import at_rate, card_peak
from memphis.training.train_plan import TrainPlan

FOLDER = Path(__file__).parent
SOURCES = ("gsm8k", "strategyqa", "tal_scq5k_en", "flute")
STEPS, BATCH, MAX_LENGTH, THREADS = 13, 16, 1024, 2
HELDOUT = 25  # rows of each source
SEEDS = (0, 1, 2)
SHOWN = (2, 4, 7, 10, 13)  # steps, from 1, at which the law is compared with what was measured


@dataclass(frozen=True)
class Arm:
    """Setting of the study. peak: largest step relative to the weights; None with AdamW."""

    name: str
    optimizer: str
    lr: float
    warmup: float
    peak: float | None


def arms() -> Iterator[Arm]:
    for warmup in (0.2, 1.0):
        for times in (1, 2, 4, 8):
            peak = times * card_peak()
            name = f"adalite-{times}x-warmup-{warmup:.0%}".replace("%", "")
            yield Arm(name, "adalite", peak / peak_factor(STEPS, warmup), warmup, peak)
    for lr in (5e-6, 2e-5, 5e-5):
        yield Arm(f"adamw-{lr:.0e}", "adamw", lr, 0.2, None)


def draw(rows: Sequence[dict[str, Any]], each: int, seed: int) -> list[dict[str, Any]]:
    """Return `each` rows of every source, drawn and ordered by the seed."""
    rng = random.Random(seed)
    chosen = [row for source in SOURCES for row in rng.sample([r for r in rows if r["source"] == source], each)]
    rng.shuffle(chosen)
    return chosen


def train(arm: Arm, seed: int, model: Path, rows: Path, work: Path) -> Path:
    """Run the supervised stage with train.py, which continues what was interrupted. Returns the stage's directory."""
    run = f"{arm.name}-s{seed}"
    words = [
        *(f"name={run}", f"seed={seed}", f"runtime.root={work / 'runs'}", "tracking=none", "until=sft"),
        *("model=hf", f"model.path={model}", "model.dtype=float32", "data=local", f"data.path={rows}", "eval=none"),
        *("method=sft_only", "sft=real", "sft.epochs=1", f"sft.max_length={MAX_LENGTH}"),
        *(f"sft.global_batch_size={BATCH}", f"sft.optim.name={arm.optimizer}", f"sft.optim.lr={arm.lr!r}"),
        *(f"sft.warmup_ratio={arm.warmup}", "sft.optim.allow_large_steps=true", f"runtime.threads={THREADS}"),
        "runtime.device=cpu",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, str(REPOSITORY / "train.py"), *words], check=True, env=environment)
    (listed,) = (work / "runs" / run).glob("**/stages.json")
    (built,) = (row for row in read_json(listed) if KINDS[row["kind"]].knobs)
    return work / "runs" / str(built["dir"])


def loss(model: Path, examples: Sequence[Example]) -> float:
    """Return the cross-entropy of the rows' targets, in nats a token."""
    optim = at_rate(SftTraining().optim, 1e-5)
    plan = TrainPlan(family="sft", epochs=1, global_batch_size=BATCH, optim=optim, seed=0, packing="packed")
    loaded, _ = load(model)
    labels = sum(label != IGNORE for example in examples for s in example.sequences for label in s.labels)
    return -float(score(loaded, examples, plan).sum()) / labels


def measure(stage: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """Return what the study compares of a finished run."""
    record, rows = read_json(stage / "stage.json"), [r for r in read_rows(stage / "metrics.jsonl") if "sft/ce" in r]
    train = [row["sft/ce"] for row in rows]
    return {
        "steps": len(rows),
        "train": [round(value, 4) for value in train],
        "bump": round(max(train) - train[0], 4),
        "update_ratio": [float(f"{row['optim/update_ratio']:.4g}") for row in rows],
        "heldout_after": round(loss(stage / "model", examples), 4),
        "seconds": round(record["seconds"]),
        "threads": record["versions"]["threads"],
    }


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m experiments.peak_step", description=__doc__)
    for name in ("model", "rows", "work"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    model, source, work = (path.expanduser().absolute() for path in (arguments.model, arguments.rows, arguments.work))
    results = FOLDER / "results.jsonl"
    done = read_rows(results) if results.exists() else []
    write_table(done)
    if {(row["arm"], row["seed"]) for row in done} >= {(arm.name, seed) for arm in arms() for seed in SEEDS}:
        return
    torch.set_num_threads(THREADS)
    work.mkdir(parents=True, exist_ok=True)
    held = draw(read_rows(source / "heldout.jsonl"), HELDOUT, 0)
    named = [{**row, "kind": "cot", "answer": row["target"]} for row in held]
    examples, _ = tokens.sft_examples(
        named, tokens.load_tokenizer(model), max_length=MAX_LENGTH, eos="every_turn", overlong="drop"
    )
    before = next((row["heldout_before"] for row in done), None) or round(loss(model, examples), 4)
    for seed in SEEDS:
        file = work / f"rows-{seed}.jsonl"
        if not file.exists():  # its time of change is part of what is remembered of it
            write_rows(file, draw(read_rows(source / "train.jsonl"), STEPS * BATCH // len(SOURCES), seed))
        for arm in arms():
            if any((row["arm"], row["seed"]) == (arm.name, seed) for row in done):
                continue
            stage = train(arm, seed, model, file, work)
            facts = {"arm": arm.name, "seed": seed, "optimizer": arm.optimizer, "lr": arm.lr, "warmup": arm.warmup}
            facts |= {"peak": arm.peak, "heldout_before": before, **measure(stage, examples)}
            facts |= {"machine": f"{platform.machine()}, {cores()} cores"}
            with results.open("a") as output:
                output.write(json.dumps(facts) + "\n")
            done.append(facts)
            Store(stage.parent).drop_weights(stage)
            write_table(done)


def write_table(done: Sequence[dict[str, Any]]) -> None:
    """Replace the blocks of README.md between its marks by the tables of the runs so far."""
    lines = [
        "| setting | lr | peak relative step | seeds | held-out before | after | after - before, each seed "
        "| highest train loss over the first | minutes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for arm in arms():
        runs = [row for row in done if row["arm"] == arm.name]
        if not runs:
            continue
        change = ", ".join(f"{row['heldout_after'] - row['heldout_before']:+.3f}" for row in runs)
        mean = {key: statistics.mean(row[key] for row in runs) for key in ("heldout_after", "bump", "seconds")}
        peak = "–" if arm.peak is None else f"{arm.peak:.1e}"
        lines.append(
            f"| {arm.name} | {arm.lr:.2e} | {peak} | {len(runs)} | {runs[0]['heldout_before']:.3f} "
            f"| {mean['heldout_after']:.3f} | {change} | {mean['bump']:+.2f} | {mean['seconds'] / 60:.1f} |"
        )
    readme = FOLDER / "README.md"
    text = _replaced(_replaced(readme.read_text(), "results", lines), "law", law_table(done))
    readme.write_text(text)


def law_table(done: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table: per Adalite arm and step the mean of update_ratio over the seeds, what
    methods/relative_step.py gives for that step, and their ratio."""
    lines = [
        f"| setting | seeds | {' | '.join(f'step {step}: measured / law' for step in SHOWN)} |",
        f"| --- | ---: | {' | '.join('---:' for _ in SHOWN)} |",
    ]
    for arm in arms():
        runs = [row["update_ratio"] for row in done if row["arm"] == arm.name]
        if arm.peak is None or not runs:
            continue
        gain = gains(STEPS)
        law = [arm.lr * cosine(k, STEPS, arm.warmup) * gain[k] for k in range(STEPS)]
        measured = [statistics.mean(values) for values in zip(*runs, strict=True)]
        cells = [f"{measured[k - 1]:.2e} / {law[k - 1]:.2e} = {measured[k - 1] / law[k - 1]:.2f}" for k in SHOWN]
        lines.append(f"| {arm.name} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def _replaced(text: str, mark: str, lines: Sequence[str]) -> str:
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    head, tail = text.split(begin)[0], text.split(end)[1]
    return "\n".join([f"{head}{begin}", *lines, f"{end}{tail}"])


if __name__ == "__main__":
    main()
