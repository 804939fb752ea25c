"""Checks across keys: combinations that make no sense, each with what to type instead, and knobs that nothing reads."""

from collections.abc import Sequence
from typing import Any

from memphis.config.sections import Config, Data, Source, TinyTask
from memphis.dotted import lookup
from memphis.losses import ALONE, KNOBS, LOSSES

# Knobs that nothing reads under a given choice: (key, value) -> beginnings of keys that must not be typed with it.
_IGNORED: dict[tuple[str, str | int], tuple[str, ...]] = {
    ("pairs.answer.mode", "exact"): ("pairs.answer.types", "pairs.answer.symbolic", "pairs.answer.fallback"),
    ("pairs.answer.mode", "numeric"): ("pairs.answer.types", "pairs.answer.symbolic"),
    ("rank.examples", "human"): ("pairs.check",),
    **{
        (f"{section}.neftune.{knob}", value): tuple(f"{section}.neftune.{idle}" for idle in idles)
        for section in ("sft", "rank")
        for knob, value, idles in (
            ("alpha", 0, ("variant", "length")),
            ("variant", "hf", ("length",)),
            ("variant", "paper", ("length",)),
        )
    },
    ("generate.temperature", 0): ("generate.top_p",),
    ("slerp.method", "none"): ("slerp.t", "slerp.scope", "slerp.dot_threshold"),
    ("slerp.method", "lerp"): ("slerp.dot_threshold",),
    ("sft.from", "base"): ("sft.epochs", "sft.optim.", "sft.neftune.", "sft.mixce", "sft.global_batch_size"),
    ("sft.optim.name", "adamw"): ("sft.optim.variant", "sft.optim.eps", "sft.optim.beta_decay"),
    ("rank.optim.name", "adamw"): ("rank.optim.variant", "rank.optim.eps", "rank.optim.beta_decay"),
}


