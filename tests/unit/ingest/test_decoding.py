"""A file that ends its decoder, by any means, is rejected alone; what comes before and after it is decoded."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from jobs.errors import RunFailed
from jobs.images.normalise import MAX_PIXELS, Rejected, normalise
from jobs.ingest.config import IngestConfig
from jobs.ingest.decoding import MOST_KILLED, DecodingLimits, GuardedDecoder
from tests.unit.ingest.test_secret_links import Night

DEADLY = """
import os, signal, sys, time
from jobs.ingest import decoding
from jobs.images.normalise import normalise

def deadly(data, **limits):
    match data:
        case b"segmentation":
            import ctypes; ctypes.string_at(0)
        case b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"left":
            os._exit(0)
        case b"loop":
            while True:
                pass
        case b"sleep":
            time.sleep(600)
        case b"memory":
            held = [bytearray(2**28) for _ in range(8)]  # zeros, for which the system takes no memory
    return normalise(data, **limits)

decoding.normalise = deadly
decoding.serve(*map(int, sys.argv[1:]))
"""


def jpeg(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def deadly() -> Iterator[GuardedDecoder]:
    """A decoder that some files end."""
    with GuardedDecoder(DecodingLimits(cpu_seconds=1, seconds=100, memory_bytes=1 << 30), program=DEADLY) as decoder:
        yield decoder


@pytest.mark.parametrize(
    ("data", "ended_by"),
    [
        (b"segmentation", "SIGSEGV"),
        (b"killed", "SIGKILL"),
        (b"left", "exit code 0"),
        (b"loop", "SIGPROF"),
    ],
)
def test_a_file_that_ends_two_processes_is_rejected_and_the_next_is_decoded(
    deadly: GuardedDecoder, data: bytes, ended_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert deadly.normalise(jpeg("blue")) == normalise(jpeg("blue"))
    with pytest.raises(Rejected) as caught:
        deadly.normalise(data)
    assert caught.value.reason == "decoder_crashed"
    assert caught.value.detail.endswith(f"a second one that had nothing else ({ended_by})")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert deadly.normalise(jpeg()) == normalise(jpeg())


def test_a_file_that_waits_for_ever_ends_its_process() -> None:
    with (
        GuardedDecoder(DecodingLimits(seconds=1), program=DEADLY) as decoder,
        pytest.raises(Rejected, match=r"nothing else \(SIGALRM\)"),
    ):
        decoder.normalise(b"sleep")


def test_a_file_that_takes_all_memory_ends_its_process_and_not_the_machine(deadly: GuardedDecoder) -> None:
    with pytest.raises(Rejected, match="decoder_crashed"):
        deadly.normalise(b"memory")


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")])
def test_a_lack_of_memory_was_told_as_a_promise_of_the_header(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object) -> None:
        raise error

    monkeypatch.setattr("jobs.images.normalise._stored", lacking)
    with pytest.raises(Rejected) as caught:
        normalise(jpeg())
    assert caught.value.reason == "too_large"
    assert caught.value.detail == "decoding it takes more memory than a process that decodes may have"


def test_an_image_that_pillow_alone_refuses_is_decoded_where_the_setting_allows_it() -> None:
    """Pillow's own limit is 179 megapixels."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 9_000)).save(buffer, "PNG")
    with GuardedDecoder(DecodingLimits.for_megapixels(181)) as decoder:
        assert decoder.normalise(buffer.getvalue()).height_px == 320
    with GuardedDecoder() as decoder, pytest.raises(Rejected, match="SHELFWISE_MAX_MEGAPIXELS"):
        decoder.normalise(buffer.getvalue())
    usual = DecodingLimits.for_megapixels(IngestConfig.max_megapixels)
    assert (usual.max_pixels, DecodingLimits.for_megapixels(1).memory_bytes) == (MAX_PIXELS, usual.memory_bytes)


