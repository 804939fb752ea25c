"""Multiple choice: read the options of a prompt, the letter of an answer, and the option that a text names."""

import re
from collections.abc import Callable, Iterator, Sequence

from memphis.answers.clean import clean, text_key

# Each way to mark an option, and from how many options on it is believed within one line of a prompt.
_STYLES = (
    (r"[(（](?P<letter>[A-Za-z])[)）]", 2),
    (r"[\[［](?P<letter>[A-Za-z])[\]］]", 2),
    (r"(?P<letter>[A-Za-z])[)）]", 2),
    (r"(?P<letter>[A-Z])\.(?=\s|$)", 3),
    (r"(?P<letter>[A-Z])\s*(?::(?=\s|$)|：)", 3),
    (r"(?P<letter>[A-Z])[、．]", 2),
    (r"(?P<letter>[A-Z])\.(?=\S)", 3),
    (r"(?P<letter>[A-Z])\s+[-–—](?=\s)", 3),
)
_LINE_ONLY = r"(?P<letter>[a-z])\.(?=\s|$)"  # within a line it may end a sentence
_LINE_STYLES = [
    re.compile(rf"\s*(?:[-*•]\s+)?(?P<bold>\*\*)?{style}(?(bold)(?:\*\*)?)[ \t]*(?P<text>.*?)(?(bold)(?:\*\*)?)\s*")
    for style in (*(style for style, _ in _STYLES), _LINE_ONLY)
]
_INLINE_STYLES = [(re.compile(rf"(?<![\w(\[]){style}[ \t]*"), least) for style, least in _STYLES]

_PURE_LETTER = re.compile(r"\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Za-z])\s*[).:]?")
_NAMING = (
    r"(?:(?:so|thus|hence|therefore|clearly|because of this|因此|所以|故|综上),?\s*)?"
    r"(?:(?:本|此|这道?|该)小?题的?)?"
    r"(?:(?:i|we)\s+(?:think|believe)\s+(?:that\s+)?)?"
    r"(?:(?P<named>(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)*(?:answer|option|choice|alternative|letter)\s*"
    r"(?:(?:is|would be|must be|should be)\b\s*:?|:|=)?\s*(?:option\s+|choice\s+|letter\s+)?"
    r"|(?:(?:i|we)\s*(?:would\s+|will\s+|'ll\s+|'d\s+)?)?(?:choose|pick|select|go with|chose|picked|selected)\s+"
    r"(?:option\s+|choice\s+|letter\s+)?"
    r"|(?:it|this|that)(?:\s+is|'s|\s+must be|\s+should be)\s+(?:option\s+|choice\s+|letter\s+)?"
    r"|(?:正确)?(?:答案|选项)?\s*[应该]*[选为是]*择?\s*(?:选项|答案)?\s*[是为]?\s*:?\s*))"
)
_LETTER_FIRST = re.compile(
    rf"{_NAMING}(?:(?P<boxed>\(\s*[A-Z]\s*\)|\[\s*[A-Z]\s*\])[.:,]?|(?P<marked>[A-Z])\s*(?:[).:、]|\s[-–—](?=\s))"
    r"|(?P<naked>[A-Z])(?![A-Za-z0-9]|')\]?)\s*(?P<text>.*)",
    re.I,
)
_IS_RIGHT = re.compile(
    r"(?:is|was|must be|should be|would be)\s+(?:(?:the|a|my|our)\s+)?"
    r"(?:(?:correct|right|best|true|final)\s*)*(?:answer|option|choice|one)?"
    r"|(?:选项|项)?\s*(?:是)?(?:正确|对)的?(?:选项|答案)?|选项|项|正确",
    re.I,
)
_REASON = re.compile(r",?\s*(?:because|since|as|so|for)\s+.*", re.I)
_BECAUSE = re.compile(r"(?:because|since)\s+\S.*", re.I)
_ENDS_WITH_LETTER = re.compile(r"(?P<text>.+?)[\s,]*(?:\((?:option\s+|choice\s+)?([A-Z])\)|\[([A-Z])\])", re.I)
_ANOTHER_LETTER = re.compile(r"(?:and\b|or\b|[&,/+]|和|或)|\(?[A-H](?![^\W_])", re.I)
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|finally|clearly|well|then),?\s+)?(?:(?:i|we)\s+(?:think|believe)\s+(?:that\s+)?)?"
    r"(?:(?:it|this|that|he|she|they|there|these|those|which)"
    r"(?:\s+(?:is|are|was|were|must be|should be|would be)|'s|'re)"
    r"|(?:we|i)\s+(?:get|have|got|obtain|find)|(?:the\s+)?(?:answer|result|solution)\s+is)\s*:?\s+",
    re.I,
)
_LAST_LETTER_WITHOUT_OPTIONS = 7  # H


