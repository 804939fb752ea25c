"""Held-out rows: which ones they are, and removal of their prompts from everything that a run trains on or asks."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any


def chosen(row: Mapping[str, Any], share: float) -> bool:
    """True for the fixed `share`, in (0, 1), of all prompts that is held out.

    It depends on the prompt alone: rows that are added or reordered change nothing for the others, rows with one prompt
    stay together, and a larger share holds out what a smaller one does.
    """
    (key,) = keys(row)
    return int(sha256(key.encode()).hexdigest()[:16], 16) < share * 2**64


def unique(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first row of each prompt: a model's greedy answer to the same prompt is the same."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(keys(row)[0], row)
    return list(found.values())


def keys(row: Mapping[str, Any]) -> list[str]:
    """Return the prompts of a row, of any kind, up to letter case and spaces; those of a chat are its user's turns."""
    turns = [turn["content"] for turn in row.get("messages", ()) if turn["role"] == "user"]
    return [" ".join(text.casefold().split()) for text in turns or [row["prompt"]]]


def without(rows: Iterable[dict[str, Any]], prompts: set[str]) -> list[dict[str, Any]]:
    """Return the rows with none of `prompts`, which are as `keys` returns them."""
    return [row for row in rows if prompts.isdisjoint(keys(row))]
