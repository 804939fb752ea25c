"""Made-up run directories: the layout of memphis/runs/__init__.py with numbers chosen by hand, or drawn by a fixed seed."""

import gzip
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from memphis.config import to_dict
from memphis.pipeline import evaluated
from memphis.store import digest
from tests.composing import compose_config

TITLE = "Word problems (trained format)"


def column(count: int, n: int = 200, title: str = TITLE) -> dict[str, Any]:
    score = count / n
    return {"title": title, "count": count, "n": n, "score": score, "stderr": (score * (1 - score) / (n - 1)) ** 0.5}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


@cache
def config_of(*overrides: str) -> dict[str, Any]:
    """Return the config of these overrides. It is cached: do not change it."""
    return to_dict(compose_config(*overrides))


def run(
    root: Path,
    config: dict[str, Any],
    seed: int,
    counts: dict[str, int],
    *,
    status: str = "finished",
    questions: int = 40,
    text: str = "because of {k}\n### Answer:\n{k}",
) -> Path:
    """Write a run. counts: evaluated model (`base`, `sft`, `1`, …, `sft-continued`) -> right answers of 200."""
    config = {**config, "seed": seed, "model": {**config["model"], "base": {**config["model"]["base"], "seed": seed}}}
    slug = digest({**config, "seed": 0, "model": 0})[:10]
    path = root / config["name"] / f"s{seed}" / slug
    path.mkdir(parents=True)
    cycles = config["iterations"]
    control = config["sft"]["continued"]
    names = ["data", "base", "sft", *(f"evaluate-{label}" for label in ("base", "sft") if label in counts)]
    for k in range(1, cycles + 1):
        names += [
            f"{kind}-{k}" for kind in ("generate", "pairs", "rank", "merge", "evaluate") if _there(kind, k, counts)
        ]
    names += ["sft-continued", "evaluate-sft-continued"] if control else []
    stages, rows, step = [], [], 0
    for name in names:
        kind, _, label = name.partition("-")
        key = digest([slug, seed, name])[:16]
        summary: dict[str, Any] = {}
        if kind in ("base", "sft", "rank"):
            summary = {"steps": 20, "tokens": 1_000}
            start = 0 if kind == "base" else step
            rows += [
                {"stage": name, "step": s, "global_step": start + s, f"{kind}/loss": 1 / (1 + s)} for s in range(1, 21)
            ]
            step += 0 if kind == "base" or (control and kind == "rank") else 20  # those only set the length
        elif kind == "generate":
            summary = {"tokens": 5_000, "samples": 800}
            rows.append({"stage": name, "gen/samples": 800, "gen/questions": 100})
        elif kind == "pairs":
            summary = {"pairs": 90}
            rows.append({"stage": name, **false_equations(int(label))})
            rows.append({"stage": name, **judged(int(label))})
        elif kind == "merge":
            drift = config["slerp"]["t"] * 0.01 * int(label)
            rows.append({"stage": name, "merge/drift_sft": drift, "merge/drift_prev": drift / int(label)})
        else:
            summary = {"columns": {"tiny/tiny_gen": column(counts[label])}} if kind == "evaluate" else {}
            directory = root / "store" / f"{kind}-{key}"
            if kind == "evaluate":
                evaluation(directory, counts[label], questions, text)
        iteration = (
            int(label) if label.isdigit() else cycles if label.startswith("sft-") or name == "sft-continued" else 0
        )
        stages.append(
            {
                **{"name": name, "kind": kind, "iteration": iteration, "key": key, "dir": f"store/{kind}-{key}"},
                **{"built": True, "reused": kind in ("data", "base"), "seconds": 10.0, "cpu_seconds": 15.0},
                "summary": summary,
            }
        )
    if status != "finished":
        stages[-1] |= {"built": False, "seconds": None, "cpu_seconds": None, "summary": {}}
    scores = [
        {
            "stage": stage["name"],
            "iteration": stage["iteration"],
            "label": evaluated(stage["name"]),
            "columns": stage["summary"]["columns"],
        }
        for stage in stages
        if stage["kind"] == "evaluate" and stage["built"]
    ]
    about = {"name": config["name"], "seed": seed, "slug": slug}
    info = {
        **about,
        "argv": ["/x/train.py", "-m"],
        "git": {"sha": "0123456789abcdef", "dirty": False},
        "created": 1.7e9,
    }
    (path / "run.json").write_text(json.dumps(info))
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "stages.json").write_text(json.dumps(stages))
    (path / "summary.json").write_text(json.dumps({**about, "status": status, "scores": scores, "wall_s": 300.0}))
    write_lines(path / "metrics.jsonl", rows)
    return path


def _there(kind: str, k: int, counts: dict[str, int]) -> bool:
    return kind != "evaluate" or str(k) in counts


def judged(k: int) -> dict[str, Any]:
    """Return metrics of 800 samples of 100 questions: 180 in 90 pairs, 480 unpaired, 60 duplicates, 80 unusable."""
    return {
        **{"gen/pass@1": 0.4 + 0.02 * k, "gen/pass@1_se": 0.03, "gen/pass@8": 0.8, "pairs/count": 90},
        **{"pairs/discarded_invalid": 80, "pairs/discarded_duplicate": 60, "pairs/discarded_surplus": 480},
        **{"pairs/invalid_no_answer": 70, "pairs/invalid_unfinished": 10},
    }


def false_equations(k: int) -> dict[str, Any]:
    """Return shares of texts with a false equation, of two sources and of both."""
    shares = {"chosen": 0.5 + 0.03 * k, "rejected": 0.6, "sft": 0.0}
    return {
        **{"pairs/chosen_len": 21.5, "pairs/rejected_len": 25.0},
        **{f"pairs/{source}{role}_false_frac": n for source in ("a/", "b/", "") for role, n in shares.items()},
    }


def evaluation(directory: Path, count: int, questions: int, text: str) -> None:
    """Write answers to `questions` questions; the first count/200 of them are right."""
    rows = [
        {
            "doc_id": k,
            "doc": {"prompt": f"question {k}", "answer": str(k)},
            "target": str(k),
            "resps": [[text.replace("{k}", str(k))]],
            "filter": "get-answer",
            "exact_match": float(k < count * questions / 200),
        }
        for k in range(questions)
    ]
    write_lines(directory / "samples" / "tiny_gen.jsonl.gz", rows)
    task = {"metric": "exact_match", "filter": "get-answer", "samples": "samples/tiny_gen.jsonl.gz"}
    record = {"tasks": {"tiny_gen": task}, "comparable": True, "limit": None, "truncated_prompts": 0}
    (directory / "record.json").write_text(json.dumps({"tiny": record}))


def sweep(root: Path, seeds: int = 3) -> list[Path]:
    """Write twelve arms: four SLERP factors, three rank weights. One run of one arm stopped."""
    draw, found = random.Random(0), []
    config = config_of("name=sweep")
    for t in (0.0, 0.5, 0.9, 0.99):
        for weight in (0.0, 0.25, 1.0):
            arm = {**config, "slerp": {**config["slerp"], "t": t}, "rank": {**config["rank"], "weight": weight}}
            for seed in range(seeds):
                counts = {"base": 0, "sft": 58, **{str(k): 58 + draw.randrange(-8, 12) for k in (1, 2, 3)}}
                last = t == 0.9 and weight == 1.0 and seed == 2
                found.append(run(root, arm, seed, counts, status="stopped" if last else "finished", questions=200))
    return found
