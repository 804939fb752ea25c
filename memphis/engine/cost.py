"""Estimates of what building a run takes: rows, tokens, optimizer steps, hours, memory, downloads.

Read from finished stages, else estimated from published counts and marked so. Needs no hub, no torch, no data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from memphis import memory
from memphis.config import Config, Model, Source, TinyTask
from memphis.config.sections import Rank, Sft
from memphis.devices import GPUS, cores, gpus
from memphis.engine.checkpoint import (
    built_shape,
    cached,
    checkpoint_of,
    context_of,
    parameters_of,
    read_shape,
    shape_of,
)
from memphis.engine.preview import NOTHING, Preview
from memphis.errors import MemphisError
from memphis.formatting import size_text
from memphis.jsonl import read_rows
from memphis.losses import ALONE
from memphis.paths import expanded
from memphis.pipeline import BUDGET, KINDS, is_base, trains
from memphis.shape import Shape
from memphis.store import Stage, Store, read_json
from memphis.training.step_size import card_peak, refuse_large, step_size
from memphis.training.train_plan import MANY, SCORED

# Hub id -> (bytes to fetch, mean tokens of a row with the GPT-NeoX tokenizer); sources: docs/recipe.md.
KNOWN = {
    "euclaise/TinyCoT": (12_165_121, 123),
    "euclaise/SciCoT": (4_559_510, 160),
    "euclaise/reddit-instruct": (129_551_243, 350),
    "sablo/oasst2_curated": (9_493_288, 446),
}
TINY_ROW, TINY_TEXT = 67, 61  # tokens of a word problem with its rationale, and of a text for the base model
BENCHMARKS = 16 << 20  # bytes of GSM8K, AGIEval and BBH
COMPLETION, PAIR = 0.65, 1.55  # of a row's tokens: a sampled answer; a prompt with two answers
# Suite -> tokens of its longest prompt and answer. BBH has prompts of 7,800 characters, four to a token, and answers of
# 1,024 tokens; tiny_cot three examples.
CONTEXTS = {"tiny": 4 * TINY_ROW + 96, "dev": TINY_ROW + 96, "card": 3000, "current": 3000}
TASK_ITEMS = 290  # mean number of items of a task of card or current
PAIRS_A_QUESTION = 1.6  # pairs.mode=zip, 8 samples: a guess; other modes are bounded by the number of samples
MFU = 0.4  # share of a GPU's peak that training reaches
SAMPLED = 30_000  # tokens a second of vLLM for 2.8 B weights on an H200; scales with bandwidth / weights
CPU_TRAINING, CPU_SAMPLING = 30e9, 12e9  # FLOP/s of a core, as the laptop run reaches them


@dataclass(frozen=True)
class Estimate:
    rows: float | None = None
    tokens: float | None = None
    steps: int | None = None
    hours: float | None = None
    known: bool = False  # rows, tokens and steps are those of a finished stage


class Costs:
    """Estimates for the stages of one run. needed: those that are built now. found: counts of local rows."""

    def __init__(
        self, cfg: Config, stages: Sequence[Stage], needed: Sequence[Stage], store: Store, found: Preview = NOTHING
    ) -> None:
        self.cfg, self.stages, self.needed, self.store, self.local = cfg, stages, needed, store, found.rows
        self.shape = shape_of(cfg, stages, store)
        self.parameters = parameters_of(cfg, stages, store)
        self.found = gpus(cfg.runtime.device)

    @cached_property
    def gpu(self) -> tuple[str, float, float] | None:
        """Name, FLOP/s and bytes/s of the GPU that is used or, with runtime.device=cuda and none visible, assumed."""
        if not self.found and self.cfg.runtime.device != "cuda":
            return None
        seen = self.found[0].name if self.found else ""
        name = next((name for name in GPUS if name in seen), list(GPUS)[-1])  # the last one where none is visible
        return name, *GPUS[name]

    @cached_property
    def _sources(self) -> dict[str, tuple[float, float] | None]:
        """Rows and tokens per row of every source; None where nothing is known."""
        data = next((stage for stage in self.stages if KINDS[stage.kind].leaves == "rows"), None)
        path = self.store.path(data) if data is not None and self._summary(data) is not None else None
        counts = read_json(path / "counts.json") if path else {}
        found: dict[str, tuple[float, float] | None] = {}
        for name, source in self.cfg.data.sources.items():
            if isinstance(source, TinyTask):
                found[name] = (source.train, TINY_ROW)
                continue
            if name in self.local:
                local = self.local[name]
                found[name] = (local.rows, local.tokens / local.examples if local.examples else 0)
                continue
            limit = source.limit * len(source.origins or [""]) if source.limit else source.expect_rows
            rows = counts[name]["kept"] if name in counts else limit
            length = KNOWN[source.path][1] if source.path in KNOWN else self._measured(path, name) if path else None
            found[name] = None if rows is None or length is None else (rows, length)
        return found

    def _measured(self, path: Path, name: str) -> float | None:
        """Estimate the tokens per row, taking four characters for one token."""
        rows = [row for row in read_rows(path / "sft.jsonl") if str(row["id"]).startswith(f"{name}/")]
        return sum(_characters(row) for row in rows) / len(rows) / 4 if rows else None

    @cached_property
    def _questions(self) -> tuple[float, float, float] | None:
        """Number of questions, mean tokens of such a row and mean tokens of a sampled answer; None if unknown."""
        total = tokens = 0.0
        for name, source in self.cfg.data.sources.items():
            known = self._sources[name]
            if isinstance(source, TinyTask):
                total, tokens = total + source.questions, tokens + source.questions * TINY_ROW
            elif source.questions:
                if known is None:
                    return None
                asked = source.asked or known[0]
                total, tokens = total + asked, tokens + asked * known[1]
        if not total:
            return None
        return total, tokens / total, min(COMPLETION * tokens / total, self.cfg.generate.max_new_tokens)

    def _summary(self, stage: Stage) -> dict[str, Any] | None:
        if self.store.fault(self.store.path(stage)) is not None:
            return None
        summary = self.store.record(self.store.path(stage))["summary"]
        assert isinstance(summary, dict)
        return summary

    def of(self, stage: Stage) -> Estimate:
        """Estimate what `stage` takes; hours only if it is built now."""
        estimate = self._amount(stage)
        if stage not in self.needed or self.parameters is None:
            return estimate
        seconds = self._seconds(stage, estimate)
        return estimate if seconds is None else replace(estimate, hours=seconds / 3600)

    def _amount(self, stage: Stage) -> Estimate:
        summary, leaves = self._summary(stage), KINDS[stage.kind].leaves
        if summary is not None:
            rows = summary.get("rows", summary.get("pairs", summary.get("samples")))
            rows = summary["examples"]["kept"] if "examples" in summary else rows
            return Estimate(rows, summary.get("tokens"), summary.get("steps"), known=True)
        if leaves == "rows":
            return Estimate(self._taught[0], known=self.local.keys() == self.cfg.data.sources.keys())
        if trains(stage.kind, stage.config):
            return self._trained(stage)
        if leaves == "judged":
            return Estimate(self._paired[0])
        if leaves == "samples" and self._questions is not None:
            questions, _, answer = self._questions
            samples = questions * self.cfg.generate.num_samples
            return Estimate(samples, samples * answer)
        return Estimate()

    def _trained(self, stage: Stage) -> Estimate:
        """Estimate training: on pairs if it reads some, else on all rows; on generated text if it has no section."""
        choose, base = KINDS[stage.kind].knobs, self.cfg.model.base
        if choose is None:
            assert base is not None
            return Estimate(base.texts, base.steps * base.batch_size * TINY_TEXT, base.steps)
        paired = any(KINDS[source.kind].leaves == "judged" for source in stage.inputs.values())
        knobs, (rows, tokens) = choose(self.cfg), self._paired if paired else self._taught
        if cycles := [self._amount(source) for role, source in stage.inputs.items() if role.startswith(BUDGET)]:
            if any(cycle.steps is None for cycle in cycles):
                return Estimate(rows)
            return Estimate(rows, sum(c.tokens or 0 for c in cycles), sum(c.steps or 0 for c in cycles))
        if rows is None:
            return Estimate()
        counted = False
        if not paired:
            rows -= sum(local.rows - local.examples for local in self.local.values())
            tokens -= sum((one.rows - one.examples) * one.tokens / (one.examples or 1) for one in self.local.values())
            counted = self.local.keys() == self._sources.keys() and all(one.exact for one in self.local.values())
        trained = rows - SCORED if rows >= MANY else rows
        steps = knobs.epochs * math.ceil(trained / knobs.global_batch_size)
        return Estimate(rows, knobs.epochs * tokens * trained / (rows or 1), steps, known=counted)

    @property
    def _taught(self) -> tuple[float | None, float]:
        """Number of rows of the sources, None if not known of all; and the tokens of the known ones."""
        known = [source for source in self._sources.values() if source is not None]
        rows = sum(rows for rows, _ in known) if len(known) == len(self._sources) else None
        return rows, sum(rows * length for rows, length in known)

    @property
    def _paired(self) -> tuple[float | None, float]:
        """Number of pairs that a cycle makes, and their tokens."""
        if self._questions is None:
            return None, 0.0
        questions, length, answer = self._questions
        pairs = questions * self._pairs_a_question
        return pairs, pairs * (PAIR * length + (self._rejected(self.cfg.rank) - 1) * answer)

    def _rejected(self, knobs: Sft | Rank) -> int:
        """Return the largest possible number of rejected samples of an example."""
        if not knobs.objective.comparing:
            return 0
        return max(1, self.cfg.generate.num_samples - 1) if self.cfg.pairs.mode == "group" else 1

    @property
    def _pairs_a_question(self) -> float:
        samples, mode, examples = self.cfg.generate.num_samples, self.cfg.pairs.mode, self.cfg.rank.examples
        if examples in ALONE:
            return samples
        if mode == "product":
            return samples if examples == "human" else samples**2 / 4
        if mode == "zip" and examples != "human":
            return min(PAIRS_A_QUESTION, samples / 2)
        return 1

    def _seconds(self, stage: Stage, estimate: Estimate) -> float | None:
        assert self.parameters is not None
        kind = KINDS[stage.kind]
        if kind.leaves == "scores":
            large = [suite for suite in self.cfg.eval.suites if suite in ("card", "current")]
            if not large:
                return 20.0
            items = min(1.0, self.cfg.eval.limit / TASK_ITEMS) if self.cfg.eval.limit else 1.0
            if self.gpu is None:
                sampled = 360 * len(large) * SAMPLED * items
                return sampled * 2 * self.parameters / (CPU_SAMPLING * self.threads)
            return 360 * len(large) * self.parameters / 2.8e9 * items
        if kind.merges:
            return 90.0 * self.parameters / 2.8e9
        if estimate.tokens is None:
            return None
        if kind.leaves == "samples":
            if self.gpu is None:
                return estimate.tokens * 2 * self.parameters / (CPU_SAMPLING * self.threads)
            speed = SAMPLED * 2.8e9 / self.parameters * self.gpu[2] / GPUS["H200"][1]
            return estimate.tokens / (speed * self.cfg.runtime.num_devices)
        need = self.memory().get(stage.kind)  # None for a model made here: nothing is frozen or recomputed
        frozen, again = (self.cfg.model.freeze_embeddings, need.recomputed) if need else ("none", 0)
        flops = 6.0 * self.parameters
        if self.shape is not None:
            flops = self.shape.training_flops(frozen, length=190, targets=0.6, recomputed=again)
        if self.gpu is None:
            return estimate.tokens * flops / (CPU_TRAINING * self.threads)
        return estimate.tokens * flops / (MFU * self.gpu[1] * self.cfg.runtime.num_devices)

    @property
    def threads(self) -> int:
        """Cores that the run uses."""
        return min(cores(), self.cfg.runtime.threads or cores())

    @property
    def room(self) -> float | None:
        """Bytes for training on the smallest GPU; None where none is visible."""
        return min(gpu.memory for gpu in self.found) - memory.RESERVE if self.found else None

    @property
    def _sections(self) -> dict[str, Sft | Rank]:
        """Sections of the trained kinds that are built now, by kind."""
        built = {stage.kind for stage in self.needed}
        return {kind: row.knobs(self.cfg) for kind, row in KINDS.items() if row.knobs and kind in built}

    def memory(self, model: Model | None = None) -> dict[str, memory.Memory]:
        """Return kind -> need of one device, for the trained kinds that are built now; {} if the shape is unknown.

        model: in place of the run's section `model`.
        """
        if self.shape is None:
            return {}
        model = model or self.cfg.model
        return {
            kind: memory.of_stage(self.shape, model, knobs, self.cfg.runtime, self._rejected(knobs), self.room)
            for kind, knobs in self._sections.items()
        }

    def check_memory(self) -> None:
        """Refuse what does not fit the GPUs found here. Raises MemphisError with the numbers and what would fit."""
        room = self.room
        if room is None or self.shape is None:
            return
        card = min(self.found, key=lambda gpu: gpu.memory)
        for kind, need in self.memory().items():
            if need.total <= room:
                continue
            knobs = self._sections[kind]
            rejected = self._rejected(knobs)
            others = memory.alternatives(self.cfg.model, knobs, self.cfg.runtime)
            if len(self.found) > self.cfg.runtime.num_devices:
                all_of_them = replace(self.cfg.runtime, num_devices=len(self.found))
                on_all = [([], self.cfg.model, all_of_them), *memory.alternatives(self.cfg.model, knobs, all_of_them)]
                number = f"runtime.num_devices={len(self.found)}"
                others = [*(([number, *typed], model, runtime) for typed, model, runtime in on_all), *others]
            ways = [
                (typed, memory.of_stage(self.shape, model, knobs, runtime, rejected, room).total)
                for typed, model, runtime in others
            ]
            fitting = [f"{' '.join(typed)} ({size_text(total)})" for typed, total in ways if total <= room]
            cure = "would fit: " + ", or ".join(fitting[:2]) if fitting else "nothing here would fit: a larger card"
            raise MemphisError(
                f"runtime.device={self.cfg.runtime.device}: stage {kind} needs {parts(need)} and {card.name} has "
                f"{size_text(card.memory)}, of which {size_text(memory.RESERVE)} are the library's; {cure}"
            )

    def check_steps(self) -> None:
        """Refuse steps that destroy a pretrained model, as far as its weights are known. Raises MemphisError."""
        for stage, knobs in self._stepping(self.needed):
            if not knobs.optim.allow_large_steps:
                refuse_large(stage.kind, knobs, self._amount(stage).steps, self.parameters or self.cfg.model.parameters)

    def step_lines(self) -> list[str]:
        """Return a line on learning rate and largest step of every trained stage; of equal ones together."""
        names: dict[str, list[str]] = {}
        for stage, knobs in self._stepping(self.stages):
            amount = self._amount(stage)
            if amount.steps:
                about = "" if amount.known else "estimated: "
                text = f"{about}{step_size(knobs, amount.steps)}"
            elif knobs.optim.lr == "auto":
                text = f"lr follows from the number of steps, not known yet; peak relative step {card_peak():.1e}"
            else:
                text = f"lr {knobs.optim.lr:.3g}; peak relative step not known before the number of steps"
            names.setdefault(text, []).append(stage.name)
        return [f"steps of {' '.join(stages)}: {text}" for text, stages in names.items()]

    def _stepping(self, stages: Sequence[Stage]) -> list[tuple[Stage, Sft | Rank]]:
        """Return those that make optimizer steps by the settings of a section, with these."""
        found = [(stage, KINDS[stage.kind].knobs) for stage in stages]
        return [(stage, knobs(self.cfg)) for stage, knobs in found if knobs]

    def downloads(self) -> list[tuple[str, int | None]]:
        """Return what the stages to build will fetch from the hub: (what, bytes; None = unknown)."""
        left = {KINDS[stage.kind].leaves for stage in self.needed}
        found: list[tuple[str, int | None]] = []
        model = self.cfg.model
        if any(map(is_base, self.needed)) and model.path and _missing(model.path, "models"):
            weights = model.parameters or (self.shape.weights if self.shape else None)
            found.append((model.path, 2 * weights if weights else None))
        if "rows" in left:
            for source in self.cfg.data.sources.values():
                if isinstance(source, Source) and _missing(source.path, "datasets"):
                    found.append((source.path, KNOWN[source.path][0] if source.path in KNOWN else None))
        if "scores" in left and self.cfg.eval.data_dir is None and {"card", "current"} & set(self.cfg.eval.suites):
            found.append(("the benchmarks, unless cached", BENCHMARKS))
        if "scores" in left and self.cfg.eval.tasks:
            found.append((f"data of {', '.join(self.cfg.eval.tasks)}, unless cached", None))
        return found

    def lines(self) -> list[str]:
        """Return the lines of `plan=true` that list amounts."""
        text = [f"{'stage':15}{'rows':>12}{'tokens':>12}{'steps':>9}{'hours':>8}   (~ estimated, not from data here)"]
        hours = 0.0
        for stage in self.stages:
            one = self.of(stage)
            mark = "" if one.known else "~"
            cells = [_number(value, mark) for value in (one.rows, one.tokens, one.steps)]
            hours += one.hours or 0
            spent = "" if one.hours is None else f"~{one.hours:.2f}"
            text.append(f"{stage.name:15}{cells[0]:>12}{cells[1]:>12}{cells[2]:>9}{spent:>8}".rstrip())
        text += self.step_lines()
        text += self._contexts()
        text.append(f"time: about {hours:.1f} h of what could be estimated; assumed: {self._assumed()}")
        least = self.memory(replace(self.cfg.model, checkpointing=True))
        unknown = self.cfg.model.checkpointing == "auto" and self.cfg.runtime.device == "cuda" and not self.found
        for kind, need in self.memory().items():
            range_ = f"; or, with all layers recomputed, {size_text(least[kind].total)}" if unknown else ""
            text.append(f"memory of a device in {kind}: {parts(need)}{range_}")
        if self.memory() and not self.found:
            text.append("memory of this machine's GPUs: none visible, so nothing is refused")
        elif self.shape is None:
            here = checkpoint_of(self.cfg, self.stages, self.store) is not None
            why = ", config.json names no dimensions known here" if here else " until the model's config.json is here"
            text.append(f"memory: unknown{why}")
        fetched = [f"{what} {size_text(size) if size else 'of unknown size'}" for what, size in self.downloads()]
        text.append(f"download: {', '.join(fetched) or 'none'}")
        return text

    def _contexts(self) -> list[str]:
        """Return a line for each thing that the stages to build do which does not fit the model's context."""
        place = checkpoint_of(self.cfg, self.stages, self.store)
        context = context_of(place) if place and self.cfg.model.base is None else None
        if context is None:
            return []
        built = {KINDS[stage.kind].leaves for stage in self.needed}
        asked, longest = self.cfg.generate.max_new_tokens, max((r.longest or 0 for r in self.local.values()), default=0)
        prompt = max((r.longest_prompt or 0 for r in self.local.values()), default=0)
        short = []
        for suite in self.cfg.eval.suites if "scores" in built else ():
            if CONTEXTS.get(suite, 0) > context:
                refused = "; it is refused, or eval.allow_truncated=true" if suite in ("card", "current") else ""
                short.append(f"suite {suite} needs about {CONTEXTS[suite]:,}{refused}")
        if "samples" in built and prompt + asked > context:
            what = f"a question of {prompt:,} and generate.max_new_tokens={asked}" if prompt else ""
            short.append(f"{what or f'generate.max_new_tokens={asked}'} do not fit: answers are cut")
        taught = any(isinstance(knobs, Sft) for knobs in self._sections.values())
        if taught and self.cfg.sft.max_length > context:
            counted = {name for name, rows in self.local.items() if rows.longest is not None}
            read = {name for name, source in self.cfg.data.sources.items() if isinstance(source, Source)}
            if longest > context or read - counted:
                what = f"a row of stage sft has {longest:,}" if longest > context else "rows of stage sft may have more"
                short.append(f"{what}: lower sft.max_length={self.cfg.sft.max_length}")
        return [f"context: the model has {context:,} tokens; {one}" for one in short]

    def _assumed(self) -> str:
        if self.gpu is None:
            number = "one core" if self.threads == 1 else f"{self.threads} cores"
            rates = f"{CPU_TRAINING / 1e9:.0f} and samples {CPU_SAMPLING / 1e9:.0f} GFLOP/s"
            return f"no GPU; {number} here, of which each trains {rates}, as in the laptop run (not measured here)"
        seen = "" if self.found else " (none is visible here)"
        weights = (
            "" if self.parameters is None else f", {SAMPLED * 2.8e9 * self.gpu[2] / 4.8e12 / self.parameters:,.0f}"
        )
        return (
            f"one {self.gpu[0]}{seen}, {MFU:.0%} of {self.gpu[1] / 1e12:.0f} TFLOP/s{weights} sampled tokens a second"
        )


