r"""Parse and compare numbers with their currency, percent sign and unit, as exact rationals.

Works on cleaned text. A text that is not a quantity gives None: there is no guessing and no float.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_INT = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DEC = rf"(?:{_INT}(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = (
    rf"(?:(?:(?P<frac_whole>{_INT})\s*)?\\frac\{{\s*(?P<frac_top>-?\s*{_DEC})\s*\}}\{{\s*(?P<frac_low>{_DEC})\s*\}}"
    rf"|(?:(?P<whole>{_INT})\s+)?(?P<top>{_DEC})\s*/\s*(?P<low>{_DEC})"
    rf"|(?P<mantissa>{_DEC})\s*[×·*x]\s*10\s*\^\{{\s*(?P<power>[-+]?[0-9]{{1,3}})\s*\}}"
    rf"|10\s*\^\{{\s*(?P<pure_power>[-+]?[0-9]{{1,3}})\s*\}}"
    rf"|(?P<e_mantissa>{_DEC})e(?P<e_power>[-+]?[0-9]{{1,3}})(?![0-9])"
    rf"|(?P<spaced>[0-9]{{1,3}}(?: [0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?)(?!\s*/)"
    rf"|(?P<plain>{_DEC}))"
)
_MONEY_BEFORE = r"(?:(?P<money>us\$|\$|£|€|¥|₹|rs\.?|inr|usd)\s*)?"
_QUANTITY = re.compile(rf"(?P<sign>[-+]?)\s*{_MONEY_BEFORE}(?P<inner_sign>[-+]?)\s*{_NUMBER}", re.I | re.A)
_AFTER = re.compile(
    r"(?:(?:st|nd|rd|th)\b)?\s*(?:(?P<scale>hundred|thousand|million|billion|trillion)s?\b)?\s*"
    r"(?P<percent>%|percent\b|per cent\b)?\s*"
    r"(?P<money>\$|£|€|¥|¢|dollars?\b|usd\b|cents?\b|euros?\b|rupees?\b|yuan\b|pence\b)?",
    re.I | re.A,  # without A, a dotless ı would match i
)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MONEY = {
    "us$": "dollar", "$": "dollar", "usd": "dollar", "dollar": "dollar", "cent": "cent", "¢": "cent",
    "£": "pound", "€": "euro", "euro": "euro", "¥": "yuan", "yuan": "yuan",
    "₹": "rupee", "rs": "rupee", "inr": "rupee", "rupee": "rupee", "pence": "pence",
}  # fmt: skip
_KNOWN_UNITS = {
    spelling: unit
    for unit, spellings in {
        "m": "m metre meter", "cm": "cm centimetre centimeter", "mm": "mm millimetre millimeter",
        "km": "km kilometre kilometer", "mile": "mi mile", "yd": "yd yard", "ft": "ft foot feet", "inch": "in inch",
        "g": "g gm gram", "kg": "kg kilo kilogram", "mg": "mg milligram", "pound": "lb lbs pound", "oz": "oz ounce",
        "ton": "ton tonne", "l": "l litre liter", "ml": "ml millilitre milliliter", "gallon": "gal gallon",
        "s": "s sec second", "min": "min minute", "h": "h hr hour", "day": "day", "week": "week wk",
        "month": "month", "year": "yr year", "degree": "° degree deg", "celsius": "°c celsius",
        "fahrenheit": "°f fahrenheit", "mile/h": "mph", "km/h": "kmh kmph kph", "m/s": "mps",
    }.items()
    for spelling in spellings.split()
}  # fmt: skip
_LENGTHS = frozenset(("m", "cm", "mm", "km", "mile", "ft", "inch", "yd"))
_NOT_UNIT = re.compile(r"and|but|cos|log|mod|nor|not|minus|plus|sin|sqrt|tan|than")
_UNIT_WORD = re.compile(r"(°?[^\W\d_]+(?:['-][^\W\d_]+)*|°)\.?(?:\^\{([23])\}|([23]))?\.?")
_PLURAL = re.compile(r"(?<=x|z)es$|(?<=ch|sh|ss)es$|(?<!s)s$")
_SQUARE = re.compile(r"\b(sq(?:uare)?\.?|cubic|cu\.)\s+(\S+)")
_PER = re.compile(r"\s*(?:/|\b(?:per|an?)\b)\s*")

_ONES = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_WORD_VALUES = {word: value for value, word in enumerate(f"zero|{_ONES}|{_TEENS}".split("|"))} | {
    word: 10 * value for value, word in enumerate(_TENS.split("|"), start=2)
}
_SMALL = rf"(?:(?:{_TENS})(?:[ -](?:{_ONES}))?|{_TEENS}|{_ONES})"
_HUNDREDS = rf"(?:(?:{_TEENS}|{_ONES}) hundred(?: (?:and )?{_SMALL})?|{_SMALL})"
_WORD_NUMBER = re.compile(
    rf"(?:{_HUNDREDS} million(?:,? (?:and )?{_HUNDREDS} thousand)?(?:,? (?:and )?{_HUNDREDS})?"
    rf"|{_HUNDREDS} thousand(?:,? (?:and )?{_HUNDREDS})?|{_HUNDREDS}|zero)(?![\w-])"
)

_ASSIGNMENT = re.compile(r"([^\W\d_]|\\[A-Za-z]+)\s*(?:_\{\w+\})?\s*=\s*([^=]+)")
_NAME = re.compile(r"(?:[^\W\d_]|\\[A-Za-z]+)\s*(?:_\{\w+\})?|[A-Za-z]{3,}(?: [A-Za-z]{3,}){0,3}")
_ARITHMETIC = re.compile(r"(?=[^0-9]*[0-9])(?:[0-9\s.,+\-*/×÷·()%$£€^{}]|\\frac)+")
_MULTIPLICATION_X = re.compile(r"(?<=[0-9)%}])\s*x\s*(?=[0-9($])")
_RELATION = re.compile(r"[<>≤≥≠≈!]|==")
_DOUBT = re.compile(r"\b(?:or|between|not|nor|neither|cos|ln|log|mod|pi|sin|sqrt|tan)\b|n't\b", re.I)
_IN_TEXT = re.compile(rf"(?<![\w.,/\\-])[-+]?\s?{_MONEY_BEFORE}(?:-\s?)?{_NUMBER}", re.I)
_WORD_TAIL = re.compile(r"\s*(?:%|percent\b|per cent\b)|[^\W_]+|°")
_FORMULA = re.compile(r"[0-9+*/^\\_{}|×÷·±√π∞]")
_VARIABLE = re.compile(r"\s?(?![aAI]\b)([^\W\d_])(?![\w'])")


@dataclass(frozen=True, slots=True)
class Quantity:
    """Exact value with its percent sign, currency and unit."""

    value: Fraction
    decimals: int | None = None  # digits after the point; None for fractions, powers, words, scaled numbers
    percent: bool = False
    money: str = ""  # canonical name of the currency
    unit: str = ""  # canonical unit phrase

    @property
    def bare(self) -> bool:
        return not (self.percent or self.money or self.unit)


@lru_cache(maxsize=1 << 16)
def quantity(cleaned: str) -> Quantity | None:
    """Parse the entire text as a quantity (`-$1,200`, `3 1/2 hours`, `12 million`, `25%`); None if it is not one."""
    match = _QUANTITY.match(cleaned)
    words = None if match else _WORD_NUMBER.match(cleaned.lower())
    number = _number(match) if match else (_words_value(words[0]), None) if words else None
    if number is None:
        return None
    value, decimals = number
    money, end = "", words.end() if words else 0
    if match:
        signs, end = match["sign"] + match["inner_sign"], match.end()
        if len(signs) > 1:
            return None
        value = -value if signs == "-" else value
        money = _MONEY[match["money"].lower().rstrip(".")] if match["money"] else ""
    after = _AFTER.match(cleaned, end)
    assert after is not None  # every part of it is optional
    if after["scale"]:
        value, decimals = value * _SCALES[after["scale"].lower()], None
    if after["money"]:
        if money:
            return None
        money = _MONEY[after["money"].lower().removesuffix("s")]
    tail = cleaned[after.end() :]
    unit = _unit(tail.strip(), adjoined=after.end() == end and not tail.startswith(" "))
    if unit is None:
        return None
    return Quantity(value, decimals, bool(after["percent"]), money, unit)


def same_quantity(a: Quantity, b: Quantity) -> bool:
    """True for exactly equal values with compatible units. Symmetric; no tolerance, but see _rounded()."""
    if _contradict(a, b):
        return False
    if a.value == b.value:
        return True
    if a.percent != b.percent:
        return (a.value / 100 if a.percent else a.value) == (b.value / 100 if b.percent else b.value)
    return _rounded(a, b) or _rounded(b, a)


def assignment(cleaned: str) -> tuple[str, str]:
    """Split `x = 5` into ("x", "5"); return any other text as ("", text)."""
    match = _ASSIGNMENT.fullmatch(cleaned)
    return (match[1], match[2].strip()) if match else ("", cleaned)


@lru_cache(maxsize=1 << 16)
def quantity_in_text(cleaned: str) -> Quantity | None:
    """Return the one quantity that a sentence or a calculation arrives at, or None if there is doubt.

    With `=`: the right side of the last one, if everything to its left is arithmetic or a name. Otherwise the only
    number of the text; several numbers, a formula, "or", "between" or a negation leave doubt.
    """
    if _RELATION.search(cleaned) or not cleaned.isprintable():
        return None
    if "=" in cleaned:
        *left, right = cleaned.split("=")
        return quantity(right.strip()) if all(_pure(side.strip()) for side in left) else None
    if _DOUBT.search(cleaned):
        return None
    match = _IN_TEXT.search(cleaned)
    if match is None:
        return None
    tail = _WORD_TAIL.match(cleaned, match.end())
    end = tail.end() if tail else match.end()
    variable = _VARIABLE.match(cleaned, match.end())
    if variable and variable[1] not in _KNOWN_UNITS:
        return None
    if _FORMULA.search(cleaned[: match.start()] + " " + cleaned[end:]):
        return None
    return quantity(cleaned[match.start() : end].strip())


def _number(match: re.Match[str]) -> tuple[Fraction, int | None] | None:
    if match["frac_top"]:
        return _fraction(match["frac_whole"], match["frac_top"], match["frac_low"])
    if match["top"]:
        return _fraction(match["whole"], match["top"], match["low"])
    if match["mantissa"]:
        mantissa = _decimal(match["mantissa"])
        # 35 x 10^10 is a product, not a number in scientific notation: two options of one real question differ in that.
        return (mantissa * Fraction(10) ** int(match["power"]), None) if 1 <= mantissa < 10 else None
    if match["pure_power"]:
        return Fraction(10) ** int(match["pure_power"]), None
    if match["e_mantissa"]:
        return _decimal(match["e_mantissa"]) * Fraction(10) ** int(match["e_power"]), None
    written = match["spaced"] or match["plain"]
    return _decimal(written), len(written.partition(".")[2])


def _fraction(whole: str | None, top: str, low: str) -> tuple[Fraction, None] | None:
    above, below = _decimal(top), _decimal(low)
    if below == 0 or (whole and not 0 <= above < below):
        return None
    return (_decimal(whole) if whole else 0) + above / below, None


def _decimal(written: str) -> Fraction:
    return Fraction("0" + digits if (digits := re.sub("[, ]", "", written)).startswith(".") else digits.rstrip("."))


def _words_value(text: str) -> Fraction:
    total = group = 0
    for word in re.split(r"[ ,-]+", text):
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total, group = total + group * _SCALES[word], 0
        elif word != "and":
            group += _WORD_VALUES[word]
    return Fraction(total + group)


def _rounded(decimal: Quantity, exact: Quantity) -> bool:
    """True for 0.666667 and 2/3: six or more decimals, correctly rounded, of a value without a finite decimal form."""
    if decimal.decimals is None or decimal.decimals < 6 or decimal.percent != exact.percent:
        return False
    rest = exact.value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest != 1 and 2 * abs(decimal.value - exact.value) * 10**decimal.decimals <= 1


def _unit(text: str, adjoined: bool) -> str | None:
    """Return the canonical unit phrase, "" if there is none, None for other text. `adjoined`: no space before it."""
    if not text:
        return ""
    if len(text) == 1 and text.isupper() and text != "L":  # a point, a set or a variable
        return None
    text = _SQUARE.sub(lambda m: m[2] + ("2" if m[1].startswith("sq") else "3"), text.lower())
    parts = _PER.split(text)
    if len(parts) > 2 or sum(len(part.split()) for part in parts) > len(parts) + 1:
        return None
    named = [[_unit_word(word, adjoined) for word in part.split()] for part in parts]
    if any(word is None for part in named for word in part) or not named[-1]:
        return None
    return "/".join(" ".join(word for word in part if word) for part in named)


def _unit_word(word: str, adjoined: bool) -> str | None:
    match = _UNIT_WORD.fullmatch(word)
    if match is None:
        return None
    name, power = match[1], match[2] or match[3] or ""
    known = _KNOWN_UNITS.get(name) or (_KNOWN_UNITS.get(name.removesuffix("s")) if len(name) > 2 else None)
    if known:
        return known + power if not power or known in _LENGTHS else None
    if power or adjoined or len(name) < 3 or _NOT_UNIT.fullmatch(name):
        return None
    return _PLURAL.sub("", name) if not name.endswith("ies") else name[:-3] + "y"


def _contradict(a: Quantity, b: Quantity) -> bool:
    """True if both name a unit or currency, and different ones: $10 and 10 cents, 2 hours and 2 minutes, $3 and 3 %."""
    if a.bare or b.bare:
        return False
    if a.money and b.money and a.money != b.money:
        return True
    if a.unit and b.unit:
        return not _same_unit(a.unit, b.unit)
    named = {a.money, a.unit} & {b.money, b.unit} - {""}
    return not named and not (a.percent and b.percent)


def _same_unit(a: str, b: str) -> bool:
    if a == b or "/" in a or "/" in b:
        return a == b
    first, second = set(a.split()), set(b.split())
    return first <= second or second <= first  # "years" and "years old"


def _pure(side: str) -> bool:
    return bool(_NAME.fullmatch(side) or _ARITHMETIC.fullmatch(_MULTIPLICATION_X.sub("*", side)))
