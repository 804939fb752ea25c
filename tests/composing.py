"""Helpers that compose shipped configs the way train.py does, without running anything."""

import os
from functools import lru_cache
from unittest import mock

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from memphis import config
from memphis.config import Config
from memphis.runs import REPOSITORY


def compose_config(*overrides: str) -> Config:
    """Return the config of these overrides, cached: it is frozen, and conf/ does not change during the tests."""
    return _composed(overrides, os.environ.get("MEMPHIS_RUNS"))


@lru_cache(maxsize=256)
def _composed(overrides: tuple[str, ...], root: str | None) -> Config:
    """Compose and cache the config. root: the value that conf/ reads from the environment."""
    config.register()
    GlobalHydra.instance().clear()
    with (
        initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"),
        mock.patch.object(config, "computes_bfloat16", return_value=True),  # keys must not depend on this machine
    ):
        return config.from_hydra(compose("config", overrides=list(overrides)), overrides)


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (REPOSITORY / "conf" / group).glob("*.yaml"))
