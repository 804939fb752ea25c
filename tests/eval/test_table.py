"""Tests of the table: the card's numbers from counts, our rows beside them, and records that must stay out."""

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.records import find
from eval.table import BEGIN, END, main, markdown, notes, our_rows, read_reference, save
from eval.table_rows import REFERENCE
from memphis.errors import MemphisError
from tests.eval.test_records import ITEMS, full_record, tiny_record, write_run, write_stage

# As the model card prints them, with its marks; the mark for the second best of GSM8K is added, the card has none.
CARD = """
| stabilityai/stablelm-3b-4e1t | 3B | Base | Base | 2.05% | 25.14% | 36.75% |
| cxllin/StableHermes-3b | 3B | GPT | SFT | 3.64% | 24.31% | **37.28%** |
| mosaicml/mpt-7b-instruct | 7B | Human+Anthropic | SFT | 2.05% | 24.12% | 11.01% |
| VMware/open-llama-7b-v2-open-instruct | 7B | Human (nearly: ecqa is an exception) | SFT | *8.64%* | 23.21% | 29.84% |
| stabilityai/stablelm-zephyr-3b | 3B | GPT | DPO | possibly contaminated (45.72%) | **33.31%** | 0.91% |
| heegyu/LIMA2-7b-hf | 7B | Human | SFT | 4.55% | 24.55% | 36.29% |
| euclaise/Memphis-CoT-3B | 3B | Human | Self-teaching | **18.8%** | *27.22%* | *36.92%* |
"""
ALL_ITEMS = (1319, 2546, 6511)


