"""Fixtures shared by all tests."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.once import once
from tests.wandb_server import WandbServer


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the shared folder with sample data and reference pages; skip the test where it is missing."""
    path = Path(os.environ.get("MEMPHIS_SHARED", Path(__file__).resolve().parents[1].parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"shared data not found at {path}; set MEMPHIS_SHARED")
    return path


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    """Start a local W&B server; `server.environment` makes a process talk to it."""
    with WandbServer() as server:
        yield server


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of an uninterrupted micro run, W&B offline. All test processes share it: do not change it."""
    from tests import micro  # imports torch, which takes seconds that only slow tests should pay

    def make(root: Path) -> None:
        done = micro.run(root)
        assert done.returncode == 0, done.stdout + done.stderr

    return once(tmp_path_factory, "unbroken", make)


gc.disable()  # until all is imported: a collection would scan half a million objects that stay


def pytest_collection_finish() -> None:
    """Exclude objects of libraries from later garbage collections: scanning them took a fifth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries complain about objects that are not freed at exit


# Approximate seconds of the longest files. They start first, so that they do not end last; all others follow in the
# order of their names and fill the gaps.
LONGEST = {
    "tests/experiments/test_slurm.py": 370,
    "tests/test_demo.py": 340,
    "tests/test_faults.py": 270,
    "tests/real/test_lm_eval.py": 240,
    "tests/stages/test_shards.py": 200,
    "tests/test_devices.py": 130,
    "tests/test_any_model.py": 120,
    "tests/real/test_precision.py": 110,
    "tests/test_own.py": 100,
    "tests/tracking/test_runs.py": 100,
    "tests/test_four_sources.py": 90,
    "tests/eval/test_benchmarks.py": 90,
    "tests/eval/test_scoring.py": 80,
    "tests/real/test_exported.py": 80,
    "tests/stages/test_methods.py": 80,
    "tests/experiments/test_browser.py": 80,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by cost and keep the order within a file, so that `--dist loadfile` hands files out in this order."""
    items.sort(key=lambda item: -LONGEST.get(item.nodeid.partition("::")[0], 0))
