"""Fixtures that every room may use."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    """The root of a micro run that was left alone, W&B offline. Not to be changed."""
    from tests import micro  # torch: seconds that only slow tests should pay

    root = tmp_path_factory.mktemp("unbroken")
    done = micro.run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


gc.disable()  # until all is imported: a collection then looks at half a million objects that stay


def pytest_collection_finish() -> None:
    """Leave what the libraries made out of every later garbage collection: looking at it took a fifth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries complain about what is not freed at the end
