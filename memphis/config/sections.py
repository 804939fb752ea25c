"""Configuration keys: the type, range, default and meaning of each. One dataclass per section.

The defaults are the numbers of the model card; a file of conf/ holds only what differs. Where a stage reads a part of a
section, that part is a class of its own, which the section extends.
"""

from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator
from pydantic.dataclasses import dataclass

from memphis.losses import CrossEntropy, Objective, RankLoss
from memphis.ranges import RULES, Few, Length, Place, Positive, Rate, Ratio, Regex, Rows, Seed, Size, Text, Weight
from memphis.shape import Shape


@dataclass(config=RULES, frozen=True, kw_only=True)
class TinyBase:
    """The laptop's base model: a StableLM of these dimensions, pre-trained on generated plain text."""

    seed: Seed  # of weights, corpus and order; `${seed}` gives each run its own base model
    hidden: Size
    layers: Few
    heads: Few
    intermediate: Size
    vocab_size: Annotated[int, Field(ge=497, le=2**20)]  # bytes, numbers and some words
    max_positions: Length
    texts: Rows  # size of the corpus
    steps: Rows  # optimizer steps
    batch_size: Size
    lr: Rate
    warmup_ratio: Ratio
    max_number: Annotated[int, Field(ge=5, le=99)]  # difficulty of the corpus: largest operand
    max_factor: Annotated[int, Field(ge=2, le=99)]
    max_steps: Annotated[int, Field(ge=1, le=3)]


@dataclass(config=RULES, frozen=True, kw_only=True)
class ModelDtype:
    # of the forward and backward pass, and of the sampling engine. `auto` in a file or typed is replaced when the
    # config is read: bfloat16 on a GPU and where the processor computes with it, else float32
    dtype: Literal["float32", "bfloat16"] = "bfloat16"


@dataclass(config=RULES, frozen=True, kw_only=True)
class TrainedModel(ModelDtype):
    """Settings that determine how training holds the model."""

    freeze_embeddings: Literal["both", "input", "none"] = "both"
    # of the weights that the optimizer updates
    master_dtype: Literal["float32", "bfloat16", "bfloat16_stochastic"] = "float32"
    # packed: rows of a micro-batch end to end, prompts shared; padded: batches through the model's own forward pass,
    # slower and right for more architectures; auto: packed where stage base found the two to agree
    packing: Literal["auto", "packed", "padded"] = "auto"
    # recompute activations in the backward pass: of no layer, of all, or of as many as the GPU's memory requires
    checkpointing: Literal[True, False, "auto"] = "auto"


@dataclass(config=RULES, frozen=True, kw_only=True)
class Model(TrainedModel):
    path: Place | None = None  # hub id or directory; null = build the tiny model of `base`
    revision: Text | None = None  # commit, tag or branch on the hub
    parameters: Annotated[int, Field(gt=0, le=10**15)] | None = (
        None  # for `plan` only: number of weights of a model that is not on this disk yet
    )
    base: TinyBase | None = None
    shape: Shape | None = None  # for `plan` only: dimensions, as long as config.json is not on this disk


@dataclass(config=RULES, frozen=True, kw_only=True)
class TinyTask:
    """Generated grade-school word problems."""

    kind: Literal["tiny"]
    human: ClassVar[Literal["generated"]] = "generated"
    train: Rows  # rows with a rationale, for the supervised stage
    questions: Rows  # questions the model teaches itself on; the first ones are those of `train`
    dev: Rows
    test: Rows
    max_number: Annotated[int, Field(ge=5, le=99)]
    max_factor: Annotated[int, Field(ge=2, le=99)]
    max_steps: Annotated[int, Field(ge=1, le=3)]


# Suffixes of files with rows.
ROW_FILES = (".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz", ".parquet")
Role = Literal["prompt", "rationale", "answer", "source", "title", "body", "response", "messages"]


