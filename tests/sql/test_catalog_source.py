"""A shop's own table: other names, other types, a view, another database; read in parts and never written to."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from sql.catalog_source import CatalogSource, KeyRange, ProductMapping
from sql.errors import DatabaseError

MAPPING = ProductMapping("article_images", {"product_id": "sku", "image_uri": "photo", "title": "name"})


@pytest.fixture
def shop_url(empty_url: str) -> str:
    """A shop's database: numbers as keys, 1,000 products of one or two images."""
    from sql.engine import make_engine, make_parent_directory

    engine = make_engine(empty_url)
    make_parent_directory(engine.url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE article_images (sku INTEGER, image_no INTEGER, photo TEXT, name TEXT, price FLOAT)")
        )
        rows = [
            {"sku": sku, "image_no": image_no, "photo": f"file:///{sku}-{image_no}.jpg", "name": 'it\'s "nice"'}
            for sku in range(1, 1001)
            for image_no in range(1 + sku % 2)
        ]
        connection.execute(sa.text("INSERT INTO article_images VALUES (:sku, :image_no, :photo, :name, 9.5)"), rows)
        connection.execute(
            sa.text(
                "CREATE VIEW on_sale AS SELECT sku AS product_id, photo AS image_uri FROM article_images "
                "WHERE image_no = 0"
            )
        )
    return empty_url


@pytest.mark.parametrize("parts", [1, 7, 16])
def test_the_parts_contain_every_row_of_the_table_once(shop_url: str, parts: int) -> None:
    source = CatalogSource(shop_url, MAPPING)
    ranges = source.key_ranges(parts)
    assert 1 <= len(ranges) <= parts
    found = [row for part in ranges for row in source.read(pickle.loads(pickle.dumps(part)))]
    assert len(found) == 1500
    assert len({row[:2] for row in found}) == 1500
    assert found[0] == ("1", "0", "file:///1-0.jpg", 'it\'s "nice"')
    assert source.names == ("sku", "image_no", "photo", "name")
    if parts == 7:
        sizes = [len(list(source.read(part))) for part in ranges]
        assert len(ranges) == 7
        assert max(sizes) - min(sizes) <= 8


def test_a_product_s_images_are_in_one_part(shop_url: str) -> None:
    source = CatalogSource(shop_url, MAPPING)
    parts = [{row[0] for row in source.read(part)} for part in source.key_ranges(11)]
    assert sum(map(len, parts)) == 1000


def table(url: str, statement: str, keys: list[str | None]) -> None:
    """Make a table `goods` with a row for each key."""
    from sql.engine import make_engine, make_parent_directory

    engine = make_engine(url)
    make_parent_directory(engine.url)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
        values = [{"key": key, "uri": f"{number}.jpg"} for number, key in enumerate(keys)]
        connection.execute(sa.text("INSERT INTO goods (product_id, image_uri) VALUES (:key, :uri)"), values)


def read_in_parts(url: str, parts: int) -> list[str | None]:
    source = CatalogSource(url, ProductMapping("goods"))
    return [row[0] for part in source.key_ranges(parts) for row in source.read(part)]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 50])
@pytest.mark.parametrize("empty", [1, 3, 40])
def test_each_row_without_a_key_is_read_once(empty_url: str, parts: int, empty: int) -> None:
    """SQLite sorts NULL before all keys and PostgreSQL after them; the catalog's check must see these rows."""
    keys = [None] * empty + [f"p{number % 9}" for number in range(20)]
    table(empty_url, "CREATE TABLE goods (product_id TEXT, image_uri TEXT)", keys)
    assert sorted(read_in_parts(empty_url, parts), key=repr) == sorted(keys, key=repr)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_table_with_no_key_at_all_is_read(empty_url: str, parts: int) -> None:
    table(empty_url, "CREATE TABLE goods (product_id TEXT, image_uri TEXT)", [None] * 5)
    assert read_in_parts(empty_url, parts) == [None] * 5


@pytest.mark.parametrize("parts", [1, 2, 5, 9, 200])
def test_keys_that_the_database_compares_as_equal_are_read_once_each(
    empty_url: str, engine_name: str, parts: int
) -> None:
    """NOCASE holds A and a for the same and sorts them together; CHAR so holds what differs in spaces at its end."""
    type_name = {"sqlite": "TEXT COLLATE NOCASE", "postgresql": "CHAR(6)"}[engine_name]
    letters = ["a", "A", "b", "B", "é", "É", "e", "-", "a-", "A-b", "Z", "_", "ß", "ss", "10", "9"]
    keys = [*letters * 3, None, *(letter + "x" for letter in letters), *(letter + "  " for letter in letters)]
    table(empty_url, f"CREATE TABLE goods (product_id {type_name}, image_uri TEXT)", keys)
    expected = keys if engine_name == "sqlite" else [key and key.rstrip() for key in keys]
    assert sorted(read_in_parts(empty_url, parts), key=repr) == sorted(expected, key=repr)


def test_an_image_no_that_is_not_an_integer_is_read_unchanged(empty_url: str) -> None:
    """Cast by the database, 1.5 became 1 or 2, and on SQLite a word became 0."""
    table(empty_url, "CREATE TABLE goods (product_id TEXT, image_uri TEXT, image_no TEXT)", ["p"] * 3)
    from sql.engine import make_engine

    with make_engine(empty_url).begin() as connection:
        connection.execute(sa.text("UPDATE goods SET image_no = '1.5' WHERE image_uri = '0.jpg'"))
        connection.execute(sa.text("UPDATE goods SET image_no = 'x' WHERE image_uri = '1.jpg'"))
    source = CatalogSource(empty_url, ProductMapping("goods"))
    found = {row[2]: row[1] for part in source.key_ranges(2) for row in source.read(part)}
    assert found == {"0.jpg": "1.5", "1.jpg": "x", "2.jpg": None}


