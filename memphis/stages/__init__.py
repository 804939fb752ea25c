"""The kinds of stage there are. Importing this loads nothing heavy: the child that runs a kind imports its module.

Bump a kind's version when its results change: it enters every key of that kind and of all that read it
(tests/test_versions.py says when that is due).
"""

from dataclasses import dataclass
from typing import Any, Literal

BUDGET = "budget-"  # roles of an SFT stage that says by its length how long to train: nothing else of it is read


@dataclass(frozen=True)
class Kind:
    version: int
    needs: Literal["trainer", "engine", None]  # what a process must hold to run it; None = fits anywhere
    writes_weights: bool = False
    reads_weights: tuple[str, ...] = ()  # roles whose model weights it reads


KINDS = {
    "data": Kind(version=1, needs=None),
    "base": Kind(version=1, needs="trainer", writes_weights=True),
    "sft": Kind(version=1, needs="trainer", writes_weights=True, reads_weights=("model",)),
    "generate": Kind(version=1, needs="engine", reads_weights=("model",)),
    "pairs": Kind(version=1, needs="trainer"),
    "rank": Kind(version=1, needs="trainer", writes_weights=True, reads_weights=("model",)),
    "merge": Kind(version=1, needs=None, writes_weights=True, reads_weights=("previous", "updated", "sft")),
    "evaluate": Kind(version=2, needs="engine", reads_weights=("model",)),
}


def trains(kind: str, config: dict[str, Any]) -> bool:
    """Does such a stage train? On several devices it does so in processes that torchrun starts."""
    return kind in ("sft", "rank") or (kind == "base" and config["base"] is not None)


def spreads(kind: str, config: dict[str, Any]) -> bool:
    """Can such a stage use several devices?"""
    return kind == "generate" or trains(kind, config)
