"""Tests of every method in small real runs; the stages they have in common come from the unbroken run."""

from pathlib import Path
from typing import Any

import pytest

from memphis.data import prompts
from memphis.jsonl import read_rows
from memphis.recipe import recipe
from memphis.stages.__main__ import build
from memphis.stages.context import Runtime, Worker
from memphis.store import Stage, Store
from memphis.training.model import fingerprint
from tests import micro
from tests.composing import compose_config
from tests.test_faults import copy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(unbroken: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("methods")
    copy(unbroken, root, "data", "base", "sft", "generate")
    made = Store(root / "store")
    made.create()
    return made


def finished(store: Store, *overrides: str) -> dict[str, Stage]:
    stages = recipe(compose_config(*micro.OVERRIDES, "eval=none", *overrides), store.root / "identities.json")
    worker = Worker(Runtime("cpu", 1, 4096))
    for stage in stages:
        store.publish(stage)
        if store.fault(store.path(stage)) is not None:
            build(store.path(stage), worker)
    worker.close()
    return {stage.name: stage for stage in stages}


def rows(store: Store, stage: Stage, name: str = "metrics") -> list[dict[str, Any]]:
    return read_rows(store.path(stage) / f"{name}.jsonl")


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=memphis"],
        ["method=memphis", "pairs.mode=group"],
        ["method=memphis", "rank.ce_target=gold"],
        ["method=star"],
        ["method=rft", "rank.optim.name=adamw"],
        ["method=spin", "pairs.mode=group"],
        ["method=dpo"],
    ],
    ids=" ".join,
)
def test_a_method_finishes_and_changes_the_model(store: Store, overrides: list[str]) -> None:
    stages = finished(store, *overrides)
    rank = stages["rank-1"]
    trained = rows(store, rank)
    assert trained[-1]["step"] == trained[-1]["steps"] > 2
    assert store.record(store.path(rank))["summary"]["skipped_nonfinite"] == 0
    before, after = (fingerprint(store.path(stages[name]) / "model") for name in ("sft", "rank-1"))
    assert before != after
    assert ("merge-1" in stages) == (overrides[0] == "method=memphis")
    pairs = rows(store, stages["pairs-1"], "pairs")
    several = [len(pair["rejected"]) for pair in pairs]
    if "pairs.mode=group" in overrides:
        assert max(several) > 1
        assert len({pair["id"] for pair in pairs}) == len(pairs)
    else:
        assert set(several) == ({0} if rank.config["rank"]["loss"] == "ce" else {1})


def test_spin_takes_human_text_against_the_models_own_right_or_wrong(store: Store) -> None:
    stages = finished(store, "method=spin", "pairs.mode=group")
    questions = {row["id"]: row for row in rows(store, stages["data"], "questions")}
    right = {
        (row["id"], sample["text"])
        for row in rows(store, stages["pairs-1"], "judged")
        for sample in row["samples"]
        if sample["correct"]
    }
    against = set()
    for pair in rows(store, stages["pairs-1"], "pairs"):
        question = questions[pair["id"]]
        assert pair["chosen"] == prompts.completion_cot(question["rationale"], question["answer"])
        against |= {(pair["id"], text) for text in pair["rejected"]}
    assert against & right
    assert against - right


def test_rationalisation_learns_from_what_only_the_hint_made_right_without_the_hint(store: Store) -> None:
    plain = finished(store, "method=star")
    stages = finished(store, "method=star", "rank.examples=rationalized")
    assert [name for name in stages if name not in plain] == ["judge-1", "rationalize-1"]
    assert stages["judge-1"].key == plain["pairs-1"].key  # no sampling or judging is repeated
    questions = {row["id"]: row for row in rows(store, stages["data"], "questions")}
    judged = rows(store, stages["judge-1"], "judged")
    unsolved = {row["id"] for row in judged if not any(sample["correct"] for sample in row["samples"])}
    hinted = rows(store, stages["rationalize-1"], "samples")
    assert {row["id"] for row in hinted} == unsolved
    before, after = (rows(store, stage, "pairs") for stage in (plain["pairs-1"], stages["pairs-1"]))
    assert [pair for pair in after if pair["id"] not in unsolved] == before
    new = [pair for pair in after if pair["id"] in unsolved]
    texts = {(row["id"], sample["text"].strip()) for row in hinted for sample in row["samples"]}
    assert all((pair["id"], pair["chosen"]) in texts for pair in new)
    counts = rows(store, stages["pairs-1"])[-1]
    assert counts["pairs/rationalized"] == len(new)
    assert counts["pairs/count"] == len(after) == len(before) + len(new)
    known = rows(store, plain["pairs-1"])[-1]
    same = [key for key in known if key.startswith("gen/")]  # gen/ metrics count only samples without the hint
    assert {key: counts[key] for key in same} == {key: known[key] for key in same}
    for pair in after:  # no training prompt contains the hint
        assert pair["prompt"] == questions[pair["id"]]["prompt"]
        assert "Hint" not in pair["prompt"]
    assert "gen/len_mean" not in rows(store, stages["rationalize-1"])[-1]
