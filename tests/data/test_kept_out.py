"""Tests of held-out rows: which are chosen, that neither training nor generation sees them, and the keys of stages."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memphis.config.forms import parse
from memphis.data import heldout
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.pipeline import KINDS
from memphis.recipe import recipe
from memphis.stages import data
from memphis.stages.context import Context, Runtime, Worker
from memphis.store import Stage, read_json
from tests.composing import compose_config
from tests.hub import write_lines

ROWS = [{"prompt": f"{n} + 1?", "rationale": f"{n} + 1 = {n + 1}", "answer": str(n + 1)} for n in range(200)]
LOCAL = ("data=local", "eval=none")


def data_stage(tmp_path: Path, *overrides: str) -> Stage:
    return recipe(compose_config(*LOCAL, *overrides), tmp_path / "identities.json")[0]


def build(tmp_path: Path, *overrides: str) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Build the data stage; return its summary, and its rows by file."""
    stage = data_stage(tmp_path, *overrides)
    out = tmp_path / "out" / stage.key
    out.mkdir(parents=True)
    context = Context("data", {}, stage.seed or 0, 0, stage.places, out, Worker(Runtime("cpu", 1, 64)))
    summary = data.run(context, parse(KINDS["data"].form, stage.config))
    files = {name: read_rows(out / f"{name}.jsonl") for name in ("sft", "questions", "heldout")}
    return summary | {"counts": read_json(out / "counts.json")}, files


def prompts(rows: list[dict[str, Any]]) -> set[str]:
    return {row["prompt"] for row in rows}


def test_a_share_is_chosen_by_the_prompt_alone(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", ROWS)
    write_lines(tmp_path / "b.jsonl", [*({**row, "prompt": f"New {row['prompt']}"} for row in ROWS[:50]), *ROWS[::-1]])
    few, many = (
        build(tmp_path, f"data.path={tmp_path}/{file}.jsonl", f"+data.sources.local.heldout={share}")
        for file, share in (("a", 0.1), ("b", 0.2))
    )
    assert prompts(few[1]["heldout"]) <= prompts(many[1]["heldout"])  # rows were added and moved, the share is larger
    for summary, files in (few, many):
        held = prompts(files["heldout"])
        assert not held & prompts(files["sft"])
        assert not held & prompts(files["questions"])
        assert len(held) == len(files["heldout"]) == summary["heldout"] == summary["counts"]["local"]["heldout"]
        counts = summary["counts"]["local"]
        assert counts["kept"] == len(files["sft"]) == counts["rows"] - counts["dropped_heldout"]
    assert 10 <= len(few[1]["heldout"]) <= 30  # of 200: binomial with p = 0.1
    assert few[1]["heldout"][0].keys() == {"data", "id", "source", "prompt", "rationale", "answer"}


def test_a_prompt_of_held_out_rows_is_dropped_from_all_sources(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", ROWS[:20])
    write_lines(tmp_path / "held.jsonl", [{**ROWS[3], "prompt": " 3  + 1?"}, ROWS[100], ROWS[100]])
    write_lines(tmp_path / "chat.jsonl", [chat("3 + 1?"), chat("Hello")])
    other = f"{{kind: chat, path: {tmp_path}/chat.jsonl, human: 'true', columns: {{}}}}"
    summary, files = build(
        tmp_path,
        f"data.path={tmp_path}/a.jsonl",
        f"+data.sources.local.heldout={tmp_path}/held.jsonl",
        f"+data.sources.other={other}",
    )
    assert [(row["id"], row["source"]) for row in files["heldout"]] == [
        ("local/heldout/0", "local"),
        ("local/heldout/1", "local"),
    ]
    assert len(files["sft"]) == 19 + 1
    assert "3 + 1?" not in prompts(files["questions"])
    assert [summary["counts"][name].get("dropped_heldout") for name in ("local", "other")] == [1, 1]


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}


def test_a_split_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for split, rows in (("train", ROWS[:9]), ("test", ROWS[9:12])):
        write_lines(tmp_path / "rows" / f"{split}.jsonl", rows)
    _, files = build(tmp_path, f"data.path={tmp_path}/rows", "+data.sources.local.heldout=test")
    assert prompts(files["heldout"]) == prompts(ROWS[9:12])
    assert prompts(files["sft"]) == prompts(ROWS[:9])


def test_the_key_of_stage_data_moves_with_what_is_held_out_and_only_then(tmp_path: Path) -> None:
    for name in ("a", "held", "moved"):
        write_lines(tmp_path / f"{name}.jsonl", ROWS[:3])
    path = f"data.path={tmp_path}/a.jsonl"
    none, null, share, split, file, moved = (
        data_stage(tmp_path, path, *(f"+data.sources.local.heldout={value}" for value in values))
        for values in ((), ("null",), (0.5,), ("test",), (f"{tmp_path}/held.jsonl",), (f"{tmp_path}/moved.jsonl",))
    )
    assert none.key == null.key
    assert "heldout" not in none.config["sources"]["local"]
    assert len({none.key, share.key, split.key, file.key}) == 4
    assert file.key == moved.key  # its content counts, not where it is
    write_lines(tmp_path / "held.jsonl", ROWS[:4])
    assert data_stage(tmp_path, path, f"+data.sources.local.heldout={tmp_path}/held.jsonl").key != file.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+data.sources.local.heldout=1.5", "^data.sources.local.heldout=1.5: a share between 0 and 1"),
        ("+data.sources.local.heldout=train", "heldout='train': the split that is trained on"),
        ("+data.sources.local.heldout=0.000001", "heldout=1e-06: none of 200 rows is held out"),
        ("+data.sources.local.heldout={path}", "all 200 rows are held out"),
        ("+data.sources.local.heldout=nowhere/x.jsonl", "data.sources.local.heldout='nowhere/x.jsonl': no such file"),
        ("+data.sources.local.heldout=test", "has no split 'test'"),
    ],
)
def test_what_cannot_be_held_out_is_refused(tmp_path: Path, change: str, message: str) -> None:
    write_lines(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(MemphisError, match=message):
        build(tmp_path, f"data.path={tmp_path}/a.jsonl", change.format(path=tmp_path / "a.jsonl"))


def test_rows_without_answers_cannot_be_held_out() -> None:
    with pytest.raises(MemphisError, match="heldout: kind 'instruct' has no answers"):
        compose_config(
            *LOCAL, "data.path=x", "data.sources.local.kind=instruct", "data.sources.local.questions=false",
            "method=sft_only", "+data.sources.local.heldout=0.5",
        )  # fmt: skip


def test_the_prompts_of_rows_of_all_kinds() -> None:
    assert heldout.keys({"prompt": " A \n b"}) == ["a b"]
    assert heldout.keys({"messages": [*chat("One?")["messages"], *chat("Two?")["messages"]]}) == ["one?", "two?"]


def mixed(*origins: str, each: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"{origin} {n}?", "rationale": "Because.", "answer": "yes", "source": origin}
        for n in range(each)
        for origin in origins
    ]


