"""Command that runs one job in one process: `python -m memphis.stages [--runtime JSON] <store>/<kind>-<key> …`.

Each stage is claimed, built in its part directory and renamed; a stage that is there already is skipped, one that
another process is building is waited for. Exit status: 0 all are done, 85 stopped on request after a checkpoint,
1 an error whose last line on stderr starts with `error: `, 86 such an error of a checkpoint that cannot be loaded, 87 a
full disk, where that line may be missing.
"""

import argparse
import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.distributed import is_torchelastic_launched

from memphis.config.forms import parse
from memphis.devices import check_number, cores
from memphis.errors import NO_SPACE, NOT_LOADABLE, STOPPED, MemphisError, NoSpace, NotLoadable, Stopped
from memphis.hooks import kill_point
from memphis.pipeline import KINDS, trains
from memphis.processes import die_with_parent, on_polite_signals
from memphis.stages.context import STOP, Context, Runtime, Worker
from memphis.store import Store, finish, installed, read_json
from memphis.store.claims import Claim
from memphis.store.disk import explain
from memphis.training import distributed


def build(path: Path, worker: Worker) -> None:
    """Build the stage whose spec lies in the store of `path`, unless it is there.

    Of several processes rank 0 does everything; the others join it for the training.
    """
    print(f"stage {path.name}", flush=True)
    store = Store(path.parent)
    spec = _spec(path)
    together = trains(spec["kind"], spec["config"])
    kind = KINDS[spec["kind"]]
    if spec["version"] != kind.version:
        raise MemphisError(
            f"{path.name}: planned as version {spec['version']} of kind {spec['kind']!r}, this is {kind.version}; "
            "run the command again"
        )
    for role, directory in spec["reads"].items():
        fault = store.fault(path.parent / directory, weights=kind.reads_model(role))
        if fault is not None:
            raise MemphisError(
                f"{path.name}: its input {role} ({directory}) cannot be used: {fault}; run the command again"
            )
    claim = Claim(path, on_wait=lambda text: print(text, flush=True))
    if not claim.acquire(lambda: store.fault(path, weights=kind.leaves == "model") is None):
        print(f"{path.name}: built by another process", flush=True)
        if together:
            distributed.broadcast()
        return
    try:
        kill_point(spec["kind"], "start")
        started, worked = time.monotonic(), time.process_time()
        if together:
            distributed.broadcast(str(claim.part))
        summary = _run(spec, path.parent, claim.part, worker)
        if not claim.held():
            raise MemphisError(f"{path.name}: another process took this stage over; it will finish it")
        kill_point(spec["kind"], "done")
        spent, cpu = time.monotonic() - started, time.process_time() - worked
        # Reuse across versions and devices is allowed, and reported.
        made_with = {**installed(), "device": worker.device, "devices": str(worker.runtime.num_devices)}
        made_with["threads"] = str(torch.get_num_threads())  # of each device
        finish(claim, spec, summary, spent, made_with, cpu)
        kill_point(spec["kind"], "renamed")
    finally:
        claim.release()


def join(path: Path, worker: Worker) -> None:
    """Take part in training the stage, if rank 0 broadcasts that it builds it; otherwise do nothing."""
    spec = _spec(path)
    if trains(spec["kind"], spec["config"]) and (part := distributed.broadcast()) is not None:
        _run(spec, path.parent, Path(part), worker)


def _spec(path: Path) -> dict[str, Any]:
    spec = read_json(Store(path.parent).specs / f"{path.name}.json")
    assert isinstance(spec, dict)
    return spec


def _run(spec: dict[str, Any], store: Path, out: Path, worker: Worker) -> dict[str, Any]:
    """Build the stage, which can read nothing but its typed config. Returns the summary for its record."""
    context = Context(
        kind=spec["kind"],
        inputs={role: store / directory for role, directory in spec["reads"].items()},
        seed=spec["seed"] or 0,
        iteration=spec["iteration"],
        places=spec["places"],
        out=out,
        worker=worker,
    )
    config = parse(KINDS[spec["kind"]].form, spec["config"])
    summary = importlib.import_module(f"memphis.stages.{spec['kind']}").run(context, config)
    assert isinstance(summary, dict)
    return summary


def _set_threads(runtime: Runtime) -> None:
    """Give this process and its children an equal part each of the run's threads."""
    threads = max(1, int(runtime.threads or os.environ.get("OMP_NUM_THREADS") or cores()) // runtime.num_devices)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)  # torch has read the variable already


def _mute() -> None:
    """Discard further output: text that a full disk refused would be retried at exit, and change the exit status."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m memphis.stages")
    parser.add_argument("--runtime", default='{"device": "cpu", "num_devices": 1, "micro_batch_tokens": 4096}')
    parser.add_argument("--parent", type=int, default=None, help="process to die with")
    parser.add_argument("stages", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.parent is not None:
        die_with_parent(arguments.parent)
    worker = Worker(Runtime(**json.loads(arguments.runtime)))
    number, launched = worker.runtime.num_devices, is_torchelastic_launched()
    try:
        if not launched:
            if number > 1:
                check_number(worker.runtime.device, number)
            if number > 1 or worker.runtime.threads:
                _set_threads(worker.runtime)
            if number > 1 and any(trains(spec["kind"], spec["config"]) for spec in map(_spec, arguments.stages)):
                from memphis.stages.ranks import torchrun  # takes a second, which other jobs need not wait

                return torchrun(number, ["--runtime", arguments.runtime, *map(str, arguments.stages)])
        with on_polite_signals(STOP.set), distributed.init(worker.device) if launched else contextlib.nullcontext():
            for path in arguments.stages:
                (build if distributed.rank() == 0 else join)(path.absolute(), worker)
    except Stopped:
        return STOPPED
    except Exception as error:
        fault = error if isinstance(error, MemphisError) else explain(error, arguments.stages[0].absolute().parents[1])
        if fault is None and not isinstance(error, MemoryError | OSError):
            if launched:
                traceback.print_exc()
                if not distributed.is_peer_failure(error):
                    print(f"error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
                os._exit(1)  # an orderly end would wait for processes that are gone
            raise
        line = " ".join(str(fault or error).split()) or type(error).__name__
        with contextlib.suppress(OSError):
            traceback.print_exc()
            print(f"error: {line}", file=sys.stderr, flush=True)
        if isinstance(fault, NoSpace):
            _mute()
            return NO_SPACE
        return NOT_LOADABLE if isinstance(error, NotLoadable) else 1
    finally:
        worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
