"""Tests of files with rows, of all formats and with all faults: what is read is exactly the rows, or a row is dropped and
counted, or the source is refused in one line; nothing changes silently."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache

from memphis.config.sections import ROW_FILES
from memphis.errors import MemphisError
from memphis.training import model as models
from tests.data.test_sources import COMMIT, LOCAL, SHIPPED, read, refused
from tests.hub import put_dataset, put_model
from tests.tiny_models import write_model

GOOD = [
    {"prompt": f'{n} + 1?\nSay, "why"; it\'s\t1, 2', "rationale": f"  Ünïcode 数 🙂 {n}\r\nand on", "answer": a}
    for n, a in enumerate(("007", "NA", "5.0", "1e3", "None", "true", "nan", "-0"))
]
FIELDS = ("prompt", "rationale", "answer")
ROWS = [{name: row[name].strip() for name in FIELDS} for row in GOOD]


def table(rows: list[dict[str, Any]], delimiter: str = ",", end: str = "\n") -> bytes:
    """Write rows as other programs do; what is no text is written as they write it."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def lines(rows: list[dict[str, Any]], end: str = "\n") -> bytes:
    return "".join(json.dumps(row) + end for row in rows).encode()


def columns(rows: list[dict[str, Any]]) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return bytes(stream.getvalue().to_pybytes())


Rows = list[dict[str, Any]]
FORMATS: dict[str, Callable[[Rows], bytes]] = {
    ".jsonl": lines,
    ".json": lambda rows: json.dumps(rows).encode(),
    ".csv": table,
    ".tsv": lambda rows: table(rows, "\t"),
    ".parquet": columns,
}


def content(suffix: str, rows: Rows) -> bytes:
    plain = FORMATS[suffix.removesuffix(".gz")](rows)
    return gzip.compress(plain) if suffix.endswith(".gz") else plain


def outcome(tmp_path: Path, place: Path, **changes: Any) -> str | tuple[list[dict[str, str]], dict[str, int]]:
    """Return the rows and counts that are read, or the line of refusal."""
    try:
        found = read(tmp_path, place, LOCAL, max_drop_frac=1.0, **changes)
    except MemphisError as error:
        return str(error)
    return [{name: row[name] for name in FIELDS} for row in found.rows], found.counts


@pytest.mark.parametrize("suffix", ROW_FILES)
def test_every_format_is_read_alike_as_a_file_and_in_a_directory(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / f"odd [1] name{suffix}", tmp_path / "folder" / f"part{suffix}"):
        place.write_bytes(content(suffix, GOOD))
    whole = (ROWS, {"rows": 8, "kept": 8})
    assert outcome(tmp_path, tmp_path / f"odd [1] name{suffix}") == whole
    assert outcome(tmp_path, tmp_path / "folder") == whole
    (tmp_path / "folder" / f"part2{suffix}").write_bytes(content(suffix, GOOD[:1]))
    rows, counts = outcome(tmp_path, tmp_path / "folder")
    assert (rows, counts) == ([*ROWS, ROWS[0]], {"rows": 9, "kept": 9})


def test_the_suffixes_are_those_that_are_known() -> None:
    known = {suffix + zipped for suffix in FORMATS for zipped in ("", ".gz")} - {".parquet.gz"}
    assert set(ROW_FILES) == known


def changed(**change: Any) -> Rows:
    return [*GOOD[:3], {**GOOD[3], **change}]


