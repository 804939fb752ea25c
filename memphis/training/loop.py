"""Training loop of all kinds: base pre-training, supervised and rank stages differ in their plan only.

A step is: the next window of examples in an order that is a function of (seed, epoch); the window cut into flat
micro-batches; one backward pass each, of losses that are already divided by the window's totals; one optimizer step.
The loop holds no random state: noise and order follow from (seed, step), so a checkpoint is weights and counters.
On several devices (distributed.py) each takes its part of every window, and all take every decision together.
"""

import hashlib
import math
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from memphis.config.sections import Optim
from memphis.data.tokens import IGNORE, Example
from memphis.devices import peak_flops
from memphis.errors import MemphisError, Stopped
from memphis.jsonl import RowLog
from memphis.methods.adalite import Adalite
from memphis.methods.schedules import SCHEDULES
from memphis.shape import from_config
from memphis.training import checkpoint, distributed
from memphis.training.attention import attending
from memphis.training.batches import FlatBatch, cut, flatten, num_tokens, partition
from memphis.training.forward import target_logps
from memphis.training.guard import Guard
from memphis.training.objective import Totals, embedding_noise, objective, sums_by_column
from memphis.training.rounded_step import rounded_step
from memphis.training.train_plan import MANY, SCORED, TrainPlan

Forward = Callable[..., Tensor]  # `target_logps`, or its replacement while parameters are in shards

# A run stops after this many consecutive steps whose loss or gradient is not finite.
MAX_NONFINITE = 5
# Elements per tensor that optim/update_ratio and optim/moved_frac are estimated from.
_SAMPLE = 4096


def num_steps(num_examples: int, plan: TrainPlan) -> int:
    """Return the optimizer steps of a run; the last, incomplete window of an epoch makes a step too."""
    total = plan.epochs * math.ceil(num_examples / plan.global_batch_size)
    return total if plan.max_steps is None else min(total, plan.max_steps)