def options_of(prompt: str) -> list[str] | None:
    """Return the texts of a prompt's options, in order; None without at least A and B.

    Options are lines `A) …`, `(A) …`, `[A] …`, `A. …`, `a. …`, `A: …`, `A、…`, also behind a dash or in bold, of
    one style and with nothing but blank lines between them. If there are several such blocks, the last one counts.
    Without any, they may stand in one line: `(A) 12 (B) 15`.
    """
    found: list[str] | None = None
    block: list[str] = []
    style, first = 0, "A"
    for line in prompt.splitlines():
        if not line.strip():
            continue
        matches = [(i, match) for i, known in enumerate(_LINE_STYLES) if (match := known.fullmatch(line))]
        following = [m for i, m in matches if block and i == style and m["letter"] == chr(ord(first) + len(block))]
        opening = [(i, m) for i, m in matches if m["letter"] in "Aa"]
        if following:
            block.append(following[0]["text"].strip())
        elif opening:
            style, first = opening[0][0], opening[0][1]["letter"]
            block = [opening[0][1]["text"].strip()]
        else:
            block = []
        if len(block) >= 2:
            found = list(block)
    return found if found is not None else _inline_options(prompt)


def _inline_options(prompt: str) -> list[str] | None:
    for line in reversed(prompt.splitlines()):
        for style, least in _INLINE_STYLES:
            marks = list(_run(style.finditer(line)))
            if len(marks) >= least:
                ends = [mark.start() for mark in marks[1:]] + [len(line)]
                texts = [line[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
                return [text.strip().rstrip(",;").strip() for text in texts]
    return None


def _run(marks: Iterator[re.Match[str]]) -> list[re.Match[str]]:
    """Return the last run of marks A, B, C, …"""
    run: list[re.Match[str]] = []
    for mark in marks:
        if run and mark["letter"] == chr(ord(run[0]["letter"]) + len(run)):
            run.append(mark)
        elif mark["letter"] in "Aa":
            run = [mark]
    return run


def gold_letter(cleaned: str, num_options: int) -> int | None:
    """Return the index of the option if the gold answer is nothing but a letter (`B`, `(B)`, `b.`), else None."""
    match = _PURE_LETTER.fullmatch(cleaned)
    return _index(match[1] or match[2] or match[3], num_options) if match else None


def is_letter(answer: str) -> bool:
    """True if an answer, as it is written, is nothing but the letter of an option."""
    return gold_letter(clean(answer), 0) is not None


def split_letter(cleaned: str, num_options: int) -> tuple[int, str] | None:
    """Parse the ways to name a letter: (index, "") of `B`, `B is correct`, `选B`; (index, "text") of `B) text`.

    `A dog`, `A and B`, `A or C`, `not B`: None.
    """
    match = _LETTER_FIRST.fullmatch(cleaned)
    if match is None:
        return None
    text = match["text"]
    if text and (
        _IS_RIGHT.fullmatch(text) or _BECAUSE.fullmatch(text) or (not match["naked"] and _REASON.fullmatch(text))
    ):
        text = ""
    bracketed = re.fullmatch(r"\((.*)\)", text) if match["naked"] else None
    if bracketed:
        text = bracketed[1].strip()
    elif match["naked"] and text.startswith((",", "-", "–", "—")) and _REASON.fullmatch(text.lstrip(",-–— ")):
        text = ""
    elif match["naked"] and text.startswith(", ") and num_options:
        text = text[2:].strip()
    elif text and match["naked"]:
        return None
    if text and not num_options and _ANOTHER_LETTER.match(text):
        return None
    letter = match["boxed"] or match["marked"] or match["naked"]
    index = _index(letter.strip("()[] "), num_options)
    return None if index is None else (index, text)


def ends_with_letter(cleaned: str, num_options: int) -> tuple[int, str] | None:
    """Parse `15 m (B)` as (1, "15 m")."""
    match = _ENDS_WITH_LETTER.fullmatch(cleaned)
    if match is None or not num_options:
        return None
    index = _index(match[2] or match[3], num_options)
    return None if index is None else (index, match["text"].strip())


def without_lead(cleaned: str) -> str:
    """Return the text after `It is`, `We get` and their like; the same text if it has no such beginning."""
    match = _LEAD.match(cleaned)
    return cleaned[match.end() :] if match else cleaned


def exactly(cleaned: str, options: Sequence[str]) -> set[int]:
    """Return the indices of the options whose text a text is."""
    key = text_key(cleaned)
    return {i for i, option in enumerate(options) if (text := clean(option)) and text_key(text) == key}


def matching(cleaned: str, options: Sequence[str], same_value: Callable[[str, str], bool]) -> set[int]:
    """Return the indices of the options that a text names: those with equal text, else the only one of equal value."""
    exact = exactly(cleaned, options)
    if exact:
        return exact
    equal = {i for i, option in enumerate(map(clean, options)) if option and same_value(cleaned, option)}
    return equal if len(equal) == 1 else set()


def _index(letter: str, num_options: int) -> int | None:
    index = ord(letter.upper()) - 65
    return index if 0 <= index <= (num_options - 1 if num_options else _LAST_LETTER_WITHOUT_OPTIONS) else None
