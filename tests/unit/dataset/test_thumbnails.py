"""Thumbnails: where a prediction says that its picture lies, how small they are, and their file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset.thumbnails import (
    PictureAt,
    decodes,
    make_thumbnail,
    parse_picture_at,
    thumbnail_file,
    write_thumbnails,
)
from jobs.storage.places import Places

SHARD = "part-0123456789abcdef-000150.parquet"


def jpeg(width_px: int, height_px: int) -> bytes:
    """Return a smooth picture, red on the left and blue on the right."""
    pixels = np.zeros((height_px, width_px, 3), np.uint8)
    pixels[..., 2] = np.linspace(255, 0, width_px)
    pixels[..., 0] = np.linspace(0, 255, width_px)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


def pixels_of(content: bytes | None) -> np.ndarray:
    assert content is not None
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


def test_what_is_written_is_read_again() -> None:
    at = PictureAt(SHARD, 2, 21, 130)
    assert str(at) == f"{SHARD}#2#21#130"
    assert parse_picture_at(str(at)) == at
    assert at.thumbnail_place == (2, 2)
    large = PictureAt(SHARD, 2, 21)
    assert str(large) == f"{SHARD}#2#21"
    assert parse_picture_at(str(large)) == large
    assert large.thumbnail_place is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        SHARD,
        f"{SHARD}#1",
        f"{SHARD}#1#2#",
        f"{SHARD}#1#2#3#4",
        f"{SHARD}#1#2#-3",
        f"{SHARD}#1#2#03",
        f"{SHARD}#1#2#3\n",
        f" {SHARD}#1#2#3",
        f"{SHARD}#1#2#9999999999",
        f"{SHARD}#1#2#\N{ARABIC-INDIC DIGIT THREE}",
        f"../{SHARD}#1#2#3",
        f"part-x/../../{SHARD}#1#2#3",
        f"/home/{SHARD}#1#2#3",
        f"part-a\\{SHARD}#1#2#3",
        "s3://bucket/part-1.parquet#1#2#3",
        "shelfwise.db#0#0#0",
        f"part-{'a' * 300}.parquet#0#0#0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not say where a picture lies: expected part-NAME\.parquet#GROUP#ROW"):
        parse_picture_at(text)


@pytest.mark.parametrize(
    ("size_px", "expected_px"),
    [((320, 480), (107, 160)), ((900, 320), (160, 57)), ((160, 160), (160, 160)), ((30, 20), (30, 20))],
)
def test_the_longer_side_is_at_most_160_px_and_a_small_image_stays(
    size_px: tuple[int, int], expected_px: tuple[int, int]
) -> None:
    for longest_px in (0, max(size_px)):
        pixels = pixels_of(make_thumbnail(jpeg(*size_px), longest_px=longest_px))
        assert pixels.shape[1::-1] == expected_px
        assert pixels[0, 0, 2] > 200 > 60 > pixels[0, 0, 0], "red on the left"


@pytest.mark.parametrize(("side_px", "factor"), [(300, 1), (320, 2), (640, 4), (1280, 8), (5000, 8)])
def test_the_decoder_leaves_out_what_a_thumbnail_does_not_show(
    side_px: int, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[int, ...]] = []
    decode = cv2.imdecode

    def watched(content: np.ndarray, flag: int) -> np.ndarray:
        pixels = np.asarray(decode(content, flag))
        decoded.append(pixels.shape)
        return pixels

    content = jpeg(side_px, 40)
    monkeypatch.setattr(cv2, "imdecode", watched)
    whole, reduced = make_thumbnail(content), make_thumbnail(content, longest_px=side_px)
    assert [shape[1] for shape in decoded] == [side_px, side_px // factor]
    monkeypatch.undo()
    difference = pixels_of(whole).astype(int) - pixels_of(reduced)
    assert np.abs(difference).mean() < 4, "it looks the same"


@pytest.mark.parametrize("content", [b"", b"not a jpeg", jpeg(30, 20)[:40]])
def test_what_is_no_image_gives_none(content: bytes) -> None:
    assert make_thumbnail(content) is None
    assert not decodes(content)
    assert decodes(jpeg(30, 20))


def test_a_file_has_small_row_groups_and_no_picture_in_its_footer(tmp_path: Path) -> None:
    day = date(2026, 11, 1)
    target = Path(str(thumbnail_file(Places(tmp_path), "night", day, SHARD)))
    assert target == tmp_path / "thumbnails" / "run_id=night" / "ingest_date=2026-11-01" / SHARD
    small = jpeg(20, 20)
    rows = [
        {"product_id": f"p{n}", "image_no": 0, "image_sha256": f"{n:064d}", "thumbnail": small, "descriptor": None}
        for n in range(150)
    ]
    write_thumbnails(target, rows)
    metadata = pq.read_metadata(target)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [64, 64, 22]
    columns = {chunk.path_in_schema: chunk for chunk in map(metadata.row_group(0).column, range(5))}
    assert columns["thumbnail"].compression == "UNCOMPRESSED"
    assert columns["thumbnail"].statistics is None
    assert columns["product_id"].statistics is not None
    assert pq.read_table(target, partitioning=None).to_pylist() == rows
