"""Compose shipped configs the way train.py does, without running anything."""

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from memphis import config
from memphis.config import Config
from memphis.runs import REPOSITORY


def compose_config(*overrides: str) -> Config:
    config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return config.from_hydra(compose("config", overrides=list(overrides)), overrides)


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (REPOSITORY / "conf" / group).glob("*.yaml"))
