"""Small charts without a plotting library: SVG for HTML pages, PNG for learning curves.

The SVG uses the colours of the page (`templates/page.html`), so that it is readable in dark mode and in print too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from models.whole_files import in_place_of

Points = Sequence[tuple[float, float]]

_COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8e6c8a")
_SIDE, _MARGIN = 320, 50


def svg_chart(
    lines: Mapping[str, Points],
    *,
    across: str,
    up: str,
    diagonal: bool = False,
    left: float = 0.0,
    top: float = 1.0,
    dots: bool = False,
) -> str:
    """Draw a line chart over [left, 1] as an SVG element.

    Args:
        lines: Maps the name of each line, at most four, to its points, with x in [left, 1] and y in [0, top].
        across: Label of the x axis.
        up: Label of the y axis.
        diagonal: Whether to draw the line y = x, on which confidence and accuracy are equal.
        left: Smallest x of the chart, below 1.
        top: Largest y of the chart.
        dots: Whether to draw a dot at each point.

    Returns:
        `<svg ...>`, with its texts escaped.
    """
    span = _SIDE - 2 * _MARGIN

    def place(x: float, y: float) -> str:
        return f"{_MARGIN + (x - left) / (1 - left) * span:.1f},{_SIDE - _MARGIN - min(y / top, 1.0) * span:.1f}"

    parts = [
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" width="{_SIDE}" role="img" '
        f'aria-label="{escape(up)} over {escape(across)}">',
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{span}" height="{span}" class="frame"/>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = left + tick * (1 - left)
        x, y = place(value, tick * top).split(",")
        parts.append(f'<text x="{x}" y="{_SIDE - _MARGIN + 14}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{_MARGIN - 5}" y="{y}" dy="4" text-anchor="end">{tick * top:.2g}</text>')
    if diagonal:
        parts.append(f'<polyline points="{place(0, 0)} {place(1, 1)}" class="ideal"/>')
    for number, (name, points) in enumerate(lines.items(), 1):
        colour = f"var(--series-{number})"
        drawn = " ".join(place(x, y) for x, y in points)
        parts.append(
            f'<polyline points="{drawn}" class="line" style="stroke: {colour}"><title>{escape(name)}</title></polyline>'
        )
        if dots:
            centres = (place(x, y).split(",") for x, y in points)
            parts += [f'<circle cx="{x}" cy="{y}" r="3" style="fill: {colour}"/>' for x, y in centres]
        begin, height = _MARGIN + span / len(lines) * (number - 1), _MARGIN - 10
        parts.append(f'<circle cx="{begin + 4:.1f}" cy="{height - 4}" r="4" style="fill: {colour}"/>')
        parts.append(f'<text x="{begin + 12:.1f}" y="{height}">{escape(name)}</text>')
    parts.append(f'<text x="{_SIDE / 2}" y="{_SIDE - 8}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="12" y="{_SIDE / 2}" transform="rotate(-90 12 {_SIDE / 2})" text-anchor="middle">')
    return "".join(parts) + f"{escape(up)}</text></svg>"


def svg_histogram(stacks: Mapping[str, Sequence[int]], *, colours: Sequence[str], across: str, up: str) -> str:
    """Draw a stacked histogram over equally wide bins of [0, 1] as an SVG element.

    Args:
        stacks: Maps the name of each stack to its counts, one per bin and all of the same length; the first stack is
            drawn at the bottom.
        colours: Name of the page's colour for each stack, such as `review`.
        across: Label of the x axis, the binned value.
        up: Label of the y axis, the counted things.

    Returns:
        `<svg ...>`, with its texts escaped.
    """
    width, height, left, bottom, above = 520, 230, 46, 38, 14
    bins = len(next(iter(stacks.values())))
    step, room = (width - left - 8) / bins, height - bottom - above
    highest = _round_up(max(sum(counts) for counts in zip(*stacks.values(), strict=True)))
    totals = ", ".join(f"{sum(counts):,} {name}" for name, counts in stacks.items())
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{escape(up)} by {escape(across)}: {escape(totals)}">'
    ]
    for share in (0.0, 0.5, 1.0):
        y = height - bottom - share * room
        parts.append(f'<line x1="{left}" x2="{width - 8}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y:.1f}" dy="4" text-anchor="end">{highest * share:,.0f}</text>')
    for place in range(bins):
        y = height - bottom
        for (name, counts), colour in zip(stacks.items(), colours, strict=True):
            tall = counts[place] / highest * room
            if not tall:
                continue
            y -= max(tall, 1.0)
            about = f"{counts[place]:,} {name}, {across} {place / bins:g} to {(place + 1) / bins:g}"
            parts.append(
                f'<rect x="{left + place * step + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" '
                f'height="{max(tall, 1.0):.1f}" style="fill: var(--{colour})"><title>{escape(about)}</title></rect>'
            )
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + tick * bins * step
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 15}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{(width + left) / 2}" y="{height - 5}" text-anchor="middle">{escape(across)}</text>')
    return "".join(parts) + "</svg>"


def _round_up(value: float) -> int:
    """Round up to a number like 60 or 2000, an even digit and zeros: as the top of a scale, its half is round too."""
    step: int = 10 ** (len(str(int(value))) - 1)
    return next(digit * step for digit in (2, 4, 6, 8, 10, 20) if digit * step >= value)


def loss_curves(path: Path, history: Sequence[Mapping[str, float]], *, title: str) -> None:
    """Draw the loss of training and held-out images by epoch; see `learning_curves`."""
    curves = {"training": [epoch["loss"] for epoch in history], "held out": [epoch["val_loss"] for epoch in history]}
    learning_curves(path, curves, title=title)


def learning_curves(path: Path, curves: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Draw values by epoch as a PNG file, written atomically.

    Args:
        path: Path of the PNG file; an existing file is replaced.
        curves: Maps the name of each curve to its values, one per epoch; all curves have the same unit.
        title: Title above the chart.
    """
    width, height, margin = 640, 360, 50
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    values = [value for curve in curves.values() for value in curve]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + 1.0
    epochs = max((len(curve) for curve in curves.values()), default=1)
    draw.rectangle((margin, margin, width - margin, height - margin), outline="#999999")
    draw.text((margin, 8), title, fill="black", font=font)
    for share in (0.0, 0.5, 1.0):
        y = height - margin - share * (height - 2 * margin)
        draw.text((4, y - 7), f"{low + share * (high - low):.3g}", fill="#555555", font=font)
    draw.text((width / 2 - 40, height - 30), f"epoch 1 to {epochs}", fill="#555555", font=font)
    for row, ((name, curve), colour) in enumerate(zip(curves.items(), _COLOURS, strict=False)):
        places = [
            (
                margin + (width - 2 * margin) * (epoch / max(epochs - 1, 1)),
                height - margin - (value - low) / (high - low) * (height - 2 * margin),
            )
            for epoch, value in enumerate(curve)
        ]
        if len(places) > 1:
            draw.line(places, fill=colour, width=2)
        for x, y in places:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        draw.text((margin + 130 * row, 28), name, fill=colour, font=font)
    with in_place_of(path) as scratch:
        image.save(scratch, "PNG", optimize=True)
