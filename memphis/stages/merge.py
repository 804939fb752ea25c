"""Merge stage: interpolate the updated weights with those from before the cycle."""

import shutil
from typing import Any

from memphis.config.forms import MergeForm
from memphis.stages.context import Context, verdict_of
from memphis.training.merge_files import merge


def run(context: Context, config: MergeForm) -> dict[str, Any]:
    knobs = config.slerp
    out = context.out / "model"
    assert knobs.method != "none", "then there is no such stage"
    shutil.rmtree(out, ignore_errors=True)  # of a builder that was killed; merging again takes seconds
    found = merge(
        context.inputs["previous"] / "model",
        context.inputs["updated"] / "model",
        out,
        reference=context.inputs["sft"] / "model",
        t=knobs.t,
        method=knobs.method,
        scope=knobs.scope,
        dot_threshold=knobs.dot_threshold,
    )
    context.kill_point("written")
    context.log({"merge/t": knobs.t, **{f"merge/{key}": value for key, value in found.items()}})
    verdict = verdict_of(context.inputs["previous"])
    return {"drift_sft": found["drift_sft"], **({"packing": verdict} if verdict else {})}
