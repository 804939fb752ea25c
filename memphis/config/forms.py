"""Typed config of each kind of stage: a stage can read the fields of its spec and nothing else.

`memphis.pipeline.READS` selects these from a run's config; unknown and missing fields of a spec are errors.
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from memphis.config.faults import line
from memphis.config.sections import (
    Answer,
    Engine,
    Generate,
    ModelDtype,
    Pairs,
    Questions,
    RankTraining,
    SftTraining,
    Slerp,
    SourceRows,
    TinyBase,
    TinyTask,
    Tokens,
    TrainedModel,
)
from memphis.dotted import flatten
from memphis.errors import MemphisError
from memphis.ranges import RULES, Positive, Ratio, Size


@dataclass(config=RULES, frozen=True, kw_only=True)
class DataForm:
    sources: dict[str, Annotated[TinyTask | SourceRows, Field(discriminator="kind")]]
    max_drop_frac: Ratio
    min_rationale_chars: Size


@dataclass(config=RULES, frozen=True, kw_only=True)
class BaseForm:
    base: TinyBase | None  # None: the checkpoint is found, not built


@dataclass(config=RULES, frozen=True, kw_only=True)
class TrainerForm:
    model: TrainedModel
    data: Tokens
    micro_batch_tokens: Positive | None = None  # set where it changes the loss: reduction=microbatch_mean

    @property
    def knobs(self) -> SftTraining | RankTraining:
        raise NotImplementedError

    @model_validator(mode="after")
    def _cut_enters_the_key_where_it_counts(self) -> "TrainerForm":
        if (self.knobs.reduction == "microbatch_mean") != (self.micro_batch_tokens is not None):
            raise ValueError("micro_batch_tokens belongs to reduction=microbatch_mean, and to no other")
        return self


@dataclass(config=RULES, frozen=True, kw_only=True)
class SftForm(TrainerForm):
    sft: SftTraining

    @property
    def knobs(self) -> SftTraining:
        return self.sft


@dataclass(config=RULES, frozen=True, kw_only=True)
class RankForm(TrainerForm):
    rank: RankTraining

    @property
    def knobs(self) -> RankTraining:
        return self.rank


@dataclass(config=RULES, frozen=True, kw_only=True)
class GenerateForm:
    generate: Generate
    model: ModelDtype


@dataclass(config=RULES, frozen=True, kw_only=True)
class PairsForm:
    pairs: Pairs
    examples: Literal["pairs", "correct", "human"]


@dataclass(config=RULES, frozen=True, kw_only=True)
class MergeForm:
    slerp: Slerp


@dataclass(config=RULES, frozen=True, kw_only=True)
class AnswerLength(Engine):
    max_new_tokens: Size


@dataclass(config=RULES, frozen=True, kw_only=True)
class Judging:
    answer: Answer


@dataclass(config=RULES, frozen=True, kw_only=True)
class EvaluateForm:
    eval: Questions
    model: ModelDtype
    generate: AnswerLength | Engine
    pairs: Judging | None = None  # set, as is the answers' length, where held-out rows are asked and judged


Form = TypeVar("Form")
# Fields that a spec has only where they say something.
ABSENT = (
    "micro_batch_tokens",
    "heldout",
    "origins",
    "config",
    "pairs",
    "tasks",
    "shots",
    "fallback",
    "check",
)


def parse(form: type[Form], config: dict[str, Any]) -> Form:
    """Convert the config of a spec to the typed form of its kind.

    Every field but those of ABSENT must be present, even one that has a default, and unknown fields are refused.
    Raises MemphisError that names the field.
    """
    adapter: TypeAdapter[Form] = TypeAdapter(form)
    try:
        value = adapter.validate_json(json.dumps(config))
    except ValidationError as error:
        raise MemphisError("; ".join(line(item) for item in error.errors())) from None
    fields = flatten(adapter.dump_python(value, mode="json", by_alias=True)).keys()
    missing = [name for name in sorted(fields - flatten(config).keys()) if name.split(".")[-1] not in ABSENT]
    if missing:
        raise MemphisError(f"{', '.join(missing)}: missing in the stage's config")
    return value
