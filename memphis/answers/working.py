r"""Equations in the working of an answer: which of `12 + 8 = 20`, `60% of 50 = 30`, `5 \times 6 = 4` are false.

Strict on purpose about what is called false: sides are computed exactly, a written number may be rounded or truncated
to the digits it has, and whatever else a reader may have meant is not judged: variables, units that convert, ratios,
approximations, `100 - 20%`, a running `10 + 5 = 15 * 2 = 30`. Never raises for any text, executes nothing; time is
bounded by the length of the text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

MAX_CHARS, MAX_EQUATIONS = 20_000, 200  # of a text; the rest is not read
MAX_TOKENS = 64  # of one side
MAX_DIGITS, MAX_BITS, MAX_POWER = 30, 512, 64  # of a written number, a computed one, an exponent

Kind = Literal["number", "op", "open", "close", "frac", "money", "percent", "power", "word", "equals", "stop", "taint"]

_TOKEN = re.compile(
    r"""
    (?P<number>[0-9][0-9.,:]*|\.[0-9]+)
    |(?P<short_frac>\\[dt]?frac\s?(?P<top>[0-9])\s?(?P<low>[0-9])(?![0-9]))
    |(?P<frac>\\[dt]?frac(?![A-Za-z]))
    |(?P<label>\\(?:text|textbf|mathrm|mbox)\s?\{(?P<inner>[^{}\n]{0,80})\})
    |(?P<skip>\\(?:left|right|displaystyle|quad|boxed|[,;!: ])(?![A-Za-z])|[^\S\n]+|&)
    |(?P<times>\\(?:times|cdot|ast)(?![A-Za-z])|[×·∙⋅✕✖])
    |(?P<over>\\div(?![A-Za-z])|[÷∕])
    |(?P<percent>\\?%)
    |(?P<money>(?:US)?\\?\$\$?|[€£¥₹]|/-(?!\d))
    |(?P<equals>(?<![=<>!:≠])=(?![=>/]))
    |(?P<markup>\*\*(?![\d(])|(?<![\d)])\*\*|<<|`+)
    |(?P<dots>-{2,}|\.{2,}|\\[A-Za-z]+)
    |(?P<op>\*\*|[-+*/^−–])
    |(?P<super>[²³])
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*(?:\^\{?[23]\}?|[²³])?)
    |(?P<stop>>>|[\n,;:.?"“”'‘’—•→…，。；：？、！（）])
    |(?P<taint>.)
    """,
    re.X,
)
_WRITTEN = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+")
_CJK = re.compile("[\u4e00-\u9fff]")
_CJK_ARITHMETIC = re.compile("[的倍半加减乘除比约余分百千万亿]")

_WORD_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "multiplied": "*", "divided": "/"}
# Words that compute: in a unit, before an expression or after a result they change its value; that is not followed.
_COMPUTES = frozenset(
    re.findall(
        r"\S+",
        """
        zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty
        half halves third thirds quarter quarters fourth fourths fifth fifths tenth tenths unit units part parts
        hundred hundreds thousand thousands million millions billion trillion dozen dozens pair pairs score gross k mil
        bn plus minus times multiplied divided over by from to than less fewer twice thrice double triple quadruple
        negative squared cubed square root sqrt mod modulo log ln sin cos tan pi factorial choose remainder
        at am pm fahrenheit celsius percent per-cent
        """,
    )
)
_NOT_UNITS = frozenset(re.findall(r"\S+", "and or is are was were if so then because since which that equals"))
_ACTS = re.compile("add|subtract|multipl|divid|increas|decreas|tak|twice|half|doubl|tripl|reduc|remov|combin")
_APPROXIMATE = re.compile("round|approx|about|roughly|nearest|almost|nearly|estimat|around|ceil|floor|remain|whole")
_THE = {"the", "a", "an", "his", "her", "their", "those", "these", "all", "its", "your", "my"}

# Units that convert into others of their dimension, and the factors by which people convert without saying so.
_DIMENSIONS = {
    "time": "second sec minute min hour hr day week month year yr decade century",
    "length": "inch foot feet ft yard yd mile mi mm cm meter metre km kilometer kilometre centimeter millimeter",
    "mass": "ounce oz pound lb ton gram kg kilogram milligram mg",
    "volume": "cup pint quart gallon liter litre ml milliliter tablespoon teaspoon tbsp tsp",
    "money": "dollar cent penny pennie nickel dime quarter euro buck",
    "share": "percent",
}
_DIMENSION = {unit: dimension for dimension, units in _DIMENSIONS.items() for unit in units.split()}
_FACTORS = {
    "time": (4, 7, 12, 24, 30, 52, 60, 365, 1440, 3600),
    "length": (3, 10, 12, 36, 100, 1000, 1760, 5280, 100_000),
    "mass": (16, 1000, 2000),
    "volume": (2, 3, 4, 8, 16, 128, 1000),
    "money": (100,),
    "share": (100,),
}
_SHORT_UNITS = {"kg", "mg", "cm", "mm", "km", "ml", "lb", "oz", "ft", "in", "hr", "mi", "yd", "am", "pm", "mph"}


class _UnreadableError(Exception):
    """Raised inside this module alone: this is no arithmetic that is computed here."""


@dataclass(frozen=True, slots=True)
class Equation:
    """Equation found in a text: how it is written, and whether it holds; None: no reader can be sure."""

    text: str
    holds: bool | None


@dataclass(slots=True)
class _Token:
    kind: Kind
    text: str
    start: int
    end: int
    value: Fraction | None = None
    decimals: int = 0


@dataclass(slots=True)
class _Side:
    """One side of `=`, computed. first: its first operand. loose: it may have been meant in another way."""

    value: Fraction
    operators: int
    first: Fraction
    decimals: int | None  # digits after the point of a single written number; None for an expression
    loose: bool
    decimal: bool  # a number with a point is in it, perhaps a rounded one
    under_line: Fraction | None  # 100 / 9 * 5 with both below the line
    units: set[str]


def equations(text: str) -> list[Equation]:
    """Return the equations between numbers in a text, in their order; `x = 5` and `5 = 5` are none."""
    if "=" not in text:
        return []
    text = text[:MAX_CHARS]
    tokens = _tokens(text)
    found = []
    places = [index for index, token in enumerate(tokens) if token.kind == "equals"][:MAX_EQUATIONS]
    for place in places:
        judged = _judge(tokens, place)
        if judged is not None:
            start, end, holds = judged
            found.append(Equation(text[tokens[start].start : tokens[end - 1].end], holds))
    return found


@lru_cache(maxsize=1 << 16)
def wrong(text: str) -> bool | None:
    """True if a text has a false equation, False if all that can be judged hold, None if there is none of these."""
    verdicts = {equation.holds for equation in equations(text)} - {None}
    return False in verdicts if verdicts else None


def _judge(tokens: Sequence[_Token], place: int) -> tuple[int, int, bool | None] | None:
    """Return the first token, the end and the verdict of the equation around `tokens[place]`; None if there is none."""
    try:
        start, loose = _begin(tokens, place)
        parser = _Parser(tokens, start, place)
        left = parser.side()
        if parser.at != place:
            raise _UnreadableError
        parser = _Parser(tokens, place + 1, min(len(tokens), place + 1 + MAX_TOKENS))
        right = parser.side()
        if not left.operators and not right.operators:
            return None
        loose = loose or left.loose or right.loose or parser.parts or _goes_on(tokens, parser.at)
    except _UnreadableError:
        return None
    if not left.operators:  # so 5 friends = 250 / 5; LCM of 6 and 10 = 2 * 3 * 5
        loose = loose or bool(left.units) or (start > 0 and tokens[start - 1].kind == "word")
    loose = loose or left.under_line == right.value or right.under_line == left.value
    holds = _equal(left, right) or _other_sign(tokens, start, place, right)
    if holds or not (loose or _converts(left, right)):
        return start, parser.at, holds
    return start, parser.at, None


def _equal(left: _Side, right: _Side) -> bool:
    """True if the sides are equal, one is a number that is the other one rounded, or the right one goes on from it."""
    if left.value == right.value:
        return True
    for exact, number in ((left, right), (right, left)):
        if number.decimals is not None and _rounded(exact.value, number.value, number.decimals):
            return True
    if left.operators and right.operators:
        # 10 + 5 = 15 * 2 = 30: each step is right. Rounded operands between two expressions: no verdict would be sure.
        return left.value == right.first or _near(left, right)
    return False


def _near(left: _Side, right: _Side) -> bool:
    return (left.decimal or right.decimal) and 100 * abs(left.value - right.value) <= abs(left.value)


def _rounded(exact: Fraction, written: Fraction, decimals: int) -> bool:
    """True if `written` is the exact value rounded to that many digits after the point, or cut after them."""
    off = abs(exact - written) * 10**decimals
    return 2 * off <= 1 or (off < 1 and abs(written) < abs(exact) and written * exact >= 0)


def _other_sign(tokens: Sequence[_Token], start: int, place: int, right: _Side) -> bool:
    """True if the equation holds without a dash in front of it, which may be that of a list."""
    if not (tokens[start].kind == "op" and tokens[start].text == "-"):
        return False
    try:
        return _equal(_Parser(tokens, start + 1, place).side(), right)
    except _UnreadableError:
        return False


def _converts(left: _Side, right: _Side) -> bool:
    """True if the difference may come from units that convert: 3 hours + 20 minutes = 200, 5 * 20 = $1."""
    for dimension, factors in _FACTORS.items():
        sides = [{unit for unit in side.units if _DIMENSION.get(unit) == dimension} for side in (left, right)]
        if len(sides[0] | sides[1]) > 1:
            return True
        one = sides[0] != sides[1] or dimension == "share"
        if one and (sides[0] or sides[1]) and left.value and right.value:
            ratio = abs(left.value / right.value)
            if any(ratio in (factor, Fraction(1, factor)) for factor in factors):
                return True
            if dimension in ("money", "share") and any(
                _rounded(left.value * scale, right.value, right.decimals or 0)
                for scale in (Fraction(100), Fraction(1, 100))
            ):
                return True
    return False


def _begin(tokens: Sequence[_Token], place: int) -> tuple[int, bool]:
    """Return where the expression before `tokens[place]` begins, and whether what stands before it may belong to it."""
    at, depth = place, 0
    while at and place - at < MAX_TOKENS:
        token = tokens[at - 1]
        following = tokens[at] if at < place else None
        if token.kind in ("stop", "taint", "equals"):
            break
        if token.kind == "word":
            first = at - 1
            while first and tokens[first - 1].kind == "word" and at - first < 4:
                first -= 1
            ends = following is None or following.kind in ("op", "close")
            per = first and tokens[first - 1].text == "/"  # $5 / hour
            owner = tokens[first - 1] if first else None
            if not ends or owner is None or not (per or owner.kind in ("number", "percent", "close", "money")):
                break
            at = first
            continue
        if token.kind == "close":
            if following is not None and following.kind == "number" and following.start > token.end and not depth:
                break  # (1) 3 + 4
            depth += 1
        elif token.kind == "open":
            if not depth:
                break
            depth -= 1
        elif (
            token.kind == "number"
            and following is not None
            and following.kind == "number"
            and not _mixed(tokens, at - 1)
        ):
            break
        at -= 1
    if depth or at == place or place - at >= MAX_TOKENS:
        raise _UnreadableError
    return at, _led(tokens, at, place)


def _led(tokens: Sequence[_Token], start: int, place: int) -> bool:
    """True if what stands before `start` may change the value of the expression that begins there."""
    if not start:
        return False
    before = tokens[start - 1]
    if before.kind in ("taint", "close", "number", "percent", "power"):
        return True
    opening = tokens[start]
    above = tokens[start - 2] if start > 1 else None
    if before.kind == "word" and _led_by_word(tokens, start, place):
        return True
    if before.kind == "stop" and opening.kind == "op" and before.text not in "\n:":
        return True  # 1 - … - 10
    if before.kind == "stop" and above is not None:
        number = above.kind == "number"
        thousands = number and opening.kind == "number" and len(opening.text.partition(".")[0]) == 3
        if (before.text == ":" and number) or (before.text in ".," and (thousands or above.kind == "op")):
            return True  # 18 : 450 * 1000, or 14, 400 / 80, or .8 + . 84
    if before.kind == "open" and above is not None and above.kind == "word" and above.end == before.start:
        return True  # sin(3 + 4 = 7
    acts = computed = False
    for token in tokens[max(0, start - 10) : start]:
        if token.kind == "stop":
            acts = computed = False
        elif token.kind == "word" and _ACTS.match(token.text.lower()):
            acts = True
        elif token.kind == "number":
            computed = acts  # adding 5 to 3 + 4 = 12
    return computed


def _led_by_word(tokens: Sequence[_Token], start: int, place: int) -> bool:
    """True if the word before `start` may change the value of the expression: half of 20 + 5, twice the 3 + 4."""
    opening, word = tokens[start], tokens[start - 1].text.lower()
    words = [token.text.lower() if token.kind == "word" else "" for token in tokens[max(0, start - 3) : start - 1]]
    above = tokens[start - 2].kind if start > 1 else "stop"
    if opening.kind == "op" or _computes(word):
        return True
    if opening.kind == "open" and [token.kind for token in tokens[start + 2 : start + 3]] == ["close"]:
        return True  # Shonda (1) + 2
    if word == "and":  # 2 and 1/2 * 4
        return above != "stop" and start + 1 < place and tokens[start + 1].text == "/"
    if word == "of" and above in ("number", "percent"):
        return True
    if word in _THE and words[-1:] == ["of"]:
        words.pop()
    return (word in _THE or word == "of") and bool(words) and _computes(words[-1])


def _goes_on(tokens: Sequence[_Token], at: int) -> bool:
    """True if what follows a result may belong to it: 3 hours and 20 minutes, 2 dozen, 7x, 4 (rounded up)."""
    following = tokens[at : at + 14]
    if not following:
        return False
    if following[0].kind in ("number", "op", "frac", "power", "open") and following[0].start == tokens[at - 1].end:
        return True
    if following[0].text == ":" and following[1:] and following[1].kind == "number":
        return True  # 18 : 45
    if following[0].kind in ("taint", "number", "frac", "power", "op"):
        return True
    words: list[str] = []
    for index, token in enumerate(following):
        if token.kind == "equals" or (token.kind == "stop" and token.text in "\n.;?"):
            break
        if token.kind == "word":
            word = token.text.lower()
            if _APPROXIMATE.match(word) or (word == "of" and index == 0):  # 1/3 of $150
                return True
            words.append(word)
            if len(words) == index + 1 <= 3 and _computes(word):
                return True  # 20 million, 20 more than
        elif token.kind == "number" and words and words[-1] == "and" and index <= 3:
            part = [after.text for after in following[index + 1 : index + 2]] == ["/"]  # 3 and 1/2
            return part or any(_DIMENSION.get(_unit(word)) for word in words)
        elif token.kind == "number" and len(words) == index and any(_DIMENSION.get(_unit(word)) for word in words):
            return True  # 5 feet 3 inches
        elif token.kind == "op" and len(words) == index:
            return True  # 20 apples - the others
    return False


def _mixed(tokens: Sequence[_Token], at: int) -> bool:
    """True if a mixed number begins at `at`: 2 1/2."""
    part = tokens[at : at + 4]
    if len(part) < 4 or [token.kind for token in part] != ["number", "number", "op", "number"] or part[2].text != "/":
        return False
    whole, top, low = part[0], part[1].value, part[3].value
    assert top is not None
    assert low is not None
    return not whole.decimals and "." not in whole.text and 0 < top < low


class _Parser:
    """Recursive descent over tokens[at:end], which are at most MAX_TOKENS: sums of products of signed powers."""

    def __init__(self, tokens: Sequence[_Token], at: int, end: int) -> None:
        self._tokens, self.at, self._end = tokens, at, end
        self._operators = 0
        self._loose = self._decimal = False
        self._first: Fraction | None = None
        self._units: set[str] = set()
        self.parts = False  # 1/3 of $150, which as a result may be 1/3
        self._number: tuple[Fraction, int] | None = None
        self._under_line: Fraction | None = None

    def side(self) -> _Side:
        """Parse as much as belongs together; raises _UnreadableError where nothing does."""
        value, _ = self._sum()
        bare = self._number if not self._operators else None
        assert self._first is not None
        return _Side(
            value,
            self._operators,
            self._first,
            bare[1] if bare else None,
            self._loose,
            self._decimal,
            self._under_line,
            self._units,
        )

    def _next(self, ahead: int = 0) -> _Token | None:
        place = self.at + ahead
        return self._tokens[place] if place < self._end else None

    def _kind(self, ahead: int = 0) -> str:
        token = self._next(ahead)
        return token.kind if token else ""

    def _operator(self, signs: str) -> str:
        """Consume an operator of `signs` that has an operand, and return it; "" if there is none."""
        token = self._next()
        if token is None or token.kind != "op" or token.text not in signs.split():
            return ""
        signed = self._kind(1) == "op" and self._tokens[self.at + 1].text == "-"
        if not signed and self._kind(1) not in ("number", "open", "frac", "money"):
            return ""
        self.at += 1
        self._operators += 1
        return token.text

    def _sum(self) -> tuple[Fraction, bool]:
        value, percent = self._product()
        while sign := self._operator("+ -"):
            other, other_percent = self._product()
            self._loose |= percent != other_percent  # 100 - 20%
            value = _bounded(value + other if sign == "+" else value - other)
        return value, percent

    def _product(self) -> tuple[Fraction, bool]:
        value, percent = self._signed()
        divided, above, below = False, value, value
        while True:
            implicit = self._implicit()
            if implicit:
                self._operators += 1
                self._loose |= divided or implicit == "loose"
                sign = "*"
            elif not (sign := self._operator("* / of")):
                return value, percent
            self.parts |= sign == "of"
            other, other_percent = self._signed()
            percent = percent and other_percent
            self._loose |= divided and sign == "/"  # 14 / 1 / 4
            if sign == "/":
                above, below, divided = value, other, True
            elif divided and below * other:
                below = _bounded(below * other)
                self._under_line = _bounded(above / below)
            if sign == "/" and not other:
                raise _UnreadableError
            value = _bounded(value * other if sign != "/" else value / other)

    def _implicit(self) -> str:
        """Return how surely a product without a sign follows: "plain" for 3(4), "loose" for 3 (4) and (3)4, else ""."""
        before, token = self._tokens[self.at - 1], self._next()
        if token is None or before.kind not in ("number", "close"):
            return ""
        attached = token.start == before.end
        if token.kind == "open" and token.text == "(" and (attached or before.kind == "close"):
            return "plain" if attached else "loose"
        if token.kind == "number" and before.kind == "close" and attached:
            return "loose"
        return ""

    def _signed(self) -> tuple[Fraction, bool]:
        token = self._next()
        if token is not None and token.text == "-" and self._kind(1) in ("number", "open", "money", "frac"):
            self.at += 1
            value, percent = self._power(signed=True)
            if self._first is not None and not self._operators:
                self._first = -self._first
            if self._number and not self._operators:
                self._number = -self._number[0], self._number[1]
            return -value, percent
        return self._power(signed=False)

    def _power(self, *, signed: bool) -> tuple[Fraction, bool]:
        value, percent = self._operand()
        token = self._next()
        exponent = None
        if token is not None and token.kind == "power":
            exponent = token.value
            self.at += 1
            self._operators += 1
        elif self._operator("^"):
            exponent, _ = self._operand()
        if exponent is None:
            return value, percent
        self._loose |= signed or percent
        if exponent.denominator != 1 or abs(exponent) > MAX_POWER or (not value and exponent <= 0):
            raise _UnreadableError
        size = max(value.numerator.bit_length(), value.denominator.bit_length())
        if size * abs(exponent) > MAX_BITS:
            raise _UnreadableError
        if self._kind() == "power" or (self._kind() == "op" and self._tokens[self.at].text == "^"):
            raise _UnreadableError
        return _bounded(value ** int(exponent)), False

    def _operand(self) -> tuple[Fraction, bool]:
        while self._kind() == "money":
            self._units.add("dollar")
            self.at += 1
        token = self._next()
        if token is None:
            raise _UnreadableError
        if token.kind == "open":
            value, percent = self._group()
        elif token.kind == "frac":
            value, percent = self._fraction(), False
        elif token.kind == "number":
            assert token.value is not None
            value, percent = token.value, False
            self._decimal |= bool(token.decimals)
            self._number = value, token.decimals
            if _mixed(self._tokens, self.at) and self.at + 4 <= self._end:
                low, top = self._tokens[self.at + 3].value, self._tokens[self.at + 1].value
                assert low is not None
                assert top is not None
                value, self._loose = value + top / low, True
                self._operators += 1
                self.at += 3
            self.at += 1
            if self._kind() == "frac" and self._tokens[self.at].start == token.end:
                value, self._loose = value + self._fraction(), True
        else:
            raise _UnreadableError
        while self._kind() in ("percent", "money"):
            if self._kind() == "percent":
                value, percent = value / 100, True
                self._units.add("percent")
                if self._number:
                    self._number = self._number[0] / 100, self._number[1] + 2
            else:
                self._units.add("dollar")
            self.at += 1
        self._unit_words()
        if self._first is None:
            self._first = value
        return value, percent

    def _group(self) -> tuple[Fraction, bool]:
        self.at += 1
        found = self._sum()
        if self._kind() != "close":
            raise _UnreadableError
        self.at += 1
        return found

    def _fraction(self) -> Fraction:
        token = self._tokens[self.at]
        self._operators += 1
        if token.value is not None:
            self.at += 1
            return token.value
        self.at += 1
        parts = []
        for _ in range(2):
            brace = self._next()
            if brace is None or brace.text != "{":
                raise _UnreadableError
            parts.append(self._group()[0])
        if not parts[1]:
            raise _UnreadableError
        return _bounded(parts[0] / parts[1])

    def _unit_words(self) -> None:
        """Consume the unit of an operand: at most three words, or `/ hour`."""
        at = self.at
        if at + 1 < self._end and self._tokens[at].text == "/" and self._tokens[at + 1].kind == "word":
            at += 1
        words: list[str] = []
        while at < self._end and self._tokens[at].kind == "word" and len(words) < 3:
            words.append(self._tokens[at].text.lower())
            at += 1
        ends = at >= self._end or self._tokens[at].kind in ("op", "close", "equals")
        if not words or not ends:
            if words and (unit := _unit(words[0])) in _DIMENSION:
                self._units.add(unit)
            return
        if any(_computes(word) or word in _NOT_UNITS for word in words):
            self._loose = True
        self._units |= {_unit(word) for word in words}
        self.at = at


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _UnreadableError
    return value


def _computes(word: str) -> bool:
    if _CJK.search(word):
        return _CJK_ARITHMETIC.search(word) is not None
    return word.lower() in _COMPUTES


def _unit(word: str) -> str:
    """Return the singular of a unit's name."""
    word = re.sub(r"[\W\d_]+$", "", word.lower())
    if word in ("feet", "inches"):
        return {"feet": "foot", "inches": "inch"}[word]
    return word[:-1] if word.endswith("s") and len(word) > 2 else word


def _tokens(text: str) -> list[_Token]:
    found = list(_raw(text))
    for index, token in enumerate(found):
        if token.kind == "word":
            _read_word(found, index)
        elif token.kind == "number" and index and found[index - 1].end == token.start:
            before = found[index - 1]
            if before.kind == "word" and not _CJK.match(before.text[-1]):
                token.kind = "taint"  # the name of a variable: x1
    return [token for token in found if token.text]


def _raw(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        name, written = match.lastgroup or "", match[0]
        start, end = match.span()
        if match["number"]:
            body = written.rstrip(".,:")
            well = _WRITTEN.fullmatch(body) if len(body) <= MAX_DIGITS else None
            if well is None:
                yield _Token("taint", written, start, end)
                continue
            yield _Token(
                "number",
                body,
                start,
                start + len(body),
                Fraction(body.replace(",", "") if body[0] != "." else f"0{body}"),
                len(body.partition(".")[2]),
            )
            if len(body) < len(written):
                yield _Token("stop", written[len(body) :], start + len(body), end)
        elif match["short_frac"]:
            top, low = int(match["top"]), int(match["low"])
            yield _Token("frac" if low else "taint", written, start, end, Fraction(top, low or 1))
        elif match["label"]:
            inner = match["inner"].strip()
            if inner:
                plain = all(c.isalpha() or c in " .'-" for c in inner)
                yield _Token("word" if plain else "taint", inner, start, end)
        elif match["times"] or match["over"]:
            yield _Token("op", "*" if match["times"] else "/", start, end)
        elif match["op"]:
            sign = {"**": "^", "−": "-", "–": "-"}.get(written, written)
            yield _Token("op", sign, start, end)
        elif match["super"]:
            yield _Token("power", written, start, end, Fraction(2 if written == "²" else 3))
        elif match["dots"]:
            yield _Token("taint", written, start, end)
        elif match["skip"] is None and match["markup"] is None:
            yield _Token(name, written, start, end)  # type: ignore[arg-type]


def _read_word(found: list[_Token], index: int) -> None:
    """Change a word that is an operator, a percent sign or a variable into what it is."""
    token = found[index]
    before = found[index - 1] if index else None
    after = found[index + 1] if index + 1 < len(found) else None
    word = token.text.lower()
    operand = before is not None and before.kind in ("number", "close", "percent", "word", "money", "power")
    opens = after is not None and after.kind in ("number", "open", "money", "frac")
    if word == "x" and operand and opens:
        token.kind, token.text = "op", "*"
    elif word == "percent" and before is not None and before.kind == "number":
        token.kind = "percent"
    elif word in ("plus", "minus", "times") and operand and opens:
        token.kind, token.text = "op", _WORD_OPERATORS[word]
    elif word in ("multiplied", "divided") and operand and after is not None and after.text == "by":
        token.kind, token.text = "op", _WORD_OPERATORS[word]
        after.text = ""
        after.kind = "stop"
    elif word == "of" and before is not None and (before.kind == "percent" or _is_fraction(found, index)):
        if after is not None and after.kind == "word" and after.text.lower() in _THE and index + 2 < len(found):
            if found[index + 2].kind in ("number", "money"):
                after.text = ""
                token.kind = "op"
        elif opens:
            token.kind = "op"
    else:
        letters = re.sub(r"[^a-z]", "", word)
        attached = before is not None and before.kind in ("number", "close") and before.end == token.start
        bare = _unit(word)
        article = word in ("a", "i") and not attached and after is not None and after.kind == "word"
        short = len(letters) == 1 and not article
        function = after is not None and after.kind == "open" and after.start == token.end
        if not _CJK.search(word) and (
            short or function or (attached and len(letters) < 3 and bare not in _SHORT_UNITS)
        ):
            token.kind = "taint"


def _is_fraction(found: Sequence[_Token], index: int) -> bool:
    """True if `a / b` or a LaTeX fraction stands before `index`."""
    part = found[max(0, index - 3) : index]
    if part and part[-1].kind == "frac":
        return True
    return [token.kind for token in part] == ["number", "op", "number"] and part[1].text == "/"
