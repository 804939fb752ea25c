"""Run directories: readable names for what the store holds by key, its provenance, and its numbers.

Everything here can be made again from the store; nothing here is read by a stage.
"""

import contextlib
import fcntl
import os
import platform
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from memphis import REPOSITORY
from memphis.config import FREE, Config, slug, to_dict, today
from memphis.engine.history import history
from memphis.errors import MemphisError
from memphis.jsonl import write_rows
from memphis.paths import expanded, runs_root
from memphis.pipeline import KINDS, evaluated
from memphis.privacy import masked
from memphis.store import Stage, Store, flatten, installed, read_json, write_json, write_text
from memphis.store.disk import explain


def root_of(cfg: Config) -> Path:
    """Return `runtime.root`; a relative one is below the repository, so a command finds the same runs from anywhere."""
    return runs_root(cfg.runtime.root)


def directory(cfg: Config, overrides: list[str], store: Store) -> Path:
    """Return the run's directory: `<root>/<name>/s<seed>/<slug>`."""
    return store.root.parent / cfg.name / f"s{cfg.seed}" / slug(overrides)


class Run:
    """Directory `<root>/<name>/s<seed>/<slug>/`, locked by this process until the `with` block ends."""

    def __init__(self, cfg: Config, overrides: list[str], stages: list[Stage], store: Store) -> None:
        self.cfg, self.overrides, self.stages, self.store = cfg, overrides, stages, store
        self.slug = slug(overrides)
        self.path = directory(cfg, overrides, store)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("a+")
        except OSError as error:
            fault = MemphisError(f"{self.path}: {error.strerror}; type name=<another name>")
            raise (explain(error, store.root.parent) or fault) from error
        self._hold()
        self._refuse_other_config()
        self.attempt = 1 + max((int(d.name.split("_")[1]) for d in (self.path / "logs").glob("attempt_*")), default=0)
        self.logs = self.path / "logs" / f"attempt_{self.attempt}"
        self.info = self._provenance()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def finished(self) -> bool:
        """True if an earlier attempt reached the end."""
        try:
            return bool(read_json(self.path / "summary.json")["status"] == "finished")
        except (OSError, ValueError):
            return False

    def start(self, reused: set[str]) -> None:
        """Record the start of an attempt: called if there is something to build. reused: keys that the store has."""
        self.reused, self.started = reused, time.monotonic()
        (self.path / "record.json").unlink(missing_ok=True)  # of an attempt that could not load its model
        self.logs.mkdir(parents=True)
        self.info["attempts"] += 1
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(masked(to_dict(self.cfg)))))
        write_json(self.path / "run.json", self.info)
        write_json(self.path / "stages.json", self.table())
        for number, stage in enumerate(self.stages, 1):
            link = self.path / f"{number:02d}-{stage.name}"
            target = os.path.relpath(self.store.path(stage), self.path)
            if link.is_symlink() and str(link.readlink()) != target:
                link.unlink()
            with contextlib.suppress(FileExistsError):  # already there, or something a person put in its place
                link.symlink_to(target)

    def table(self) -> list[dict[str, Any]]:
        """Return the rows of stages.json: the ordered keys, and what is known of each."""
        rows = []
        for stage in self.stages:
            path = self.store.path(stage)
            built = self.store.fault(path) is None
            record = self.store.record(path) if built else {}
            versions = record.get("versions", {})
            rows.append(
                {
                    "name": stage.name,
                    "kind": stage.kind,
                    "iteration": stage.iteration,
                    "key": stage.key,
                    "dir": f"store/{stage.directory}",
                    "built": built,
                    "reused": stage.key in self.reused,
                    "seconds": record.get("seconds"),
                    "cpu_seconds": record.get("cpu_seconds"),
                    "gpus": int(versions["devices"]) if versions.get("device") == "cuda" else 0,
                    "summary": record.get("summary", {}),
                }
            )
        return rows

    def finish(self, status: str) -> dict[str, Any]:
        """Write stages.json, metrics.jsonl and summary.json; returns the summary."""
        table = self.table()
        scores = []
        for row in table:
            if KINDS[row["kind"]].leaves == "scores" and row["built"]:
                label, columns = evaluated(row["name"]), row["summary"]["columns"]
                scores.append({"stage": row["name"], "iteration": row["iteration"], "label": label, "columns": columns})
        summary = {
            "name": self.cfg.name,
            "seed": self.cfg.seed,
            "slug": self.slug,
            "run_id": self.info["run_id"],
            "status": status,
            "scores": scores,
            "stages": table,
            "wall_s": round(time.monotonic() - self.started, 1),
        }
        write_json(self.path / "stages.json", table)
        rows = ({"stage": stage.name, **row} for stage, rows in history(self.stages, self.store) for row in rows)
        write_rows(self.path / "metrics.jsonl", rows)
        write_json(self.path / "summary.json", summary)
        return summary

    def add_to_summary(self, **facts: Any) -> None:
        """Add facts to summary.json that are only known after `finish`."""
        with contextlib.suppress(OSError, ValueError):  # no summary, or no disk: reported where it matters
            write_json(self.path / "summary.json", read_json(self.path / "summary.json") | facts)

    def not_loadable(self, reason: str) -> None:
        """Write record.json for the evaluations that cannot be made, from which the table takes the reason.

        Only for a model that is evaluated as it is: one that was trained here can be loaded.
        """
        if not any(KINDS[stage.kind].steps for stage in self.stages):
            path = self.cfg.model.path or ""
            for spelling in (path, expanded(path).absolute()):  # a published table shows no local path
                reason = reason.removeprefix(f"model.path={spelling}: ").removeprefix(f"sft.from={spelling}: ")
            records = {suite: {"suite": suite, "not_loadable": reason} for suite in self.cfg.eval.names}
            hub = path if any("@" in stage.external.get("model", "") for stage in self.stages) else None
            write_json(self.path / "record.json", {"model": hub or Path(path).name, "hub": hub, "records": records})

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MemphisError(f"{self.path}: this run is going on in another process; wait for it or stop it") from None
        except OSError:  # a file system without locks: the claims of the stages still hold
            pass

    def _refuse_other_config(self) -> None:
        file = self.path / "config.yaml"
        if not file.exists():
            return
        before = flatten(today(cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file)))))
        now = flatten(masked(to_dict(self.cfg)))
        both = sorted(before.keys() | now.keys())
        keys = [key for key in both if key.split(".")[0] not in FREE and before.get(key) != now.get(key)]
        if keys:
            shown = ", ".join(f"{key} ({before.get(key)!r} then, {now.get(key)!r} now)" for key in keys[:4])
            more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
            raise MemphisError(
                f"{self.path} belongs to a run with another config: {shown}{more}; "
                f"type name=<another name>, or remove that directory (finished stages stay in the store)"
            )

    def _provenance(self) -> dict[str, Any]:
        before: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            before = read_json(self.path / "run.json")
        fallback = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{self.cfg.name}-s{self.cfg.seed}-{self.slug}")[:50]
        return {
            "run_id": before.get("run_id", f"{fallback}-{uuid.uuid4().hex[:8]}"),
            "name": self.cfg.name,
            "seed": self.cfg.seed,
            "slug": self.slug,
            "created": before.get("created", round(time.time(), 1)),
            "attempts": before.get("attempts", 0),
            "argv": masked(sys.argv),
            "overrides": masked(self.overrides),  # argv of a frozen run only shows where it was frozen
            "git": _git(),
            "versions": installed(),
            "device": self.cfg.runtime.device,
            "machine": {"system": platform.platform(), "cores": os.cpu_count()},
            "slurm": {
                key: value
                for key, value in os.environ.items()
                if re.fullmatch(r"SLURM_(ARRAY_)?(JOB|TASK)_ID|SLURM_RESTART_COUNT", key)
            },
        }


def _git() -> dict[str, Any]:
    def ask(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = ask("rev-parse", "HEAD")
    except FileNotFoundError:  # no git on this machine
        return {"sha": None, "dirty": None, "diffstat": ""}
    changes = ask("diff", "--stat", "HEAD")
    return {"sha": commit or None, "dirty": bool(changes), "diffstat": changes}
