"""Every configuration key: its type, its range, what it means. Hydra ends here: `from_hydra` turns what Hydra composed
into one frozen `Config`, refusing unknown keys (also after `+`), wrong types, values out of range and combinations that
make no sense, all at once. It deliberately knows nothing of stages, files or devices.
"""

import json
import shlex
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from memphis.errors import MemphisError
from memphis.privacy import masked
from memphis.shape import Shape

_RULES = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Rate = Annotated[float, Field(gt=0.0)]
Length = Annotated[int, Field(gt=1)]


@dataclass(config=_RULES, frozen=True, kw_only=True)
class TinyBase:
    """The laptop's base model: a StableLM of these dimensions, pre-trained on generated plain text."""

    seed: Count  # of weights, corpus and order; `${seed}` gives each run its own base model
    hidden: Positive
    layers: Positive
    heads: Positive
    intermediate: Positive
    vocab_size: Annotated[int, Field(ge=300)]
    max_positions: Positive
    texts: Positive  # size of the corpus
    steps: Positive  # optimizer steps
    batch_size: Positive
    lr: Rate
    warmup_ratio: Ratio
    max_number: Annotated[int, Field(ge=5)]  # difficulty of the corpus: largest operand
    max_factor: Annotated[int, Field(ge=2)]
    max_steps: Annotated[int, Field(ge=1, le=3)]


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Model:
    path: str | None  # hub id or directory; null = build the tiny model of `base`
    revision: str | None  # commit, tag or branch on the hub
    parameters: int | None  # for `plan` only: number of weights of a model that is not on this disk yet
    freeze_embeddings: Literal["both", "input", "none"]
    dtype: Literal["float32", "bfloat16"]  # of the forward and backward pass, and of the sampling engine
    master_dtype: Literal["float32", "bfloat16", "bfloat16_stochastic"]  # of the weights that the optimizer updates
    attention: Literal["rows"]  # attention by index rows over flat micro-batches
    # recompute activations in the backward pass: of no layer, of all, or of as many as the GPU's memory requires
    checkpointing: bool | Literal["auto"]
    base: TinyBase | None
    shape: Shape | None = None  # for `plan` only: dimensions, as long as config.json is not on this disk


@dataclass(config=_RULES, frozen=True, kw_only=True)
class TinyTask:
    """Generated grade-school word problems."""

    kind: Literal["tiny"]
    train: Positive  # rows with a human-style rationale, for the supervised stage
    questions: Positive  # questions the model teaches itself on; the first ones are those of `train`
    dev: Annotated[int, Field(ge=1)]
    test: Annotated[int, Field(ge=1)]
    max_number: Annotated[int, Field(ge=5)]
    max_factor: Annotated[int, Field(ge=2)]
    max_steps: Annotated[int, Field(ge=1, le=3)]


