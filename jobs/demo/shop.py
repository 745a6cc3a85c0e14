"""The demo's shop: writes a catalog of real articles, and changes it between two nights."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import cv2
import numpy as np

from models import fashion_mnist
from models.whole_files import in_place_of

CHANGED, ADDED = 20, 50
BROKEN = ("missing", "empty", "html", "truncated", "one-pixel")
_COLUMNS = ("product_id", "image_uri", "title", "category")


def _uri(product_id: str) -> str:
    return f"images/{product_id}.png"


def is_shop(catalog: str) -> bool:
    """Return whether a catalog is a CSV file that a `Shop` has written: the demo's, or the local Airflow's example."""
    try:
        with Path(catalog).open(encoding="utf-8", newline="") as file:
            header, first = next(csv.reader(file), []), next(csv.reader(file), [])
    except (OSError, ValueError, csv.Error):  # a store's URI, a directory, another form: not the demo's
        return False
    return tuple(header) == _COLUMNS and len(first) == len(_COLUMNS) and _is_article(first[0], first[1])


def _is_article(product_id: str, image_uri: str) -> bool:
    return re.fullmatch(r"article-[0-9]{5}", product_id) is not None and image_uri == _uri(product_id)


class Shop:
    """The demo's shop: a catalog of articles, PNG files and a CSV file, that changes between two nights."""

    def __init__(self, directory: Path, articles: fashion_mnist.Articles) -> None:
        """Create an empty shop.

        Args:
            directory: Directory of the catalog; its subdirectory images/ must not exist.
            articles: Articles to put into the catalog.
        """
        self.directory, self.articles = directory, articles
        self.rows: list[dict[str, str]] = []
        (directory / "images").mkdir(parents=True)

    def open(self, products: int) -> None:
        """Write a catalog of the first `products` articles."""
        for number in range(products):
            self._add(number)
        self._write()

    def change(self, products: int) -> None:
        """Change 20 images, add 50 products and 5 broken files.

        Args:
            products: Number of articles that the shop was opened with.
        """
        fresh = iter(range(products, products + CHANGED + ADDED))
        for position in range(0, CHANGED):
            row = self.rows[position * (products // CHANGED)]
            article = next(fresh)
            self._picture(self.directory / row["image_uri"], article)
            row |= {"category": self._category(article), "title": self._title(article)}
        for article in fresh:
            self._add(article)
        for fault in BROKEN:
            self.rows.append(dict(zip(_COLUMNS, (f"broken-{fault}", f"images/{fault}.jpg", "", ""), strict=True)))
        self._break(self.directory / "images")
        self._write()

    def _add(self, article: int) -> None:
        product_id = f"article-{article:05d}"
        uri = _uri(product_id)
        self._picture(self.directory / uri, article)
        values = (product_id, uri, self._title(article), self._category(article))
        self.rows.append(dict(zip(_COLUMNS, values, strict=True)))

    def _picture(self, path: Path, article: int) -> None:
        cv2.imwrite(str(path), self.articles.images[article])

    def _category(self, article: int) -> str:
        return fashion_mnist.CATEGORIES[self.articles.labels[article]].category_id

    def _title(self, article: int) -> str:
        return f"Article {article}"

    def _break(self, images: Path) -> None:
        """Write the broken files, except `missing`, which must not exist."""
        (images / "empty.jpg").write_bytes(b"")
        (images / "html.jpg").write_text("<!DOCTYPE html><title>404</title>", encoding="utf-8")
        grey = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        (images / "truncated.jpg").write_bytes(cv2.imencode(".jpg", grey)[1].tobytes()[:600])
        (images / "one-pixel.jpg").write_bytes(cv2.imencode(".jpg", grey[:1, :1])[1].tobytes())

    def _write(self) -> None:
        with (
            in_place_of(self.directory / "catalog.csv") as scratch,
            scratch.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
