"""Draws the comparison: a bar for each application and operation, in SVG."""

import statistics
from html import escape

from benchmarks.compare import Results, ratios

COLORS = {
    "limit": "#8a8f98",
    "bare": "#4ab3c9",
    "vibetracker": "#2f6fde",
    "idiomatic": "#e0a030",
    "django rest": "#2e8b57",
    "litestar": "#b05fc4",
}
WIDTH, LABEL, BAR, GAP = 760, 190, 16, 18


def plot(results: Results) -> str:
    """Return the SVG: medians of requests per second as parts of the limit's, with the spread."""
    scale = (WIDTH - LABEL - 110) / 1.1
    parts = []
    top = 40
    for operation, measured in results.items():
        middle = top + BAR * len(measured) / 2 + 5
        parts.append(
            f'<text x="{LABEL - 10}" y="{middle}" text-anchor="end">{escape(operation)}</text>'
        )
        for application, turns in measured.items():
            found = ratios(measured, application, "limit")
            ratio = statistics.median(found)
            per_second = statistics.median(turn.per_second for turn in turns)
            y = top + BAR / 2
            low, high = (LABEL + min(value, 1.1) * scale for value in (min(found), max(found)))
            end = LABEL + min(ratio, 1.1) * scale
            parts += [
                (
                    f'<rect x="{LABEL}" y="{top}" width="{end - LABEL:.1f}" height="{BAR - 2}" '
                    f'fill="{COLORS[application]}"/>'
                ),
                f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="black"/>',
                (
                    f'<text x="{max(end, high) + 6:.1f}" y="{top + 12}">{ratio:.2f} '
                    f"({per_second:.0f}/s)</text>"
                ),
            ]
            top += BAR
        top += GAP
    shown = [
        (name, color)
        for name, color in COLORS.items()
        if any(name in measured for measured in results.values())
    ]
    step = (WIDTH - LABEL) // len(shown)
    legend = "".join(
        f'<rect x="{LABEL + step * n}" y="12" width="12" height="12" fill="{color}"/>'
        f'<text x="{LABEL + step * n + 18}" y="22">{name}</text>'
        for n, (name, color) in enumerate(shown)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{legend}{"".join(parts)}</svg>\n'
    )
