r"""Find the value that a sentence or a calculation states: `Therefore, x = 20`, `She made $18`, `48 + 24 = 72`.

The words before a number are the dangerous place: all of them must be known, or a name and a verb that links it with
the number. What follows may be a noun of any kind, unless a word makes another value of the number. Works on cleaned
text.
"""

import re
from functools import lru_cache

from memphis.answers.quantities import Quantity, amount_at, known_unit, quantity, same_quantity
from memphis.answers.words import changes, doubtful, harmless_lead, harmless_tail, of_another

_ASSIGNMENT = re.compile(
    r"([^\W\d_]|\\[A-Za-z]+)\s*(?:_\{\w+\})?\s*=\s*([^=]+)|([^\W\d_])\s*∈\s*([\[({\\][^∈=]*)"
    r"|(\([^\W\d_](?:,\s*[^\W\d_])+\))\s*=\s*(\([^=]+\))"
)
_NAME = re.compile(r"(?:[^\W\d_]|\\[A-Za-z]+)\s*(?:_\{\w+\})?")
_IS_A_NAME = re.compile(r"[\w'’,.:;\s-]*")
_FUNCTION_OF = re.compile(r"(?:.*\s)?\\?[A-Za-z]+\s*(?:_\{\w+\})?\s?\([^()=]*\)|.*\|[A-Z]{2}\||.*\s?∠\s?[A-Z]{1,3}")
_ARITHMETIC_SIGN = re.compile(
    r"[+*/×÷·^%!√-]|\\frac|\\sqrt|\b(?:of|plus|minus|times|over|divided|multiplied|squared|cubed|twice|thrice|double|triple|half)\b",
    re.I,
)
_ARITHMETIC = re.compile(r"(?:[^\W_]|[\s.,:;+\-*/×÷·()\[\]%$£€¥₹^{}|!'√°]|\\frac|\\sqrt|\\left|\\right|\\log|\\binom)+")
_MULTIPLICATION_X = re.compile(r"(?<=[0-9)%}])\s*x\s*(?=[0-9($])|(?<=[\w)])\s+x\s+(?=[$£€]?[0-9(])")
_LETTER = re.compile(r"(?<![^\W\d_'’])(?![aAI]\s+[^\W\d_]{2})([^\W\d_])(?![^\W\d_'’])")  # no article, no pronoun
_PRODUCT = re.compile(r"[a-zα-ω]{2}|[b-df-hj-np-tv-xz]{3}|abc|xyz")  # of variables; all other runs of letters are names
_FACTOR = re.compile(
    r"(?<![^\W\d_])[a-zα-ω]{2,3}(?=\s*[*/^+·×])|(?:(?<=[0-9])|(?<=[*/^+·×])\s*)[a-zα-ω]{2,3}(?![^\W\d_])"
)
_CONDITION = re.compile(
    r".*\b(?:assum\w*|suppos\w*|let(?!['’]))\b|(?:(?:so|then|now|and),?\s+)?(?:when|for|until|till|since|given|where|at)\b",
    re.I,
)
_HAPPENS = re.compile(
    r"\b(?:[a-z]+ed|born|place|began|arrives?|departs?|opens?|closes?|begins?|leaves?)\s+(?:in|on|at)\s+(?:the\s+year\s+)?",
    re.I,
)
_MOMENT = re.compile(
    r"[12][0-9]{3}(?![0-9.,%])|[0-9]{1,2}:[0-9]{2}|[0-9]{1,2}\s?[ap]\.?m|[A-Za-z]{3,9}\.?\s[0-9]|[0-9]{1,2}\s[A-Z]"
)
_APART = re.compile(r"\b(?:before|after|since|until|till|by)\b", re.I)  # an hour after it opened at 7:30
_NTH_PART = re.compile(r"[0-9]+(?:st|nd|rd|th)\b")
_PRIME = re.compile(r"(?<![^\W\d_])[^\W\d_]['’]")
_FREE_SUM = re.compile(r"(?:.*[\s:])?[a-zA-Z](?:\s*[-+*/·×]\s*[a-zA-Z])+")
_SMALL_SET = re.compile(  # the two movies
    r"\b(?:the|these|those|all|every|his|her|their)\s+(?:two|three|four|five|six)\s+"
    r"(?!hundred|thous|mill|bill|dozen)(?=[a-z]{2})"
)
_OF_LIFE = re.compile(r".*\b(?:the|his|her|their|my|your|our|its)\s*['’]?", re.I)
_TENS = re.compile(r"[0-9]0['’]?s\b", re.A)
_RELATION = re.compile(r"[<>≤≥≠≈]|!(?!\s*=)|==")
_EQUALS = re.compile(r"\b(?:is|are|was|be)?\s*(?:equal to|equals)\b(?=\s)", re.I)
_CALCULATION = re.compile(  # 12 plus 8 is 20
    r"((?:(?:so|thus|therefore|then|and),?\s)?"
    r"(?:[\s0-9.,+*/×÷%$()-]|\b(?:plus|minus|times|divided by|multiplied by|over|of|half"
    r"|twice|double|percent|the sum of|the product of|the difference between|and)\b)+)\s(?:is|gives|makes)\s(.+)",
    re.I,
)
_VALUE = re.compile(
    r"(?<![\w.,/\\^{_-])(?:(?:minus|negative)\s+|负)?[-+]?\s?(?:[a-z]{0,3}\$|£|€|¥|₹|₩|₽|rs\.?\s|usd\s|inr\s|eur\s)?\s?-?[0-9.\\]"
    r"|(?<=[一-鿿:])(?:负)?-?\$?[0-9]|(?<=[一-鿿:])[零〇一二两三四五六七八九十百千万亿]+(?![一-鿿]*[0-9])"
    r"|\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?\s+(?:the\s+)?[0-9]"
    r"|\b(?:(?:minus|negative)\s+)?(?:a hundred|a thousand|a million|a dozen|an? half|half|an? quarter"
    r"|an? third|zero|one|two|three|four|five"
    r"|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|point(?= (?:zero|one|two|three|four|five|six|seven|eight|nine)))\b",
    re.I,
)
_DIGIT = re.compile(r"[0-9+*/^\\_{}|×÷·±√π∞<>=≤≥≠≈~@#&]")
_NUMBER_WORD = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundreds?|thousands?|(?:m|b|tr)illions?|dozens?|lakhs?|lacs?|crores?)\b",
    re.I,
)
_ONE_LETTER = re.compile(r"(?<![\w'’.])(?![aAI]\b)([^\W\d_])(?![\w'’])")
_REPEATED = re.compile(r"\s*\(([^()]*)\)\s*")
_BOUND = re.compile(r"(?<!the )\b(?:max|min|maximum|minimum|tops|roots?)\b", re.I)


