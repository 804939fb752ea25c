"""Contenders in turn (A B A B …), one thread each, measured in CPU-seconds and peak memory; ratios of these numbers.

Wall time says little on a machine that does other things as well; CPU-seconds of one thread hold to about 15 %, and
taking turns spreads what is left over both sides.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memphis.engine.launch import last_words
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

Numbers = dict[str, float]
Round = dict[str, Numbers]  # contender -> what it took


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    words: its setting, for the reader. run: `module:function`, called in a process of its own with a gate, the work
    directory and `options`; "" when the question starts it otherwise.
    """

    name: str
    words: str
    run: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A ratio of what two contenders took in a round.

    at_most=False: peer / ours, better when larger; True: ours / peer, better when smaller. must: a failure beyond it;
    None = reported only. ambitious: what was hoped for.
    """

    measure: str
    peer: str
    must: float | None = None
    ambitious: float | None = None
    at_most: bool = False
    ours: str = "ours"

    def value(self, rounds: Sequence[Round]) -> float:
        """Median over the rounds of each round's ratio."""
        pairs = [(found[self.ours][self.measure], found[self.peer][self.measure]) for found in rounds]
        return statistics.median(ours / peer if self.at_most else peer / ours for ours, peer in pairs)

    def worse(self, value: float, bound: float | None, slack: float = 0.0) -> bool:
        """True if `value` is on the wrong side of `bound`, where there is one, by more than the share `slack` of it."""
        if bound is None:
            return False
        return value > bound * (1 + slack) if self.at_most else value < bound * (1 - slack)


def step_by_step(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    """A step of every contender per round. All live at once; a first step of each is not counted.

    Raises MemphisError when one fails.
    """
    with ExitStack() as stack:
        turns = {each.name: stack.enter_context(closing(_steps(each, work))) for each in contenders}
        for number in range(rounds + 1):
            found = {name: next(its) for name, its in turns.items()}
            if number:
                yield found


@dataclass(frozen=True)
class Question:
    """One result file.

    agree: raises AssertionError when contenders did not do the same work. measure: given the contenders, the work
    directory and a number of rounds, yields rounds as they end.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...]
    agree: Callable[[Sequence[Round]], None] = lambda _: None
    measure: Callable[[Sequence[Contender], Path, int], Iterator[Round]] = step_by_step


def _steps(contender: Contender, work: Path) -> Generator[Numbers]:
    """Cost of each step of the contender, which makes it when it is asked for."""
    command = [sys.executable, "-m", "benchmarks.worker", contender.run, json.dumps(contender.options), str(work)]
    log, pipe = work / f"{contender.name}.log", subprocess.PIPE
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment(work))
    assert process.stdout is not None
    try:
        for answer in process.stdout:
            yield json.loads(answer)
            with suppress(BrokenPipeError):  # it has died, and says nothing more
                print("go", file=process.stdin, flush=True)
        raise _failed(contender.name, log)
    finally:
        process.communicate()


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