@dataclass(config=RULES, frozen=True, kw_only=True)
class SourceRows:
    """Settings that determine how the rows of a data set are read."""

    kind: Literal["cot", "instruct", "chat"]
    # column names to try for a role, in order; roles of other kinds are not read
    columns: dict[Role, Annotated[list[Text], Field(min_length=1)]]
    # written by people, by a model, or with a model in the loop; `mixed` needs the reason in `note`
    human: Literal["true", "mixed", "generated"]
    config: Text | None = None  # which of its configurations, where a data set has several
    split: Text = "train"
    expect_rows: Positive | None = None  # another number of rows is worth a warning
    # the model samples answers to these prompts; a number: to this many of them alone
    questions: bool | Positive = False
    limit: Positive | None = None  # this many rows beside the held-out ones, after a shuffle by subset_seed
    # letter case ignored: rows with another `source` are left out, `limit` and a number of `questions` count for each
    origins: Annotated[list[Regex], Field(min_length=1)] | None = None
    subset_seed: Seed = 42
    title_exclude: Regex | None = None  # rows whose title matches are left out
    licence: str = "unknown"
    note: str = ""
    # rows that are never trained on, for eval=heldout: a share in (0, 1), chosen by the hashes of the prompts, or all
    # rows of a file (ROW_FILES) or of another split
    heldout: float | str | None = None

    @property
    def asked(self) -> int:
        """Number of questions where it is given, else 0."""
        return 0 if isinstance(self.questions, bool) else self.questions * len(self.origins or [""])


@dataclass(config=RULES, frozen=True, kw_only=True)
class Source(SourceRows):
    """A data set: on the hub, in the cache, or a local file (ROW_FILES) or directory."""

    path: Place
    revision: Text | None = None

    @property
    def heldout_file(self) -> str | None:
        """Path of the file with the held-out rows, if they are in one."""
        named = isinstance(self.heldout, str) and self.heldout.endswith(ROW_FILES)
        return str(self.heldout) if named else None


@dataclass(config=RULES, frozen=True, kw_only=True)
class Tokens:
    """Settings that determine how rows become tokens."""

    overlong: Literal["drop", "truncate"] = "drop"
    eos: Literal["every_turn", "final"] = "every_turn"


@dataclass(config=RULES, frozen=True, kw_only=True)
class Data(Tokens):
    sources: dict[str, Annotated[TinyTask | Source, Field(discriminator="kind")]] = Field(default_factory=dict)
    max_drop_frac: Ratio = 0.05  # more bad rows than this in a source is an error
    min_rationale_chars: Size = 1
    seed: Seed = 0
    path: Place | None = None  # of data=local; its source's path refers to it


@dataclass(config=RULES, frozen=True, kw_only=True)
class Neftune:
    alpha: Weight = 10.0  # 0 = off
    variant: Literal["supertrainer2000", "hf", "paper"] = "supertrainer2000"
    length: Size | None = None  # L of variant supertrainer2000; null = the stage's max_length


@dataclass(config=RULES, frozen=True, kw_only=True)
class OptimKnobs:
    # peak; auto (Adalite alone): from the number of steps, so that the largest one is as large as the largest of the
    # model card's supervised stage, relative to the weights
    lr: Annotated[
        Annotated[Literal["auto"], Tag("auto")] | Annotated[Rate, Tag("rate")],
        Discriminator(lambda value: "auto" if value == "auto" else "rate"),
    ]
    name: Literal["adalite", "adamw"] = "adalite"
    decay: Weight = 0.01  # Lambda
    # of Adalite: its revision, what is added to squared gradients, and t^-x, the part of its statistic new at step t
    variant: Literal["jan31", "feb5"] = "jan31"
    eps: Rate = 1e-5
    beta_decay: Weight = 0.8


@dataclass(config=RULES, frozen=True, kw_only=True)
class Optim(OptimKnobs):
    """Settings of an optimizer whose learning rate is known."""

    lr: Rate


@dataclass(config=RULES, frozen=True, kw_only=True)
class GuardedOptim(OptimKnobs):
    # steps of more than 4 times the card's peak, for a model of more than 20 M weights; enters no key
    allow_large_steps: bool = False


