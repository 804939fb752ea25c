"""Evaluate stage: run the suites on one model, on the job's engine: benchmarks with lm-evaluation-harness, and held-out
rows, judged as stage pairs judges."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from eval.harness import evaluate
from eval.heldout import Asking
from eval.suites import HELDOUT, find_suite
from memphis.config.forms import AnswerLength, EvaluateForm
from memphis.errors import Stopped
from memphis.jsonl import PROGRESS
from memphis.sampling import Completion
from memphis.sampling.progress import Progress
from memphis.stages.context import STOP, Context
from memphis.stages.pairs import judge_sample
from memphis.stages.symbolic import Algebra
from memphis.store import read_json, write_json
from memphis.training.model import fingerprint


def run(context: Context, config: EvaluateForm) -> dict[str, Any]:
    model = context.inputs["model"] / "model"
    engine = context.worker.engine_for(config.generate.engine, model, config.model.dtype)
    mirror = Path(context.places["benchmarks"]) if "benchmarks" in context.places else None

    def between(point: str) -> None:
        context.kill_point(point)
        if point == "task-done" and STOP.is_set():  # finished tasks are on the disk
            raise Stopped

    origin, weights = _origin(context.inputs["model"]), fingerprint(model)
    records = {}
    with (
        Algebra() if config.pairs and config.pairs.answer.symbolic else nullcontext() as algebra,
        Progress(context.out / PROGRESS) as progress,
        engine.meter.reporting(progress.step),
    ):
        for suite in config.eval.names:
            progress.suite = suite if suite != config.eval.names[-1] else None
            records[suite] = evaluate(
                engine,
                model,
                suite,
                fingerprint=weights,
                data_dir=context.inputs["data"] if find_suite(suite).data == "stage" else mirror,
                limit=config.eval.limit,
                seeds=config.eval.seeds,
                allow_truncated=config.eval.allow_truncated,
                out=context.out,
                log=context.log,
                progress=progress,
                kill_point=between,
                tasks=config.eval.tasks,
                asking=_asking(config, algebra) if suite == HELDOUT.name else None,
            ) | {"model": origin}
    write_json(context.out / "record.json", records)
    limited = {} if config.eval.limit is None else {"limit": config.eval.limit}
    columns = {
        f"{suite}/{name}": column | limited
        for suite, record in records.items()
        for name, column in record["columns"].items()
    }
    return {"columns": columns}


def _asking(config: EvaluateForm, algebra: Algebra | None) -> Asking:
    """Return how held-out rows are asked and judged: as stage pairs judges, and what it discards is wrong."""
    assert isinstance(config.generate, AnswerLength)
    assert config.pairs is not None
    knobs = config.pairs.answer

    def judge(completion: Completion, row: Mapping[str, Any]) -> bool:
        return judge_sample(vars(completion), row, knobs, algebra)["correct"] is True

    return Asking(config.generate.max_new_tokens, judge, config.eval.shots)


def _origin(directory: Path) -> dict[str, Any]:
    """Identify the scored model: the stage that holds it, and for one from outside its hub id with the commit, or the
    sha256 of its files."""
    stage = read_json(directory / "stage.json") if (directory / "stage.json").exists() else {}
    outside = stage.get("external", {}).get("model")
    return {"stage": directory.name, "source": outside, "revision": stage.get("summary", {}).get("revision")}