def cells(text: str) -> list[list[str]]:
    """Return the rows of the first Markdown table in a text, without heading."""
    block = next(block for block in text.split("\n\n") if block.startswith("| Model"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return an empty folder of committed results."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Write a run of the whole recipe, evaluated with both suites."""
    records = {"card": full_record("card", 260, 700, 2500), "current": full_record("current", 240, 700, 2450)}
    return write_run(tmp_path, "memphis_cot", records, ["+exp=memphis_cot"])


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_the_published_rows_are_the_cards() -> None:
    published = cells(markdown(read_reference().rows, read_reference()))
    expected = cells(f"| Model\n| -{CARD.rstrip()}")
    for row, card in zip(published, expected, strict=True):
        hub = re.search(r"\(https://hf.co/(.*)\)", row[0])
        assert hub
        assert [hub[1], *row[1:4]] == card[:4]
        for cell, number in zip(row[4:], card[4:], strict=True):
            assert re.sub(r" ± \d\.\d\d", "%", cell).replace("18.80%", "18.8%") == number


def test_counts_are_whole_and_no_other_count_gives_the_percentage() -> None:
    for row in read_reference().rows:
        for cell, n in zip(row.cells.values(), ALL_ITEMS, strict=True):
            assert cell.n == n
            same = [count for count in range(n + 1) if f"{100 * count / n:.2f}" == f"{100 * cell.share:.2f}"]
            assert same == [cell.count]


def test_standard_errors_of_the_published_rows() -> None:
    memphis = read_reference().rows[-1]
    errors = [100 * (cell.stderr or 0) for cell in memphis.cells.values()]
    assert errors == pytest.approx([1.076, 0.882, 0.598], abs=0.001)


def test_the_notes_tell_which_differences_are_noise() -> None:
    text = "\n".join(notes(read_reference().rows, read_reference()))
    assert "BIG Bench Hard (CoT): within noise of the best, StableHermes 3B: StableLM 3B Base (36.75)" in text
    assert "LIMA LLaMA 2 7B (36.29), Memphis-CoT 3B (36.92)." in text
    assert "AGIEval (English/Nous subset, acc_norm): within noise" not in text  # Zephyr leads by 4.7 standard errors
    z = (693 - 640) / 2546 / math.hypot(*(math.sqrt(p * (1 - p) / 2545) for p in (693 / 2546, 640 / 2546)))
    assert z == pytest.approx(1.69, abs=0.01)
    assert f"AGIEval (English/Nous subset, acc_norm) +2.08 points ({z:.1f} standard errors)" in text
    for fact in ("3 demonstrations", "temperature 1", "artefact", "end-of-text", "quoted", "Nothing of ours"):
        assert fact in text


def test_our_rows_stand_beside_them_with_pooled_errors(
    ours: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, ours, "--results", results)
    card, current = text.split("**Measured by lm-evaluation-harness as it is today (suite `current`)**")
    rows = cells(card)
    assert len(rows) == 8
    assert rows[-1][:4] == ["memphis_cot, seed 0 (ours)", "3B", "Human (mixed: tinycot)", "Self-teaching"]
    assert rows[-1][4:] == ["**19.71 ± 1.10**", "*27.49 ± 0.89*", "**38.40 ± 0.60**"]
    assert rows[-2][4] == "*18.80 ± 1.08*"  # the published one is second now
    assert [row[0] for row in cells(current)] == ["memphis_cot, seed 0 (ours)"]
    assert cells(current)[0][4] == "**18.20 ± 1.06**"
    assert "memphis_cot, seed 0 (ours) minus Memphis-CoT 3B, as independent samples: GSM8K (5-shot) +0.91" in text
    provenance = (
        "lm-eval 0.4.13, vllm 0.32.0, bfloat16, seed 0, weights ffffffffffff, record `evaluate-memphis_cot-last`"
    )
    assert f"suite `card`, {provenance}, run memphis_cot-1, commit 0123456 and changes." in text
    assert "Nothing of ours" not in text


def test_pooled_error_ignores_the_spread_between_tasks(ours: Path) -> None:
    record = full_record("card", 260, 700, 0)
    for place, task in enumerate(list(ITEMS)[9:]):  # half of BBH all right, half all wrong
        n, right = ITEMS[task], ITEMS[task] * (place % 2)
        record["tasks"][task] |= {"count": right, "score": right / n, "stderr": 0.0}
        record["columns"]["bbh"]["count"] += right
    record["columns"]["bbh"]["score"] = record["columns"]["bbh"]["count"] / 6511
    folder = write_stage(ours.parents[2] / "store" / "evaluate-spread", {"card": record})
    (row,) = our_rows([find(folder)], read_reference())
    assert row.cells["bbh"].stderr == 0
    assert row.cells["bbh"].count == record["columns"]["bbh"]["count"] > 3000


def test_a_published_model_that_was_measured_here(tmp_path: Path) -> None:
    reference = read_reference()
    hub = "stabilityai/stablelm-zephyr-3b"
    overrides = ["method=none", "model=hf", f"model.path={hub}", "eval=card"]
    zephyr = write_run(tmp_path, "zephyr", {"card": full_record("card", 600, 850, 2000)}, overrides, slug="method-none")
    rows = [*reference.rows, *our_rows([find(zephyr)], reference)]
    text = markdown(rows, reference)
    names = [row[0].split("]")[0].strip("[") for row in cells(text)]
    assert names[names.index("StableLM Zephyr 3B") + 1] == "StableLM Zephyr 3B (ours)"  # right below the quoted row
    row = cells(text)[names.index("StableLM Zephyr 3B (ours)")]
    assert row[1:4] == ["3B", "GPT", "DPO"]
    assert row[4].startswith("possibly contaminated (45.49 ± ")  # also in our own measurement
    assert "StableLM Zephyr 3B (ours) minus StableLM Zephyr 3B, as independent samples" in text


def test_a_model_that_cannot_be_loaded_is_said_and_stays_quoted(tmp_path: Path) -> None:
    reference = read_reference()
    record = {"suite": "card", "not_loadable": "MPTForCausalLM is not supported"}
    overrides = ["method=none", "model=hf", "model.path=mosaicml/mpt-7b-instruct", "eval=card"]
    mpt = write_run(tmp_path, "mpt", {"card": record}, overrides)
    text = markdown([*reference.rows, *our_rows([find(mpt)], reference)], reference, per_task=True)
    assert len(cells(text)) == 7
    assert "MPT 7B Instruct (ours) could not be loaded: MPTForCausalLM is not supported. Quoted only." in text


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+exp=memphis_cot", "method=sft_only"], ["3B", "Human (mixed: tinycot)", "SFT"]),
        (["+exp=memphis_cot", "iterations=0"], ["3B", "Human (mixed: tinycot)", "SFT"]),
        ([], ["–", "Generated", "Self-teaching"]),
        (["+exp=memphis_cot", "data.sources.scicot.human=generated"], ["3B", "Generated", "Self-teaching"]),
        (["method=none", "model=hf", "model.path=some/model", "eval=card"], ["–", "–", "–"]),
    ],
)
def test_the_words_of_a_row_follow_from_its_config(tmp_path: Path, overrides: list[str], words: list[str]) -> None:
    run = write_run(tmp_path, "x", {"card": full_record("card", 1, 2, 3)}, overrides, slug="slerp.t-0.9")
    (row,) = our_rows([find(run)], read_reference())
    assert [row.size, row.data, row.method] == words
    assert row.model == ("some/model" if "method=none" in overrides else "x, slerp.t-0.9, seed 0")


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (
            {"card": full_record("card", 5, 6, 7, limit=8)},
            "suite card was limited to 8 items of each task, and limited",
        ),
        (
            {"tiny": tiny_record({"tiny_gen": [1, 0], "tiny_mc": [0, 1], "tiny_cot": [1, 1]})},
            "no column for suite tiny",
        ),
    ],
)
def test_what_must_not_get_into_a_column(tmp_path: Path, results: Path, records: dict[str, Any], reason: str) -> None:
    stage = write_stage(tmp_path / "evaluate-1", records)
    for arguments in ([stage], [stage, "--save"], [stage, "--csv", tmp_path / "a.csv"]):
        with pytest.raises(MemphisError, match=reason) as fault:
            main([*map(str, arguments), "--results", str(results)])
        assert "\n" not in str(fault.value)
        assert str(stage / "record.json") in str(fault.value)
    assert not list(results.iterdir())
    assert not (tmp_path / "a.csv").exists()


