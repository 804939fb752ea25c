"""Methods and their settings, read from the files of conf/method, the only list of methods."""

from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from memphis.config.sections import Rank, Sft, Slerp
from memphis.dotted import flatten, lookup
from memphis.losses import LOSSES

_FILES = Path(__file__).resolve().parents[2] / "conf" / "method"


@cache
def methods() -> dict[str, dict[str, Any]]:
    """Return name -> settings of the method's file; every method has all keys that any file sets.

    The recipe's own loss comes first, then the others in the order of memphis/losses.py, then what uses no samples.
    """
    files = {file.stem: OmegaConf.to_container(OmegaConf.load(file)) for file in sorted(_FILES.glob("*.yaml"))}
    chosen = {name: flatten(choices) for name, choices in files.items()}
    sft, rank, slerp = Sft(), Rank(), Slerp()
    defaults = {
        "sft.from": sft.from_,
        "sft.continued": sft.continued,
        "rank.loss": rank.objective.loss,
        "rank.examples": rank.examples,
        "rank.start": rank.start,
        "slerp.method": slerp.method,
    }
    found = {}
    for name, choices in chosen.items():
        plain: dict[str, Any] = {}
        for key, value in {**defaults, **choices}.items():
            if key:  # the empty file of the defaults
                section, _, knob = key.partition(".")
                plain.setdefault(section, {})[knob] = value
        found[name] = plain
    losses = list(LOSSES)

    def place(name: str) -> tuple[Any, ...]:
        loss, continued = lookup(found[name], "rank.loss"), lookup(found[name], "sft.continued")
        return (not LOSSES[loss]().terms, continued, losses.index(loss), lookup(found[name], "sft.from") or "", name)

    return {name: found[name] for name in sorted(found, key=place)}


@cache
def method_keys() -> frozenset[str]:
    """Return the keys that the files of conf/method set, which a method's name implies."""
    return frozenset(key for choices in methods().values() for key in flatten(choices))


def method_name(plain: dict[str, Any]) -> str:
    """Name the method that a configuration (`to_dict`, or a run's config.yaml) amounts to, however it was chosen.

    Choices that no file of conf/method makes are spelled out, such as `ce-correct-base`.
    """
    mine = _telling(plain)
    found = (name for name, choices in methods().items() if _telling(choices) == mine)
    return next(found, "-".join(map(str, mine)))


def _telling(plain: dict[str, Any]) -> tuple[Any, ...]:
    """Return the settings that distinguish methods."""
    if lookup(plain, "sft.continued"):
        return ("continued",)
    loss = lookup(plain, "rank.loss")
    if not LOSSES[loss]().terms or lookup(plain, "iterations") == 0:
        return ("sft", lookup(plain, "sft.from") == "base")
    return (loss, lookup(plain, "rank.examples"), lookup(plain, "rank.start"))
