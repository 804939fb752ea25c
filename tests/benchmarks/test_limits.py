"""Reports about limits; the measurements themselves are not for tests."""

from pathlib import Path

import pytest

from benchmarks import limits
from benchmarks.limits import LIMITS, Limit, exceeded
from memphis.answers.equal import _judge, equal


def test_the_least_of_a_few_runs_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = iter([3.0, 0.5, 2.0, 1.5, 1.25, 1.75])
    made_up = [Limit(what, 1.0, lambda work: next(taken)) for what in ("one", "another")]
    assert exceeded(tmp_path, made_up) == ["limits: another: 1.2500 CPU-seconds, must be <= 1"]
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["one", "0.50000"],
        ["another", "1.25000"],
    ]


def test_every_limit_has_a_name_of_its_own() -> None:
    assert len({limit.what for limit in LIMITS}) == len(LIMITS)


def test_comparisons_are_made_anew_in_every_run() -> None:
    equal("5", "5.0")
    assert len(limits.spent([("5", "5.0"), ("6", "5")])) == 2
    assert _judge.cache_info().misses == 2


def test_a_command_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert limits.command("-c", "pass")(tmp_path) > 0
