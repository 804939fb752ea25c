"""Arms of a sweep: enumerated as `train.py -m` does, composed, and frozen as files that train.py can run.

A frozen arm is a complete, resolved config together with its overrides, so that editing conf/ changes nothing
and `python train.py --config-path=<grid>/arms --config-name=007` is the same run, in the same directory, as typing it.
"""

import copy
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from memphis import config, runs
from memphis.config import Config
from memphis.engine.plan import last_model
from memphis.errors import MemphisError
from memphis.privacy import masked
from memphis.recipe import recipe
from memphis.store import Stage, Store, digest, write_json

# Part of conf/config.yaml's hydra block that a frozen arm needs too.
_HYDRA = {"output_subdir": None, "job": {"chdir": False}, "run": {"dir": "."}}
_DEFAULTS = [{"override hydra/job_logging": "disabled"}, {"override hydra/hydra_logging": "disabled"}, "_self_"]


@dataclass(frozen=True)
class Arm:
    """Run of a sweep. overrides: as Hydra's sweeper would write them."""

    overrides: list[str]
    cfg: Config

    @property
    def root(self) -> Path:
        return runs.root_of(self.cfg)

    @cached_property
    def store(self) -> Store:
        return Store(self.root / "store")

    @cached_property
    def stages(self) -> list[Stage]:
        return recipe(self.cfg, self.store.root / "identities.json")

    @property
    def directory(self) -> Path:
        """Directory of its run."""
        return runs.directory(self.cfg, self.overrides, self.store)

    @cached_property
    def identity(self) -> str:
        """Digest that distinguishes this run from others: name, seed, and what enters keys."""
        plain = config.to_dict(self.cfg)
        return digest([plain["name"], plain["seed"], {key: plain[key] for key in plain.keys() - config.FREE}])

    def __str__(self) -> str:
        return shlex.join(map(str, masked(self.overrides))) or "default"


def enumerate_arms(overrides: list[str]) -> tuple[list[Arm], list[str]]:
    """Return the arms that `train.py -m <overrides>` would run, in its order, and notes about duplicates.

    Raises MemphisError that lists every fault of every arm.
    """
    with _composer() as composer:
        try:
            typed = composer.split(overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise MemphisError(_line(error)) from error
        arms: dict[str, Arm] = {}
        notes: list[str] = []
        faults: dict[str, list[str]] = {}
        for words in typed:
            kept = [word for word in words if word.lstrip("+").partition("=")[0] != "sweep"]
            try:
                cfg = config.from_hydra(composer.compose(words), words)
                if cfg.tracking.group is None:  # as `train.py -m` groups the runs of a sweep: by the name of its file
                    files = [word.partition("=")[2] for word in words if word not in kept]
                    cfg = replace(cfg, tracking=replace(cfg.tracking, group="+".join(files) or None))
                arm = Arm(kept, cfg)
                arm.stages  # noqa: B018  names the faults of paths
                known = arms.setdefault(arm.identity, arm)
                if known is not arm:
                    notes.append(f"the same run twice, once is enough: {arm} is {known}")
            except (HydraException, OmegaConfBaseException, MemphisError) as error:
                faults.setdefault(_line(error), []).append(shlex.join(map(str, masked(words))))
    found = list(arms.values())
    if len({arm.directory for arm in found}) < len(found):
        faults["two of these runs would have the same directory; give each a name=… of its own"] = []
    if len({arm.root for arm in found}) > 1:
        faults["runtime.root: one grid needs one store; type the same for all arms"] = []
    if any(arm.cfg.plan for arm in found):
        faults["plan=true: leave it out; --dry-run shows what would be done"] = []
    if faults:
        lines = [f"{fault}{_listed(words, len(typed))}" for fault, words in faults.items()]
        raise MemphisError("this sweep cannot run:\n  " + "\n  ".join(lines))
    return found, notes


def _listed(words: list[str], total: int) -> str:
    if len(words) in (0, total):
        return "  (every arm)"
    return f"\n    in {len(words)} of {total} arms: {'; '.join(words)}"


def _line(error: Exception) -> str:
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None)
    lines = str(cause).splitlines() if isinstance(error, MemphisError) else [str(cause).splitlines()[0]]
    return (f"{key}: " if key else "") + "\n  ".join(lines)


