r"""Read the number at the beginning of a text, in digits or in words, as an exact rational.

Digits with their fractions and powers (`1,234.5`, `2 1/2`, `\frac{3}{-4}`, `1.5e-3`, `0.(3)`, which clean() makes of a
repeating decimal), English words (`twenty-one`, `two and a half`, `three quarters`) and Chinese ones. Works on cleaned
text.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_INT = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DEC = rf"(?:{_INT}(?:\.[0-9]*)?|\.[0-9]+)"
_SIGNED = rf"-?\s*{_DEC}"
_AND = r"\s+(?:(?:and|&)\s+)?"
DIGITS = re.compile(
    rf"(?:(?P<frac_whole>{_INT})(?:\s*|\s+and\s+)?)?"
    rf"\\frac\{{\s*(?P<frac_top>{_SIGNED})\s*\}}\{{\s*(?P<frac_low>{_SIGNED})\s*\}}"
    rf"|(?:(?P<whole>{_INT}){_AND})?(?P<top>{_DEC})\s*/\s*(?P<low>-?{_DEC})(?!\s*/)"
    rf"|(?P<mantissa>{_DEC})\s*[×·*x]\s*10\s*\^\{{\s*(?P<power>[-+]?[0-9]{{1,3}})\s*\}}"
    rf"|10\s*\^\{{\s*(?P<pure_power>[-+]?[0-9]{{1,3}})\s*\}}"
    rf"|(?P<e_mantissa>{_DEC})e(?P<e_power>[-+]?[0-9]{{1,3}})(?![0-9])"
    rf"|(?P<head>{_INT})\.(?P<fixed>[0-9]*)\((?P<period>[0-9]+)\)"
    rf"|(?P<european>[0-9]{{1,3}}(?:\.[0-9]{{3}})+,[0-9]+)(?![0-9.,])"
    rf"|(?P<spaced>[0-9]{{1,3}}(?: [0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?)(?!\s*/)"
    rf"|(?P<plain>{_DEC})",
    re.I | re.A,
)

_ONES = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_VALUES = {word: value for value, word in enumerate(f"zero|{_ONES}|{_TEENS}".split("|"))} | {
    word: 10 * value for value, word in enumerate(_TENS.split("|"), start=2)
}
_THOUSANDS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SMALL = rf"(?:(?:{_TENS})(?:[ -](?:{_ONES}))?|{_TEENS}|{_ONES})"
_GROUP = (
    rf"(?:(?:(?:{_TEENS}|{_ONES}|a)[ -]hundred(?:(?: and|-and)?[ -]{_SMALL})?)|a(?= (?:{'|'.join(_THOUSANDS)}))"
    rf"|{_SMALL}|zero)"
)
_SCALED = rf"{_GROUP}(?:[ -](?:{'|'.join(_THOUSANDS)}))?"
_POINT = re.compile(rf"(?:(?P<head>{_SCALED}) )?point(?P<tail>(?: (?:zero|oh|{_ONES}))+)\b", re.A)
_DENOMINATORS = {
    **dict.fromkeys(("half", "halves"), 2), **dict.fromkeys(("quarter", "quarters"), 4),
    **{
        word + plural: value
        for value, word in enumerate(
            ["third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"], start=3
        )
        for plural in ("", "s")
    },
    **{
        word + plural: value
        for word, value in (("fifteenth", 15), ("sixteenth", 16),
                            ("twentieth", 20), ("thirtieth", 30), ("hundredth", 10**2),
                            ("thousandth", 10**3))
        for plural in ("", "s")
    },
}  # fmt: skip
_DENOMINATORS |= {  # twenty-fifths
    f"{tens}-{word}": 10 * number + low
    for number, tens in enumerate(_TENS.split("|"), start=2)
    for word, low in [*_DENOMINATORS.items(), ("first", 1), ("firsts", 1), ("second", 2), ("seconds", 2)]
    if low < 10 and word[:4] not in ("half", "halv", "quar")
}
_LOW = "|".join(sorted(_DENOMINATORS, key=len, reverse=True))
_DENOMINATOR = re.compile(rf"[ -](?P<low>{_LOW})\b")
_AND_PART = re.compile(rf" (?:and|&) (?P<top>an?|[0-9]{{1,3}}|{_SMALL})[ -](?P<low>{_LOW})\b")
_CARDINAL = re.compile(rf"{_SCALED}(?:,? (?:and )?{_SCALED}(?![ -](?:{_LOW})\b))*(?!\w)", re.A)
_LONE_PART = re.compile(r"(?:an? )?(?P<low>half|quarter|third|fourth|fifth|tenth)\b")
_OF_ONE = re.compile(r"(?: of)? an?(?= [^\W\d_])")  # `half an hour`, `a quarter of a mile`, `half a dozen`
_ALONE = re.compile(r"an? (?=dozen\b|lakh\b|crore\b)")

_CHINESE_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_CHINESE = re.compile("[零〇一二两三四五六七八九十百千万亿]+")
_CHINESE_PART = re.compile(f"({_CHINESE.pattern})分之({_CHINESE.pattern})")


@dataclass(frozen=True, slots=True)
class Number:
    """Value without a sign. decimals: digits after the point; None for fractions, powers, words. end: where it ends.

    mantissa: the factor of a power of ten; None for other numbers.
    """

    value: Fraction
    decimals: int | None
    end: int
    mantissa: Fraction | None = None


def number_at(text: str, start: int = 0) -> Number | None:
    """Read the number that begins at `start`; None if there is none, or if what stands there is no legal one."""
    match = DIGITS.match(text, start)
    if match:
        read = _digits(match)
        found = (
            None
            if read is None
            else Number(*read, match.end(), _decimal(match["mantissa"]) if match["mantissa"] else None)
        )
    else:
        found = _words(text.lower(), start)
    return found and _with_part(found, text.lower())


def _digits(match: re.Match[str]) -> tuple[Fraction, int | None] | None:
    if match["frac_top"]:
        return _fraction(match["frac_whole"], match["frac_top"], match["frac_low"])
    if match["top"]:
        return _fraction(match["whole"], match["top"], match["low"])
    if match["mantissa"]:
        return _decimal(match["mantissa"]) * Fraction(10) ** int(match["power"]), None
    if match["pure_power"]:
        return Fraction(10) ** int(match["pure_power"]), None
    if match["e_mantissa"]:
        return _decimal(match["e_mantissa"]) * Fraction(10) ** int(match["e_power"]), None
    if match["period"]:
        fixed, period = match["fixed"], match["period"]
        repeated = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
        return _decimal(f"{match['head']}.{fixed}") + repeated, None
    if match["european"]:
        whole, _, rest = match["european"].partition(",")
        return _decimal(f"{whole.replace('.', '')}.{rest}"), len(rest)
    written = match["spaced"] or match["plain"]
    return _decimal(written), len(written.partition(".")[2])


def _fraction(whole: str | None, top: str, low: str) -> tuple[Fraction, None] | None:
    above, below = _decimal(top), _decimal(low)
    if below == 0 or (whole and not 0 <= above < below):
        return None
    return (_decimal(whole) if whole else 0) + above / below, None


def _decimal(written: str) -> Fraction:
    sign, digits = (-1, written[1:]) if written.startswith("-") else (1, written)
    digits = re.sub("[, ]", "", digits)
    return sign * Fraction("0" + digits if digits.startswith(".") else digits.rstrip("."))


def _words(lowered: str, start: int) -> Number | None:
    if not lowered.isascii() and (part := _CHINESE_PART.match(lowered, start)):
        low, top = _chinese(part[1]), _chinese(part[2])
        return Number(Fraction(top, low), None, part.end()) if low else None
    if not lowered.isascii() and (chinese := _CHINESE.match(lowered, start)):
        return Number(Fraction(_chinese(chinese[0])), None, chinese.end())
    if point := _POINT.match(lowered, start):
        digits = "".join(str(_VALUES.get(word, 0)) for word in point["tail"].split())
        head = _cardinal(point["head"]) if point["head"] else 0
        return None if head is None else Number(head + Fraction(f"0.{digits}"), len(digits), point.end())
    if part := _LONE_PART.match(lowered, start):
        return Number(Fraction(1, _DENOMINATORS[part["low"]]), None, _after_of_one(lowered, part.end()))
    if alone := _ALONE.match(lowered, start):
        return Number(Fraction(1), None, alone.end() - 1)
    match = _CARDINAL.match(lowered, start)
    value = _cardinal(match[0]) if match else None
    return None if match is None or value is None else Number(value, None, match.end())


def _with_part(found: Number, lowered: str) -> Number:
    """Add a fraction in words: `2 and a half`, and `3 quarters`, which is no 3."""
    if part := _AND_PART.match(lowered, found.end):
        top = int(part["top"]) if part["top"].isdigit() else int(_cardinal(part["top"]) or 1)
        low = _DENOMINATORS[part["low"]]
        if found.value.denominator == 1 and top < low:
            return Number(found.value + Fraction(top, low), None, part.end())
    part = _DENOMINATOR.match(lowered, found.end)
    # `20 fifth graders`: more than one of a part is in the plural.
    if part and (part["low"].endswith("s") != (found.value == 1)):
        return Number(found.value / _DENOMINATORS[part["low"]], None, _after_of_one(lowered, part.end()))
    return found


def _after_of_one(lowered: str, end: int) -> int:
    match = _OF_ONE.match(lowered, end)
    return match.end() if match else end


def _cardinal(text: str) -> Fraction | None:
    """Add up the words of a number; None if its groups do not get smaller: `one two`."""
    total = group = 0
    limit: int | None = None  # scale of the last group; None before the first
    for word in re.split(r"[ ,-]+", text):
        if word == "hundred":
            group = (group or 1) * 100
        elif word in _THOUSANDS:
            if limit is not None and _THOUSANDS[word] >= limit:
                return None
            limit = _THOUSANDS[word]
            total, group = total + (group or 1) * limit, 0
        elif word not in ("and", "a"):
            value = _VALUES[word]
            # Only a smaller number may follow: twenty-one, hundred and five; not one two, ten five.
            if group and (
                value == 0 or not (group % 100 == 0 or (group % 10 == 0 and group % 100 >= 20 and value < 10))
            ):
                return None
            group += value
    return Fraction(total + group)


def _chinese(text: str) -> int:
    total = section = digit = 0
    if not any(sign in _CHINESE_UNITS for sign in text):
        return int("".join(str(_CHINESE_DIGITS[sign]) for sign in text))
    for sign in text:
        if sign in _CHINESE_DIGITS:
            digit = _CHINESE_DIGITS[sign]
        elif _CHINESE_UNITS[sign] >= 10**4:
            total, section, digit = (total + section + digit) * _CHINESE_UNITS[sign], 0, 0
        else:
            section, digit = section + (digit or 1) * _CHINESE_UNITS[sign], 0
    return total + section + digit