TEXTS = (".jsonl", ".json", ".csv", ".tsv", ".csv.gz", ".jsonl.gz")
TYPED = (".jsonl", ".json", ".parquet", ".jsonl.gz")
LONG = "long " * 60_000
# Name -> (formats, rows, what is read of the last row: a row, a reason to drop it, or a part of the refusal).
FAULTS: dict[str, tuple[tuple[str, ...], Rows, Any]] = {
    "nothing wrong": (ROW_FILES, GOOD[:4], ROWS[3]),
    "a very long cell": (ROW_FILES, changed(rationale=f"a{LONG}b"), {**ROWS[3], "rationale": f"a{LONG}b"}),
    "an empty answer": (ROW_FILES, changed(answer=""), "dropped_blank"),
    "white space": (ROW_FILES, changed(answer=" \u00a0\n"), "dropped_blank"),
    "a header in a text": (ROW_FILES, changed(prompt="a\n### User:\nb"), "dropped_header"),
    "the same row twice": (ROW_FILES, [*GOOD[:3], GOOD[2]], ROWS[2]),
    "no value": (TYPED, changed(answer=None), "dropped_null"),
    "a number": ((".jsonl", ".json"), changed(answer=5), "dropped_non_string"),
    "a float": ((".jsonl", ".json"), changed(answer=5.0), "dropped_non_string"),
    "not a number": ((".jsonl", ".json"), changed(answer=float("nan")), "dropped_non_string"),
    "a truth value": ((".jsonl", ".json"), changed(answer=True), "dropped_non_string"),
    "a list": ((".jsonl", ".json"), changed(answer=["5"]), "dropped_non_string"),
    "an object": ((".jsonl", ".json"), changed(answer={"value": "5"}), "dropped_non_string"),
    "half of a pair": ((".jsonl", ".json"), changed(answer="\ud83d"), "dropped_non_string"),
    "a missing key": ((".jsonl", ".json"), [*GOOD[:3], {"prompt": "p", "rationale": "r"}], "dropped_null"),
    "all numbers": (TYPED, [{**row, "answer": 5} for row in GOOD], "column 'answer' for 'answer' is int64, not string"),
    "all floats": (TYPED, [{**row, "answer": 5.0} for row in GOOD], "is double, not string|is float64, not string"),
    "all lists": (TYPED, [{**row, "answer": ["5"]} for row in GOOD], "is list of string, not string"),
    "all nothing": (TYPED, [{**row, "answer": None} for row in GOOD], "no row of"),
    "another name": (ROW_FILES, [{"Frage": "p", "rationale": "r", "answer": "a"}], "no column for 'prompt'"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "suffix"), [(name, suffix) for name, (suffixes, *_) in FAULTS.items() for suffix in suffixes]
)
def test_a_fault_in_a_row_is_a_drop_or_a_refusal(name: str, suffix: str, tmp_path: Path) -> None:
    _, rows, expected = FAULTS[name]
    place = tmp_path / f"rows{suffix}"
    place.write_bytes(content(suffix, rows))
    found = outcome(tmp_path, place)
    if isinstance(found, str):
        assert found.startswith("data.sources.it")
        assert "\n" not in found
        assert any(part in found for part in str(expected).split("|")), found
    elif isinstance(expected, dict):
        assert found == ([*ROWS[:3], expected], {"rows": 4, "kept": 4})
    else:
        assert found == (ROWS[:3], {"rows": 4, "kept": 3, expected: 1})