def train(
    model: PreTrainedModel,
    examples: Sequence[Example],
    plan: TrainPlan,
    *,
    out_dir: Path,
    log: RowLog,
    should_stop: Callable[[], bool] = lambda: False,
    kill_point: Callable[[str], None] = lambda _: None,
    checkpoint_every: float = 600.0,
    reference: PreTrainedModel | None = None,
    heldout: Sequence[Example] = (),
) -> dict[str, Any]:
    """Train `model` in place; continues by itself from out_dir/checkpoint, bit for bit on CPU.

    model: from `model.load` or `new_tiny`; parameters that require gradients are trained.
    log: gets one row per optimizer step, and is first cut back to the checkpoint (to nothing if there is none).
    kill_point: called with "step" after every step and "checkpoint" between writing and renaming a checkpoint.
    checkpoint_every: seconds. The directory is left there at the end; the caller removes it.
    reference: of an objective that needs one; None = the model as it is before the first step.
    heldout: not among `examples`; scored before and after. Without any, SCORED trained ones are, and named `seen`.
    Returns steps, tokens, label_tokens, skipped_nonfinite, loss (of the last finite step), seconds, update_ratio (the
    largest), heldout_before and heldout_after (nats a token), heldout_rows, or seen_…; warnings, if there are any.
    On several devices all call it alike; rank 0 writes rows. The model's parameters are in shards afterwards.
    Raises Stopped, after writing a checkpoint, when should_stop(); MemphisError if there are no examples,
    MAX_NONFINITE consecutive steps had a loss or gradient that is not finite, or the model is destroyed; see Guard.
    """
    if not examples:
        raise MemphisError(f"{plan.family}: there are no examples to train on; see the counts of the stages before it")
    total = num_steps(len(examples), plan)
    name, scored = ("heldout", heldout) if heldout else ("seen", _first_trained(examples, plan, total))
    guard = Guard(plan, model.get_input_embeddings().weight.shape[0], total)
    forward = distributed.shard(model, target_logps, by_layer=plan.packing == "packed")
    first = distributed.rank() == 0
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = make_optimizer(list(params.values()), plan.optim, plan.beta2)
    directory = out_dir / "checkpoint"
    counters: dict[str, Any] = {
        "tokens": 0,
        "label_tokens": 0,
        "skipped": 0,
        "in_a_row": 0,
        "loss": 0.0,
        "seconds": 0.0,
        "guard": guard.state,
    }
    extra: dict[str, Tensor] = {}
    start = 0
    if (resumed := checkpoint.read(directory, params, optimizer)) is not None:
        state, extra = resumed
        start, counters = state["step"], state["counters"]
        guard.state = counters["guard"]
    else:
        guard.state["before"] = cross_entropy(model, scored, plan, forward)
        if plan.objective.needs_reference:
            extra["reference"] = score(reference or model, examples, plan, target_logps if reference else forward)
    if first:
        log.cut(0 if resumed is None else state["offset"])

    def save(step: int) -> None:
        state = {"counters": counters, "offset": log.offset() if first else None}
        checkpoint.write(directory, step, params, optimizer, extra, state, kill_point)

    stepper = _Stepper(model, list(params.values()), optimizer, plan, total, extra.get("reference"), forward)
    per_epoch = math.ceil(len(examples) / plan.global_batch_size)
    order_of, order = -1, []
    speed = _Speed(model, plan)
    saved = time.monotonic()
    model.train()
    for step in range(start, total):
        began = time.perf_counter()
        epoch, window = divmod(step, per_epoch)
        if epoch != order_of:
            order_of, order = epoch, epoch_order(len(examples), plan.seed, epoch)
        keys = order[window * plan.global_batch_size : (window + 1) * plan.global_batch_size]
        row, totals = stepper.step(step, keys, [examples[key] for key in keys])
        finite = bool(row.pop("finite"))
        seconds = time.perf_counter() - began

        counters["in_a_row"] = 0 if finite else counters["in_a_row"] + 1
        counters["skipped"] += not finite
        counters["tokens"] += totals.tokens
        counters["label_tokens"] += totals.label_tokens
        counters["loss"] = row[f"{plan.family}/loss"] if finite else counters["loss"]
        counters["seconds"] += seconds
        row = {
            "step": step + 1,
            "steps": total,
            "tokens": counters["tokens"],
            f"{plan.family}/epoch": (step + 1) / per_epoch,
            **row,
            "optim/skipped_nonfinite": counters["skipped"],
            "perf/step_s": seconds,
            "perf/samples_per_sec": len(keys) / seconds,
            **speed(totals, seconds),
            **_memory(model.device),
        }
        if step in (0, total - 1):  # W&B may get no other row than the last
            row[f"{plan.family}/{name}_before"] = guard.state["before"]
        if step + 1 == total:
            after = row[f"{plan.family}/{name}_after"] = cross_entropy(model, scored, plan, forward)
        if first:
            log(row)
        if finite:
            guard.step(step + 1, row)
        if counters["in_a_row"] == MAX_NONFINITE:
            ids = ", ".join(examples[key].id for key in keys)
            raise MemphisError(
                f"{plan.learning_rate}: loss or gradient was not finite in {MAX_NONFINITE} steps in "
                f"a row, up to step {step + 1} with examples {ids}; lower the learning rate or look at these examples"
            )
        kill_point("step")
        if step + 1 < total:
            requested = distributed.gather([should_stop(), time.monotonic() - saved >= checkpoint_every])
            stop, due = (any(wish) for wish in zip(*requested, strict=True))  # a signal may reach one device earlier
            if stop or due:
                save(step + 1)
                saved = time.monotonic()
            if stop:
                raise Stopped(f"{plan.family}: checkpoint written after step {step + 1} of {total}")
    model.eval()
    guard.end(after)
    warnings = guard.warnings()
    return {
        "steps": total,
        "tokens": counters["tokens"],
        "label_tokens": counters["label_tokens"],
        "skipped_nonfinite": counters["skipped"],
        "loss": counters["loss"],
        "seconds": counters["seconds"],
        "update_ratio": guard.state["update_ratio"],
        f"{name}_before": guard.state["before"],
        f"{name}_after": after,
        f"{name}_rows": len(scored),
        **({"warnings": warnings} if warnings else {}),
    }


