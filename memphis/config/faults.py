"""Formatting of validation errors as lines: the key as it is typed, its value, what is wrong, what to type."""

from typing import Any

from memphis.losses import LOSSES

_BRANCHES = ("rate", "bool", "constrained-int")  # of unions of plain types, which pydantic names after the key


def line(item: Any) -> str:
    """Format one error of a pydantic ValidationError."""
    path = list(item["loc"])
    if path[:2] == ["data", "sources"]:
        del path[3:4]  # the branch of the union, not a key
    elif path[:1] == ["sources"]:
        del path[2:3]
    elif path[:2] == ["rank", "objective"]:  # the loss inside its section, and the branch of that union
        del path[1 : 3 if path[2:3] and path[2] in LOSSES else 2]
    if path[-1] in _BRANCHES:
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
            return f"{key}={item['input']!r}: unknown key; `python train.py --cfg job` lists the keys there are"
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"{key}: missing; set {key}=…"
    if item["type"] == "string_type" and item["input"] is None:
        refers = key.startswith("data.sources.") and key.endswith(".path")
        return f"{key}: missing; set {'data.path=… (data=local refers to it) or ' if refers else ''}{key}=…"
    return f"{key}={item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def joined(lines: list[str]) -> str:
    """Join the lines to one message."""
    return lines[0] if len(lines) == 1 else f"{len(lines)} faults in the configuration:\n  " + "\n  ".join(lines)