@dataclass(config=RULES, frozen=True, kw_only=True)
class Training:
    """Settings that the trained kinds share."""

    epochs: Few
    max_length: Length
    global_batch_size: Size
    warmup_ratio: Ratio
    optim: OptimKnobs
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    reduction: Literal["token", "sequence", "microbatch_mean"] = "token"
    neftune: Neftune = Neftune()


@dataclass(config=RULES, frozen=True, kw_only=True)
class SftTraining(Training):
    epochs: Few = 2
    max_length: Length = 4096
    global_batch_size: Size = 128
    warmup_ratio: Ratio = 0.2
    optim: OptimKnobs = OptimKnobs(lr=1e-5)
    mixce: Ratio | None = 0.75  # weight of the forward cross-entropy; null = plain cross-entropy

    @property
    def objective(self) -> CrossEntropy:
        return CrossEntropy(mixce=self.mixce)


@dataclass(config=RULES, frozen=True, kw_only=True)
class Sft(SftTraining):
    optim: GuardedOptim = GuardedOptim(lr=1e-5)
    # a checkpoint to use in place of this stage; `base` = skip the stage
    from_: Annotated[Place | None, Field(alias="from")] = None
    continued: bool = False  # the control: in place of self-teaching, SFT goes on for as many steps and tokens

    @property
    def skipped(self) -> bool:
        return self.from_ == "base"


@dataclass(config=RULES, frozen=True, kw_only=True)
class RankTraining(Training):
    """Training on samples. In files the knobs of the loss stand beside the others: `rank.loss=dpo rank.beta=0.1`."""

    objective: Objective = RankLoss()
    epochs: Few = 1
    max_length: Length = 1024
    global_batch_size: Size = 128
    warmup_ratio: Ratio = 0.1
    optim: OptimKnobs = OptimKnobs(lr=5e-7)

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, plain: Any) -> Any:
        """Move keys that are no fields of this section to the loss, which refuses unknown ones."""
        if not isinstance(plain, dict):  # a call of the class
            return plain
        mine = {field.name for field in fields(cls)} - {"objective"}
        own = {key: value for key, value in plain.items() if key in mine}
        return {**own, "objective": {key: value for key, value in plain.items() if key not in mine}}

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain = handler(self)
        return {**plain.pop("objective"), **plain}


@dataclass(config=RULES, frozen=True, kw_only=True)
class Rank(RankTraining):
    optim: GuardedOptim = GuardedOptim(lr=5e-7)
    # pairs: verified pairs; correct: correct samples alone; rationalized: also, for questions without a correct
    # sample, samples made knowing the answer; human: the data's own text against samples
    examples: Literal["pairs", "correct", "rationalized", "human"] = "pairs"
    start: Literal["previous", "sft", "base"] = "previous"  # weights an iteration starts from


@dataclass(config=RULES, frozen=True, kw_only=True)
class Engine:
    engine: Literal["vllm", "hf"] = "vllm"


@dataclass(config=RULES, frozen=True, kw_only=True)
class Generate(Engine):
    num_samples: Few = 8
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    max_new_tokens: Size = 512
    shard_size: Size = 512  # questions per shard: the unit of resuming and of several engines


AnswerType = Literal["number", "math", "choice", "bool", "label", "text"]


@dataclass(config=RULES, frozen=True, kw_only=True)
class Answer:
    mode: Literal["normalized", "exact", "numeric"] = "normalized"
    # (regular expression on the source, type of its answers), first match counts
    types: list[tuple[Regex, AnswerType]] = Field(default_factory=list)
    symbolic: bool = False  # ask an algebra system about formulas; needs the package math-verify
    fallback: bool = True  # read the value that a sentence or a calculation states; false: it must stand alone


@dataclass(config=RULES, frozen=True, kw_only=True)
class Pairs:
    mode: Literal["zip", "one", "group", "product"] = "zip"
    dedup: Literal["text", "none"] = "text"
    unfinished: Literal["drop", "incorrect"] = "drop"
    order: Literal["generation", "shuffle"] = "generation"
    max_per_question: Size | None = None
    # equations: a right answer whose working has a false equation is not among the chosen ones, nor the rejected
    check: Literal["none", "equations"] = "none"
    answer: Answer = Answer()


