"""Rendering of HTML pages that can be opened from disk: catalog strings are escaped and clipped, no request or script.

The Content-Security-Policy in `templates/page.html` also forbids requests and scripts, in case a string is not escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined

LONGEST_TEXT = 160
"""Most characters of a catalog string that a page shows."""

UNKNOWN = "–"  # noqa: RUF001 - a dash where there is no number

_WEBP_QUALITY = 80


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render an HTML page from a template, with all values escaped.

    Args:
        template: Name of a file in `templates/`.
        values: Variables of the template; strings are escaped.
    """
    environment = environment_of("jobs.pages")
    environment.filters |= {
        "duration": duration,
        "share": lambda value: "" if value is None else f"{value:.4f}",
        "signed_points": signed_points,
    }
    return environment.get_template(template).render(**values)


def environment_of(package: str) -> Environment:
    """Return an environment for the folder `templates/` of a package: all values are escaped, none may be missing."""

    def source(name: str) -> str:
        return files(package).joinpath("templates", name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True, loader=FunctionLoader(source), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "clip": clip,
        "count": lambda number: UNKNOWN if number is None else f"{number:,}",
        "percent": percent,
    }
    return environment


def thumbnail(jpeg: bytes, *, longest_px: int) -> str:
    """Return a thumbnail of a stored image for an HTML page, as a data: URI.

    Args:
        jpeg: JPEG bytes from the dataset.
        longest_px: Longer side of the thumbnail, in pixels; a smaller image is not enlarged.

    Returns:
        WebP image as a data: URI; empty if the JPEG does not decode.
    """
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if pixels is None:
        return ""
    scale = min(1.0, longest_px / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])[1]
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def clip(text: object, longest: int = LONGEST_TEXT) -> str:
    """Clip a text of an HTML page to `longest` characters, with an ellipsis at the end of a clipped text."""
    whole = "" if text is None else str(text)
    return whole if len(whole) <= longest else f"{whole[: longest - 1]}…"


def percent(share: float | None) -> str:
    """Format a share in [0, 1] for a page as 4.2% or 96%; a share below 1 is never rounded to 100%."""
    if share is None:
        return UNKNOWN
    whole = share * 100
    if 0 < whole < 0.1:
        return "under 0.1%"
    if whole in (0, 100) or 10 <= whole < 99:
        return f"{whole:.0f}%"
    return f"{min(whole, 99.9) if whole < 100 else whole:.1f}%"


def signed_points(difference: float) -> str:
    """Format a difference of two shares for a page in percentage points, with its sign."""
    return f"{'+' if difference >= 0 else '−'}{abs(difference) * 100:.1f} points"  # noqa: RUF001 - a minus sign


def duration(seconds: float | None) -> str:
    """Format seconds for a page: 4.2 s, 1 min 27 s, 3 h 05 min."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
