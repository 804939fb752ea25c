"""What a stage is given while it runs: its own config and nothing else, its inputs, a place to write, a way to stop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memphis.rows import RowLog
from memphis.sampling import Engine, open_engine

STOP = threading.Event()  # set by SIGTERM, SIGINT or SIGUSR1: checkpoint at the next step and leave with Stopped


@dataclass(frozen=True)
class Runtime:
    """What may differ between two builds of the same stage without changing what is built."""

    device: str
    num_devices: int
    micro_batch_tokens: int


@dataclass
class Bench:
    """What consecutive stages of one leg share: an engine is expensive to start and cheap to re-load."""

    runtime: Runtime
    engine: Engine | None = None

    def engine_for(self, name: str, model: Path, dtype: str) -> Engine:
        """The leg's engine with the weights of `model` in it."""
        if self.engine is None or self.engine.name != name:
            self.close()
            self.engine = open_engine(name, model, dtype=dtype, device=self.runtime.device)
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
    config: dict[str, Any]
    inputs: dict[str, Path]  # role -> directory of a finished stage
    seed: int
    iteration: int
    out: Path
    bench: Bench
    log: RowLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = RowLog(self.out / "metrics.jsonl")

    @property
    def runtime(self) -> Runtime:
        return self.bench.runtime

    def stopping(self) -> bool:
        return STOP.is_set()

    def kill_point(self, name: str) -> None:
        kill_point(self.kind, name)


def kill_point(kind: str, name: str) -> None:
    """Die here, without any clean-up, when MEMPHIS_TEST_KILL=<kind>:<point>[:<n>] says so (n-th time, default 1)."""
    wanted = os.environ.get("MEMPHIS_TEST_KILL", "").split(":")
    if wanted[:2] != [kind, name]:
        return
    _passed[kind, name] = _passed.get((kind, name), 0) + 1
    if _passed[kind, name] == int(wanted[2] if len(wanted) > 2 else 1):
        os.kill(os.getpid(), signal.SIGKILL)


_passed: dict[tuple[str, str], int] = {}


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn the polite signals into STOP for as long as the block runs."""
    names = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda *_: STOP.set()) for number in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
