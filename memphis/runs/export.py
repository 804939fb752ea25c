"""Export of a run's final model as a publishable directory: `<run>/model/`, weights, tokenizer and a model card.

Weights are hard links into the store, everything else is copied. Written from records alone; the card holds no secret
and no path of this machine. `hf upload <owner>/<name> <run>/model` publishes it.
"""

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from memphis.config import FREE, Source, to_dict
from memphis.formatting import rows_by_human, score_text
from memphis.pipeline import BUDGET, KINDS
from memphis.privacy import masked
from memphis.runs import Run
from memphis.store import Stage, read_json, with_inputs

UNKNOWN = "other"  # the hub's word for a licence that is not in its list
_LICENCES = re.compile(
    r"apache-2\.0|mit|isc|unlicense|bsd(-\w+)*|cc0-1\.0|pddl|odc-by|odbl|[al]?gpl-[23]\.[01]"
    r"|cc-by(-nc)?(-sa|-nd)?-[234]\.[05]"
)
_RESTRICTIONS = {"-nc": 4, "-nd": 4, "-sa": 2, "gpl": 2, "odbl": 2, "-by": 1}  # 3: unknown
_PATH = re.compile(r"(?<![\w.:/-])(?:~[\w-]*|\.{0,2})/[^\s'\",;)\]}]+")
_LOCAL = set(FREE) - {"name", "seed", "exp", "sweep"}  # keys about where and how it ran, not about the result
_METRICS = {"acc": "accuracy", "acc_norm": "accuracy"}  # lm-eval's words -> the hub's


