"""Child processes that end with their parent. Nothing heavy is imported before that is ensured."""

import ctypes
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # they request a checkpoint


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


def serve(parent: int, gpu: str | None, connection: Connection) -> None:
    """Sample shards until `parent` ends this process. gpu: as CUDA_VISIBLE_DEVICES names it; None on a CPU."""
    die_with_parent(parent)
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)  # the parent stops sending shards
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from memphis.stages.shards import answer

    answer(connection)
