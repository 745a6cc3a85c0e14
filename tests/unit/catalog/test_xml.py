"""Feeds and other XML are read record by record; what is hostile, damaged or unclear is refused in one sentence."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from jobs.catalog.forms.xml import looks_like_xml, read_xml, xml_names
from jobs.catalog.layout import PRESETS, Layout
from jobs.catalog.recognise import recognise
from jobs.catalog.rows import Part
from tests.unit.catalog.catalog_files import Rows, refusal_of, rows_of, written

NAMES = ("product_id", "image_no", "image_uri", "title", "category", "group_id")
GOOGLE = 'xmlns:g="http://base.google.com/ns/1.0"'
RSS = f"""<?xml version="1.0"?>
<rss version="2.0" {GOOGLE}>
  <channel>
    <title>The shop</title>
    <link>https://shop.example</link>
    <item>
      <g:id>TV_1</g:id>
      <title><![CDATA[A "TV" & more]]></title>
      <g:image_link>https://shop.example/w_1,h_1/1.jpg</g:image_link>
      <g:additional_image_link>https://shop.example/2.jpg</g:additional_image_link>
      <g:additional_image_link>https://shop.example/3.jpg</g:additional_image_link>
      <g:shipping><g:country>US</g:country><g:price>1 USD</g:price></g:shipping>
      <g:product_type>TVs &gt; Large</g:product_type>
      <g:item_group_id>TV</g:item_group_id>
      <description>Not <b>text</b> alone</description>
    </item>
    <item>
      <g:id>TV_2</g:id>
      <title>Another</title>
      <g:title>The other</g:title>
      <g:image_link>https://shop.example/4.jpg</g:image_link>
    </item>
  </channel>