def hold_out(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Return (examples to train on, about SCORED that are kept out), the latter none if there are fewer than MANY.

    A function of `seed`. Examples of one question (`id`) stay together, as one would give the other away; a question
    with more than SCORED is not kept out.
    """
    out: set[str] = set()
    if len(examples) >= MANY:
        sizes = Counter(example.id for example in examples)
        names = [name for name, size in sizes.items() if size <= SCORED]
        held = 0
        for place in epoch_order(len(names), seed, -1):  # an order of its own: no epoch has this number
            if held >= SCORED:
                break
            out.add(names[place])
            held += sizes[names[place]]
    return [e for e in examples if e.id not in out], [e for e in examples if e.id in out]


def _first_trained(examples: Sequence[Example], plan: TrainPlan, total: int) -> list[Example]:
    """Return the SCORED first examples of the first epoch, or fewer if the run ends before."""
    order = epoch_order(len(examples), plan.seed, 0)
    return [examples[key] for key in order[: min(SCORED, total * plan.global_batch_size)]]


def cross_entropy(
    model: PreTrainedModel, examples: Sequence[Example], plan: TrainPlan, forward: Forward = target_logps
) -> float:
    """Return the mean over target tokens, in nats and without noise, of the sequences whose likelihood is trained."""
    alone = [
        replace(e, sequences=(e.gold if plan.objective.gold and e.gold else e.sequences[0],), gold=None)
        for e in examples
    ]
    # the first token of a sequence has no predictor
    targets = sum(label != IGNORE for e in alone for label in e.sequences[0].labels[1:])
    return -score(model, alone, plan, forward).double().sum().item() / max(1, targets)


@torch.no_grad()
def score(
    model: PreTrainedModel, examples: Sequence[Example], plan: TrainPlan, forward: Forward = target_logps
) -> Tensor:
    """Return summed target log-probabilities of every sequence, [examples, columns] float32 on CPU, without noise.

    Column 0 is the first sequence; 0 where an example has fewer sequences than others. forward: of `distributed.shard`.
    """
    training = model.training
    model.eval()
    columns = max(len(example.sequences) for example in examples)
    result = torch.zeros(len(examples), columns)
    groups = cut(examples, plan.micro_batch_tokens, plan.shared)
    for turn in range(distributed.rank(), len(groups) + distributed.rank(), distributed.size()):
        members = groups[min(turn, len(groups) - 1)]  # collective: a rank with none left repeats the last
        batch = flatten(examples, members).to(model.device)
        with attending(batch.rows):
            logps = forward(model, batch, dtype=_dtype(plan), packing=plan.packing)
        if turn < len(groups):
            result[members] = sums_by_column(logps, batch, columns)[0].cpu()
    model.train(training)
    return distributed.all_reduce(result)


def epoch_order(num_examples: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the examples in an epoch, a function of (seed, epoch)."""
    generator = torch.Generator().manual_seed(_mixed("order", seed, epoch))
    order: list[int] = torch.randperm(num_examples, generator=generator).tolist()
    return order


def make_optimizer(params: list[Parameter], optim: Optim, beta2: float = 0.999) -> torch.optim.Optimizer:
    """Build the optimizer of a plan. Its learning rate is set anew at every step. beta2: of AdamW."""
    if optim.name == "adamw":
        return torch.optim.AdamW(params, lr=optim.lr, betas=(0.9, beta2), weight_decay=optim.decay, fused=True)
    return Adalite(params, optim.lr, optim.eps, optim.decay, optim.beta_decay, variant=optim.variant)


class _Stepper:
    """Optimizer step: gradients of a window, the check that they are finite, the update, the numbers to log."""

    def __init__(
        self,
        model: PreTrainedModel,
        params: list[Parameter],
        optimizer: torch.optim.Optimizer,
        plan: TrainPlan,
        total: int,
        reference: Tensor | None,
        forward: Forward = target_logps,
    ) -> None:
        self.model, self.params, self.optimizer = model, params, optimizer
        self.plan, self.total, self.reference, self.forward = plan, total, reference, forward
        self.probe = _Probe(params)

    def step(self, step: int, keys: list[int], window: Sequence[Example]) -> tuple[dict[str, Any], Totals]:
        """Take a step. keys: number of each of the window's examples in the data set. Returns a row and the totals."""
        plan = self.plan
        lr = plan.optim.lr * SCHEDULES[plan.schedule](step, self.total, plan.warmup_ratio)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(_mixed("step", plan.seed, step))  # for dropout, in models that have any

        began = time.perf_counter()
        # With microbatch_mean the cut is part of the loss, and must not depend on the number of devices.
        how = {"same_cut": plan.reduction == "microbatch_mean", "shared": plan.shared}
        parts = partition(window, plan.micro_batch_tokens, distributed.size(), **how)
        batches = [flatten(window, members) for members in parts[distributed.rank()]]
        totals = Totals.of(batches, plan, distributed.gather)
        idle = max(map(len, parts)) - len(batches)
        if idle:  # FSDP is collective: ranks without a micro-batch run one with zero loss
            batches += idle * [flatten(window, [min(range(len(window)), key=lambda i: num_tokens(window[i]))])]
        data_seconds = time.perf_counter() - began
        metrics = gradients(
            self.model,
            batches,
            plan,
            totals,
            keys=keys,
            step=step,
            reference=self.reference,
            forward=self.forward,
            idle=idle,
        )
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.params if p.grad is not None])
        sums = distributed.all_reduce(torch.stack(list(metrics.values())))
        values = [*sums.tolist(), distributed.full_tensor(norm).item()]
        finite = all(math.isfinite(value) for value in values)
        ratio = moved = 0.0
        if finite:
            before = self.probe.read()
            if plan.rounding == "stochastic":
                rounded_step(self.optimizer, self.params, seed=plan.seed, step=step)
            else:
                self.optimizer.step()
            ratio, moved = self.probe.compare(before)
        self.optimizer.zero_grad()

        row = {f"{plan.family}/{name}": value for name, value in zip(metrics, values, strict=False)}
        row[f"{plan.family}/label_tokens"] = totals.label_tokens
        if plan.objective.comparing:
            row[f"{plan.family}/chosen_len"] = totals.chosen_tokens / totals.examples
            row[f"{plan.family}/rejected_len"] = totals.rejected_tokens / max(1, totals.rejected)
        row |= {"optim/lr": lr, "optim/grad_norm": values[-1]}
        row |= {"optim/update_ratio": ratio, "optim/moved_frac": moved, "perf/data_s": data_seconds}
        return {**row, "finite": finite}, totals


