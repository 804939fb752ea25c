"""Definition of what is measured: suites of columns, each a set of lm-eval tasks with one metric, filter and shots.

`tasks.py` writes the tasks, `harness.py` runs them. The 19,277 requests of `card` are those of the model card's harness
byte for byte; `current` is lm-eval 0.4.13 as it is.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from memphis.errors import MemphisError


@dataclass(frozen=True)
class Column:
    """Column of the table: correct answers over items, all tasks together.

    tasks: lm-eval task names.
    metric, filter: which of the task's numbers counts; "none" is lm-eval's word for no filter.
    shots: demonstrations in the prompt, for the record. The tasks set them themselves.
    items: number of items of each task, from its beginning; None = all.
    overrides: keys of the stock task that are replaced; `task_overrides` do so for single tasks.
    variant: distinguishes runs of one task with different settings; "" = as lm-eval has it.
    sampled: the task draws at random, so the seed matters.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    metric: str
    filter: str
    shots: int
    items: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    task_overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variant: str = ""
    sampled: bool = False

    def unit(self, task: str, seed: int) -> str:
        """Return the name of the files of one task: equal for equal requests, so that suites can share them."""
        return "-".join(
            [quote(task, safe=""), *([self.variant] if self.variant else []), *([f"s{seed}"] if self.sampled else [])]
        )


@dataclass(frozen=True)
class Suite:
    """Columns and the origin of their data: "stage" = the data stage, "benchmarks" = hub or mirror, "hub" = hub alone.

    columns: () where the data decide; a record lists them then, see `measured`.
    """

    name: str
    columns: tuple[Column, ...]
    data: str


def mean(metric: str) -> dict[str, Any]:
    """Return the entry of a task's `metric_list` for the mean of `metric` over the items."""
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


def first_match(pattern: str) -> list[dict[str, Any]]:
    """Return the `filter_list` of a task: filter get-answer takes the first match of a regular expression."""
    regex = {"function": "regex", "regex_pattern": pattern}
    return [{"name": "get-answer", "filter": [regex, {"function": "take_first"}]}]


_AGIEVAL = (
    *("agieval_aqua_rat", "agieval_logiqa_en", "agieval_lsat_ar", "agieval_lsat_lr", "agieval_lsat_rc"),
    *("agieval_sat_en", "agieval_sat_en_without_passage", "agieval_sat_math"),
)
_BBH = tuple(
    f"bbh_cot_fewshot_{name}"
    for name in (
        *("boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages"),
        *("formal_fallacies", "geometric_shapes", "hyperbaton", "logical_deduction_five_objects"),
        *("logical_deduction_seven_objects", "logical_deduction_three_objects", "movie_recommendation"),
        *("multistep_arithmetic_two", "navigate", "object_counting", "penguins_in_a_table"),
        *("reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection", "snarks"),
        *("sports_understanding", "temporal_sequences", "tracking_shuffled_objects_five_objects"),
        *("tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects", "web_of_lies"),
        "word_sorting",
    )
)

TINY = Suite(
    "tiny",
    (
        Column("tiny_gen", "Word problems", ("tiny_gen",), "exact_match", "get-answer", shots=0),
        Column("tiny_mc", "Last step (4 choices, acc_norm)", ("tiny_mc",), "acc_norm", "none", shots=0, items=500),
        Column(
            "tiny_cot", "Word problems (CoT, 3-shot)", ("tiny_cot",), "exact_match", "get-answer", shots=3, items=300
        ),
    ),
    data="stage",
)

# Suite for making choices: the test questions are kept for the last command.
DEV = Suite(
    "dev",
    (Column("tiny_gen", "Word problems, dev", ("tiny_gen",), "exact_match", "get-answer", shots=0),),
    data="stage",
)

_AGIEVAL_COLUMN = Column("agieval", "AGIEval (English/Nous subset, acc_norm)", _AGIEVAL, "acc_norm", "none", shots=0)

CURRENT = Suite(
    "current",
    (
        Column("gsm8k", "GSM8K (5-shot)", ("gsm8k",), "exact_match", "strict-match", shots=5),
        _AGIEVAL_COLUMN,
        Column("bbh", "BBH (CoT, few-shot)", _BBH, "exact_match", "get-answer", shots=3),
    ),
    data="benchmarks",
)

