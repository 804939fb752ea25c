"""Tests of scoring: by hand, in plain Python and by lm-eval itself, on the same stored answers to made-up questions,
in slow tests to the real ones."""

import math
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from eval import suites
from eval.suites import SUITES, Column, Suite, find_suite
from eval.tasks import load_task, write_task
from memphis.errors import MemphisError
from tests.eval.scripted import Evaluation, Scripted, drawn, plain_score, samples_of

# Answers to a GSM8K question whose gold answer is {a}, {c} the same with thousands' commas, {w} a wrong one; right under
# `card`, right under `current`. Both take the first match of `#### (-?[0-9.,]+)` and then remove commas and dollar signs;
# only `current` removes a final full stop.
GSM8K = [
    ("So that is it.\n#### {a}", True, True),
    ("#### {c}", True, True),
    ("#### {a} dollars", True, True),
    ("#### {a}$", True, True),
    ("#### {a},", True, True),
    ("#### {a}.", False, True),
    ("#### {a},.", False, True),
    ("#### {a}. ", False, True),
    ("#### ${a}", False, False),  # the dollar sign keeps the regular expression from matching
    ("#### {a}.00", False, False),
    ("#### {a}..", False, False),
    ("#### -{a}", False, False),
    ("#### {w}", False, False),
    ("####{a}", False, False),
    ("### {a}", False, False),
    ("The answer is {a}.", False, False),
    ("", False, False),
    ("#### {a}<|endoftext|>", True, True),
    ("#### {a}.<|endoftext|>", False, True),
    ("#### {a}\n#### {w}", True, True),  # the first one counts
    ("#### {w}\n#### {a}", False, False),
    ("#### that is\n#### {a}", True, True),
    ("#### .", False, False),
]
# The same for BBH, whose answer is {a}: `(?<=the answer is )(.*)(?=.)`, that is the line's rest without its last character.
BBH = [
    ("First this, then that. So the answer is {a}.", True),
    ("So the answer is {a}!", True),
    ("So the answer is {a}.\nSo the answer is {w}.", True),
    ("So the answer is {w}.\nSo the answer is {a}.", False),
    ("So the answer is {a}", False),  # loses its last character
    ("So the answer is {a}.<|endoftext|>", False),
    ("So the answer is {a}. ", False),
    ("So the answer is {a} .", True),  # blanks around what was found do not count
    ("So the answer is {a}..", False),
    ("So the answer is {w}.", False),
    ("The answer is {a}.", False),  # case counts
    ("{a}", False),
    ("", False),
]
PER_CASE = 5


def gold(request_doc: dict[str, Any]) -> str:
    return str(request_doc["target"] if "target" in request_doc else request_doc["answer"].split("#### ")[1])


def filled(text: str, doc: dict[str, Any]) -> str:
    right = gold(doc).replace(",", "")
    wrong = str(int(right) + 1) if "answer" in doc else f"not {right}"
    return text.format(a=right, c=f"{int(right):,}" if "answer" in doc else right, w=wrong)


def scored(
    suite: Suite, column: Column, task: str, texts: list[str], data_dir: Path, folder: Path
) -> list[tuple[str, float]]:
    """Return lm-eval's own result of an answer to each of the first items: (text, exact_match)."""
    described = load_task(suite, column, task, data_dir, folder)
    described.build_all_requests(limit=len(texts), rank=0, world_size=1)
    found = []
    for request, text in zip(described.instances, texts, strict=True):
        request.resps = [filled(text, request.doc)]
    described.apply_filters()
    for request in described.instances:
        answer = described.process_results(request.doc, [request.filtered_resps[column.filter]])
        found.append((request.resps[0], float(answer["exact_match"])))
    return found


@pytest.mark.parametrize("name", ["card", "current"])
def test_gsm8k_by_hand(mirror: Path, tmp_path: Path, name: str) -> None:
    suite = find_suite(name)
    cases = [(text, card if name == "card" else current) for text, card, current in GSM8K for _ in range(PER_CASE)]
    found = scored(suite, suite.columns[0], "gsm8k", [text for text, _ in cases], mirror, tmp_path)
    wrong = [(text, score) for (text, score), (_, right) in zip(found, cases, strict=True) if score != right]
    assert not wrong
    assert len(found) == 115


