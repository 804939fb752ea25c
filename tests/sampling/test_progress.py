"""Tests of the progress of a stage that samples: counts of both kinds of parts, time left after a resume, equal samples."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.adapters import HfModel
from memphis.sampling import progress
from memphis.sampling.hf import HfEngine
from memphis.sampling.progress import Meter, Progress
from tests.tiny_models import write_model

PROMPTS = [[5, 6, 7], [9] * 12, [20, 21, 22, 23, 24], [50]]
SAMPLED = {"num_samples": 30, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 6, "stop": [], "seed": 1}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def row(told: Progress) -> dict[str, Any]:
    found = json.loads(told._path.read_text())
    assert isinstance(found, dict)
    return found


def test_an_engine_reports_every_few_seconds_and_when_all_is_finished(clock: list[float]) -> None:
    meter, found = Meter(), []
    meter(1, 9, 3, 6)  # nobody asks
    with meter.reporting(lambda *counts: found.append(counts)):
        for second in range(12):
            clock[0] += 1
            meter(1, 11 - second, 10, 6)
    assert found == [(5, 7, 50, 6), (5, 2, 50, 6), (2, 0, 20, 6)]
    meter(1, 0, 3, 6)
    assert len(found) == 3


def test_answers_finished_by_another_process_took_no_time_of_this_one(clock: list[float], tmp_path: Path) -> None:
    with Progress(tmp_path / "p") as told:
        told.start(1000, 600)
        clock[0] += 50  # the engine starts
        assert row(told) | {"suite": None} == {
            "answers": 600,
            "of": 1000,
            "share": 0.6,
            "tokens_per_sec": None,
            "seconds_left": None,
            "suite": None,
        }
        told.step(0, 400, 0, 100)
        clock[0] += 10
        told.step(0, 400, 500, 100)  # too little to judge by
        assert (row(told)["seconds_left"], row(told)["tokens_per_sec"]) == (None, 50.0)
        told.step(0, 400, 1500, 100)  # 2,000 of 40,000 at most
        assert (row(told)["seconds_left"], row(told)["tokens_per_sec"]) == (190.0, 200.0)
        assert (row(told)["answers"], row(told)["share"]) == (600, 0.62)
        clock[0] += 10
        told.step(100, 300, 2000, 100)  # 100 in 20 s: 300 in 60 s
        assert (row(told)["answers"], row(told)["share"], row(told)["seconds_left"]) == (700, 0.7, 60.0)
        told.step(300, 0, 9, 100)
        assert (row(told)["share"], row(told)["seconds_left"]) == (1.0, 0.0)
    assert not list(tmp_path.iterdir())


def test_batches_of_tasks_count_by_their_answers(clock: list[float], tmp_path: Path) -> None:
    with Progress(tmp_path / "p") as told:
        told.start(10, 4)  # 6 tasks are left
        told.suite = "first"
        told.begin(2)
        clock[0] += 10
        told.step(50, 50, 500, 0)  # half of two tasks in 10 s: five such parts are left
        assert row(told) == {
            "answers": 50,
            "of": 100,
            "share": 0.5,
            "tokens_per_sec": 50.0,
            "seconds_left": 50.0,
            "suite": "first",
        }
        clock[0] += 20
        told.begin(1)
        assert (row(told)["share"], row(told)["seconds_left"]) == (0.6, 60.0)
        told.step(4, 0, 0, 0)
        assert (row(told)["answers"], row(told)["of"], row(told)["share"]) == (4, 4, 0.7)
        told.start(3, 3)
        assert row(told)["share"] == 1.0


def test_samples_and_scores_do_not_depend_on_who_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REPORT_S", 0.0)
    engine = HfEngine(write_model(tmp_path / "a", seed=0), dtype="float32")
    uncounted, found = engine.generate(PROMPTS, **SAMPLED), []
    with engine.meter.reporting(lambda *counts: found.append(counts)):
        assert engine.generate(PROMPTS, **SAMPLED) == uncounted
    finished, waiting, tokens, longest = zip(*found, strict=True)
    assert len(found) == 2 * 6  # two batches of sequences, six steps each
    assert (sum(finished), waiting[-1], set(longest)) == (120, 0, {6})
    assert list(waiting) == sorted(waiting, reverse=True)
    assert sum(tokens) == sum(len(one.token_ids) for completions in uncounted for one in completions)
    model, found = HfModel(engine, 0), []
    requests = [(SimpleNamespace(), prompt, [3, 4]) for prompt in PROMPTS]
    uncounted_scores = model._loglikelihood_tokens(requests)
    with engine.meter.reporting(lambda *counts: found.append(counts)):
        assert model._loglikelihood_tokens(requests) == uncounted_scores
    assert found == [(4, 0, sum(map(len, PROMPTS)) + 8, 0)]