@dataclass(config=RULES, frozen=True, kw_only=True)
class Slerp:
    t: Ratio = 0.99  # weight of the updated model: 1 = keep the whole update, 0 = none of it
    method: Literal["slerp", "lerp", "none"] = "slerp"  # none = no merging
    scope: Literal["tensor", "model"] = "tensor"
    dot_threshold: Ratio = 0.9995


Suite = Literal["tiny", "dev", "heldout", "card", "current"]


@dataclass(config=RULES, frozen=True, kw_only=True)
class Questions:
    """Settings that select the questions of an evaluation."""

    suites: list[Suite] = Field(default_factory=lambda: list[Suite](["card", "current"]))
    tasks: list[Text] = Field(default_factory=list)  # further tasks and groups of lm-eval, by name, as it has them
    limit: Positive | None = None  # first n items per task; such results are marked as not comparable
    # a sampled column is the mean over these; greedy ones run once
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [0, 1, 2])
    allow_truncated: bool = False  # score card and current although prompts do not fit the model's context
    shots: Annotated[int, Field(ge=0, le=1_000)] = (
        0  # of suite heldout: solved training rows of the same origin before each question
    )

    @property
    def names(self) -> list[str]:
        """Names of the records: the suites, and `tasks` for single tasks."""
        return [*self.suites, *(["tasks"] if self.tasks else [])]

    @property
    def own(self) -> bool:
        """True if a suite asks the questions of the data stage."""
        return bool({"tiny", "dev", "heldout"} & set(self.suites))


@dataclass(config=RULES, frozen=True, kw_only=True)
class Eval(Questions):
    at: Literal["final", "every"] = "final"
    limit_between: Positive | None = None  # `limit` for models between the first and the last
    data_dir: Place | None = None  # local mirror of the benchmarks; null = hub or cache


@dataclass(config=RULES, frozen=True, kw_only=True)
class Tracking:
    mode: Literal["offline", "wandb", "none"] = "offline"
    project: Annotated[str, Field(pattern=r"^[^/\\#?%:]{1,128}$")] = "memphis"  # as W&B takes it
    entity: Text | None = None
    group: Text | None = None  # null = the sweep files that were typed, else the run's name
    tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(default_factory=list)
    every: Positive = 1  # optimizer steps between two rows sent


@dataclass(config=RULES, frozen=True, kw_only=True)
class Runtime:
    root: Place = "${oc.env:MEMPHIS_RUNS,runs}"  # of store and run directories; relative = below the repository
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_devices: Few = 1  # that train and sample; evaluation uses one. On a CPU a device is a process
    # CPU threads of a process, shared among its devices: they change rounding, and so results. null = all cores
    threads: Few | None = None
    micro_batch_tokens: Annotated[int, Field(ge=64, le=2**30)] = 16384
    keep: Literal["final", "iterations", "all"] = "iterations"  # weights that stay on the disk
    build: bool = True  # false: build nothing, only gather what the store has
    # compile the decoder layers in training with torch.compile: costs a minute or more per stage and changes rounding;
    # whether it pays on a GPU was never measured: benchmarks/gpu.py measures both
    compile: bool = False


@dataclass(config=RULES, frozen=True, kw_only=True)
class Config:
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]  # also a tag in W&B
    seed: Seed = 0
    iterations: Annotated[int, Field(ge=0, le=100)] = 3  # cycles of generate, pairs, rank, merge
    plan: bool = False  # list the stages, what is built and why not, and stop
    until: Text | None = None  # stop after this stage (`sft`, `merge-2`) or kind (`data`)
    model: Model = Model()
    data: Data = Data()
    sft: Sft = Sft()
    generate: Generate = Generate()
    pairs: Pairs = Pairs()
    rank: Rank = Rank()
    slerp: Slerp = Slerp()
    eval: Eval = Eval()
    tracking: Tracking = Tracking()
    runtime: Runtime = Runtime()
