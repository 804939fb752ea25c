"""Claims on stages: acquire the right to build one, wait for another holder, take over a dead holder's work."""

import contextlib
import json
import os
import pwd
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG
from typing import Any

from memphis.errors import MemphisError

HEARTBEAT_S = float(os.environ.get("MEMPHIS_HEARTBEAT_S", "20"))  # seconds between two touches of a claim
ALIVE = "alive"
MOST_PIDS = 2**22  # of Linux
DEAD_AFTER_S = 9 * HEARTBEAT_S  # a claim untouched for this long is dead, by the watcher's own clock


class Claim:
    """Right to build one stage: `<directory>.claim`, created with O_EXCL by the process that builds.

    The owner's token is in the file and in the name of the part directory. Taking over a dead owner's work renames its
    part directory to the new token: one rival wins, checkpoints stay, and a writer that wakes up finds its path gone.
    """

    def __init__(self, path: Path, on_wait: Callable[[str], None] = lambda text: None) -> None:
        self.final = path
        self.file = path.with_name(f"{path.name}.claim")
        self.token = uuid.uuid4().hex[:12]
        self.part = path.with_name(f"{path.name}.part-{self.token}")
        self.on_wait = on_wait
        self._released = threading.Event()

    def acquire(self, done: Callable[[], bool]) -> bool:
        """Wait until this process owns the stage (True), or until somebody else finished it (False).

        A claim that cannot be read is waited for like that of a silent builder. Raises MemphisError if a claim of a
        dead builder cannot be removed.
        """
        watched: tuple[str, int] | None = None
        since = time.monotonic()
        announced = False
        while not done():
            try:
                handle = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                owner = self.owner()
                if owner is None:
                    continue  # released between the two reads
                seen = (owner["token"], owner["touched"])
                if seen != watched:
                    watched, since = seen, time.monotonic()
                if self.gone(owner) or time.monotonic() - since > DEAD_AFTER_S:
                    self._evict(owner["token"])
                    continue
                if not announced:
                    self.on_wait(self._announcement(owner))
                    announced = True
                time.sleep(min(1.0, HEARTBEAT_S / 4))
                continue
            try:
                with os.fdopen(handle, "w") as file:
                    pid, job = os.getpid(), os.environ.get("SLURM_JOB_ID")
                    owner = {"token": self.token, "host": socket.gethostname(), "pid": pid, "started": _started(pid)}
                    json.dump({**owner, "slurm_job": job}, file)
                if done():  # finished between the check and the claim
                    self.release()
                    return False
                self._inherit()
            except BaseException:  # for instance a full disk: nobody must wait for an unused claim
                self.file.unlink(missing_ok=True)
                raise
            threading.Thread(target=self._beat, daemon=True).start()
            return True
        return False

    def evict(self) -> None:
        """Remove the claim of a process that died between finishing the stage and releasing the claim."""
        owner = self.owner()
        if owner is not None and self.gone(owner):
            self._evict(owner["token"])

    def held(self) -> bool:
        """True if this process still owns the claim."""
        owner = self.owner()
        return owner is not None and owner["token"] == self.token

    def release(self) -> None:
        self._released.set()
        if self.held():
            self.file.unlink(missing_ok=True)

    def owner(self) -> dict[str, Any] | None:
        """Return the claim's current content; None if there is no claim. `_content` tells of one that says nothing."""
        return _content(self.file)

    @staticmethod
    def gone(owner: dict[str, Any]) -> bool:
        """True if the owner's process has ended. Known only for processes of this machine; False for all others."""
        if owner["host"] != socket.gethostname() or not owner["pid"]:
            return False
        return _started(owner["pid"]) not in (owner["started"], ALIVE)

    def _evict(self, token: str) -> None:
        """Remove a dead owner's claim. Renaming lets one rival win; a claim of another owner is put back."""
        tombstone = self.file.with_name(f"{self.final.name}.grave-{self.token}")
        try:
            self.file.rename(tombstone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise MemphisError(
                f"{self.file}: claim of {_user(self.file)} that cannot be removed ({error.strerror}), and its "
                "builder is gone or silent; remove it, or ask its owner to"
            ) from error
        found = _content(tombstone)
        if found is not None and found["token"] != token:
            with contextlib.suppress(FileExistsError):
                os.link(tombstone, self.file)
        with contextlib.suppress(IsADirectoryError):  # `store gc` removes it
            tombstone.unlink()

    def _announcement(self, owner: dict[str, Any]) -> str:
        if owner["pid"]:
            return f"{self.final.name} is being built by {owner['host']}:{owner['pid']}; waiting for it"
        return (
            f"{self.file}: claim of {_user(self.file)} that cannot be read; it is taken over if nobody touches it for "
            f"{DEAD_AFTER_S:.0f} s"
        )

    def _inherit(self) -> None:
        for old in sorted(self.final.parent.glob(f"{self.final.name}.part-*")):
            if not all(os.access(path, os.W_OK) for path in (old, *old.rglob("*"))):
                continue  # another user's: can neither be continued nor removed
            with contextlib.suppress(OSError):
                if self.part.exists():
                    shutil.rmtree(old)
                else:
                    old.rename(self.part)
        self.part.mkdir(exist_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):
                if not self.held():
                    return
                os.utime(self.file)


def _content(file: Path) -> dict[str, Any] | None:
    """Return what a claim says: token, host, pid and started of its builder, and `touched`; None if there is no claim.

    What cannot be read, or is no claim by its type or values, has an owner without a name: token "", host "?", pid 0.
    """
    try:
        stat = file.lstat()
    except FileNotFoundError:
        return None
    unnamed = {"token": "", "host": "?", "pid": 0, "started": 0, "touched": stat.st_mtime_ns}
    if not S_ISREG(stat.st_mode):  # reading a pipe would wait for its writer
        return unnamed
    try:
        found = json.loads(file.read_bytes())
        token, host, pid, started = (found[key] for key in ("token", "host", "pid", "started"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return unnamed
    if not (isinstance(token, str) and isinstance(host, str) and type(pid) is int and 0 < pid < MOST_PIDS):
        return unnamed
    return unnamed | {"token": token, "host": host, "pid": pid, "started": started}


def _user(file: Path) -> str:
    """Return the name of the user that a file belongs to, or the number."""
    try:
        number = file.lstat().st_uid
        return f"user {pwd.getpwuid(number).pw_name}"
    except OSError:
        return "an unknown user"
    except KeyError:
        return f"user {number}"


def unsafe(root: Path) -> str | None:
    """Name the feature that claims and finished stages rely on and the file system of `root` lacks; None = it has all.

    Raises OSError when nothing can be written there, or the disk is full.
    """
    probe = root / f".probe-{uuid.uuid4().hex[:8]}"
    moved = probe.with_suffix(".moved")
    try:
        probe.mkdir()
        (probe / "file").write_bytes(bytes(4096))
        try:
            os.close(os.open(probe / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return "exclusive creation of files (O_EXCL)"
        except FileExistsError:
            pass
        try:
            probe.rename(moved)
        except OSError:
            return "renaming of directories"
        return None if not probe.exists() and (moved / "file").exists() else "atomic renaming of directories"
    finally:
        for left in (probe, moved):
            shutil.rmtree(left, ignore_errors=True)


def _started(pid: int) -> str | None:
    """Return the start time, which tells a process from a later one with the same number; None if there is no such
    process, ALIVE if there is one and no more is known (no /proc, or one that hides other users' processes)."""
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else fields[19]  # a zombie builds nothing
    except OSError:
        pass
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
    return ALIVE
