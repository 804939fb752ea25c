"""Fixtures that every room may use."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.once import once
from tests.wandb_server import WandbServer


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder with sample data and reference pages; tests that need it are skipped without it."""
    path = Path(os.environ.get("MEMPHIS_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"shared data not found at {path}; set MEMPHIS_SHARED")
    return path


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    """A W&B server of our own; `server.environment` makes a process talk to it."""
    with WandbServer() as server:
        yield server


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a micro run that was left alone, W&B offline. One for all test processes: not to be changed."""
    from tests import micro  # torch: seconds that only slow tests should pay

    def make(root: Path) -> None:
        done = micro.run(root)
        assert done.returncode == 0, done.stdout + done.stderr

    return once(tmp_path_factory, "unbroken", make)


gc.disable()  # until all is imported: a collection then looks at half a million objects that stay


def pytest_collection_finish() -> None:
    """Leave what the libraries made out of every later garbage collection: looking at it took a fifth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries complain about what is not freed at the end


# About how many seconds the longest files take: begun first, they do not end last. All others follow in the order of their
# names and fill what is left.
LONGEST = {
    "tests/experiments/test_slurm.py": 370,
    "tests/test_demo.py": 340,
    "tests/test_faults.py": 270,
    "tests/stages/test_shards.py": 200,
    "tests/test_devices.py": 130,
    "tests/test_any_model.py": 120,
    "tests/tracking/test_runs.py": 100,
    "tests/test_four_sources.py": 90,
    "tests/eval/test_benchmarks.py": 90,
    "tests/eval/test_scoring.py": 80,
    "tests/stages/test_methods.py": 80,
    "tests/experiments/test_browser.py": 80,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by cost; within a file nothing changes, so that `--dist loadfile` hands them out in this order."""
    items.sort(key=lambda item: -LONGEST.get(item.nodeid.partition("::")[0], 0))