def gradients(
    model: PreTrainedModel,
    batches: Sequence[FlatBatch],
    plan: TrainPlan,
    totals: Totals,
    *,
    keys: Sequence[int],
    step: int = 0,
    reference: Tensor | None = None,
    forward: Forward = target_logps,
    idle: int = 0,
) -> dict[str, Tensor]:
    """Add the gradients of a window's loss to the parameters; returns its metrics as 0-d tensors on the device.

    batches: the window, or this device's part of it; the last `idle` of them only keep FSDP in step and get zero loss.
    keys: number of each example of the window, which selects its noise and its row of `reference`.
    """
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        names = [keys[member] for member in batch.members]
        batch = batch.to(model.device)
        noise = None
        if plan.neftune.alpha:
            width = model.get_input_embeddings().weight.shape[1]
            noise = embedding_noise(batch, names, plan, width=width, step=step, window_longest=totals.longest)
        compared_with = None if reference is None else reference[names].to(model.device)
        with attending(batch.rows):
            greedy = torch.zeros_like(batch.targets, dtype=torch.bool)
            logps = forward(model, batch, dtype=_dtype(plan), packing=plan.packing, noise=noise, greedy=greedy)
            loss, metrics = objective(logps, batch, plan, totals, compared_with, greedy)
            if number >= len(batches) - idle:
                loss, metrics = 0 * loss, {name: 0 * value for name, value in metrics.items()}
            loss.backward()
        for name, value in metrics.items():
            sums[name] = sums[name] + value if name in sums else value
    return sums


class _Probe:
    """Estimate of how far a step moves the weights, from at most _SAMPLE evenly spread elements of every tensor.

    They are the same elements on any number of devices, each of which looks at those that it holds.
    """

    def __init__(self, params: list[Parameter]) -> None:
        self.views, share = [], []
        for p in params:
            # An odd stride does not fall on one column of a weight whose width is a power of two.
            stride = max(1, p.numel() // _SAMPLE) | 1
            part, offset = distributed.local(p.detach())
            self.views.append(part[-offset % stride :: stride])
            share.append(torch.full((len(self.views[-1]),), p.numel() / -(-p.numel() // stride)))
        self.weights = torch.cat(share).to(params[0].device)

    def read(self) -> Tensor:
        return torch.cat(self.views).float()

    def compare(self, before: Tensor) -> tuple[float, float]:
        """Return (norm of the update / norm of the weights, share of weights that changed)."""
        after = self.read()
        weights = self.weights
        parts = [(after - before).square() @ weights, before.square() @ weights, (after != before).float() @ weights]
        change, norm, moved, total = distributed.all_reduce(torch.stack([*parts, weights.sum()]))
        return (change / norm.clamp(min=1e-30)).sqrt().item(), (moved / total).item()


class _Speed:
    """Tokens per second, and the share of the GPUs' peak that they are (MFU); None where no peak is known."""

    def __init__(self, model: PreTrainedModel, plan: TrainPlan) -> None:
        self.devices = distributed.size()
        self.shape = from_config(model.config.to_dict())
        on_gpu = model.device.type == "cuda" and plan.dtype == "bfloat16"  # the peaks known are bfloat16's
        self.peak = peak_flops(torch.cuda.get_device_name(model.device)) if on_gpu else None

    def __call__(self, totals: Totals, seconds: float) -> dict[str, float | None]:
        each = totals.tokens / seconds / self.devices
        mfu = None
        if self.peak is not None and self.shape is not None:
            length = totals.tokens / (totals.examples + totals.rejected)
            mfu = each * self.shape.model_flops(length) / self.peak
        return {
            "perf/tokens_per_sec": each * self.devices,
            "perf/tokens_per_sec_per_device": each,
            "perf/mfu": mfu,
        }


def _mixed(what: str, seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{what}/{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _dtype(plan: TrainPlan) -> torch.dtype:
    return torch.bfloat16 if plan.dtype == "bfloat16" else torch.float32


def _memory(device: torch.device) -> Mapping[str, float]:
    memory = {"perf/rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if device.type == "cuda":
        memory["perf/mem_alloc_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        memory["perf/mem_reserved_gib"] = torch.cuda.max_memory_reserved(device) / 2**30
        torch.cuda.reset_peak_memory_stats(device)
    return memory
