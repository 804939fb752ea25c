"""Plan of a run: which stages are built and why, which are reused, the jobs, and the disk space. Writes nothing."""

import contextlib
import shutil
import socket
from dataclasses import dataclass
from typing import Any

from memphis.config import Config
from memphis.engine import preview
from memphis.engine.checkpoint import parameters_of
from memphis.engine.cost import Costs, check_architecture
from memphis.errors import MemphisError
from memphis.formatting import size_text
from memphis.pipeline import KINDS
from memphis.store import Stage, Store, differences, digest, read_json, with_inputs
from memphis.store.disk import existing

CHECKPOINT_COPIES = 2  # a step checkpoint beside the weights, and its successor while that is written


@dataclass(frozen=True)
class Step:
    """A stage of the run, and whether it must be built."""

    stage: Stage
    fault: str | None  # why it cannot be used as it is; None = it can
    needed: bool  # must be built now


def last_model(stages: list[Stage]) -> list[Stage]:
    """Return the model a chain ends with, if it has any."""
    return [stage for stage in stages if KINDS[stage.kind].leaves == "model"][-1:]


def make_plan(stages: list[Stage], store: Store, results: list[Stage] | None = None) -> list[Step]:
    """Decide for every stage, inputs before readers, whether it is built now.

    A finished stage needs nothing of what it was made from. If its weights were dropped it is rebuilt only when a stage
    that is built now reads them, or when it is one of the `results` (default: the model the chain ends with).
    """
    needed: dict[str, str] = {}
    by_key = {stage.key: stage for stage in stages}
    whole = {stage.key for stage in (last_model(stages) if results is None else results)}

    def require(stage: Stage, weights: bool) -> None:
        fault = store.fault(store.path(stage), weights=weights)
        if fault is None or stage.key in needed:
            return
        needed[stage.key] = fault
        for role, source in stage.inputs.items():
            require(source, weights=KINDS[stage.kind].reads_model(role))

    for stage in stages:
        require(stage, weights=stage.key in whole)
    hidden = [stage for stage in with_inputs(stages) if stage.key in needed and stage.key not in by_key]
    return [Step(stage, needed.get(stage.key), stage.key in needed) for stage in [*hidden, *stages]]


def jobs(steps: list[Step]) -> list[list[Stage]]:
    """Cut the stages to build into jobs for one process each: consecutive, and never trainer and engine together."""
    found: list[list[Stage]] = []
    holds: str | None = None
    for stage in (step.stage for step in steps if step.needed):
        needs = KINDS[stage.kind].needs
        if not found or (needs and holds and needs != holds):
            found.append([])
            holds = None
        found[-1].append(stage)
        holds = holds or needs
    return found


def expected_seconds(steps: list[Step], store: Store) -> dict[str, float]:
    """Return key -> seconds of building, for stages to build if one like them was built on this machine.

    Stages of one kind and config are alike, whatever they read; the newest of them counts.
    """
    building = [step.stage for step in steps if step.needed]
    newest: dict[str, tuple[float, float]] = {}
    for kind in sorted({stage.kind for stage in building}):
        for file in store.root.glob(f"{kind}-*/stage.json"):
            if "." in file.parent.name:  # set aside, half-built
                continue
            with contextlib.suppress(MemphisError, KeyError):
                record = store.record(file.parent)
                if record["host"] == socket.gethostname():
                    cost = digest([record["kind"], record["version"], record["config"]])
                    newest[cost] = max(newest.get(cost, (0.0, 0.0)), (record["finished"], record["seconds"]))
    return {stage.key: newest[stage.cost][1] for stage in building if stage.cost in newest}


def model_bytes(cfg: Config, stages: list[Stage], store: Store) -> int | None:
    """Return the bytes of one checkpoint in the master dtype; None if neither this disk nor the config has them."""
    width = 4 if cfg.model.master_dtype == "float32" else 2
    for stage in stages:
        if KINDS[stage.kind].steps and not KINDS[stage.kind].cycle and store.fault(store.path(stage)) is None:
            outputs = store.record(store.path(stage))["outputs"]
            return sum(entry["bytes"] for name, entry in outputs.items() if name.endswith(".safetensors"))
    parameters = parameters_of(cfg, stages, store)
    return width * parameters if parameters else None