def ignored(plain: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return a line for every knob in `overrides` (as typed) that the chosen method does not read."""
    typed = [item.lstrip("+").split("=")[0] for item in overrides]
    loss = lookup(plain, "rank.loss")
    foreign = sorted(set().union(*KNOBS.values()) - KNOBS[loss])
    of_loss = {("rank.loss", loss): (*(f"rank.{knob}" for knob in foreign), *LOSSES[loss].ignores)}
    return [
        f"{key}: has no effect with {choice}={value}; leave it out or choose another {choice}"
        for (choice, value), keys in (_IGNORED | of_loss).items()
        if lookup(plain, choice) == value
        for key in typed
        if key != choice and key.startswith(keys)
    ]


NOT_NAMES = ("store", "logs", "wandb", "grids", "comparisons", "multirun")  # directories of the root, or of tools in it


def contradictions(config: Config) -> list[str]:
    """Return a line for every contradictory combination of keys."""
    faults = []
    if config.name in NOT_NAMES:
        faults.append(f"name={config.name}: <runtime.root>/{config.name} is not for runs; choose another name")
    if not config.data.sources:
        faults.append("data.sources={}: at least one source is needed; data=tiny, data=memphis or data=local")
    if config.model.path is None and config.model.base is None:
        faults.append("model.path=None: a model is needed; model.path=<hub id or directory>, or model=tiny")
    if config.model.path is not None and config.model.base is not None:
        faults.append(
            f"model.path={config.model.path!r}: model.base describes a model to build; use model=hf model.path=…"
        )
    if not any(isinstance(source, TinyTask) for source in config.data.sources.values()):
        for suite in {"tiny", "dev"} & set(config.eval.suites):
            cure = "use eval=card, eval=current or eval=none"
            faults.append(f"eval.suites: suite {suite!r} asks the questions of data=tiny; {cure}")
    rows = [source for source in config.data.sources.values() if isinstance(source, Source)]
    if "heldout" in config.eval.suites and all(source.heldout is None for source in rows):
        cure = "set data.sources.X.heldout to a share, a file or a split"
        faults.append(f"eval.suites: suite 'heldout' asks held-out rows, and no source has any; {cure}")
    if config.eval.shots and "heldout" not in config.eval.suites:
        faults.append(f"eval.shots={config.eval.shots}: is of suite 'heldout'; leave it out, or use eval=heldout")
    between, limit = config.eval.limit_between, config.eval.limit
    if between is not None and limit is not None and between > limit:
        faults.append(f"eval.limit_between={between}: more than eval.limit={limit}; lower it, or leave eval.limit out")
    faults += _repeats(config)
    if config.model.revision is not None and config.model.path is None:
        faults.append(f"model.revision={config.model.revision!r}: of no model; set model.path, or leave it out")
    faults += _teaching_faults(config)
    base = config.model.base
    if base is not None:
        if base.hidden % base.heads:
            faults.append(f"model.base.hidden={base.hidden}: not a multiple of model.base.heads={base.heads}")
        elif base.hidden // base.heads % 2:
            cure = f"use hidden={base.hidden * 2}, or other heads"
            faults.append(
                f"model.base.hidden={base.hidden}: rotary positions need an even width of a head, and with "
                f"model.base.heads={base.heads} it is {base.hidden // base.heads}; {cure}"
            )
        lengths = {"sft.max_length": config.sft.max_length, "rank.max_length": config.rank.max_length}
        for key, length in (lengths | {"generate.max_new_tokens": config.generate.max_new_tokens}).items():
            if length > base.max_positions:
                faults.append(f"{key}={length}: longer than model.base.max_positions={base.max_positions}; lower it")
    faults += _source_faults(config.data)
    for key, optim in (("sft", config.sft.optim), ("rank", config.rank.optim)):
        if optim.lr == "auto" and optim.name != "adalite":
            cure = f"type {key}.optim.lr=…, or {key}.optim.name=adalite"
            faults.append(f"{key}.optim.lr=auto: follows from the size of Adalite's steps; {cure}")
    if config.runtime.num_devices > 1 and config.model.master_dtype == "bfloat16_stochastic":
        faults.append(
            f"runtime.num_devices={config.runtime.num_devices}: model.master_dtype=bfloat16_stochastic needs whole "
            "tensors; use bfloat16 or float32, or num_devices=1"
        )
    return faults


def _repeats(config: Config) -> list[str]:
    """Return a line for every list that has an entry twice, where the second one adds nothing."""
    lists: dict[str, tuple[str, Sequence[Any]]] = {
        "eval.suites": ("suite", config.eval.suites),
        "eval.tasks": ("task", config.eval.tasks),
        "eval.seeds": ("seed", config.eval.seeds),
        "tracking.tags": ("tag", config.tracking.tags),
        "pairs.answer.types": ("regular expression", [pattern for pattern, _ in config.pairs.answer.types]),
    }
    for name, source in config.data.sources.items():
        if isinstance(source, Source):
            for role, columns in source.columns.items():
                lists[f"data.sources.{name}.columns.{role}"] = ("column", columns)
            lists[f"data.sources.{name}.origins"] = ("regular expression", source.origins or [])
    return [
        f"{key}={list(values)}: the same {what} twice{' adds nothing' if what == 'seed' else ''}; name each once"
        for key, (what, values) in lists.items()
        if len(set(values)) < len(values)
    ]


def _teaching_faults(config: Config) -> list[str]:
    faults = []
    loss, examples, sources = config.rank.objective, config.rank.examples, config.data.sources
    teaching = bool(loss.terms) and config.iterations > 0
    if examples not in loss.examples:
        does = "compares" if loss.comparing else "compares nothing"
        other = ", or loss=ce" if examples in ALONE else ""
        faults.append(f"rank.examples={examples!r}: loss {loss.loss!r} {does}; rank.examples={loss.examples[0]}{other}")
    if teaching and examples == "pairs":
        if config.generate.num_samples < 2:
            faults.append("generate.num_samples=1: one sample cannot be both right and wrong; use at least 2")
        if config.generate.temperature == 0:
            faults.append("generate.temperature=0: greedy samples are all alike, so no pair can be made; try 0.5")
    if config.sft.continued and not teaching:
        faults.append("sft.continued=true: goes on for as long as self-teaching would; use iterations=1 or more")
    if config.sft.continued and config.sft.skipped:
        faults.append("sft.continued=true: there is no supervised stage to continue; leave sft.from=base out")
    asking = [source for source in sources.values() if isinstance(source, TinyTask) or source.questions]
    if sources and not asking and teaching:
        faults.append("data.sources: none has questions to teach itself on; set questions=true, or method=sft_only")
    for name, source in sources.items():
        if isinstance(source, TinyTask) and loss.gold and source.questions > source.train:
            faults.append(
                f"rank.ce_target=gold: data.sources.{name}.questions={source.questions} exceeds "
                f"data.sources.{name}.train={source.train}, and only the latter have rationales"
            )
    return faults


def _source_faults(data: Data) -> list[str]:
    faults = []
    sources = {name: source for name, source in data.sources.items() if isinstance(source, Source)}
    if data.path is not None and data.path not in [source.path for source in sources.values()]:
        faults.append(f"data.path={data.path!r}: no source refers to it; use data=local")
    for name, source in sources.items():
        key = f"data.sources.{name}"
        if source.human == "mixed" and not source.note:
            faults.append(f"{key}.human=mixed: say why in {key}.note")
        if source.questions and source.kind != "cot":
            faults.append(f"{key}.questions=true: kind {source.kind!r} has no answers to compare with; use false")
        if source.heldout is not None and source.kind != "cot":
            faults.append(f"{key}.heldout: kind {source.kind!r} has no answers to compare with; leave it out")
        if source.heldout == "" or (isinstance(source.heldout, float) and not 0 < source.heldout < 1):
            faults.append(f"{key}.heldout={source.heldout!r}: a share between 0 and 1, a file, a split, or null")
        if source.heldout == source.split:
            faults.append(f"{key}.heldout={source.heldout!r}: the split that is trained on; name another, or a share")
        if source.title_exclude is not None and source.kind != "instruct":
            faults.append(f"{key}.title_exclude: kind {source.kind!r} has no titles; leave it out")
    return faults
