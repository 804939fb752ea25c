"""Tests of requests by hash: `card` against the model card's harness commit, `current` against lm-eval 0.4.13.

The recordings have eight columns for each of 19,277 requests. They are compared as they
are, with the one substitution that the recording itself states.
"""

import csv
import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.adapters import HfModel
from eval.suites import CARD, CURRENT, Suite
from eval.tasks import load_task
from memphis.jsonl import read_rows

SETTINGS = ("until", "max_gen_toks", "temperature", "do_sample")
# GSM8K: the card's harness dropped do_sample=false and set no temperature, so its engine's default of 1 applied; with
# lm-eval 0.4.13, sampling must be set explicitly.
RECORDED = {"do_sample": False, "max_gen_toks": None, "temperature": None, "until": ["\n\n", "Question:"]}
TODAY = {"do_sample": True, "max_gen_toks": None, "temperature": 1.0, "until": ["\n\n", "Question:"]}

Request = tuple[str, ...]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def settings_hash(settings: dict[str, Any]) -> str:
    return sha(json.dumps({k: settings.get(k) for k in SETTINGS}, sort_keys=True, separators=(",", ":")))


def recorded(shared: Path, suite: Suite, limit: int | None) -> list[Request]:
    file = shared / "reference" / "golden" / f"{suite.name}_requests.tsv.gz"
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    assert len(rows) == 19_277
    return [tuple(row) for row in rows if limit is None or int(row[2]) < limit]


def requests_of(suite: Suite, data_dir: Path, folder: Path, limit: int | None) -> list[Request]:
    """Return the requests of the harness, in the order of the recording: tasks by name, then items, then choices."""
    rows = []
    order = {"gsm8k": 0, "agieval": 1, "bbh": 2}
    for column in suite.columns:
        for task in column.tasks:
            (folder / task).mkdir()
            described = load_task(suite, column, task, data_dir, folder / task)
            described.build_all_requests(limit=limit, rank=0, world_size=1)
            for request in described.instances:
                context, rest = request.args
                scored = request.request_type == "loglikelihood"
                hashes = (sha(rest), "") if scored else ("", settings_hash(rest))
                place = (request.doc_id, request.idx)
                row = (task, task, str(place[0]), str(place[1]), request.request_type, sha(context), *hashes)
                rows.append(((order[column.name], task, *place), row))
    return [row for _, row in sorted(rows)]


def card_differs_in_one_way_only(shared: Path, folder: Path, limit: int | None) -> int:
    golden, mine = recorded(shared, CARD, limit), requests_of(CARD, shared / "benchmarks", folder, limit)
    assert len(mine) == len(golden)
    different = [(one, other) for one, other in zip(golden, mine, strict=True) if one != other]
    assert {one[0] for one, _ in different} == {"gsm8k"}
    for one, other in different:
        assert one[:7] == other[:7]
        assert (one[7], other[7]) == (settings_hash(RECORDED), settings_hash(TODAY))
    return len(different)


def test_the_substitution_is_the_one_that_the_recording_states() -> None:
    assert settings_hash(RECORDED).startswith("5eb4a2f901c0")
    assert settings_hash(TODAY).startswith("565c9911b45a")


def test_card_asks_as_the_cards_harness_did_first_items_of_every_task(shared: Path, tmp_path: Path) -> None:
    assert card_differs_in_one_way_only(shared, tmp_path, limit=3) == 3


def test_current_asks_as_lm_eval_does_first_items_of_every_task(shared: Path, tmp_path: Path) -> None:
    golden = recorded(shared, CURRENT, 3)
    assert len({row[0] for row in golden}) == 36
    assert requests_of(CURRENT, shared / "benchmarks", tmp_path, 3) == golden


@pytest.mark.slow
def test_card_asks_as_the_cards_harness_did(shared: Path, tmp_path: Path) -> None:
    assert card_differs_in_one_way_only(shared, tmp_path, limit=None) == 1319


@pytest.mark.slow
def test_current_asks_as_lm_eval_does(shared: Path, tmp_path: Path) -> None:
    assert requests_of(CURRENT, shared / "benchmarks", tmp_path, None) == recorded(shared, CURRENT, None)


