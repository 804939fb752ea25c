"""The exceptions that cross rooms: a fault the user can mend, and a stop that was asked for."""

STOPPED, NOT_LOADABLE, NO_SPACE = 85, 86, 87  # exit status of a child that ended with Stopped, NotLoadable, NoSpace


class MemphisError(Exception):
    """A fault with a cure. The message is one line: the key, its value, what is wrong and what to type."""


class NotLoadable(MemphisError):
    """The checkpoint is none that the installed software can load. `reason` is the fault alone, for the record."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or message


class NoSpace(MemphisError):
    """The disk is full, or a quota is used up."""


class Stopped(Exception):
    """The stage wrote a checkpoint because it was asked to stop; the same command continues it."""
