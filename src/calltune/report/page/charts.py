"""Plots as SVG text: few lines, direct labels, the same drawing on the page and in a file of its own.

Colours are classes: the page styles them for light and dark; `standalone` writes light colours into the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

from calltune.report.page.inert import visible

WIDTH = 440
_LEFT, _RIGHT = 114, 352
_FEWEST_TO_SMOOTH = 20
_MINUS = "\N{MINUS SIGN}"
_STYLE = """
svg{background:#fff;font:12px system-ui,sans-serif}text{fill:#24262b}.quiet{fill:#6a6f78}.grid{stroke:#e3e4e8}
.axis{stroke:#9aa0aa}.line{fill:none;stroke-width:2}.end{text-anchor:end}
.mid{text-anchor:middle}.whisker{stroke-width:2}.name{font-weight:600}
.c0{fill:#7b828e;stroke:#7b828e}.c1{fill:#2f7d95;stroke:#2f7d95}.c2{fill:#b4581c;stroke:#b4581c}
.c3{fill:#6d4fa3;stroke:#6d4fa3}.c4{fill:#4d7a2f;stroke:#4d7a2f}.c5{fill:#a33a63;stroke:#a33a63}
.good{fill:#1f7a45;stroke:#1f7a45}.bad{fill:#b3352b;stroke:#b3352b}.even{fill:#7b828e;stroke:#7b828e}
.hollow{fill:#fff}.raw{stroke-width:1;opacity:.35}.line.c0,.line.c1,.line.c2,.line.c3,.line.c4,.line.c5{fill:none}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a dot plot: a value with its interval; `tone` is the class that colours it."""

    name: str
    value: float
    interval: tuple[float, float] | None
    tone: str


def standalone(svg: str) -> str:
    """The drawing as a file that needs no page."""
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}><style>{_STYLE}</style>{rest}\n'


def ladder(title: str, bars: Sequence[Bar], baselines: Mapping[str, float]) -> str:
    """Shares in [0, 1] with their intervals, one row each.

    A baseline is a rule without a model: it has a row of its own below them, with a hollow square and its name.
    """
    bottom = 14 + 30 * (len(bars) + len(baselines))
    parts = [_percent_axis(bottom)]
    for number, (name, value) in enumerate(baselines.items(), len(bars)):
        x, y = _place(value), 22 + 30 * number
        parts.append(_text(0, y - 3, "no model:", "quiet"))
        parts.append(_text(0, y + 10, name, "quiet"))
        parts.append(f'<rect class="even hollow" stroke-width="2" x="{x - 4:.1f}" y="{y - 4}" width="8" height="8"/>')
        parts.append(_text(WIDTH, y + 4, f"{100 * value:.1f} %", "quiet end"))
    for number, bar in enumerate(bars):
        y = 22 + 30 * number
        low, high = bar.interval or (bar.value, bar.value)
        parts.append(_text(0, y + 4, _short(bar.name, 16), "name"))
        parts.append(_whisker(_place(low), _place(high), y, bar.tone))
        parts.append(f'<circle class="{bar.tone}" cx="{_place(bar.value):.1f}" cy="{y}" r="5"/>')
        parts.append(_text(WIDTH, y + 4, f"{100 * bar.value:.1f} %", "end name"))
    told = "; ".join(
        [f"{bar.name} {100 * bar.value:.1f} %" for bar in bars]
        + [f"without a model, {name}: {100 * value:.1f} %" for name, value in baselines.items()]
    )
    return _svg(title, told, bottom + 28, parts)


def forest(title: str, bars: Sequence[Bar]) -> str:
    """Differences (shares) with their intervals around zero, in points; good and bad by side where certain."""
    reach = max((abs(end) for bar in bars for end in (bar.interval or (bar.value,))), default=0.0) or 0.01
    step = _nice(100 * reach / 2) / 100
    top = max(step, -(-reach // step) * step)
    bottom = 14 + 28 * len(bars)

    def place(value: float) -> float:
        return (_LEFT + _RIGHT) / 2 + value / top * (_RIGHT - _LEFT) / 2

    parts = []
    for number in range(-round(top / step), round(top / step) + 1):
        x = place(number * step)
        parts.append(f'<line class="{"grid" if number else "axis"}" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(
            _text(x, bottom + 16, f"{100 * number * step:+g}".replace("-", _MINUS) if number else "0", "quiet mid")
        )
    for number, bar in enumerate(bars):
        y = 20 + 28 * number
        low, high = bar.interval or (bar.value, bar.value)
        parts.append(_text(0, y + 4, _short(bar.name, 18), "name" if number == 0 else ""))
        parts.append(_whisker(place(low), place(high), y, bar.tone))
        parts.append(f'<circle class="{bar.tone}" cx="{place(bar.value):.1f}" cy="{y}" r="4.5"/>')
        parts.append(_text(WIDTH, y + 4, f"{100 * bar.value:+.1f}".replace("-", _MINUS), "end"))
    told = "; ".join(f"{bar.name} {100 * bar.value:+.1f} points" for bar in bars)
    return _svg(title, told, bottom + 22, parts)


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_name: str,
    tones: Sequence[str],
    num_left_out: int = 0,
) -> str:
    """Curves over one axis in their colours, each with its last value written at its end.

    A curve of many points is drawn thin, and its mean over neighbouring points thick; the value is the mean's last.

    Args:
        num_left_out: points that are not finite; how many they are is written beside the axis.
    """
    points = [point for curve in series.values() for point in curve]
    (left, right), (low, high) = _span([x for x, _ in points]), _span([y for _, y in points])
    step = _nice((high - low) / 3)
    low, high = floor(low / step) * step, -(-high // step) * step
    x0, x1, y0, y1 = 48, 380, 26, 176
    parts = []
    for number in range(round((high - low) / step) + 1):
        y = y1 - number * step / (high - low) * (y1 - y0)
        parts.append(f'<line class="grid" x1="{x0}" y1="{y:.1f}" x2="{x1}" y2="{y:.1f}"/>')
        parts.append(_text(x0 - 8, y + 4, f"{low + number * step:.4g}", "quiet end"))
    for x, value in ((x0, left), (x1, right)):
        parts.append(_text(x, y1 + 18, f"{value:,.0f}", "quiet mid"))
    parts.append(_text((x0 + x1) / 2, y1 + 18, x_name, "quiet mid"))
    for number, (name, curve) in enumerate(series.items()):
        tone, smooth = tones[number], smoothed(curve)
        raw, places = (
            [(x0 + (x - left) / (right - left) * (x1 - x0), y1 - (y - low) / (high - low) * (y1 - y0)) for x, y in each]
            for each in (curve, smooth)
        )
        if smooth != curve:
            parts.append(f'<path class="line raw {tone}" d="{_path(raw)}"/>')
        parts.append(f'<path class="line {tone}" d="{_path(places)}"/>')
        parts.append(f'<circle class="{tone}" cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="3"/>')
        parts.append(_text(WIDTH, places[-1][1] + 4, f"{smooth[-1][1]:.3g}", "end name"))
        parts.append(f'<circle class="{tone}" cx="{x0 + 4 + 150 * number}" cy="9" r="4"/>')
        parts.append(_text(x0 + 13 + 150 * number, 13, name, ""))
    told = "; ".join(f"{name} ends at {smoothed(curve)[-1][1]:.3g}" for name, curve in series.items())
    if num_left_out:
        left_out = f"{num_left_out:,} point{'s' * (num_left_out > 1)} not finite, left out"
        parts.append(_text((x0 + x1) / 2, y1 + 34, left_out, "quiet mid"))
        told = f"{told}; {left_out}"
    return _svg(title, told, y1 + (42 if num_left_out else 26), parts)


def smoothed(curve: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Each point's mean with its neighbours, a tenth of the curve in all; a curve of few points as it is.

    At the ends there are neighbours on one side alone.
    """
    if len(curve) < _FEWEST_TO_SMOOTH:
        return curve
    reach = max(1, len(curve) // 20)
    windows = [curve[max(0, place - reach) : place + reach + 1] for place in range(len(curve))]
    return [(x, sum(y for _, y in near) / len(near)) for (x, _), near in zip(curve, windows, strict=True)]


def trade_off(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    marks: Mapping[str, tuple[tuple[float, float], tuple[float, float]]],
    tones: Mapping[str, str],
) -> str:
    """Two rates against each other, less of both being better.

    Args:
        curves: by name (needless calls, missed calls) along the bias.
        marks: by name the points at bias 0 (hollow) and at the recommended bias (filled).
        tones: by name the class that colours it.
    """
    x0, x1, y0, y1 = 48, 428, 30, 330

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return x0 + point[0] * (x1 - x0), y1 - point[1] * (y1 - y0)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        (x, _), (_, y) = place((tick, 0)), place((0, tick))
        parts.append(f'<line class="grid" x1="{x0}" y1="{y:.1f}" x2="{x1}" y2="{y:.1f}"/>')
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y0}" x2="{x:.1f}" y2="{y1}"/>')
        parts.append(_text(x0 - 8, y + 4, f"{100 * tick:.0f}", "quiet end"))
        parts.append(_text(x, y1 + 17, f"{100 * tick:.0f}", "quiet mid"))
    parts.append(_text((x0 + x1) / 2, y1 + 36, "needless calls, % of questions where none is due", "quiet mid"))
    parts.append(
        f'<text class="quiet mid" transform="translate(12 {(y0 + y1) / 2}) rotate(-90)">missed calls, %</text>'
    )
    for number, (name, curve) in enumerate(curves.items()):
        parts.append(f'<path class="line {tones[name]}" d="{_path([place(point) for point in curve])}"/>')
        parts.append(f'<circle class="{tones[name]}" cx="{x0 + 4 + 110 * number}" cy="12" r="4"/>')
        parts.append(_text(x0 + 13 + 110 * number, 16, _short(name, 14), ""))
    for name, (at_zero, at_bias) in marks.items():
        (x, y), (a, b) = place(at_zero), place(at_bias)
        parts.append(f'<circle class="{tones[name]} hollow" stroke-width="2" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<circle class="{tones[name]}" cx="{a:.1f}" cy="{b:.1f}" r="5"/>')
    told = "; ".join(
        f"{name}: {100 * a:.1f} % needless and {100 * b:.1f} % missed at the recommended bias"
        for name, (_, (a, b)) in marks.items()
    )
    return _svg(title, told, y1 + 44, parts)


def _svg(title: str, told: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}"><title>{_safe(title)}</title><desc>{_safe(told)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _percent_axis(bottom: int) -> str:
    parts = []
    for tick in (0, 25, 50, 75, 100):
        x = _place(tick / 100)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 16, f"{tick}", "quiet mid"))
    return "".join(parts)


def _place(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)


def _whisker(low: float, high: float, y: float, tone: str) -> str:
    return f'<line class="whisker {tone}" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>'


def _text(x: float, y: float, text: str, tone: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{tone}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    return escape(visible(text))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _nice(rough: float) -> float:
    """The round number (1, 2 or 5 times a power of ten) at or above."""
    power = 10 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
