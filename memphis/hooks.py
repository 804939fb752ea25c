"""Kill points for tests: MEMPHIS_TEST_KILL=<kind>:<point>[:<n>] kills the process at the n-th passage."""

import os
import signal
from collections import Counter

_passed: Counter[tuple[str, str]] = Counter()


def kill_point(kind: str, name: str) -> None:
    """Kill this process without any clean-up if MEMPHIS_TEST_KILL names this point (default: at the first passage).

    If several processes train together, only rank 0 dies.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    wanted = os.environ.get("MEMPHIS_TEST_KILL", "").split(":")
    if wanted[:2] != [kind, name]:
        return
    _passed[kind, name] += 1
    if _passed[kind, name] == int(wanted[2] if len(wanted) > 2 else 1):
        os.kill(os.getpid(), signal.SIGKILL)
