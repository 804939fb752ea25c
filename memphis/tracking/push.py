"""Make a W&B run from the files of a run directory and its store: rows, tables, artifacts, summary."""

import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from memphis.config import Config, from_dict
from memphis.engine.history import history
from memphis.errors import MemphisError
from memphis.store import Stage, Store, read_json
from memphis.tracking import session
from memphis.tracking.segments import segments
from memphis.tracking.sender import Sender


def push(directory: Path, new_id: bool) -> str:
    """Send the run of `directory` under its own id, which must be new to the server, or under a new one.

    Returns the address of the W&B run. Raises MemphisError when there is no such run, when its id is taken or recorded
    segments will take it, without a key, and when the server does not answer.
    """
    cfg, info, store, stages = _read(directory)
    run_id = info["run_id"]
    if new_id:
        run_id = f"{re.sub('-[0-9a-f]{8}$', '', run_id)}-{uuid.uuid4().hex[:8]}"
    elif recorded := segments(directory):
        raise MemphisError(
            f"{directory}: {len(recorded)} recorded segments hold {run_id}; `python -m memphis.tracking sync` sends "
            "them, push --new-id makes another W&B run from the files"
        )
    with session.surroundings(directory / "wandb"):
        if fault := session.unreachable():
            raise MemphisError(fault)
        memory = directory / "wandb" / "sent.json"
        memory.parent.mkdir(exist_ok=True)
        import wandb

        try:
            run = session.open_new_run(cfg, info, directory, run_id)
        except wandb.errors.Error as error:
            wandb.teardown()
            raise MemphisError(
                f"{directory}: W&B did not take {run_id} ({session.line(error)}); if that run is there already, "
                "push --new-id makes another one"
            ) from error
        # A later attempt of the run continues what was pushed under its own id.
        sender = Sender(run, cfg, info, store, {}, None if new_id else memory)
        sender.config(directory)
        for stage, rows in history(stages, store):
            sender.rows(stage, 0, rows)
            if store.fault(store.path(stage)) is None:
                sender.finished(stage, store.record(store.path(stage)))
        file = directory / "summary.json"
        summary = read_json(file) if file.exists() else {"status": "running"}
        sender.summary(summary)
        run.finish(exit_code=0 if summary["status"] == "finished" else 1)
    return str(run.url)


def _read(directory: Path) -> tuple[Config, dict[str, Any], Store, list[Stage]]:
    """Read what a run directory records about its run, and those of its stages that the store beside it has."""
    try:
        cfg = from_dict(yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")))
        info, table = read_json(directory / "run.json"), read_json(directory / "stages.json")
        store = Store(directory.absolute().parents[2] / "store")
        made: dict[str, Stage] = {}
        stages = []
        for row in table:
            name = Path(row["dir"]).name
            if _spec(store, name).exists():  # else it was never started
                stages.append(replace(_stage(store, name, made), name=row["name"], iteration=row["iteration"]))
        if not stages:
            raise FileNotFoundError(f"no stage of it in {store.root}")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise MemphisError(
            f"{directory}: cannot be read as a run beside its store ({reason}); name a run directory such as "
            "runs/tiny/s0/default"
        ) from error
    return cfg, info, store, stages


def _spec(store: Store, directory: str) -> Path:
    built = store.root / directory / "stage.json"
    return built if built.exists() else store.specs / f"{directory}.json"


def _stage(store: Store, directory: str, made: dict[str, Stage]) -> Stage:
    """Return the stage of that name, built or under construction, with all its inputs."""
    if directory not in made:
        spec = read_json(_spec(store, directory))
        inputs = {role: _stage(store, name, made) for role, name in spec["reads"].items()}
        own = ("name", "kind", "version", "config", "seed", "external", "places", "iteration")
        made[directory] = Stage(**{key: spec[key] for key in own}, inputs=inputs)
    return made[directory]