</rss>
"""


def rows(path: Path, layout: Layout | None = None, names: tuple[str, ...] = NAMES[:1] + NAMES[2:4]) -> Rows:
    return rows_of(read_xml, path, layout or Layout("xml"), *names)


def google() -> Layout:
    return Layout("xml", kind="google", columns=PRESETS["google"].columns)


def refused(path: Path, layout: Layout | None = None) -> str:
    return refusal_of(path, lambda: rows(path, layout))


def product(number: int, more: str = "") -> str:
    return f"<product><product_id>p{number}</product_id><image_uri>{number}.jpg</image_uri>{more}</product>\n"


def products(count: int, more: str = "") -> str:
    return "<products>" + "".join(product(number, more) for number in range(1, count + 1)) + "</products>"


TWO = [("p1", "1.jpg", None), ("p2", "2.jpg", None)]


def test_a_feed_of_google_merchant_is_recognised_and_read(tmp_path: Path) -> None:
    path = written(tmp_path / "feed.xml", RSS)
    recognised = recognise(path)
    assert (recognised.layout.form, recognised.layout.kind) == ("xml", "google")
    first = [("TV_1", str(index), uri, 'A "TV" & more', "TVs > Large", "TV") for index, uri in enumerate(_links())]
    assert rows(path, recognised.layout, NAMES) == [
        *first,
        ("TV_2", "0", "https://shop.example/4.jpg", "The other", None, None),
    ]


def _links() -> list[str]:
    return [f"https://shop.example/{each}.jpg" for each in ("w_1,h_1/1", "2", "3")]


def test_a_feed_in_atom_is_read_by_google_s_names(tmp_path: Path) -> None:
    text = f"""<feed xmlns="http://www.w3.org/2005/Atom" {GOOGLE}><title>The shop</title><id>tag:shop</id>
    <entry><id>tag:shop,1</id><g:id>1</g:id><title>One</title><link href="x"/><g:image_link>1.jpg</g:image_link></entry>
    </feed>"""
    path = written(tmp_path / "feed.xml", text)
    assert rows(path, google()) == [("1", "1.jpg", "One")]
    assert xml_names(path, "c", Layout("xml")) == ["id", "title", "link", "image_link"]


@pytest.mark.parametrize(
    "text",
    [
        products(2),
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><!-- made <by> hand --><a:products xmlns:a="urn:a">'
        + products(2).removeprefix("<products>").removesuffix("</products>").replace("product>", "product\n>")
        + "</a:products>",
        f"<shop><name>x</name><made>2026</made>{products(2)}</shop>",
        "<shop><sizes><s>1</s><s>2</s></sizes>" + products(2) + "</shop>",
        '<shop><tags><t id="1" parent="2">a</t><t id="2" parent="1">b</t></tags>' + products(2) + "</shop>",
        products(2, "<variants><v><a>1</a><b>1</b></v><v><a>2</a><b>1</b></v></variants>"),
        '<products><product product_id="p1" image_uri="1.jpg"/><product product_id="p2" image_uri="2.jpg"/></products>',
        '<products><product product_id="p1"><image_uri>1.jpg</image_uri></product><product product_id="no">'
        "<product_id>p2</product_id><image_uri>2.jpg</image_uri></product></products>",
    ],
)
def test_the_repeated_elements_nearest_to_the_root_are_the_records(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path / "c.xml", text)) == TWO
    assert rows(written(tmp_path / "d.xml", gzip.compress(text.encode()))) == TWO


@pytest.mark.parametrize("text", [products(1), f"<shop><name>x</name>{products(1)}</shop>"])
def test_a_file_with_one_record_is_read(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path / "c.xml", text)) == TWO[:1]


@pytest.mark.parametrize("text", ["<products/>", "<rss><channel><title>x</title></channel></rss>"])
def test_a_file_without_records_has_no_rows(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path / "c.xml", text)) == []


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-16", 'encoding="utf-16"'), ("cp1251", 'encoding="windows-1251"'), ("latin-1", 'encoding="ISO-8859-1"')],
)
def test_the_declaration_names_the_encoding(tmp_path: Path, encoding: str, declared: str) -> None:
    title = "\u0416" if encoding != "latin-1" else "\u00e9"
    text = f'<?xml version="1.0" {declared}?>' + products(2, f"<title>{title}</title>")
    assert [row[2] for row in rows(written(tmp_path / "c.xml", text.encode(encoding)))] == [title] * 2


def test_an_encoding_that_was_named_is_used(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="gb2312"?>' + products(2, "<title>\u7535\u89c6</title>")
    path = written(tmp_path / "c.xml", text.encode("gbk"))
    assert rows(path, Layout("xml", encoding="gbk"))[0][2] == "\u7535\u89c6"
    message = refused(path)
    assert message.startswith("cannot be decoded near line 1 (")
    assert message.endswith("; write it in UTF-8, or name its encoding with `--encoding`")


@pytest.mark.parametrize("declared", ["", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-8"?>'])
def test_bytes_that_are_no_utf_8_are_named_with_the_remedy(tmp_path: Path, declared: str) -> None:
    """They were "no XML (not well-formed)", which sent people looking for a wrong tag."""
    content = declared.encode() + products(2, "<title>K\u00fcche</title>").encode("cp1252")
    path = written(tmp_path / "c.xml", content)
    assert refused(path) == (
        "is not UTF-8: bytes fc in line 1; write it in UTF-8, "
        "or name its encoding with --encoding NAME (such as cp1252)"
    )
    assert rows(path, Layout("xml", encoding="cp1252"))[0][2] == "K\u00fcche"
    assert refused(path, Layout("xml", encoding="utf-8")).startswith("is not UTF-8: bytes fc in line 1; write it in")
    assert refused(path, Layout("xml", encoding="ascii")).startswith("is not ascii: bytes fc in line 1; write it in")
    written(path, content.replace(b"</product>", b"</good>"))
    assert refused(path).startswith("is not UTF-8: bytes fc in line 1;")
    written(path, content.replace(b"K\xfc", b"K", 1).replace(b"</title>", b"</text>", 1))
    assert refused(path).startswith("is no XML in line 1 (mismatched tag)")
    written(path, products(1, "<title>\x01</title>").encode() + b"\xfc")
    assert refused(path).startswith("is no XML in line 1 (not well-formed"), (
        "the byte of the next line is not the fault"
    )


def test_a_wrong_sign_of_a_declared_encoding_is_one_of_xml(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="iso-8859-1"?>' + products(2, "<title>K\u00fcche < 2</title>")
    assert refused(written(tmp_path / "c.xml", text.encode("latin-1"))).startswith(
        "is no XML in line 1 (not well-formed"
    )


@pytest.mark.parametrize("encoding", ["ebcdic-9", "hex", "rot13"])
def test_an_encoding_that_is_none_of_texts_is_refused(tmp_path: Path, encoding: str) -> None:
    """`rot13` raised TypeError."""
    message = refused(written(tmp_path / "c.xml", products(2)), Layout("xml", encoding=encoding))
    assert message.startswith(f"cannot be read: Python has no text encoding '{encoding}';")


BOMB = "<!DOCTYPE a [" + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10)) + "]>\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB + products(2, "<title>&e9;</title>"), "has a document type or declares entities in line 1;"),
        (
            '\n<!DOCTYPE a SYSTEM "file:///etc/passwd">' + products(2),
            "has a document type or declares entities in line 2",
        ),
        (products(2, "<title>&nbsp;</title>"), "is no XML in line 1 (undefined entity"),
        (products(20)[:-40], "ends too soon, in line 20; write the file again"),
        (products(20)[:-60] + "\n", "ends too soon, in line 2"),
        ("", "ends too soon, in line 1;"),
        ("product_id,image_uri\n", "is no XML in line 1 (syntax error); correct it"),
        (products(2) + "x", "is no XML in line 3 (junk after document element)"),
        (products(2).replace("2.jpg</", "2.jpg</b></"), "is no XML in line 2 (mismatched tag)"),
        (products(2).encode() + b"\xff\xfe", "is not UTF-8: bytes ff in line 3;"),
        (products(2).replace("2.jpg", "2.jpg\x01"), "is no XML in line 2 (not well-formed (invalid token))"),
        ('<?xml version="1.0" encoding="x-no"?>' + products(2), "cannot be decoded near line 1 (unknown encoding"),
        (products(2).replace("2.jpg", "<a>2.jpg</a>"), "has elements inside of 'image_uri' in the record of line 2,"),
        (
            products(2, "<product_id>p3</product_id>"),
            "has in line 1 another product_id than a text or a number, a list;",
        ),
        (products(2, "<Product_ID>p3</Product_ID>"), "names product_id twice in line 1;"),
        ("<a>" + "<b>" * 100 + "</b>" * 100 + "</a>", "has over 64 elements inside of each other in line 1;"),
        (
            "<s><bs><b><x>1</x><y>1</y></b><b><x>1</x><y>1</y></b></bs>" + products(2) + "</s>",
            "repeats several elements, b and product, of which one may be a product; leave one of them",
        ),
        ("<a><b><sku>1</sku></b><b><x>1</x></b></a>", "has no column product_id and no column image_uri; it needs"),
    ],
)
def test_what_is_hostile_damaged_or_unclear_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert refused(written(tmp_path / "c.xml", text)).startswith(words)


def test_no_element_is_too_long_for_memory(tmp_path: Path) -> None:
    path = tmp_path / "c.xml"
    long = "x" * (20 * 2**20)
    for more, words in (
        (f"<title>{long}</title>", "has over 8,388,608 characters in the record that begins in line 3;"),
        ("<b/>" * 20_000, "has over 10,000 elements in the record that begins in line 3;"),
        (f'<b c="{long}"/>', "has over 8,388,608 bytes in one comment or tag after line 3;"),
        (f"<!--{long}-->", "has over 8,388,608 bytes in one comment or tag after line 3;"),
        (
            "".join(f"<n{each}/>" for each in range(10_001)),
            "has over 10,000 different names of elements, up to line 3;",
        ),
    ):
        text = products(2).removesuffix("</products>") + product(3, more) + "</products>"
        tracemalloc.start()
        try:
            assert refused(written(path, text)).startswith(words)
            peak_bytes = tracemalloc.get_traced_memory()[1] - 2 * len(text)  # the text itself, and its bytes
        finally:
            tracemalloc.stop()
        assert peak_bytes < 50 * 2**20


def test_a_file_whose_start_does_not_show_the_records_is_refused(tmp_path: Path) -> None:
    """It must not pass for a file without records."""
    path = written(tmp_path / "c.xml", products(3, f"<title>{'x' * 2**20}</title>"))
    assert refused(path).startswith("shows in its first 1,048,576 bytes no two elements that may be products;")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "c.xml", products(5000, f"<description>{'y' * 4000}</description>"))
    tracemalloc.start()
    try:
        assert sum(batch.num_rows for batch in read_xml(path, "c", Layout("xml"), Part("c"))) == 5000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < path.stat().st_size / 3


def test_the_first_bytes_say_whether_it_is_xml() -> None:
    for text in ("<?xml version='1.0'?>", "\ufeff\n<rss>", "<!-- c --><a/>", "<!DOCTYPE html>"):
        assert looks_like_xml(text.encode())
        assert looks_like_xml(text.removeprefix("\ufeff").encode("utf-16"))
    for text in ("", "a,b\n<c>", "[{", "<3,a", "< a"):
        assert not looks_like_xml(text.encode())
