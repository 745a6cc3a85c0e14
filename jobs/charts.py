"""Small charts without a plotting library: SVG for a page that opens from disk, PNG for learning curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Points = Sequence[tuple[float, float]]

_COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8e6c8a")
_SIDE, _MARGIN = 320, 44


def svg_chart(
    lines: Mapping[str, Points], *, across: str, up: str, diagonal: bool = False, top: float = 1.0, dots: bool = False
) -> str:
    """Draw lines over [0, 1] as an SVG element.

    Args:
        lines: By name, points with x in [0, 1] and y in [0, top].
        across: What x is.
        up: What y is.
        diagonal: Whether to draw y = x, where confidence and accuracy agree.
        top: The largest y that is shown.
        dots: Whether to mark the points.

    Returns:
        `<svg ...>`, its texts escaped.
    """
    from html import escape

    span = _SIDE - 2 * _MARGIN

    def place(x: float, y: float) -> str:
        return f"{_MARGIN + x * span:.1f},{_SIDE - _MARGIN - min(y / top, 1.0) * span:.1f}"

    parts = [
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{escape(up)} over {escape(across)}">',
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{span}" height="{span}" class="frame"/>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(tick, tick * top).split(",")
        parts.append(f'<text x="{x}" y="{_SIDE - _MARGIN + 14}" class="tick" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{_MARGIN - 5}" y="{y}" class="tick" text-anchor="end">{tick * top:.3g}</text>')
    if diagonal:
        parts.append(f'<polyline points="{place(0, 0)} {place(1, 1)}" class="ideal"/>')
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        drawn = " ".join(place(x, y) for x, y in points)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}"><title>{escape(name)}</title></polyline>'
        )
        if dots:
            centres = (place(x, y).split(",") for x, y in points)
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in centres]
    for row, (name, colour) in enumerate(zip(lines, _COLOURS, strict=False)):
        parts.append(f'<text x="{_MARGIN + 6}" y="{_MARGIN - 8 - 13 * row}" fill="{colour}">{escape(name)}</text>')
    parts.append(f'<text x="{_SIDE / 2}" y="{_SIDE - 8}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="12" y="{_SIDE / 2}" transform="rotate(-90 12 {_SIDE / 2})" text-anchor="middle">')
    return "".join(parts) + f"{escape(up)}</text></svg>"


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
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_bytes(held.getvalue())
    scratch.replace(path)
