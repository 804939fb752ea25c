"""Find the records of evaluations on the disk, check them, and read their samples item by item.

Knows the layout of a run directory and of an evaluate stage, and nothing of torch, engines or lm-eval.
"""

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.suites import SUITES, measured, wilson
from memphis.errors import MemphisError
from memphis.pipeline import KINDS
from memphis.store import read_json, sha256

AGAIN = "restore the file, or remove its directory and run again"


@dataclass(frozen=True)
class Evaluation:
    """Result of one evaluate stage for one model.

    records: suite -> record, checked. file: where they were read. run: the run directory it belongs to, if known.
    about: further facts on the model in a committed copy.
    """

    file: Path
    records: Mapping[str, dict[str, Any]]
    run: Path | None = None
    stage: str = ""
    about: Mapping[str, Any] | None = None


def find(path: Path) -> Evaluation:
    """Find the evaluation at `path`: a run directory (its last one), an evaluate stage, or a record file.

    Raises MemphisError when there is none, or one that is damaged.
    """
    if path.is_file():
        return load(path)
    if (path / "record.json").is_file():
        return load(path / "record.json")
    if not (path / "stages.json").is_file():
        kind = "directory of a run or of an evaluate stage" if path.is_dir() else "file or directory"
        raise MemphisError(f"{path}: no {kind}; give runs/<name>/s<seed>/<overrides> or a directory in it")
    if (last := _last_evaluation(path / "stages.json")) is None:
        raise MemphisError(f"{path}: this run evaluates nothing; start it with eval=card or eval=current")
    run = path.resolve()
    record = run.parents[2] / last["dir"] / "record.json"
    if not (last["built"] and record.is_file()):
        cure = "finish the run, or give the directory of an earlier evaluation"
        raise MemphisError(f"{path}: its last stage {last['name']} is not built; {cure}")
    return load(record, run)


def find_all(path: Path) -> list[Evaluation]:
    """Find the evaluation at `path`; in a directory above runs (runs/<name>) that of each finished run with one."""
    if not path.is_dir() or (path / "record.json").exists() or (path / "stages.json").exists():
        return [find(path)]
    files = sorted([*path.glob("*/stages.json"), *path.glob("*/*/stages.json")])
    found = [find(file.parent) for file in files if (last := _last_evaluation(file)) and last["built"]]
    if not found:
        raise MemphisError(f"{path}: no finished run with an evaluation in it; give runs/<name>/s<seed>/<overrides>")
    return found


def load(file: Path, run: Path | None = None) -> Evaluation:
    """Load a record.json of the store, or a committed copy of one, as `records` or bare. Checks every number in it."""
    records, about = _json(file), None
    _check_sha256(file, file.parent)
    if isinstance(records, dict) and "records" in records:
        about = {key: item for key, item in records.items() if key != "records"}
        records = records["records"]
    if not (isinstance(records, dict) and records and all(isinstance(record, dict) for record in records.values())):
        raise MemphisError(f"{file}: not the record of an evaluation, by suite; {AGAIN}")
    for suite, record in records.items():
        try:
            _check(suite, record)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise MemphisError(f"{file}: damaged record of suite {suite}: {reason}; {AGAIN}") from error
    stage = str(about.get("stage", "")) if about else file.resolve().parent.name
    return Evaluation(file, records, run, stage, about)


def draws(result: Mapping[str, Any]) -> int:
    """Return how often each item was answered: once, or once per seed if the task is sampled with several."""
    return len(result.get("seeds") or [0])


@dataclass(frozen=True)
class Answers:
    """Items of one task in their order: id with hashes of document and prompt, and the share of right answers."""

    items: Sequence[tuple[Any, str, str]]
    right: Sequence[float]


