"""Multiple choice: read the options of a prompt, the letter of an answer, and the option that a text names."""

import re
from collections.abc import Callable, Sequence

from memphis.answers.clean import clean, text_key

_OPTION_LINE = re.compile(r"[ \t]*(?P<open>\(?)(?P<letter>[A-Z])(?P<close>\)|\.(?=\s|$))[ \t]*(?P<text>.*)")
_PURE_LETTER = re.compile(r"\(\s*([A-Za-z])\s*\)|([A-Za-z])\s*[).:]?")
_LETTER_FIRST = re.compile(
    r"(?P<named>(?:the\s+)?(?:option|choice|letter)\s+|选项?\s*)?"
    r"(?:\(\s*(?P<boxed>[A-Z])\s*\)[.:]?|(?P<marked>[A-Z])\s*[).:]|(?P<naked>[A-Z])(?![^\W_]))\s*(?P<text>.*)",
    re.I,
)
_ANOTHER_LETTER = re.compile(r"(?:and\b|or\b|[&,/+])|\(?[A-H](?![^\W_])", re.I)
_LAST_LETTER_WITHOUT_OPTIONS = 7  # H


def options_of(prompt: str) -> list[str] | None:
    """Return the texts of the lines `A) …`, `(A) …` or `A. …` of a prompt, in order; None without at least A and B.

    The lines must be consecutive and in one style. If there are several such blocks, the last one counts.
    """
    found: list[str] | None = None
    block: list[str] = []
    style = None
    for line in prompt.split("\n"):
        match = _OPTION_LINE.fullmatch(line.rstrip("\r"))
        if match and block and (match["open"], match["close"]) == style and match["letter"] == chr(65 + len(block)):
            block.append(match["text"].strip())
        elif match and match["letter"] == "A":
            block, style = [match["text"].strip()], (match["open"], match["close"])
        else:
            block = []
        if len(block) >= 2:
            found = block
    return found


def gold_letter(cleaned: str, num_options: int) -> int | None:
    """Return the index of the option if the gold answer is nothing but a letter (`B`, `(B)`, `b.`), else None."""
    match = _PURE_LETTER.fullmatch(cleaned)
    return _index(match[1] or match[2], num_options) if match else None


def split_letter(cleaned: str, num_options: int) -> tuple[int, str] | None:
    """Parse `B`, `(B)`, `Option B`, `选B` as (1, ""); `B) text` as (1, "text"); `A dog`, `A and B`, `A or C`: None."""
    match = _LETTER_FIRST.fullmatch(cleaned)
    if match is None:
        return None
    text = match["text"]
    if text and (match["naked"] or (not num_options and _ANOTHER_LETTER.match(text))):
        return None
    index = _index(match["boxed"] or match["marked"] or match["naked"], num_options)
    return None if index is None else (index, text)


def matching(cleaned: str, options: Sequence[str], same_value: Callable[[str, str], bool]) -> set[int]:
    """Return the indices of the options that a text names: those with equal text, else the only one of equal value."""
    cleaned_options = [clean(option) for option in options]
    key = text_key(cleaned)
    exact = {i for i, option in enumerate(cleaned_options) if option and text_key(option) == key}
    if exact:
        return exact
    equal = {i for i, option in enumerate(cleaned_options) if option and same_value(cleaned, option)}
    return equal if len(equal) == 1 else set()


def _index(letter: str, num_options: int) -> int | None:
    index = ord(letter.upper()) - 65
    return index if 0 <= index <= (num_options - 1 if num_options else _LAST_LETTER_WITHOUT_OPTIONS) else None
