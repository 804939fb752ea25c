"""Text formats: render rows for training and generation, and parse generations.

Works on strings only; tokens.py handles tokens. Layout: "Prompt formats" in the model card of euclaise/Memphis-CoT-3B.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

USER, ASSISTANT, SYSTEM = "### User:", "### Assistant:", "### System:"
RATIONALE, ANSWER = "### Rationale:", "### Answer:"
STOP_STRINGS = [f"\n{USER}", f"\n{ASSISTANT}", f"\n{SYSTEM}"]
REASONS = ("unfinished", "no_answer", "multi_answer", "empty_rationale", "empty_answer", "stray_header")
Eos = Literal["every_turn", "final"]

_OUR_HEADER = re.compile(r"^### (?:User|Assistant|System|Rationale|Answer):", re.M)
_NEXT_TURN = re.compile(r"^### (?:User|Assistant|System):", re.M)
_ANSWER_HEADER = re.compile(rf"^{ANSWER}", re.M)
_ANY_HEADER = re.compile(r"^### ", re.M)


@dataclass(frozen=True)
class Span:
    """Piece of a training text, tokenised on its own.

    target: the model learns to write it. ends: the end-of-text token follows; as a token, since `text` is only text.
    """

    text: str
    target: bool
    ends: bool = False


@dataclass(frozen=True)
class Parsed:
    """Parsed generation. `reason`: "" when valid, else one of REASONS, and both fields are None."""

    rationale: str | None
    answer: str | None
    reason: str


def render_cot(prompt: str) -> str:
    """Return the generation prompt of a question: exactly the masked prefix of its training text."""
    return f"{USER}\n{prompt.strip()}\n{RATIONALE}\n"


def hinted(prompt: str, answer: str) -> str:
    """Return a question with its answer given away, so that a model can find the reasons (STaR's rationalisation)."""
    return f"{prompt.strip()}\n(Hint: the answer is {answer.strip()}.)"


def completion_cot(rationale: str, answer: str) -> str:
    """Return the trained part of a chain-of-thought row, without the end-of-text token."""
    return f"{rationale.strip()}\n{ANSWER}\n{answer.strip()}"


def spans(row: Mapping[str, Any], eos: Eos) -> list[Span]:
    """Split the training text of a row into alternating spans, context and target; joined they are the complete text.

    row: `kind` is cot (prompt, rationale, answer), instruct (prompt, response) or chat (messages: an optional system
        turn, then user and assistant in turn, ending with assistant).
    eos: every_turn = the end-of-text token follows every target span; final = only the last one.
    Raises ValueError for another kind or another order of roles.
    """
    if row["kind"] == "cot":
        turns = [(render_cot(row["prompt"]), completion_cot(row["rationale"], row["answer"]))]
    elif row["kind"] == "instruct":
        turns = [(_render_chat(row["prompt"]), row["response"].strip())]
    elif row["kind"] == "chat":
        turns = _chat_turns(row["messages"])
    else:
        raise ValueError(f"row kind {row['kind']!r} is not one of cot, instruct, chat")
    result = []
    for i, (context, target) in enumerate(turns):
        ends = eos == "every_turn" or i == len(turns) - 1
        result.append(Span(context if i == 0 else f"\n{context}", target=False))
        result.append(Span(target, target=True, ends=ends))
    return result


def parse(text: str, finished: bool) -> Parsed:
    """Parse the text generated after render_cot(); inverts completion_cot() for every training row.

    The text ends where the next turn begins. It is valid if it is complete, has exactly one line that starts with the
    answer header, non-blank text on both sides of it, and no further header line.

    finished: the model stopped by itself or at a stop string, not at the token limit.
    """
    turn = _NEXT_TURN.search(text)
    if turn is not None:
        text, finished = text[: turn.start()], True
    if not finished:
        return Parsed(None, None, "unfinished")
    headers = list(_ANSWER_HEADER.finditer(text))
    if len(headers) != 1:
        return Parsed(None, None, "multi_answer" if headers else "no_answer")
    rationale, answer = text[: headers[0].start()].strip(), text[headers[0].end() :].strip()
    if not rationale:
        return Parsed(None, None, "empty_rationale")
    if not answer:
        return Parsed(None, None, "empty_answer")
    if _ANY_HEADER.search(rationale) or _ANY_HEADER.search(answer):
        return Parsed(None, None, "stray_header")
    return Parsed(rationale, answer, "")


def contains_header(text: str) -> bool:
    """True if a line of `text` starts with one of our headers: such a field would break the format."""
    return _OUR_HEADER.search(text) is not None


def _render_chat(instruction: str) -> str:
    return f"{USER}\n{instruction.strip()}\n{ASSISTANT}\n"


def _chat_turns(messages: list[dict[str, str]]) -> list[tuple[str, str]]:
    roles = [message["role"] for message in messages]
    texts = [message["content"].strip() for message in messages]
    system = f"{SYSTEM}\n{texts.pop(0)}\n" if roles[:1] == ["system"] else ""
    roles = roles[1:] if system else roles
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise ValueError(f"chat roles {roles} do not alternate between user and assistant")
    contexts = list(map(_render_chat, texts[::2]))
    contexts[0] = system + contexts[0]
    return list(zip(contexts, texts[1::2], strict=True))
