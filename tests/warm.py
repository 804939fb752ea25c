"""Warm process with torch and all else imported, from which runs are forked: imports take 6 s of each cold process.

A `Run` is train.py as a command: forked, with its own environment, directory and output. The stage processes that it
starts are forked from it in turn, by the memphis.engine.launch under test: parents, signals, sessions and exit statuses are
those of cold processes. Modules that read an environment variable on import are not imported here. The demo, the tests
on Slurm and calls of `micro.run` with cold=True test the cold start itself.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memphis.runs import REPOSITORY

POLL_S = 0.02
NEEDED = (
    "memphis.stages.__main__ memphis.training.loop memphis.sampling.hf eval.harness memphis.tracking experiments.report"
)
THEIRS = "wandb hydra.main hydra.core.hydra_config hydra._internal.hydra datasets numpy random"
READ_EARLY = ("HF_", "OMP_NUM_THREADS", "MEMPHIS_HEARTBEAT_S")  # read on import: each value needs its own process


class Run:
    """Forked train.py, with the part of subprocess.Popen's interface that tests need."""

    def __init__(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.args = argv
        self._parent = _parent_for(env)
        self.returncode: int | None = None
        self._files = [tempfile.NamedTemporaryFile("r", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
        out, err = (file.name for file in self._files)
        self.pid: int = self._ask({"argv": argv, "cwd": str(cwd), "env": dict(env), "out": out, "err": err})

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 1e9)
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(POLL_S)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (file.read() for file in self._files)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        print(json.dumps(what), file=self._parent.stdin, flush=True)
        return json.loads(self._parent.stdout.readline())


_parents: dict[tuple[tuple[str, str], ...], subprocess.Popen[str]] = {}  # by the variables they read on import


def _parent_for(env: Mapping[str, str]) -> subprocess.Popen[str]:
    early = tuple(sorted((name, value) for name, value in env.items() if name.startswith(READ_EARLY)))
    if early not in _parents:
        own = {key: value for key, value in env.items() if not key.startswith(("MEMPHIS_", "WANDB_", "SLURM_"))}
        own |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", **dict(early)}
        own |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), env.get("PYTHONPATH")]))}
        line = [sys.executable, "-c", "from tests.warm import main; main()"]
        pipe = subprocess.PIPE
        _parents[early] = subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=own, start_new_session=True)
        atexit.register(_parents[early].communicate)  # closes its input, which ends it
    return _parents[early]


# ------------------------------------------------------------------------------------------- in the warm process


def main() -> None:
    """Fork a run for each request that starts one. The answer to a request is the process id, or a status."""
    for name in f"{NEEDED} {THEIRS}".split():
        __import__(name)
    assert "memphis.stages.train" not in sys.modules  # reads MEMPHIS_CHECKPOINT_S
    assert threading.active_count() == 1, "a thread: its locks would stay locked in what is forked"
    gc.freeze()  # these objects stay: no collection in a fork scans them
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                os._exit(_ended(_train, request))
        print(json.dumps(answer), flush=True)
    os._exit(0)


def _ended(work: Callable[..., None], *arguments: Any) -> int:
    """Run `work` and the interpreter's exit steps, except for tearing down modules; return the exit status."""
    status = 0
    try:
        work(*arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):  # a full disk
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    return status


def _train(request: dict[str, Any]) -> None:
    import random

    from wandb.sdk.data_types._private import MEDIA_TMP

    from memphis.engine import launch

    os.chdir(request["cwd"])
    _become(
        request["argv"], request["env"], *(os.open(request[name], os.O_WRONLY | os.O_APPEND) for name in ("out", "err"))
    )
    random.seed()  # otherwise all forks would draw the same names
    MEDIA_TMP._finalizer.detach()  # wandb's directory: the first fork to end would remove it for all
    MEDIA_TMP.__init__("wandb-media")
    launch.subprocess = _Subprocess  # type: ignore[assignment]
    runpy.run_path(request["argv"][0], run_name="__main__")


def _become(argv: list[str], env: Mapping[str, str], out: int, err: int) -> None:
    for number, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, err)):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    sys.argv = argv
    os.environ.clear()
    os.environ.update(env)


class _Forked:
    """Stage process that is forked instead of started: a child of the same parent, with the same arguments."""

    def __init__(
        self, command: list[str], *, stdout: Any, stderr: Any, stdin: int, env: Any, start_new_session: bool
    ) -> None:
        assert command[:3] == [sys.executable, "-m", "memphis.stages"]
        assert (stdout, stdin, start_new_session) == (stderr, subprocess.DEVNULL, True)
        sys.stdout.flush()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_ended(_stages, command[3:], env, stdout.fileno()))

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def _wait(self, how: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, how)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _stages(arguments: list[str], env: Mapping[str, str], log: int) -> None:
    """Run `python -m memphis.stages` in this process."""
    atexit._clear()  # drops the hooks of the run it was forked from; W&B's import hooks go below
    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("wandb")]
    os.setsid()
    _become(["memphis.stages", *arguments], env, log, log)
    runpy.run_module("memphis.stages", run_name="__main__", alter_sys=True)


class _Subprocess:
    """Replacement for the module subprocess in memphis.engine.launch."""

    Popen, DEVNULL = _Forked, subprocess.DEVNULL
