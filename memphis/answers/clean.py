r"""Bring an answer, as a model or a data set wrote it, into one canonical line of text.

Handles Unicode look-alikes, markdown, "the answer is" and as much TeX as answers contain. Knows nothing about
numbers, letters or options, and never decides whether two answers are equal.
"""

import re
import unicodedata
from functools import lru_cache

MAX_CHARS = 512  # longer texts are explanations, not answers

_HEADER_LINE = re.compile(r"^### ", re.M)
_LINE_END = re.compile(r"[\r\n]+")
_SUPERSCRIPT = re.compile("[⁺⁻⁰¹²³⁴-⁹]+")
_SUBSCRIPT = re.compile("[₀-₉]+")
_VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞]")
_LEADING_DASH = re.compile(r"^\s*[‒–—]")
_LOOK_ALIKES = str.maketrans(
    {
        "\u2212": "-",
        "\u2044": "/",
        "\u2215": "/",
        "\u2236": ":",
        "º": "°",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
    }
)
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_EMPHASIS = re.compile(r"(?<![\w)}\\])(\*{1,3}|_{1,3}|`+)(?=\S)(.+?)(?<=\S)\1(?![\w({])")
_ANSWER_IS = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the|my|our)\s+)?(?:(?:final|correct|right|best)\s+)*(?:answer|ans)\.?"
    r"(?:\s+to\s+(?:the|this)\s+(?:question|problem))?"
    r"\s*(?:(?:is|(?:would|should|must|will)\s+be)\b\s*:?|:|=|[-–—](?=\s)|(?<=ans\.)\s|\s(?=\(?[a-h]\)?(?:[.:]|$)))\s*"
    r"|(?:正确|最终|最后|所以)*答案?\s*[是为]?\s*:\s*|(?:(?:正确|最终|最后|所以|因此),?)*(?:答案|结果)\s*(?:应该|应)?[是为选]?\s*:?\s*"
    r"|(?:la\s+)?(?:respuesta|réponse|risposta|resposta)\s*(?:finale?\s*)?(?:est?\b|è|é|:)\s*:?\s*|a\s+resposta\s+é\s*:?\s*"
    r"|(?:die\s+)?antwort\s*(?:ist|lautet|:)\s*:?\s*|ответ\s*:\s*|(?:答え|正解)\s*[は:]\s*|(?:정답|답)\s*[은:]\s*",
    re.I,
)
_QUOTED = re.compile(r"(?P<q>[\"'`])(?P<a>[^\"'`]+)(?P=q)|[«「『](?P<b>[^«»「」『』]+)[»」』]")
_BRACKETS = re.compile(r"\\?[()\[\]{}<>](?:\s*\\?[()\[\]{}<>])*")
_ABOUT = re.compile(r"(?:^|(?<=\s))~(?=[$£€]?[0-9])")  # ~20, where TeX would have a space
_PLAIN_SET = re.compile(r"(?:^|(?<=[\s$=∈]))\{([^{}\\]*,[^{}\\]*)\}(?=$|[\s$.])")  # {1, 2}, which TeX would group
_RELATIONS = (("<=", "≤"), (">=", "≥"), ("=<", "≤"), ("!=", "≠"))
_REPEATING = re.compile(r"([0-9]+\.[0-9]*)\\(?:overline|bar|dot)\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_OVERLINED = re.compile(r"([0-9]+\.[0-9]*?)((?:[0-9][\u0304\u0305\u0307])+)")
_AND_SO_ON = re.compile(r"([0-9]+\.[0-9]{0,6}?)([0-9]{1,6}?)\2{1,20}\.\.\.")

# --- TeX ---------------------------------------------------------------------------------------------------------
_TEXTBACKSLASH = re.compile(r"\\textbackslash\s*(?:\{\})?")
_DISPLAY_MATH = re.compile(r"\$\$(.*?)\$\$")
_LITERAL_DOLLAR = "\ue000"  # private use: stands for \$ while math dollars are dropped
_NUMERIC_POWER = re.compile(r"\^\s*([-+]?[0-9]+)")
_TOKEN = re.compile(r"\\sqrt\s*\[[^\[\]{}]*\]|\\[A-Za-z]+\s*|\\.|\s+|.", re.S)
_ARGUMENTS = {r"\frac": 2, r"\binom": 2, r"\sqrt": 1}
_SAME_COMMAND = {r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom"}
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|style|asciitilde)?|math(?:rm|bf|it|sf|tt|bb)|operatorname|mbox|emph|boxed|fbox"
    r"|displaystyle|q?quad|rm|bf|it)"
)
_SIZE = re.compile(r"\\(?:left|right|middle|[bB]igg?[lr]?|limits)")
_SYMBOLS = {
    r"\times": "×", r"\cdot": "·", r"\div": "÷", r"\pm": "±", r"\circ": "°", r"\degree": "°", r"\pi": "π",
    r"\infty": "∞", r"\le": "≤", r"\leq": "≤", r"\leqslant": "≤", r"\ge": "≥", r"\geq": "≥", r"\geqslant": "≥",
    r"\ne": "≠", r"\neq": "≠", r"\lt": "<", r"\gt": ">", r"\textless": "<", r"\textgreater": ">", r"\ell": " l ",
    r"\cup": "∪", r"\cap": "∩", r"\textquotesingle": "'", r"\textdollar": "$", r"\dots": "...", r"\ldots": "...",
    r"\pounds": "£", r"\textsterling": "£", r"\euro": "€", r"\texteuro": "€", r"\yen": "¥", r"\textyen": "¥",
    r"\in": "∈", r"\cdots": "...", r"\percent": "%", r"\textunderscore": "_",
}  # fmt: skip
_ROOT = re.compile(r"√\s*(?:([0-9]+)|\(([^()]*)\))|\bsqrt\s*(?:\(([^()]*)\))")
_PI = re.compile(r"(?<=[0-9)}])\s?[*·×]?\s?\bpi\b|(?<=[0-9)}])\s?[*·×]\s?π|(?<=[0-9])pi\b")
_SPACE_BEFORE_POWER = re.compile(r"(?<=[^\W\d])\s+\^")
_EMPTY_POWER = re.compile(r"\^\{\s*\}")
_DEGREE_POWER = re.compile(r"\^\s*(?:\{\s*°\s*\}|°)")
_ORDINAL_POWER = re.compile(r"(?<=[0-9])\s*\^\{\s*(st|nd|rd|th)\s*\}", re.I)
_REMOVABLE_SPACE = re.compile(r" (?![^\W_])|(?<![^\W_]) |(?<=\d) (?=[^\W\d])|(?<=[^\W\d]) (?=\d)")


