"""Tests of judging, pairing and counting samples, with numbers worked by hand."""

import itertools
import math
from pathlib import Path

import pytest

from memphis.config.forms import parse
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.pipeline import KINDS
from memphis.stages import pairs
from memphis.stages.context import Context, Runtime, Worker
from memphis.store import read_json, write_json

KNOBS = {
    "mode": "zip",
    "dedup": "text",
    "unfinished": "drop",
    "order": "generation",
    "max_per_question": None,
    "answer": {"mode": "normalized", "types": [], "symbolic": False},
}


def sample(text: str, finished: bool = True) -> dict[str, object]:
    return {"text": text, "token_ids": [1, 2], "finished": finished}


def said(answer: str, why: str = "because") -> str:
    return f"{why}\n### Answer:\n{answer}"


def run(
    tmp_path: Path, samples: dict[str, list[dict[str, object]]], examples: str = "pairs", **knobs: object
) -> tuple[dict[str, object], Path]:
    for name in ("data", "samples", "out"):
        (tmp_path / name).mkdir(exist_ok=True)
    questions = [
        {"id": name, "source": "s", "prompt": f"What is {name}?", "rationale": "r", "answer": "4"} for name in samples
    ]
    write_rows(tmp_path / "data" / "questions.jsonl", questions)
    rows = [{"kind": "cot", **questions[0], "rationale": "2 + 2 = 4"}, {"kind": "chat", "source": "s", "messages": []}]
    write_rows(tmp_path / "data" / "sft.jsonl", rows)
    write_rows(
        tmp_path / "samples" / "samples.jsonl", [{"id": name, "samples": found} for name, found in samples.items()]
    )
    inputs = {"data": tmp_path / "data", "samples": tmp_path / "samples"}
    config = {"pairs": {**KNOBS, **knobs}, "examples": examples}
    context = Context("pairs", inputs, 0, 1, {}, tmp_path / "out", Worker(Runtime("cpu", 1, 64)))
    return pairs.run(context, parse(KINDS["pairs"].form, config)), tmp_path / "out"


def test_lengths_of_what_went_into_pairs(tmp_path: Path) -> None:
    right, wrong = sample(said("4")) | {"token_ids": [1] * 5}, sample(said("5")) | {"token_ids": [1] * 8}
    left_over = sample(said("6")) | {"token_ids": [1] * 99}
    _, out = run(tmp_path, {"q1": [right, wrong, left_over], "q2": [sample(said("4")), sample(said("5"))]})
    (row,) = [row for row in read_rows(out / "metrics.jsonl") if "pairs/chosen_len" in row]
    assert (row["pairs/chosen_len"], row["pairs/rejected_len"]) == (3.5, 5.0)


def test_counts_and_pairs_of_two_questions(tmp_path: Path) -> None:
    samples = {
        "q1": [sample(said("4", "A")), sample(said("4", "A")), sample(said("5", "x")), sample(said("4", "B"))],
        "q2": [sample(said("9")), sample("no header"), sample(said("4"), finished=False), sample(said("9", "y"))],
    }
    summary, out = run(tmp_path, samples)
    assert read_rows(out / "pairs.jsonl") == [
        {"id": "q1", "prompt": "What is q1?", "chosen": said("4", "A"), "rejected": [said("5", "x")]}
    ]
    counts = read_rows(out / "metrics.jsonl")[-1]
    assert summary["pairs"] == counts["pairs/count"] == 1
    assert counts["gen/pass@1"] == pytest.approx((3 / 4 + 0) / 2)
    assert counts["gen/pass@4"] == pytest.approx(0.5)
    assert counts["gen/pass@1_se"] == pytest.approx(math.sqrt(2 * (3 / 8) ** 2) / math.sqrt(2))
    assert counts["pairs/unique_correct"] == 2  # A twice, B
    assert counts["pairs/unique_incorrect"] == 3
    assert counts["pairs/discarded_invalid"] == 2
    assert counts["pairs/discarded_duplicate"] == 1
    assert counts["pairs/discarded_surplus"] == 3
    assert counts["pairs/invalid_no_answer"] == counts["pairs/invalid_unfinished"] == 1
    total = 2 * counts["pairs/count"] + sum(
        counts[f"pairs/discarded_{why}"] for why in ("invalid", "duplicate", "surplus")
    )
    assert total == 8  # every sample is counted exactly once


