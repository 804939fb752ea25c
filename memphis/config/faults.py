"""Formatting of validation errors as lines: the key as it is typed, its value, what is wrong, what to type."""

from collections.abc import Mapping
from typing import Any

from memphis.config.keys import groups, nearest, quoted
from memphis.losses import LOSSES
from memphis.privacy import masked

_BRANCHES = ("rate", "bool", "constrained-int")  # of unions of plain types, which pydantic names after the key


def line(item: Any, typed: Mapping[str, str] | None = None) -> str:
    """Format one error of a pydantic ValidationError.

    typed: key -> word of the command line, where the value as text would be the key's.
    """
    path = list(item["loc"])
    if path[:2] == ["data", "sources"]:
        del path[3:4]  # the branch of the union, not a key
    elif path[:1] == ["sources"]:
        del path[2:3]
    elif path[:2] == ["rank", "objective"]:  # the loss inside its section, and the branch of that union
        del path[1 : 3 if path[2:3] and path[2] in LOSSES else 2]
    if path and path[-1] in _BRANCHES:
        del path[-1]
    key = ".".join(str(part) for part in path if part != "[key]")
    match item["type"]:
        case "union_tag_invalid":
            name = item["ctx"]["discriminator"].strip("'")
            return f"{key}.{name}={item['ctx']['tag']!r}: unknown {name}; {item['ctx']['expected_tags']}"
        case "union_tag_not_found":
            name = item["ctx"]["discriminator"].strip("'")
            return f"{key}.{name}: missing; set {key}.{name}=…"
        case "extra_forbidden" | "unexpected_keyword_argument" | "dataclass_exact_type":
            return unknown(f"{key}={item['input']!r}", key)
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"{key}: missing; set {key}=…"
    word = (typed or {}).get(key)
    if item["type"] == "string_type" and word and item["input"] is not None:
        return f"{masked(word)}: input should be a valid string; type {masked(quoted(word))}"
    if item["type"] == "string_type" and item["input"] is None:
        refers = key.startswith("data.sources.") and key.endswith(".path")
        text = f"; for the text null type {quoted(word)}" if word and word.lower().endswith("=null") else ""
        return f"{key}: missing; set {'data.path=… (data=local refers to it) or ' if refers else ''}{key}=…{text}"
    value = repr(item["input"])
    value = value if len(value) <= 300 else f"{value[:100]}…{value[-20:]}"
    return f"{key}={value}: {item['msg'][0].lower()}{item['msg'][1:]}"


def unknown(word: str, key: str) -> str:
    """Return the line on a word of the command line whose key does not exist: the nearest one, never `+`."""
    sign = word[: len(word) - len(word.lstrip("+~"))].replace("+", "")
    value = word.partition("=")[1] and f"={word.partition('=')[2]}"
    near = [f"{sign or ('' if groups().get(name, True) else '+')}{name}{value}" for name in nearest(key)]
    advice = f"did you mean {' or '.join(near)}?" if near else "`python train.py --cfg job` lists the keys there are"
    return f"{word}: unknown key; {advice}"


def joined(lines: list[str]) -> str:
    """Join the lines to one message."""
    return lines[0] if len(lines) == 1 else f"{len(lines)} faults in the configuration:\n  " + "\n  ".join(lines)
