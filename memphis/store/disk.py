"""Disk errors in one line: which path, how much is free, who owns it, and what to type."""

import errno
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memphis.errors import MemphisError, NoSpace, Stopped
from memphis.formatting import size_text

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: more than this process may write into one file
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
CURE = "set runtime.root (or MEMPHIS_RUNS) to a directory you can write to"


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Convert disk errors below `root` to MemphisError.

    If the disk fails while a MemphisError or Stopped is being recorded, that original exception is raised.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error.__context__, MemphisError | Stopped):
            raise error.__context__ from None
        if (fault := explain(error, root)) is None:
            raise
        raise fault from error


def explain(error: BaseException, root: Path) -> MemphisError | None:
    """Return the error of a full disk (NoSpace), or of a path below `root` that this user may not read or write.

    None when `error` is neither. Libraries that write files wrap the system's error, so its text is searched for too.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        for full in _FULL:
            if number == full or os.strerror(full) in str(cause):
                return no_space(root, os.strerror(full))
        if number in _FORBIDDEN and isinstance(cause, OSError) and cause.filename is not None:
            place = Path(os.fsdecode(cause.filename))
            if place.is_relative_to(root):
                return forbidden(place, cause.strerror or "")
        cause = cause.__cause__ or cause.__context__
    return None


def no_space(root: Path, reason: str = os.strerror(errno.ENOSPC)) -> NoSpace:
    """Return the error of a full disk. It names the fuller one of `root` and TMPDIR, as the system names no path."""
    places = {existing(place) for place in (root, Path(os.environ.get("TMPDIR", "/tmp")))}
    place = min(places, key=lambda path: (shutil.disk_usage(path).free, path != existing(root)))
    return NoSpace(
        f"{place}: {reason.lower()} ({size_text(shutil.disk_usage(place).free)} free); free some, or set "
        "runtime.keep=final, or runtime.root (MEMPHIS_RUNS) to a larger disk"
    )


def forbidden(place: Path, reason: str = "permission denied") -> MemphisError:
    """Return the error of a path that this user may not read or write."""
    owner = ""
    with suppress(OSError):
        if (uid := existing(place).stat().st_uid) != os.geteuid():
            owner = f" (of user {_user(uid)}, you are {_user(os.geteuid())})"
    return MemphisError(f"{place}: {reason.lower()}{owner}; {CURE}, or ask for the right to read and write there")


def existing(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that exists and can be seen."""
    while not os.access(path, os.F_OK):  # unlike Path.exists it tolerates a directory that must not be entered
        path = path.parent
    return path


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
