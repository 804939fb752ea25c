"""Sampling of a generate stage's shards, each by the next free engine: this process has one, every further device one
in a process of its own."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

from memphis.devices import gpu_name
from memphis.errors import MemphisError
from memphis.sampling.progress import Report
from memphis.stages.context import STOP, Worker
from memphis.stages.sampler import serve
from memphis.stages.shards import Sampling, Shard, sample


def sample_all(
    worker: Worker, sampling: Sampling, shards: Sequence[Shard], done: Callable[[], None], report: Report
) -> list[float]:
    """Write the samples of every shard that has none, on `runtime.num_devices` devices; returns the seconds that each
    engine took.

    After a polite signal, or an error in one of them, all engines finish their current shard and take no further one.
    done: called now and then, when more shards may be finished, and at the end.
    report: called by each engine now and then, in threads of their own.
    """
    missing = deque(shard for shard in shards if not shard.path.exists())
    devices = min(worker.runtime.num_devices, len(missing))

    def work(one: Callable[[Shard], float]) -> float:
        spent = 0.0
        while not STOP.is_set():
            try:
                shard = missing.popleft()
            except IndexError:
                break
            try:
                spent += one(shard)
            except BaseException:
                missing.clear()
                raise
        return spent

    def mine(shard: Shard) -> float:
        done()
        return sample(worker, sampling, shard, report)

    with ExitStack() as stack:
        children = [
            stack.enter_context(closing(_Process(device, sampling, worker, report))) for device in range(1, devices)
        ]
        threads = stack.enter_context(ThreadPoolExecutor(max(1, devices)))
        others = [threads.submit(work, child.sample) for child in children]
        spent = [work(mine), *(future.result() for future in others)]
    done()
    return spent


class _Process:
    """Engine in a process of its own, which never outlives this process, however that ends.

    device: number among those that are visible here.
    """

    def __init__(self, device: int, sampling: Sampling, worker: Worker, report: Report) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.device, self.sampling, self.runtime, self.report = device, sampling, worker.runtime, report
        self.connection, theirs = spawn.Pipe()
        gpu = gpu_name(device) if worker.device == "cuda" else None
        self.process = spawn.Process(target=serve, args=(os.getpid(), gpu, theirs))
        self.process.start()  # by the thread that lives longest: Linux ends the process with that thread
        theirs.close()

    def sample(self, shard: Shard) -> float:
        """Sample a shard in the child, like the function `sample`. Raises what that raised there."""
        try:
            self.connection.send((self.runtime, self.sampling, shard))
            while isinstance(result := self.connection.recv(), tuple):
                self.report(*result)
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
            why = ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
            raise MemphisError(f"the process that samples on device {self.device} ended {ended}{why}") from None
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, float)
        return result

    def close(self) -> None:
        self.process.kill()  # what it has sampled is on the disk
        self.process.join()
        self.connection.close()
