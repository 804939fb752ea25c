"""Context of a stage beside its config: its inputs, a directory to write to, a process to work in, a way to stop."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from memphis.errors import MemphisError
from memphis.hooks import kill_point
from memphis.jsonl import PROGRESS, RowLog
from memphis.sampling import Engine, open_engine
from memphis.store import read_json
from memphis.training import distributed

STOP = threading.Event()  # set by a polite signal: checkpoint at the next step and leave with Stopped


@dataclass(frozen=True)
class Runtime:
    """Settings that may differ between two builds of the same stage without changing the result."""

    device: str
    num_devices: int
    micro_batch_tokens: int
    compile: bool = False  # the decoder layers, in training
    threads: int | None = None  # of the CPU, for all devices together; None = what the environment or the machine says
    allow_large_steps: Sequence[str] = ()  # kinds of stages in which steps too large for a pretrained model are taken


@dataclass
class Worker:
    """State that consecutive stages of one job share: an engine is expensive to start and cheap to re-load."""

    runtime: Runtime
    engine: Engine | None = None

    @cached_property
    def device(self) -> str:
        """Device to use, cpu or cuda. Raises MemphisError when a GPU is requested and there is none."""
        found = torch.cuda.is_available()
        if self.runtime.device == "cuda" and not found:
            raise MemphisError(
                "runtime.device=cuda: torch finds no GPU here; use runtime=laptop, or install the GPU set"
            )
        return "cuda" if found and self.runtime.device != "cpu" else "cpu"

    def engine_for(self, name: str, model: Path, dtype: str) -> Engine:
        """Return the job's engine with the weights of `model` loaded."""
        if self.engine is None or self.engine.name != name:
            self.close()
            self.engine = open_engine(name, model, dtype=dtype, device=self.device)
        else:
            self.engine.load(model)
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = None


@dataclass
class Context:
    kind: str
    inputs: dict[str, Path]  # role -> directory of a finished stage
    seed: int
    iteration: int
    places: dict[str, str]  # external inputs: hub ids or local paths
    out: Path
    worker: Worker
    log: RowLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = RowLog(self.out / "metrics.jsonl")
        # Only rank 0 writes. If there is a checkpoint, the training loop cuts the log back to that instead.
        if distributed.rank() == 0:
            (self.out / PROGRESS).unlink(missing_ok=True)  # of a process that was killed
            if not (self.out / "checkpoint").exists():
                self.log.cut(0)

    @property
    def runtime(self) -> Runtime:
        return self.worker.runtime

    def kill_point(self, name: str) -> None:
        kill_point(self.kind, name)


def verdict_of(stage: Path) -> dict[str, Any] | None:
    """Return the probe's Verdict on a model, from the record of the stage that left it; None in older records."""
    record = stage / "stage.json"
    return read_json(record)["summary"].get("packing") if record.exists() else None
