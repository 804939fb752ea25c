"""Exceptions shared across modules: errors the user can fix, and a requested stop."""

import sys
from collections.abc import Callable
from typing import NoReturn

STOPPED, NOT_LOADABLE, NO_SPACE = 85, 86, 87  # exit status of a child that ended with Stopped, NotLoadable, NoSpace


class MemphisError(Exception):
    """An error that the user can fix. The message is one line: the key, its value, what is wrong and what to type."""


class NotLoadable(MemphisError):
    """The installed software cannot load the checkpoint. `reason` is the error alone, for the record."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


class NoSpace(MemphisError):
    """The disk is full, or a quota is used up."""


class Stopped(Exception):
    """The stage wrote a checkpoint because a stop was requested; the same command continues it."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command and end the process with its status; an error of the user's is one line and status 1."""
    try:
        sys.exit(main())
    except MemphisError as error:
        sys.exit(f"error: {error}")