def origins_of(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["source"] for row in rows)


def test_origins_select_rows_and_limit_counts_for_each(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [*mixed("Tal_EN", "tal_cn", "flute", "other", each=30), {"prompt": None}])
    words = (f"data.path={tmp_path}/a.jsonl", "data.sources.local.origins=['tal(?!.*cn)',flute]")
    _, files = build(tmp_path, *words, "data.sources.local.heldout=0.2")
    assert origins_of(files["sft"]) + origins_of(files["heldout"]) == {"Tal_EN": 30, "flute": 30}
    summary, files = build(tmp_path, *words, "data.sources.local.heldout=0.2", "data.sources.local.limit=10")
    assert origins_of(files["sft"]) == origins_of(files["questions"]) == {"Tal_EN": 10, "flute": 10}
    assert len(files["heldout"]) > 4  # a share of all rows, not of the ten
    counts = summary["counts"]["local"]
    assert (counts["kept"], counts["dropped_origin"], counts["heldout"]) == (20, 61, len(files["heldout"]))
    assert counts["rows"] == sum(number for key, number in counts.items() if key not in ("rows", "heldout"))


def test_a_number_of_questions_counts_for_each_origin(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [*mixed("tal", "flute", each=12), *mixed("tal", each=1)])
    words = (f"data.path={tmp_path}/a.jsonl", "data.sources.local.questions=4", "+data.sources.local.heldout=0.1")
    summary, files = build(tmp_path, *words, "data.sources.local.origins=[tal,flute]")
    assert origins_of(files["questions"]) == {"tal": 4, "flute": 4}
    assert prompts(files["questions"]) <= prompts(files["sft"])
    assert not prompts(files["heldout"]) & prompts(files["sft"])
    assert summary["questions"] == 8
    _, files = build(tmp_path, *words)
    assert len(files["questions"]) == 4  # of the source as a whole
    with pytest.raises(MemphisError, match=r"data.sources.local.questions=40: there are \d+ rows of tal$"):
        build(tmp_path, *words[::2], "data.sources.local.questions=40", "data.sources.local.origins=[tal,flute]")


def test_keys_move_with_origins_and_questions_and_only_then(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", mixed("tal", each=3))
    path, origins = f"data.path={tmp_path}/a.jsonl", "data.sources.local.origins"
    none, null, some, two = (
        data_stage(tmp_path, path, *words)
        for words in ((), (f"{origins}=null",), (f"{origins}=[tal]",), ("data.sources.local.questions=2",))
    )
    assert none.key == null.key
    assert "origins" not in none.config["sources"]["local"]
    assert len({none.key, some.key, two.key}) == 3
    with pytest.raises(MemphisError, match=r"data.sources.local.origins.0='\(': not a regular expression"):
        data_stage(tmp_path, path, f"{origins}=['(']")