def test_a_night_has_the_limit_of_its_setting(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.max_megapixels = 1
    for name, side_px in {"a.png": 999, "b.png": 1001}.items():
        Image.new("RGB", (side_px, side_px)).save(tmp_path / name)
    night(night.rows("a.png", "b.png"))
    [row] = night.stored("seen")
    assert (row["product_id"], row["reason"]) == ("p1", "too_large")
    assert "over the 1,000,000 pixels, the limit of SHELFWISE_MAX_MEGAPIXELS" in row["detail"]


def test_what_cannot_be_used_is_rejected_with_the_reason_of_the_decoder() -> None:
    with GuardedDecoder() as decoder:
        for data in (b"", b"<html>", jpeg()[:-300], b"RIFF\x10\x00\x00\x00WEBPVP8X" + b"\xff" * 18):
            with pytest.raises(Rejected) as expected:
                normalise(data)
            with pytest.raises(Rejected) as found:
                decoder.normalise(data)
            assert (found.value.reason, found.value.detail) == (expected.value.reason, expected.value.detail)


def test_one_process_decodes_many_files_and_ends_with_the_task() -> None:
    before = set(psutil.Process().children())
    with GuardedDecoder() as decoder:
        assert set(psutil.Process().children()) == before, "nothing is started for a task without images"
        for _ in range(3):
            decoder.normalise(jpeg())
        [process] = set(psutil.Process().children()) - before
    assert not process.is_running()


def test_an_endless_decoder_ends_also_when_its_task_is_gone() -> None:
    with GuardedDecoder(DecodingLimits(cpu_seconds=1), program=DEADLY) as decoder:
        decoder.normalise(jpeg())
        helper = decoder._helper.running
        assert helper is not None
        process = psutil.Process(helper.process.pid)
        helper.pipe.send(b"loop")
        helper.pipe.close()  # as when the task is killed
        deadline = time.monotonic() + 20
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    with (
        GuardedDecoder(program="import sys; sys.exit(3)") as decoder,
        pytest.raises(RunFailed, match=r"ends before the first one \(exit code 3\); see that this machine has memory"),
    ):
        decoder.normalise(jpeg())


def test_where_no_image_decodes_the_images_of_the_shop_are_not_blamed() -> None:
    broken = "from jobs.ingest import decoding; decoding.normalise = lambda data, **limits: __import__('os').abort(); "
    program = broken + "import sys; decoding.serve(*map(int, sys.argv[1:]))"
    with (
        GuardedDecoder(program=program) as decoder,
        pytest.raises(RunFailed, match=r"before the first one \(SIGABRT\)"),
    ):
        decoder.normalise(jpeg())


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="this system has no oom_score_adj")
def test_the_kernel_took_the_java_of_spark_instead_of_a_process_that_can_be_started_again(
    deadly: GuardedDecoder,
) -> None:
    deadly.normalise(jpeg())
    helper = deadly._helper.running
    assert helper is not None
    assert oom_score(helper.process.pid) == 1000


def test_where_memory_is_short_sound_images_were_rejected_without_end() -> None:
    """What the kernel kills is counted over the task, which fails in the end; a crash of a decoder does not count."""
    with GuardedDecoder(program=DEADLY) as decoder:
        with pytest.raises(Rejected, match="SIGSEGV"):
            decoder.normalise(b"segmentation")
        for _ in range(MOST_KILLED // 2):
            with pytest.raises(Rejected, match="decoder_crashed"):
                decoder.normalise(b"killed")
        with pytest.raises(RunFailed, match=r"^11 processes .* were killed \(SIGKILL\).* more memory"):
            decoder.normalise(b"killed")


def test_a_night_whose_processes_are_killed_records_no_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.ingest.decoding.MOST_KILLED", 3)
    monkeypatch.setattr("jobs.ingest.task.GuardedDecoder", lambda _: GuardedDecoder(program=DEADLY))
    night = Night(tmp_path)
    for name, content in {"a.jpg": jpeg(), "b.jpg": b"killed", "c.jpg": b"killed"}.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunFailed, match="none of these images is rejected for good"):
        night(night.rows("a.jpg", "b.jpg", "c.jpg"))
    assert night.stored("seen") == []


def test_a_night_with_deadly_files_stores_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.ingest.task.GuardedDecoder", lambda _: GuardedDecoder(program=DEADLY))
    night = Night(tmp_path)
    for name, content in {"a.jpg": jpeg(), "b.jpg": b"killed", "c.jpg": jpeg("blue"), "d.jpg": b"left"}.items():
        (tmp_path / name).write_bytes(content)
    counts = night(night.rows("a.jpg", "b.jpg", "c.jpg", "d.jpg"))
    assert (counts["stored"], counts["rejected"]) == (2, 2)
    assert {row["product_id"] for row in night.stored("images")} == {"p0", "p2"}
    reasons = {row["product_id"]: row["reason"] for row in night.stored("seen")}
    assert reasons == {"p1": "decoder_crashed", "p3": "decoder_crashed"}
