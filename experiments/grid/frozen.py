"""Runs of a sweep: enumerated as `train.py -m` does, composed, and frozen as files that train.py can run.

A frozen run is a complete, resolved config together with its overrides, so that editing conf/ changes nothing
and `python train.py --config-path=<grid>/arms --config-name=007` is the same run, in the same directory, as typing it.
"""

import copy
import itertools
import os
import shlex
import shutil
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from memphis import config
from memphis.config import Config, words
from memphis.engine.cost import start_of
from memphis.engine.plan import last_model
from memphis.errors import MemphisError
from memphis.privacy import masked
from memphis.recipe import recipe
from memphis.runs import REPOSITORY, root_of
from memphis.runs import directory as run_directory
from memphis.store import Stage, Store, digest, write_json

# Part of conf/config.yaml's hydra block that a frozen run needs too.
_HYDRA = {"output_subdir": None, "job": {"chdir": False}, "run": {"dir": "."}}
_DEFAULTS = [{"override hydra/job_logging": "disabled"}, {"override hydra/hydra_logging": "disabled"}, "_self_"]


@dataclass(frozen=True)
class SweepRun:
    """Run of a sweep. overrides: as Hydra's sweeper would write them."""

    overrides: list[str]
    cfg: Config

    @property
    def root(self) -> Path:
        return root_of(self.cfg)

    @cached_property
    def store(self) -> Store:
        return Store(self.root / "store")

    @cached_property
    def stages(self) -> list[Stage]:
        return recipe(self.cfg, self.store.root / "identities.json")

    @property
    def directory(self) -> Path:
        return run_directory(self.cfg, self.overrides, self.store)

    @cached_property
    def identity(self) -> str:
        """Digest that distinguishes this run from others: name, seed, and what enters keys."""
        plain = config.to_dict(self.cfg)
        return digest([plain["name"], plain["seed"], {key: plain[key] for key in plain.keys() - config.FREE}])

    def __str__(self) -> str:
        return shlex.join(map(str, masked(self.overrides))) or "default"


def enumerate_runs(overrides: list[str]) -> tuple[list[SweepRun], list[str]]:
    """Return the runs that `train.py -m <overrides>` would start, in its order, and notes about duplicates.

    Raises MemphisError that lists every fault of every run.
    """
    notes = words.check(overrides, several=True, grid=True)
    config.register()
    GlobalHydra.instance().clear()
    runs: dict[str, SweepRun] = {}
    faults: dict[str, list[str]] = {}
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composer = _Composer()
        try:
            typed = composer.split(overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise MemphisError(_message(error)) from error
        for arm in typed:
            kept = [word for word in arm if word.lstrip("+").partition("=")[0] != "sweep"]
            try:
                cfg = start_of(config.from_hydra(composer.compose(arm), arm), arm)
                if cfg.tracking.group is None:  # as `train.py -m` groups the runs of a sweep: by the name of its file
                    files = [word.partition("=")[2] for word in arm if word not in kept]
                    cfg = replace(cfg, tracking=replace(cfg.tracking, group="+".join(files) or None))
                run = SweepRun(kept, cfg)
                run.stages  # noqa: B018  names the faults of paths
            except (HydraException, OmegaConfBaseException, MemphisError) as error:
                faults.setdefault(_message(error), []).append(shlex.join(map(str, masked(arm))))
            else:
                known = runs.setdefault(run.identity, run)
                if known is not run:
                    notes.append(f"the same run twice, once is enough: {run} is {known}")
    found = list(runs.values())
    if len({run.directory for run in found}) < len(found):
        faults["two of these runs would have the same directory; give each a name=… of its own"] = []
    if len({run.root for run in found}) > 1:
        faults["runtime.root: one grid needs one store; type the same for all arms"] = []
    if any(run.cfg.plan for run in found):
        faults["plan=true: leave it out; --dry-run shows what would be done"] = []
    if faults:
        lines = ["this sweep cannot run:"]
        for fault, those in faults.items():
            some = f"\n    in {len(those)} of {len(typed)} arms: {'; '.join(those)}"
            lines.append(f"{fault}{'  (every arm)' if len(those) in (0, len(typed)) else some}")
        raise MemphisError("\n  ".join(lines))
    return found, notes


def _message(error: Exception) -> str:
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None)
    lines = str(cause).splitlines() if isinstance(error, MemphisError) else [str(cause).splitlines()[0]]
    return (f"{key}: " if key else "") + "\n  ".join(lines)


