"""What several test processes need and one of them makes: kept for the session, read-only."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory that `make` has filled in whichever process came first; the others wait for it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when its holder ends, however it does
        if not folder.with_suffix(".made").exists():
            folder.mkdir()  # fails where an earlier attempt failed: it is not tried twice
            make(folder)
            folder.with_suffix(".made").touch()
    return folder
