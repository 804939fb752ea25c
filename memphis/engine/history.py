"""Metrics of a run's stages, on the run's axes: iteration, global_step and tokens."""

from collections.abc import Iterator
from typing import Any

from memphis.jsonl import read_rows
from memphis.pipeline import BUDGET, KINDS
from memphis.store import Stage, Store


def history(stages: list[Stage], store: Store) -> Iterator[tuple[Stage, list[dict[str, Any]]]]:
    """Yield every finished or running stage with its rows, on the run's axes."""
    for stage in stages:
        path = store.path(stage)
        here = path if path.exists() else store.part(path)
        file = here / "metrics.jsonl" if here else None
        rows = read_rows(file) if file and file.exists() else []
        step, tokens = counters(stages, store, stage)
        yield stage, [on_axes(stage, row, step, tokens) for row in rows]


def counters(stages: list[Stage], store: Store, until: Stage) -> tuple[int, int]:
    """Return the optimizer steps and tokens of the trained stages before `until`, except those that only set how long
    it trains."""
    apart = {source.key for role, source in until.inputs.items() if role.startswith(BUDGET)}
    step = tokens = 0
    for stage in stages:
        if stage.key == until.key:
            break
        path = store.path(stage)
        if KINDS[stage.kind].steps and stage.key not in apart and store.fault(path) is None:
            summary = store.record(path)["summary"]
            step += summary["steps"]
            tokens += summary["tokens"]
    return step, tokens


def on_axes(stage: Stage, row: dict[str, Any], step: int, tokens: int) -> dict[str, Any]:
    """Return a stage's row with the run's counters; `step` and `tokens` are the sums of the stages before it."""
    if KINDS[stage.kind].steps:
        step, tokens = step + row.get("step", 0), tokens + row.get("tokens", 0)
    return {**row, "iteration": stage.iteration, "global_step": step, "tokens": tokens}
