"""Runner for commands as a user types them: each runs in a fork of one process that has imported what they share.

Starting Python and importing Hydra takes longer than most commands tested here. A fork has its own arguments, folder,
environment and output, and it ends as the command ends. test_imports.py starts commands in a new process and tests
what they import.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from memphis.runs import REPOSITORY


def run(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `python <words>`: the first word is the path of train.py, or -m before the name of a module.

    env: replaces this process's environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        places = [str(Path(folder) / name) for name in ("out", "err")]
        for place in places:
            Path(place).touch()
        order = {"words": words, "cwd": str(cwd), "env": dict(os.environ if env is None else env), "places": places}
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            print(json.dumps(order), file=server.stdin, flush=True)
            code = int(server.stdout.readline())
        except BaseException:  # an aborted test: the next test must not read this answer
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise
        out, err = (Path(place).read_text() for place in places)
    return subprocess.CompletedProcess(words, code, out, err)


@cache
def _server() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    line = [sys.executable, "-m", "tests.commands"]
    server = subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY, start_new_session=True)
    atexit.register(server.communicate)  # closes its input, which ends it
    return server


def _serve() -> dict[str, list[str]] | None:
    """Fork for each order. Return the order in the fork, None in the process that was started."""
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _become(order: dict) -> None:
    """Run the ordered command to its end. Exceptions and exits of the command pass through."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    for number, place in enumerate([os.devnull, *order["places"]]):
        os.dup2(os.open(place, os.O_RDWR), number)
    first, *rest = order["words"]
    if first == "-m":
        module, *rest = rest
        sys.modules.pop(module, None)
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    import train  # noqa: F401  with all it imports

    gc.freeze()
    if (ordered := _serve()) is not None:
        _become(ordered)