class _Composer:
    """Composer on Hydra, once it is initialised. Composing takes 0.2 s, so it is done once per choice of groups; plain
    values, which sweeps are about, are then set on a copy."""

    def __init__(self) -> None:
        self._loader = GlobalHydra.instance().config_loader()
        self._parser = OverridesParser.create(config_loader=self._loader)
        self._options = cache(self._loader.get_group_options)
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def split(self, overrides: list[str]) -> list[list[str]]:
        """Return the overrides of each run. `+sweep=a,b` gives the runs of a and those of b: one factor at a time."""
        for place, item in enumerate(self._parser.parse_overrides(overrides)):
            if item.key_or_group == "sweep" and item.is_sweep_override():
                words = ([f"{item.get_key_element()}={file}"] for file in item.sweep_string_iterator())
                return [run for word in words for run in self.split(overrides[:place] + word + overrides[place + 1 :])]
        # Refuses what is wrong in every run.
        typed = self._loader.load_configuration("config", overrides, run_mode=RunMode.MULTIRUN)
        params = OmegaConf.to_container(typed.hydra.sweeper).get("params") or {}  # type: ignore[union-attr]
        choices = {}
        for item in self._parser.parse_overrides([*(f"{key}={value}" for key, value in params.items()), *overrides]):
            key, sweeps = item.get_key_element(), item.is_sweep_override()
            if sweeps and item.value_type and not item.is_discrete_sweep():
                raise HydraException(f"BasicSweeper does not support sweep type : {item.value_type.name}")
            values = item.sweep_string_iterator() if sweeps else [item.get_value_element_as_str()]
            choices[key] = [f"{key}={value}" for value in values]
        return [list(words) for words in itertools.product(*choices.values())]

    def compose(self, overrides: list[str]) -> DictConfig:
        groups: list[Override] = []
        values: list[Override] = []
        for item in self._parser.parse_overrides(overrides):
            is_group = not isinstance(item.value(), dict) and self._options(item.key_or_group)
            (groups if is_group else values).append(item)
        # Keys are added and deleted by Hydra itself, in its order.
        plain = [item.type == OverrideType.CHANGE and item.package is None for item in values]
        start = max((place for place, one in enumerate(plain, 1) if not one), default=0)
        words = tuple(str(item.input_line) for item in [*groups, *values[:start]])
        if words not in self._composed:
            self._composed[words] = compose("config", list(words))
        found = copy.deepcopy(self._composed[words])
        for item in values[start:]:
            OmegaConf.update(found, item.key_or_group, item.value(), merge=True)
        return found


# ---------------------------------------------------------------------------------------------------- on the disk


def grid_directory(runs: list[SweepRun]) -> Path:
    """Return `<root>/grids/<name>-<hash of overrides>`: one command finds the same grid, also when conf/ changed."""
    first = runs[0]
    return first.root / "grids" / f"{first.cfg.name}-{digest([[run.cfg.name, run.overrides] for run in runs])[:8]}"


def freeze(runs: list[SweepRun], directory: Path) -> None:
    """Write the runs atomically, all or none."""
    made = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        (made / "arms").mkdir(parents=True)
        (made / "logs").mkdir()
        for number, run in enumerate(runs):
            # The frozen run only collects; missing stages are built by jobs with the resources for them.
            cfg = replace(run.cfg, runtime=replace(run.cfg.runtime, root=str(run.root), build=False))
            hydra = {**_HYDRA, "overrides": {"task": run.overrides}}
            text = OmegaConf.to_yaml(OmegaConf.create({"defaults": _DEFAULTS, "hydra": hydra, **config.to_dict(cfg)}))
            (made / "arms" / f"{number:03d}.yaml").write_text(text, encoding="utf-8")
        write_stages(made, runs)
        try:
            made.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another submission was faster
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_stages(directory: Path, runs: list[SweepRun]) -> None:
    """Write stages.json: the stages of the grid, and which of them are the last models of its runs.

    Listed stages are never collected as garbage; the weights of results are kept.
    """
    listed = sorted({stage.directory for run in runs for stage in run.stages})
    results = {stage.directory for run in runs for stage in last_model(run.stages)}
    write_json(directory / "stages.json", [{"dir": f"store/{name}", "result": name in results} for name in listed])


def thaw(directory: Path) -> list[SweepRun]:
    """Load the runs as they were frozen. Raises MemphisError for what this version does not understand."""
    runs = []
    for file in sorted((directory / "arms").glob("*.yaml")):
        try:
            plain: Any = OmegaConf.to_container(OmegaConf.load(file))
            overrides = plain.pop("hydra")["overrides"]["task"]
            del plain["defaults"]
            runs.append(SweepRun(overrides, config.from_dict(plain, overrides)))
        except MemphisError as error:
            raise MemphisError(f"{file}: frozen by another version: {error}; type name=<another name>") from None
    return runs