def test_texts_with_a_false_equation_are_counted_by_source(tmp_path: Path) -> None:
    samples = {
        "q1": [sample(said("4", "1 + 2 = 4")), sample(said("5", "2 + 3 = 5"))],
        "q2": [sample(said("4", "2 + 2 = 4")), sample(said("6", "2 * 2 = 6"))],
        "q3": [sample(said("4", "no sum")), sample(said("6", "x + 2 = 6"))],
    }
    summary, out = run(tmp_path, samples)
    assert summary["false_equations"] == {
        "s": {
            "chosen": {"texts": 3, "equations": 2, "false": 1},
            "rejected": {"texts": 3, "equations": 2, "false": 1},
            "sft": {"texts": 1, "equations": 1, "false": 0},
        }
    }
    row = read_rows(out / "metrics.jsonl")[0]
    shares = {"chosen": 0.5, "rejected": 0.5, "sft": 0.0}
    for role, share in shares.items():
        assert row[f"pairs/{role}_false_frac"] == row[f"pairs/s/{role}_false_frac"] == share


def test_sources_without_arithmetic_are_not_counted(tmp_path: Path) -> None:
    summary, out = run(tmp_path, {"q": [sample(said("4")), sample(said("5", "2 + 2 = 5"))]})
    assert summary["false_equations"] == {}
    assert not [key for row in read_rows(out / "metrics.jsonl") for key in row if "false" in key]


def test_right_answers_with_a_false_equation_can_be_left_out(tmp_path: Path) -> None:
    false, true, wrong = said("4", "1 + 2 = 4"), said("4", "2 + 2 = 4"), said("5", "2 + 2 = 5")
    samples = {"q": [sample(false), sample(false), sample(true), sample(wrong), sample(said("6"))]}
    _, out = run(tmp_path, samples)
    assert [row["chosen"] for row in read_rows(out / "pairs.jsonl")] == [false, true]
    _, out = run(tmp_path, samples, check="equations")
    assert [(row["chosen"], row["rejected"]) for row in read_rows(out / "pairs.jsonl")] == [(true, [wrong])]
    counts = read_rows(out / "metrics.jsonl")[-1]
    discarded = {why: counts[f"pairs/discarded_{why}"] for why in ("invalid", "duplicate", "surplus", "false")}
    assert discarded == {"invalid": 0, "duplicate": 1, "surplus": 1, "false": 1}
    _, out = run(tmp_path, samples, examples="correct", check="equations", dedup="none")
    assert [row["chosen"] for row in read_rows(out / "pairs.jsonl")] == [true]
    with pytest.raises(MemphisError, match="every right text has a false equation: pairs.check=none"):
        run(tmp_path, {"q": [sample(false), sample(wrong)]}, check="equations")


def test_unfinished_may_count_as_incorrect(tmp_path: Path) -> None:
    samples = {"q": [sample(said("4")), sample("never ends", finished=False)]}
    summary, out = run(tmp_path, samples, unfinished="incorrect")
    assert summary["pairs"] == 1
    assert read_rows(out / "pairs.jsonl")[0]["rejected"] == ["never ends"]


def test_correct_samples_alone_are_examples_without_rivals(tmp_path: Path) -> None:
    samples = {"q": [sample(said("4", "A")), sample(said("4", "A")), sample(said("4", "B")), sample(said("1"))]}
    _, out = run(tmp_path, samples, examples="correct")
    assert [(row["chosen"], row["rejected"]) for row in read_rows(out / "pairs.jsonl")] == [
        (said("4", "A"), []),
        (said("4", "B"), []),
    ]


