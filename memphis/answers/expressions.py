r"""Gate of computer algebra: find answers that are a single formula, so that it may decide whether two are equal.

Strict on purpose: an algebra system reads "2 hours" as h·o·u·r·s and "1:5" as a quotient, and then calls different
answers equal. Works on cleaned text and computes nothing.
"""

import re

from memphis.answers.clean import text_key
from memphis.answers.quantities import known_unit, quantity, unit_of
from memphis.answers.sentences import assignment

MAX_EXPRESSION_CHARS = 200
_SPELLINGS = {"×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty "}
_COMMANDS = re.compile(
    "frac|sqrt|binom|(?:arc)?(?:sin|cos|tan)|cot|sec|csc|log|ln|exp|alpha|beta|gamma|theta|lambda|mu|phi|omega"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)(?:\[[0-9a-z]\])?")  # \sqrt[3]
_OTHERS = re.compile(r"[0-9.+\-*/^_!|(){}\[\], ×·÷π∞]*")
_PRODUCT = re.compile(r"[abcxyz]{2,3}", re.I)  # xy; any other run of letters may be a word or a unit
_LETTERS = re.compile(r"[^\W\d_]+")
_BASE = re.compile(r"[0-9]\s*_")  # 1011_2, which an algebra system reads as 1011
_MULTIPLE = re.compile(
    r"(?P<core>(?=(?:[^A-Za-z]|frac)*(?:π|sqrt))(?:\\frac|\\sqrt(?:\[[0-9]\])?|[^A-Za-z\\])+?)\s*(?P<unit>(?:[A-Za-z°].*)?)"
)
_NO_OPERAND = re.compile(r"(?:^|[({\[,])\s*[×·÷*/^]|[-+×·÷*/^]\s*(?:$|[)}\],])")


def formulas(prediction: str, gold: str) -> tuple[str, str] | None:
    """Return two cleaned answers as LaTeX of one formula each, or None where algebra does not apply.

    `x = 5` counts as 5. No other equation is a formula: `x + 5 = 13` and `x = 8` are different statements. Also None if
    both are plain quantities, which were compared exactly before, or if they are assignments to different names.
    """
    other_name, prediction = assignment(prediction)
    name, gold = assignment(gold)
    if name and other_name and name != other_name:
        return None
    if quantity(prediction) is not None and quantity(gold) is not None:
        return None
    return (_latex(prediction), _latex(gold)) if is_formula(prediction) and is_formula(gold) else None


def is_formula(cleaned: str) -> bool:
    """True if the text is one formula alone: no words, lists, ratios, equations, inequalities, unknown commands."""
    if not cleaned or len(cleaned) > MAX_EXPRESSION_CHARS:
        return False
    rest = cleaned.replace("\\{", "{").replace("\\}", "}")
    rest = _COMMAND.sub(lambda found: " " if _COMMANDS.fullmatch(found[1]) else "\\", rest)
    runs = _LETTERS.findall(rest.replace("π", " "))
    if not all(run.isascii() and (len(run) == 1 or _PRODUCT.fullmatch(run)) for run in runs):
        return False
    if not _OTHERS.fullmatch(_LETTERS.sub(" ", rest)) or _NO_OPERAND.search(rest) or _BASE.search(rest):
        return False
    return _balanced_without_list(cleaned)


def same_multiple(prediction: str, gold: str) -> bool | None:
    """Compare multiples of pi or of a root, one of them with a unit: `12π cm^{2}` and `12π`; None for other answers."""
    other, match = _MULTIPLE.fullmatch(prediction), _MULTIPLE.fullmatch(gold)
    if match is None or other is None:
        return None
    units = [unit_of(found["unit"], adjoined=True) for found in (match, other) if found["unit"]]
    if not all(known_unit(found["unit"]) for found in (match, other) if found["unit"]) or len(set(units)) > 1:
        return False
    cores = [text_key(re.sub(r"\s*[·*×]\s*(?=π|\\sqrt)", "", found["core"].strip())) for found in (match, other)]
    return cores[0] == cores[1]


def _balanced_without_list(text: str) -> bool:
    """True if every bracket is closed (`[2, 5)` is an interval) and no comma is outside of all brackets."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0 or (character == "," and depth == 0):
            return False
    return depth == 0


def _latex(formula: str) -> str:
    for sign, command in _SPELLINGS.items():
        formula = formula.replace(sign, command)
    return formula
