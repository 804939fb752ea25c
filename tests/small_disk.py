"""Disk of a few hundred kilobytes or megabytes that can be filled up and emptied again."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """Mounted file system. root: its mount point."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ballast = root / ".ballast"

    def fill(self) -> None:
        """Fill all the free space."""
        with self.ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        assert shutil.disk_usage(self.root).free == 0

    def empty(self) -> None:
        self.ballast.unlink()


@contextmanager
def small_disk(place: Path, size: str, *options: str) -> Iterator[SmallDisk]:
    """Mount a file system of this size (`1m`) on `place`; skip the test where mounting is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a file system is not allowed here: {done.stderr.strip()}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
