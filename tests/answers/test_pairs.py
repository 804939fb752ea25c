"""Tests of pairing the completions of one question: a worked example, and the knobs."""

import pytest

from memphis.answers.pairs import Pair, build
from memphis.errors import MemphisError

CORRECT, INCORRECT = ["A", "B", "A", "C"], ["x", "y", "x"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("zip", [("A", ["x"]), ("B", ["y"])]),
        ("one", [("A", ["x"])]),
        ("group", [("A", ["x", "y"])]),
        ("product", [(c, [w]) for c in "ABC" for w in "xy"]),
    ],
)
def test_worked_example(mode: str, expected: list[Pair]) -> None:
    assert build("q", CORRECT, INCORRECT, mode) == expected


def test_worked_example_without_dedup() -> None:
    assert build("q", CORRECT, INCORRECT, "zip", dedup="none") == [("A", ["x"]), ("B", ["y"]), ("A", ["x"])]


@pytest.mark.parametrize("mode", ["zip", "one", "group", "product"])
def test_one_kind_of_completion_gives_no_pair(mode: str) -> None:
    assert build("q", CORRECT, [], mode) == []
    assert build("q", [], INCORRECT, mode) == []


def test_texts_are_equal_up_to_outer_whitespace() -> None:
    assert build("q", ["A\n", " A", "B "], [" x", "x"], "product") == [("A", ["x"]), ("B", ["x"])]


def test_inputs_stay_untouched() -> None:
    correct, incorrect = list(CORRECT), list(INCORRECT)
    build("q", correct, incorrect, "zip", order="shuffle")
    assert (correct, incorrect) == (CORRECT, INCORRECT)


def test_each_completion_is_in_one_pair_at_most() -> None:
    pairs = build(
        "q", [f"right {i % 7}" for i in range(20)], [f"wrong {i % 5}" for i in range(20)], "zip", order="shuffle"
    )
    assert len(pairs) == 5
    assert len({chosen for chosen, _ in pairs}) == 5
    assert len({rejected for _, [rejected] in pairs}) == 5


def test_shuffle_depends_on_seed_and_question_only() -> None:
    correct, incorrect = [f"right {i}" for i in range(8)], [f"wrong {i}" for i in range(8)]
    first = build("q1", correct, incorrect, "zip", order="shuffle", seed=3)
    assert first == build("q1", correct, incorrect, "zip", order="shuffle", seed=3)
    assert first != build("q1", correct, incorrect, "zip", order="shuffle", seed=4)
    assert first != build("q2", correct, incorrect, "zip", order="shuffle", seed=3)
    assert sorted(chosen for chosen, _ in first) == correct
    pinned = build("q", list("ABC"), list("xyz"), "zip", order="shuffle", seed=1)
    assert pinned == [("C", ["x"]), ("B", ["z"]), ("A", ["y"])]  # the same on every machine


@pytest.mark.parametrize("mode", ["zip", "one", "group", "product"])
@pytest.mark.parametrize("bound", [1, 2, 4])
def test_bound_counts_comparisons(mode: str, bound: int) -> None:
    unbounded = build("q", CORRECT, INCORRECT, mode)
    pairs = build("q", CORRECT, INCORRECT, mode, max_per_question=bound)
    assert sum(len(rejected) for _, rejected in pairs) == min(bound, sum(len(rejected) for _, rejected in unbounded))


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"mode": "all"}, "pairs.mode=all is unknown; use one of zip, one, group, product"),
        ({"mode": "zip", "dedup": "yes"}, "pairs.dedup=yes is unknown; use one of text, none"),
        ({"mode": "zip", "order": "random"}, "pairs.order=random is unknown; use one of generation, shuffle"),
        ({"mode": "zip", "max_per_question": 0}, "pairs.max_per_question=0 leaves no pair; use null or at least 1"),
    ],
)
def test_wrong_knobs(knob: dict, message: str) -> None:
    with pytest.raises(MemphisError) as caught:
        build("q", CORRECT, INCORRECT, **knob)
    assert str(caught.value) == message
