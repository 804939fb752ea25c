"""Methods and their settings, read from the files of conf/method, the only list of methods."""

from functools import cache
from typing import Any

from omegaconf import OmegaConf

from memphis import REPOSITORY
from memphis.config.sections import Rank, Sft, Slerp
from memphis.dotted import flatten, lookup
from memphis.losses import KNOBS, LOSSES, NoLoss

_FILES = REPOSITORY / "conf" / "method"
CHOICES = {  # keys that tell one method from another, with their defaults
    "sft.from": Sft().from_,
    "sft.continued": Sft().continued,
    "rank.loss": Rank().objective.loss,
    "rank.examples": Rank().examples,
    "rank.start": Rank().start,
    "slerp.method": Slerp().method,
}
LOSS_KEYS = frozenset(f"rank.{knob}" for knobs in KNOBS.values() for knob in knobs)  # a config has those of its loss


@cache
def methods() -> dict[str, dict[str, Any]]:
    """Return name -> settings of the method's file: all of CHOICES, and whatever else it sets.

    The recipe's own loss comes first, then the others in the order of memphis/losses.py, then what uses no samples.
    """
    defaults: dict[str, Any] = {}
    for key, value in CHOICES.items():
        section, _, knob = key.partition(".")
        defaults.setdefault(section, {})[knob] = value
    found: dict[str, Any] = {
        file.stem: OmegaConf.to_object(OmegaConf.merge(defaults, OmegaConf.load(file)))
        for file in _FILES.glob("*.yaml")
    }
    losses = list(LOSSES)

    def place(name: str) -> tuple[Any, ...]:
        loss, continued = lookup(found[name], "rank.loss"), lookup(found[name], "sft.continued")
        return (not LOSSES[loss]().terms, continued, losses.index(loss), lookup(found[name], "sft.from") or "", name)

    return {name: found[name] for name in sorted(found, key=place)}


def method_name(plain: dict[str, Any]) -> str:
    """Name the method that a configuration (`to_dict`, or a run's config.yaml) amounts to, however it was chosen.

    Choices that no file of conf/method makes are spelled out, such as `ce-correct-base`.
    """
    mine = _telling(plain)
    fitting = {}
    for name, choices in methods().items():
        more = {key: value for key, value in flatten(choices).items() if key not in CHOICES}
        if _telling(choices) == mine and all(lookup(plain, key) == value for key, value in more.items()):
            fitting[name] = len(more)
    return max(fitting, key=lambda name: fitting[name]) if fitting else "-".join(map(str, mine))


def _telling(plain: dict[str, Any]) -> tuple[Any, ...]:
    """Return the settings that distinguish methods."""
    if lookup(plain, "sft.continued"):
        return ("continued",)
    loss = lookup(plain, "rank.loss")
    if loss == NoLoss().loss or lookup(plain, "iterations") == 0:
        return ("sft", lookup(plain, "sft.from") == "base")
    return (loss, lookup(plain, "rank.examples"), lookup(plain, "rank.start"))
