"""Tests of finding and checking records; also made-up stages and runs for the tests of table and compare."""

import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.records import answers, draws, find, find_all, load
from eval.suites import SUITES, Column, pooled_stderr
from memphis.config import to_dict
from memphis.errors import MemphisError
from memphis.store import sha256
from tests.composing import compose_config

AGIEVAL_ITEMS = (254, 651, 230, 510, 269, 206, 206, 220)
BBH_ITEMS = dict.fromkeys(SUITES["current"].columns[2].tasks, 250) | {
    f"bbh_cot_fewshot_{task}": items
    for task, items in (("causal_judgement", 187), ("penguins_in_a_table", 146), ("snarks", 178))
}
ITEMS = {"gsm8k": 1319, **dict(zip(SUITES["current"].columns[1].tasks, AGIEVAL_ITEMS, strict=True)), **BBH_ITEMS}

Right = Mapping[str, Sequence[float]]  # task -> one entry per item: 1 right, 0 wrong


def spread(count: int, column: Column) -> dict[str, int]:
    """Spread `count` right answers over a column's tasks, in full benchmarks."""
    counts = {task: count * ITEMS[task] // sum(ITEMS[t] for t in column.tasks) for task in column.tasks}
    for task in column.tasks[: count - sum(counts.values())]:
        counts[task] += 1
    return counts


def entry(column: Column, count: int, n: int, seeds: Sequence[int] = ()) -> dict[str, Any]:
    share = count / n / max(1, len(seeds))
    stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
    more = {"seeds": list(seeds)} if seeds else {}
    settings = {"metric": column.metric, "filter": column.filter, "shots": column.shots}
    return {"score": share, "count": count, "n": n, "stderr": stderr, **settings, **more}


def make_record(suite: str, counts: Mapping[str, tuple[int, int]], **changes: Any) -> dict[str, Any]:
    """Return a record as the harness writes it. counts: task -> (right, items)."""
    columns, tasks = {}, {}
    for column in SUITES[suite].columns:
        for task in column.tasks:
            tasks[task] = {"task": task, **entry(column, *counts[task]), "samples": f"samples/{task}.jsonl.gz"}
        parts = [tasks[task] for task in column.tasks]
        right, n = sum(part["count"] for part in parts), sum(part["n"] for part in parts)
        columns[column.name] = {"title": column.title, **entry(column, right, n)}
        columns[column.name]["stderr"] = pooled_stderr([p["stderr"] for p in parts], [p["n"] for p in parts])
    return {
        "suite": suite,
        "columns": columns,
        "tasks": tasks,
        "comparable": changes.get("limit") is None,
        "limit": None,
        "seed": 0,
        "engine": "vllm",
        "dtype": "bfloat16",
        "fingerprint": "f" * 64,
        "versions": {"lm_eval": "0.4.13", "vllm": "0.32.0"},
        "seconds": 1.0,
        "truncated_prompts": 0,
        **changes,
    }


def full_record(suite: str, gsm8k: int, agieval: int, bbh: int, **changes: Any) -> dict[str, Any]:
    """Return a record of all items of the three benchmarks, with the given numbers of right answers."""
    counts = {}
    for column, right in zip(SUITES[suite].columns, (gsm8k, agieval, bbh), strict=True):
        counts |= {task: (count, ITEMS[task]) for task, count in spread(right, column).items()}
    return make_record(suite, counts, **changes)


def tiny_record(right: Right, **changes: Any) -> dict[str, Any]:
    return make_record("tiny", {task: (int(sum(row)), len(row)) for task, row in right.items()}, **changes)


def write_samples(file: Path, column: Column, right: Sequence[float], prompts: str = "prompt") -> None:
    rows = [
        {
            "doc_id": item,
            "doc_hash": f"document {item}",
            "prompt_hash": f"{prompts} {item}",
            "filter": filter_name,
            column.metric: value if filter_name == column.filter else 1 - value,  # the other filter must not count
        }
        for item, value in enumerate(right)
        for filter_name in (column.filter, "other")
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_stage(folder: Path, records: Mapping[str, Any], right: Right | None = None, prompts: str = "prompt") -> Path:
    """Write an evaluate stage as the store has it; `right` gives the samples of all suites."""
    folder.mkdir(parents=True)
    for suite in records:
        for column in SUITES[suite].columns:
            for task in column.tasks if right else ():
                write_samples(folder / "samples" / f"{task}.jsonl.gz", column, right[task], prompts)
    (folder / "record.json").write_text(json.dumps(records))
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "stage.json"]
    outputs = {file.relative_to(folder).as_posix(): {"sha256": sha256(file)} for file in files}
    (folder / "stage.json").write_text(json.dumps({"kind": "evaluate", "outputs": outputs}))


def write_run(
    root: Path, name: str, records: Mapping[str, Any], overrides: Sequence[str] = (), slug: str = "default"
) -> Path:
    """Write a finished run with two evaluations; the last one has `records`."""
    run = root / name / "s0" / slug
    run.mkdir(parents=True)
    config = to_dict(compose_config(*overrides, f"name={name}"))
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    git = {"sha": "0123456789abcdef", "dirty": True}
    (run / "run.json").write_text(json.dumps({"run_id": f"{name}-1", "slug": slug, "git": git}))
    write_stage(root / "store" / f"evaluate-{name}-last", records)
    stages = [
        {"name": stage, "kind": stage.split("-")[0], "dir": f"store/{stage.split('-')[0]}-{name}-{end}", "built": True}
        for stage, end in (("sft", "0"), ("evaluate-sft", "first"), ("evaluate-3", "last"))
    ]
    (run / "stages.json").write_text(json.dumps(stages))
    return run


RIGHT: Right = {"tiny_gen": [1, 0, 1, 1], "tiny_mc": [0, 1, 0, 0], "tiny_cot": [0, 0, 1, 0]}


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    return write_stage(tmp_path / "store" / "evaluate-1", {"tiny": tiny_record(RIGHT)}, RIGHT)


def test_full_records_have_the_sizes_of_the_benchmarks() -> None:
    columns = full_record("card", 248, 693, 2404)["columns"].values()
    assert [(column["count"], column["n"]) for column in columns] == [(248, 1319), (693, 2546), (2404, 6511)]


def test_a_stage_a_file_and_a_run_lead_to_the_same_record(stage: Path, tmp_path: Path) -> None:
    assert find(stage).records == find(stage / "record.json").records == {"tiny": tiny_record(RIGHT)}
    run = write_run(tmp_path, "tiny", {"tiny": tiny_record(RIGHT)})
    found = find(run)
    assert (found.stage, found.run) == ("evaluate-tiny-last", run)  # the last evaluation, not that of SFT
    assert [one.run for one in find_all(tmp_path / "tiny")] == [run]
    assert find(stage).run is None


def test_samples_are_those_of_the_filter_that_counts(stage: Path) -> None:
    found = answers(find(stage), "tiny", "tiny_gen")
    assert found.right == [1, 0, 1, 1]
    assert found.items[2] == (2, "document 2", "prompt 2")


def test_several_seeds_are_averaged_item_by_item(stage: Path) -> None:
    column = SUITES["tiny"].columns[0]
    record = tiny_record(RIGHT)
    names = [f"samples/tiny_gen-s{seed}.jsonl.gz" for seed in (0, 1)]
    record["tasks"]["tiny_gen"] = {"task": "tiny_gen", **entry(column, 4, 4, (0, 1)), "samples": names}
    record["columns"]["tiny_gen"] = {"title": column.title, **entry(column, 4, 4, (0, 1))}
    write_samples(stage / names[0], column, [1, 0, 1, 1])
    write_samples(stage / names[1], column, [1, 0, 0, 0])
    (stage / "record.json").write_text(json.dumps({"tiny": record}))
    seal(stage)
    found = find(stage)
    assert draws(found.records["tiny"]["tasks"]["tiny_gen"]) == 2
    assert answers(found, "tiny", "tiny_gen").right == [1, 0, 0.5, 0.5]


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.pop("columns"), "'columns' is missing"),
        (lambda r: r.pop("versions"), "'versions' is missing"),
        (lambda r: r["tasks"].pop("tiny_mc"), "'tiny_mc' is missing"),
        (lambda r: r.update(suite="card"), "it says suite 'card'"),
        (lambda r: r.update(limit=8), "contradict each other"),
        (lambda r: r["tasks"]["tiny_gen"].update(count=2), "tiny_gen has score 0.75, count 2 of 4"),
        (
            lambda r: r["tasks"]["tiny_gen"].update(count=2, score=0.5),
            "count of tiny_gen is not the sum over its tasks",
        ),
        (lambda r: r["columns"]["tiny_mc"].update(score=math.nan), "tiny_mc has score nan"),
        (lambda r: r["columns"]["tiny_mc"].update(n="4"), "tiny_mc has score"),
        (lambda r: r["columns"]["tiny_cot"].update(stderr=math.inf), "tiny_cot has stderr inf"),
        (lambda r: r["tasks"]["tiny_gen"].update(filter="flexible-extract"), "exact_match,flexible-extract"),
        (lambda r: r["columns"]["tiny_cot"].update(shots=5), "tiny_cot was measured with 5 shots"),
    ],
)
def test_a_damaged_record_is_one_line_that_names_the_file(tmp_path: Path, change: Change, reason: str) -> None:
    record = tiny_record(RIGHT)
    change(record)
    file = tmp_path / "record.json"
    file.write_text(json.dumps({"tiny": record}))
    with pytest.raises(MemphisError) as fault:
        load(file)
    assert str(fault.value).startswith(f"{file}: damaged record of suite tiny: ")
    assert reason in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"suite": "tiny"}', '{"records": 3}', "\udcff"])
