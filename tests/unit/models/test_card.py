"""The model card tells what release.json says, whatever catalogs call their categories."""

from __future__ import annotations

import pytest

from models.card import model_card
from models.release import Release
from models.spec import Category, NetworkSpec


def card_of(category_id: str, taxonomy: str = "shop-1") -> str:
    network = NetworkSpec("efficientnetb0", 56, "w", "", 1.0)
    categories = (Category(category_id, "x"), Category("other", "x"))
    training = {"command": f"shelfwise finetune --leave-out {category_id!r}"}
    return model_card(Release("one", taxonomy, categories, (network,), 1.0, {category_id: 0.9}, training=training))


@pytest.mark.parametrize(
    "name",
    [
        "a | never |",
        "two\nlines",
        "<img src=x onerror=y>",
        "![eye](https://tracks.example/x)",
        "`code`",
        "a\\|b",
        "&lt;",
    ],
)
def test_a_category_name_is_escaped_to_one_table_cell(name: str) -> None:
    lines = card_of(name, taxonomy=name).splitlines()
    plain = card_of("plain").splitlines()
    assert len(lines) == len(plain)
    for line, expected in zip(lines, plain, strict=True):
        bare = line
        for escaped in ("\\\\", "\\|", "\\<", "\\[", "\\`", "\\&"):
            bare = bare.replace(escaped, "")
        assert bare.count("|") == expected.count("|")
        assert not set("<[&") & set(bare), line
        assert bare.count("`") == expected.count("`")


def test_the_card_lists_every_epoch_and_escapes_unexpected_values() -> None:
    epoch = {"loss": 0.5, "accuracy": 0.75, "val_loss": 1, "val_accuracy": 0.6251, "seconds": 3.0}
    network = NetworkSpec("xception", 71, "w", "", 1.0)
    categories = (Category("one", "x"), Category("other", "x"))
    training = {"xception_history": [epoch, epoch], "odd_history": [{"loss": "![a](b)"}], "seed": 7}
    lines = model_card(Release("one", "t", categories, (network,), 1.0, training=training)).splitlines()
    start = lines.index("| network | epoch | loss | accuracy | held-out loss | held-out accuracy |")
    assert lines[start + 2] == "| xception | 1 | 0.5000 | 0.7500 | 1.0000 | 0.6251 |"
    assert lines[start + 3].startswith("| xception | 2 |")
    assert "| odd history | \\[{'loss': '!\\[a](b)'}] |" in lines
    assert "| seed | 7 |" in lines


def test_plain_text_is_not_escaped() -> None:
    assert "| apparel.tops_of-men (a) | 0.9000 |" in card_of("apparel.tops_of-men (a)")
