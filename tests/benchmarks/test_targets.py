"""The rule of comparison, the committed files and the README's block."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.__main__ import QUESTIONS
from benchmarks.question import Contender, Question, Target
from benchmarks.results import Measured
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

FASTER = Target("CPU time", ("ours", "cpu_s"), ("peer", "cpu_s"), must=3.0, ambitious=4.0)
SMALLER = Target("peak memory", ("ours", "rss_mib"), ("peer", "rss_mib"), must=0.5, at_most=True)
ABSENT = Target("CPU time", ("ours", "cpu_s"), ("bf16", "cpu_s"), must=9.0)
QUESTION = Question(
    "made_up",
    "a made-up comparison",
    (
        Contender("ours", "memphis"),
        Contender("peer", "the | peer"),
        Contender("bf16", "another", options={"dtype": "bfloat16"}),
    ),
    (FASTER, SMALLER, ABSENT),
    lambda *_: iter(()),
)


def measured(*rounds: tuple[float, float], memory: float = 400) -> Measured:
    """Rounds of CPU-seconds (ours, peer); the peer takes 1000 MiB."""
    found = [
        {"ours": {"cpu_s": ours, "rss_mib": memory}, "peer": {"cpu_s": peer, "rss_mib": 1000.0}}
        for ours, peer in rounds
    ]
    return Measured(found, "a machine (avx2), 2 cores, 8 GiB", {"torch": "2.13.0"}, "2026-01-02", ["bf16"])


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    rounds = measured((1, 4), (2, 6), (10, 20)).rounds  # 4, 3, 2; the ratio of the medians would be 6 / 2
    assert FASTER.value(rounds) == 3
    assert FASTER.value(measured((1, 4), (2, 10), (10, 20)).rounds) == 4
    assert SMALLER.value(rounds) == 0.4
    assert ABSENT.value(rounds) is None


@pytest.mark.parametrize(
    ("ratio", "memory", "before", "words"),
    [
        (3.0, 500, None, []),
        (2.99, 500, None, ["CPU time, ours against peer: 2.99, must be >= 3x"]),
        (3.0, 501, None, ["peak memory, ours against peer: 0.50, must be <= 0.5"]),
        (3.0, 400, 4.0, []),  # exactly 25 % under
        (3.1, 400, 4.2, ["CPU time, ours against peer: 3.10, more than 25% worse than the committed 4.20"]),
        (2.0, 400, 8.0, ["CPU time, ours against peer: 2.00, must be >= 3x"]),  # one line per ratio
    ],
)
def test_what_is_a_miss(ratio: float, memory: float, before: float | None, words: list[str]) -> None:
    committed = None if before is None else measured((1, before))
    found = results.misses(QUESTION, measured((1, ratio), memory=memory), committed)
    assert found == [f"made_up: {line}" for line in words]


def test_memory_that_grew_by_more_than_a_quarter_is_a_miss() -> None:
    lines = results.misses(QUESTION, measured((1, 4), memory=400), measured((1, 4), memory=310))
    assert lines == ["made_up: peak memory, ours against peer: 0.40, more than 25% worse than the committed 0.31"]
    assert not results.misses(QUESTION, measured((1, 4), memory=400), measured((1, 4), memory=330))


def test_results_are_read_as_they_were_written() -> None:
    found = measured((1.25, 4.5), (2, 6))
    assert results.load(results.dumps(QUESTION, found)) == found


def test_the_block_shows_every_target_met_or_missed() -> None:
    lines = results.block([QUESTION], {"made_up": measured((1, 2.5), memory=400)}).splitlines()
    assert lines[3:6] == [
        "| CPU time | the \\| peer | 1 s | 2.5 s | 2.50x (missed) | >= 3x | >= 4x |",
        "| peak memory | the \\| peer | 400 MiB | 1,000 MiB | 0.4 | <= 0.5 |  |",
        "| CPU time | another | – | – | not measured | >= 9x |  |",
    ]
    assert any("2026-01-02" in line and "torch 2.13.0" in line and "avx2" in line for line in lines[6:])


def test_a_file_that_is_not_what_its_rounds_say_is_noticed(tmp_path: Path) -> None:
    file, readme = tmp_path / "made_up.json", tmp_path / "README.md"
    found = measured((1, 4), (3.123456789, 9.87654321), (1.0000014, 3.9999954))  # more digits than are written
    file.write_text(results.dumps(QUESTION, found))
    found = results.load(file.read_text())
    readme.write_text(f"before\n{results.BEGIN}\n{results.END}\nafter\n")
    readme.write_text(results.page_text([QUESTION], readme, tmp_path))
    assert "| 4.00x | >= 3x |" in readme.read_text()
    assert readme.read_text().startswith("before\n")
    assert readme.read_text().endswith("\nafter\n")
    assert results.drift([QUESTION], readme, tmp_path) == []
    text = file.read_text()
    file.write_text(text.replace('"must": 3.0', '"must": 2.0'))
    assert [line.partition(":")[0] for line in results.drift([QUESTION], readme, tmp_path)] == ["made_up.json"]
    other = dataclasses.replace(found, rounds=measured((1, 5)).rounds)
    file.write_text(results.dumps(QUESTION, other))
    assert [line.partition(":")[0] for line in results.drift([QUESTION], readme, tmp_path)] == ["README.md"]
    readme.write_text("no place\n")
    with pytest.raises(MemphisError, match="no lines"):
        results.drift([QUESTION], readme, tmp_path)


def test_the_committed_results_and_the_readme_agree() -> None:
    line = [sys.executable, "-m", "benchmarks", "--check"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_committed_results_name_no_place_and_measure_every_contender(question: Question) -> None:
    found = results.load((results.FOLDER / f"{question.name}.json").read_text())
    names = {each.name for each in question.contenders} - set(found.skipped)
    assert all(set(numbers) == names for numbers in found.rounds)
    assert "/" not in json.dumps(found.versions) + found.machine
    assert "cores" in found.machine
    for target in question.targets:
        assert (target.value(found.rounds) is None) == bool({target.ours[0], target.peer[0]} & set(found.skipped))


def test_an_unknown_question_is_named() -> None:
    line = [sys.executable, "-m", "benchmarks", "sft_medium"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: sft_medium: no such question; there are sft_small, ")
