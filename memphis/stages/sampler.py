"""Main function of a process that samples shards. It is bound to its parent and its GPU before it imports torch."""

import os
import signal
import traceback
from multiprocessing.connection import Connection

from memphis.errors import MemphisError
from memphis.processes import POLITE, die_with_parent


def serve(parent: int, gpu: str | None, connection: Connection) -> None:
    """Receive shards and send back reports, then seconds or an exception, until `parent` ends this process.

    gpu: as CUDA_VISIBLE_DEVICES names it; None on a CPU.
    """
    die_with_parent(parent)
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)  # the parent stops sending shards
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from memphis.stages.context import Worker
    from memphis.stages.shards import sample

    worker = None
    while True:
        runtime, sampling, shard = connection.recv()
        worker = worker or Worker(runtime)
        try:
            connection.send(sample(worker, sampling, shard, lambda *counts: connection.send(counts)))
        except Exception as error:
            traceback.print_exc()
            known = isinstance(error, MemphisError | OSError | MemoryError)
            connection.send(error if known else RuntimeError(f"{type(error).__name__}: {error}"))