Role = Literal["prompt", "rationale", "answer", "source", "title", "body", "response", "messages"]


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Source:
    """One data set: on the hub, in the cache, or a local .jsonl, .json or .parquet file or directory."""

    kind: Literal["cot", "instruct", "chat"]
    path: str
    columns: dict[Role, list[str]]  # column names to try for a role, in order; roles of other kinds are not read
    human: Literal["true", "mixed"]  # written by people? `mixed` needs the reason in `note`
    revision: str | None = None
    split: str = "train"
    expect_rows: int | None = None  # another number of rows is worth a warning
    questions: bool = False  # the model samples answers to these prompts
    limit: Positive | None = None  # this many rows, after a shuffle by subset_seed
    subset_seed: Count = 42
    title_exclude: str | None = None  # regular expression; rows whose title matches are left out
    licence: str = "unknown"
    note: str = ""


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Data:
    sources: dict[str, Annotated[TinyTask | Source, Field(discriminator="kind")]]
    overlong: Literal["drop", "truncate"]
    max_drop_frac: Ratio  # more bad rows than this in a source is an error
    min_rationale_chars: Annotated[int, Field(ge=1)]
    eos: Literal["every_turn", "final"]
    seed: Count
    path: str | None = None  # of data=local; its source's path refers to it


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Neftune:
    alpha: Weight  # 0 = off
    variant: Literal["supertrainer2000", "hf", "paper"]
    length: int | None  # L of variant supertrainer2000; null = the stage's max_length


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Optim:
    name: Literal["adalite", "adamw"]
    variant: Literal["jan31", "feb5"]  # of Adalite
    lr: Rate  # peak
    decay: Weight  # Lambda


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Sft:
    from_: Annotated[
        str | None, Field(alias="from")
    ]  # a checkpoint to use in place of this stage; `base` = skip the stage
    continued: bool  # the control: in place of self-teaching, SFT goes on for as many steps and tokens
    epochs: Positive
    max_length: Length
    global_batch_size: Positive
    warmup_ratio: Ratio
    schedule: Literal["cosine", "linear", "constant"]
    mixce: Ratio | None  # weight of the forward cross-entropy; null = plain cross-entropy
    reduction: Literal["token", "sequence", "microbatch_mean"]
    neftune: Neftune
    optim: Optim


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Generate:
    engine: Literal["vllm", "hf"]
    num_samples: Positive
    temperature: Annotated[float, Field(ge=0.0, le=2.0)]
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    max_new_tokens: Positive
    shard_size: Positive  # questions per shard: the unit of resuming and of several engines


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Answer:
    mode: Literal["normalized", "exact", "numeric"]
    types: list[tuple[str, str]]  # (regular expression on the source, answer type), first match counts
    symbolic: bool  # ask an algebra system about formulas; needs the package math-verify


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Pairs:
    mode: Literal["zip", "one", "group", "product"]
    dedup: Literal["text", "none"]
    unfinished: Literal["drop", "incorrect"]
    order: Literal["generation", "shuffle"]
    max_per_question: int | None
    answer: Answer


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Rank:
    loss: Literal["rank", "ce", "spin", "dpo", "none"]  # none = no self-teaching
    # verified pairs; correct samples alone; these, and for questions without one those made knowing the answer; human
    # text against samples
    examples: Literal["pairs", "correct", "rationalized", "human"]
    start: Literal["previous", "sft", "base"]  # weights an iteration starts from
    weight: Weight  # of the rank loss beside the cross-entropy
    beta: Rate  # scale of the preference losses `spin` and `dpo`
    ce_target: Literal["chosen", "gold"]
    use_average: bool
    mixce: Ratio | None
    epochs: Positive
    max_length: Length
    global_batch_size: Positive
    warmup_ratio: Ratio
    schedule: Literal["cosine", "linear", "constant"]
    reduction: Literal["token", "sequence", "microbatch_mean"]
    neftune: Neftune
    optim: Optim


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Slerp:
    t: Ratio  # weight of the updated model: 1 = keep the whole update, 0 = none of it
    method: Literal["slerp", "lerp", "none"]  # none = no merging
    scope: Literal["tensor", "model"]
    dot_threshold: Ratio


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Eval:
    suites: list[Literal["tiny", "dev", "card", "current"]]
    at: Literal["final", "every"]
    limit: Positive | None  # first n items per task; such results are marked as not comparable
    data_dir: str | None  # local mirror of the benchmarks; null = hub or cache
    seeds: Annotated[list[Count], Field(min_length=1)]  # a sampled column is the mean over these; greedy ones run once
    allow_truncated: bool  # score card and current although prompts do not fit the model's context


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Tracking:
    mode: Literal["offline", "wandb", "none"]
    project: str
    entity: str | None
    group: str | None  # null = the sweep files that were typed, else the run's name
    tags: list[str]
    every: Positive  # optimizer steps between two rows sent


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Runtime:
    root: str  # of store and run directories; relative = below the repository
    device: Literal["auto", "cpu", "cuda"]
    num_devices: Positive  # that train and sample; evaluation uses one. On a CPU a device is a process
    micro_batch_tokens: Annotated[int, Field(ge=64)]
    keep: Literal["final", "iterations", "all"]  # weights that stay on the disk
    build: bool  # false: build nothing, only gather what the store has
    # compile the decoder layers in training with torch.compile: costs a minute or more per stage and changes rounding
    compile: bool = False


@dataclass(config=_RULES, frozen=True, kw_only=True)
class Config:
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: Count
    iterations: Count
    plan: bool  # list the stages and stop
    until: str | None  # stop after this stage or kind
    model: Model
    data: Data
    sft: Sft
    generate: Generate
    pairs: Pairs
    rank: Rank
    slerp: Slerp
    eval: Eval
    tracking: Tracking
    runtime: Runtime


_ADAPTER = TypeAdapter(Config)

