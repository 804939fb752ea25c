"""Read run directories as plain data: what was run, scores, cycles, losses and costs, all of it JSON.

Reads what the run directory holds and nothing of the store, so a run can be read whose stages were cleaned up. A run
is a dictionary with the keys that `read_run` names; nothing else in experiments/ knows the files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from memphis.config import FREE, today
from memphis.config.methods import method_name
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.pipeline import KINDS, Kind
from memphis.store import digest, flatten, read_json

POINTS = 120  # of one loss curve
FALSE = {"chosen": "chosen", "rejected": "rejected", "sft": "SFT rows"}  # texts whose equations are checked
COUNTS = ("steps", "tokens", "samples", "pairs")  # of a stage's summary


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Return the run directories at or below the given ones (up to a store's root), each once, in a fixed order.

    Raises MemphisError when there is none.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        depths = ("", "*/", "*/*/", "*/*/*/")
        here = sorted(file.parent for depth in depths for file in path.glob(f"{depth}stages.json"))
        if not here:
            raise MemphisError(f"{path}: no run there; give runs/<name>/s<seed>/<overrides>, or a directory above runs")
        found |= {run.resolve(): run for run in here}
    return list(found)


@contextmanager
def readable(path: Path, fault: str, cure: str) -> Iterator[None]:
    """Raise MemphisError, in one line, when reading `path` finds something else than what memphis wrote."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise MemphisError(f"{path}: {fault} ({reason}); {cure}") from error


def read_run(path: Path) -> dict[str, Any]:
    """Read one run as a dictionary.

    name, seed, slug, method, status (as summary.json has it; `unfinished` without one), complete (it ended, and with
    its last stage), commit, created (Unix seconds), wall_s; command; config (dotted key -> value, of what a result can
    depend on); key (of its stages: equal keys, equal results); stages; scores (per evaluated model); iterations (per
    cycle); curves (stage -> [[step, mean loss], …]); costs.
    Raises MemphisError for a directory that cannot be read as a run.
    """
    with readable(path, "cannot be read as a run", "start it again or leave it out"):
        return _read(path)


def _read(path: Path) -> dict[str, Any]:
    stages = read_json(path / "stages.json")
    info = read_json(path / "run.json")
    summary = read_json(path / "summary.json") if (path / "summary.json").exists() else {}
    # The C loader, as a comparison reads many of these; every number in it has been written by OmegaConf.
    config = today(yaml.load((path / "config.yaml").read_bytes(), Loader=yaml.CSafeLoader))
    rows = read_rows(path / "metrics.jsonl") if (path / "metrics.jsonl").exists() else []
    method = method_name(config)
    built = [stage for stage in stages if stage["built"]]
    until = config.get("until")
    finished = summary.get("status") == "finished" and len(built) == len(stages)
    return {
        "name": info["name"],
        "seed": info["seed"],
        "slug": info["slug"],
        "method": method,
        "status": f"{summary.get('status', 'unfinished')}{f', until {until}' if until else ''}",
        "complete": finished and not until,
        "commit": info["git"]["sha"],
        "dirty": info["git"]["dirty"],
        "created": info["created"],
        "command": info.get("overrides", info["argv"][1:]),  # argv of a frozen run says where it was frozen
        "wall_s": summary.get("wall_s"),
        "config": {key: value for key, value in flatten(config).items() if key.split(".")[0] not in FREE},
        "key": digest([stage["key"] for stage in stages])[:16],
        "stages": [
            {k: stage[k] for k in ("name", "kind", "iteration", "dir", "built", "reused", "seconds")}
            | {k: n for k, n in stage["summary"].items() if k in COUNTS}
            for stage in stages
        ],
        "scores": [{k: row[k] for k in ("label", "iteration", "columns")} for row in summary.get("scores", [])],
        "iterations": _iterations(rows) if method != "sft_continued" else [],
        "curves": _curves(rows, own_stages(method, stages)),
        "costs": costs(method, stages),
    }