def contexts(suite: Suite, place: int, task: str, mirror: Path, folder: Path) -> list[tuple[str, Any]]:
    described = load_task(suite, suite.columns[place], task, mirror, folder)
    described.build_all_requests(limit=2, rank=0, world_size=1)
    return [(*request.args, request.doc) for request in described.instances]


@pytest.mark.parametrize(("suite", "line"), [(CARD, "\n"), (CURRENT, "\n")], ids=["card", "current"])
def test_made_up_items_are_asked_in_the_form_that_was_recorded(
    mirror: Path, tmp_path: Path, suite: Suite, line: str
) -> None:
    """Rebuild prompts in plain Python. The tests above compare the real ones byte by byte where their data exist."""
    train = {row["question"]: row["answer"] for row in read_rows(mirror / "gsm8k" / "train.jsonl")}
    for context, _, doc in contexts(suite, 0, "gsm8k", mirror, tmp_path):
        *shots, last = context.split("\n\n")
        assert last == f"Question: {doc['question']}\nAnswer:"
        assert len(shots) == len(set(shots)) == 5
        assert set(shots) <= {f"Question: {question}\nAnswer: {answer}" for question, answer in train.items()}
    scored_choices = contexts(suite, 1, "agieval_lsat_ar", mirror, tmp_path)
    assert [(context, choice) for context, choice, _ in scored_choices] == [
        (row["query"], f" {choice}")
        for row in read_rows(mirror / "agieval" / "hub" / "lsat-ar" / "test.jsonl")[:2]
        for choice in row["choices"]
    ]
    step = "A: Let's think step by step."
    for context, settings, doc in contexts(suite, 2, "bbh_cot_fewshot_snarks", mirror, tmp_path):
        described, *shots, last = context.split("\n\nQ: ")
        assert last == f"{doc['input']}\n{step}" + ("\n" if suite is CURRENT else "")
        assert len(shots) == 3
        assert all(f"\n{step}\n" in shot for shot in shots)
        assert described.startswith("Determine which of two sentences is sarcastic.")
        assert settings["max_gen_toks"] == 1024


def test_what_the_hashes_do_not_cover(mirror: Path, tmp_path: Path) -> None:
    """Check the filters and the patterns that are ignored when answers are compared."""
    found = {}
    for suite in (CARD, CURRENT):
        (tmp_path / suite.name).mkdir()
        for column, task in ((suite.columns[0], "gsm8k"), (suite.columns[2], "bbh_cot_fewshot_snarks")):
            described = load_task(suite, column, task, mirror, tmp_path / suite.name)
            filters = [item.name for item in described._filters]
            assert column.filter in filters
            found[suite.name, task] = filters, described._metric_fn_kwargs["exact_match"].get("regexes_to_ignore")
    answer = [",", "\\$", "(?s).*#### "]
    assert found == {
        ("card", "gsm8k"): (["get-answer"], answer),  # one filter, and a final full stop counts
        ("current", "gsm8k"): (["strict-match", "flexible-extract"], [*answer, "\\.$"]),
        ("card", "bbh_cot_fewshot_snarks"): (["get-answer"], None),
        ("current", "bbh_cot_fewshot_snarks"): (["get-answer"], None),
    }


class _WithBos:
    """Tokenizer like LLaMA's: it puts a beginning-of-text token before every text unless add_special_tokens=False."""

    eos_token_id = 2

    def __call__(self, texts: list[str], add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1] * add_special_tokens + [ord(letter) for letter in text] for text in texts]}


def test_no_bos_is_put_before_prompts_with_transformers() -> None:
    """Check transformers; for vLLM, test_benchmarks.py asserts `add_bos_token=False`."""

    class Engine:
        tokenizer, max_model_len = _WithBos(), 64

    assert HfModel(Engine(), 0).tok_encode(["ab"]) == [[97, 98]]


def test_a_missing_override_would_be_noticed(mirror: Path, tmp_path: Path) -> None:
    right = replace(CARD.columns[2], tasks=("bbh_cot_fewshot_sports_understanding",))
    rows = []
    for column in (replace(right, task_overrides={}), right):
        folder = tmp_path / str(len(rows))
        folder.mkdir()
        rows += requests_of(replace(CARD, columns=(column,)), mirror, folder, 1)
    mine, golden = rows
    assert [a == b for a, b in zip(mine, golden, strict=True)] == [True] * 5 + [False, True, True]
