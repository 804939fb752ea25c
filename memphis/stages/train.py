"""Training shared by the trained kinds: model in, the training loop, checkpoint out."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from transformers import PreTrainedModel

from memphis import memory
from memphis.config.forms import TrainerForm
from memphis.config.sections import TrainedModel
from memphis.data.tokens import Example
from memphis.errors import MemphisError
from memphis.pipeline import KINDS
from memphis.shape import from_config
from memphis.stages.context import STOP, Context, verdict_of
from memphis.store import read_json
from memphis.training import distributed
from memphis.training import model as models
from memphis.training.batches import sequences_of
from memphis.training.layers import compile_layers, decoder_layers, recompute
from memphis.training.loop import hold_out, train
from memphis.training.probe import examine
from memphis.training.step_size import WEIGHTS, StepSize, at_rate, card_peak, refuse_large, step_size
from memphis.training.train_plan import TrainPlan
from memphis.training.verdict import Verdict, choose

CHECKPOINT_EVERY_S = float(os.environ.get("MEMPHIS_CHECKPOINT_S", "300"))
# The tiny scale's largest step, norm of the update / norm of the weights: that of conf/sft/tiny.yaml in 28 steps.
TINY_PEAK_STEP = 0.035


def train_stage(
    context: Context,
    examples: Sequence[Example],
    counts: dict[str, int],
    config: TrainerForm,
    like: Sequence[Path] = (),
) -> dict[str, Any]:
    """Train the input model on `examples` as `config` says, and write it to `model/`.

    like: finished trained stages in place of `epochs`: train for at least as many steps and tokens as all of these.
    Raises MemphisError, before the model is loaded, if no example is left.
    """
    knobs = config.knobs
    warnings = _left_out(context, counts, knobs.max_length, config.data.overlong)
    source = context.inputs["model"] / "model"
    verdict = _known_verdict(context) or examine(source, context.worker.device)
    longest = max((len(s.input_ids) for example in examples for _, s in sequences_of(example)), default=0)
    packing = choose(verdict, config.model.packing, longest)
    print(f"{context.kind}: {packing} rows of up to {longest} tokens", flush=True)
    master, _, stochastic = config.model.master_dtype.partition("_")
    model, _ = models.load(
        source,
        dtype=getattr(torch, master),
        device=context.worker.device,
        freeze_embeddings=config.model.freeze_embeddings,
        packed=packing == "packed",
    )
    examples, heldout = hold_out(examples, context.seed)
    per_epoch = math.ceil(len(examples) / knobs.global_batch_size)
    max_steps = None
    if like:
        summaries = [read_json(path / "stage.json")["summary"] for path in like]
        tokens = sum(summary["tokens"] for summary in summaries)
        mine = sum(len(sequence.input_ids) for example in examples for sequence in example.sequences)
        enough = math.ceil(tokens / (mine / max(1, per_epoch)))
        max_steps = max(sum(summary["steps"] for summary in summaries), enough)
    size = step_size(knobs, max_steps or max(1, knobs.epochs * per_epoch))
    if context.kind not in context.runtime.allow_large_steps:
        refuse_large(context.kind, knobs, size.steps, sum(p.numel() for p in model.parameters()))
    print(f"{context.kind}: {size}", flush=True)
    plan = TrainPlan.of(
        knobs,
        optim=at_rate(knobs.optim, size.lr),
        family=KINDS[context.kind].family,
        peak_step=_stated_peak(model, size),
        objective=knobs.objective,
        epochs=math.ceil(max_steps / max(1, per_epoch)) if max_steps else knobs.epochs,
        max_steps=max_steps,
        seed=context.seed,
        micro_batch_tokens=config.micro_batch_tokens or context.runtime.micro_batch_tokens,
        dtype=config.model.dtype,
        rounding="stochastic" if stochastic else "nearest",
        packing=packing,
    )
    chosen: dict[str, Any] = {"packing": asdict(verdict), "layout": packing}
    chosen |= {"lr": size.lr, "peak_relative_step": size.peak}
    if config.model.checkpointing:
        room = _room(context.worker.device)
        number = recomputed_layers(model, examples, plan, config.model, knobs.max_length, room)
        recompute(model, number)
        chosen["recomputed_layers"] = number
        print(
            f"{context.kind}: activations of {number} of {len(decoder_layers(model))} layers are recomputed", flush=True
        )
    summary = {**run_loop(context, model, examples, plan, source, heldout), **chosen, "examples": counts}
    warnings += summary.pop("warnings", [])
    shares = {"trunc_frac": counts["truncated"], "drop_frac": counts["rows"] - counts["kept"]}
    done = {"step": summary["steps"], "steps": summary["steps"], "tokens": summary["tokens"]}
    if distributed.rank() == 0:
        context.log(done | {f"{plan.family}/{name}": count / counts["rows"] for name, count in shares.items()})
    return summary | ({"warnings": warnings} if warnings else {})


def _stated_peak(model: PreTrainedModel, size: StepSize) -> float | None:
    """Return the largest relative step that the model's scale means to take; None with AdamW, which states none."""
    if size.peak is None:
        return None
    return TINY_PEAK_STEP if model.num_parameters() <= WEIGHTS else card_peak()


