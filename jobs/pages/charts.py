"""Small charts without a plotting library: SVG for a page that opens from disk, PNG for learning curves.

The SVG takes its colours from the page (`templates/page.html`), so that it is as readable in the dark and on paper.
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
    lines: Mapping[str, Points], *, across: str, up: str, diagonal: bool = False, top: float = 1.0, dots: bool = False
) -> str:
    """Draw lines over [0, 1] as an SVG element.

    Args:
        lines: By name, at most four, points with x in [0, 1] and y in [0, top].
        across: What x is.
        up: What y is.
        diagonal: Whether to draw y = x, where confidence and accuracy agree.
        top: The largest y that is shown.
        dots: Whether to mark the points.

    Returns:
        `<svg ...>`, its texts escaped.
    """
    span = _SIDE - 2 * _MARGIN

    def place(x: float, y: float) -> str:
        return f"{_MARGIN + x * span:.1f},{_SIDE - _MARGIN - min(y / top, 1.0) * span:.1f}"

    parts = [
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" width="{_SIDE}" role="img" '
        f'aria-label="{escape(up)} over {escape(across)}">',
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{span}" height="{span}" class="frame"/>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(tick, tick * top).split(",")
        parts.append(f'<text x="{x}" y="{_SIDE - _MARGIN + 14}" text-anchor="middle">{tick:g}</text>')
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
        left, height = _MARGIN + span / len(lines) * (number - 1), _MARGIN - 10
        parts.append(f'<circle cx="{left + 4:.1f}" cy="{height - 4}" r="4" style="fill: {colour}"/>')
        parts.append(f'<text x="{left + 12:.1f}" y="{height}">{escape(name)}</text>')
    parts.append(f'<text x="{_SIDE / 2}" y="{_SIDE - 8}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="12" y="{_SIDE / 2}" transform="rotate(-90 12 {_SIDE / 2})" text-anchor="middle">')
    return "".join(parts) + f"{escape(up)}</text></svg>"


def svg_histogram(stacks: Mapping[str, Sequence[int]], *, colours: Sequence[str], across: str, up: str) -> str:
    """Draw equally wide bins of [0, 1] as stacked bars, an SVG element.

    Args:
        stacks: By name, a count a bin; all as long; the first is drawn at the bottom.
        colours: Of each, the name of the page's colour, as in `review`.
        across: What the bins are of.
        up: What is counted.

    Returns:
        `<svg ...>`, its texts escaped.
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
    """Return the next even number of one leading digit, as 60 or 2000: a scale whose half reads well too."""
    step: int = 10 ** (len(str(int(value))) - 1)
    return next(digit * step for digit in (2, 4, 6, 8, 10, 20) if digit * step >= value)


def loss_curves(path: Path, history: Sequence[Mapping[str, float]], *, title: str) -> None:
    """Draw how the loss went, epoch by epoch, of training and held-out images; see `learning_curves`."""
    curves = {"training": [one["loss"] for one in history], "held out": [one["val_loss"] for one in history]}
    learning_curves(path, curves, title=title)


def learning_curves(path: Path, curves: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Draw values by epoch as a PNG file, put in place whole.

    Args:
        path: Of the file; one that is there is replaced.
        curves: By name, one value an epoch; all of the same kind.
        title: Written above.
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
