r"""Parse and compare numbers with their currency, percent sign and unit, as exact rationals.

Works on cleaned text. A text that is not a quantity gives None: there is no guessing and no float.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from memphis.answers.numerals import number_at
from memphis.answers.words import harmless_tail, is_noun

_MONEY_SIGN = r"(?:us|c|a|au|ca|hk|nz|s|r)?\$|£|€|¥|₹|₩|₽|₱|₫|฿|₪|₺|rs\.?|inr|usd|eur|gbp|cny|rmb|jpy|cad|aud|chf"
_SIGN = re.compile(
    rf"(?P<sign>[-+]|(?:minus|negative)\s|负)?\s*(?:(?P<money>{_MONEY_SIGN})\s*)?(?P<inner_sign>[-+])?\s*", re.I | re.A
)
_AFTER = re.compile(
    r"(?:(?:st|nd|rd|th)\b)?\s*(?:(?P<scale>hundred|thousand|million|billion|trillion|lakh|crore)s?\b"
    r"|(?P<other_scale>dozens?\b|lacs?\b|万|亿|千(?![克米瓦卡])|百|萬|億|만|천|억|(?<=[0-9])k\b))?\s*"
    r"(?P<percent>%|percent\b|per cent\b|percentage points?\b|pct\b)?\s*"
    r"(?P<money>(?:us |u\.s\. )?dollars?\b|\$|£|€|¥|₹|₩|₽|₱|¢|usd\b|eur\b|gbp\b|inr\b|cny\b|rmb\b|jpy\b|cad\b"
    r"|aud\b|chf\b|cents?\b|euros?\b|rupees?\b|yuan\b|pence\b|yen\b|pesos?\b|rubles?\b|元钱?|块钱|人民币|美元|欧元|円|원)?",
    re.I | re.A,  # without A, a dotless ı would match i
)
_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "k": 10**3,
    "lakh": 10**5, "lac": 10**5, "crore": 10**7, "dozen": 12, "百": 10**2, "千": 10**3, "천": 10**3,
    "万": 10**4, "萬": 10**4, "만": 10**4, "亿": 10**8, "億": 10**8, "억": 10**8,
}  # fmt: skip
_BIG_MONEY = {"m": 10**6, "mn": 10**6, "b": 10**9, "bn": 10**9}  # $5M; 5m are metres
_BIG = re.compile(r" ?(mn?|bn?)\b", re.I | re.A)
_MONEY = {
    spelling: name
    for name, spellings in {
        "dollar": "us$ $ usd dollar", "cent": "cent ¢", "pound": "£ gbp", "euro": "€ eur euro", "pence": "pence",
        "¥": "¥", "yuan": "yuan cny rmb 元 元钱 块钱 人民币", "rupee": "₹ rs inr rupee", "yen": "yen jpy 円",
        "won": "₩ 원",
        "ruble": "₽ ruble", "peso": "₱ peso", "canadian dollar": "c$ ca$ cad", "australian dollar": "a$ au$ aud",
        "franc": "chf", "美元": "美元", "欧元": "欧元",
    }.items()
    for spelling in spellings.split()
}  # fmt: skip
_KNOWN_UNITS = {
    spelling: unit
    for unit, spellings in {
        "m": "m metre meter mtr 米", "cm": "cm centimetre centimeter 厘米 公分", "mm": "mm millimetre millimeter 毫米",
        "km": "km kilometre kilometer kms 千米 公里", "mile": "mi mile", "yd": "yd yard", "ft": "ft foot feet",
        "inch": "in inch inches", "g": "g gm gram 克", "kg": "kg kilo kilogram kgs 千克 公斤", "mg": "mg milligram",
        "pound": "lb lbs pound", "oz": "oz ounce", "ton": "ton tonne 吨", "l": "l litre liter 升",
        "ml": "ml millilitre milliliter 毫升", "gallon": "gal gallon", "s": "s sec second 秒", "min": "min minute 分钟",
        "h": "h hr hour hrs 小时", "day": "day 天", "week": "week wk 周 星期", "month": "month 个月",
        "year": "yr year yrs 年",
        "degree": "° degree deg 度", "celsius": "°c celsius 摄氏度", "fahrenheit": "°f fahrenheit", "mile/h": "mph",
        "km/h": "kmh kmph kph", "m/s": "mps", "m2": "平方米", "cm2": "平方厘米", "km2": "平方千米", "m3": "立方米",
        "cm3": "cc 立方厘米", "dm": "dm 分米", "unit": "unit", "radian": "rad radian",
        "newton": "newton", "joule": "joule",
        "watt": "watt", "volt": "volt", "hertz": "hz hertz", "kw": "kw kilowatt", "acre": "acre",
        "hectare": "ha hectare",
        "am": "am a.m", "pm": "pm p.m", "kb": "kb kilobyte", "mb": "mb megabyte", "gb": "gb gigabyte",
        "tb": "tb terabyte",
        "kwh": "kwh kilowatt-hour", "pa": "pa pascal", "kpa": "kpa kilopascal", "kcal": "kcal kilocalorie",
        "cal": "cal calorie",
        "tbsp": "tbsp tablespoon", "tsp": "tsp teaspoon", "qt": "qt quart", "db": "db decibel",
        "nm": "nm nanometre nanometer",
        "μm": "μm micrometre micrometer micron", "cl": "cl centilitre centiliter", "dl": "dl decilitre deciliter",
        "khz": "khz kilohertz", "mhz": "mhz megahertz", "ghz": "ghz gigahertz", "ms": "ms millisecond",
        "knot": "knot kn", "ly": "ly light-year", "mol": "mol mole", "rpm": "rpm",
    }.items()
    for spelling in spellings.split()
}  # fmt: skip
_DECADE = re.compile(r"(?:1[0-9]|20)[0-9]{2}['’]?s\b", re.A)  # 1990s, not as many seconds
_LENGTHS = frozenset(("m", "cm", "mm", "km", "mile", "ft", "inch", "yd", "dm", "unit"))
_UNIT_WORD = re.compile(r"(°?[^\W\d_]+(?:['-][^\W\d_]+)*|[ap]\.m|°)\.?(?:\^\{([23])\}|([23]))?\.?")
_PLURAL = re.compile(r"(?<=x|z)es$|(?<=ch|sh|ss)es$|(?<!s)s$")
_SQUARE = re.compile(r"\b(sq(?:uare)?\.?|cubic|cu\.?)\s+(\S+)|\b([a-z]+) (squared|cubed)\b")
_INVERSE = re.compile(r"\s*[·*×]?\s*([a-z]+)\^\{-([12])\}")
_PER = re.compile(r"\s*(?:/|\b(?:per|an?)\b)\s*")
_CHINESE_TAIL = re.compile(r"[一-鿿ぁ-ヿ가-힣]{1,12}")
_CHINESE_UNITS = sorted((unit for unit in _KNOWN_UNITS if not unit.isascii() and unit[0] > "一"), key=len, reverse=True)

_PHYSICS = {"N": "newton", "J": "joule", "W": "watt", "V": "volt"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """Exact value with its percent sign, currency and unit."""

    value: Fraction
    decimals: int | None = None  # digits after the point; None for fractions, powers, words, scaled numbers
    percent: bool = False
    money: str = ""  # canonical name of the currency
    unit: str = ""  # canonical unit phrase
    mantissa: Fraction | None = None  # factor of a power of ten

    @property
    def bare(self) -> bool:
        return not (self.percent or self.money or self.unit)


@lru_cache(maxsize=1 << 16)
def quantity(cleaned: str) -> Quantity | None:
    """Parse the entire text as a quantity (`-$1,200`, `3 1/2 hours`, `12 million`, `25%`); None if it is not one."""
    found = amount_at(cleaned)
    if found is None:
        return None
    amount, end, adjoined = found
    unit = unit_of(cleaned[end:].strip(), adjoined)
    return None if unit is None else replace(amount, unit=unit)


def amount_at(cleaned: str) -> tuple[Quantity, int, bool] | None:
    """Read the quantity without its unit at the beginning of a text; None if there is none.

    Returns it, where the rest of the text begins, and whether that rest adjoins the number without a space.
    """
    sign = _SIGN.match(cleaned)
    assert sign is not None  # every part of it is optional
    number = number_at(cleaned, sign.end())
    if number is None or (sign["sign"] and sign["inner_sign"]) or _DECADE.match(cleaned, sign.end()):
        return None
    value, decimals = number.value, number.decimals
    if (sign["sign"] or sign["inner_sign"] or "+") != "+":
        value = -value
    money = _currency(sign["money"].rstrip(".")) if sign["money"] else ""
    after = _AFTER.match(cleaned, number.end)
    assert after is not None
    end = after.end()
    scale = after["scale"] or after["other_scale"]
    if scale:
        value, decimals = value * _SCALES[scale.lower().removesuffix("s")], None
    elif money and (big := _BIG.match(cleaned, number.end)):
        value, decimals, end = value * _BIG_MONEY[big[1].lower()], None, big.end()
    if after["money"]:
        named = _currency(after["money"])
        if money and not _same_currency(money, named):
            return None
        money = named
    adjoined = end == number.end and not cleaned[end : end + 1].isspace()
    return Quantity(value, decimals, bool(after["percent"]), money, mantissa=number.mantissa), end, adjoined


def _currency(written: str) -> str:
    name = written.lower().removeprefix("us ").removeprefix("u.s. ")
    return _MONEY.get(name) or _MONEY.get(name.removesuffix("s"), name)


def _same_currency(a: str, b: str) -> bool:
    return a == b or {a, b} in ({"¥", "yuan"}, {"¥", "yen"})


def same_quantity(a: Quantity, b: Quantity) -> bool:
    """True for exactly equal values with compatible units. Symmetric; no tolerance, but see _rounded()."""
    if _contradict(a, b):
        return False
    if a.mantissa is not None and b.mantissa is not None and a.mantissa != b.mantissa:
        return False  # 35 x 10^10 and 3.5 x 10^11: two options of one real question differ in that
    if a.value == b.value:
        return True
    if a.percent != b.percent:
        return (a.value / 100 if a.percent else a.value) == (b.value / 100 if b.percent else b.value)
    return _rounded(a, b) or _rounded(b, a)


def _rounded(decimal: Quantity, exact: Quantity) -> bool:
    """True for 0.666667 and 2/3: six or more decimals, correctly rounded, of a value without a finite decimal form."""
    if decimal.decimals is None or decimal.decimals < 6 or decimal.percent != exact.percent:
        return False
    rest = exact.value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest != 1 and 2 * abs(decimal.value - exact.value) * 10**decimal.decimals <= 1


def unit_of(text: str, adjoined: bool) -> str | None:
    """Return the canonical unit phrase, "" if there is none, None for other text. `adjoined`: no space before it."""
    if not text:
        return ""
    if len(text) == 1 and text.isupper() and text != "L":  # a point, a set or a variable
        return _PHYSICS.get(text) if not adjoined else None
    if _CHINESE_TAIL.fullmatch(text):
        return _chinese_unit(text)
    text = _INVERSE.sub(lambda m: "/" + m[1] + (m[2] if m[2] != "1" else ""), text.lower())
    text = _SQUARE.sub(_power_of, text)
    parts = _PER.split(text)
    if len(parts) > 2 or sum(len(part.split()) for part in parts) > len(parts) + 1:
        return None
    named = [[_unit_word(word, adjoined, len(parts) > 1) for word in part.split()] for part in parts]
    if any(word is None for part in named for word in part) or not named[-1]:
        return None
    return "/".join(" ".join(word for word in part if word) for part in named)


def known_unit(text: str) -> bool:
    """True if every word of the text is a unit with a name of its own, no noun."""
    return bool(text) and unit_of(text, adjoined=True) not in (None, "")


def _power_of(match: re.Match[str]) -> str:
    if match[1]:
        return match[2] + ("2" if match[1].startswith("sq") else "3")
    return match[3] + ("2" if match[4] == "squared" else "3")


def _chinese_unit(text: str) -> str | None:
    """Return the unit of `20个苹果`: a known one or the first sign, and the noun after it."""
    if not harmless_tail(text):
        return None
    for spelling in _CHINESE_UNITS:
        if text.startswith(spelling):
            return f"{_KNOWN_UNITS[spelling]} {text[len(spelling) :]}".rstrip()
    return f"{text[0]} {text[1:]}".rstrip()


def _unit_word(word: str, adjoined: bool, ratio: bool) -> str | None:
    match = _UNIT_WORD.fullmatch(word)
    if match is None:
        return None
    name, power = match[1], match[2] or match[3] or ""
    known = _KNOWN_UNITS.get(name) or (_KNOWN_UNITS.get(name.removesuffix("s")) if len(name) > 2 else None)
    if known:
        return known + power if not power or ratio or known in _LENGTHS else None
    if power or adjoined or len(name) < 3 or not is_noun(name):
        return None
    return _PLURAL.sub("", name) if not name.endswith("ies") else name[:-3] + "y"


def _contradict(a: Quantity, b: Quantity) -> bool:
    """True if both name a unit or currency, and different ones: $10 and 10 cents, 2 hours and 2 minutes, $3 and 3 %."""
    if a.bare or b.bare:
        return False
    if a.money and b.money and not _same_currency(a.money, b.money):
        return True
    if a.unit and b.unit:
        return not _same_unit(a.unit, b.unit)
    if a.money and b.money:
        return False
    named = {a.money, a.unit} & {b.money, b.unit} - {""}
    return not named and not (a.percent and b.percent)


def _same_unit(a: str, b: str) -> bool:
    if a == b or "/" in a or "/" in b:
        return a == b
    first, second = set(a.split()), set(b.split())
    return first <= second or second <= first  # "years" and "years old"
