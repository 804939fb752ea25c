"""Child processes that end with their parent. Imports nothing heavy: a child is bound to its parent first."""

import ctypes
import os
import signal
import sys
import threading
import time

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
