"""The demo takes as many products as its articles suffice for over both nights."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from jobs.cli.demo import demo
from jobs.demo.shop import ADDED, BROKEN, Shop
from models.fashion_mnist import COUNTS, Articles


def test_the_largest_demo_has_articles_for_its_second_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 products ended in a traceback, after the whole first night."""
    count = COUNTS["t10k"]
    articles = Articles(np.zeros((count, 1, 1), np.uint8), np.zeros(count, np.uint8), "")
    monkeypatch.setattr(Shop, "_picture", lambda self, path, article: self.articles.images[article])
    [products] = [option for option in demo.params if option.name == "products"]
    assert isinstance(products.type, click.IntRange)
    assert products.type.max is not None
    shop = Shop(tmp_path, articles)
    shop.open(products.type.max)
    shop.change(products.type.max)
    assert len(shop.rows) == products.type.max + ADDED + len(BROKEN)
