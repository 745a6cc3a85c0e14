"""Small figures of the report: when a share is unusual, how numbers are written, and whether people can read it."""

from __future__ import annotations

import re

import pytest

from jobs.pages.charts import svg_chart, svg_histogram
from jobs.pages.html import clip, duration, percent, render, thumbnail
from jobs.report.facts import differs
from tests.conftest import picture


@pytest.mark.parametrize(
    ("counts", "unusual"),
    [
        ((500, 1000, 500, 1000), False),
        ((600, 1000, 500, 1000), True),
        ((520, 1000, 500, 1000), False),  # two points are too few to speak of
        ((13, 20, 500, 1000), False),  # a small night proves nothing
        ((0, 100, 300, 1000), True),
        ((0, 0, 0, 0), False),
    ],
)
def test_a_share_is_unusual_only_if_the_change_is_significant_and_large(
    counts: tuple[int, int, int, int], unusual: bool
) -> None:
    assert differs(*counts, points=0.03) is unusual


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (0.0004, "under 0.1%"),
        (0.042, "4.2%"),
        (0.5, "50%"),
        (0.9996, "99.9%"),
        (1, "100%"),
        (0.996, "99.6%"),
    ],
)
def test_a_share_is_never_rounded_to_0_or_100_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.25, "4.2 s"), (59.6, "1 min 00 s"), (87, "1 min 27 s"), (11_100, "3 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_texts_are_cut_and_pictures_shrunk() -> None:
    assert clip("x" * 200) == "x" * 159 + "…"
    small, large = (thumbnail(picture(1, width_px=900, height_px=600), longest_px=px) for px in (40, 400))
    assert small.startswith("data:image/webp;base64,UklGR")
    assert len(small) < len(large)
    assert thumbnail(b"", longest_px=40) == thumbnail(b"<html>", longest_px=40) == ""


def test_a_chart_s_bars_are_as_tall_as_their_counts() -> None:
    chart = svg_histogram({"a": [1, 0, 3], "b": [1, 0, 1]}, colours=["auto", "review"], across="<x>", up="n")
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([0-9.]+)"', chart)]
    assert heights == pytest.approx([heights[0], heights[0], 3 * heights[0], heights[0]], abs=0.2)
    assert "<x>" not in chart


def test_a_chart_may_begin_at_another_value_than_zero() -> None:
    chart = svg_chart({"a": [(0.8, 0.0), (0.9, 0.5), (1.0, 1.0)]}, across="x", up="y", left=0.8)
    [points] = re.findall(r'<polyline points="([^"]*)" class="line"', chart)
    places = [tuple(map(float, point.split(","))) for point in points.split()]
    [[left, top, side]] = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)"', chart)
    left, top, side = int(left), int(top), int(side)
    assert places == [(left, top + side), (left + side / 2, top + side / 2), (left + side, top)]
    ticks = [float(text) for text in re.findall(r'text-anchor="middle">([0-9.]+)</text>', chart)]
    assert ticks == pytest.approx([0.8, 0.85, 0.9, 0.95, 1.0])


def test_texts_have_contrast_in_the_light_and_in_the_dark() -> None:
    source = render("page.html", {})
    schemes = re.findall(r":root \{(.*?)\}", source, re.DOTALL)[:2]
    for scheme in schemes:
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", scheme))
        assert {"bg", "card", "ink", "muted"} <= colours.keys()
        for text in ("ink", "muted", "accent", "good", "look", "bad", "calm"):
            for ground in ("bg", "card", "soft"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for shape in ("auto", "review", "unknown", "rejected", "series-1"):
            assert contrast(colours[shape], colours["card"]) >= 2, shape


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