# Knobs that nothing reads under a given choice: (key, value) -> keys that must not be typed with it.
_IGNORED: dict[tuple[str, str], tuple[str, ...]] = {
    ("rank.loss", "ce"): ("rank.weight", "rank.use_average", "rank.ce_target", "rank.beta"),
    ("rank.loss", "rank"): ("rank.beta",),
    ("rank.loss", "spin"): ("rank.weight", "rank.use_average", "rank.ce_target", "rank.mixce"),
    ("rank.loss", "dpo"): ("rank.weight", "rank.use_average", "rank.ce_target", "rank.mixce"),
    ("rank.examples", "correct"): ("pairs.mode", "pairs.order", "pairs.max_per_question", "pairs.unfinished"),
    ("rank.examples", "rationalized"): ("pairs.mode", "pairs.order", "pairs.max_per_question", "pairs.unfinished"),
    ("rank.loss", "none"): ("rank.", "pairs.", "slerp.", "generate.num_samples", "generate.temperature"),
    ("pairs.answer.mode", "exact"): ("pairs.answer.types", "pairs.answer.symbolic"),
    ("pairs.answer.mode", "numeric"): ("pairs.answer.types", "pairs.answer.symbolic"),
    ("slerp.method", "none"): ("slerp.t", "slerp.scope", "slerp.dot_threshold"),
    ("slerp.method", "lerp"): ("slerp.dot_threshold",),
    ("sft.from", "base"): ("sft.epochs", "sft.optim.", "sft.neftune.", "sft.mixce", "sft.global_batch_size"),
    ("sft.optim.name", "adamw"): ("sft.optim.variant",),
    ("rank.optim.name", "adamw"): ("rank.optim.variant",),
}
# Knobs of `rank` that only some losses read: they enter the key of those alone.
READ_BY = {
    "weight": ("rank",),
    "use_average": ("rank",),
    "ce_target": ("rank",),
    "mixce": ("rank", "ce"),
    "beta": ("spin", "dpo"),
}
# Keys of `runtime` that a stage is given, beside its own config.
FOR_STAGES = ("device", "num_devices", "micro_batch_tokens", "compile")
# Keys that enter no stage's key and therefore no run directory's name.
FREE = ("runtime", "tracking", "name", "plan", "until", "seed", "exp", "sweep")