CARD = Suite(
    "card",
    (
        Column(
            "gsm8k",
            "GSM8K (5-shot)",
            ("gsm8k",),
            "exact_match",
            "get-answer",
            shots=5,
            overrides={
                # The card's harness set no temperature, so vLLM's own default of 1 applied. Without do_sample
                # lm-eval would set it to 0.
                "generation_kwargs": {"until": ["\n\n", "Question:"], "do_sample": True, "temperature": 1.0},
                "metric_list": [
                    mean("exact_match")
                    | {"ignore_case": True, "ignore_punctuation": False}
                    | {"regexes_to_ignore": [",", "\\$", "(?s).*#### "]}
                ],
                "filter_list": first_match("#### (\\-?[0-9\\.\\,]+)"),
            },
            variant="card",
            sampled=True,
        ),
        _AGIEVAL_COLUMN,
        Column(
            "bbh",
            "BBH (CoT, few-shot)",
            _BBH,
            "exact_match",
            "get-answer",
            shots=3,
            # The card's template engine dropped the last newline of the prompt.
            overrides={"doc_to_text": "Q: {{input}}\nA: Let's think step by step.", "target_delimiter": "\n"},
            task_overrides={"bbh_cot_fewshot_sports_understanding": {"target_delimiter": " "}},
            variant="card",
        ),
    ),
    data="benchmarks",
)

# One's own rows: a column per source. An answer without end, or not in the format of training, is wrong.
HELDOUT = Suite("heldout", (), data="stage")
ACCURACY = "acc"  # its metric
# Tasks and groups of lm-eval by name, a column each.
TASKS = Suite("tasks", (), data="hub")

SUITES: Mapping[str, Suite] = {
    suite.name: suite for suite in (TINY, DEV, HELDOUT, CURRENT, CARD, TASKS, Suite("none", (), data="stage"))
}


def find_suite(name: str) -> Suite:
    """Return the suite of that name. Raises MemphisError for an unknown name."""
    if name not in SUITES:
        raise MemphisError(f"eval.suites: {name} is unknown; use some of {', '.join(SUITES)}")
    return SUITES[name]


def measured(record: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the columns of a record: its suite's, or those that it lists where the suite has none of its own."""
    return SUITES[record["suite"]].columns or tuple(
        Column(name, one["title"], tuple(one["tasks"]), one["metric"], one["filter"], one["shots"])
        for name, one in record.get("columns", {}).items()
    )


def wilson(count: int, n: int) -> dict[str, float]:
    """Return the ends of the 95 % Wilson interval, `low` and `high` in [0, 1], of the share `count` / `n`.

    It stays inside [0, 1] and has a width where none or all of the answers are right.
    """
    z, share = 1.959964, count / n
    centre, spread = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return {
        "low": max(0.0, (centre - spread) / (1 + z**2 / n)),
        "high": min(1.0, (centre + spread) / (1 + z**2 / n)),
    }


def stderr_over_seeds(draws: Sequence[Sequence[float]]) -> float | None:
    """Return the standard error of the mean over all items and seeds. draws: per seed the items' values, in one order.

    The items are the sample: with v_i the mean of item i over the seeds and m the mean of the n values v_i,

        stderr = sqrt( sum_i (v_i - m)^2 / (n - 1) / n ).

    With one seed it is lm-eval's. Taking all answers as independent would make it too small by up to the root of the
    number of seeds, because each seed asks the same items. None for a single item.
    """
    items = [statistics.fmean(values) for values in zip(*draws, strict=True)]
    return math.sqrt(statistics.variance(items) / len(items)) if len(items) > 1 else None


def pooled_stderr(stderrs: Sequence[float | None], sizes: Sequence[int]) -> float | None:
    """Return the standard error of the mean over all items of several tasks, from each task's own; in the same unit.

    Square root of sum (n-1) n se^2 / (sum n - k) / sum n, as lm-eval 0.4.13 has it. (The card's harness added the
    spread between the tasks' means: 17 points where half a point is right.) None if one is unknown, as with one item.
    """
    known = [stderr for stderr in stderrs if stderr is not None]
    if len(known) < len(stderrs) or not known:
        return None
    total = sum(sizes)
    variance = sum((n - 1) * n * stderr**2 for n, stderr in zip(sizes, known, strict=True)) / (total - len(sizes))
    return math.sqrt(variance / total)
