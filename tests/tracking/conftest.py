"""Fixtures for a tracker as train.py opens it, in an environment without W&B settings."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb

from memphis.config import Config
from memphis.tracking import Tracker
from tests.composing import compose_config
from tests.tracking import made_up
from tests.wandb_server import WandbServer


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("WANDB_", "SLURM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def online(wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> WandbServer:
    """Return the local server, and make this process talk to it."""
    for name, value in wandb_server.environment.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # a running service would keep talking to another server
    return wandb_server


@pytest.fixture(scope="session")
def composed() -> Config:
    return compose_config("seed=7", "iterations=2", "slerp.t=0.9", "tracking.tags=[extra]")


@pytest.fixture
def run(tmp_path: Path, composed: Config) -> Any:
    return made_up.run_at(tmp_path, composed)


@pytest.fixture
def run_dir(run: Any) -> Path:
    path = run.path
    assert isinstance(path, Path)
    return path


@pytest.fixture
def open_tracker(run: Any, composed: Config) -> Callable[..., Tracker]:
    """Return a function that opens a tracker; its keywords go to the section `tracking`."""
    return lambda **settings: Tracker(replace(composed, tracking=replace(composed.tracking, **settings)), run)
