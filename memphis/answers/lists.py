r"""Compare answers of several parts: lists, named values, sets, durations, inequalities. Works on cleaned text."""

import re

from memphis.answers.clean import text_key
from memphis.answers.quantities import Quantity, known_unit, quantity, same_quantity

_AND = re.compile(r"\s*(?:;|、|,?\s+and\s+|\s+&\s+|和)\s*", re.I)
_COMMA_SPACE = re.compile(r",\s+")
_NAMED = re.compile(r"([^\W\d_](?:_\{?\w+\}?)?|[^\W\d_]{2,20})\s*[=:]\s*([^=:]+)")
_PART = re.compile(r"(-?[0-9][0-9.,/]*|[a-z-]+)\s*([^\W\d_]+\.?)", re.I)
_BETWEEN_PARTS = re.compile(r"\s*,?\s*(?:\band\b|和)?\s*", re.I)
_SIDES = re.compile(r"([^<>≤≥≠]+)([<>≤≥≠])([^<>≤≥≠]+)")
_TURNED = str.maketrans("<>≤≥≠", "><≥≤≠")
_RANGE = re.compile(r"(?:from\s+)?([0-9][0-9.,]*)\s*(?:-|–|—|to|~)\s*([0-9].*)", re.I)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = (  # no other word: 20 marbles
    r"(?P<month>jan(?=uary|\b)|feb(?=ruary|\b)|mar(?=ch|\b)|apr(?=il|\b)|may(?=\b)|jun(?=e|\b)|jul(?=y|\b)|aug(?=ust|\b)"
    r"|sep(?=t|\b)|oct(?=ober|\b)|nov(?=ember|\b)|dec(?=ember|\b))"
    r"(?:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)?\b\.?"
)
_DATES = [
    re.compile(pattern, re.I)
    for pattern in (
        rf"(?:the\s+)?(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>[0-9]{{4}}))?",
        rf"{_MONTH}\s+(?:the\s+)?(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>[0-9]{{4}}))?",
    )
]
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_BRACKETED = (("(", ")"), ("[", "]"))


def same_list(prediction: str, gold: str) -> bool | None:
    """Compare two lists in their order, values with names in any order; None if the gold answer is no list."""
    for left, right in _BRACKETED:
        if all(text.startswith(left) and text.endswith(right) for text in (prediction, gold)):
            prediction, gold = prediction[1:-1].strip(), gold[1:-1].strip()
    expected = None if quantity(gold) else _members(gold)
    if expected is None:
        return None
    found = _members(prediction)
    if found is None or len(found) != len(expected):
        return False
    names, values = _named(expected)
    other_names, others = _named(found)
    if names and other_names:
        if sorted(names) != sorted(other_names) or len(set(names)) < len(names):
            return False
        others = [others[other_names.index(name)] for name in names]
    elif names or other_names:
        return False
    return all(_same_member(a, b) for a, b in zip(others, values, strict=True))


def same_set(prediction: str, gold: str) -> bool | None:
    r"""Compare flat sets `\{1, 2\}`; None if the gold answer is none."""
    members = _set_members(gold)
    return None if members is None else _set_members(prediction) == members


def same_duration(prediction: str, gold: str) -> bool | None:
    """Compare amounts of several units: `2 hours and 30 minutes`, `2h 30min`; None if the gold answer is none."""
    expected = _parts(gold)
    if expected is None:
        return None
    found = _parts(prediction)
    return found is not None and [(q.value, q.unit) for q in found] == [(q.value, q.unit) for q in expected]


def same_relation(prediction: str, gold: str) -> bool | None:
    """Compare `x > 2` with `2 < x`; None if the gold answer is no single relation."""
    match, other = _SIDES.fullmatch(gold), _SIDES.fullmatch(prediction)
    if match is None:
        return None
    if other is None:
        return False
    sides = [text_key(side.strip()) for side in (match[1], match[3], other[1], other[3])]
    straight = other[2] == match[2] and sides[:2] == sides[2:]
    return straight or (other[2].translate(_TURNED) == match[2] and sides[:2] == sides[:1:-1])


def same_range(prediction: str, gold: str) -> bool | None:
    """Compare `5 to 24 apples` with `5-24`; None if the gold answer is no range."""
    expected, found = _RANGE.fullmatch(gold), _RANGE.fullmatch(prediction)
    if expected is None or not gold[-1].isalnum():
        return None
    return found is not None and all(_same_member(found[i].strip(), expected[i].strip()) for i in (1, 2))


def same_date(prediction: str, gold: str) -> bool | None:
    """Compare `11 March 1991` with `March 11th, 1991` and `1991-03-11`; None if the gold answer is no date."""
    expected = _date(gold)
    return None if expected is None else _date(prediction) == expected


def _date(text: str) -> tuple[int | None, int, int] | None:
    if match := _ISO_DATE.fullmatch(text):
        return int(match[1]), int(match[2]), int(match[3])
    for written in _DATES:
        if match := written.fullmatch(text):
            year = int(match["year"]) if match["year"] else None
            return year, _MONTHS.index(match["month"].lower()) + 1, int(match["day"])
    return None


def _members(text: str) -> list[str] | None:
    parts = [part for whole in _AND.split(text) for part in _COMMA_SPACE.split(whole)]
    if len(parts) == 1:
        parts = text.split(",")
    parts = [part.strip() for part in parts]
    return (
        parts if len(parts) > 1 and all(parts) and not any("(" in p or ")" in p or "{," in p for p in parts) else None
    )


def _named(members: list[str]) -> tuple[list[str], list[str]]:
    """Return the names and values of `a = 1, b = 2`; no names if not every member has one."""
    matches = [_NAMED.fullmatch(member) for member in members]
    found = [match for match in matches if match]
    if len(found) < len(members):
        return [], members
    return [match[1].lower() if len(match[1]) > 1 else match[1] for match in found], [
        match[2].strip() for match in found
    ]


def _same_member(a: str, b: str) -> bool:
    if text_key(a) == text_key(b):
        return True
    first, second = quantity(a), quantity(b)
    return first is not None and second is not None and same_quantity(first, second)


def _set_members(cleaned: str) -> list[str] | None:
    inside = cleaned[2:-2]
    if not (cleaned.startswith("\\{") and cleaned.endswith("\\}")) or any(bracket in inside for bracket in "([{"):
        return None
    return sorted(text_key(member.strip()) for member in inside.split(","))


def _parts(cleaned: str) -> list[Quantity] | None:
    parts: list[Quantity] = []
    at = 0
    while at < len(cleaned):
        match = _PART.match(cleaned, at)
        part = quantity(match[0]) if match and known_unit(match[2]) else None
        if match is None or part is None:
            return None
        parts.append(part)
        between = _BETWEEN_PARTS.match(cleaned, match.end())
        at = between.end() if between else match.end()
    return parts if len(parts) > 1 else None