class _Composer:
    """Composer on Hydra, initialised once. Composing takes 0.2 s, so it is done once per choice of groups; values are
    then set on a copy by Hydra's own function, which is what Hydra does with them anyway."""

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._chosen: dict[tuple[str, ...], DictConfig] = {}

    def split(self, overrides: list[str]) -> list[list[str]]:
        """Return the overrides of each arm. `+sweep=a,b` gives the arms of a and those of b: one factor at a time."""
        for place, item in enumerate(self._parser.parse_overrides(overrides)):
            if item.key_or_group == "sweep" and item.is_sweep_override():
                key, rest = item.get_key_element(), (overrides[:place], overrides[place + 1 :])
                files = item.sweep_string_iterator()
                return [words for file in files for words in self.split([*rest[0], f"{key}={file}", *rest[1]])]
        master = self._loader.load_configuration("config", overrides, run_mode=RunMode.MULTIRUN)
        params = OmegaConf.to_container(master.hydra.sweeper).get("params") or {}  # type: ignore[union-attr]
        parsed = self._parser.parse_overrides([*(f"{key}={value}" for key, value in params.items()), *overrides])
        (batch,) = BasicSweeper.split_arguments(parsed, None)
        return batch

    def compose(self, overrides: list[str]) -> DictConfig:
        parsed = self._parser.parse_overrides(overrides)
        groups = tuple(str(item.input_line) for item in parsed if self._is_group(item))
        if groups not in self._chosen:
            composed = self._loader.load_configuration("config", list(groups), run_mode=RunMode.RUN)
            OmegaConf.set_struct(composed, False)
            del composed["hydra"]
            OmegaConf.set_struct(composed, True)
            self._chosen[groups] = composed
        mine = copy.deepcopy(self._chosen[groups])
        self._loader._apply_overrides_to_config([item for item in parsed if not self._is_group(item)], mine)
        return mine

    def _is_group(self, item: Override) -> bool:
        return not isinstance(item.value(), dict) and self._loader.repository.group_exists(item.key_or_group)


@contextmanager
def _composer() -> Iterator[_Composer]:
    config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(runs.REPOSITORY / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        yield _Composer(loader)


# ---------------------------------------------------------------------------------------------------- on the disk


def grid_directory(arms: list[Arm]) -> Path:
    """Return `<root>/grids/<name>-<hash of overrides>`: one command finds the same grid, also when conf/ changed."""
    first = arms[0]
    return first.root / "grids" / f"{first.cfg.name}-{digest([[arm.cfg.name, arm.overrides] for arm in arms])[:8]}"


def freeze(arms: list[Arm], directory: Path) -> None:
    """Write the arms atomically, all or none."""
    made = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        (made / "arms").mkdir(parents=True)
        (made / "logs").mkdir()
        for number, arm in enumerate(arms):
            (made / "arms" / f"{number:03d}.yaml").write_text(_frozen(arm), encoding="utf-8")
        write_stages(made, arms)
        try:
            made.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another submission was faster
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_stages(directory: Path, arms: list[Arm]) -> None:
    """Write stages.json: the stages of the grid, and which of them are the last models of its arms.

    Listed stages are never collected as garbage; the weights of results are kept.
    """
    listed = sorted({stage.directory for arm in arms for stage in arm.stages})
    results = {stage.directory for arm in arms for stage in last_model(arm.stages)}
    write_json(directory / "stages.json", [{"dir": f"store/{name}", "result": name in results} for name in listed])


def _frozen(arm: Arm) -> str:
    # The arm's own run only collects; missing stages are built by jobs with the resources for them.
    cfg = replace(arm.cfg, runtime=replace(arm.cfg.runtime, root=str(arm.root), build=False))
    frozen = {"defaults": _DEFAULTS, "hydra": {**_HYDRA, "overrides": {"task": arm.overrides}}, **config.to_dict(cfg)}
    return OmegaConf.to_yaml(OmegaConf.create(frozen))


def thaw(directory: Path) -> list[Arm]:
    """Load the arms as they were frozen. Raises MemphisError for what this version does not understand."""
    arms = []
    for file in sorted((directory / "arms").glob("*.yaml")):
        try:
            plain: Any = OmegaConf.to_container(OmegaConf.load(file))
            overrides = plain.pop("hydra")["overrides"]["task"]
            del plain["defaults"]
            arms.append(Arm(overrides, config.from_dict(plain, overrides)))
        except MemphisError as error:
            raise MemphisError(f"{file}: frozen by another version: {error}; type name=<another name>") from None
    return arms
