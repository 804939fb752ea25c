r"""Generator of labelled answer lines: kinds x numbers x units x languages, with positives and near misses of each kind.

A template is `+ prediction => gold` (the same answer) or `- prediction => gold` (a different one). `<name>` is a drawn
value: a number (`numbers`) or a word of the split's vocabulary. `⏎` is a new line, `∅` an empty text. This module has
the split that may be looked at while the checker changes; `lines_heldout.py` has a second one, and `lines_fresh.py` a
third, with templates and words of their own.

Labels follow the documented policy, not a checker. A unit may be missing or added but not contradict; a sign of
percent counts as such a unit (25% is 25, and 25% is 0.25 where that is the gold); order matters
except between braces; clock times, ratios and units are not converted; hedges and texts with two candidates are wrong,
and so is a number that a word makes another one (`minus`, `half of`, `more than`); a sentence that plainly states the
value is right. Forms on which graders differ without a policy here are left out.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import NamedTuple

DRAWS = 5  # of each template; fewer lines where a template has few different ones


@dataclass(frozen=True)
class Template:
    """A labelled pair of texts with places for drawn values."""

    kind: str
    equal: bool
    prediction: str
    gold: str


class Line(NamedTuple):
    """A labelled pair. `template` says why: every line of it has the label for the same reason."""

    prediction: str
    gold: str
    options: tuple[str, ...] | None
    equal: bool
    kind: str
    template: str


Tables = dict[str, str]  # kind -> its templates, one a line
Vocabulary = dict[str, list[tuple[str, ...]]]  # names, separated by spaces -> rows of words that belong together


def templates(tables: Tables) -> list[Template]:
    """Parse the tables. Raises ValueError for a line that is no template."""
    found = []
    for kind, table in tables.items():
        for line in filter(None, map(str.strip, table.splitlines())):
            prediction, arrow, gold = line[2:].rpartition(" => ")
            if line[:2] not in ("+ ", "- ") or not arrow:
                raise ValueError(f"not a template: {line}")
            found.append(Template(kind, line[0] == "+", prediction.strip(), gold.strip()))
    return found


def generate(tables: Sequence[Tables], vocabulary: Vocabulary, seed: int | str, draws: int = DRAWS) -> list[Line]:
    """Draw up to `draws` different lines of every template, in the order of the tables; deterministic by `seed`.

    Raises KeyError for a name that is neither a number's nor in the vocabulary.
    """
    lines: dict[tuple, Line] = {}
    for template in (t for table in tables for t in templates(table)):
        source = f"{template.prediction} => {template.gold}"
        rng = random.Random(f"{seed}:{template.kind}:{template.equal}:{source}")
        for _ in range(draws):
            values = draw(rng, vocabulary)
            prediction, gold = fill(template.prediction, values), fill(template.gold, values)
            options = tuple(values["options"].split("|")) if template.kind.startswith("choice") else None
            line = Line(prediction, gold, options, template.equal, template.kind, source)
            lines.setdefault(line[:3], line)
    return list(lines.values())


def fill(text: str, values: dict[str, str]) -> str:
    """Put drawn values into a template's text."""
    text = "" if text == "∅" else text.replace("⏎", "\n").replace("␣", " ")
    return re.sub("<([a-zA-Z][a-zA-Z0-9_]*)>", lambda match: values[match[1]], text)


def draw(rng: random.Random, vocabulary: Vocabulary) -> dict[str, str]:
    """Draw one value for every name. Values whose names differ by a letter (n, m; p, r) differ."""
    values = numbers(rng)
    for names, rows in vocabulary.items():
        values |= dict(zip(names.split(), rng.choice(rows), strict=True))
    options = values["options"].split("|")
    right, wrong, third = rng.sample(range(len(options)), 3)
    for name, i in (("L", right), ("W", wrong), ("V", third)):
        values |= {name: "ABCDEFG"[i], name.lower() + "_": "abcdefg"[i], "T" + name: options[i]}
    return values