def assignment(cleaned: str) -> tuple[str, str]:
    """Split `x = 5` into ("x", "5"); return any other text as ("", text)."""
    match = _ASSIGNMENT.fullmatch(cleaned)
    if match is None:
        return "", cleaned
    name, value = (part for part in match.groups() if part is not None)
    return name.replace(" ", ""), value.strip()


@lru_cache(maxsize=1 << 16)
def stated(cleaned: str) -> str:
    """Return the text from the value on that a sentence states: `2:3` of `The ratio is 2:3`; "" if it states none."""
    if not cleaned.isprintable() or _RELATION.search(cleaned):
        return ""
    text = _EQUALS.sub(" = ", cleaned)
    if "=" in text:
        *left, right = text.split("=")
        right = right.strip()
        if len(left) == 1 and _NAME.fullmatch(right) and quantity(left[0].strip()) is not None:
            return left[0].strip()  # 20 = x
        if len(left) > 1 and _FREE_SUM.fullmatch(left[0].strip()) and not changes(left[0]):
            left = left[1:]  # a + b = 68 + 53 = 121, where a + b is asked
            if not all(re.search("[0-9]", side) for side in left):
                return ""
        return right if not doubtful(text) and all(_pure(side.strip(), right) for side in left) else ""
    calculation = _CALCULATION.fullmatch(text)
    if calculation and not doubtful(text) and _pure(calculation[1], calculation[2]):
        return calculation[2]
    match = _VALUE.search(text)
    if match is None or not match.start():
        return ""
    lead, start = text[: match.start()], text[match.start() :].strip(" \"'")
    happens = _HAPPENS.search(lead)
    if happens and happens.end() == len(lead) and _MOMENT.match(start) and not changes(lead):
        return "" if _APART.search(lead) else start  # it took place in 1905
    if not harmless_lead(lead):
        return ""
    if _NTH_PART.match(start) and re.search(r"\ban?\s*$", lead, re.I):
        return ""  # a 20th
    if _TENS.match(start) and _OF_LIFE.fullmatch(lead):
        return ""  # in her 20s
    before = text[match.start() - 1]
    return before + start if before in "([{" and "," in start else start.rstrip(")]")