@pytest.mark.parametrize("name", ["card", "current"])
@pytest.mark.parametrize("task", ["snarks", "object_counting"])
def test_bbh_by_hand(mirror: Path, tmp_path: Path, name: str, task: str) -> None:
    suite = find_suite(name)
    cases = [case for case in BBH for _ in range(PER_CASE)]
    texts = [text for text, _ in cases]
    found = scored(suite, suite.columns[2], f"bbh_cot_fewshot_{task}", texts, mirror, tmp_path)
    assert not [(text, score) for (text, score), (_, right) in zip(found, cases, strict=True) if score != right]
    assert len(found) == 65


def say(request: Instance, seed: int) -> str:
    """Return a right answer three times of seven, else one of the cases above."""
    if request.task_name == "gsm8k":  # sampled under `card`, so that the seed matters
        place = drawn(request.doc_id, seed)
        texts = [text for text, *_ in GSM8K] + [GSM8K[0][0]] * 17
    else:
        place = drawn(request.task_name, request.doc_id)
        texts = [text for text, _ in BBH] + [BBH[0][0]] * 9
    return filled(texts[int(place * len(texts))], request.doc)


def lm_evals_own(suite: Suite, data_dir: Path, folder: Path, limit: int | None) -> Any:
    """Run all tasks in one lm-eval call, with lm-eval's own groups."""
    files = folder / "tasks"
    files.mkdir()
    for column in suite.columns:
        for task in column.tasks:
            write_task(suite, column, task, data_dir, files)
    stock = Path(lm_eval.tasks.__file__).parent
    for name in ("agieval/agieval_nous.yaml", "bbh/cot_fewshot/_bbh_cot_fewshot.yaml"):
        (files / f"_{Path(name).name}").write_text(yaml.safe_dump({"include": str(stock / name)}))
    manager = TaskManager(include_path=str(files), include_defaults=False)
    names: Any = ["gsm8k", "agieval_nous", "bbh_cot_fewshot"]
    return lm_eval.simple_evaluate(Scripted(say), tasks=names, task_manager=manager, limit=limit, log_samples=True)


GROUPS = {"gsm8k": "gsm8k", "agieval": "agieval_nous", "bbh": "bbh_cot_fewshot"}


def equal_to_lm_eval(suite: str, data_dir: Path, folder: Path, limit: int | None, run: Evaluation) -> int:
    """Compare the record with lm-eval's own results of one call for everything; return the number of items."""
    record = run(suite, folder / "out", data_dir=data_dir, limit=limit)
    own = lm_evals_own(SUITES[suite], data_dir, folder, limit)
    items = 0
    for column in SUITES[suite].columns:
        key = f"{column.metric},{column.filter}"
        for task in column.tasks:
            mine, theirs = record["tasks"][task], own["results"][task]
            assert mine["score"] == pytest.approx(theirs[key], abs=1e-12)
            assert mine["stderr"] == pytest.approx(theirs[key.replace(",", "_stderr,")], rel=1e-9)
            rows, kept = own["samples"][task], samples_of(folder / "out", mine)
            assert [(r["filter"], r["doc_id"], r["prompt_hash"], r[column.metric]) for r in kept] == [
                (r["filter"], r["doc_id"], r["prompt_hash"], r[column.metric]) for r in rows
            ]
            for sample in (row for row in kept if row["filter"] == column.filter):
                assert sample[column.metric] == plain_score(suite, task, sample), sample["resps"]
                items += 1
        whole, group = record["columns"][column.name], own["results"][GROUPS[column.name]]
        assert 0.2 < whole["score"] < 0.9  # right and wrong answers both occur
        assert whole["score"] == pytest.approx(group[key], abs=1e-12)
        assert whole["stderr"] == pytest.approx(group[key.replace(",", "_stderr,")], rel=1e-9)
        assert whole["count"] == round(group[key] * whole["n"])
    return items