def test_human_text_is_set_against_the_models_own_right_or_wrong(tmp_path: Path) -> None:
    human = said("4", "r")
    samples = {"q": [sample(human), sample(said("4", "A")), sample("no header"), sample(said("5", "x"))]}
    _, out = run(tmp_path, samples, examples="human", mode="group")
    assert [(row["chosen"], row["rejected"]) for row in read_rows(out / "pairs.jsonl")] == [
        (human, [said("4", "A"), "no header", said("5", "x")])
    ]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["nothing", "nothing"], "almost no sample has a rationale and an answer"),
        ([said("1"), said("2")], "almost no answer is right"),
        ([said("4"), said("4")], "almost every answer is right"),
    ],
)
def test_no_pair_stops_with_the_likely_reason(tmp_path: Path, texts: list[str], reason: str) -> None:
    with pytest.raises(MemphisError, match=reason) as caught:
        run(tmp_path, {"q": [sample(text) for text in texts]})
    assert "unique_correct" in str(caught.value)


def test_no_pair_is_put_down_to_a_training_that_made_the_model_worse(tmp_path: Path) -> None:
    def stage(folder: str, kind: str, reads: dict[str, str], **summary: float) -> None:
        (tmp_path / folder).mkdir(exist_ok=True)
        config = {kind: {"optim": {"lr": "auto"}}} if kind in ("sft", "rank") else {}
        write_json(
            tmp_path / folder / "stage.json",
            {"name": folder, "kind": kind, "config": config, "reads": reads, "summary": {"lr": 2e-4} | summary},
        )

    def reason() -> str | None:
        return pairs._worsened(tmp_path / "samples")

    assert reason() is None  # no record
    stage("samples", "generate", {"data": "data", "model": "merge-1"})
    stage("merge-1", "merge", {"previous": "sft", "updated": "rank-1", "sft": "sft"})
    stage("rank-1", "rank", {"model": "sft", "pairs": "pairs-1"}, heldout_before=1.0, heldout_after=1.09)
    stage("sft", "sft", {"data": "data", "model": "base"}, seen_before=1.5, seen_after=14.5)
    stage("base", "base", {}, heldout_before=6.5, heldout_after=9.9)  # no stage of the config
    why = "stage sft made the model worse, its loss of trained rows was 1.50 before and 14.50 after: lower sft.optim.lr"
    assert reason() == f"{why}=0.0002"
    stage("rank-1", "rank", {"model": "sft", "pairs": "pairs-1"}, heldout_before=1.0, heldout_after=1.2)
    assert str(reason()).startswith(
        "stage rank-1 made the model worse, its held-out loss was 1.00 before and 1.20 after"
    )
    stage("rank-1", "rank", {"model": "sft", "pairs": "pairs-1"})
    with pytest.raises(MemphisError, match=rf"^no pair at all in this iteration; {why}=0.0002 \("):
        run(tmp_path, {"q": [sample("nothing")]})
    stage("sft", "sft", {"data": "data", "model": "base"}, seen_before=1.5, seen_after=1.2)
    assert reason() is None


@pytest.mark.parametrize(("n", "c", "k"), [(8, 3, 1), (8, 3, 4), (5, 0, 2), (5, 5, 3), (6, 4, 3)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n: int, c: int, k: int) -> None:
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pairs.pass_at(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_correct_samples_are_counted_by_rule(tmp_path: Path) -> None:
    run(tmp_path, {"q1": [sample(said(text)) for text in ("4", "4.0", "2 + 2 = 4", "over 4", "5")]})
    counts = read_json(tmp_path / "out" / "counts.json")
    assert {key: n for key, n in counts.items() if "correct_by" in key} == {
        "pairs/correct_by_number": 1,
        "pairs/correct_by_sentence": 1,
        "pairs/correct_by_text": 1,
    }
    assert counts["pairs/letter_without_options"] == 0


def test_letters_without_options_are_counted() -> None:
    assert pairs._letter_without_options({"prompt": "Which?", "answer": "(B)"})
    assert not pairs._letter_without_options({"prompt": "Which? (A) 1 (B) 2", "answer": "B"})