@lru_cache(maxsize=1 << 16)
def quantity_in_text(cleaned: str) -> Quantity | None:
    """Return the one quantity that a sentence or a calculation states, or None if there is doubt.

    With `=`: the right side of the last one, if everything to its left is arithmetic or a name. Otherwise the only
    number of the text, with harmless words around it; see memphis.answers.words.
    """
    start = stated(cleaned)
    if not start:
        if "=" in cleaned or _RELATION.search(cleaned) or not cleaned.isprintable():
            return None
        start = cleaned  # the value comes first, if there is one
    found = quantity(start)
    if found is not None:
        return found
    amount = amount_at(start)
    if amount is None:
        return None
    value, end, adjoined = amount
    tail = start[end:]
    if (same := _REPEATED.fullmatch(tail)) and (again := quantity(same[1].strip())) is not None:
        return value if same_quantity(value, again) else None  # twenty (20)
    words = tail.split()
    first = words[0].rstrip(".,;:!)") if words else ""
    if first and known_unit(first):  # with its power: 20 cm^{2}
        tail = tail.replace(first, " ", 1)
    elif adjoined and not re.match(r"[\s,.;:!)('\"’一-鿿ぁ-ヿ가-힣-]", tail):
        return None
    if (
        _DIGIT.search(tail)
        or _NUMBER_WORD.search(_SMALL_SET.sub("", tail))
        or _ONE_LETTER.search(tail)
        or _BOUND.search(tail)
    ):
        return None
    return value if harmless_tail(tail) else None


def _pure(side: str, right: str) -> bool:
    """True if the left side of `=` is arithmetic or a name, so that the right side is its value."""
    if not side or _NAME.fullmatch(side):
        return True
    if _FUNCTION_OF.fullmatch(side) and not changes(side):
        return True
    side = _MULTIPLICATION_X.sub("*", side)
    if not re.search("[0-9]", side) and not _NUMBER_WORD.search(side):
        before, _, last = side.replace(":", " ").rpartition(" ")
        letters = _ONE_LETTER.findall(side)
        if (
            _PRIME.search(side)
            or _CONDITION.match(side)
            or _PRODUCT.fullmatch(last)
            or (letters and re.search(r"(?:^|\s)-", side))
        ):
            return False
        if not _IS_A_NAME.fullmatch(side) or changes(side) or len(side.split()) > 12:
            return False
        return not letters or (len(set(letters)) == 1 and _NAME.fullmatch(last) is not None and not changes(before))
    same = quantity(side)
    if same is not None and (value := quantity(right)) is not None and same_quantity(same, value):
        return True  # 532 = 532.0
    if of_another(side) or not _ARITHMETIC.fullmatch(side) or not _ARITHMETIC_SIGN.search(side):
        return False
    if any(_PRODUCT.fullmatch(run.strip()) and not known_unit(run.strip()) for run in _FACTOR.findall(side)):
        return False
    units = set(re.findall(r"[^\W\d_]+", right))
    letters = _LETTER.findall(side)
    return all(letter in units and known_unit(letter) for letter in letters)