def first_line(text: str) -> str:
    """Return the first non-blank line before any `### ` header line, stripped; "" if there is none."""
    header = _HEADER_LINE.search(text)
    for line in _LINE_END.split(text[: header.start()] if header else text):
        if line.strip():
            return line.strip()
    return ""


@lru_cache(maxsize=1 << 16)
def clean(text: str) -> str:
    """Return the answer as one line without wrapping; letter case and inner spaces stay.

    Returns "" for a blank text and for one of more than MAX_CHARS characters: that is not an answer.
    """
    line = first_line(text) if len(text.strip()) <= MAX_CHARS else ""
    if not line.isascii():
        line = _unicode(line)
        if len(line) > 2 * MAX_CHARS:  # a few characters expand eighteen-fold under NFKC
            return ""
    line = _EMPHASIS.sub(r"\2", line.lstrip("# ")).strip("*_` ")
    header = _ANSWER_IS.match(line)
    brackets = (line[header.end() :] if header else line).strip("\"'` ").rstrip(".")
    if _BRACKETS.fullmatch(brackets):  # closing brackets of a sequence, not TeX
        return " ".join(brackets.replace("\\", "").split())
    line = _PLAIN_SET.sub(r"\\{\1\\}", _CALCULATOR.sub("", line))
    line = _ABOUT.sub("≈", line)
    line = _drop_dollars(_TEXTBACKSLASH.sub(_backslash, line)).replace("~", " ")
    if any(mark in line for mark in "\\{}^_"):
        line = _tex(line)
    line = _spell(" ".join(line.split()))
    for _ in range(2):  # "Final Answer: The final answer is 72"
        start = _ANSWER_IS.match(line)
        line = line[start.end() :] if start else line
        line = line.strip("*` ").rstrip(".,;:。、 ")
        quoted = _QUOTED.fullmatch(line)
        line = (quoted["a"] or quoted["b"]).strip() if quoted else line
    return _LEADING_DASH.sub("-", line.rstrip(".,;:。、 "))


def text_key(cleaned: str) -> str:
    """Return a key that is equal for equal texts: case and spaces that separate nothing are removed."""
    return _REMOVABLE_SPACE.sub("", cleaned.casefold())