@pytest.mark.slow
def test_columns_are_lm_evals_groups(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert equal_to_lm_eval("card", shared / "benchmarks", tmp_path, 7, Evaluation(monkeypatch, say)) == 36 * 7


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["card", "current"])
def test_columns_are_lm_evals_groups_on_all_items(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    run = Evaluation(monkeypatch, say)
    assert equal_to_lm_eval(suite, shared / "benchmarks", tmp_path, None, run) == 1319 + 2546 + 6511


@pytest.fixture
def short_card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace `card` by a suite with two of the 27 BBH tasks and without AGIEval; return its tasks."""
    gsm8k, _, bbh = SUITES["card"].columns
    short = replace(SUITES["card"], columns=(gsm8k, replace(bbh, tasks=bbh.tasks[:2])))
    monkeypatch.setattr(suites, "SUITES", {**SUITES, "card": short})
    return ["gsm8k", *bbh.tasks[:2]]


@pytest.mark.slow
def test_a_sampled_column_is_the_mean_over_seeds(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_card: list[str]
) -> None:
    run = Evaluation(monkeypatch, say)
    record = run("card", tmp_path / "out", data_dir=shared / "benchmarks", limit=40, seeds=[0, 1, 2])
    answered = [request for request in run.requests() if request.task_name == "gsm8k"]
    assert len(answered) == 3 * 40
    greedy = [request for request in run.requests() if request.task_name == short_card[1]]
    assert len(greedy) == 40  # once, whatever the seeds
    task, column = record["tasks"]["gsm8k"], record["columns"]["gsm8k"]
    single = [run("card", tmp_path / f"s{s}", data_dir=shared / "benchmarks", limit=40, seeds=[s]) for s in range(3)]
    counts = [one["columns"]["gsm8k"]["count"] for one in single]
    assert len(set(counts)) > 1
    assert (task["seeds"], task["counts"], task["count"], task["n"]) == ([0, 1, 2], counts, sum(counts), 40)
    assert column["score"] == task["score"] == pytest.approx(sum(counts) / 120)
    assert (column["count"], column["n"], column["seeds"]) == (sum(counts), 40, [0, 1, 2])
    values = [
        [row["exact_match"] for row in samples_of(tmp_path / f"s{s}", single[s]["tasks"]["gsm8k"])] for s in range(3)
    ]
    means = [sum(drawn) / 3 for drawn in zip(*values, strict=True)]
    variance = sum((value - sum(means) / 40) ** 2 for value in means) / 39
    assert task["stderr"] == pytest.approx(math.sqrt(variance / 40))
    assert column["stderr"] == pytest.approx(task["stderr"])
    assert len(task["samples"]) == 3
    assert record["tasks"][short_card[1]] == {
        **single[0]["tasks"][short_card[1]],
        "seconds": record["tasks"][short_card[1]]["seconds"],
    }
    assert record["columns"]["bbh"] == single[2]["columns"]["bbh"]
    assert (record["seed"], record["seeds"]) == (0, [0, 1, 2])


@pytest.mark.parametrize("die_at", [1, 4, 7, 10])
def test_a_benchmark_goes_on_between_tasks_and_seeds(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_card: list[str], die_at: int
) -> None:
    knobs: dict[str, Any] = {"data_dir": mirror, "limit": 3, "seeds": [4, 5, 6]}
    run = Evaluation(monkeypatch, say)
    whole = timeless(run("card", tmp_path / "whole", **knobs))
    run = Evaluation(monkeypatch, say)
    with pytest.raises(KeyboardInterrupt):
        run("card", tmp_path / "killed", die_at=die_at, **knobs)
    kept = {file.name for file in (tmp_path / "killed" / "tasks").iterdir()}
    assert len(kept) == die_at // 2
    first = len(run.requests())
    assert timeless(run("card", tmp_path / "killed", **knobs)) == whole
    assert len(run.requests()) - first == 3 * (
        5 - len(kept)
    )  # three seeds of GSM8K and two tasks, without the finished ones
    assert [row["step"] for row in run.rows[-6:-1]] == [1, 2, 3, 4, 5]
    for file in (tmp_path / "whole" / "samples").iterdir():
        assert file.read_bytes() == (tmp_path / "killed" / "samples" / file.name).read_bytes()


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key != "seconds"}
    return value


def test_the_stderr_over_seeds_is_what_repeating_the_experiment_gives() -> None:
    """Repeat 400 times: new items of unequal difficulty, three draws each. Assuming independence underestimates."""
    generator = random.Random(0)
    scores, honest, naive = [], [], []
    for _ in range(400):
        chances = [generator.betavariate(0.4, 0.8) for _ in range(100)]
        draws = [[float(generator.random() < chance) for chance in chances] for _ in range(3)]
        scores.append(statistics.fmean(map(statistics.fmean, draws)))
        honest.append(suites.stderr_over_seeds(draws))
        naive.append(math.sqrt(scores[-1] * (1 - scores[-1]) / 300))
    spread = statistics.stdev(scores)
    assert statistics.fmean(honest) == pytest.approx(spread, rel=0.08)
    assert statistics.fmean(naive) < 0.8 * spread


def test_the_stderr_over_seeds_by_hand() -> None:
    # items 1, 1/2, 0 over two seeds: mean 1/2, variance (1/4 + 0 + 1/4) / 2 = 1/4
    assert suites.stderr_over_seeds([[1, 1, 0], [1, 0, 0]]) == pytest.approx(math.sqrt(0.25 / 3))
    assert suites.stderr_over_seeds([[1], [0]]) is None


def test_prompts_that_do_not_fit_stop_a_benchmark_before_it_starts(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_card: list[str]
) -> None:
    knobs: dict[str, Any] = {"data_dir": mirror, "limit": 4}
    run = Evaluation(monkeypatch, say, max_length=1024 + 400)
    with pytest.raises(MemphisError) as fault:
        run("card", tmp_path / "out", **knobs)
    text = str(fault.value)
    assert "\n" not in text
    for part in (
        "of 12 prompts of suite card do not fit",
        "context of 1424 tokens",
        "(4 of bbh_cot_fewshot_causal_judgement)",
    ):
        assert part in text
    assert "eval.allow_truncated=true" in text
    assert not run.requests()
    record = run("card", tmp_path / "out", allow_truncated=True, **knobs)
    cut = {task: result["truncated_prompts"] for task, result in record["tasks"].items()}
    words = [
        sum(len(r.args[0].split()) + 1024 > 1424 for r in run.requests() if r.task_name == task)
        for task in short_card[1:]
    ]
    assert [cut[task] for task in short_card[1:]] == words == [0, 4]
    assert record["truncated_prompts"] == sum(cut.values()) == int(re.match(r".* (\d+) of 12", text)[1])  # type: ignore[index]
    assert run.rows[-1]["eval/truncated_prompts"] == record["truncated_prompts"]


def test_a_context_without_room_for_a_prompt_is_refused_whatever_is_allowed(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_card: list[str]
) -> None:
    run = Evaluation(monkeypatch, say, max_length=1024)
    for allowed in (False, True):
        with pytest.raises(
            MemphisError, match="takes up to 1024 tokens, and the model's whole context is 1024: no room"
        ):
            run("card", tmp_path / "out", data_dir=mirror, limit=2, allow_truncated=allowed)


def test_empty_answers_are_wrong_and_counted(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_card: list[str], capsys: pytest.CaptureFixture
) -> None:
    run = Evaluation(monkeypatch, lambda request, seed: "" if request.task_name == "gsm8k" else " \n")
    record = run("card", tmp_path / "out", data_dir=mirror, limit=4, seeds=[0, 1])
    assert {name: (c["count"], c["score"]) for name, c in record["columns"].items()} == {"gsm8k": (0, 0), "bbh": (0, 0)}
    assert record["empty_answers"] == run.rows[-1]["eval/empty_answers"] == 2 * 4 + 8
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warnings[0] == "warning: all 4 answers of gsm8k are empty: the model ends its text at once"


@pytest.mark.parametrize("suite", ["card", "current"])
def test_log_likelihoods_that_are_no_numbers_are_refused(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    agieval = SUITES[suite].columns[1]
    only = replace(SUITES[suite], columns=(replace(agieval, tasks=("agieval_sat_math",)),))
    monkeypatch.setattr(suites, "SUITES", {**SUITES, suite: only})
    run = Evaluation(monkeypatch, say)
    monkeypatch.setattr(Scripted, "loglikelihood", lambda self, requests, **_: [(math.nan, False) for _ in requests])
    with pytest.raises(
        MemphisError, match=r"agieval_sat_math: 12 of 12 log-likelihoods are not numbers \(NaN\): .* undamaged"
    ):
        run(suite, tmp_path / "out", data_dir=mirror, limit=3)
    assert not list((tmp_path / "out" / "tasks").iterdir())