def from_hydra(composed: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Check what Hydra composed and return it as a frozen Config.

    overrides: what the user typed (`HydraConfig.get().overrides.task`); only needed to refuse knobs that the chosen
        method would ignore.
    Raises MemphisError that lists every fault, one line each.
    """
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise MemphisError(f"{getattr(error, 'full_key', None) or 'config'}: {str(error).splitlines()[0]}") from error
    return from_dict(cast(dict[str, Any], plain), overrides)


def from_dict(plain: dict[str, Any], overrides: Sequence[str] = ()) -> Config:
    """`from_hydra` for a plain nested dictionary (a frozen config.yaml)."""
    try:
        config = _ADAPTER.validate_json(json.dumps(plain))
    except ValidationError as error:
        raise MemphisError(_faults([_line(item) for item in error.errors()])) from None
    faults = [*_contradictions(config), *_ignored(plain, overrides)]
    if faults:
        raise MemphisError(_faults(faults))
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """The inverse of `from_dict`."""
    plain = _ADAPTER.dump_python(config, mode="json", by_alias=True)
    assert isinstance(plain, dict)
    return plain


def lookup(plain: dict[str, Any], key: str) -> Any:
    """The value at a dotted key, None where a part of it is absent."""
    value: Any = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def refuse_sweep(overrides: Sequence[str], params: Collection[str] | None = None) -> None:
    """Raises MemphisError for a file of sweep/ that Hydra would ignore, running the defaults instead.

    params: keys that the file sweeps, in a multirun; None: there is no -m.
    """
    keys = {item.partition("=")[0] for item in overrides}
    for item in overrides:
        if item.lstrip("+").startswith("sweep=") and not (params and keys.issuperset(params)):
            if params is None:
                typed = shlex.join(map(str, masked(list(overrides))))
                cure = f"this is several runs, for which -m is needed; type: python train.py -m {typed}"
            else:
                cure = "one file at a time; `python -m experiments.grid` takes several"
            raise MemphisError(f"{item}: {cure}")


def slug(overrides: Sequence[str]) -> str:
    """A directory name for what was typed, without seed, name, exp, sweep and whatever enters no key.

    The order of the overrides does not matter. Never empty; cut and hashed at 120 characters.
    """
    kept = sorted(text for item in overrides if (text := item.lstrip("+~")).split("=")[0].split(".")[0] not in FREE)
    name = "_".join("".join(c if c.isalnum() or c in "._-" else "-" for c in text) for text in kept) or "default"
    if len(name) <= 120:
        return name
    from hashlib import sha256

    return f"{name[:100]}-{sha256(name.encode()).hexdigest()[:12]}"


def _faults(lines: list[str]) -> str:
    return lines[0] if len(lines) == 1 else f"{len(lines)} faults in the configuration:\n  " + "\n  ".join(lines)


def _line(item: Any) -> str:
    path = list(item["loc"])
    if path[:2] == ["data", "sources"]:
        del path[3:4]  # the branch of the union, not a key
    key = ".".join(str(part) for part in path if part != "[key]")
    match item["type"]:
        case "union_tag_invalid":
            return f"{key}.kind={item['ctx']['tag']!r}: unknown kind; {item['ctx']['expected_tags']}"
        case "union_tag_not_found":
            return f"{key}.kind: missing; set {key}.kind=…"
        case "extra_forbidden" | "unexpected_keyword_argument" | "dataclass_exact_type":
            return f"{key}={item['input']!r}: unknown key; `python train.py --cfg job` lists the keys there are"
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"{key}: missing; set {key}=…"
    return f"{key}={item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _contradictions(config: Config) -> list[str]:
    faults = []
    tiny = any(isinstance(source, TinyTask) for source in config.data.sources.values())
    if not config.data.sources:
        faults.append("data.sources={}: at least one source is needed; data=tiny, data=memphis or data=local")
    if config.model.path is None and config.model.base is None:
        faults.append("model.path=None: a model is needed; model.path=<hub id or directory>, or model=tiny")
    if config.model.path is not None and config.model.base is not None:
        faults.append(
            f"model.path={config.model.path!r}: model.base describes a model to build; use model=hf model.path=…"
        )
    for suite in {"tiny", "dev"} & set(config.eval.suites) if not tiny else ():
        faults.append(
            f"eval.suites: suite {suite!r} asks the questions of data=tiny; use eval=card, eval=current or eval=none"
        )
    if len(set(config.eval.seeds)) < len(config.eval.seeds):
        faults.append(f"eval.seeds={config.eval.seeds}: the same seed twice adds nothing; name each once")
    alone = config.rank.examples in ("correct", "rationalized")
    if config.rank.loss in ("rank", "spin", "dpo") and alone:
        faults.append(
            f"rank.examples={config.rank.examples!r}: loss {config.rank.loss!r} compares; "
            "rank.examples=pairs, or loss=ce"
        )
    if config.rank.loss == "ce" and not alone:
        faults.append(f"rank.examples={config.rank.examples!r}: loss 'ce' compares nothing; rank.examples=correct")
    if config.rank.loss != "none" and config.rank.examples == "pairs" and config.iterations:
        if config.generate.num_samples < 2:
            faults.append("generate.num_samples=1: one sample cannot be both right and wrong; use at least 2")
        if config.generate.temperature == 0:
            faults.append("generate.temperature=0: greedy samples are all alike, so no pair can be made; try 0.5")
    if config.sft.continued and (config.rank.loss == "none" or not config.iterations):
        faults.append("sft.continued=true: goes on for as long as self-teaching would; use iterations=1 or more")
    if config.sft.continued and config.sft.from_ == "base":
        faults.append("sft.continued=true: there is no supervised stage to continue; leave sft.from=base out")
    base = config.model.base
    if base is not None:
        if base.hidden % base.heads:
            faults.append(f"model.base.hidden={base.hidden}: not a multiple of model.base.heads={base.heads}")
        for key, length in (("sft.max_length", config.sft.max_length), ("rank.max_length", config.rank.max_length)):
            if length > base.max_positions:
                faults.append(f"{key}={length}: longer than model.base.max_positions={base.max_positions}; lower it")
    faults += _source_faults(config.data)
    asking = [s for s in config.data.sources.values() if isinstance(s, TinyTask) or s.questions]
    if config.data.sources and not asking and config.rank.loss != "none" and config.iterations:
        faults.append("data.sources: none has questions to teach itself on; set questions=true, or method=sft_only")
    for name, source in config.data.sources.items():
        if isinstance(source, TinyTask) and config.rank.ce_target == "gold" and source.questions > source.train:
            faults.append(
                f"rank.ce_target=gold: data.sources.{name}.questions={source.questions} exceeds "
                f"data.sources.{name}.train={source.train}, and only the latter have human rationales"
            )
    if config.runtime.num_devices > 1 and config.model.master_dtype == "bfloat16_stochastic":
        faults.append(
            f"runtime.num_devices={config.runtime.num_devices}: model.master_dtype=bfloat16_stochastic needs whole "
            "tensors; use bfloat16 or float32, or num_devices=1"
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
        if source.title_exclude is not None and source.kind != "instruct":
            faults.append(f"{key}.title_exclude: kind {source.kind!r} has no titles; leave it out")
    return faults


def _ignored(plain: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    typed = [item.lstrip("+").split("=")[0] for item in overrides]
    return [
        f"{key}: has no effect with {choice}={value}; leave it out or choose another {choice}"
        for (choice, value), keys in _IGNORED.items()
        if lookup(plain, choice) == value
        for key in typed
        if key != choice and key.startswith(keys)
    ]