TORN = gzip.compress(lines(GOOD))[:-9]
# Name -> (file, its content, what is read: all rows, or a part of the refusal).
FILES: dict[str, tuple[str, bytes, Any]] = {
    "BOM": ("a.jsonl", b"\xef\xbb\xbf" + lines(GOOD), ROWS),
    "BOM in a list": ("a.json", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), ROWS),
    "BOM in a table": ("a.csv", b"\xef\xbb\xbf" + table(GOOD), ROWS),
    "BOM in a compressed table": ("a.csv.gz", gzip.compress(b"\xef\xbb\xbf" + table(GOOD)), ROWS),
    "CRLF": ("a.jsonl", lines(GOOD, "\r\n"), ROWS),
    "CRLF in a table": ("a.csv", table(GOOD, end="\r\n"), ROWS),
    "blank lines": ("a.jsonl", b"\n\n" + lines(GOOD, "\n\n"), ROWS),
    "columns without a name": ("a.csv", b",,prompt,rationale,answer\n0,0,p,r,a\n", [{"prompt": "p", "rationale": "r", "answer": "a"}]),
    "blank lines in a table": ("a.csv", table(GOOD) + b"\n\n", ROWS),
    "no end of line": ("a.jsonl", lines(GOOD)[:-1], ROWS),
    "UTF-16": ("a.csv", table(GOOD).decode().encode("utf-16"), "cannot be read ('utf-8' codec"),
    "empty": ("a.csv", b"", "has no rows"),
    "empty and compressed": ("a.jsonl.gz", gzip.compress(b""), "has no rows"),
    "a header alone": ("a.csv", b"prompt,rationale,answer\n", "has no rows"),
    "semicolons": ("a.csv", b"prompt;rationale;answer\np;r;a\n", "no column for 'prompt'"),
    "a cell too many": ("a.csv", b"prompt,rationale,answer\np,r,a\np,r,1,000\n", "line 3 ends a row of 4 cells, the header has 3"),
    "a cell too few": ("a.csv", b"prompt,rationale,answer\np,r\n", "line 2 ends a row of 2 cells, the header has 3"),
    "a quote that does not end": ("a.csv", b'prompt,rationale,answer\np,"r,a\n', "cannot be read (unexpected end of data)"),
    "a quote that ends early": ("a.tsv", b'prompt\trationale\tanswer\n"p" is\tr\ta\n', "cannot be read ("),
    "a column twice": ("a.csv", b"prompt,answer,rationale,answer\np,1,r,2\n", "the header names 'answer' twice"),
    "a key twice": ("a.jsonl", b'{"prompt": "p", "rationale": "r", "answer": "1", "answer": "2"}\n', "line 1 is no JSON: the key 'answer' stands twice"),
    "a key twice in a list": ("a.json", b'[{"prompt": "p", "rationale": "r", "answer": "1", "answer": "2"}]', "the key 'answer' stands twice"),
    "one object of columns": ("a.json", b'{"prompt": ["p"], "rationale": ["r"], "answer": ["a"]}', "is list of string, not string"),
    "two lines in one": ("a.jsonl", b'{"prompt": "p"} {"prompt": "q"}\n', "line 1 is no JSON"),
    "cut off": ("a.jsonl.gz", TORN, "cannot be read ("),
    "not compressed": ("a.jsonl.gz", lines(GOOD), "cannot be read (Not a gzipped file"),
    "compressed after all": ("a.jsonl", gzip.compress(lines(GOOD)), "cannot be read ('utf-8' codec"),
    "unknown": ("a.xlsx", b"PK", "not a .jsonl, .json, .csv, .tsv, .jsonl.gz, .json.gz, .csv.gz, .tsv.gz, .parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_fault_of_a_file_is_no_silent_change(name: str, tmp_path: Path) -> None:
    file, raw, expected = FILES[name]
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / file, tmp_path / "folder" / file):
        place.write_bytes(raw)
        if name == "unknown" and place.parent.name == "folder":
            continue  # a directory may hold files that are no rows
        found = outcome(tmp_path, place if place.parent == tmp_path else place.parent)
        if isinstance(expected, str):
            assert isinstance(found, str)
            assert expected in found
            assert "\n" not in found
        else:
            assert found == (expected, {"rows": len(expected), "kept": len(expected)})


def test_nested_messages_of_parquet(tmp_path: Path) -> None:
    talk = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}] for n in range(3)]
    (tmp_path / "a.parquet").write_bytes(columns([{"messages": turns} for turns in talk]))
    found = read(tmp_path, tmp_path / "a.parquet", SHIPPED["oasst2"])
    assert [row["messages"] for row in found.rows] == talk
    spelt = [{"messages": json.dumps(turns)} for turns in talk]
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).write_bytes(content(Path(name).suffix, spelt))
        assert "is string, not list" in refused(tmp_path, tmp_path / name, SHIPPED["oasst2"])


