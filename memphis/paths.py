"""Paths as people type them."""

import os
from pathlib import Path

from memphis import REPOSITORY


def expanded(path: str) -> Path:
    """Return a path with `~`, `$HOME` and other variables replaced, where no shell has done so: in quotes, in files."""
    return Path(os.path.expanduser(os.path.expandvars(path)))  # noqa: PTH111  Path.expanduser fails for `~nobody`


def runs_root(path: str) -> Path:
    """Return the directory of `runtime.root`; a relative one is below the repository, the same from anywhere."""
    return REPOSITORY / expanded(path)