def _unicode(line: str) -> str:
    # NFKC alone would turn 5² into 52, 101₂ into 1012 and 1½ into 11/2.
    line = _SUPERSCRIPT.sub(lambda run: "^{" + unicodedata.normalize("NFKC", run[0]) + "}", line)
    line = _SUBSCRIPT.sub(lambda run: "_{" + unicodedata.normalize("NFKC", run[0]) + "}", line)
    line = _VULGAR_FRACTION.sub(lambda sign: " " + unicodedata.normalize("NFKC", sign[0]), line)
    return _LEADING_DASH.sub("-", unicodedata.normalize("NFKC", line.translate(_LOOK_ALIKES)).translate(_LOOK_ALIKES))


def _spell(line: str) -> str:
    """Give signs that have several spellings one: relations, roots, pi, repeating decimals as `0.1(6)`."""
    for written, sign in _RELATIONS:
        line = line.replace(written, sign)
    line = line.replace("° C", "°C").replace("° F", "°F")
    line = _PI.sub("π", _ROOT.sub(r"\\sqrt{\1\2\3}", line))
    if "." in line:
        line = _REPEATING.sub(r"\1(\2\3)", line)
        line = _OVERLINED.sub(lambda m: f"{m[1]}({re.sub('[^0-9]', '', m[2])})", line)
    if "..." in line:
        line = _AND_SO_ON.sub(lambda m: f"{m[1]}({m[2]})" if len(m[0]) - len(m[1]) >= 6 else m[0], line)
    return line


def _backslash(match: re.Match[str]) -> str:
    # The data has \textbackslash\% and \textbackslash; for a broken \% and \; (a thin space).
    return "" if match.string[match.end() : match.end() + 1] == "\\" else "\\"


def _drop_dollars(line: str) -> str:
    if "$" not in line:
        return line
    line = _DISPLAY_MATH.sub(r" \1 ", line.replace(r"\$", _LITERAL_DOLLAR))
    if line.count("$") % 2 == 0:  # an odd number of them means money
        line = line.replace("$", " ")
    return line.replace(_LITERAL_DOLLAR, "$")


def _tex(line: str) -> str:
    """Replace commands by symbols, drop wrappers, brace only arguments: \\frac12 and {{2}^{51}} get one spelling."""
    out: list[str] = []
    closers: list[tuple[str, int]] = []  # text for the matching brace, and the number of arguments expected after it
    expected = 0  # arguments still to come; -1: after an unknown command, every directly following group is one
    wrapper = False
    for token in _TOKEN.findall(_NUMERIC_POWER.sub(r"^{\1}", line)):
        was_wrapper, wrapper = wrapper, False
        if token == "{":
            if expected:
                out.append("{")
                closers.append(("}", expected - 1 if expected > 0 else -1))
            else:
                closers.append((" " if was_wrapper else "", 0))
            expected = 0
        elif token == "}":
            closer, expected = closers.pop() if closers else ("", 0)
            out.append(closer)
        elif token in "^_":
            out.append(token)
            expected = 1
        elif token.isspace():
            wrapper = was_wrapper
            if expected <= 0:
                out.append(" ")
                expected = 0
        elif len(token) > 1:
            piece, expected, wrapper = _command(token, expected)
            out.append(piece)
        elif expected > 0 and token.isalnum():
            out.append("{" + token + "}")
            expected -= 1
        else:
            out.append(token)
            expected = 0
    line = _EMPTY_POWER.sub("", "".join(out))
    return _SPACE_BEFORE_POWER.sub("^", _ORDINAL_POWER.sub(r"\1", _DEGREE_POWER.sub("°", line)))


def _command(token: str, expected: int) -> tuple[str, int, bool]:
    """Return what to write for a command, its number of arguments, and whether it merely wraps its argument."""
    name = token.rstrip()
    if name.startswith(r"\sqrt") and name.endswith("]"):
        return name.replace(" ", ""), 1, False
    if len(name) == 1:  # a backslash and a space
        return " ", 0, False
    if not name[1].isalpha():
        if name in (r"\{", r"\}"):
            return name, 0, False
        if name == r"\!":
            return "", expected, False
        return (name[1] if name[1] in "%&#$_-/'" else " "), 0, False
    name = _SAME_COMMAND.get(name, name)
    if _SIZE.fullmatch(name):
        return "", expected, False
    if _WRAPPER.fullmatch(name):
        return " ", 0, True
    if name in _SYMBOLS:
        return _SYMBOLS[name], 0, False
    if name == r"\textsuperscript":
        return "^", 1, False
    if name in _ARGUMENTS:
        return name, _ARGUMENTS[name], False
    return token, -1, False