@pytest.mark.parametrize(
    ("files", "unread"),
    [
        (("a.jsonl", "b.csv"), "1 files of {} are not read (b.csv)"),
        (("train.jsonl", "more.jsonl", "sub/more.csv"), "1 files of {} are not read (sub/more.csv)"),
        (("train.jsonl", "test.jsonl"), None),
        (("a.jsonl", "notes.txt", ".hidden.csv"), None),
        (("a.jsonl", "b.jsonl.gz", "c.json"), None),
    ],
)
def test_files_of_a_directory_that_are_left_out_are_said(
    files: tuple[str, ...], unread: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        known = name.endswith(ROW_FILES)
        suffix = "".join(Path(name).suffixes[-2:]) if name.endswith(".gz") else Path(name).suffix
        (folder / name).write_bytes(content(suffix, GOOD) if known else b"x")
    found = read(tmp_path, folder, LOCAL)
    assert found.warnings == ([f"data.sources.it: {unread.format(folder)}"] if unread else [])


CARD = """---
configs:
- config_name: main
  data_files: main/*.jsonl
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train.jsonl}
  - {split: test, path: socratic/test.jsonl}
---
"""


def test_of_several_configurations_one_is_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for number, name in enumerate(("main/rows.jsonl", "socratic/train.jsonl", "socratic/test.jsonl")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(lines(GOOD[number : number + 1]))
    (folder / "README.md").write_text(CARD)
    for number, changes in enumerate(
        ({"config": "main"}, {"config": "socratic"}, {"config": "socratic", "split": "test"})
    ):
        assert outcome(tmp_path, folder, **changes) == ([ROWS[number]], {"rows": 1, "kept": 1})
    assert read(tmp_path, folder, LOCAL, config="main").warnings == []
    assert refused(tmp_path, folder, LOCAL) == (
        f"data.sources.it.config: {folder} has several configurations (main, socratic); choose one: "
        "data.sources.it.config=main"
    )
    assert refused(tmp_path, folder, LOCAL, config="socratc") == (
        f"data.sources.it.config: {folder} has no configuration 'socratc', but 'socratic' (found: main, socratic)"
    )
    assert "has no configuration 'x' (found: main, socratic)" in refused(tmp_path, folder, LOCAL, config="x")
    assert "has no split 'test' (found: train)" in refused(tmp_path, folder, LOCAL, config="main", split="test")
    (folder / "README.md").unlink()
    assert "has no configuration 'main' (found: default)" in refused(tmp_path, folder, LOCAL, config="main")
    text = refused(tmp_path, folder / "main" / "rows.jsonl", LOCAL, config="main")
    assert text.endswith("is a file, which has no configurations; leave it out")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_data_set_that_is_not_whole_in_the_cache_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = put_dataset(cache, "some/rows", COMMIT, GOOD, shards=2)
    assert len(read(tmp_path, "some/rows@main", LOCAL).rows) == 16
    first, second = sorted((folder / "data").iterdir())
    second.unlink()
    command = "hf download some/rows --repo-type dataset --revision main"
    assert refused(tmp_path, "some/rows@main", LOCAL) == (
        "data.sources.it.path: some/rows is not whole in the cache: 1 of 2 files train-*-of-00002* are there; "
        f"complete it: {command}"
    )
    assert read(tmp_path, folder, LOCAL).counts["kept"] == 8  # a directory of one's own is what it is
    second.symlink_to(tmp_path / "blob that was removed")
    assert "data/train-00001-of-00002.parquet is a link to nothing; complete" in refused(
        tmp_path, "some/rows@main", LOCAL
    )
    second.unlink()
    first.unlink()
    text = refused(tmp_path, f"some/rows@{COMMIT}", LOCAL)
    assert text.endswith(f"complete it: {command.replace('main', COMMIT)}")


def test_a_data_set_whose_listing_is_known_is_compared_with_it(cache: Path, tmp_path: Path) -> None:
    folder = put_dataset(cache, "some/rows", COMMIT, GOOD)
    entries = {name: TreeCacheEntry(1, "0") for name in ("README.md", "data/train-00000-of-00001.parquet", "b.csv")}
    write_tree_cache(str(folder.parents[1]), COMMIT, entries)
    assert refused(tmp_path, "some/rows@main", LOCAL) == (
        "data.sources.it.path: some/rows is not whole in the cache: 1 file(s) are missing (b.csv); "
        "complete it: hf download some/rows --repo-type dataset --revision main"
    )


def test_a_model_that_is_not_whole_in_the_cache_is_refused(cache: Path, tmp_path: Path) -> None:
    made = write_model(tmp_path / "made", 0)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (made / "model.safetensors").rename(made / shards[0])
    index = {"metadata": {}, "weight_map": {"a": shards[0], "b": shards[1]}}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    snapshot = put_model(cache, "some/model", COMMIT, made)
    refusal = (
        f"model.path=some/model: is not whole in the cache: {shards[1]} missing; complete it: hf download some/model"
    )
    with pytest.raises(MemphisError) as caught:
        models.locate("some/model")
    assert str(caught.value) == refusal
    with pytest.raises(MemphisError) as caught:
        models.locate("some/model", "main")
    assert str(caught.value) == f"{refusal} --revision main"
    (snapshot / shards[1]).symlink_to(snapshot / shards[0])
    assert models.locate("some/model") == snapshot