def write(run: Run) -> Path | None:
    """Write `<run>/model/` of a finished run; None if it trained nothing or `until` ended it early."""
    models = [stage for stage in run.stages if KINDS[stage.kind].leaves == "model"]
    if run.cfg.until is not None or not any(KINDS[stage.kind].steps for stage in with_inputs(models[-1:], BUDGET)):
        return None
    model, out = models[-1], run.path / "model"
    part = out.with_name(".model.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for file in sorted((run.store.path(model) / "model").iterdir()):
        copy = part / file.name
        if file.suffix == ".safetensors":
            with contextlib.suppress(OSError):  # another file system, or one without hard links
                os.link(file.resolve(), copy)
        if not copy.exists():
            shutil.copyfile(file, copy)
    (part / "README.md").write_text(card(run, model), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out


def licence(found: Sequence[str]) -> str:
    """Return the most restrictive of the sources' licences as the hub spells it. Order: non-commercial and
    no-derivatives ones, unknown ones, share-alike, attribution, the rest."""

    def rank(name: str) -> int:
        if not _LICENCES.fullmatch(name):
            return 3
        return max((weight for part, weight in _RESTRICTIONS.items() if part in name), default=0)

    names = [name.strip().lower() for name in found]
    strictest = max(names, key=lambda name: (rank(name), len(name), name), default=UNKNOWN)
    return strictest if _LICENCES.fullmatch(strictest) else UNKNOWN


def portable(text: str) -> str:
    """Return `text` without secrets, and with only the last name of every path of this machine."""
    return str(masked(_PATH.sub(lambda path: f"…/{Path(path[0]).name}", text)))


def card(run: Run, model: Stage) -> str:
    """Return the README.md of the model that the stage `model` wrote."""
    chain = with_inputs([model], BUDGET)
    sources = _sources(run, chain)
    base = next((stage for stage in chain if KINDS[stage.kind].starts), None)
    strictest = licence([row["licence"] for row in sources])
    hub, _, revision = (base.external.get("model", "") if base else "").partition("@")
    columns = _scores(run, model)
    results = [_result(*item) for item in columns.items()]
    head = {
        "language": ["en"],
        "license": strictest,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["memphis", "self-teaching" if any(KINDS[s.kind].cycle for s in chain) else "sft"],
        "datasets": [row["hub"] for row in sources if row["hub"]],
        "license_name": "unknown" if strictest == UNKNOWN else None,
        "base_model": hub if revision else None,
        "metrics": sorted({_METRICS.get(column["metric"], column["metric"]) for column in columns.values()}),
        "model-index": [{"name": run.cfg.name, "results": results}] if results else None,
    }
    front = yaml.safe_dump({k: v for k, v in head.items() if v}, sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---", f"# {run.cfg.name}", _start(run, chain, base)]
    parts += ["## Scores", _score_table(columns)] if columns else []
    parts += ["## Data", _source_table(sources)]
    parts += ["## Recipe", _recipe(run, chain), _numbers(run, chain), "## Made by", _made_by(run)]
    return "\n\n".join(portable(part) for part in parts) + "\n"


def _record(run: Run, stage: Stage) -> dict[str, Any]:
    return run.store.record(run.store.path(stage))


def _sources(run: Run, chain: Sequence[Stage]) -> list[dict[str, Any]]:
    """Describe every data set that the model learned from."""
    rows = []
    for data in (stage for stage in chain if KINDS[stage.kind].leaves == "rows"):
        counts = read_json(run.store.path(data) / "counts.json")
        revisions = _record(run, data)["summary"].get("revisions", {})
        readers = [KINDS[stage.kind] for stage in chain if data in stage.inputs.values()]
        taught = any(row.steps and not row.cycle for row in readers)  # cycles use only sources with questions
        for name, source in run.cfg.data.sources.items():
            row = {"name": name, "rows": counts[name]["kept"], "hub": None, "revision": revisions.get(name)}
            if not isinstance(source, Source):
                human = f"{source.human}: word problems"
                rows.append({**row, "licence": "apache-2.0", "human": human})
            elif taught or source.questions:
                human = source.human if not source.note else f"{source.human}: {source.note}"
                hub = source.path if name in revisions else None
                rows.append({**row, "hub": hub, "licence": source.licence, "human": human})
    return rows


def _scores(run: Run, model: Stage) -> Mapping[str, dict[str, Any]]:
    for stage in run.stages:
        if KINDS[stage.kind].leaves == "scores" and stage.inputs["model"].key == model.key:
            columns = _record(run, stage)["summary"]["columns"]
            assert isinstance(columns, dict)
            return columns
    return {}


def _result(name: str, column: Mapping[str, Any]) -> dict[str, Any]:
    metric = {
        "type": _METRICS.get(column["metric"], column["metric"]),
        "name": f"{column['metric']}, {column['shots']}-shot",
        "value": round(100 * column["score"], 2),
        "args": {"n": column["n"]},
    }
    if column["stderr"] is not None:
        metric["args"]["stderr"] = round(100 * column["stderr"], 2)
    dataset = {"name": column["title"], "type": name.split("/")[-1]}
    return {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": [metric]}


def _start(run: Run, chain: Sequence[Stage], base: Stage | None) -> str:
    cycles = sum(KINDS[stage.kind].steps and KINDS[stage.kind].cycle for stage in chain)
    origin = base.external.get("model", "") if base else ""
    if "@" in origin:
        commit = _record(run, base)["summary"].get("revision") if base else None
        origin = f"{origin.partition('@')[0]} (commit {commit})"
    elif origin:
        origin = f"a local checkpoint (sha256 of its files {origin[:16]}…)"
    else:
        origin = "a model of this size that was pre-trained on generated text"
    taught = f", then {cycles} times sampled, checked, ranked and merged" if cycles else ""
    return (
        f"Started from {origin}; fine-tuned{taught}, with memphis, a re-implementation of the recipe of Memphis-CoT 3B."
        "\n\n"
        "The licence above is the most restrictive one of the data sets below. Each of them, and the base model, keeps "
        "its own, which may ask for more."
    )


def _table(head: str, align: str, rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([head, align, *(f"| {' | '.join(map(str, cells))} |" for cells in rows)])


def _score_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (f"{c['title']} (`{name}`)", f"{c['metric']}, {c['shots']}-shot", score_text(c), c["n"])
        for name, c in columns.items()
    ]
    return _table("| benchmark | metric | score (%) ± standard error | N |", "| --- | --- | ---: | ---: |", rows)


def _source_table(sources: Sequence[Mapping[str, Any]]) -> str:
    rows = [(s["hub"] or s["name"], s["revision"] or "–", s["rows"], s["human"], s["licence"]) for s in sources]
    table = _table("| source | commit | rows | written by people | licence |", "| --- | --- | ---: | --- | --- |", rows)
    return f"{table}\n\n{rows_by_human((s['human'].partition(':')[0], s['rows']) for s in sources)}."


def _recipe(run: Run, chain: Sequence[Stage]) -> str:
    """Format the parts of the config that went into the model."""
    kinds = {stage.kind for stage in chain}
    readers = {name: name for name in ("sft", "generate", "pairs", "rank")}
    readers = {"iterations": "rank", **readers, "slerp": "merge"}
    plain = to_dict(run.cfg)
    chosen = {"seed": run.cfg.seed} | {name: plain[name] for name, kind in readers.items() if kind in kinds}
    return f"```yaml\n{yaml.safe_dump(chosen, sort_keys=False, default_flow_style=None, width=110)}```"


def _numbers(run: Run, chain: Sequence[Stage]) -> str:
    rows = []
    for stage in chain:
        summary = _record(run, stage)["summary"]
        found = [summary.get(key, "") for key in ("steps", "tokens", "pairs", "pass@1")]
        if any(value != "" for value in found):
            rows.append([stage.name, *(f"{value:.3f}" if isinstance(value, float) else value for value in found)])
    return _table("| stage | steps | tokens | pairs | pass@1 |", "| --- | ---: | ---: | ---: | ---: |", rows)


def _made_by(run: Run) -> str:
    typed = [item for item in run.info["argv"][1:] if item.lstrip("+~").split("=")[0].split(".")[0] not in _LOCAL]
    git, versions = run.info["git"], run.info["versions"]
    commit = f"{git['sha'] or 'unknown'}{' with local changes' if git['dirty'] else ''}"
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"```\n{shlex.join(['python', 'train.py', *typed])}\n```\n\nmemphis at commit {commit}; {made_with}."