def numbers(rng: random.Random) -> dict[str, str]:
    """Draw the numbers of one line, with all their spellings."""
    n, m = rng.sample([i for i in range(13, 990) if i % 10 and i != 100], 2)
    k, j = rng.sample(range(3, 13), 2)
    a, b = sorted(rng.sample(range(12, 99), 2), reverse=True)
    while a in (2 * b, b + 1) or a * b in (n, m) or a + b in (n, m):
        a, b = sorted(rng.sample(range(12, 99), 2), reverse=True)
    big, big2 = (rng.choice([rng.randrange(1_001, 9_999), rng.randrange(10_001, 9_999_999)]) for _ in range(2))
    big2 += big2 == big
    comma = f"{big:,}"
    tenths = rng.choice([i for i in range(101, 999) if i % 10])
    values = {
        "n": n, "m": m, "k": k, "j": j, "a": a, "b": b, "sum": a + b, "prod": a * b, "diff": a - b, "asumj": a + b + j,
        "nswap": _swapped(n), "nless": str(n)[:-1], "nplus": n + 1, "even": 2 * n, "triple": 3 * n, "ksq": k * k,
        "kcube": k**3, "kprodj": k * j, "kk": k + 20, "rem": k - 2, "nw": words(n), "mw": words(m), "kw": words(k),
        "jw": words(j), "nand": words(n, "and "), "Nw": words(n).capitalize(),
        "nfull": str(n).translate({ord(c): ord(c) - ord("0") + ord("０") for c in "0123456789"}),
        "big": big, "big2": big2, "bigc": comma, "bigs": comma.replace(",", " "), "bigt": comma.replace(",", "{,}"),
        "bigth": comma.replace(",", "\u202f"), "bigq": comma.replace(",", "\\,"), "bigbad": comma[:-1], "bigw": words(big),
        "bigand": words(big, "and "), "bigless": big // 1000, "eu": comma.replace(",", ".") + ",5", "eudec": f"{big}.5",
        "usdec": f"{comma}.5", "mil": k * 1_000_000, "thou": n * 1000, "doz": 12 * k, "hund": k * 100, "hundk": 100 + k, "hundj": k * 100 + j,
        "bil": k * 10**9, "lakh": k * 10**5, "crore": k * 10**7, "dec": f"{tenths / 10}", "dec0": f"{tenths / 10}0",
        "dec2": f"{(tenths + 1) / 10:.1f}", "decx10": tenths, "decint": tenths // 10, "decmil": tenths * 100_000,
        "decthou": tenths * 100, "pc": (pc := rng.choice([i for i in range(11, 99) if i % 10])), "pcdec": f"0.{pc}",
        "pc2": pc + 1, "pcup": f"{pc}.5", "e": (e := rng.randrange(30, 120)), "e2": e + 1, "yr": (yr := rng.randrange(1801, 2020)),
        "yr2": yr + rng.choice((1, 10)), "h": (h := rng.randrange(1, 12)), "h2": h + 1, "min": (minute := rng.randrange(11, 50)),
        "min2": minute + rng.choice((1, 5)), "day": (day := rng.randrange(4, 20)), "day2": day + 1, "dayth": f"{day}th",
    }  # fmt: skip
    u, v, z = sorted(rng.sample(range(3, 60), 3))
    ten = 10 ** (power := rng.randrange(4, 9))
    values |= {
        "u": u, "v": v, "z": z, "uplus": u + 1, "ratio": f"{u}:{v}", "sci": f"{tenths / 100}", "pow": power, "pow2": power + 1,
        "ten": ten, "scival": tenths * ten // 100, "kten": k * ten, "scismall": f"{k / ten:.{power}f}",
        "root": (root := rng.choice((2, 3, 5, 6, 7, 11, 13))), "root2": root + 4,
        "bin": (bits := "1" + "".join(rng.choices("01", k=4)) + "1"), "bin2": bits[:-1] + "0" + "1",
        "oct": "".join(rng.choices("1234567", k=3)), "date2": f"{values['day'] + 9:02d}",
    }  # fmt: skip
    brackets = [*rng.sample(")]}>", 3), rng.choice(")]}")]
    values |= {"dy": " ".join(brackets), "dyns": "".join(brackets), "dyswap": " ".join(brackets[1::-1] + brackets[2:]),
               "dyless": " ".join(brackets[:-1]), "dymore": " ".join([*brackets, ")"]), "dy1": " ".join(brackets[:1]),
               "dyc": ", ".join(brackets), "dyopen": " ".join(brackets).translate(str.maketrans(")]}>", "([{<"))}  # fmt: skip
    return {name: str(value) for name, value in (values | _fractions(rng)).items()}


def _fractions(rng: random.Random) -> dict[str, object]:
    q, qw = rng.choice(
        [(4, "quarter"), (5, "fifth"), (8, "eighth"), (16, "sixteenth"), (20, "twentieth"), (25, "twenty-fifth")]
    )
    p = rng.choice([i for i in range(2, q) if Fraction(i, q).denominator == q])
    t = rng.choice((7, 9, 11, 13))
    r, w, c = rng.randrange(2, t), rng.randrange(2, 9), rng.randrange(2, 6)
    nines = rng.choice((9, 99))
    block = rng.choice([i for i in range(2, nines - 1) if i % 11 and (nines == 9 or i > 11)])
    block_text = str(block)
    third, tw = rng.choice([(3, "third"), (6, "sixth"), (7, "seventh"), (9, "ninth")])
    return {
        "p": p, "q": q, "p2": p + 1, "q2": q + 1, "fdec": f"{p / q:g}", "fdecneg": f"-{p / q:g}", "cp": c * p, "cq": c * q,
        "pw": words(p), "qw": qw, "qws": qw + "s", "w": w, "ww": words(w), "imp": w * q + p, "mdec": f"{w + p / q:g}",
        "mprod": f"{w * p}/{q}", "r": r, "t": t, "r2": r + 1, "rdec8": f"{r / t:.8f}", "rdec2": f"{r / t:.2f}",
        "rep": block_text, "reprep": block_text * 3, "repnum": block, "repden": nines, "repw": f"{w * nines + block}",
        "third": third, "tws": tw + "s", "tp": third - 1, "tpw": words(third - 1),
    }  # fmt: skip


ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def words(number: int, conjunction: str = "") -> str:
    """Spell a whole number below a billion in English; `conjunction` stands after the hundreds ("and ")."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    for size, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = words(number % size, conjunction) if number % size else ""
            joint = conjunction if rest and number % size < 100 else ""
            return f"{words(number // size, conjunction)} {name} {joint}{rest}".rstrip()
    raise ValueError(number)


def _swapped(number: int) -> str:
    """Return the digits of a number in another order, or with a digit more where the order makes no difference."""
    text = str(number)
    return text[::-1] if text != text[::-1] else text + "1"


def prompts(styles: Sequence[str], vocabulary: Vocabulary) -> list[tuple[str, list[str]]]:
    """Write every list of options in every style, below a question. A style is the separator, `|`, and one option."""
    written = []
    for style, (row,) in product(styles, vocabulary["options"]):
        separator, option = style.split("|")
        options = row.split("|")
        if "\n" in separator or not re.search(r"\b[A-G]\. ", row):  # on one line "A. B. Franklin" has no single reading
            filled = [
                option.format(letter, letter.lower(), text) for letter, text in zip("ABCDEFG", options, strict=False)
            ]
            written.append((f"Which one is it?\n{separator.join(filled)}\n", options))
    return written


def by_template(lines: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    """Group lines by (kind, template): a checker's faults are read by group."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.kind, line.template), []).append(line)
    return groups


