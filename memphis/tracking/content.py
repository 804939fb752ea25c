"""Content of a W&B run, as plain values made from configs, rows and records. Does not use wandb."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memphis.config import FREE, Config, to_dict
from memphis.config.methods import method_name
from memphis.devices import gpus, peak_flops
from memphis.jsonl import read_rows
from memphis.pipeline import KINDS
from memphis.store import Stage, Store, digest

QUESTIONS = 64  # in a table of samples, the same ones in every iteration
COUNTERS = ("global_step", "tokens", "iteration")
AXES = {
    "global_step": (*(row.family for row in KINDS.values() if row.steps), "optim", "perf"),
    "iteration": (*(row.family for row in KINDS.values() if not row.optimizes), "eval_base"),
    "base/step": tuple(row.family for row in KINDS.values() if row.starts),
}
SAMPLE_COLUMNS = (
    *("iteration", "question_id", "question", "reference", "response", "extracted"),
    *("correct", "valid_format", "tokens", "pair_role"),
)


def factors(cfg: Config, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat keys by which runs are grouped and compared; peak_flops is of one GPU in bfloat16, None on a CPU.

    config_hash: equal for runs that differ only in where they ran, their names and their seeds.
    """
    plain = to_dict(cfg)
    found = gpus(cfg.runtime.device)
    return {
        "slerp_t": cfg.slerp.t,
        "rank_weight": getattr(cfg.rank.objective, "weight", None),
        "iterations": cfg.iterations,
        "seed": cfg.seed,
        "scale": scale(cfg),
        "method": method_name(plain),
        "config_hash": digest({key: value for key, value in plain.items() if key not in FREE})[:16],
        "git_sha": info["git"]["sha"],
        "git_dirty": info["git"]["dirty"],
        "gpu": found[0].name if found else None,
        "peak_flops": peak_flops(found[0].name) if found else None,
    }


def scale(cfg: Config) -> str:
    """Return `tiny`, or the last part of the model's name."""
    return "tiny" if cfg.model.base is not None else Path(cfg.model.path or "").name


def group(cfg: Config, info: Mapping[str, Any]) -> str:
    """Return `tracking.group`, else the sweep files of the command line, else the run's name."""
    typed = [item.lstrip("+").partition("=") for item in info["overrides"]]
    sweeps = [value for key, _, value in typed if key == "sweep"]
    return cfg.tracking.group or "+".join(sweeps) or cfg.name


def values(stage: Stage, row: Mapping[str, Any], every: int) -> dict[str, Any]:
    """Return the counters and metrics of a row; {} if there is nothing to send.

    every: of training rows only multiples of this step are sent, and the last one. Values that were not finite are left
        out: W&B would keep them as text; optim/skipped_nonfinite counts such steps.
    Two stages precede the axes of the run and have their own names: training of the base model (`base/…` over
    `base/step`) and its evaluation (`eval_base/…`).
    """
    step = row.get("step")
    if KINDS[stage.kind].optimizes and step is not None and step % every and step != row.get("steps"):
        return {}
    found = {key: value for key, value in row.items() if "/" in key and value is not None}
    if stage.name == "evaluate-base":
        found = {f"eval_base/{key.removeprefix('eval/')}": value for key, value in found.items()}
    if KINDS[stage.kind].starts:
        found = {f"base/{key.removeprefix('base/')}": value for key, value in found.items()} | {"base/step": step}
        return found if len(found) > 1 else {}
    return {**{key: row[key] for key in COUNTERS if key in row}, **found} if found else {}


def fixed_choice(question_ids: list[str], count: int = QUESTIONS) -> set[str]:
    """Return the `count` ids with the smallest sha256: the same ones for the same questions."""
    return set(sorted(set(question_ids), key=lambda item: hashlib.sha256(item.encode()).hexdigest())[:count])