def test_missing_items_are_refused(tmp_path: Path) -> None:
    record = full_record("card", 5, 6, 7)
    for result in (record["tasks"]["gsm8k"], record["columns"]["gsm8k"]):
        result |= {"n": 1000, "score": 5 / 1000}
    stage = write_stage(tmp_path / "evaluate-1", {"card": record})
    with pytest.raises(MemphisError, match="gsm8k has 1000 of 1319 items"):
        our_rows([find(stage)], read_reference())


def test_a_damaged_committed_record_is_named(results: Path) -> None:
    (results / "b.json").write_text('{"records": {"card": {"suite": "card"}}}')
    with pytest.raises(MemphisError, match=r"results/b.json: damaged record of suite card: 'limit' is missing"):
        main(["--results", str(results)])


def test_a_changed_reference_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    original = REFERENCE.read_text()
    for text, reason in [
        (original.replace('"gsm8k": 248', '"gsm8k": 249'), r"euclaise/Memphis-CoT-3B: 249 of 1319 is not 18.8 %"),
        (original.replace('"size"', '"sizes"', 1), "'size'"),
        (original[:-9], "damaged"),
    ]:
        file.write_text(text)
        with pytest.raises(MemphisError, match=reason):
            read_reference(file)


def test_saved_records_replace_the_run(ours: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    direct = shown(capsys, ours, "--results", results, "--per-task")
    assert shown(capsys, ours, "--save", "--results", results).startswith(f"wrote {results}/memphis_cot--seed-0-")
    (file,) = results.iterdir()
    assert "samples" not in {path.name for path in results.iterdir()}
    assert shown(capsys, "--results", results, "--per-task") == direct
    assert shown(capsys, ours, "--results", results, "--per-task") == direct  # once, not twice
    assert find(file).about is not None
    assert save([find(file)], results, read_reference()) == [file]  # a second time writes the same file
    with pytest.raises(MemphisError, match="--save: name the runs"):
        main(["--save", "--results", str(results)])


def test_seeds_are_averaged_and_named(tmp_path: Path) -> None:
    record = full_record("card", 260, 700, 2500)
    for result in (record["tasks"]["gsm8k"], record["columns"]["gsm8k"]):
        result |= {"seeds": [0, 1, 2], "count": 750, "score": 750 / 1319 / 3, "stderr": 0.0088}
    (row,) = our_rows([find(write_stage(tmp_path / "evaluate-1", {"card": record}))], read_reference())
    assert row.cells["gsm8k"].text() == "18.95 ± 0.88"
    assert any("gsm8k the mean of seeds 0, 1, 2" in note for note in notes([row], read_reference()) if "(ours)" in note)


def test_truncated_prompts_are_told(tmp_path: Path) -> None:
    stage = write_stage(tmp_path / "evaluate-1", {"card": full_record("card", 1, 2, 3, truncated_prompts=17)})
    rows = [*read_reference().rows, *our_rows([find(stage)], read_reference())]
    assert "**17 prompts were cut to fit the context.**" in markdown(rows, read_reference())


def test_single_tasks(ours: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, ours, "--results", results, "--per-task")
    tasks = re.findall(r"^\| `(\w+)` \| (\d+) \| (\S+) ±", text, re.MULTILINE)
    assert [(task, int(n)) for task, n, _ in tasks] == 2 * list(ITEMS.items())
    assert "| **BBH (CoT, few-shot)** | 6511 | 38.40 ± 0.60 |" in text
    assert "Numbers of single tasks were not published" in shown(capsys, "--results", results, "--per-task")


def test_csv_has_every_number_once(ours: Path, results: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    main([str(ours), "--results", str(results), "--csv", str(file)])
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * 9
    assert [row["percent"] for row in rows if row["hub"] == "euclaise/Memphis-CoT-3B"] == ["18.80", "27.22", "36.92"]
    for row in rows:
        assert float(row["percent"]) == pytest.approx(100 * int(row["count"]) / int(row["n"]), abs=0.005)
    assert {row["suite"] for row in rows if row["origin"] == "ours"} == {"card", "current"}
    assert [row["excluded"] for row in rows if row["excluded"]] == ["possibly contaminated"]
    main([str(ours), "--results", str(results), "--csv", str(file), "--per-task"])
    assert len(file.read_text().splitlines()) == 1 + 3 * 9 + 2 * 36


def test_write_and_check(ours: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n")
    command = ["--write", readme, "--results", results]
    with pytest.raises(MemphisError, match="README.md: not the table of the committed results; run this command again"):
        shown(capsys, "--check", *command)
    assert "old" in readme.read_text()  # --check writes nothing
    assert shown(capsys, *command) == f"{readme}: written, 7 rows\n"
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| Model |")
    assert text.endswith(f"\n{END}\n\nThe rest.\n")
    assert "up to date" in shown(capsys, "--check", *command)
    shown(capsys, *command)
    assert readme.read_text() == text  # writing twice changes nothing
    shown(capsys, ours, "--save", "--results", results)
    with pytest.raises(MemphisError, match="not the table of the committed results"):
        shown(capsys, "--check", *command)
    for broken in ("no markers", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"):
        readme.write_text(broken)
        with pytest.raises(MemphisError, match="needs one line <!-- table:begin --> and below it one line"):
            shown(capsys, *command)
        assert readme.read_text() == broken
    with pytest.raises(MemphisError, match="absent.md: cannot be read"):
        shown(capsys, "--write", tmp_path / "absent.md")
    with pytest.raises(MemphisError, match="table.csv: cannot be written"):
        shown(capsys, "--csv", tmp_path / "absent" / "table.csv")


def test_names_cannot_break_the_table(tmp_path: Path) -> None:
    run = write_run(tmp_path, "x", {"card": full_record("card", 1, 2, 3)}, ["+exp=memphis_cot"])
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "slug": "a|b\n\x1b[31m"}))
    (row,) = our_rows([find(run)], read_reference())
    text = markdown([row], read_reference())
    assert "\x1b" not in text
    assert len([line for line in text.splitlines() if line.startswith("| x, a\\|b")]) == 1
    (run / "config.yaml").write_text("model: 3")
    with pytest.raises(MemphisError, match="its config.yaml or run.json cannot be read"):
        our_rows([find(run)], read_reference())