STYLES = ["\n|{0}) {2}", "\n\n|({0}) {2}", "\n|{0}: {2}", "\n|{0}、{2}", "\n|- {0}. {2}", "  |{0}) {2}", " |({0}) {2}"]


def dev(seed: int = 0) -> list[Line]:
    """Draw the split that may be read while the checker changes."""
    return generate((COMMON, DEV), VOCABULARY, seed)


VOCABULARY: Vocabulary = {
    "unit unitw unit2 unit2w": [
        ("cm", "centimetres", "mm", "millimetres"),
        ("kg", "kilograms", "g", "grams"),
        ("km", "kilometers", "miles", "miles"),
        ("mph", "miles per hour", "km/h", "kilometres per hour"),
        ("mL", "milliliters", "L", "liters"),
        ("hours", "hours", "minutes", "minutes"),
    ],
    "len lenw len2": [("cm", "centimeters", "mm"), ("m", "metres", "cm"), ("ft", "feet", "yd")],
    "noun noun1 noun2": [
        ("apples", "apple", "pears"),
        ("books", "book", "pens"),
        ("students", "student", "teachers"),
        ("eggs", "egg", "chickens"),
        ("cookies", "cookie", "cakes"),
        ("cards", "card", "coins"),
        ("pages", "page", "chapters"),
    ],
    "name she": [("Tom", "He"), ("Anna", "She"), ("Mr. Smith", "He"), ("Janet", "She"), ("The baker", "He")],
    "cur curw cur2 curw2": [("$", "dollars", "€", "euros"), ("€", "euros", "£", "pounds")],
    "verb": [("bought",), ("sold",), ("has",), ("needs",), ("ate",), ("counted",)],
    "var var2": [("x", "y"), ("n", "k"), ("y", "z"), ("z", "x")],
    "thing": [
        ("area",),
        ("total cost",),
        ("perimeter",),
        ("sum",),
        ("number of students",),
        ("average",),
        ("distance",),
    ],
    "yes no Yes No YES true false True False clause": [
        ("yes", "no", "Yes", "No", "YES", "true", "false", "True", "False", "it is"),
        ("no", "yes", "No", "Yes", "NO", "false", "true", "False", "True", "it is not"),
        ("yes", "no", "Yes", "No", "YES", "true", "false", "True", "False", "whales are mammals"),
        ("no", "yes", "No", "Yes", "NO", "false", "true", "False", "True", "he could not have read it"),
    ],
    "ent ent2 entl entn entN": [
        ("Entails", "Contradicts", "entails", "entailment", "ENTAILS"),
        ("Contradicts", "Entails", "contradicts", "contradiction", "CONTRADICTS"),
    ],
    "text text2": [
        ("mitochondria", "nucleus"),
        ("Paris", "London"),
        ("photosynthesis", "respiration"),
        ("blue whale", "elephant"),
        ("Isaac Newton", "Galileo Galilei"),
    ],
    "month mon month2": [("July", "Jul", "June"), ("March", "Mar", "May"), ("December", "Dec", "November")],
    "cunit cunit2": [("米", "厘米"), ("元", "角"), ("个", "元"), ("岁", "米"), ("千克", "克")],
    "cnoun": [("苹果",), ("学生",), ("鸡蛋",)],
    "options": [
        ("12 m|15 m|18 m|21 m",),
        ("24|36|48|60|72",),
        ("Paris|London|Rome|Madrid",),
        ("C. albicans|E. coli|S. aureus|B. subtilis",),
        ("The kinetic energy increases|The mass decreases|The speed stays equal|None of the above",),
        ("$20|$25|$30|$35|$40",),
    ],
}

