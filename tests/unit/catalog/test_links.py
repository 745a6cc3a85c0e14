"""What a shop writes as a link is read as a browser would read it, or rejected with the form that is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog.description import described, read_description
from jobs.catalog.links import Link, bad_link, checked_base_url, link_of, masks_query, masks_user_info, path_link
from jobs.errors import UsageError

LINK = "https://shop.example/a.jpg"


@pytest.mark.parametrize(
    "text",
    [
        LINK,
        f"  {LINK}\t\r\n",
        f"\xa0{LINK}\u2003",
        f"\ufeff{LINK}\u200b",
        f'"{LINK}"',
        f'""{LINK}""',
        f"' {LINK} '",
        f"<{LINK}>",
        f" \u201c{LINK}\u201d",
        f'"<{LINK}>"',
        "//shop.example/a.jpg",
        "https:/shop.example/a.jpg",
        "https:\\\\shop.example\\a.jpg",
        "https:\\/shop.example/a.jpg",
        "https://shop.example\\a.jpg",
        "https//shop.example/a.jpg",
    ],
)
def test_what_stands_around_a_link_and_clear_mistakes_are_no_part_of_it(text: str) -> None:
    assert link_of(text) == Link(LINK)
    assert link_of(text, "https://other.example/images/") == Link(LINK)
    assert bad_link(LINK) is None


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("www.shop.example/a.jpg", "https://www.shop.example/a.jpg"),
        ("WWW2.shop.example:8080/a.jpg", "https://WWW2.shop.example:8080/a.jpg"),
        ("//localhost:8080/a.jpg", "https://localhost:8080/a.jpg"),
        ("//[2001:db8::1]/a.jpg", "https://[2001:db8::1]/a.jpg"),
        ("http:\\shop.example\\a.jpg", "http://shop.example/a.jpg"),
        (f"{LINK}?a=1&amp;b=2&amp;amp;c=3&#38;d=4&#x26;e=\\5", f"{LINK}?a=1&b=2&c=3&d=4&e=\\5"),
        ("https://shop.example/red shirt&amp;.jpg", "https://shop.example/red shirt&amp;.jpg"),
        ("HTTPS://shop.example/a.jpg", "HTTPS://shop.example/a.jpg"),
        ("https://web.example/https://shop.example/a.jpg", "https://web.example/https://shop.example/a.jpg"),
        ("ftp://shop.example/a.jpg", "ftp://shop.example/a.jpg"),
        ("s3://bucket/a&amp;b.jpg?c", "s3://bucket/a&amp;b.jpg?c"),
        ("shop.example/a.jpg", "shop.example/a.jpg"),
        ("www.photos.jpg", "www.photos.jpg"),
        ("https/a.jpg", "https/a.jpg"),
        ("http images/a.jpg", "http images/a.jpg"),
        ("//photos/a.jpg", "//photos/a.jpg"),
        ("/photos/a.jpg", "/photos/a.jpg"),
        (" 'photos/a.jpg' ", "photos/a.jpg"),
        ("Q&amp;A/a:b.jpg", "Q&amp;A/a:b.jpg"),
        ("C:\\photos\\a.jpg", "C:\\photos\\a.jpg"),
        ("cdn/width=80/https://shop.example/a.jpg", "cdn/width=80/https://shop.example/a.jpg"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
        ("", ""),
        (" \xa0", ""),
        ('""', ""),
    ],
)
def test_other_links_and_paths_stay_what_they_are(text: str, stored: str) -> None:
    assert link_of(text) == Link(stored)
    assert bad_link(stored) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"Image: {LINK}", "has text before it"),
        (f"url={LINK}", "has text before it"),
        (f"see shop/a {LINK}", "has text before it"),
        (f'"{LINK}', "has text before it"),
        ("https:shop.example/a.jpg", "another text than ://"),
        ("https;//shop.example/a.jpg", "another text than ://"),
        ("https\uff1a//shop.example/a.jpg", "another text than ://"),
        ("https ://shop.example/a.jpg", "another text than ://"),
        ("http//intranet/a.jpg", "another text than ://"),
        ("s3:/bucket/a.jpg", "another text than ://"),
        ("https:///shop.example/a.jpg", "has no host"),
        ("https://", "has no host"),
        ("http:", "has no host"),
        ("https://?a=1", "has no host"),
        ("https://https://shop.example/a.jpg", "scheme twice"),
        ("http://https//shop.example/a.jpg", "scheme twice"),
        (f"{LINK}, {LINK}", "several links"),
        (f"{LINK}|{LINK}", "several links"),
        (f"{LINK}?a=1\xa0{LINK}", "several links"),
        ("https://shop.example/a\nb.jpg", "control character"),
        ("a\x9bb.jpg", "control character"),
        ("\x00", "control character"),
        (f"{LINK}?token=5E\x07", "control character"),
        ("https://shop.example/" + "a" * 5000, "over 4,096 characters"),
        ("data:image/png;base64," + "A" * 5000, "over 4,096 characters"),
        ("a/" * 2060, "over 4,096 characters"),
    ],
)
@pytest.mark.parametrize("base_url", ["", "https://other.example/images/", "s3://bucket/images/"])
def test_a_link_in_no_form_that_can_be_read_is_rejected_with_its_fault(text: str, words: str, base_url: str) -> None:
    link = link_of(text, base_url)
    assert words in str(bad_link(link.image_uri)), link
    assert len(link.image_uri) <= 201 or len(text) < 4096
    assert link.fetch_uri is None
    assert not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in link.image_uri)
    assert link_of(link.image_uri) == link, "a stored link is read as the same"


def test_the_longest_link_is_read_and_a_longer_one_is_cut_without_its_secrets() -> None:
    longest = LINK + "?" + "a" * (4096 - len(LINK) - 1)
    assert link_of(longest) == Link(longest)
    cut = link_of(longest + "a").image_uri
    assert cut == longest[:200] + "\u2026"
    for secret in (f"https://ada:{'p' * 5000}@shop.example/a.jpg", f"{LINK}?token={'p' * 5000}", "//a:" + "p" * 10**6):
        stored = link_of(secret).image_uri
        assert "ppp" not in stored
        assert "over 4,096" in str(bad_link(stored))


@pytest.mark.parametrize(
    ("base_url", "text", "stored"),
    [
        ("https://shop.example/images/", "a.jpg", "https://shop.example/images/a.jpg"),
        ("https://shop.example/images", "a.jpg", "https://shop.example/images/a.jpg"),
        ("https://shop.example", "a.jpg", "https://shop.example/a.jpg"),
        ("https://shop.example/media/catalog", "/m/a.jpg", "https://shop.example/media/catalog/m/a.jpg"),
        ("https://shop.example/images/", "../a b.jpg", "https://shop.example/a b.jpg"),
        ("https://shop.example/images/", "a:b.jpg", "https://shop.example/images/a:b.jpg"),
        ("https://shop.example/images/", "?id=7", "https://shop.example/images/?id=7"),
        ("https://shop.example/", "cdn/https://b.example/a.jpg", "https://shop.example/cdn/https://b.example/a.jpg"),
        ("https://shop.example/a//b/", "c//d.jpg", "https://shop.example/a//b/c//d.jpg"),
        ("https://shop.example/a/?v=1/#2/", "./b:c/../d:e.jpg", "https://shop.example/a/d:e.jpg"),
        ("https://shop.example/a/", "b:c/../../d.jpg", "https://shop.example/d.jpg"),
        ("https://shop.example/a/b/", "..\\c\\d.jpg?e=\\&amp;f=1", "https://shop.example/a/c/d.jpg?e=\\&f=1"),
        ("s3://bucket/a/", "c\\d.jpg?e&amp;f", "s3://bucket/a/c\\d.jpg?e&amp;f"),
        ("http://shop.example/images/", "//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("https://shop.example/images/", "s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("https://shop.example/images/", "file:///a.jpg", "file:///a.jpg"),
        ("https://shop.example/images/", "", ""),
        ("s3://bucket/images/", "red shirt#1?.jpg", "s3://bucket/images/red shirt#1?.jpg"),
        ("s3://bucket/images/", "/a.jpg", "s3://bucket/images/a.jpg"),
    ],
)
def test_relative_links_are_relative_to_the_base(base_url: str, text: str, stored: str) -> None:
    assert link_of(text, base_url) == Link(stored)


@pytest.mark.parametrize(
    "text",
    [f"{LINK}?v=1&Signature=5E&Expires=9", "//shop.example/a.jpg?v=1&amp;Signature=5E&amp;Expires=9"],
)
def test_the_secrets_of_a_query_are_sent_and_not_stored(text: str) -> None:
    link = link_of(text)
    assert link == Link(f"{LINK}?v=1&Signature=***&Expires=***", f"{LINK}?v=1&Signature=5E&Expires=9")
    assert masks_query(link.image_uri)
    assert link_of("a.jpg?token=5E", "https://b.example/") == Link(
        "https://b.example/a.jpg?token=***", "https://b.example/a.jpg?token=5E"
    )
    assert link_of("s3://bucket/a.jpg?token=5E") == Link("s3://bucket/a.jpg?token=5E")


@pytest.mark.parametrize("scheme", ["https://", "https:/", "https:\\\\", "//", "s3://", "\xa0HTTPS://", "", "Link: //"])
def test_the_password_of_a_link_is_neither_stored_nor_sent(scheme: str) -> None:
    for password in ("hunter2", "hun/ter2", "hunter2?", "hunter#2", "80/hunter2"):
        link = link_of(f"{scheme}ada:{password}@shop.example/a.jpg?token=5E")
        assert "ter" not in link.image_uri
        assert "ada" not in link.image_uri
        assert "5E" not in link.image_uri or scheme == "s3://"
        assert masks_user_info(link.image_uri)
        assert link.fetch_uri is None


@given(st.text(max_size=60), st.sampled_from(["", "https://shop.example/images/", "s3://bucket/"]))
def test_any_text_becomes_one_link_that_stays_the_same(text: str, base_url: str) -> None:
    for each in (text, f"https://shop.example/{text}", f"//{text}", f"www.{text}"):
        link = link_of(each, base_url)
        assert link_of(link.image_uri).image_uri == link.image_uri
        assert (link.fetch_uri is None) == (link.image_uri == (link.fetch_uri or link.image_uri))
        bad_link(link.image_uri)


@given(
    st.from_regex(r"(https?://[a-z]{1,9}\.example/)?[A-Za-z0-9._~+-]{1,9}(/[A-Za-z0-9._~+-]{1,9}){0,3}", fullmatch=True)
)
def test_usual_links_stay_as_they_are(text: str) -> None:
    if not text.lower().startswith("www"):
        assert link_of(text) == Link(text)


def test_a_path_of_a_directory_is_taken_literally() -> None:
    for path in ("www.shop.example/a.jpg", ' "a".jpg ', "a?token=1.jpg", "a@b:c@d/e.jpg"):
        assert path_link(path) == Link(path)
    assert path_link("a\nb\x9b.jpg") == Link("a\ufffdb\ufffd.jpg")


@pytest.mark.parametrize(
    "text",
    ['"' * 10**6, "a" * 10**7, "<" * 4000 + ">" * 4000, "http://" * 580, "www." * 1000, "//" + "a." * 2000 + "@"],
)
def test_no_text_takes_long(text: str) -> None:
    started = time.process_time()
    bad_link(link_of(text, "https://shop.example/").image_uri)
    assert time.process_time() - started < 1


class TestBaseUrl:
    @pytest.mark.parametrize(
        "url", ["https://shop.example/images/", "HTTP://shop.example:8080", "s3://bucket", "https://[2001:db8::1]/a/"]
    )
    def test_web_servers_and_s3_are_taken(self, url: str) -> None:
        assert checked_base_url(f" {url}\xa0") == url
        assert described(base_url=url).base_url == url
        assert checked_base_url("") == ""

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("shop.example/images/", "expected a URL such as https://shop.example/images/"),
            ("/photos", "expected a URL"),
            ("file:///photos", "expected a URL"),
            ("ftp://shop.example/", "expected a URL"),
            ("https:/shop.example/", "expected a URL"),
            ("https:///images", "expected a URL"),
            ("https://shop.example/a b/", "expected a URL"),
            ("https://https://shop.example/", "expected a URL"),
            ("https://shop.example/\x1b[2J", "expected a URL"),
            ("https://ada:hunter2@shop.example/", "holds a user name, password, signature or token; leave it out"),
            ("https://ada@shop.example/", "holds a user name"),
            ("s3://hunter2@bucket/", "holds a user name"),
            ("https://shop.example/?sig=hunter2", "holds a user name"),
            ("https://shop.example/" + "a" * 2048, "has 2,069 characters; 2,048 at most"),
        ],
    )
    def test_others_are_refused_without_showing_a_secret(self, url: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "shelfwise.toml").write_text(f'base_url = "{url}"'.replace("\x1b", "\\u001b"), encoding="utf-8")
        for call in (
            lambda: checked_base_url(url),
            lambda: described(base_url=url),
            lambda: read_description(tmp_path),
        ):
            with pytest.raises(UsageError) as caught:
                call()
            assert words in str(caught.value)
            assert "hunter2" not in str(caught.value)
            assert str(caught.value).isprintable()
