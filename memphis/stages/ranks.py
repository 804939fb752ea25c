"""Run of one job in several processes that train together: torchrun inside this process, because torchrun's command
line loses the exit status of the job."""

import os
from collections.abc import Mapping, Sequence
from signal import SIGKILL

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args, run

from memphis.errors import NO_SPACE, NOT_LOADABLE, STOPPED

# Seconds that processes get, after a signal, for the step they are in and for a checkpoint.
_GRACE = 3600


def torchrun(num_processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m memphis.stages <arguments>` in so many processes; returns the status that one process would have.

    The first signal requests a checkpoint from all of them. When one ends with an error the others are ended.
    """
    options = [
        "--standalone",
        "--local_addr=127.0.0.1",
        f"--nproc_per_node={num_processes}",
        "--signals_to_handle=SIGTERM,SIGINT,SIGUSR1",
        f"--shutdown_timeout={_GRACE}",
    ]
    try:
        run(parse_args([*options, "--module", "memphis.stages", "--parent", str(os.getpid()), *arguments]))
    except SignalException:
        return STOPPED
    except ChildFailedError as error:
        return _status(error.failures)
    return 0


def _status(failures: Mapping[int, ProcessFailure]) -> int:
    """Return the exit status. A process that dies pulls the others down: the first cause counts, if it is known."""
    codes = {failure.exitcode for failure in failures.values()}
    for status in (NO_SPACE, NOT_LOADABLE):
        if status in codes:
            return status
    first = min(failure.timestamp for failure in failures.values())
    for rank, failure in failures.items():
        if failure.timestamp == first and failure.exitcode == -SIGKILL:
            print(f"error: process {rank} was ended by SIGKILL, perhaps because memory ran out", flush=True)
    return STOPPED if codes == {STOPPED} else 1