COMMON: Tables = {
    "plain": r"""
        + <n> => <n>
        + <n>. => <n>
        + <n>.0 => <n>
        + <dec0> => <dec>
        - <m> => <n>
        - <nswap> => <n>
        - <nplus> => <n>
        - <dec2> => <dec>
        - <n>.5 => <n>
        - -<n> => <n>
    """,
    "units": r"""
        + <n> <unit> => <n>
        + <n> <unitw> => <n> <unit>
        + <n> => <n> <unit>
        + <n> <noun> => <n>
        - <n> <unit> => <n> <unit2>
        - <m> <unit> => <n> <unit>
        - <n> <noun> => <n> <noun2>
    """,
    "area": r"""
        + <n> <len>^2 => <n>
        + <n> square <lenw> => <n> <len>^2
        - <n> <len>^2 => <n> <len>
        - <n> <len>^3 => <n> <len>^2
    """,
    "currency": r"""
        + <cur><n> => <n>
        + <n> <curw> => <cur><n>
        + <cur><bigc> => <big>
        - <cur><n> => <cur2><n>
        - <cur><m> => <n>
    """,
    "thousands": r"""
        + <bigc> => <big>
        + <bigt> => <big>
        + <big> => <bigc>
        - <bigless> => <bigc>
        - <bigbad> => <bigc>
        - <big2> => <bigc>
    """,
    "percent": r"""
        + <pc>% => <pc>
        + <pc>\% => <pc>%
        - <pcdec> => <pc>
        - <pc2>% => <pc>%
        - more than <pc>% => <pc>
    """,
    "fractions": r"""
        + <p>/<q> => <fdec>
        + \frac{<p>}{<q>} => <p>/<q>
        + -\frac{<p>}{<q>} => <fdecneg>
        + <fdec> => \frac{<p>}{<q>}
        - <q>/<p> => <p>/<q>
        - \frac{<p>}{<q2>} => \frac{<p>}{<q>}
        - <rdec2> => <r>/<t>
        - <p>/<q> => <p>
    """,
    "mixed": r"""
        + <w> <p>/<q> => <mdec>
        + <w>\frac{<p>}{<q>} => <imp>/<q>
        - <w>\frac{<p>}{<q>} => <mprod>
        - <w> <p>/<q> => <w>
        - <w> <p>/<q> => <w><p>/<q>
    """,
    "latex": r"""
        + $<n>$ => <n>
        + \boxed{<n>} => <n>
        + <k>\sqrt{<root>} => $<k>\sqrt{<root>}$
        - \sqrt{<n>} => <n>
        - <n>\pi => <n>
        - <k>\sqrt{<root>} => <k>\sqrt{<root2>}
    """,
    "powers": r"""
        + <k> \times 10^{<pow>} => <kten>
        + <sci> \times 10^<pow> => <scival>
        - <k> \times 10^{<pow2>} => <kten>
        - \frac{1}{2^{<e>}} => \frac{1}{2^{<e2>}}
        - 10^<pow> => <pow>
    """,
    "repeating": r"""
        + 0.\overline{<rep>} => <repnum>/<repden>
        - 0.\overline{<rep>} => 0.<rep>
    """,
    "negative": r"""
        + minus <n> => -<n>
        + −<n> => -<n>
        - minus <n> => <n>
        - negative <nw> => <n>
    """,
    "words": r"""
        + <nw> => <n>
        + <bigw> => <big>
        + <nw> <noun> => <n>
        - <mw> => <n>
        - <kw> hundred => <k>
    """,
    "fraction_words": r"""
        + <pw> <qws> => <p>/<q>
        - <p> <qws> => <p>
        - <pw> <qws> => <p>
        - half of the <n> <noun> => <n>
        - <k> and a half => <k>
    """,
    "scale": r"""
        + <k> million => <mil>
        - <k> million => <k>
        - <k> crore => <k>
        - <k> dozen => <k>
        - <n>k => <n>
    """,
    "inequality": r"""
        + <var> > <n> => <var> > <n>
        + $<var> \leq <n>$ => <var> \le <n>
        - at least <n> => <n>
        - more than <n> <noun> => <n>
        - <var> < <n> => <n>
        - <var> < <n> => <var> > <n>
    """,
    "negation": r"""
        + the answer is <n> => <n>
        - not <n> => <n>
        - It is not <n>. => <n>
        - anything but <n> => <n>
    """,
    "functions": r"""
        + The remainder is <k>. => <k>
        - twice <n> => <n>
        - <n> squared => <n>
        - divisible by <n> => <n>
        - a multiple of <n> => <n>
    """,
    "equations": r"""
        + <var> = <n> => <n>
        + <n> => <var> = <n>
        + y=<k>x+<j> => y = <k>x + <j>
        - <var2> = <n> => <var> = <n>
        - <k><var> = <n> => <n>
        - y = <k>x - <j> => y = <k>x + <j>
    """,
    "working": r"""
        + <a> + <b> = <sum> => <sum>
        + Therefore, <var> = <n> => <n>
        + <a> <noun> + <b> <noun> = <sum> <noun> => <sum>
        - <a> + <b> = <sum> => <a>
        - <a> + <b> = <sum> => <b>
        - <a> + <var> = <n> => <n>
    """,
    "sentences": r"""
        + <name> <verb> <n> <noun>. => <n>
        + The <thing> is <n>. => <n>
        + There are <n> <noun> left. => <n>
        - <name> <verb> <m> <noun>. => <n>
        - <name> <verb> <n> <noun> and <m> <noun2>. => <n>
        - The <thing> is <n> or <m>. => <n>
    """,
    "phrases": r"""
        + The answer is <n>. => <n>
        + The final answer is $<n>$. => <n>
        + Answer: <n> => <n>
        - The answer is <m>. => <n>
        - Answer: <n> or <m> => <n>
    """,
    "ranges": r"""
        + <u>-<v> => <u>-<v>
        - <u>-<v> => <v>
        - between <u> and <v> => <v>
        - <u> to <v> => <u>
    """,
    "times": r"""
        + <h>:<min> pm => <h>:<min> PM
        + <h>:<min> p.m. => <h>:<min> pm
        - <h>:<min> am => <h>:<min> pm
        - <h>:<min2> pm => <h>:<min> pm
        + <h2> h <min> min => <h2> hours <min> minutes
        - <h2> hours <min> minutes => <h2> hours
    """,
    "dates": r"""
        + <month> <dayth>, <yr> => <month> <day>, <yr>
        - <month> <day2>, <yr> => <month> <day>, <yr>
        - <month2> <day>, <yr> => <month> <day>, <yr>
    """,
    "ratios": r"""
        + <u> : <v> => <u>:<v>
        + The ratio is <u>:<v>. => <u>:<v>
        - <v>:<u> => <u>:<v>
        - <uplus>:<v> => <u>:<v>
    """,
    "lists": r"""
        + <u>, <v> and <z> => <u>, <v>, <z>
        + \{<v>, <u>\} => \{<u>, <v>\}
        - <v>, <u> => <u>, <v>
        - <u>, <v> => <u>, <v>, <z>
        - <u> and <v> => <u>
    """,
    "intervals": r"""
        + (<u>, <v>) => (<u>,<v>)
        + \left[<u>, <v>\right) => [<u>,<v>)
        - [<u>, <v>) => (<u>, <v>]
        - (<v>, <u>) => (<u>, <v>)
    """,
    "bases": r"""
        + <bin>_2 => <bin>_{2}
        - <bin>_2 => <bin>
        - <bin>_2 => <bin>_3
    """,
    "brackets": r"""
        + <dy> => <dy>
        + <dyns> => <dy>
        - <dyswap> => <dy>
        - <dyless> => <dy>
    """,
    "yesno": r"""
        + <Yes> => <yes>
        + <Yes>, <clause>. => <yes>
        - <No> => <yes>
        - <No>, <clause>. => <yes>
    """,
    "entailment": r"""
        + <entl> => <ent>
        + <ent>. => <ent>
        - <ent2> => <ent>
        - <ent> or <ent2> => <ent>
    """,
    "choice": r"""
        + <L> => <L>
        + (<L>) => <L>
        + <TL> => <L>
        + The answer is <L>. => <L>
        + <L>) <TL> => <L>
        - <W> => <L>
        - <TW> => <L>
        - <L> or <W> => <L>
        - <L>) <TW> => <L>
    """,
    "letters": r"""
        + <L>. => <L>
        + The answer is (<L>). => <L>
        - <W> => <L>
        - <L> and <W> => <L>
    """,
    "chinese": r"""
        + <n><cunit> => <n>
        + 答案是<n> => <n>
        - <m><cunit> => <n>
        - 不是<n> => <n>
        - <n><cunit> => <n><cunit2>
    """,
    "choice_chinese": r"""
        + 故选<L> => <L>
        - 故选<W> => <L>
    """,
    "european": r"""
        + La réponse est <n>. => <n>
        + Antwort: <n> => <n>
        - La réponse est <m>. => <n>
    """,
    "markdown": r"""
        + **<n>** => <n>
        + **Answer:** <n> => <n>
        - **<m>** => <n>
    """,
    "hedges": r"""
        + exactly <n> => <n>
        - maybe <n> => <n>
        - about <n> => <n>
        - <n> or <m> => <n>
    """,
    "two_numbers": r"""
        + <n> (<nw>) => <n>
        - <n> <m> => <n>
        - <n>, <m> => <n>
        - <n> and <m> => <m>
    """,
    "empty": r"""
        + ⏎⏎<n> => <n>
        - ∅ => <n>
        - ⏎ => <n>
    """,
    "texts": r"""
        + the <text> => <text>
        + <text>. => <text>
        - <text2> => <text>
        - <text> or <text2> => <text>
    """,
}

