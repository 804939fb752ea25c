"""Child processes of a run: their environment, signals to them, and their end with their parent."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from memphis import REPOSITORY

POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # they request a checkpoint


def child_environment() -> dict[str, str]:
    """Return the environment of a process that computes: this one's, in which ours is found and threads sleep."""
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Waiting threads must sleep, or busy cores lose a factor of 4; but only after 2,000 spins (microseconds): a small
    # model's operations are so short that waking up for each takes as long as a second core saves.
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
    quiet = {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", **waiting}
    return {**quiet, **os.environ, "PYTHONPATH": path}


@contextmanager
def on_polite_signals(handler: Callable[[], None]) -> Iterator[None]:
    """Call `handler` at each polite signal while the block runs."""
    before = {number: signal.signal(number, lambda *_: handler()) for number in POLITE}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def die_with_parent(parent: int) -> None:
    """Ensure that this process does not outlive the one that started it, however that one ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(0.5)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
    if os.getppid() != parent:  # the parent ended before the request took effect
        os._exit(1)
