"""Draw plots as SVG text: lines with error bars, dots with error bars, stacked bars. Colours are CSS variables, so that
one drawing is right on light and dark paper; a table beside it has the same numbers.

Text is escaped here. Every drawing is 460 units wide: on a screen of 390 its letters are still 10 px high.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from memphis.formatting import printable

STYLE = Path(__file__).parent / "templates" / "plots.css"
WIDTH = 460
LEFT, RIGHT, HEIGHT = 52, 16, 210  # margins of the plotting area, and its height
LINE = 17  # height of a line of text
ROW = 40  # height of a horizontal bar with its label above
COLOURS = 7  # Okabe and Ito's, which people with any kind of colour vision tell apart; without their yellow
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_MARKERS = (
    "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",  # circle
    "m-4 -4h8v8h-8z",  # square
    "m0 -5.5l5 9h-10z",  # triangle
    "m0 -5.5l5 5.5l-5 5.5l-5 -5.5z",  # diamond
    "m0 5.5l5 -9h-10z",  # triangle, downwards
    "m-1.6 -5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",  # plus
    "m0 -5.5l4.8 3.5l-1.8 6h-6l-1.8 -6z",  # pentagon
)

Point = tuple[float, float, float | None]  # x, y, standard error


@dataclass(frozen=True)
class Series:
    """Data to draw in one look. points: None in between breaks the line. look: which colour, marker and dash. label: in
    the legend; "" = not in it."""

    label: str
    points: Sequence[Point | None]
    look: int


def lines(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    ticks: Mapping[float, str] | None = None,
    markers: bool = True,
) -> str:
    """Draw lines with error bars. ticks: x -> its label, where x is not simply a number."""
    points = [point for one in series for point in one.points if point]
    xs = [x for x, _, _ in points] + list(ticks or ())
    left, right = min(xs), max(xs)
    rows = _range([(y, error) for _, y, error in points])
    draw = _Drawing(title, y_label)
    top = draw.y
    margin = 18 if markers else 0
    across = _scale(left, right, LEFT + margin, WIDTH - RIGHT - margin)
    up = _scale(rows[0], rows[-1], top + HEIGHT, top)
    for value in rows:
        draw.add(f'<path class="grid" d="M{LEFT} {_n(up(value))}H{WIDTH - RIGHT}"/>')
        draw.text(LEFT - 7, up(value) + 4, _number(value, rows), "soft end")
    numbers = _ticks(left, right)
    for x, label in (ticks or {value: _number(value, numbers) for value in numbers}).items():
        if left <= x <= right:
            draw.text(across(x), top + HEIGHT + LINE, label, "soft mid")
    draw.add(f'<path class="axis" d="M{LEFT} {top + HEIGHT}H{WIDTH - RIGHT}"/>')
    for place, one in enumerate(series):
        # Shifted sideways a little, so that error bars do not hide one another.
        shift = (place - (len(series) - 1) / 2) * min(5.0, 30 / len(series)) if markers else 0.0
        path, down = "", False
        for point in one.points:
            path += f"{'L' if down else 'M'}{_n(across(point[0]) + shift)} {_n(up(point[1]))}" if point else ""
            down = point is not None
        draw.stroke(one.look, path)
        for x, y, error in filter(None, one.points) if markers else ():
            half = (error or 0.0) * abs(up(1.0) - up(0.0))
            bar = f"v{_n(2 * half)}m-3 0h6m-6 {_n(-2 * half)}h6"
            draw.marker(one, across(x) + shift, up(y), (y, error), f"M{_n(across(x) + shift)} {_n(up(y) - half)}{bar}")
    draw.y = top + HEIGHT + LINE + 8
    draw.line(x_label, "soft mid", WIDTH / 2)
    draw.legend([(one.label, one.look) for one in series], line=True, markers=markers)
    return draw.svg()


def dots(title: str, rows: Sequence[tuple[str, float, float | None, int]], x_label: str) -> str:
    """Draw dots with error bars, one row each: label, value, standard error, look."""
    draw = _Rows(title, x_label, _range([(value, error) for _, value, error, _ in rows]), 14, len(rows))
    for label, value, error, look in rows:
        draw.line(f"{label}: {value:.1f}" + ("" if error is None else f" ± {error:.1f}"), "", 6)
        half = (error or 0.0) * (draw.across(1.0) - draw.across(0.0))
        x, y = draw.across(value), draw.y + 9
        bar = f"M{_n(x - half)} {_n(y)}h{_n(2 * half)}m0 -3v6m{_n(-2 * half)} -6v6"
        draw.marker(Series(label, [], look), x, y, (value, error), bar)
        draw.y += ROW - LINE
    draw.axis()
    return draw.svg()


def stacked(title: str, rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], x_label: str) -> str:
    """Draw stacked bars, one each: label and a value per part."""
    draw = _Rows(title, x_label, _ticks(0.0, max(sum(values) for _, values in rows) or 1.0), 6, len(rows))
    for label, values in rows:
        draw.line(label, "", 6)
        start = 0.0
        for place, value in enumerate(values):
            width = draw.across(start + value) - draw.across(start)
            tip = escape(printable(f"{label}, {parts[place]}: {value:.0f}"))
            draw.box(place, draw.across(start), draw.y + 2, max(0.0, width), 15, f"><title>{tip}</title></rect>")
            start += value
        draw.y += ROW - LINE
    draw.axis()
    draw.legend([(part, place) for place, part in enumerate(parts)], line=False, markers=True)
    return draw.svg()


def standalone(drawings: Sequence[str]) -> str:
    """Return one SVG file of several drawings, one below the other, with its own colours."""
    heights = [int(drawing.split(f'viewBox="0 0 {WIDTH} ')[1].split('"')[0]) for drawing in drawings]
    total, y, inner = sum(heights), 0, []
    for drawing, height in zip(drawings, heights, strict=True):
        inner.append(drawing.replace("<svg ", f'<svg y="{y}" width="{WIDTH}" height="{height}" ', 1))
        y += height
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" height="{total}"'
    paper = f'<rect width="{WIDTH}" height="{total}" style="fill:var(--paper)"/>'
    style = STYLE.read_text(encoding="utf-8")
    return f"<svg {frame}>\n<style>\n{style}</style>\n{paper}\n" + "\n".join(inner) + "\n</svg>\n"


class _Drawing:
    """Collector of elements from the top to the bottom; `y` is where the next line of text goes."""

    def __init__(self, title: str, subtitle: str) -> None:
        self.title = printable(title)
        self.parts: list[str] = []
        self.y = 4.0
        for line in textwrap.wrap(self.title, 52):
            self.line(line, "title", 6)
        for line in textwrap.wrap(printable(subtitle), 66):
            self.line(line, "soft", 6)
        self.y += 8

    def add(self, element: str) -> None:
        self.parts.append(element)

    def text(self, x: float, y: float, text: str, style: str) -> None:
        style = f' class="{style}"' if style else ""
        self.add(f'<text x="{_n(x)}" y="{_n(y)}"{style}>{escape(printable(text))}</text>')

    def line(self, text: str, style: str, x: float) -> None:
        self.text(x, self.y + 13, _cut(text, 66), style)
        self.y += LINE

    def stroke(self, look: int, path: str) -> None:
        dash = _DASHES[look // COLOURS % len(_DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.add(f'<path class="line s{look % COLOURS}" stroke-width="2"{dashed} d="{path}"/>')

    def marker(self, one: Series, x: float, y: float, value: tuple[float, float | None], bar: str) -> None:
        """Draw a marker at (x, y) on the paper. value: with its error, for the tip; bar: path of its error bar."""
        tip = f"{one.label} {value[0]:.4g}".strip()
        if value[1]:
            self.add(f'<path class="line s{one.look % COLOURS}" stroke-width="1.5" d="{bar}"/>')
            tip += f" ± {value[1]:.2g}"
        self.add(f"{_marker(one.look, x, y)}><title>{escape(printable(tip))}</title></path>")

    def box(self, look: int, x: float, y: float, width: float, height: int, end: str) -> None:
        """Draw a rectangle; with more parts than colours the second round is paler."""
        faded = ' opacity="0.5"' if look >= COLOURS else ""
        size = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{height}"'
        self.add(f'<rect class="f{look % COLOURS}" {size}{faded}{end}')

    def legend(self, entries: Sequence[tuple[str, int]], *, line: bool, markers: bool) -> None:
        entries = [(label, look) for label, look in entries if label]
        if not entries:
            return
        self.y += 6
        short = max(len(label) for label, _ in entries) <= 26
        for place, (label, look) in enumerate(entries):
            x, middle = 6 + (place % 2) * WIDTH / 2 if short else 6, self.y + 9
            if line:
                self.stroke(look, f"M{_n(x)} {_n(middle)}h28")
            if markers and line:
                self.add(f"{_marker(look, x + 14, middle)}/>")
            if not line:
                self.box(look, x, middle - 6, 22, 12, "/>")
            self.text(x + 35, middle + 4, _cut(label, 26 if short else 60), "")
            if not short or place % 2 or place == len(entries) - 1:
                self.y += LINE + 2

    def svg(self) -> str:
        height = math.ceil(self.y + 8)
        head = f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(self.title)}">'
        return head + "\n".join(["", *self.parts]) + "\n</svg>"


class _Rows(_Drawing):
    """Drawing of rows with a common horizontal axis, which begins `left` units from the edge."""

    def __init__(self, title: str, x_label: str, marks: Sequence[float], left: int, rows: int) -> None:
        super().__init__(title, x_label)
        self.marks, self.across = marks, _scale(marks[0], marks[-1], left, WIDTH - RIGHT)
        for value in marks:
            self.add(f'<path class="grid" d="M{_n(self.across(value))} {_n(self.y)}v{rows * ROW}"/>')

    def axis(self) -> None:
        for value in self.marks:
            edge = " end" if value == self.marks[-1] else " mid" if value != self.marks[0] else ""
            self.text(self.across(value), self.y + LINE, _number(value, self.marks), f"soft{edge}")
        self.y += LINE + 6


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return the map from a value to its position on the paper."""
    if high <= low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) * ((end - start) / (high - low))


def _range(values: Sequence[tuple[float, float | None]]) -> list[float]:
    """Return ticks for values and their errors; from zero on unless that would waste much."""
    low, high = min(y - (e or 0.0) for y, e in values), max(y + (e or 0.0) for y, e in values)
    return _ticks(min(0.0, low) if low < 0.35 * high else low, high)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers from below `low` to above `high`, four to seven of them."""
    if high - low <= 1e-9 * max(1.0, abs(high)):
        low, high = min(0.0, 1.2 * low), 1.2 * high if high > 0 else 1.0
    rough = (high - low) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _number(value: float, among: Sequence[float]) -> str:
    """Format with as many decimals as keep the ticks apart."""
    step = among[1] - among[0] if len(among) > 1 else 1.0
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _marker(look: int, x: float, y: float) -> str:
    return f'<path class="f{look % COLOURS}" d="M{_n(x)} {_n(y)}{_MARKERS[look % len(_MARKERS)]}"'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