DEV: Tables = {
    "plain": r"""
        + 0<n> => <n>
        + +<n> => <n>
        + <n>.00 => <n>
        - <n>0 => <n>
        - 1<n> => <n>
        - <decx10> => <dec>
        - <decint> => <dec>
    """,
    "units": r"""
        + <n><unit> => <n>
        + <n> <unit> => <n> <unitw>
        + <n> \text{ <unit>} => <n>
        + <n>\mathrm{~<unit>} => <n> <unitw>
        + <n> years old => <n> years
        + <n>^\circ => <n> degrees
        + <dec> <unitw> => <dec>
        - <n> <unitw> => <n> <unit2w>
        - <n> \text{ <unit>} => <n> \text{ <unit2>}
        - <n> red <noun> => <n> green <noun>
        - <dec2> <unit> => <dec> <unit>
        - <n> degrees => <n>%
    """,
    "area": r"""
        + The <thing> is <n> <len>^2. => <n>
        + <n> \text{ <len>}^2 => <n>
        + <n>\,\text{<len>}^{2} => <n>
        + <n> <len>² => <n> <len>^2
        + <n>\pi \text{ <len>}^2 => <n>\pi
        + <k>\sqrt{<root>} <len> => <k>\sqrt{<root>}
        + $<n>\text{ <len>}^3$ => <n>
        - <n>\pi \text{ <len>}^2 => <n>
        - <n> square <lenw> => <n> <lenw>
        - <n> <len>^2 => <n>2
        - <n>^2 => <n>
        - <n> <len2>^2 => <n> <len>^2
    """,
    "currency": r"""
        + \$<n> => <n>
        + <cur><n>.00 => <n>
        + -$<n> => -<n>
        + <n> dollars => $<n>
        + USD <n> => <n>
        + <cur><dec0> => <dec>
        - $<n> => <n> cents
        - <n> <curw> => <n> <curw2>
        - <cur><n> => -<n>
        - <cur><n> each for <m> <noun> => <n>
    """,
    "thousands": r"""
        + <bigs> => <big>
        + <bigc>.00 => <big>
        + <bigc> <noun> => <big>
        + <bigc>.5 => <eudec>
        + <eu> => <eudec>
        - <bigc>0 => <big>
        - <bigc> => <big2>
        - <big>.5 => <big>
    """,
    "percent": r"""
        + <pc> percent => <pc>%
        + <pc>% => <pcdec>
        + $<pc>\%$ => <pc>
        + <pc> => <pc>%
        + <pcup>% => <pcup>
        + The probability is <pc>%. => <pc>
        - $<pc> => <pc>%
        - <pcup>% => <pc>%
        - <pc>% of <n> => <n>
        - <pc>% or <pc2>% => <pc>
        - 0.<pc>% => <pc>%
    """,
    "fractions": r"""
        + \dfrac{<p>}{<q>} => \frac{<p>}{<q>}
        + $\tfrac{<p>}{<q>}$ => <fdec>
        + <cp>/<cq> => <p>/<q>
        + \frac{<p>}{-<q>} => -<p>/<q>
        + \boxed{\dfrac{<p>}{<q>}} => <p>/<q>
        + <rdec8> => <r>/<t>
        + <p> / <q> => \frac{<p>}{<q>}
        - \frac{<q>}{<p>} => \frac{<p>}{<q>}
        - \frac{<p>}{-<q>} => <p>/<q>
        - <p>/<q> => <q>
        - \frac{<p>}{<q>} or \frac{<q>}{<p>} => \frac{<p>}{<q>}
        - \frac{<r>}{<t>} => \frac{<r2>}{<t>}
        - <p>:<q> => <fdec>
    """,
    "mixed": r"""
        + <w> \frac{<p>}{<q>} => <w>\frac{<p>}{<q>}
        + $<w>\frac{<p>}{<q>}$ => <mdec>
        + <w> and <p>/<q> => <w> <p>/<q>
        + <mdec> => <w> <p>/<q>
        + -<w>\frac{<p>}{<q>} => -<imp>/<q>
        - <w>\frac{<p>}{<q>} => <p>/<q>
        - <w> <p>/<q> => <p>/<q>
        - -<w>\frac{<p>}{<q>} => <imp>/<q>
        - <w>\frac{<p>}{<q2>} => <w>\frac{<p>}{<q>}
    """,
    "latex": r"""
        + \(<n>\) => <n>
        + $\boxed{<n>}$ => <n>
        + \text{<n>} => <n>
        + $<k>\pi$ => <k>\pi
        + \frac{\sqrt{<root>}}{<k>} => \dfrac{\sqrt{<root>}}{<k>}
        + $\boxed{<k>\sqrt{<root>}}$ => <k>\sqrt{<root>}
        + <n>\% => <n>
        - \boxed{<m>} => <n>
        - $<k>\pi$ => <k>
        - <k>\sqrt{<root>} => <j>\sqrt{<root>}
        - <n>\pi => <m>\pi
        - <n>! => <n>
        - \boxed{<n>, <m>} => <n>
    """,
    "powers": r"""
        + <sci>e<pow> => <scival>
        + 10^{<pow>} => <ten>
        + 2^{<e>} => $2^{<e>}$
        + \frac{1}{2^{<e>}} => \dfrac{1}{2^{<e>}}
        + <k>e-<pow> => <scismall>
        - 2^{<e>} => 2^{<e2>}
        - <sci>e<pow2> => <scival>
        - 1/<e>! => 1/<e2>!
        - <k> \times 10^{-<pow>} => <kten>
        - <n>^<k> => <n>
        - \binom{<e>}{<k>} => \binom{<e>}{<j>}
    """,
    "repeating": r"""
        + 0.(<rep>) => \frac{<repnum>}{<repden>}
        + $0.\overline{<rep>}$ => 0.\overline{<rep>}
        + 0.<reprep>... => <repnum>/<repden>
        + <repnum>/<repden> => 0.\overline{<rep>}
        - 0.(<rep>) => 0.<rep>
        - 0.<rep> => <repnum>/<repden>
        - 0.\overline{<rep>} => <rep>
        - 0.\overline{<rep>} => <repw>/<repden>
    """,
    "negative": r"""
        + negative <n> => -<n>
        + minus <nw> => -<n>
        + -<n> => minus <n>
        + - <n> => -<n>
        + The temperature is -<n> degrees. => -<n>
        - negative <n> => <n>
        - minus <nw> => <n>
        - <n> => -<n>
        - The temperature is minus <n>. => <n>
    """,
    "words": r"""
        + <nand> => <n>
        + <Nw> => <n>
        + a hundred => 100
        + a thousand <noun> => 1000
        + <bigand> => <big>
        + The answer is <nw>. => <n>
        + <kw> hundred => <hund>
        - <kw> thousand => <k>
        - <nw> => <m>
        - <kw> or <jw> => <k>
        - <nw> and <mw> => <n>
        - a hundred => 1
        - <kw> <jw> => <k>
    """,
    "fraction_words": r"""
        + one half => 1/2
        + two thirds => 2/3
        + <kw> and a half => <k>.5
        + <tpw> <tws> => \frac{<tp>}{<third>}
        + a quarter => 0.25
        - one half => 2
        - a third => 3
        - one third => 1
        - a quarter of <n> => <n>
        - <tpw> <tws> => <third>
        - <p>/<q> of the <n> <noun> => <n>
        - one tenth of <n> => <n>
        - <n> and a quarter => <n>
    """,
    "scale": r"""
        + <dec> million => <decmil>
        + $<k> million => <mil>
        + <n> thousand => <thou>
        + <k> dozen => <doz>
        + a dozen => 12
        + <k> billion => <bil>
        - <k> lakh => <k>
        - <n> thousand => <n>
        - <k> dozen eggs => <k>
        - $<k>M => <k>
        - <k> million => <bil>
        - a dozen => 1
    """,
    "inequality": r"""
        + <var> >= <n> => <var> \geq <n>
        + <var><=<n> => <var> \leq <n>
        + at least <n> => at least <n>
        + <u> < <var> < <v> => <u> < <var> < <v>
        - less than <n> => <n>
        - fewer than <n> <noun> => <n>
        - greater than <n> => <n>
        - over <n> => <n>
        - above <n> => <n>
        - <n> or more => <n>
        - <var> \geq <n> => <var> > <n>
        - at most <nw> => <n>
        - <u> < <var> < <v> => <v>
    """,
    "negation": r"""
        + Not possible. => not possible
        + no solution => No solution
        + It is <n>. => <n>
        + That makes <n>. => <n>
        - <n> is incorrect => <n>
        - never <n> => <n>
        - everything except <n> => <n>
        - The answer is not <n>. => <n>
        - It isn't <n> => <n>
        - \neq <n> => <n>
        - <n> is not the answer => <n>
    """,
    "functions": r"""
        + Twice <n> = <even> => <even>
        + <k> squared = <ksq> => <ksq>
        + The quotient is <n> => <n>
        + The square root is <k>. => <k>
        - the square of <n> => <n>
        - three times <n> => <n>
        - <n> plus <var> => <n>
        - <n> divided by <var> => <n>
        - one more than <n> => <n>
        - the cube of <k> => <k>
        - half of <n> => <n>
        - <k><var> => <k>
        - <var>^<k> => <k>
        - <var> minus <n> => <n>
    """,
    "equations": r"""
        + $<var>=<n>$ => <n>
        + <n> = <var> => <n>
        + $y = <k>x + <j>$ => y=<k>x+<j>
        + The solution is <var> = <n> => <n>
        + b = <k>, a = <j> => a = <j>, b = <k>
        - b = <j>, a = <k> => a = <j>, b = <k>
        - <var> = <m> => <var> = <n>
        - <var>^2 = <n> => <n>
        - <var> + <var2> = <n> => <n>
        - <var> \neq <n> => <n>
        - <var> = <n> or <var> = <m> => <n>
        - y = <j>x + <k> => y = <k>x + <j>
    """,
    "working": r"""
        + = <n> => <n>
        + <a> x <b> = <prod> => <prod>
        + <<<a>*<b>=<prod>>><prod> => <prod>
        + $<a> + $<b> = $<sum> => <sum>
        + We get <var> = <n> => <n>
        + Answer: a+b = <a>+<b> = <sum> => <sum>
        + Total cost: $<a> + $<b> = $<sum> => <sum>
        + <a> boxes * <b> <noun> = <prod> <noun> => <prod>
        + <a> + <b> + <j> = <sum> + <j> = <asumj> => <asumj>
        + <a> - <b> = **<diff>** => <diff>
        + 50% of <even> = <n> => <n>
        - <a> x <b> = <prod> => <sum>
        - 50% of <even> = <n> => <even>
        - $<a> + $<b> = $<sum> => <a>
        - <a> + <b> + <j> = <sum> + <j> = <asumj> => <sum>
        - <a> - <b> = <diff> => <b>
        - <a> + <b> \neq <n> => <n>
    """,
    "sentences": r"""
        + So <name> has <n> <noun> left. => <n>
        + In total, <name> <verb> <n> <noun>. => <n>
        + <she> earned $<n> that week. => <n>
        + It takes <n> <unit>. => <n>
        + <n> <noun> are left => <n>
        + The total is <n> <noun>, in all. => <n>
        + The <thing> is <n> <unit>. => <n>
        + <name> is <n> years old. => <n>
        + The <thing> is equal to <n>. => <n>
        - One of the <n> <noun> => <n>
        - <name> had <n> <noun> and gave away <m>. => <m>
        - <name> has less than <n> <noun>. => <n>
        - <k> of the <n> <noun> => <n>
        - <she> does not have <n> <noun>. => <n>
        - The <thing> is <n>, or maybe <m>. => <n>
        - vitamin B<k> => <k>
    """,
    "phrases": r"""
        + the answer is: <n> => <n>
        + The answer is $\boxed{<n>}$. => <n>
        + #### <n> => <n>
        + Therefore, the answer is <n>. => <n>
        + So the final answer is <n> <noun>. => <n>
        + Final Answer: The final answer is $<n>$. I hope it is correct. => <n>
        + A: <n> => <n>
        - #### <m> => <n>
        - The answer is <n> and <m>. => <n>
        - The answer is either <n> or <m>. => <n>
        - The answer is less than <n>. => <n>
        - The answer is twice <n>. => <n>
    """,
    "ranges": r"""
        + <u> – <v> => <u>-<v>
        + between <u> and <v> => between <u> and <v>
        + <u> to <v> <noun> => <u> to <v>
        - <u>-<z> => <u>-<v>
        - from <u> to <v> => <v>
        - <u>–<v> <noun> => <v>
        - <u> to <v> <unit> => <v>
    """,
    "times": r"""
        + It is <h>:<min> pm => <h>:<min> pm
        + <h>:<min>pm => <h>:<min> p.m.
        + <h2>h <min>min => <h2> hours <min> minutes
        + <h2> hours and <min> minutes => <h2> hours <min> minutes
        - <h>:<min> => <h>.<min>
        - <h2>:<min> am => <h>:<min> am
        - <h2> hours <min2> minutes => <h2> hours <min> minutes
        - <h>:<min> pm => <min>
        - <h>:<min> => <h>
    """,
    "dates": r"""
        + **<month> <day>, <yr>** => <month> <day>, <yr>
        + <day> <month> <yr> => <month> <day>, <yr>
        + in <yr> => <yr>
        + 04/<date2>/<yr> => 04/<date2>/<yr>
        - <month> <day>, <yr2> => <month> <day>, <yr>
        - before <yr> => <yr>
        - <yr> => <month> <day>, <yr>
        - 05/<date2>/<yr> => 04/<date2>/<yr>
    """,
    "ratios": r"""
        + $<u>:<v>$ => <u>:<v>
        + **<u>:<v>** => <u> : <v>
        - <u>:<v> => <v>
        - The ratio is <v>:<u>. => <u>:<v>
        - <u>:<v>:<z> => <u>:<v>
    """,
    "lists": r"""
        + <u> and <v> => <u>, <v>
        + <u>,<v>,<z> => <u>, <v>, <z>
        + The answers are <u> and <v>. => <u>, <v>
        + $<u>, <v>$ => <u>,<v>
        + \{<z>, <u>, <v>\} => \{<u>, <v>, <z>\}
        - <u>, <z> => <u>, <v>
        - \{<u>, <z>\} => \{<u>, <v>\}
        - <u>, <v>, <z> => <u>, <v>
        - <u> and <v> => <u>, <z>
        - <u><v> => <u>, <v>
    """,
    "intervals": r"""
        + $(<u>, <v>)$ => (<u>, <v>)
        + \left(<u>, \frac{<p>}{<q>}\right) => (<u>,\frac{<p>}{<q>})
        + (-\infty, <u>] => (-\infty,<u>]
        + The point is (<u>, <v>). => (<u>, <v>)
        - (<u>, <v>] => [<u>, <v>]
        - (<u>, <v>, <z>) => (<u>, <v>)
        - (-<u>, <v>) => (<u>, <v>)
        - (-\infty, <u>) => (-\infty, <u>]
        - (<u>, <v>) => <u>
    """,
    "bases": r"""
        + $<bin>_2$ => <bin>_2
        + <oct>_{8} => <oct>_8
        + \boxed{<bin>_2} => <bin>_2
        - <oct>_8 => <oct>
        - <oct>_8 => <oct>_9
        - <bin2>_2 => <bin>_2
    """,
    "brackets": r"""
        + `<dy>` => <dy>
        + The answer is <dy> => <dy>
        - <dymore> => <dy>
        - <dyopen> => <dy>
        - <dy1> => <dy>
    """,
    "yesno": r"""
        + **<Yes>** => <yes>
        + **<Yes>**, <clause> => <yes>
        + <Yes> - <clause> => <yes>
        + <Yes> — <clause> => <yes>
        + "<Yes>" => <yes>
        + '<yes>' => <yes>
        + (<yes>) => <yes>
        + <True> => <yes>
        + <YES> => <yes>
        + The answer is <yes>. => <yes>
        + <yes>. => <True>
        - <No> - <clause> => <yes>
        - <False> => <yes>
        - <yes> and <no> => <yes>
        - <yes> or <no> => <yes>
        - Maybe <yes> => <yes>
        - not <yes> => <yes>
        - The answer is not <yes>. => <yes>
        - I don't know => <yes>
    """,
    "entailment": r"""
        + **<ent>** => <ent>
        + <entn> => <ent>
        + "<ent>" => <ent>
        + The answer is <ent>. => <ent>
        - **<ent2>** => <ent>
        - not <entl> => <ent>
        - neutral => <ent>
        - <ent> and <ent2> => <ent>
    """,
    "choice": r"""
        + The correct option is <L> => <L>
        + <L> is correct => <L>
        + I choose <L>. => <L>
        + Ans. <L> => <L>
        + Option <L> => <L>
        + **(<L>)** => <L>
        + **<L>**) <TL> => <L>
        + <L> - <TL> => <L>
        + <L> – <TL> => <L>
        + <L>: <TL> => <L>
        + <L> (<TL>) => <L>
        + It is <TL> => <L>
        + Choose <L> => <L>
        + Answer: **<L>** => <L>
        + <L>. <TL> => <TL>
        + <L> => <TL>
        + \text{(<L>)} => <L>
        - The correct option is <W> => <L>
        - <L> and <W> => <L>
        - <L>, <W> => <L>
        - <W> - <TW> => <L>
        - not <L> => <L>
        - <L> is incorrect => <L>
        - <TL> or <TW> => <L>
        - **(<W>)** => <L>
        - I choose <W>. => <L>
        - <L> - <TW> => <L>
        - It is <TW> => <L>
        - Either <L> or <W> => <L>
        - <W> => <TL>
    """,
    "letters": r"""
        + Option <L> => <L>
        + (<l_>) => <L>
        + **<L>** => <L>
        + \boxed{<L>} => <L>
        - <L> or <W> => <L>
        - not <L> => <L>
        - **<W>** => <L>
        - A dog barks => A
    """,
    "chinese": r"""
        + 答：<n><cunit> => <n>
        + 一共有<n>个<cnoun> => <n>
        + 等于<n> => <n>
        + <n> <cunit> => <n>
        + 答案：<nfull> => <n>
        + 共<n><cunit>。 => <n>
        - 不等于<n> => <n>
        - 大约<n><cunit> => <n>
        - 至少<n><cunit> => <n>
        - <n>或<m> => <n>
        - <k>万<cunit> => <k>
        - 答案是<m> => <n>
    """,
    "choice_chinese": r"""
        + 选<L> => <L>
        + <L>、<TL> => <L>
        + 答案是<L> => <L>
        + 答案：（<L>） => <L>
        - 不选<L> => <L>
        - <W>、<TW> => <L>
        - 选<L>或<W> => <L>
        - 答案是<W> => <L>
    """,
    "european": r"""
        + Réponse : <n> => <n>
        + Die Antwort ist <n>. => <n>
        + <n> mètres => <n>
        + Respuesta: <n> => <n>
        - Die Antwort ist <n> oder <m>. => <n>
        - moins de <n> => <n>
        - La réponse n'est pas <n>. => <n>
        - nicht <n> => <n>
    """,
    "markdown": r"""
        + `<n>` => <n>
        + *<n>* => <n>
        + **Final answer: <n>** => <n>
        + The answer is **<n> <noun>**. => <n>
        - **not <n>** => <n>
        - **<n>** or **<m>** => <n>
        - `<m>` => <n>
    """,
    "hedges": r"""
        + precisely <n> <noun> => <n>
        + The answer is exactly <n>. => <n>
        - probably <n> => <n>
        - approximately <n> => <n>
        - either <n> or <m> => <n>
        - <n> (or <m>) => <n>
        - I am not sure, maybe <n> => <n>
        - around <n> <noun> => <n>
        - almost <n> => <n>
    """,
    "two_numbers": r"""
        + <nw> (<n>) => <n>
        + <n> = <n>.0 => <n>
        - <n> <noun> and <m> <noun2> => <n>
        - <n>; <m> => <n>
        - <n> then <m> => <m>
        - first <n>, finally <m> => <n>
        - <n>/<m> => <n>
    """,
    "empty": r"""
        + ␣␣<n>␣␣ => <n>
        - The answer is => <n>
        - \boxed{} => <n>
        - N/A => <n>
        - $$ => <n>
        - ... => <n>
        - I don't know => <n>
    """,
    "texts": r"""
        + **<text>** => <text>
        + The answer is <text>. => <text>
        + "<text>" => <text>
        - not <text> => <text>
        - **<text2>** => <text>
        - <text> and <text2> => <text>
    """,
}
