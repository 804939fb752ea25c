"""A process that is there for another one and ends with it. Nothing heavy is loaded before that is settled."""

import ctypes
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # they ask for a checkpoint


def die_with_parent(parent: int) -> None:
    """A child never outlives the process that started it, however that one ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(0.5)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
    if os.getppid() != parent:  # it ended before the request was in force
        os._exit(1)


def serve(parent: int, gpu: str | None, connection: Connection) -> None:
    """Sample shards until `parent` ends this. gpu: as CUDA_VISIBLE_DEVICES names it; None on a CPU."""
    die_with_parent(parent)
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)  # the parent stops sending shards
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from memphis.stages.shards import answer

    answer(connection)