def refuse_early(context: Context, config: TrainerForm) -> None:
    """Refuse a model whose verdict is known and says that it cannot be trained, before any row is tokenised."""
    if verdict := _known_verdict(context):
        choose(verdict, config.model.packing, longest=0)


def _known_verdict(context: Context) -> Verdict | None:
    known = verdict_of(context.inputs["model"])
    return TypeAdapter(Verdict).validate_python(known) if known else None


def recomputed_layers(
    model: PreTrainedModel,
    examples: Sequence[Example],
    plan: TrainPlan,
    requested: TrainedModel,
    max_length: int,
    room: float | None,
) -> int:
    """Return how many layers `model.checkpointing` recomputes; "auto" by the formula that `plan=true` shows.

    room: see memory.training. Without a formula for the model, "auto" recomputes all layers, or none if `room` is None.
    """
    layers = len(decoder_layers(model)) if model.supports_gradient_checkpointing else 0
    shape = from_config(model.config.to_dict())
    if requested.checkpointing != "auto":
        return layers if requested.checkpointing else 0
    if room is None or shape is None:
        return 0 if room is None else layers
    further = max(len(sequences_of(example)) for example in examples) - 1
    tokens, slots = memory.micro_batch(plan.micro_batch_tokens, max_length, further)
    need = memory.training(
        shape, requested, plan.optim.name, tokens=tokens, slots=slots, devices=distributed.size(), room=room
    )
    return need.recomputed


def _room(device: str) -> float | None:
    """Return the bytes for training on the smallest of the GPUs that train together; None on a CPU."""
    if device != "cuda":
        return None
    here = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return min(size for (size,) in distributed.gather([here])) - memory.RESERVE


def _left_out(context: Context, counts: dict[str, int], max_length: int, overlong: str) -> list[str]:
    """Return warnings about rows that made no example. Raises MemphisError if no row made one."""
    why = {name.removeprefix("dropped_"): n for name, n in counts.items() if name.startswith("dropped_") and n}
    if not why:
        return []
    key, rule = f"{context.kind}.max_length={max_length}", f"data.overlong={overlong}"
    shown = ", ".join(f"{name} {n}" for name, n in why.items())
    if not counts["kept"]:
        raise MemphisError(f"{key}: none of {counts['rows']} rows is left ({shown}); raise it, or choose other rows")
    return [f"{context.kind}: {sum(why.values())} of {counts['rows']} rows left out ({shown}; {key}, {rule})"]


def run_loop(
    context: Context,
    model: PreTrainedModel,
    examples: Sequence[Example],
    plan: TrainPlan,
    tokenizer: Any,
    heldout: Sequence[Example] = (),
) -> dict[str, Any]:
    """Train and save the model with its tokenizer. tokenizer: an object or a directory. heldout: see `train`."""
    if context.runtime.compile:
        compile_layers(model)
    summary = train(
        model,
        examples,
        plan,
        out_dir=context.out,
        log=context.log,
        should_stop=STOP.is_set,
        kill_point=context.kill_point,
        checkpoint_every=CHECKPOINT_EVERY_S,
        heldout=heldout,
    )
    dtype = next(model.parameters()).dtype
    models.save(model, tokenizer, context.out / "model", dtype)
    context.kill_point("saved")
    return summary