def disk_need(cfg: Config, steps: list[Step], store: Store) -> int | None:
    """Return the peak bytes of the stages to build, weights only; None if the model's size is unknown."""
    written = [row for step in steps if step.needed and (row := KINDS[step.stage.kind]).writes]
    if not written:
        return 0
    size = model_bytes(cfg, [step.stage for step in steps], store)
    if size is None:
        return None
    merged = any(row.merges for row in written)
    iterations = sum(row.kept("iterations", merged) for row in written)
    kept = {"all": len(written), "iterations": iterations, "final": 2}
    return size * (min(len(written), kept[cfg.runtime.keep]) + CHECKPOINT_COPIES)


def check_disk(cfg: Config, steps: list[Step], store: Store) -> None:
    """Refuse a run whose weights do not fit the disk. Raises MemphisError with the numbers."""
    need = disk_need(cfg, steps, store)
    free = shutil.disk_usage(existing(store.root)).free
    if need is not None and need > free:
        raise MemphisError(
            f"runtime.root={str(store.root.parent)!r}: this run writes {size_text(need)} of weights at its peak, "
            f"{size_text(free)} are free; runtime.keep=final (now {cfg.runtime.keep}) needs less, or name another root"
        )


def examine(cfg: Config, steps: list[Step], store: Store) -> preview.Preview:
    """Examine the local models and rows that the stages to build read, in a child process if there are any."""
    return preview.examine(cfg, *_split(steps), store)


def check(cfg: Config, steps: list[Step], store: Store, found: preview.Preview = preview.NOTHING) -> None:
    """Refuse, before anything starts, a model that does not fit, cannot be trained, has another architecture or
    would be destroyed by its first steps.

    found: what is known of local models and rows beside the records of the store. Raises MemphisError.
    """
    preview.check(*_split(steps), store, found)
    check_architecture(cfg, [step.stage for step in steps], store)
    costs = Costs(cfg, *_split(steps), store, found)
    costs.check_memory()
    costs.check_steps()


def _split(steps: list[Step]) -> tuple[list[Stage], list[Stage]]:
    """Return the stages, and those that are built now."""
    return [step.stage for step in steps], [step.stage for step in steps if step.needed]


def describe(cfg: Config, steps: list[Step], store: Store, found: preview.Preview = preview.NOTHING) -> str:
    """Return the text of `plan=true`: a line per stage, then jobs, models and rows, amounts, hours, memory, downloads
    and disk."""
    lines = []
    for number, step in enumerate(steps, 1):
        state = "build" if step.needed else "reuse"
        why = f"{step.fault}{_nearest(step.stage, store)}" if step.fault else "built"
        lines.append(f"{number:3} {state}  {step.stage.name:14} {step.stage.directory:26} {why}")
    parts = jobs(steps)
    todo = sum(step.needed for step in steps)
    lines.append(f"{todo} of {len(steps)} stages to build in {len(parts)} processes")
    lines += [f"    {' '.join(stage.name for stage in job)}" for job in parts]
    lines += preview.lines(_split(steps)[0], store, found)
    lines += Costs(cfg, *_split(steps), store, found).lines()
    need = disk_need(cfg, steps, store)
    free = shutil.disk_usage(existing(store.root)).free
    size = "unknown until the model is here" if need is None else size_text(need)
    lines.append(f"disk: {size} of weights at the peak (runtime.keep={cfg.runtime.keep}), {size_text(free)} free")
    return "\n".join(lines)


def _nearest(stage: Stage, store: Store) -> str:
    """Explain why the nearest built stage of this kind cannot be used: the first config keys that differ."""
    best: list[tuple[str, Any, Any]] | None = None
    for file in store.specs.glob(f"{stage.kind}-*.json") if store.specs.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError, AttributeError):  # broken: no neighbour
            spec = read_json(file)
            if spec["name"] == stage.name and spec["key"] != stage.key and (store.root / file.stem / "DONE").exists():
                found = differences(stage.identity, spec)
                best = found if best is None or len(found) < len(best) else best
    if not best:
        return ""
    own = [(key, here, there) for key, here, there in best if not key.startswith("inputs.")]
    if not own:
        return "; another one was built from other inputs"
    shown = ", ".join(f"{key.removeprefix('config.')}={here!r}, built with {there!r}" for key, here, there in own[:2])
    return f"; {shown}{' …' if len(own) > 2 else ''}"
