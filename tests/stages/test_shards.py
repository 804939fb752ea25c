"""Tests of shards on two devices: the samples of one device, after any kill, and no leftover processes."""

import json
import multiprocessing
import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from memphis.config.forms import parse
from memphis.config.sections import Generate
from memphis.errors import MemphisError, Stopped
from memphis.jsonl import PROGRESS, read_rows, write_rows
from memphis.pipeline import KINDS
from memphis.sampling import progress
from memphis.sampling.progress import Progress
from memphis.stages import engines, generate, shards
from memphis.stages.context import STOP, Context, Runtime, Worker
from tests import micro
from tests.test_faults import copy, gone, processes, wait_for
from tests.tiny_models import write_model

KNOBS = {"engine": "hf", "num_samples": 4, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 8, "shard_size": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write 11 questions in 6 shards, the last with a single question; no question has a right answer before."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "model").mkdir()
    write_model(folder / "model" / "model", 0, max_positions=128)
    rows = [{"id": str(i), "prompt": f"{i} cards?", "rationale": "r", "answer": "4"} for i in range(11)]
    for role, name in (("data", "questions"), ("judged", "judged")):
        (folder / role).mkdir()
        write_rows(folder / role / f"{name}.jsonl", [row | {"samples": [{"correct": False}]} for row in rows])
    return {role: folder / role for role in ("data", "model", "judged")}


def run(inputs: dict[str, Path], out: Path, devices: int) -> bytes:
    out.mkdir(exist_ok=True)
    config = {"generate": KNOBS, "model": {"dtype": "float32"}}
    context = Context("generate", inputs, 0, 1, {}, out, Worker(Runtime("cpu", devices, 64)))
    generate.run(context, parse(KINDS["generate"].form, config))
    return (out / "samples.jsonl").read_bytes()


def unheard(finished: int, waiting: int, tokens: int, longest: int) -> None:
    """Take a report of an engine."""


def curves(out: Path) -> list[dict[str, Any]]:
    return [micro.curve(row) for row in read_rows(out / "metrics.jsonl")]


@pytest.mark.parametrize("done", [0, 5, 6])
def test_no_more_engines_than_shards_to_sample(done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, sampled = [], []

    class Child:
        def __init__(self, device: int, *_: Any) -> None:
            started.append(device)

        def sample(self, shard: shards.Shard) -> float:
            sampled.append(shard.path)
            return 2.0

        def close(self) -> None:
            started.append(0)

    monkeypatch.setattr(engines, "_Process", Child)
    monkeypatch.setattr(engines, "sample", lambda worker, sampling, shard, report: sampled.append(shard.path) or 1.0)
    todo = [shards.Shard(tmp_path / str(i), [], [], 0) for i in range(6)]
    for shard in todo[:done]:
        shard.path.touch()
    spent = engines.sample_all(
        Worker(Runtime("cpu", 4, 64)), shards.Sampling(tmp_path, "", Generate()), todo, lambda: None, unheard
    )
    assert started == {0: [1, 2, 3, 0, 0, 0], 5: [], 6: []}[done]
    assert sorted(sampled) == [shard.path for shard in todo[done:]]
    assert len(spent) == {0: 4, 5: 1, 6: 1}[done]
    assert spent[0] + sum(spent[1:]) / 2 == 6 - done


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Collect the answers that are finished, and of how many, in each row of progress."""
    told: list[tuple[int, int]] = []
    write = Progress._write

    def written(self: Progress) -> None:
        write(self)
        row = json.loads(self._path.read_text())
        told.append((row["answers"], row["of"]))

    monkeypatch.setattr(Progress, "_write", written)
    return told


def test_rows_of_progress_inside_a_shard_and_after_a_resume_leave_no_trace(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = run(inputs, tmp_path / "whole", 1), tmp_path / "out"
    monkeypatch.setattr(progress, "REPORT_S", 0.0)
    told = watched(monkeypatch)
    assert run(inputs, out, 1) == whole
    assert len(told) >= 6 * 8  # each step of each shard
    assert (told[0], told[-1]) == ((0, 44), (44, 44))
    assert curves(out) == curves(tmp_path / "whole")
    assert not (out / PROGRESS).exists()
    for name in ("00001", "00004"):
        (out / "shards" / f"{name}.jsonl").unlink()
    (out / PROGRESS).write_text("{}")  # of a process that was killed
    told.clear()
    assert run(inputs, out, 1) == whole
    assert (told[0], told[-1]) == ((28, 44), (44, 44))
    assert sorted(path.name for path in out.iterdir()) == ["metrics.jsonl", "samples.jsonl", "shards"]


def test_after_a_signal_no_shard_is_begun_and_what_is_there_stays(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = run(inputs, tmp_path / "whole", 1), tmp_path / "out"

    def write(path: Path, rows: list[Any]) -> None:
        write_rows(path, rows)
        if path.stem == "00001":
            STOP.set()

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_rows", write)
        with pytest.raises(Stopped):
            run(inputs, out, 1)
    STOP.clear()
    assert sorted(path.stem for path in (out / "shards").iterdir()) == ["00000", "00001"]
    assert run(inputs, out, 1) == whole
    assert curves(out) == curves(tmp_path / "whole")


@pytest.mark.slow
def test_two_devices_write_what_one_writes(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(inputs, tmp_path / "one", 1)
    others: list[str] = []
    original = engines._Process.sample

    def sample(self: Any, shard: shards.Shard) -> float:
        others.append(shard.path.stem)
        return original(self, shard)

    monkeypatch.setattr(engines._Process, "sample", sample)
    told = watched(monkeypatch)
    assert run(inputs, tmp_path / "two", 2) == alone
    assert 1 <= len(others) < 6  # both devices had work
    assert curves(tmp_path / "two") == curves(tmp_path / "one")
    assert told[-1] == (44, 44)  # also those of the other process
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_fault_in_another_process_is_raised_here(tmp_path: Path) -> None:
    child = engines._Process(
        1, shards.Sampling(tmp_path, "float32", Generate(engine="hf")), Worker(Runtime("cpu", 2, 64)), unheard
    )
    with pytest.raises(MemphisError, match=r"holds no model \(config.json is missing\)"):
        child.sample(shards.Shard(tmp_path / "0", [], [], 0))
    child.close()
    assert not multiprocessing.active_children()


def sampled(root: Path) -> list[Path]:
    return list((root / "store").glob("generate-*.part-*/shards/*.jsonl"))


def samples(root: Path) -> bytes:
    (path,) = (root / "store").glob("generate-*/samples.jsonl")
    return path.read_bytes()


# Starts the program five times, each time up to generation.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_and_killed_on_two_devices_it_ends_as_on_one(unbroken: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "one", tmp_path / "two"
    typed = ["until=generate-1", "eval=none", "generate.shard_size=1"]
    for root in (alone, together):
        copy(unbroken, root, "data", "base", "sft")
    assert micro.run(alone, *typed, **micro.UNTRACKED).returncode == 0
    two = [*typed, "runtime.num_devices=2"]

    def children() -> list[psutil.Process]:
        return [process for process in processes(together) if "--multiprocessing-fork" in process.cmdline()]

    process = micro.start(together, *two, **micro.UNTRACKED)
    wait_for(children)
    children()[0].kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, out + err
    assert re.search(
        r"^error: stage generate-1 failed: the process that samples on device 1 ended by SIGKILL", err, re.M
    )
    assert gone(together)
    for ended, status in ((signal.SIGINT, 85), (signal.SIGKILL, -signal.SIGKILL)):
        before = len(sampled(together))
        process = micro.start(together, *two, **micro.UNTRACKED)
        wait_for(lambda before=before: len(sampled(together)) > before + 2)
        assert children()
        process.send_signal(ended)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, out + err
        assert gone(together)
        assert before < len(sampled(together)) < 40
    done = micro.run(together, *two, **micro.UNTRACKED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert samples(together) == samples(alone)


# Starts the program twice and vLLM three times.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vllm_on_two_devices_and_the_time_around_it_is_told(unbroken: Path, tmp_path: Path) -> None:
    found, around = [], []
    for devices in (1, 2):
        root = tmp_path / str(devices)
        copy(unbroken, root, "data", "base", "sft")
        done = micro.run(
            root, "until=generate-1", "eval=none", "generate=vllm", f"runtime.num_devices={devices}", **micro.UNTRACKED
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(samples(root))
        (path,) = (root / "store").glob("generate-*/DONE")
        around += [row["gen/around_frac"] for row in micro.rows_of(path.parent) if "gen/around_frac" in row]
    assert found[0] == found[1]
    assert all(0 < share < 1 for share in around)  # measured by `python -m benchmarks limits`