def answers(evaluation: Evaluation, suite: str, task: str) -> Answers:
    """Read the samples of one task: the rows of the filter that counts. Several files are several seeds.

    Raises MemphisError when a file is missing or damaged, or does not add up to the record.
    """
    result = evaluation.records[suite]["tasks"][task]
    names = result.get("samples")
    found: list[Answers] = []
    for name in [names] if isinstance(names, str) else names or []:
        file = evaluation.file.parent / name
        if not file.is_file():
            raise MemphisError(f"{file}: no samples; give the run or stage directory that the record comes from")
        _check_sha256(file, evaluation.file.parent)
        rows = read_samples(file, result["filter"])
        try:
            items = [(row["doc_id"], str(row["doc_hash"]), str(row["prompt_hash"])) for row in rows]
            found.append(Answers(items, [float(row[result["metric"]]) for row in rows]))
        except (KeyError, TypeError, ValueError) as error:
            raise MemphisError(f"{file}: a sample without {error}; {AGAIN}") from error
        if found[-1].items != found[0].items:
            raise MemphisError(f"{file}: not the items of the other seeds; {AGAIN}")
    if not found:
        raise MemphisError(f"{evaluation.file}: its samples were not kept; give the run or stage directory itself")
    right = [sum(values) / len(found) for values in zip(*(one.right for one in found), strict=True)]
    if len(right) != result["n"] or round(sum(right) * len(found)) != result["count"]:
        raise MemphisError(f"{evaluation.file.parent}: the samples of {task} are not those of the record; {AGAIN}")
    return Answers(found[0].items, right)


def read_samples(file: Path, filter_name: str) -> list[dict[str, Any]]:
    """Return the rows of a samples file that were scored with this filter. Raises MemphisError if it is damaged."""
    try:
        rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise MemphisError(f"{file}: cannot be read ({error}); {AGAIN}") from error
    return [row for row in rows if row.get("filter") == filter_name]


def _check(suite: str, record: Mapping[str, Any]) -> None:
    if suite not in SUITES or record["suite"] != suite:
        raise ValueError(f"it says suite {record['suite']!r}")
    if "not_loadable" in record:
        return
    for key in ("limit", "seed", "engine", "dtype", "fingerprint", "truncated_prompts"):
        record[key]  # KeyError names it
    if not isinstance(record["versions"], dict) or record["comparable"] is not (record["limit"] is None):
        raise ValueError("`comparable` and `limit` contradict each other")
    for name, result in (*record["columns"].items(), *record["tasks"].items()):
        count, n, score, stderr = (result[key] for key in ("count", "n", "score", "stderr"))
        whole = all(type(number) is int for number in (count, n))
        if not (whole and n > 0 and 0 <= count <= n * draws(result) and abs(score - count / n / draws(result)) < 1e-9):
            raise ValueError(f"{name} has score {score}, count {count} of {n}")
        if "low" in result and any(abs(result[end] - value) > 1e-9 for end, value in wilson(count, n).items()):
            raise ValueError(f"{name} has the interval {result['low']} to {result['high']}")
        if stderr is not None and not (math.isfinite(stderr) and stderr >= 0):
            raise ValueError(f"{name} has stderr {stderr}")
    for column in measured(record):
        whole, parts = record["columns"][column.name], [record["tasks"][task] for task in column.tasks]
        for key in ("count", "n"):
            if sum(part[key] for part in parts) != whole[key]:
                raise ValueError(f"{key} of {column.name} is not the sum over its tasks")
        for name, result in ((column.name, whole), *zip(column.tasks, parts, strict=True)):
            if (result["metric"], result["filter"]) != (column.metric, column.filter):
                raise ValueError(f"{name} was measured with {result['metric']},{result['filter']}")
            if result["shots"] != column.shots:
                raise ValueError(f"{name} was measured with {result['shots']} shots")


def _check_sha256(file: Path, folder: Path) -> None:
    """Compare a file in `folder` with the sha256 in its stage.json. Raises MemphisError if they differ."""
    if (folder / "stage.json").is_file():
        outputs = _json(folder / "stage.json").get("outputs", {})
        expected = outputs.get(file.relative_to(folder).as_posix(), {}).get("sha256")
        if expected is not None and sha256(file) != expected:
            raise MemphisError(f"{file}: changed after it was written; {AGAIN}")


def _last_evaluation(file: Path) -> dict[str, Any] | None:
    """Return the row of the last evaluate stage in a run's stages.json."""
    rows = [stage for stage in _json(file) if stage["kind"] in KINDS and KINDS[stage["kind"]].leaves == "scores"]
    return rows[-1] if rows else None


def _json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise MemphisError(f"{file}: cannot be read ({error}); {AGAIN}") from error
