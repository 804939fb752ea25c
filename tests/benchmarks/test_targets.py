"""Rule of comparison, committed files, and the blocks of the pages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.__main__ import KNOWN
from benchmarks.harness import Contender, Question, Target
from benchmarks.results import Measured
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

FASTER = Target("cpu_s", "peer", must=3.0, ambitious=4.0)
SMALLER = Target("rss_mib", "peer", must=0.5, at_most=True)
QUESTION = Question(
    "made_up",
    "a made-up comparison",
    (Contender("ours", "memphis"), Contender("peer", "the | peer")),
    (FASTER, SMALLER),
)


def measured(*rounds: tuple[float, float], memory: float = 400) -> Measured:
    """Rounds of CPU-seconds (ours, peer); the peer takes 1000 MiB."""
    found = [
        {"ours": {"cpu_s": ours, "rss_mib": memory}, "peer": {"cpu_s": peer, "rss_mib": 1000.0}}
        for ours, peer in rounds
    ]
    return Measured("2026-01-02", "a machine (avx2), 2 cores, 8 GiB", {"torch": "2.13.0"}, found)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    rounds = measured((1, 4), (2, 6), (10, 20)).rounds  # 4, 3, 2; the ratio of the medians would be 6 / 2
    assert FASTER.value(rounds) == 3
    assert FASTER.value(measured((1, 4), (2, 10), (10, 20)).rounds) == 4
    assert SMALLER.value(rounds) == 0.4


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


def test_a_page_shows_every_target_met_or_missed_and_a_change_is_noticed(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{results.BEGIN}\n{results.END}\nafter\n")
    results.save(QUESTION, measured((1, 2.5), memory=400), tmp_path)
    text = results.page_text(readme, [QUESTION], tmp_path)
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    lines = text.splitlines()[2:-2]
    assert lines[3:5] == [
        "| CPU time | the \\| peer | 1 s | 2.5 s | 2.50x (missed) | >= 3x | >= 4x |",
        "| peak memory | the \\| peer | 400 MiB | 1,000 MiB | 0.4 | <= 0.5 |  |",
    ]
    assert any("2026-01-02" in line and "torch 2.13.0" in line and "avx2" in line for line in lines[5:])
    readme.write_text(text)
    assert results.page_text(readme, [QUESTION], tmp_path) == text
    results.save(QUESTION, measured((1, 5)), tmp_path)
    assert "| 5.00x | >= 3x |" in results.page_text(readme, [QUESTION], tmp_path)
    readme.write_text("no place\n")
    with pytest.raises(MemphisError, match="no lines"):
        results.page_text(readme, [QUESTION], tmp_path)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = measured((1.25, 4.5), (3.123456789, 9.87654321))
    results.save(QUESTION, found, tmp_path)
    assert results.load(QUESTION, tmp_path) == found


def test_the_committed_results_and_the_readme_agree() -> None:
    line = [sys.executable, "-m", "benchmarks", "--check"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("question", KNOWN.values(), ids=KNOWN)
def test_committed_results_name_no_place_and_measure_every_contender(question: Question) -> None:
    found = results.load(question)
    names = {each.name for each in question.contenders}
    assert all(set(numbers) == names for numbers in found.rounds)
    assert "/" not in json.dumps(found.versions) + found.machine
    assert "cores" in found.machine
    assert all(target.value(found.rounds) > 0 for target in question.targets)


def test_committed_results_belong_to_a_question() -> None:
    assert {file.stem for file in results.FOLDER.iterdir()} == set(KNOWN)


def test_an_unknown_question_is_named() -> None:
    line = [sys.executable, "-m", "benchmarks", "sft_medium"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: sft_medium: no such question; there are sft_small, ")
