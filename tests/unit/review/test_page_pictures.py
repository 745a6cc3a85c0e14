"""The pictures on the pages, by their routes: of the right product alone, read at once, and none that is gone."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest

from tests.review_site import (
    SHIRTS,
    Client,
    Site,
    page_id_of,
    products_on,
    sent,
)


def picture_paths(page: str, kind: str) -> list[str]:
    """Return the addresses of the pictures in a page."""
    return [html.unescape(path) for path in re.findall(rf'(?:src|href)="(/{kind}\?[^"]+)"', page)]


def test_the_pictures_of_a_page_are_read_at_once(site: Site, ada: Client) -> None:
    page = ada.get(SHIRTS)
    paths = picture_paths(page.text, "thumbnail")
    assert len(paths) >= 8
    for path in paths:
        answer = ada.get(path)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert len(site.pictures.read) == 2, "those of the examples, and those of the products"


def test_a_picture_whose_file_was_pruned_is_none_and_the_page_works_on(site: Site, ada: Client) -> None:
    page = ada.get(SHIRTS)
    site.pictures.gone |= set(products_on(page))
    assert [ada.get(path).status for path in picture_paths(page.text, "thumbnail")][-8:] == [404] * 8
    focus = ada.get(f"/focus?product={products_on(page)[0]}")
    assert [ada.get(path).status for path in picture_paths(focus.text, "picture")] == [404]
    assert ada.send("/page", sent(page_id_of(page))).json["decided"] == 8


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.replace("sha256=0", "sha256=1"),
        lambda path: path.replace("image=0", "image=1"),
        lambda path: path.replace("product=article", "product=known"),
        lambda path: path.replace("product=article", "product=..%2F..%2Fetc%2Fpasswd"),
    ],
)
def test_a_picture_is_found_by_product_position_and_hash_alone(ada: Client, change: Callable[[str], str]) -> None:
    paths = picture_paths(ada.get("/focus?product=article-00002").text, "picture")
    assert ada.get(paths[0]).status == 200
    assert ada.get(change(paths[0])).status == 404


@pytest.mark.parametrize(
    "query", ["", "?product=a", "?product=a&image=x&sha256=" + "0" * 64, "?product=a&image=0&sha256=file:///etc/passwd"]
)
def test_a_picture_that_no_page_names_is_refused(ada: Client, query: str) -> None:
    assert ada.get(f"/thumbnail{query}").status == 422