def check_architecture(cfg: Config, stages: Sequence[Stage], store: Store) -> None:
    """Refuse `sft.from` of a model that is not the run's base model. Raises MemphisError with both shapes."""
    place = expanded(cfg.sft.from_ or "")
    if cfg.sft.from_ is None or cfg.sft.skipped or not place.is_dir():
        return
    mine, theirs = shape_of(cfg, stages, store), read_shape(place)
    if mine is None or theirs is None:
        return
    if differing := _differing(mine, theirs):
        shown = ", ".join(f"{name} {getattr(theirs, name)} (base model: {getattr(mine, name)})" for name in differing)
        raise MemphisError(
            f"sft.from={cfg.sft.from_!r}: a checkpoint of another architecture: {shown}; "
            "add model=hf, which makes it its own base model, or leave sft.from out"
        )


def start_of(cfg: Config, overrides: Sequence[str]) -> Config:
    """Return the config with the checkpoint in directory `sft.from` as the model to start from, where the built model
    has another architecture and no other was typed: `sft.from=X` alone is enough for any model."""
    place, base = expanded(cfg.sft.from_ or ""), cfg.model.base
    typed = any(item.lstrip("+~").startswith(("model=", "model.")) for item in overrides)
    if typed or base is None or cfg.sft.skipped or cfg.sft.from_ is None or not (place / "config.json").is_file():
        return cfg
    theirs = read_shape(place)
    if theirs is not None and not _differing(built_shape(base), theirs):
        return cfg
    return replace(cfg, model=replace(cfg.model, base=None, path=cfg.sft.from_))


def _differing(mine: Shape, theirs: Shape) -> list[str]:
    names = ("hidden", "layers", "heads", "kv_heads", "intermediate")
    return [name for name in names if getattr(mine, name) != getattr(theirs, name)]


def parts(need: memory.Memory) -> str:
    names = ("weights", "gradients", "optimizer", "activations")
    shown = " + ".join(f"{name} {size_text(getattr(need, name))}" for name in names)
    again = f"; {need.recomputed} layers recomputed" if need.recomputed else ""
    return f"{size_text(need.total)} ({shown}{again})"


def _number(value: float | None, mark: str) -> str:
    if value is None:
        return ""
    return f"{mark}{value / 1e6:,.1f} M" if value >= 1e6 else f"{mark}{value:,.0f}"


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_characters, items))


def _missing(path: str, kind: str) -> bool:
    """True if `path` is neither a local file or directory nor cached from the hub. kind: `models` or `datasets`."""
    return not expanded(path).exists() and not any((cached(path, kind) / "snapshots").glob("*"))
