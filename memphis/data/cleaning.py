"""Convert a record of a data set into a row, or give the reason why it cannot be one; group rows by their origin.
Uses no files and no columns.

Rows are what `prompts.spans` takes: cot (prompt, rationale, answer), instruct (prompt, response), chat (messages).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memphis.config.sections import Role
from memphis.data import prompts

# Role -> True if required. All kinds have `source`: the origin of the row, by default the name of the data set.
ROLES: dict[str, dict[Role, bool]] = {
    "cot": {"prompt": True, "rationale": True, "answer": True, "source": False},
    "instruct": {"title": True, "body": False, "response": True, "source": False},
    "chat": {"messages": True, "source": False},
}
BAD = ("null", "blank", "non_string", "header", "roles")  # reasons that count against data.max_drop_frac
CHOSEN = ("short_rationale", "title", "origin", "limit")  # reasons set by the configuration

_SPEAKERS = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot"), "assistant"),
    "system": "system",
}


class Dropped(Exception):
    """Exception for a record that is left out. reason: one of BAD or CHOSEN; field: where it was seen."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(f"{reason} in {field}")
        self.reason = reason


def row(kind: str, fields: Mapping[str, Any], min_rationale_chars: int = 1) -> dict[str, Any]:
    """Return the row of a record, every text stripped. fields: role -> value, of any type. Raises Dropped."""
    made = _MAKERS[kind](fields)
    if kind == "cot" and len(made["rationale"]) < min_rationale_chars:
        raise Dropped("short_rationale", "rationale")
    return made


def group(origin: str, origins: Sequence[str] | None) -> str | None:
    """Return the first of `origins` (regular expressions) that is found in the origin of a row; "" where there are no
    `origins`, None where none of them is found."""
    if origins is None:
        return ""
    return next((pattern for pattern in origins if re.search(pattern, origin, re.IGNORECASE)), None)


def _cot(fields: Mapping[str, Any]) -> dict[str, Any]:
    made = {role: _text(fields[role], role) for role in ("prompt", "rationale", "answer")}
    # Targets may contain no `### ` line at all, because generations that have one are discarded.
    if prompts.parse(prompts.completion_cot(made["rationale"], made["answer"]), finished=True).reason:
        raise Dropped("header", "rationale or answer")
    return made


def _instruct(fields: Mapping[str, Any]) -> dict[str, Any]:
    title, body = _text(fields["title"], "title"), fields.get("body")
    if body is not None and not (isinstance(body, str) and not body.strip()):
        title = f"{title}\n\n{_text(body, 'body')}"
    return {"prompt": title, "response": _text(fields["response"], "response")}


def _chat(fields: Mapping[str, Any]) -> dict[str, Any]:
    turns = fields["messages"]
    if turns is None:
        raise Dropped("null", "messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Dropped("non_string", "messages")
    messages = [_turn(turn) for turn in turns]
    if messages and messages[0][0] == "system" and not str(messages[0][1] or "").strip():
        messages = messages[1:]  # an empty system turn
    if messages and messages[-1][0] == "user":
        messages = messages[:-1]
    roles = [role for role, _ in messages]
    roles = roles[1:] if roles[:1] == ["system"] else roles
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise Dropped("roles", "messages")
    return {"messages": [{"role": role, "content": _text(text, "messages")} for role, text in messages]}


def _turn(turn: Mapping[str, Any]) -> tuple[str, Any]:
    """Return (role, content) of a turn with role and content, or with from and value."""
    role = turn["role"] if turn.get("role") is not None else turn.get("from")
    content = turn["content"] if turn.get("content") is not None else turn.get("value")
    return _SPEAKERS.get(str(role).strip().lower(), str(role)), content


def _text(value: Any, field: str) -> str:
    if value is None:
        raise Dropped("null", field)
    if not isinstance(value, str):
        raise Dropped("non_string", field)
    text = value.strip()
    if not text:
        raise Dropped("blank", field)
    if prompts.contains_header(text):
        raise Dropped("header", field)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise Dropped("non_string", field) from None
    return text


_MAKERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"cot": _cot, "instruct": _instruct, "chat": _chat}
