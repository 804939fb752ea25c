"""Tests of the contamination check: planted rows are found, clean ones are not; the matches in the shared samples.

They use made-up items, and real ones where the name of the test says so.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from eval.contamination import COMMON, Index, TrainingRow, main, read_parts, read_training, words_of
from eval.suites import CURRENT
from memphis.data import tiny
from memphis.errors import MemphisError

OURS = [  # no item of a test set
    {
        "id": "clean-0",
        "source": "invented",
        "prompt": "A lighthouse keeper polishes nine brass lamps each evening and finds two of them cracked after a storm.",
        "rationale": "Nine lamps minus the two cracked ones leaves seven lamps that still shine over the bay tonight.",
        "target": "7",
    },
    {"messages": [{"role": "user", "content": "Tell me a story about a lighthouse, please, with a fox in it."}]},
]


@pytest.fixture(scope="module")
def index(mirror: Path) -> Index:
    return Index(read_parts(mirror))


@pytest.fixture(scope="module")
def real(shared: Path) -> Index:
    return Index(read_parts(shared / "benchmarks"))


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, rows: list[Any], end: str = "\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(row) for row in rows) + end, encoding="utf-8")
    return file


def row(*texts: str) -> TrainingRow:
    return TrainingRow("row", "source", texts)


def test_words_forget_what_a_copy_may_have_changed() -> None:
    assert words_of("It’s $1,200.50 (＄ＦＵＬＬ), <<3*4=12>>12!\n#### 12") == [
        "it",
        "s",
        "1200",
        "50",
        "full",
        "12",
        "12",
    ]
    assert words_of("1,2 and 1,234,567") == ["1", "2", "and", "1234567"]
    assert words_of("<> ()") == []


def test_planted_items_of_every_benchmark_are_found(index: Index, mirror: Path) -> None:
    gsm8k = lines(mirror / "gsm8k/test.jsonl")[7]
    aqua = lines(mirror / "agieval/hub/aqua-rat/test.jsonl")[0]["query"]
    aqua = aqua.replace(" Answer Choices: (A)", "\nA) ").replace("(B)", "\nB) ").upper()  # a possible TinyCoT layout
    bbh = lines(mirror / "bbh/test/causal_judgement.jsonl")[3]["input"]
    planted = [
        row(gsm8k["question"]),
        row("Please solve this.", f"I think that {gsm8k['answer']}"),
        row(f"{aqua}"),
        row("story", f"{bbh} Yes or no?"),
        *(row(*text["prompt"].split("\n")) for text in OURS[:1]),
    ]
    found = {(planted.index(match.row), str(match.part)): match.overlap for match in index.matches(planted)}
    assert found[0, "gsm8k/7 question"] == 1
    assert found[1, "gsm8k/7 solution"] == 1
    assert found[2, "agieval_aqua_rat/0 question"] == 1
    assert found[3, "bbh_cot_fewshot_causal_judgement/3 question"] == 1
    assert {place for place, _ in found} == {0, 1, 2, 3}


def test_overlap_is_the_share_of_the_item(index: Index, mirror: Path) -> None:
    words = words_of(lines(mirror / "gsm8k/test.jsonl")[0]["question"])
    half = row("something else before " + " ".join(words[:30]))
    (match,) = index.matches([half])
    assert (match.part.task, match.part.item, match.part.name) == ("gsm8k", 0, "question")
    assert match.overlap == pytest.approx((30 - 12) / (len(words) - 12))
    assert match.stretch() == " ".join(words[:30])
    assert index.matches([row(" ".join(words[:12])), row(" ".join(words[:12]), " ".join(words[12:24]))]) == []


def test_short_items_are_looked_for_as_a_whole(index: Index) -> None:
    short = [
        part for part, size in zip(index.parts, index.sizes, strict=True) if len(words_of(part.text)) < 13 and size
    ]
    part = next(part for part in short if part.task == "agieval_aqua_rat" and part.name == "question")
    assert part in [match.part for match in index.matches([row(f"Now: {part.text} Think!")])]
    assert part not in [match.part for match in index.matches([row(part.text.rsplit(" ", 2)[0])])]


def test_wording_that_many_items_share_and_rows_of_numbers_do_not_count(index: Index, mirror: Path) -> None:
    logic = lines(mirror / "bbh/test/logical_deduction_five_objects.jsonl")[0]["input"].split(". ")[0]
    assert len(words_of(logic)) > 13
    assert index.matches([row(logic), row("A) 5 B) 10 C) 15 D) 20 E) 25 A) 5 B) 10 C) 15 D) 20")]) == []
    assert COMMON == 10


def test_nearly_every_item_can_be_found(index: Index) -> None:
    assert index.unchecked() == {
        "gsm8k": (120, 0),
        "agieval_aqua_rat": (12, 0),
        "agieval": (7 * 12, 0),
        "bbh": (25 * 12 + 2 * 70, 3 * 12),  # sums, brackets, truth values
    }


def test_nearly_every_real_item_can_be_found(real: Index) -> None:
    assert real.unchecked() == {
        "gsm8k": (1319, 0),
        "agieval_aqua_rat": (254, 8),
        "agieval": (2292, 3),
        "bbh": (6511, 781),  # sums, brackets, truth values: no words
    }


def test_a_clean_set_has_nothing(index: Index) -> None:
    problems = [
        row(problem["prompt"], problem["rationale"]) for problem in tiny.problems("train", 300, 0, tiny.Difficulty())
    ]
    assert index.matches([*problems, *(row(json.dumps(text)) for text in OURS)]) == []


def test_what_the_shared_samples_share_with_the_test_sets(real: Index, shared: Path) -> None:
    found = real.matches(read_training(shared / "data" / "tinycot_sample"))
    assert {(match.row.name, str(match.part)): round(match.overlap, 2) for match in found} == {
        ("aqua-dev-228", "agieval_sat_math/77 choices"): 1.0,  # "I only … II only … III only"
        ("gsm8k-train-20", "gsm8k/632 question"): 0.3,  # the same story with other numbers
        ("aqua-dev-159", "agieval_aqua_rat/222 question"): 0.22,
        ("gsm8k-train-5003", "gsm8k/18 solution"): 0.05,
    }


def test_rows_of_all_formats_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "data" / "a.jsonl", OURS, end="")
    rows = read_training(file)
    assert [(one.name, one.source) for one in rows] == [("clean-0", "invented"), ("a.jsonl:2", "data/a")]
    assert rows[0].texts == [OURS[0]["prompt"], OURS[0]["rationale"], "7"]
    assert rows[1].texts == ["Tell me a story about a lighthouse, please, with a fox in it."]
    (tmp_path / "b.json").write_text(json.dumps(OURS[:1], indent=1))
    pa.parquet.write_table(pa.Table.from_pylist(OURS[:1]), tmp_path / "data" / "c.parquet")
    assert read_training(tmp_path / "b.json") == read_training(tmp_path / "data" / "c.parquet") == rows[:1]
    assert len(read_training(tmp_path)) == 3  # .json files in a directory are not data
    (tmp_path / "data" / "d.csv").write_text("prompt,answer\nHow many?,007\n")
    (tmp_path / "data" / "e.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    assert read_training(tmp_path / "data" / "d.csv")[0].texts == ["How many?", "007"]
    assert [one.texts for one in read_training(tmp_path / "data" / "e.jsonl.gz")] == [one.texts for one in rows]
    assert len(read_training(tmp_path)) == 6


def test_a_data_stage_counts_a_question_once_and_no_test_rows(tmp_path: Path) -> None:
    write(tmp_path / "sft.jsonl", OURS[:1])
    write(tmp_path / "questions.jsonl", [OURS[0], {**OURS[0], "id": "clean-1"}])
    write(tmp_path / "test.jsonl", [{"id": "test-0", "prompt": "A question of the test set."}])
    assert [one.name for one in read_training(tmp_path)] == ["clean-0", "clean-1"]


def test_bad_input_is_one_line(tmp_path: Path, mirror: Path) -> None:
    cases = {
        "nothing.jsonl": ("", "no rows with text"),
        "broken.jsonl": ('{"prompt": "a"}\n{"prompt": \n', "broken.jsonl, line 2: not JSON"),
        "broken.csv": ("prompt,answer\na\n", "broken.csv: cannot be read .line 2 ends a row of 1 cells"),
        "broken.json": ("[1, ", "broken.json: cannot be read"),
        "broken.parquet": ("PAR1", "broken.parquet: cannot be read"),
    }
    for name, (text, reason) in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MemphisError, match=reason) as fault:
            read_training(tmp_path / name)
        assert "\n" not in str(fault.value)
    with pytest.raises(MemphisError, match="absent: cannot be read"):
        read_training(tmp_path / "absent")
    with pytest.raises(MemphisError, match=r"gsm8k/test.jsonl: not found; --benchmarks needs the mirror"):
        read_parts(tmp_path)
    write(tmp_path / "gsm8k" / "test.jsonl", [{"query": "?"}])
    with pytest.raises(MemphisError, match="an item without 'question'"):
        read_parts(tmp_path)
    with pytest.raises(MemphisError, match="--n=3"):
        main([str(tmp_path), "--n", "3"])


def small_mirror(folder: Path, mirror: Path) -> Path:
    """Write the first two items of each task to `folder`."""
    for column in CURRENT.columns:
        for task in column.tasks:
            name = task.removeprefix("agieval_").replace("_", "-")
            file = {
                "gsm8k": "gsm8k/test.jsonl",
                "agieval": f"agieval/hub/{name}/test.jsonl",
                "bbh": f"bbh/test/{task.removeprefix('bbh_cot_fewshot_')}.jsonl",
            }[column.name]
            write(folder / file, lines(mirror / file)[:2])
    return folder


def test_what_is_printed_and_written(tmp_path: Path, mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gsm8k = lines(mirror / "gsm8k/test.jsonl")[:2]
    planted = [
        {"id": f"bad\x1b[31m-{k}", "source": "gsm8k", "prompt": item["question"]} for k, item in enumerate(gsm8k)
    ]
    data = write(tmp_path / "rows.jsonl", [*planted, *OURS])
    small = small_mirror(tmp_path / "mirror", mirror)
    assert main([str(data), "--benchmarks", str(small), "--show", "1", "--out", str(tmp_path / "pairs.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    table = {line.split("  ")[0]: line.split("  ")[1:] for line in shown.splitlines()}
    assert [cell.strip() for cell in table["gsm8k"] if cell.strip()] == ["2", "2 (2)", "0", "0", "0"]
    assert [cell.strip() for cell in table["all"] if cell.strip()] == ["4", "2 (2)", "0", "0", "0"]
    assert "and 1 more pairs" in shown
    pairs = lines(tmp_path / "pairs.jsonl")
    assert [(pair["task"], pair["item"], pair["part"], pair["overlap"]) for pair in pairs] == [
        ("gsm8k", 0, "question", 1.0),
        ("gsm8k", 1, "question", 1.0),
    ]
    assert pairs[0]["words"] == " ".join(words_of(gsm8k[0]["question"]))
