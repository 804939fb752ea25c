"""Decide whether an answer is right, by layers of equality in their order: text, choice, label, time, number.

Uses strings and exact rationals only; the last layer, algebra, is a function that the caller passes. Never raises on
any text and never takes long by itself, because a model may write anything.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from memphis.answers.choices import gold_letter, matching, options_of, split_letter
from memphis.answers.clean import MAX_CHARS, clean, first_line, text_key
from memphis.answers.expressions import formulas
from memphis.answers.quantities import assignment, quantity, quantity_in_text, same_quantity
from memphis.errors import MemphisError

__all__ = ["KINDS", "MODES", "equal", "judge", "kind_of", "options_of"]

MODES = ("normalized", "exact", "numeric")
KINDS = ("number", "math", "choice", "bool", "label", "text")
Layer = Callable[[str, str], bool | None]
Solve = Callable[[str, str], bool]  # (gold, prediction), each LaTeX of one formula -> True if equal

_LABELS = {
    "yes": "yes", "true": "yes", "no": "no", "false": "no", "maybe": "maybe", "neutral": "neutral",
    "entails": "entails", "entailment": "entails", "contradicts": "contradicts", "contradiction": "contradicts",
}  # fmt: skip
_LABEL_FIRST = re.compile(r"([a-z]+)(?:[,.:;!].*)?", re.I | re.S)
_CLOCK = r"[0-9]{1,2}(?::[0-9]{2}){0,2}\s*[ap]\.?\s?m\.?"
_CLOCK_OR_RATIO = re.compile(rf"{_CLOCK}|[0-9]+(?:\.[0-9]+)?(?:\s*:\s*[0-9]+(?:\.[0-9]+)?)+", re.I)
_HOUR = re.compile(r"[0-9]{1,2}\s*[ap]\.?\s?m\.?", re.I)


def equal(prediction: str, gold: str, options: Sequence[str] | None = None) -> bool:
    """True if `prediction` and `gold` are the same answer.

    Only the first non-blank line counts; a text of more than 512 characters or a blank one is never right. Numbers
    are compared as exact rationals, without tolerance. Symmetric, except that a gold letter, a gold label word and a
    gold bare number accept more ways to say them (`B) text`, `yes, because …`, `48 + 24 = 72`).

    options: texts of the answer options, see options_of(); they let a letter and its text stand for each other.
    """
    return judge(prediction, gold, options=options)


def judge(
    prediction: str,
    gold: str,
    *,
    options: Sequence[str] | None = None,
    mode: str = "normalized",
    kind: str | None = None,
    solve: Solve | None = None,
) -> bool:
    """Compare two answers as equal() does, with all settings.

    mode: normalized = all layers; exact = same characters in the first line; numeric = only the number layer.
    kind: the layer to use when `mode` is normalized: one of KINDS, see kind_of(); None lets the gold answer decide.
        `bool` and `label` are the same layer; `math` is `number`, sets and formulas.
    solve: called for two formulas that no other layer finds equal; None = those are different. Results are cached, so
        it is not called again for answers that were judged recently.
    Raises MemphisError for an unknown mode or kind, and for nothing else.
    """
    if mode not in MODES:
        raise MemphisError(f"pairs.answer.mode={mode} is unknown; use one of {', '.join(MODES)}")
    if kind is not None and kind not in KINDS:
        raise MemphisError(f"pairs.answer.types: type {kind} is unknown; use one of {', '.join(KINDS)}")
    if not prediction or not gold or len(prediction.strip()) > MAX_CHARS or len(gold.strip()) > MAX_CHARS:
        return False
    if mode == "exact":
        return first_line(prediction) == first_line(gold) != ""
    return _judge(prediction, gold, tuple(options or ()), mode, kind, solve)


def kind_of(source: str, types: Sequence[tuple[str, str]]) -> str | None:
    """Return the kind of the first entry of `types`, (regex, kind), whose regex is found in the source's name, or None.

    Raises MemphisError for a bad regex or an unknown kind.
    """
    for pattern, kind in types:
        if kind not in KINDS:
            raise MemphisError(f"pairs.answer.types: type {kind} is unknown; use one of {', '.join(KINDS)}")
        try:
            if re.search(pattern, source):
                return kind
        except re.error as error:
            raise MemphisError(f"pairs.answer.types: {pattern!r} is not a regular expression ({error})") from None
    return None


@lru_cache(maxsize=1 << 16)
def _judge(
    prediction: str, gold: str, options: tuple[str, ...], mode: str, kind: str | None, solve: Solve | None
) -> bool:
    prediction, gold = clean(prediction), clean(gold)
    if not prediction or not gold:
        return False
    if mode == "numeric":
        return bool(_same_number(prediction, gold))
    if text_key(prediction) == text_key(gold):
        return True
    chosen = _same_choice(prediction, gold, options, solve) if kind in (None, "choice") else None
    return _same_value(prediction, gold, kind, solve) if chosen is None else chosen


def _same_value(prediction: str, gold: str, kind: str | None, solve: Solve | None) -> bool:
    """True if the first layer with a verdict, or else algebra, finds the answers equal. None is no verdict."""
    if next((verdict for layer in _LAYERS[kind] if (verdict := layer(prediction, gold)) is not None), False):
        return True
    both = formulas(prediction, gold) if solve is not None and kind in (None, "math") else None
    return both is not None and solve is not None and solve(both[1], both[0])


def _same_choice(prediction: str, gold: str, options: tuple[str, ...], solve: Solve | None) -> bool | None:
    """Compare as choices; None if the gold answer gives neither letter nor option, so other layers decide."""
    letter = gold_letter(gold, len(options))
    if letter is not None:
        gold_options = {letter}
    elif options:
        gold_options = {i for i, option in enumerate(options) if text_key(clean(option)) == text_key(gold)}
    else:
        return None
    if not gold_options:
        return None

    def same_value(prediction: str, gold: str) -> bool:
        return _same_value(prediction, gold, None, solve)

    named = split_letter(prediction, len(options))
    if named is not None:
        index, text = named
        if options and text and index not in matching(text, options, same_value):
            return False
        return index in gold_options
    if not options:
        return False
    return bool(matching(prediction, options, same_value) & gold_options)


def _same_label(prediction: str, gold: str) -> bool | None:
    label = _LABELS.get(gold.lower())
    if label is None:
        return None
    match = _LABEL_FIRST.fullmatch(prediction)
    return match is not None and _LABELS.get(match[1].lower()) == label


def _same_time(prediction: str, gold: str) -> bool | None:
    if not _CLOCK_OR_RATIO.fullmatch(gold) and not _CLOCK_OR_RATIO.fullmatch(prediction):
        return None
    if _HOUR.fullmatch(prediction) and quantity(gold) is not None:
        return None  # "7 pm" for the bare number 7
    return _spelled_time(prediction) == _spelled_time(gold)


def _spelled_time(text: str) -> str:
    spelled = text.lower().replace(" ", "")
    return spelled.replace(".", "") if spelled.rstrip(".").endswith("m") else spelled


def _same_number(prediction: str, gold: str) -> bool | None:
    name, value = assignment(gold)
    expected = quantity(value)
    if expected is None:
        return None
    other_name, other = assignment(prediction)
    if name and other_name and name != other_name:
        return False
    found = quantity(other if name else prediction)
    if found is None and expected.bare:
        found = quantity_in_text(prediction)
    return found is not None and same_quantity(found, expected)


def _same_set(prediction: str, gold: str) -> bool | None:
    members = _members(gold)
    return None if members is None else _members(prediction) == members


def _members(cleaned: str) -> list[str] | None:
    r"""Return the sorted members of a flat set `\{1, 2\}`, None for other texts."""
    inside = cleaned[2:-2]
    if not (cleaned.startswith("\\{") and cleaned.endswith("\\}")) or any(bracket in inside for bracket in "([{"):
        return None
    return sorted(text_key(member.strip()) for member in inside.split(","))


_LAYERS: dict[str | None, tuple[Layer, ...]] = {
    None: (_same_label, _same_time, _same_number, _same_set),
    "choice": (),
    "text": (),
    "bool": (_same_label,),
    "label": (_same_label,),
    "number": (_same_time, _same_number),
    "math": (_same_time, _same_number, _same_set),
}