def own_stages(method: str, stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the stages behind the run's last model; for the control not the cycles, whose length alone it takes."""
    return [stage for stage in stages if method != "sft_continued" or not KINDS[stage["kind"]].cycle]


def costs(method: str, stages: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return what the last model took beyond the base model, evaluations not counted; reused stages are.

    steps: optimizer steps. trained_tokens, generated_tokens. seconds: of the clock, as recorded when its stages were
    built. cpu_seconds: of all threads; None where a stage has no record of them.
    """
    own = [stage for stage in own_stages(method, stages) if stage["built"]]
    counted = [stage for stage in own if (kind := KINDS[stage["kind"]]).steps or kind.cycle]
    worked = [stage.get("cpu_seconds") for stage in counted]
    return {
        "steps": total(own, "steps", lambda kind: kind.steps),
        "trained_tokens": total(own, "tokens", lambda kind: kind.steps),
        "generated_tokens": total(own, "tokens", lambda kind: kind.leaves == "samples"),
        "seconds": round(sum(stage["seconds"] or 0.0 for stage in counted), 1),
        "cpu_seconds": None if None in worked else round(sum(value or 0.0 for value in worked), 1),
    }


def total(stages: Sequence[dict[str, Any]], key: str, counts: Callable[[Kind], bool]) -> int:
    """Sum a number of the stages' summaries over the kinds that count."""
    return sum(stage["summary"].get(key, 0) for stage in stages if counts(KINDS[stage["kind"]]))


def columns_of(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return all columns of a run's scores in their order, each as the last model has it."""
    return {name: column for row in scores for name, column in row["columns"].items()}


def _iterations(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what samples, pairs and merge recorded per cycle; keys are absent for what did not happen."""
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        name, _, k = row["stage"].rpartition("-")
        if name not in KINDS or not k.isdigit():  # `judge` and `rationalize` do a part of it
            continue
        kind = KINDS[name]
        cycle = found.setdefault(int(k), {"iteration": int(k)})
        if kind.leaves == "samples" and "gen/samples" in row:
            cycle |= {"questions": row["gen/questions"], "samples": row["gen/samples"]}
        elif kind.leaves == "judged" and (false := _false(row)):
            cycle |= {"false": false} | {f"{role}_false": share for role, share in false.get("", {}).items()}
        elif kind.leaves == "judged" and "pairs/count" in row:
            cycle |= _judged(row, cycle)
        elif kind.merges:
            cycle |= {"drift_sft": row["merge/drift_sft"], "drift_prev": row["merge/drift_prev"]}
    return [found[k] for k in sorted(found)]


def _judged(row: dict[str, Any], cycle: dict[str, Any]) -> dict[str, Any]:
    """Return pass@1, pass@k, and where the samples went; `in pairs` are those that no reason discarded."""
    k = max(int(key.removeprefix("gen/pass@")) for key in row if key.startswith("gen/pass@") and key[9:].isdigit())
    found = {"pass@1": row["gen/pass@1"], "pass@1_se": row["gen/pass@1_se"], "pairs": row["pairs/count"]}
    found |= {"k": k, "pass@k": row[f"gen/pass@{k}"]}
    if not cycle.get("samples"):
        return found
    questions = cycle["questions"]
    if cycle["samples"] == k * questions and questions > 1:  # then a question counts 0 or 1
        found["pass@k_se"] = (found["pass@k"] * (1 - found["pass@k"]) / (questions - 1)) ** 0.5
    reasons = {key.removeprefix("pairs/invalid_"): n for key, n in row.items() if key.startswith("pairs/invalid_")}
    judged = sum(reasons.values()) - row["pairs/discarded_invalid"]  # unfinished ones that count as incorrect
    if judged > 0:
        reasons["unfinished"] -= judged
    yields = {"surplus": row["pairs/discarded_surplus"], "duplicate": row["pairs/discarded_duplicate"]}
    yields |= {f"invalid: {reason.replace('_', ' ')}": n for reason, n in sorted(reasons.items()) if n}
    return {**found, "yield": {"in pairs": cycle["samples"] - sum(yields.values()), **yields}}


def _false(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return source -> role -> share of texts with a false equation; source "" is all of them, and the last."""
    found: dict[str, dict[str, float]] = {}
    for key, share in row.items():
        if key.startswith("pairs/") and key.endswith("_false_frac"):
            source, _, name = key.removeprefix("pairs/").rpartition("/")
            found.setdefault(source, {})[name.removesuffix("_false_frac")] = share
    return dict(sorted(found.items(), key=lambda item: (not item[0], item[0])))


def _curves(rows: Sequence[dict[str, Any]], stages: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Return the loss of each trained stage, reduced to means over equal numbers of steps; x is the last step of the
    mean, on the run's own axis, which begins after the base model."""
    kinds = {stage["name"]: KINDS[stage["kind"]] for stage in stages}
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        loss = next((value for key, value in row.items() if key.endswith("/loss")), None)
        if loss is not None and (kind := kinds.get(row["stage"])):
            step = row["step"] if kind.starts else row["global_step"]
            found.setdefault(row["stage"], []).append((step, loss))
    thinned = {}
    for stage, points in found.items():
        width = -(-len(points) // POINTS)
        bins = [points[start : start + width] for start in range(0, len(points), width)]
        thinned[stage] = [[part[-1][0], round(sum(loss for _, loss in part) / len(part), 5)] for part in bins]
    return thinned
