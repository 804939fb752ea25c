"""A contender's side of a comparison: a process that imports and builds once, then makes a step when it is told to.

    python -m benchmarks.worker <module>:<function> <options as JSON> <work directory>

It reads a line per step from standard input and answers with a line of JSON: CPU-seconds since it was told to go on,
the peak of its memory so far, and what the contender adds. When its input ends, it ends.
"""

import json
import os
import pkgutil
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

Gated = Callable[..., None]  # a Gate, or what reports to one


class Gate:
    """A contender waits here between steps. The first step, with all that comes before it, is the warm-up."""

    def __init__(self, orders: TextIO, answers: TextIO) -> None:
        self.orders, self.answers = orders, answers
        self.resumed = 0.0  # process_time counts from the start of the process
        self.went_on = time.monotonic()

    def __call__(self, **found: Any) -> None:
        """Report the step that has ended and return when the next one may begin."""
        spent, passed = time.process_time() - self.resumed, time.monotonic() - self.went_on
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        per_token = {"ms_per_token": 1000 * spent / found["tokens"]} if "tokens" in found else {}
        print(
            json.dumps({"cpu_s": spent, "wall_s": passed, "rss_mib": peak, **per_token, **found}),
            file=self.answers,
            flush=True,
        )
        if not self.orders.readline():
            os._exit(0)  # in the middle of a foreign training loop: nothing of it is wanted any more
        self.resumed, self.went_on = time.process_time(), time.monotonic()


if __name__ == "__main__":
    run, options, work = sys.argv[1:]
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")  # a fork closes standard input
    os.dup2(2, 1)  # libraries print; only answers may go to the driver
    pkgutil.resolve_name(run)(Gate(orders, answers), Path(work), **json.loads(options))
