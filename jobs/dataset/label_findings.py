"""Which category each text of a shop stands for, and what a person should know about the texts, in one line each.

The texts come from the column `category` of the dataset. A label map gives their categories, or else the rule of
`jobs.dataset.category_texts`. Nothing is merged or dropped silently: spellings of one category, different texts with
one category_id, cells with several categories, texts without a category and pictures with two labels are all logged,
with their counts.
"""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from jobs.dataset.category_texts import ShopCategory, beside, deepest, shop_categories
from jobs.dataset.label_map import LabelMap
from jobs.wording import listed, quoted

log = logging.getLogger(__name__)

MOST_FREQUENT = 10


@dataclass(frozen=True)
class TextLabels:
    """The category of each text.

    Attributes:
        ids: Maps a text to its category_id; empty if it has none.
        paths: Maps a text to its readable path; empty if the category_id says the same.
        chosen: Maps a text to the category that the rule has chosen; empty if a label map gave the categories.
        beside: Maps a text that names several categories to the category_ids that do not count.
        label_map: Name of the label map; empty if the rule gave the categories.
    """

    ids: Mapping[str, str]
    paths: Mapping[str, str]
    chosen: Mapping[str, ShopCategory] = field(default_factory=dict)
    beside: Mapping[str, list[str]] = field(default_factory=dict)
    label_map: str = ""


def text_labels(texts: Iterable[str], labels: LabelMap | None = None, category_ids: Collection[str] = ()) -> TextLabels:
    """Find the category of each text.

    Args:
        texts: Different texts of the column `category`; a blank one has no category.
        labels: The shop's label map; None applies the rule.
        category_ids: Known category_ids, of a release or a taxonomy file. A text that is one of them stays as it is,
            and another spelling of one becomes it, because earlier versions took each text as a category_id.
    """
    if labels:
        mapped = {text: labels.category(text) for text in texts}
        return TextLabels(
            {text: category.category_id if category else "" for text, category in mapped.items()},
            {text: category.category_path if category else "" for text, category in mapped.items()},
            label_map=labels.name,
        )
    same = frozenset(category_ids)
    known: dict[str, str] = {}
    for category_id in sorted(same):
        known.setdefault(_by_rule(category_id), category_id)
    ids, paths, chosen, others = {}, {}, {}, {}
    for text in texts:
        categories = shop_categories(text)
        category = deepest(categories)
        ids[text] = paths[text] = ""
        if text.strip() in same:
            ids[text] = text.strip()
        elif category:
            ids[text] = known.get(category.category_id, category.category_id)
            paths[text] = "" if category.is_plain else category.category_path
            chosen[text] = category
            if left := beside(categories, category.category_id):
                others[text] = left
    return TextLabels(ids, paths, chosen, others)


def _by_rule(category_id: str) -> str:
    category = deepest(shop_categories(category_id))
    return category.category_id if category else category_id


def readable_paths(labels: TextLabels, products: Mapping[str, int]) -> dict[str, str]:
    """Return the readable path of each category_id: of its texts with one, that of the most products.

    Args:
        labels: The category of each text.
        products: Number of products with each text.
    """
    paths: dict[str, str] = {}
    for text in sorted(products, key=lambda text: (-products[text], text)):
        if not paths.get(labels.ids[text]):
            paths[labels.ids[text]] = labels.paths[text]
    return paths


