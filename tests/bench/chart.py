"""The chart of a run: how each contestant does against the baseline, as an SVG for the README."""

from __future__ import annotations

import math
from html import escape

from tests.bench.contestants import BASELINE
from tests.bench.measure import Result

COLOURS = {"zqd": "#2a7ab0", "pyzmq loop": "#b0b0b0"}
NAMES, PANEL, GAP, BAR, ROW, TOP = 330, 260, 40, 11, 34, 64  # pixels
LEAST, MOST = 1 / 16, 16  # ratios at the ends of the logarithmic axis; what is beyond ends there
PANELS = (
    ("rate", "requests/s, ratio to zmq.proxy (longer is better)"),
    ("cpu", "CPU per request, ratio to zmq.proxy (shorter is better)"),
)


def chart(results: dict[str, Result], machine: str) -> str:
    """Bars from the baseline's line at 1, with the median's value, one row for each case."""
    width, height = NAMES + 2 * (PANEL + GAP), TOP + ROW * len(results) + 36
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (contestant, colour) in enumerate(COLOURS.items()):
        left = 8 + 90 * number
        parts.append(
            f'<rect x="{left}" y="14" width="12" height="12" fill="{colour}"/>'
            + _text(left + 18, 24, contestant)
        )
    for number, (_, title) in enumerate(PANELS):
        left = NAMES + number * (PANEL + GAP)
        parts.append(_text(left, 24, title))
        for ratio in (LEAST, 0.25, 1, 4, MOST):
            x = left + _position(ratio)
            parts.append(
                f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 10}" y2="{height - 30}" stroke="{"#333" if ratio == 1 else "#ddd"}"/>'
            )
            parts.append(_text(x, TOP - 16, f"{ratio:g}", "middle"))
    for row, (case, result) in enumerate(results.items()):
        y = TOP + ROW * row
        parts.append(_text(NAMES - 12, y + 16, case, "end"))
        for number, (figure, _) in enumerate(PANELS):
            for place, (contestant, colour) in enumerate(COLOURS.items()):
                ratio = result[contestant]["ratio"][figure].median
                parts.append(_bar(NAMES + number * (PANEL + GAP), y + place * (BAR + 2), ratio, colour))
    parts.append(_text(8, height - 10, f"{machine}; medians; {BASELINE} = 1"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(left: int, y: int, ratio: float, colour: str) -> str:
    """From 1 to the ratio, with its value behind it."""
    one, end = left + _position(1), left + _position(ratio)
    x, width = min(one, end), max(abs(end - one), 1)
    bar = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
    side = ("start", 3) if ratio >= 1 else ("end", -3)
    return bar + _text(end + side[1], y + BAR - 2, f"{ratio:.3g}", side[0])


def _position(ratio: float) -> float:
    """Where a ratio stands on the axis, pixels from its left end."""
    inside = min(max(ratio, LEAST), MOST)
    return math.log(inside / LEAST) / math.log(MOST / LEAST) * PANEL


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}" fill="#333">{escape(text)}</text>'
