"""Names that can be typed: keys and groups, the nearest one to a typing error, and words in quotes for the shell."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin

from omegaconf import OmegaConf

from memphis import REPOSITORY
from memphis.config.sections import Config
from memphis.formatting import printable

CONF = REPOSITORY / "conf"  # train.py sets it to the one beside itself, which is what Hydra composes
# Last parts of keys -> names that other trainers have for them.
_ELSEWHERE = {"lr": "learning_rate", "decay": "weight_decay", "global_batch_size": "batch_size"}


@cache
def keys() -> frozenset[str]:
    """Return the dotted names of all sections and keys; `*` stands for the name of a source."""
    return frozenset(_below(Config, ""))


@cache
def groups() -> dict[str, bool]:
    """Return the groups of conf/, each with whether a config has a file of it without it being asked for."""
    entries = OmegaConf.to_object(OmegaConf.load(CONF / "config.yaml").defaults)
    always = {name for entry in entries if isinstance(entry, dict) for name in entry}  # type: ignore[union-attr]
    return {folder.name: folder.name in always for folder in sorted(CONF.iterdir()) if folder.is_dir()}


def options(group: str) -> list[str]:
    """Return the names of the group's files."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def is_key(name: str) -> bool:
    """True if there is such a key or section."""
    return _general(name)[0] in keys()


def nearest(name: str) -> list[str]:
    """Return the keys or groups that `name` may stand for, the likeliest first; [] if none is near."""
    wanted, source = _general(name.replace("/", "."))
    meant = {key: key for key in sorted(keys() | groups().keys())}
    for key in sorted(keys()):
        section, _, last = key.rpartition(".")
        for name in filter(None, [last, _ELSEWHERE.get(last)]):
            for place in (section, section.partition(".")[0]):  # `sft.lr`
                meant.setdefault(f"{place}.{name}" if place else name, key)
    ends = dict.fromkeys(meant[name] for name in meant if name == wanted or name.endswith(f".{wanted}"))
    found = list(ends) or [meant[near] for near in get_close_matches(wanted, meant, n=1, cutoff=0.6)]
    return [key.replace("*", source) for key in found if "*" not in key or source]


def quoted(word: str) -> str:
    """Return `key=text` so that a shell and Hydra read exactly that text: `'key="text"'`."""
    key, _, text = word.partition("=")
    text = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", text)  # else it refers to another key
    text = re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text)
    return shell(f'{key}="{text}"')


def shell(word: str) -> str:
    """Return a word as one to type in bash, on one line."""
    if printable(word, one_line=True) == word:
        return shlex.quote(word)
    shown = [
        f"\\{char}" if char in "\\'" else char if printable(char, one_line=True) == char else _bytes(char)
        for char in word
    ]
    return f"$'{''.join(shown)}'"


def _bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _general(name: str) -> tuple[str, str]:
    """Return `name` with `*` for the name of a source, and that name."""
    parts = name.split(".")
    if not name.startswith("data.") or len(parts) < (3 if parts[1:2] == ["sources"] else 4):
        return name, ""
    return ".".join([*parts[:2], "*", *parts[3:]]), parts[2]


def _below(kind: Any, prefix: str) -> Iterator[str]:
    """Yield the names below a section or another type."""
    if isinstance(kind, type) and is_dataclass(kind):
        for field in fields(kind):
            name = f"{prefix}{field.name.rstrip('_')}"  # `from_` is typed `from`
            if name == "rank.objective":  # its knobs stand beside the others
                yield from _below(field.type, prefix)
            else:
                yield name
                yield from _below(field.type, f"{name}.")
    elif get_origin(kind) is dict:
        names, values = get_args(kind)
        for name in get_args(names) if get_origin(names) is Literal else ["*"]:
            yield f"{prefix}{name}"
            yield from _below(values, f"{prefix}{name}.")
    elif get_origin(kind) not in (list, Literal):
        for part in get_args(kind):
            yield from _below(part, prefix)
