"""The driver's side: contenders in turn (A B A B …), one thread each, measured in CPU-seconds and peak memory.

Wall time says little on a machine that does other things as well; CPU-seconds of one thread hold to about 15 %, and
taking turns spreads what is left over both sides.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from benchmarks.question import Contender, Numbers, Round
from memphis.engine.launch import last_words
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY


def step_by_step(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    """A step of every contender per round. All live at once; a first step of each is not counted."""
    with ExitStack() as stack:
        steps = {each.name: stack.enter_context(closing(_steps(each, work))) for each in contenders}
        for number in range(rounds + 1):
            found = {name: next(its) for name, its in steps.items()}
            if number:
                yield found


def _steps(contender: Contender, work: Path) -> Generator[Numbers]:
    """Cost of each step of the contender, which makes it when it is asked for."""
    log = work / f"{contender.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command(contender, work),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(work),
        )
    assert process.stdout is not None
    try:
        for said in process.stdout:
            yield json.loads(said)
            with suppress(BrokenPipeError):  # it has died, and says nothing more
                print("go", file=process.stdin, flush=True)
        raise _failed(contender.name, log)
    finally:
        process.communicate()


def command(contender: Contender, work: Path) -> list[str]:
    """Starts a contender. With an empty standard input it ends after its first step."""
    return [sys.executable, "-m", "benchmarks.worker", contender.run, json.dumps(contender.options), str(work)]


def whole_process(command: Sequence[str], name: str, work: Path, **more: str) -> Numbers:
    """CPU-seconds, wall seconds and peak memory of a command and all processes that it waits for.

    more: environment variables. Raises MemphisError when it fails.
    """
    log = work / f"{name}.log"
    with log.open("w") as file:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment(work) | more, cwd=work
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise _failed(name, log)
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall, "rss_mib": used.ru_maxrss / 1024}


def environment(work: Path) -> dict[str, str]:
    """One thread, no network, caches of its own, the repository's packages."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MEMPHIS_", "VLLM_", "HF_"))}
    return clean | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(work / "cache"),
        "PYTHONPATH": str(REPOSITORY),
        "WANDB_MODE": "disabled",
    }


def _failed(name: str, log: Path) -> MemphisError:
    print("\n".join(log.read_text(errors="replace").splitlines()[-30:]), file=sys.stderr)
    return MemphisError(f"{name}: the contender failed: {last_words(log) or 'without a word'}")