def log_findings(labels: TextLabels, products: Mapping[str, int]) -> None:
    """Log what a person should know about the texts, in a line for each kind.

    Args:
        labels: The category of each text.
        products: Number of products with each text; blank texts are left out.
    """
    named = {text: products[text] for text in products if text in labels.chosen}
    spellings: defaultdict[str, defaultdict[tuple[str, ...], Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for text, count in named.items():
        category = labels.chosen[text]
        spellings[labels.ids[text]][category.levels][category.spelling] += count
    several: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, ways in spellings.items():
        for group in ways.values():
            if len(group) > 1:
                several[name] += group
    if several:
        log.warning(
            "labels: %s written in different case, blanks or Unicode form, and each counts as one category: %s",
            _categories_are(len(several)),
            listed([f"{quoted(name)} is {_counted(group)}" for name, group in sorted(several.items())]),
        )
    merged = {name: _merged(ways.values()) for name, ways in spellings.items() if len(ways) > 1}
    if merged:
        log.warning(
            "labels: %s made of texts that differ in signs or accents: %s; if they mean different things, give them "
            "different category_ids with --labels FILE",
            _categories_are(len(merged)),
            listed([f"{quoted(name)} of {_counted(texts)}" for name, texts in sorted(merged.items())]),
        )
    cells = Counter({text: products[text] for text in named if text in labels.beside})
    if cells:
        log.warning(
            "labels: %s texts name several categories, and the deepest counts, or the first of equally deep ones: %s; "
            "write a comma inside a name as \\, or map the texts with --labels FILE",
            f"{len(cells):,}",
            listed([f"{_shown(text)} is {quoted(labels.ids[text])}" for text, _ in cells.most_common()]),
        )
    log_unmapped({text: products[text] for text in products if not labels.ids[text]}, labels.label_map)


def log_unmapped(counts: Mapping[str, int], label_map: str, *, of: str = "products") -> None:
    """Log the most frequent texts that have no category, with their counts, and how many more there are.

    Args:
        counts: Number of rows or products with each of these texts.
        label_map: Name of the label map; empty if the rule was applied.
        of: What is counted.
    """
    if counts:
        log.warning(
            "labels: %s %s have no label, because %s: %s",
            f"{sum(counts.values()):,}",
            of,
            f"{label_map} does not have their texts" if label_map else "their texts have no letter and no digit",
            most_frequent(counts),
        )


def most_frequent(counts: Mapping[str, int]) -> str:
    """List the ten most frequent texts with their counts, and how many more there are."""
    texts = sorted(counts, key=lambda text: (-counts[text], text))
    shown = ", ".join(f"{_shown(text)} ({counts[text]:,})" for text in texts[:MOST_FREQUENT])
    more = len(texts) - MOST_FREQUENT
    return shown + (f" and {more:,} more" if more > 0 else "")


def log_pictures_with_two_labels(labelled: Iterable[tuple[str, str, str]]) -> None:
    """Log how many pictures are labelled with different categories, and an example product of each.

    Args:
        labelled: (image_sha256, category_id, product_id) of each labelled image.
    """
    by_picture: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for picture, category_id, product_id in labelled:
        by_picture[picture].setdefault(category_id, product_id)
    pairs: dict[tuple[str, ...], str] = {}
    pictures: Counter[tuple[str, ...]] = Counter()
    for categories in by_picture.values():
        if len(categories) > 1:
            pair = tuple(sorted(categories))
            pictures[pair] += 1
            pairs.setdefault(
                pair, " and ".join(f"{quoted(name)} (product {quoted(categories[name])})" for name in pair[:2])
            )
    if pictures:
        log.warning(
            "labels: %s pictures are labelled with different categories: %s; each product keeps its label, so networks "
            "learn that both may be right and are less sure: correct the wrong ones in the catalog",
            f"{pictures.total():,}",
            listed([pairs[pair] for pair, _ in pictures.most_common()]),
        )


def _categories_are(count: int) -> str:
    return "1 category is" if count == 1 else f"{count:,} categories are"


def _merged(groups: Iterable[Counter[str]]) -> Counter[str]:
    """Return one text of each group, the most frequent, with the group's count."""
    return Counter({max(group, key=lambda text: (group[text], text)): group.total() for group in groups})


def _counted(counts: Counter[str]) -> str:
    texts = sorted(counts, key=lambda text: (-counts[text], text))
    return listed([f"{_shown(text)} ({counts[text]:,})" for text in texts])


def _shown(text: str) -> str:
    """Quote a text for a message; a text that looks like another one is shown with escapes."""
    return quoted(text) if unicodedata.is_normalized("NFC", text) else ascii(text[:100])
