"""Judgement of two answers without the rule that decided."""

from typing import Any

from memphis.answers.equal import verdict


def judge(prediction: str, gold: str, **settings: Any) -> bool:
    """True if `verdict` finds the answers equal. settings: its own."""
    return verdict(prediction, gold, **settings).equal
