"""Tests of the exact training strings, and of parse() as the inverse of completion_cot()."""

import json
from pathlib import Path

import pytest

from memphis.data.prompts import (
    REASONS,
    STOP_STRINGS,
    Parsed,
    Span,
    completion_cot,
    contains_header,
    parse,
    render_cot,
    spans,
)
from tests import made_up

COT = {"kind": "cot", "prompt": " How many? ", "rationale": "Two.\n\nAnd two.\n", "answer": " 4 "}
CHAT = {
    "kind": "chat",
    "messages": [
        {"role": "user", "content": "Hi "},
        {"role": "assistant", "content": "Hello!\n"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "See you."},
    ],
}


def joined(row: dict, eos: str = "every_turn") -> str:
    return "".join(span.text + "<eos>" * span.ends for span in spans(row, eos))


def test_cot() -> None:
    assert spans(COT, "every_turn") == [
        Span("### User:\nHow many?\n### Rationale:\n", target=False),
        Span("Two.\n\nAnd two.\n### Answer:\n4", target=True, ends=True),
    ]
    assert spans(COT, "final") == spans(COT, "every_turn")
    assert render_cot(COT["prompt"]) == spans(COT, "final")[0].text
    assert completion_cot(COT["rationale"], COT["answer"]) == spans(COT, "final")[1].text


def test_instruct() -> None:
    row = {"kind": "instruct", "prompt": "Title\n\nBody", "response": " Sure. "}
    assert spans(row, "every_turn") == [
        Span("### User:\nTitle\n\nBody\n### Assistant:\n", target=False),
        Span("Sure.", target=True, ends=True),
    ]


def test_chat() -> None:
    assert spans(CHAT, "every_turn") == [
        Span("### User:\nHi\n### Assistant:\n", target=False),
        Span("Hello!", target=True, ends=True),
        Span("\n### User:\nBye\n### Assistant:\n", target=False),
        Span("See you.", target=True, ends=True),
    ]
    assert (
        joined(CHAT, "final") == "### User:\nHi\n### Assistant:\nHello!\n### User:\nBye\n### Assistant:\nSee you.<eos>"
    )


def test_chat_with_a_system_turn() -> None:
    row = {"kind": "chat", "messages": [{"role": "system", "content": "Be brief.\n"}, *CHAT["messages"]]}
    assert joined(row) == "### System:\nBe brief.\n" + joined(CHAT)
    assert [span.target for span in spans(row, "final")] == [False, True, False, True]


@pytest.mark.parametrize(
    "roles", [[], ["system"], ["user"], ["assistant", "user"], ["user", "user"], ["user", "assistant", "user"]]
)
def test_roles_must_alternate(roles: list[str]) -> None:
    with pytest.raises(ValueError, match="do not alternate"):
        spans({"kind": "chat", "messages": [{"role": role, "content": "x"} for role in roles]}, "final")


def test_wrong_kind() -> None:
    with pytest.raises(ValueError, match="'poem'"):
        spans({"kind": "poem"}, "final")


@pytest.mark.parametrize(
    "text",
    [
        "Two.\n\nAnd two.\n### Answer:\n4",
        "Two.\n\nAnd two.\n### Answer: 4\n",
        "\nTwo.\n\nAnd two. \n### Answer:\n\n4\n### User:\nMore?",
    ],
)
def test_valid_generations(text: str) -> None:
    assert parse(text, finished=True) == Parsed("Two.\n\nAnd two.", "4", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Two.", "no_answer"),
        ("", "no_answer"),
        ("Two. ### Answer: 4", "no_answer"),
        ("Two.\n### User:\nx\n### Answer:\n4", "no_answer"),
        ("Two.\n### Answer:\n4\n### Answer:\n5", "multi_answer"),
        ("\n### Answer:\n4", "empty_rationale"),
        ("### Answer:\n4", "empty_rationale"),
        ("Two.\n### Answer:\n ", "empty_answer"),
        ("Two.\n### Rationale:\nThree.\n### Answer:\n4", "stray_header"),
        ("Two.\n### Answer:\n4\n### Note:\nx", "stray_header"),
        ("Two.\n### Answers:\n3\n### Answer:\n4", "stray_header"),
    ],
)
def test_invalid_generations(text: str, reason: str) -> None:
    assert reason in REASONS
    assert parse(text, finished=True) == Parsed(None, None, reason)
    if "### User:" not in text:
        assert parse(text, finished=False) == Parsed(None, None, "unfinished")


def test_a_next_turn_ends_a_generation_of_any_length() -> None:
    assert parse("Two.\n### Answer:\n4\n### Assistant:\nand", finished=False) == Parsed("Two.", "4", "")


def test_four_hashes_are_not_a_header() -> None:
    assert parse("Two.\n#### 4\n### Answer:\n4", finished=True).reason == ""


def test_stop_strings_end_every_turn_and_no_rationale() -> None:
    assert STOP_STRINGS == ["\n### User:", "\n### Assistant:", "\n### System:"]
    assert not any(stop in completion_cot("a\n\nb", "4") for stop in STOP_STRINGS)


@pytest.mark.parametrize("name", ["User", "Assistant", "System", "Rationale", "Answer"])
def test_contains_header(name: str) -> None:
    assert contains_header(f"### {name}: x")
    assert contains_header(f"x\n### {name}:")
    assert not contains_header(f"x ### {name}:")
    assert not contains_header(f"#### {name}:")


def test_every_real_training_row_survives_the_round_trip(shared: Path) -> None:
    with (shared / "data" / "tinycot_sample" / "train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 5102
    check_round_trip(rows)


def test_every_made_up_training_row_survives_the_round_trip() -> None:
    rows = made_up.tinycot()
    check_round_trip([{**row, "rationale": row["rationale"].strip(), "target": row["target"].strip()} for row in rows])


def check_round_trip(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert not any(contains_header(row[field]) for field in ("prompt", "rationale", "target"))
        completion = completion_cot(row["rationale"], row["target"])
        assert parse(completion, finished=True) == Parsed(row["rationale"], row["target"], ""), row["id"]
