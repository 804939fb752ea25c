"""Decide whether an answer is right, by rules of equality in their order; docs/answers.md has a table of them.

Uses strings and exact rationals only; the last rule, algebra, is a function that the caller passes. Never raises on any
text and never takes long by itself, because a model may write anything.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from memphis.answers.choices import (
    ends_with_letter,
    exactly,
    gold_letter,
    matching,
    options_of,
    split_letter,
    without_lead,
)
from memphis.answers.clean import MAX_CHARS, clean, first_line, text_key
from memphis.answers.expressions import formulas, same_multiple
from memphis.answers.lists import same_date, same_duration, same_list, same_range, same_relation, same_set
from memphis.answers.quantities import quantity, same_quantity
from memphis.answers.sentences import assignment, quantity_in_text, stated
from memphis.answers.words import harmless_lead
from memphis.errors import MemphisError

__all__ = ["KINDS", "MODES", "RULES", "Verdict", "equal", "kind_of", "options_of", "verdict"]

MODES = ("normalized", "exact", "numeric")
KINDS = ("number", "math", "choice", "bool", "label", "text")
Layer = Callable[[str, str], bool | None]
Solve = Callable[[str, str], bool]  # (gold, prediction), each LaTeX of one formula -> True if equal

RULES = (
    *(
        "exact",
        "text",
        "option",
        "letter",
        "label",
        "time",
        "date",
        "number",
        "range",
        "duration",
        "set",
        "relation",
        "list",
        "multiple",
    ),
    *("sentence", "algebra", "none"),
)


class Verdict(NamedTuple):
    """Whether an answer is right, and which of RULES decided; `none` where no rule finds it right."""

    equal: bool
    rule: str


_LABELS = {
    "yes": "yes", "true": "yes", "no": "no", "false": "no", "maybe": "maybe", "neutral": "neutral",
    "entails": "entails", "entailment": "entails", "contradicts": "contradicts", "contradiction": "contradicts",
    **dict.fromkeys(("是", "是的", "对", "正确"), "yes"),
    **dict.fromkeys(("否", "不是", "不", "不对", "错", "错误"), "no"),
}  # fmt: skip
_LABEL_FIRST = re.compile(r"[\[(\"'“*_]*([^\W\d_]+)[\])\"'”*_]*(?:\s*[,.:;!—–(\[]\s*(.*)|\s+--?\s+(.*))?", re.I | re.S)
_LABEL_AGAIN = re.compile(r"(?:(?:and|or|but)\s+)?(?:also\s+)?([^\W\d_]+)(?:[,.:;!?)\]].*)?", re.I | re.S)
_CLOCK = r"[0-9]{1,2}(?::[0-9]{2}){0,2}\s*[ap]\.?\s?m\.?"
_CLOCK_OR_RATIO = re.compile(rf"{_CLOCK}|[0-9]+(?:\.[0-9]+)?(?:\s*:\s*[0-9]+(?:\.[0-9]+)?)+", re.I)
_RATIO_IN_WORDS = re.compile(r"(?<=[0-9])\s*(?:(?:is\s+)?to|zu|比)\s*(?=[0-9])", re.I)
_SAYS = re.compile(r"\b(?:is|are|get|have|becomes|:)\s+", re.I)
_LABEL_SENTENCE = re.compile(
    r"(?:the|this|that)\s+(?:premise|text|sentence|passage|statement|context)\s+(entails|contradicts)\s+"
    r"(?:the|this|that)\s+(?:hypothesis|statement|sentence|claim|conclusion)",
    re.I,
)
_HOUR = re.compile(r"[0-9]{1,2}\s*[ap]\.?\s?m\.?", re.I)
_ARTICLE = re.compile(r"(?:the|an?)\s+(?=[^\W\d_]{2})", re.I)
_ORDINAL = re.compile(r"(?<=[0-9])(?:st|nd|rd|th)\b", re.I)


def equal(prediction: str, gold: str, options: Sequence[str] | None = None) -> bool:
    """True if `prediction` and `gold` are the same answer.

    Only the first non-blank line counts; a text of more than 512 characters or a blank one is never right. Numbers
    are compared as exact rationals, without tolerance. Symmetric, except that a gold letter, a gold label word and a
    gold number accept more ways to say them (`B) text`, `yes, because …`, `48 + 24 = 72`).

    options: texts of the answer options, see options_of(); they let a letter and its text stand for each other.
    """
    return verdict(prediction, gold, options=options).equal


def verdict(
    prediction: str,
    gold: str,
    *,
    options: Sequence[str] | None = None,
    mode: str = "normalized",
    kind: str | None = None,
    solve: Solve | None = None,
    fallback: bool = True,
) -> Verdict:
    """Compare two answers, and name the rule that decides.

    mode: normalized = all rules; exact = same characters in the first line; numeric = only numbers.
    kind: the rules to use when `mode` is normalized: one of KINDS, see kind_of(); None lets the gold answer decide.
        `bool` and `label` are the same; `math` is `number`, collections and formulas.
    solve: called for two formulas that no other rule finds equal; None = those are different. Results are cached, so
        it is not called again for answers that were judged recently.
    fallback: read sentences and calculations too, `She made $18`; otherwise the value must stand alone.
    Raises MemphisError for an unknown mode or kind, and for nothing else.
    """
    if mode not in MODES:
        raise MemphisError(f"pairs.answer.mode={mode} is unknown; use one of {', '.join(MODES)}")
    if kind is not None and kind not in KINDS:
        raise MemphisError(f"pairs.answer.types: type {kind} is unknown; use one of {', '.join(KINDS)}")
    if not prediction or not gold or len(prediction.strip()) > MAX_CHARS or len(gold.strip()) > MAX_CHARS:
        return _NONE
    if mode == "exact":
        return Verdict(True, "exact") if first_line(prediction) == first_line(gold) != "" else _NONE
    return _judge(prediction, gold, tuple(options or ()), mode, kind, solve, fallback)


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
    prediction: str,
    gold: str,
    options: tuple[str, ...],
    mode: str,
    kind: str | None,
    solve: Solve | None,
    fallback: bool,
) -> Verdict:
    prediction, gold = clean(prediction), clean(gold)
    if not prediction or not gold:
        return _NONE
    if mode == "numeric":
        if _same_number(prediction, gold):
            return Verdict(True, "number")
        return Verdict(True, "sentence") if fallback and _stated_number(prediction, gold) else _NONE
    if text_key(prediction) == text_key(gold):
        return Verdict(True, "text")
    chosen = _same_choice(prediction, gold, options, solve) if kind in (None, "choice") else None
    return _same_value(prediction, gold, kind, solve, fallback) if chosen is None else chosen


def _same_value(prediction: str, gold: str, kind: str | None, solve: Solve | None, fallback: bool = True) -> Verdict:
    """Decide by the first rule with a verdict, then by a sentence or algebra if that finds the answers different."""
    if (members := _values_of_a_place(prediction, gold)) is not None:
        prediction, gold = members
    decided = _by_layers(prediction, gold, kind)
    if decided.equal:
        return decided
    if fallback and kind != "choice" and _same_sentence(prediction, gold, kind):
        return Verdict(True, "sentence")
    both = formulas(prediction, gold) if solve is not None and kind in (None, "math") else None
    if both is not None and solve is not None:
        return Verdict(solve(both[1], both[0]), "algebra")
    return decided


def _by_layers(prediction: str, gold: str, kind: str | None) -> Verdict:
    for rule in _LAYERS[kind]:
        same = _LAYER[rule](prediction, gold)
        if same is not None:
            return Verdict(same, rule)
    return _NONE


def _same_choice(prediction: str, gold: str, options: tuple[str, ...], solve: Solve | None) -> Verdict | None:
    """Compare as choices; None if the gold answer gives neither letter nor option, so other rules decide."""
    letter = gold_letter(gold, len(options))
    if letter is not None:
        gold_options = {letter}
    elif options:
        gold_options = exactly(gold, options)
    else:
        return None
    if not gold_options:
        return None

    def same_value(prediction: str, gold: str) -> bool:
        return _same_value(prediction, gold, None, solve).equal

    # An option's exact text comes before a letter that seems to lead it: C. albicans.
    bare = without_lead(prediction)
    exact = (exactly(prediction, options) or exactly(bare, options)) if len(bare) > 1 else set()
    if exact:
        return Verdict(bool(exact & gold_options), "option")
    named = split_letter(prediction, len(options)) or ends_with_letter(prediction, len(options))
    if named is not None:
        index, text = named
        if options and text and index not in matching(without_lead(text), options, same_value):
            return Verdict(False, "letter")
        return Verdict(index in gold_options, "letter")
    if not options:
        return Verdict(False, "letter")
    return Verdict(bool(matching(bare, options, same_value) & gold_options), "option")


def _same_text(prediction: str, gold: str) -> bool | None:
    """True if the texts differ in nothing but an article, the ending of `4th` or a beginning like `It is`."""
    keys = [text_key(_ORDINAL.sub("", _ARTICLE.sub("", without_lead(text), count=1))) for text in (prediction, gold)]
    return keys[0] == keys[1] or None


def _same_label(prediction: str, gold: str) -> bool | None:
    label = _LABELS.get(gold.lower())
    if label is None:
        return None
    if sentence := _LABEL_SENTENCE.fullmatch(prediction):
        return _LABELS[sentence[1].lower()] == label
    match = _LABEL_FIRST.fullmatch(without_lead(prediction))
    if match is None or _LABELS.get(match[1].lower()) != label:
        return False
    again = _LABEL_AGAIN.fullmatch(match[2] or match[3] or "")
    return again is None or _LABELS.get(again[1].lower(), label) == label  # yes, and no


def _same_time(prediction: str, gold: str) -> bool | None:
    if not _CLOCK_OR_RATIO.fullmatch(gold) and not _CLOCK_OR_RATIO.fullmatch(prediction):
        return None
    if _HOUR.fullmatch(prediction) and quantity(gold) is not None:
        return None  # "7 pm" for the bare number 7
    if re.fullmatch(r"[0-9.:\s]+", gold):
        prediction = _RATIO_IN_WORDS.sub(":", prediction)
    return _spelled_time(prediction) == _spelled_time(gold)


def _spelled_time(text: str) -> str:
    spelled = text.lower().replace(" ", "")
    return spelled.replace(".", "") if spelled.rstrip(".").endswith("m") else spelled


def _same_number(prediction: str, gold: str) -> bool | None:
    values = _values(prediction, gold)
    if values is None:
        return None
    found, expected = map(quantity, values)
    return None if found is None or expected is None else same_quantity(found, expected)


def _values(prediction: str, gold: str) -> tuple[str, str] | None:
    """Return both texts without the name of `x = 5`; None if they name different values."""
    name, value = assignment(gold)
    other_name, other = assignment(prediction)
    if name and other_name and name != other_name:
        return None
    return (other if name else prediction), value


def _values_of_a_place(prediction: str, gold: str) -> tuple[str, str] | None:
    """Return both texts without the name of `x ∈ [1, 2]` and `(x, y) = (1, 2)`; None if there is none to leave out."""
    (other_name, other), (name, value) = assignment(prediction), assignment(gold)
    if any(found and found[:1] in "([\\" for found in (other, value)) and (
        not name or not other_name or name == other_name
    ):
        return (other, value) if name or other_name else None
    return None


def _stated_number(prediction: str, gold: str) -> bool:
    """True if a sentence states the gold answer, which is a number without a unit."""
    values = _values(prediction, gold)
    expected = quantity(values[1]) if values else None
    if values is None or expected is None or not expected.bare:
        return False
    found = quantity_in_text(values[0])
    return found is not None and same_quantity(found, expected)


def _same_sentence(prediction: str, gold: str, kind: str | None) -> bool:
    if kind in (None, "number", "math") and _stated_number(prediction, gold):
        return True
    if "=" in gold and any(
        text_key(prediction[said.end() :]) == text_key(gold) and harmless_lead(prediction[: said.end()])
        for said in _SAYS.finditer(prediction.partition("=")[0])
    ):
        return True  # the equation of the line is y = 2x + 1
    start = stated(prediction)
    name, value = assignment(gold)
    return start not in ("", prediction) and not (name and "=" in prediction) and _by_layers(start, value, kind).equal


_NONE = Verdict(False, "none")
_LAYER: dict[str, Layer] = {
    "text": _same_text,
    "label": _same_label,
    "time": _same_time,
    "number": _same_number,
    "date": same_date,
    "range": same_range,
    "duration": same_duration,
    "set": same_set,
    "relation": same_relation,
    "list": same_list,
    "multiple": same_multiple,
}
_LAYERS: dict[str | None, tuple[str, ...]] = {
    None: ("text", "label", "time", "date", "number", "range", "duration", "set", "relation", "list", "multiple"),
    "choice": ("text",),
    "text": ("text",),
    "bool": ("text", "label"),
    "label": ("text", "label"),
    "number": ("time", "date", "number", "range", "duration"),
    "math": ("time", "date", "number", "range", "duration", "set", "relation", "list", "multiple"),
}