def sample_rows(data: Path, generate: Path, pairs: Path, iteration: int) -> list[dict[str, Any]]:
    """Return rows of the samples table, with SAMPLE_COLUMNS: all samples of the chosen questions, from three stages.

    pair_role is `chosen` or `rejected` when the sample's text went into a pair of its question, else "".
    """
    questions = {row["id"]: row for row in read_rows(data / "questions.jsonl")}
    chosen = fixed_choice(list(questions))
    roles: dict[tuple[str, str], str] = {}
    for pair in read_rows(pairs / "pairs.jsonl"):
        if pair["id"] in chosen:
            roles |= {(pair["id"], text): "rejected" for text in pair["rejected"]}
            roles[pair["id"], pair["chosen"]] = "chosen"
    lengths = {
        row["id"]: [len(sample["token_ids"]) for sample in row["samples"]]
        for row in read_rows(generate / "samples.jsonl")
        if row["id"] in chosen
    }
    return [
        {
            "iteration": iteration,
            "question_id": row["id"],
            "question": questions[row["id"]]["prompt"],
            "reference": questions[row["id"]]["answer"],
            "response": sample["text"],
            "extracted": sample["answer"],
            "correct": sample["correct"],
            "valid_format": sample["valid"],
            "tokens": tokens,
            "pair_role": roles.get((row["id"], sample["text"].strip()), ""),
        }
        for row in read_rows(pairs / "judged.jsonl")
        if row["id"] in chosen
        for sample, tokens in zip(row["samples"], lengths[row["id"]], strict=True)
    ]


@dataclass(frozen=True)
class Files:
    """Artifact: files that are sent, or a directory that is only referenced."""

    name: str
    type: str
    alias: str
    metadata: dict[str, Any]
    files: tuple[Path, ...] = ()
    reference: Path | None = None


def artifact(stage: Stage, record: Mapping[str, Any], store: Store, merged: bool) -> Files | None:
    """Return the artifact of a finished stage: pairs and records of evaluations as files, models as references.

    Weights are never sent: the reference carries their sha256. merged: True if a merge, not ranking, ends an iteration.
    """
    kind = KINDS[stage.kind]
    name, _, number = stage.name.partition("-")
    path = store.path(stage)
    outputs: dict[str, dict[str, Any]] = record["outputs"]
    metadata = {
        "stage": stage.directory,
        "inputs": [
            {"role": role, "name": directory, "sha256": (store.root / directory / "DONE").read_text().strip()}
            for role, directory in record["reads"].items()
        ],
        "summary": record["summary"],
    }
    alias = f"iter-{stage.iteration}" if number.isdigit() else number or name

    def described(*names: str) -> dict[str, Any]:
        return {**metadata, "sha256": {file: outputs[file]["sha256"] for file in names}}

    if kind.leaves == "judged":
        kept = ("pairs.jsonl", "counts.json")
        return Files(name, "dataset", alias, described(*kept), tuple(path / file for file in kept))
    if kind.leaves == "scores":
        return Files("eval", "eval", alias, described("record.json"), (path / "record.json",))
    if kind.writes and kind.kept("iterations", merged):
        weights = [file for file in outputs if file.startswith("model/")]
        return Files("checkpoint", "model", alias, described(*weights), reference=path / "model")
    return None


def final_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat W&B summary of summary.json: scores (0 to 1) of the last model and of the best one (highest mean
    over columns, the base model apart), their standard errors under `…_se`, seconds, GPU hours, and the tokens that
    were trained on or sampled."""
    found: dict[str, Any] = {}
    evaluated = [row for row in summary.get("scores", []) if row["columns"]]
    if scores := [row for row in evaluated if row["stage"] != "evaluate-base"] or evaluated:
        best = max(scores, key=lambda row: sum(c["score"] for c in row["columns"].values()) / len(row["columns"]))
        for name, row in (("final", scores[-1]), ("best", best)):
            for column, score in row["columns"].items():
                found |= {f"{name}/{column}": score["score"], f"{name}/{column}_se": score["stderr"]}
        found["best/iteration"] = best["iteration"]
    stages = [stage for stage in summary.get("stages", []) if stage["seconds"] is not None]
    found["final/wall_s_total"] = summary.get("wall_s")
    found |= {f"final/wall_s/{stage['name']}": stage["seconds"] for stage in stages}
    if stages:
        found["final/gpu_hours"] = sum(stage["seconds"] * stage["gpus"] for stage in stages) / 3600
        found["final/tokens_total"] = sum(stage["summary"].get("tokens", 0) for stage in stages)
    return {key: value for key, value in found.items() if value is not None}
