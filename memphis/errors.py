"""The two exceptions that cross rooms: a fault the user can mend, and a stop that was asked for."""


class MemphisError(Exception):
    """A fault with a cure. The message is one line: the key, its value, what is wrong and what to type."""


class Stopped(Exception):
    """The stage wrote a checkpoint because it was asked to stop; the same command continues it."""