def test_what_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MemphisError, match="record.json: (not the record|cannot be read)"):
        load(file)


def test_a_changed_record_or_sample_is_noticed(stage: Path) -> None:
    samples = stage / "samples" / "tiny_mc.jsonl.gz"
    found = find(stage)
    whole = samples.read_bytes()
    samples.write_bytes(whole[:-9])
    with pytest.raises(MemphisError, match="tiny_mc.jsonl.gz: changed after it was written"):
        answers(found, "tiny", "tiny_mc")
    seal(stage)
    with pytest.raises(MemphisError, match="tiny_mc.jsonl.gz: cannot be read"):
        answers(found, "tiny", "tiny_mc")
    write_samples(samples, SUITES["tiny"].columns[1], [1, 1, 0, 0])
    seal(stage)
    with pytest.raises(MemphisError, match="samples of tiny_mc are not those of the record"):
        answers(found, "tiny", "tiny_mc")
    samples.write_bytes(gzip.compress(b'{"filter": "none"}\n'))
    seal(stage)
    with pytest.raises(MemphisError, match="a sample without 'doc_id'"):
        answers(found, "tiny", "tiny_mc")
    samples.unlink()
    with pytest.raises(MemphisError, match="no samples; give the run or stage directory"):
        answers(found, "tiny", "tiny_mc")
    (stage / "record.json").write_text((stage / "record.json").read_text() + " ")
    with pytest.raises(MemphisError, match="record.json: changed after it was written"):
        find(stage)


def test_what_has_no_evaluation_is_said(tmp_path: Path) -> None:
    with pytest.raises(MemphisError, match="nowhere: no file or directory"):
        find(tmp_path / "nowhere")
    with pytest.raises(MemphisError, match="no directory of a run or of an evaluate stage"):
        find(tmp_path)
    with pytest.raises(MemphisError, match="no finished run with an evaluation in it"):
        find_all(tmp_path)
    run = write_run(tmp_path, "tiny", {"tiny": tiny_record(RIGHT)})
    stages = json.loads((run / "stages.json").read_text())
    stages[-1]["built"] = False
    (run / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(MemphisError, match="its last stage evaluate-3 is not built"):
        find(run)
    (run / "stages.json").write_text("[]")
    with pytest.raises(MemphisError, match="evaluates nothing"):
        find(run)
