"""Run the benchmark suites on one model with lm-evaluation-harness, on the leg's engine."""

from pathlib import Path
from typing import Any

from eval.harness import evaluate
from memphis.errors import Stopped
from memphis.stages.context import Context
from memphis.store import write_json


def run(context: Context) -> dict[str, Any]:
    config, model = context.config, context.inputs["model"] / "model"
    engine = context.bench.engine_for(config["generate"]["engine"], model, config["model"]["dtype"])
    mirror = Path(context.places["benchmarks"]) if "benchmarks" in context.places else None

    def between(point: str) -> None:
        context.kill_point(point)
        if point == "task-done" and context.stopping():  # finished tasks are on the disk
            raise Stopped

    records = {}
    for suite in config["eval"]["suites"]:
        records[suite] = evaluate(
            engine,
            model,
            suite,
            data_dir=context.inputs["data"] if suite == "tiny" else mirror,
            limit=config["eval"]["limit"],
            seed=config["eval"]["seeds"][0],
            out=context.out,
            log=context.log,
            kill_point=between,
        )
    write_json(context.out / "record.json", records)
    columns = {
        f"{suite}/{name}": column for suite, record in records.items() for name, column in record["columns"].items()
    }
    return {"columns": columns}
