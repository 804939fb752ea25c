"""Draw plots as SVG text: lines with error bars, dots with error bars, stacked bars. Colours are CSS variables, so that
one drawing is right on light and dark paper; a table beside it has the same numbers.

Text is escaped here. Every drawing is 460 units wide: on a screen of 390 its letters are still 10 px high.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from memphis.formatting import printable

WIDTH = 460
LEFT, RIGHT, HEIGHT = 52, 16, 210  # margins of the plotting area, and its height
LINE = 17  # height of a line of text
ROW = 40  # height of a horizontal bar with its label above
COLOURS = 7
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
# Okabe and Ito's colours, which people with any kind of colour vision tell apart; yellow is left out, it is too light.
_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DARK = ("#4FA6E8", "#FF8A47", "#2FC99A", "#E6A3C7", "#A5DBFA", "#F5BE42", "#F2F2F2")


def _variables(paper: str, ink: str, soft: str, grid: str, colours: Sequence[str]) -> str:
    found = {"paper": paper, "ink": ink, "soft": soft, "grid": grid}
    found |= {f"c{place}": colour for place, colour in enumerate(colours)}
    return f":root{{{';'.join(f'--{name}:{value}' for name, value in found.items())}}}"


STYLE = "\n".join(
    [
        _variables("#ffffff", "#1c1e21", "#565b62", "#dfe2e6", _LIGHT),
        "@media screen and (prefers-color-scheme:dark){",
        f"{_variables('#16181b', '#ececec', '#a9b0b8', '#353a40', _DARK)}}}",
        ".plot text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:var(--ink)}",
        ".plot .title{font-size:15px;font-weight:600}.plot .soft{fill:var(--soft)}.plot .end{text-anchor:end}",
        ".plot .mid{text-anchor:middle}.plot .grid{stroke:var(--grid)}.plot .axis{stroke:var(--soft)}",
        ".plot .line{fill:none}",
        *(f".plot .s{k}{{stroke:var(--c{k})}}.plot .f{k}{{fill:var(--c{k})}}" for k in range(COLOURS)),
    ]
)


@dataclass(frozen=True)
class Series:
    """Data to draw in one look. points: (x, y, standard error or None); None in between breaks the line. look: which
    colour, marker and dash. label: in the legend; "" = not in it."""

    label: str
    points: Sequence[tuple[float, float, float | None] | None]
    look: int
    joined: bool = True


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
    low, high = min(y - (e or 0.0) for _, y, e in points), max(y + (e or 0.0) for _, y, e in points)
    rows = _ticks(min(0.0, low) if low < 0.35 * high else low, high)
    draw = _Drawing(title, y_label)
    top = draw.y
    margin = 18 if markers else 0
    across = _Scale(min(xs), max(xs), LEFT + margin, WIDTH - RIGHT - margin)
    up = _Scale(rows[0], rows[-1], top + HEIGHT, top)
    for value in rows:
        draw.add(f'<path class="grid" d="M{LEFT} {_n(up(value))}H{WIDTH - RIGHT}"/>')
        draw.text(LEFT - 7, up(value) + 4, _number(value, rows), "soft end")
    columns = ticks or {value: _number(value, _ticks(min(xs), max(xs))) for value in _ticks(min(xs), max(xs))}
    for x, label in columns.items():
        if min(xs) <= x <= max(xs):
            draw.text(across(x), top + HEIGHT + LINE, label, "soft mid")
    draw.add(f'<path class="axis" d="M{LEFT} {top + HEIGHT}H{WIDTH - RIGHT}"/>')
    for place, one in enumerate(series):
        # Shifted sideways a little, so that error bars do not hide one another.
        shift = (place - (len(series) - 1) / 2) * min(5.0, 30 / len(series)) if markers else 0.0
        places = [p and (across(p[0]) + shift, up(p[1]), p[2] or 0.0, p[1]) for p in one.points]
        draw.series(one, places, abs(up(1.0) - up(0.0)), markers)
    draw.y = top + HEIGHT + LINE + 8
    draw.line(x_label, "soft mid", WIDTH / 2)
    draw.legend([(one.label, one.look) for one in series], line=True, markers=markers)
    return draw.svg()


def dots(title: str, rows: Sequence[tuple[str, float, float | None, int]], x_label: str) -> str:
    """Draw dots with error bars, one row each: label, value, standard error, look."""
    low, high = min(v - (e or 0.0) for _, v, e, _ in rows), max(v + (e or 0.0) for _, v, e, _ in rows)
    marks = _ticks(min(0.0, low) if low < 0.35 * high else low, high)
    draw = _Drawing(title, x_label)
    across = _Scale(marks[0], marks[-1], 14, WIDTH - RIGHT)
    draw.columns(marks, across, len(rows))
    for label, value, error, look in rows:
        draw.line(f"{label}: {value:.1f}" + ("" if error is None else f" ± {error:.1f}"), "", 6)
        one = Series(label, [], look, joined=False)
        draw.series(
            one, [(across(value), draw.y + 9, error or 0.0, value)], across(1.0) - across(0.0), True, upright=False
        )
        draw.y += ROW - LINE
    draw.bottom(marks, across)
    return draw.svg()


def stacked(title: str, rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], x_label: str) -> str:
    """Draw stacked bars, one each: label and a value per part."""
    marks = _ticks(0.0, max(sum(values) for _, values in rows) or 1.0)
    draw = _Drawing(title, x_label)
    across = _Scale(marks[0], marks[-1], 6, WIDTH - RIGHT)
    draw.columns(marks, across, len(rows))
    for label, values in rows:
        draw.line(label, "", 6)
        start = 0.0
        for place, value in enumerate(values):
            width = across(start + value) - across(start)
            told = escape(printable(f"{label}, {parts[place]}: {value:.0f}"))
            box = f'x="{_n(across(start))}" y="{_n(draw.y + 2)}" width="{_n(max(0.0, width))}" height="15"'
            draw.add(f'<rect class="f{place % COLOURS}" {box}{_faded(place)}><title>{told}</title></rect>')
            start += value
        draw.y += ROW - LINE
    draw.bottom(marks, across)
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
    return f"<svg {frame}>\n<style>\n{STYLE}\n</style>\n{paper}\n" + "\n".join(inner) + "\n</svg>\n"


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

    def series(
        self,
        one: Series,
        places: Sequence[tuple[float, float, float, float] | None],
        unit: float,
        markers: bool,
        upright: bool = True,
    ) -> None:
        """Draw a series. places: x, y on the paper, error and value in units of the axis; unit: paper per unit."""
        colour, dash = one.look % COLOURS, _DASHES[one.look // COLOURS % len(_DASHES)]
        if one.joined:
            path, down = [], False
            for place in places:
                path += [f"{'L' if down else 'M'}{_n(place[0])} {_n(place[1])}"] if place else []
                down = place is not None
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            self.add(f'<path class="line s{colour}" stroke-width="2"{dashed} d="{"".join(path)}"/>')
        for x, y, error, value in [place for place in places if place] if markers else []:
            if error:
                e = error * unit
                bar = f"M{_n(x)} {_n(y - e)}v{_n(2 * e)}m-3 0h6m-6 {_n(-2 * e)}h6"
                bar = bar if upright else f"M{_n(x - e)} {_n(y)}h{_n(2 * e)}m0 -3v6m{_n(-2 * e)} -6v6"
                self.add(f'<path class="line s{colour}" stroke-width="1.5" d="{bar}"/>')
            told = f"{one.label} {value:.4g}".strip() + (f" ± {error:.2g}" if error else "")
            self.add(
                f'<path class="f{colour}" d="{_marker(one.look, x, y)}"><title>{escape(printable(told))}</title></path>'
            )

    def columns(self, marks: Sequence[float], across: "_Scale", rows: int) -> None:
        for value in marks:
            self.add(f'<path class="grid" d="M{_n(across(value))} {_n(self.y)}v{rows * ROW}"/>')

    def bottom(self, marks: Sequence[float], across: "_Scale") -> None:
        for value in marks:
            edge = "end" if value == marks[-1] else "mid" if value != marks[0] else ""
            self.text(across(value), self.y + LINE, _number(value, marks), f"soft {edge}".strip())
        self.y += LINE + 6

    def legend(self, entries: Sequence[tuple[str, int]], *, line: bool, markers: bool) -> None:
        entries = [(label, look) for label, look in entries if label]
        if not entries:
            return
        self.y += 6
        short = max(len(label) for label, _ in entries) <= 26
        for place, (label, look) in enumerate(entries):
            x = 6 + (place % 2) * WIDTH / 2 if short else 6
            colour, dash = look % COLOURS, _DASHES[look // COLOURS % len(_DASHES)]
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            middle = self.y + 9
            if line:
                self.add(f'<path class="line s{colour}" stroke-width="2"{dashed} d="M{_n(x)} {_n(middle)}h28"/>')
            if markers and line:
                self.add(f'<path class="f{colour}" d="{_marker(look, x + 14, middle)}"/>')
            if not line:
                box = f'x="{_n(x)}" y="{_n(middle - 6)}" width="22" height="12"'
                self.add(f'<rect class="f{colour}" {box}{_faded(look)}/>')
            self.text(x + 35, middle + 4, _cut(label, 26 if short else 60), "")
            if not short or place % 2 or place == len(entries) - 1:
                self.y += LINE + 2

    def svg(self) -> str:
        height = math.ceil(self.y + 8)
        head = f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(self.title)}">'
        return head + "\n".join(["", *self.parts]) + "\n</svg>"


class _Scale:
    """Map from a value to its position on the paper."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start = low, start
        self.factor = (end - start) / (high - low) if high > low else 0.0
        self.middle = (start + end) / 2

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.factor if self.factor else self.middle


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
    shapes = (
        "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",  # circle
        "m-4 -4h8v8h-8z",  # square
        "m0 -5.5l5 9h-10z",  # triangle
        "m0 -5.5l5 5.5l-5 5.5l-5 -5.5z",  # diamond
        "m0 5.5l5 -9h-10z",  # triangle, downwards
        "m-1.6 -5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",  # plus
        "m0 -5.5l4.8 3.5l-1.8 6h-6l-1.8 -6z",  # pentagon
    )
    return f"M{_n(x)} {_n(y)}{shapes[look % len(shapes)]}"


def _faded(place: int) -> str:
    """Return the style of a part: with more parts than colours the second round is paler."""
    return ' opacity="0.5"' if place >= COLOURS else ""


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
