"""Algebra, layer 7 of answer equality, in a process of its own that can be killed.

sympy may compute for hours on `9^{9^{9^{9}}}`, and nothing inside its process stops it for certain. So the worker has
the kernel end it: by a timer of processor time, which a busy machine does not shorten, and by a limit on its memory.
The next question starts a new one. `python -m memphis.stages.symbolic` is the worker: a pair a line, then a verdict.
"""

import json
import logging
import resource
import signal
import subprocess
import sys
from collections import Counter
from typing import IO, Any

from memphis import REPOSITORY

SECONDS = 2.0  # of processor time for one pair; ordinary ones take milliseconds
START_SECONDS = 120.0  # the same for its imports
MEMORY = 4 << 30  # bytes of address space


class Algebra:
    """Equality of formulas. Called with two of them in LaTeX without dollars, gold first; a pair is computed once.

    counts: asked (different pairs) and of these equal, timed_out, failed (the worker died of something else) and
    unavailable (it cannot even start). Anything that fails counts as not equal.
    """

    def __init__(self) -> None:
        self.counts = Counter(dict.fromkeys(("asked", "equal", "timed_out", "failed", "unavailable"), 0))
        self._known: dict[tuple[str, str], bool] = {}
        self._worker: subprocess.Popen[str] | None = None
        self._available = True

    def __enter__(self) -> "Algebra":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def __call__(self, gold: str, prediction: str) -> bool:
        pair = (gold, prediction)
        if pair not in self._known:
            self.counts["asked"] += 1
            outcome = self._ask(pair)
            self._known[pair] = outcome == "equal"
            if outcome != "different":
                self.counts[outcome] += 1
        return self._known[pair]

    def _ask(self, pair: tuple[str, str]) -> str:
        if self._worker is None and self._available:
            self._available = self._start()
        if self._worker is None:
            return "unavailable"
        answer = _exchange(self._worker, json.dumps(pair) + "\n")
        if answer:
            return "equal" if json.loads(answer) else "different"
        return "timed_out" if self._end() == -signal.SIGPROF else "failed"

    def _start(self) -> bool:
        self._worker = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=REPOSITORY,
        )
        if _exchange(self._worker, ""):
            return True
        self._end()
        return False

    def _end(self) -> int | None:
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        with worker:  # closing its input ends it, unless it has ended already
            if worker.stdin is not None:
                worker.stdin.close()
            return worker.wait()


def _exchange(worker: "subprocess.Popen[str]", question: str) -> str:
    """Return the line that the worker answers to `question`; "" if it died."""
    out: IO[Any] | None = worker.stdin
    back: IO[Any] | None = worker.stdout
    assert out is not None
    assert back is not None
    try:
        out.write(question)
        out.flush()
    except BrokenPipeError:
        return ""
    return str(back.readline())


def work() -> None:
    """Answer pairs until the input ends."""
    _allow(START_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable()
    from math_verify import LatexExtractionConfig, parse, verify

    print("ready", flush=True)
    settings = [LatexExtractionConfig()]
    for line in sys.stdin:
        _allow(SECONDS)
        # The library's own timeouts are off: they do not stop everything. Nearly no rounding: 3.141593 is not pi.
        gold, prediction = (
            parse(f"${text}$", settings, fallback_mode="no_fallback", parsing_timeout=None) for text in json.loads(line)
        )
        equal = bool(gold and prediction) and verify(gold, prediction, float_rounding=15, timeout_seconds=None)
        equal = equal and _close(gold[0], prediction[0])
        _allow(0)
        print(json.dumps(equal), flush=True)


def _close(a: Any, b: Any) -> bool:
    """True unless the values of two expressions differ by more than rounding of the larger one: 1e-15 of it where a
    decimal number is in them, else 1e-35.

    The library rounds differences to so many decimals that it finds 2^-98 equal to 2^-99. Symbols get values:
    numbers of no special relation, the same in both. Elements of sets and tuples are compared each with each.
    """
    from sympy import Expr, Float, Rational, prime

    if not (isinstance(a, Expr) and isinstance(b, Expr)):
        return len(a.args) == len(b.args) and all(any(_close(x, y) for y in b.args) for x in a.args)
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    point = {symbol: Rational(prime(i + 5), 7) for i, symbol in enumerate(symbols)}
    first, second, difference = (value.subs(point).evalf(60) for value in (a, b, a - b))
    if not (first.is_number and second.is_number and first.is_finite and second.is_finite):
        return True
    digits = 15 if a.has(Float) or b.has(Float) else 35
    return bool(abs(difference) <= max(abs(first), abs(second)) / 10**digits)


def _allow(seconds: float) -> None:
    """Limit the processor time from now on, after which the kernel ends this process; 0 = no limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    work()
