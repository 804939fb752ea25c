"""Directories that several test processes need and one of them makes: kept for the session, read-only."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory that `make` fills in the first process that gets here; the others wait for it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when its holder ends, by a kill too
        if not folder.with_suffix(".made").exists():
            folder.mkdir()  # fails if an earlier attempt failed: no second try
            make(folder)
            folder.with_suffix(".made").touch()
    return folder
