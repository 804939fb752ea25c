"""Tests of the loader on real samples, a generated sample and broken ones."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from memphis.config import Source, to_dict
from memphis.data import cleaning, prompts, sources
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY
from tests import made_up
from tests.composing import compose_config
from tests.hub import lines, put_dataset, reddit, write_lines

SHIPPED = to_dict(compose_config("data=memphis", "eval=none"))["data"]["sources"]
LOCAL = to_dict(compose_config("data=local", "data.path=x.jsonl", "eval=none"))["data"]["sources"]["local"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = {"prompt": "1 + 1?", "rationale": "1 + 1 = 2", "answer": "2"}


def read(
    tmp_path: Path,
    place: Path | str,
    config: dict[str, Any],
    /,
    name: str = "it",
    max_drop_frac: float = 0.05,
    min_rationale_chars: int = 1,
    **changes: Any,
) -> sources.Read:
    scratch = tmp_path / "scratch"
    found = sources.read(
        name,
        str(place),
        Source(**{**config, "expect_rows": None, **changes}),
        max_drop_frac=max_drop_frac,
        min_rationale_chars=min_rationale_chars,
        scratch=scratch,
    )
    assert not scratch.exists()
    assert found.counts["rows"] == found.counts["kept"] + sum(v for k, v in found.counts.items() if "dropped" in k)
    assert found.counts["kept"] == len(found.rows) == len({row["id"] for row in found.rows})
    for row in found.rows:  # the fields that the templates need
        assert prompts.spans(row, "every_turn")
    return found


def refused(tmp_path: Path, place: Path | str, config: dict[str, Any], /, **changes: Any) -> str:
    with pytest.raises(MemphisError) as caught:
        read(tmp_path, place, config, name="it", **changes)
    text = str(caught.value)
    assert text.startswith("data.sources.it")
    assert "\n" not in text
    assert not (tmp_path / "scratch").exists()
    return text


@pytest.mark.parametrize(("source", "count"), [("tinycot", 5102), ("scicot", 500)])
def test_real_reasoning_rows_are_all_kept(tmp_path: Path, shared: Path, source: str, count: int) -> None:
    check_that_all_are_kept(tmp_path, shared / "data" / f"{source}_sample", source, count)


@pytest.mark.parametrize(("source", "rows"), [("tinycot", made_up.tinycot()), ("scicot", made_up.scicot())])
def test_made_up_reasoning_rows_are_all_kept(tmp_path: Path, source: str, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "sample").mkdir()
    write_lines(tmp_path / "sample" / "train.jsonl", rows)
    check_that_all_are_kept(tmp_path, tmp_path / "sample", source, len(rows))


def check_that_all_are_kept(tmp_path: Path, folder: Path, source: str, count: int) -> None:
    original = lines(folder / "train.jsonl")
    for place in (folder, folder / "train.jsonl"):
        found = read(tmp_path, place, SHIPPED[source], name=source)
        assert found.counts == {"rows": count, "kept": count}
        assert found.revision is None
        assert not found.warnings
    assert [row["source"] for row in found.rows] == [row["source"] for row in original]
    for row, real in zip(found.rows, original, strict=True):
        assert row["kind"] == "cot"
        assert (row["prompt"], row["rationale"], row["answer"]) == tuple(
            real[key].strip() for key in ("prompt", "rationale", "target")
        )
        parsed = prompts.parse(prompts.completion_cot(row["rationale"], row["answer"]), finished=True)
        assert (parsed.rationale, parsed.answer) == (row["rationale"], row["answer"])


def test_real_conversations_are_all_kept(tmp_path: Path, shared: Path) -> None:
    folder = shared / "data" / "oasst_sample"
    found = read(tmp_path, folder, SHIPPED["oasst2"], name="oasst2")
    assert found.counts == {"rows": 95, "kept": 95}
    assert [len(row["messages"]) for row in found.rows].count(4) == 42
    assert {row["source"] for row in found.rows} == {"oasst2"}
    assert found.rows[3]["messages"][0]["content"] == lines(folder / "train.jsonl")[3]["messages"][0]["content"].strip()


def test_made_up_conversations_are_all_kept(tmp_path: Path) -> None:
    rows = made_up.oasst(20)
    found = read(tmp_path, write_lines(tmp_path / "oasst.jsonl", rows), SHIPPED["oasst2"], name="oasst2")
    assert found.counts == {"rows": 20, "kept": 20}
    assert [len(row["messages"]) for row in found.rows] == [2, 4] * 10
    assert {row["source"] for row in found.rows} == {"oasst2"}
    assert found.rows[3]["messages"][0]["content"] == rows[3]["messages"][0]["content"].strip()


def test_the_reddit_subset(tmp_path: Path) -> None:
    rows, kept = reddit(800)
    place = write_lines(tmp_path / "reddit.jsonl", rows)
    every = read(tmp_path, place, SHIPPED["reddit"], limit=None)
    assert every.counts["kept"] == kept
    assert every.counts["dropped_title"] == sum("[" in row["post_title"] for row in rows) > 50
    assert 0 < every.counts["dropped_blank"] < 20
    assert not [row for row in every.rows if "[" in row["prompt"] and "\n\n" not in row["prompt"]]
    assert any("(24F)" in row["prompt"] for row in every.rows)

    part = read(tmp_path, place, SHIPPED["reddit"], limit=100)
    assert part.counts["kept"] == 100
    assert part.counts["dropped_limit"] == kept - 100
    # The author's most probable code, literally.
    table = datasets.Dataset.from_list(rows).filter(lambda row: not re.search(r"[\[\]]", row["post_title"]))
    first = [row for row in table.shuffle(seed=42) if row["comment_text"].strip()][:100]
    assert [row["response"] for row in part.rows] == [row["comment_text"] for row in first]
    assert part == read(tmp_path, place, SHIPPED["reddit"], limit=100)
    assert part.rows != read(tmp_path, place, SHIPPED["reddit"], limit=100, subset_seed=43).rows


def test_title_blank_line_body(tmp_path: Path) -> None:
    rows = [
        {"post_title": " Why? ", "post_text": " I ask.\n", "comment_text": "So."},
        {"post_title": "Why?", "post_text": " \n", "comment_text": "So."},
        {"post_title": "Why?", "post_text": None, "comment_text": "So."},
    ]
    found = read(tmp_path, write_lines(tmp_path / "r.jsonl", rows), SHIPPED["reddit"], limit=None)
    assert [row["prompt"] for row in found.rows] == ["Why?\n\nI ask.", "Why?", "Why?"]
    without = [{key: value for key, value in row.items() if key != "post_text"} for row in rows]
    found = read(tmp_path, write_lines(tmp_path / "r.jsonl", without), SHIPPED["reddit"], limit=None)
    assert {row["prompt"] for row in found.rows} == {"Why?"}


def turns(text: str, system: str | None = None) -> list[dict[str, str]]:
    names = {"u": "user", "a": "assistant", "s": "system", "x": "tool"}
    return [{"role": names[c], "content": system if c == "s" and system is not None else f"{c}{i}"} for i, c in enumerate(text)]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        (turns("ua"), "ua"),
        (turns("uauau"), "uaua"),
        (turns("sua"), "sua"),
        (turns("sua", system=" "), "ua"),
        (turns("uua"), None),
        (turns("aua"), None),
        (turns("uas"), None),
        (turns("uxa"), None),
        (turns("u"), None),
        (turns("s"), None),
        ([], None),
    ],
)
def test_turns(messages: list[dict[str, str]], kept: str | None) -> None:
    if kept is None:
        with pytest.raises(cleaning.Dropped, match="roles in messages"):
            cleaning.row("chat", {"messages": messages})
    else:
        made = cleaning.row("chat", {"messages": messages})["messages"]
        assert "".join(turn["role"][0] for turn in made) == kept


def test_a_role_that_nobody_knows_is_told(tmp_path: Path) -> None:
    rows = [{"messages": turns("ua")}, {"messages": turns("uxa")}]
    text = refused(tmp_path, write_lines(tmp_path / "chat.jsonl", rows), SHIPPED["oasst2"])
    assert "1 of the 2 rows" in text
    assert "(row 1: roles in messages)" in text


def test_conversations_with_other_words(tmp_path: Path) -> None:
    rows = [
        {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]},
        {"conversations": [{"from": "Prompter", "value": "Hi"}, {"from": "bot", "value": "Yo"}, {"from": "prompter", "value": None}]},
    ]  # fmt: skip
    found = read(tmp_path, write_lines(tmp_path / "c.jsonl", rows), SHIPPED["oasst2"])
    assert [turn["role"] for turn in found.rows[0]["messages"]] == ["system", "user", "assistant"]
    assert found.rows[1]["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": None}, "null"),
        ({"answer": 4}, "non_string"),
        ({"answer": "\ud83d"}, "non_string"),
        ({"prompt": ["a"]}, "non_string"),
        ({"rationale": " \n"}, "blank"),
        ({"prompt": "a\n### User: b"}, "header"),
        ({"prompt": "### Answer:"}, "header"),
        ({"rationale": "a\n### Answer:\nb"}, "header"),
        ({"rationale": "### Step 1\na"}, "header"),  # a generation like this would be discarded
        ({"rationale": "short"}, "short_rationale"),
    ],
)
def test_each_reason_is_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    rows = [GOOD] * 3 + [{**GOOD, **change}]
    place = write_lines(tmp_path / "rows.jsonl", rows)
    found = read(tmp_path, place, LOCAL, max_drop_frac=0.25, min_rationale_chars=6)
    assert found.counts == {"rows": 4, "kept": 3, f"dropped_{reason}": 1}
    assert [row["id"] for row in found.rows] == ["it/0", "it/1", "it/2"]
    if reason == "short_rationale":  # requested by a setting: not an error in the data
        assert read(tmp_path, place, LOCAL, max_drop_frac=0.0, min_rationale_chars=6)
    else:
        text = refused(tmp_path, place, LOCAL, max_drop_frac=0.24)
        assert f"({reason} 1)" in text
        assert "1 of the 4 rows" in text
        assert "row 3" in text
        assert "raise data.max_drop_frac" in text


def test_columns_exact_then_in_another_case(tmp_path: Path) -> None:
    rows = [{"Prompt": "no", "question": "yes", "RATIONALE": "r", "Label": "no", "target": "yes", "source": ""}]
    found = read(tmp_path, write_lines(tmp_path / "a.jsonl", rows), SHIPPED["tinycot"], name="own")
    assert found.rows == [
        {"id": "own/0", "source": "own", "kind": "cot", "prompt": "yes", "rationale": "r", "answer": "yes"}
    ]


def test_a_missing_column_says_what_there_is_and_what_to_type(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    row = {"prompt": "p", "rationale": "r", "output": "o", "n": 3, "tags": ["x"], "meta": {"a": 1}}
    write_lines(folder / "train.jsonl", [row])
    write_lines(folder / "test.jsonl", [{"unlike": 1}])
    text = refused(tmp_path, folder, SHIPPED["tinycot"])
    assert text == (
        f"data.sources.it: {folder}[train]: no column for 'answer' (tried: target, answer, label). Found: prompt (string), "
        "rationale (string), output (string), n (int64), tags (list of string), meta ({a}); splits: train, test; "
        "set 'data.sources.it.columns.answer=[<name>]'"
    )
    columns = {**SHIPPED["tinycot"]["columns"], "answer": ["output"]}
    assert read(tmp_path, folder, SHIPPED["tinycot"], columns=columns).rows[0]["answer"] == "o"
    text = refused(tmp_path, folder, SHIPPED["tinycot"], columns={**columns, "answer": ["n"]})
    assert "column 'n' for 'answer' is int64, not string" in text
    text = refused(tmp_path, folder, SHIPPED["oasst2"], columns={"messages": ["prompt"]})
    assert "column 'prompt' for 'messages' is string, not list" in text
    text = refused(tmp_path, folder, SHIPPED["reddit"], columns={"title": ["prompt"]})
    assert "no column for 'response' (tried: response)" in text
    assert "'data.sources.it.columns.response=[<name>]'" in text
    assert "has no split 'dev' (found: train, test)" in refused(tmp_path, folder, SHIPPED["tinycot"], split="dev")


def test_all_missing_columns_are_said_at_once(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"task": "p", "rationale": "r", "solution": "a"}])
    assert refused(tmp_path, file, SHIPPED["tinycot"]) == (
        f"data.sources.it: {file}[train]: no column for 'prompt' (tried: prompt, question, instruction), "
        "'answer' (tried: target, answer, label). Found: task (string), rationale (string), solution (string); splits: train; "
        "set 'data.sources.it.columns={prompt: [<name>], answer: [<name>]}'"
    )


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert "empty.jsonl[train] has no rows" in refused(tmp_path, tmp_path / "empty.jsonl", LOCAL)
    (tmp_path / "none.json").write_text("[]")
    assert "none.json[train] has no rows" in refused(tmp_path, tmp_path / "none.json", LOCAL)
    (tmp_path / "numbers.jsonl").write_text("1\n2\n")
    assert "line 1 is no object: '1'" in refused(tmp_path, tmp_path / "numbers.jsonl", LOCAL)
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}'.encode("latin-1"))
    assert "latin.jsonl cannot be read ('utf-8' codec" in refused(tmp_path, tmp_path / "latin.jsonl", LOCAL)
    (tmp_path / "torn.jsonl").write_text('{"prompt": "x", "answer": "y"}\n{"prompt": "\n')
    assert "cannot be read (line 2 is no JSON: Unterminated string" in refused(tmp_path, tmp_path / "torn.jsonl", LOCAL)
    (tmp_path / "junk.parquet").write_text("junk")
    assert "cannot be read (Parquet" in refused(tmp_path, tmp_path / "junk.parquet", LOCAL)
    (tmp_path / "rows.txt").write_text("x")
    assert ".tsv.gz, .parquet file or a directory of such files" in refused(tmp_path, tmp_path / "rows.txt", LOCAL)
    assert "not a .jsonl, .json, .csv, .tsv, .jsonl.gz," in refused(tmp_path, tmp_path / "rows.txt", LOCAL)
    (tmp_path / "folder").mkdir()
    assert "doesn't contain any data files" in refused(tmp_path, tmp_path / "folder", LOCAL)
    none = pa.schema([(name, pa.string()) for name in GOOD])
    pq.write_table(none.empty_table(), tmp_path / "no_rows.parquet")
    assert "no_rows.parquet[train] has no rows" in refused(tmp_path, tmp_path / "no_rows.parquet", LOCAL)
    assert "my/rows.jsonl: no such file" in refused(tmp_path, "my/rows.jsonl@main", LOCAL)
    place = write_lines(tmp_path / "r.jsonl", [GOOD])
    assert "is left (short_rationale 1)" in refused(tmp_path, place, LOCAL, min_rationale_chars=99)


def test_another_number_of_rows_is_a_warning(tmp_path: Path) -> None:
    found = read(tmp_path, write_lines(tmp_path / "a.jsonl", [GOOD]), LOCAL, expect_rows=27676)
    assert found.warnings == [f"data.sources.it: {tmp_path / 'a.jsonl'}[train] has 1 rows, expected were 27676"]


def test_from_the_cache_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    put_dataset(cache, "some/rows", COMMIT, [GOOD])
    other = COMMIT[::-1]
    put_dataset(cache, "some/rows", other, [GOOD, GOOD], branch="dev")
    for revision, commit, count in ((COMMIT, COMMIT, 1), ("main", COMMIT, 1), ("dev", other, 2), (other, other, 2)):
        found = read(tmp_path, f"some/rows@{revision}", LOCAL)
        assert (found.revision, len(found.rows)) == (commit, count)
    text = refused(tmp_path, "some/rows@v2", LOCAL)
    assert text.startswith("data.sources.it.revision: some/rows at revision v2 is not, or not wholly, in the cache")
    assert f"which has {COMMIT}, {other}" in text
    assert "until=data" in text
    assert "nothing of it" in refused(tmp_path, "some/others@main", LOCAL)


def test_the_environment_variable_is_enough(tmp_path: Path) -> None:
    put_dataset(tmp_path / "hub", "some/rows", COMMIT, [GOOD])
    code = f"""
import sys
from pathlib import Path
from memphis.data import sources
from memphis.config import Source
config = Source(**{LOCAL!r})
found = sources.read("it", "some/rows@main", config, max_drop_frac=0, min_rationale_chars=1, scratch=Path("scratch"))
print(found.revision, len(found.rows))
print("torch" in sys.modules)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [COMMIT, "1", "False"], done.stderr[-500:]


def test_roles_of_the_shipped_sources_are_those_that_are_read() -> None:
    for name, source in SHIPPED.items():
        assert set(source["columns"]) <= set(cleaning.ROLES[source["kind"]]), name
    known = {role for roles in cleaning.ROLES.values() for role in roles}
    assert set(LOCAL["columns"]) == known
    assert set(SHIPPED["reddit"]) == set(Source.__dataclass_fields__)