@pytest.mark.parametrize(
    ("kind", "number"), [("DOUBLE PRECISION", 1234567890123457.0), ("NUMERIC(12, 2)", Decimal("12345678.00"))]
)
def test_an_id_that_is_a_float_or_a_decimal_is_that_number(
    empty_url: str, engine_name: str, kind: str, number: float | Decimal
) -> None:
    """The catalog's reader decides which of them are ids; the text of SQLite has lost digits."""
    table(empty_url, f"CREATE TABLE goods (product_id {kind}, image_uri TEXT)", [str(number)])
    (found,) = read_in_parts(empty_url, 2)
    if engine_name == "sqlite" and isinstance(number, Decimal):
        assert found == "12345678", "an integer, as SQLite stores whole numbers of this type"
    else:
        assert isinstance(found, type(number))
        assert found == number


def test_a_float_in_a_column_without_a_type_is_that_number(tmp_path: Path) -> None:
    """SQLite has a type for each value, and views have columns without one."""
    url = f"sqlite:///{tmp_path}/shop.db"
    table(url, "CREATE TABLE goods (product_id, image_uri TEXT)", ["1.0"])
    from sql.engine import make_engine

    with make_engine(url).begin() as connection:
        connection.execute(sa.text("INSERT INTO goods VALUES (1234567890123457.0, 'a'), (7, 'b'), (NULL, 'c')"))
    found = read_in_parts(url, 1)
    assert sorted(map(repr, found)) == sorted(map(repr, ["1.0", 1234567890123457.0, "7", None]))


def test_a_view_without_optional_columns_is_read(shop_url: str) -> None:
    source = CatalogSource(shop_url, ProductMapping("on_sale"))
    (whole,) = source.key_ranges(1)
    assert whole == KeyRange(None, None)
    rows = sorted(source.read(whole))
    assert len(rows) == 1000
    assert rows[0] == ("1", "file:///1-0.jpg")


def test_the_connection_cannot_write(shop_url: str) -> None:
    tried = 0

    def write(connection: sa.Connection) -> None:
        nonlocal tried
        tried += 1
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
            connection.execute(sa.text("DELETE FROM article_images"))
        connection.rollback()

    sa.event.listen(sa.Engine, "engine_connect", write)
    try:
        source = CatalogSource(shop_url, MAPPING)
        assert len([row for part in source.key_ranges(2) for row in source.read(part)]) == 1500
    finally:
        sa.event.remove(sa.Engine, "engine_connect", write)
    assert tried >= 3, "each connection of the source was tried"


def test_what_is_missing_is_named(shop_url: str) -> None:
    with pytest.raises(DatabaseError, match=r"no column 'image_uri' \(it has sku, image_no, photo, name, price\)"):
        CatalogSource(shop_url, ProductMapping("article_images", {"product_id": "sku"}))
    with pytest.raises(DatabaseError, match="no column 'ean'"):
        CatalogSource(shop_url, ProductMapping("article_images", {**MAPPING.columns, "title": "ean"}))
    with pytest.raises(DatabaseError, match="no table or view 'articles'"):
        CatalogSource(shop_url, ProductMapping("articles"))
    with pytest.raises(ValueError, match="names 'colour': expected catalog columns, product_id"):
        ProductMapping("articles", {"colour": "farbe"})


def test_an_empty_table_has_one_part_without_rows(shop_url: str) -> None:
    from sql.engine import make_engine

    with make_engine(shop_url).begin() as connection:
        connection.execute(sa.text("DELETE FROM article_images"))
    source = CatalogSource(shop_url, MAPPING)
    assert [list(source.read(part)) for part in source.key_ranges(8)] == [[]]


def test_more_parts_than_products_are_not_made(shop_url: str) -> None:
    assert len(CatalogSource(shop_url, MAPPING).key_ranges(5000)) == 1000


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be opened"):
        CatalogSource(f"sqlite:///{tmp_path}/no-such.db", MAPPING)
    assert list(tmp_path.iterdir()) == []


def test_several_columns_of_images_are_read_by_their_names(shop_url: str) -> None:
    columns = {"product_id": "sku", "image_uri": ("photo", "name"), "title": ("name",)}
    source = CatalogSource(shop_url, ProductMapping("article_images", columns))
    assert source.names == ("sku", "image_no", "photo", "name"), "each once"
    (whole,) = source.key_ranges(1)
    assert next(source.read(whole)) == ("1", "0", "file:///1-0.jpg", 'it\'s "nice"')
    with pytest.raises(DatabaseError, match="no column 'back'"):
        CatalogSource(shop_url, ProductMapping("article_images", {**columns, "image_uri": ("photo", "back")}))


@pytest.mark.parametrize("parts", [1, 4])
def test_rows_that_are_one_product_are_in_one_part_and_in_order(shop_url: str, parts: int) -> None:
    from sql.engine import make_engine

    with make_engine(shop_url).begin() as connection:
        connection.execute(sa.text("ALTER TABLE article_images ADD COLUMN parent INTEGER"))
        connection.execute(sa.text("UPDATE article_images SET parent = sku % 10 WHERE sku > 5"))
    source = CatalogSource(shop_url, ProductMapping(MAPPING.table, MAPPING.columns, group_by="parent"))
    assert source.names[-1] == "parent"
    found = [list(source.read(part)) for part in source.key_ranges(parts)]
    keys = [{row[-1] for row in rows if row[-1]} for rows in found]
    assert sum(map(len, keys)) == 10
    assert len([row for rows in found for row in rows]) == 1500
    for rows in found:
        grouped = [row for row in rows if row[-1]]
        assert grouped == sorted(grouped, key=lambda row: (row[-1], row[0], row[1]))
