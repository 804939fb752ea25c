"""Fine-tune, self-teach and evaluate one model: the Memphis-CoT recipe.

    python train.py                                 the whole recipe on a laptop
    python train.py slerp.t=0.5 plan=true           what that would build, and what is there already
    python train.py +exp=memphis_cot                the recipe of the 3B model card

The same command continues what was interrupted. memphis/recipe.py is the method, `--help` lists the knobs.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  before any import that would fail less clearly
    sys.exit(f"error: Python {sys.version_info[0]}.{sys.version_info[1]} is too old; memphis needs 3.11 or newer")

import os
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # works from any directory

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import report
from memphis import config, runs
from memphis.config import keys, words
from memphis.engine import launch, plan
from memphis.engine.cost import start_of
from memphis.errors import STOPPED, MemphisError, NotLoadable, Stopped
from memphis.recipe import recipe
from memphis.runs import export
from memphis.runs.console import Console, arms
from memphis.store import Store, disk
from memphis.tracking import Tracker

keys.CONF = Path(__file__).resolve().parent / "conf"


def train(composed: DictConfig, overrides: list[str]) -> str:
    """Execute one run, from config to table. Returns the text to print."""
    cfg = start_of(config.from_hydra(composed, overrides), overrides)
    store = Store(runs.root_of(cfg) / "store")
    with disk.explained(store.root.parent):
        stages = recipe(cfg, store.root / "identities.json")
        steps = plan.make_plan(stages, store)
        if cfg.plan:
            found = plan.examine(cfg, steps, store)
            print(*filter(None, [plan.describe(cfg, steps, store, found), launch.slow_numbers(cfg, steps)]), sep="\n")
            plan.check(cfg, steps, store, found)
            return "nothing was built: plan=true"
        store.create()
        with runs.Run(cfg, overrides, stages, store) as run:
            RUNS.append(run.path)
            if any(step.needed for step in steps) or not run.finished():
                build(run, steps)
            return report.finish(run.path)


def build(run: runs.Run, steps: list[plan.Step]) -> None:
    """Build the stages that are needed. However it ends, the results so far are on the disk and handed to W&B."""
    run.start({step.stage.key for step in steps if not step.needed})
    tracker = Tracker(run.cfg, run)
    try:
        with Console(steps, plan.expected_seconds(steps, run.store)) as console, tracker:
            status = "failed"
            try:
                launch.execute(run.cfg, run.stages, steps, run.store, run.logs, [console, tracker])
                status = "finished"
            except Stopped:
                status = "stopped"
                raise
            except NotLoadable as fault:
                run.not_loadable(fault.reason)
                raise
            finally:
                tracker.summary(run.finish(status))
    finally:
        run.add_to_summary(tracking=tracker.cost())
    export.write(run)


config.register()
ENDED, RUNS = [], []  # multirun: (overrides, outcome) of each run; directories of the runs that started


@hydra.main(version_base="1.3", config_path=str(keys.CONF), config_name="config")
def main(composed: DictConfig) -> None:
    task = HydraConfig.get().overrides.task
    try:
        overrides = list(task)
    except OmegaConfBaseException:  # a `${…}` that refers to nothing: `from_hydra` names its key
        overrides = list(map(str, OmegaConf.to_container(task, resolve=False)))
    several = HydraConfig.get().mode == RunMode.MULTIRUN
    outcome = "finished"
    try:
        print(train(composed, overrides))
    except Stopped as stop:
        print(stop)
        sys.exit(STOPPED)
    except KeyboardInterrupt:  # outside of the stages, which save their state: while a plan examines files
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as fault:
        known = isinstance(fault, MemphisError)
        if known and not several:
            sys.exit(f"error: {fault}")
        if not several:
            raise
        outcome = f"failed: {fault if known else repr(fault)}"  # the other runs go on
        print(f"error: {fault}" if known else traceback.format_exc(), file=sys.stderr)
    if several:
        ENDED.append((overrides, outcome))


def check_words() -> None:
    """Refuse words of the command line that Hydra would stop at or misread. Prints notes on a sweep's axes."""
    flags, others = get_args_parser().parse_known_args()
    if others:
        raise MemphisError(words.stray(others[0], sys.argv[1:]))
    if not (flags.shell_completion or flags.hydra_help):
        ours = not (flags.config_path or flags.config_dir)
        for note in words.check(flags.overrides, several=flags.multirun, ours=ours):
            print(note)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors and prints none
    try:
        check_words()
        main()
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
    except (HydraException, OmegaConfBaseException) as fault:
        sys.exit(f"error: {words.explained(fault)}")
    except OSError as fault:
        if not {"-m", "--multirun"} & set(sys.argv):
            raise
        sys.exit(f"error: {fault.filename}: {fault.strerror}; {disk.CURE}")  # Hydra writes there before the first run
    finally:
        if ENDED:
            print(*filter(None, [arms(ENDED), report.compare(RUNS)]), sep="\n")
    sys.exit(int(any(outcome != "finished" for _, outcome in ENDED)))  # W&B fails on a bool here
