r"""The rule that makes a category_id and a readable path of a shop's category text, such as `Apparel > Tops, Sale`.

- A comma separates several categories in one cell, as WooCommerce writes them; `\,` is a comma inside a name. The
  deepest category counts, the first of equally deep ones. A category above it says nothing else.
- ` > ` separates levels, with or without blanks. Without a `>`, a slash does. Without both, a dot between two
  characters that are no blanks does, as in a category_id: `Apparel/Tops` and `apparel.tops` are the same levels, and
  `Dr. Martens` is one. A number of a column of decimals, `5322.0`, is one level too: `5322`.
- Entities of HTML stand for their characters: `Apparel &gt; Tops` is `Apparel > Tops`.
- Each level becomes lower case. Accents of Latin letters go (`Café` is `cafe`); letters, marks and digits of other
  scripts stay. Signs and blanks become one hyphen, at the ends of a level nothing. `-` and `_` stay as they are.
- A level without a letter or digit does not count. A text without any other has no category.
- An id of more than 255 characters ends with a digest instead of its rest.

The rule looks at one text alone, so a category_id does not depend on what else a catalog contains. A category_id in
this form is its own category_id. Texts that differ only in case, blanks, invisible marks or Unicode form have the same
`Levels`. Texts of different levels may have the same id: `C++` and `C#` are both `c`; `jobs.dataset.label_findings`
names them.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from dataclasses import dataclass, replace

from models.answers.taxonomy import is_letter_or_digit

MAX_CHARACTERS = 255
"""Longest category_id and longest readable path that the rule makes, in characters."""

_MOST_READ = 4096
_DIGEST_CHARACTERS = 16
_REPLACEMENT = "\ufffd"
_COMMA = re.compile(r"(?<!\\),")
_DOT = re.compile(r"(?<=\S)\.(?=\S)")
_GAP = re.compile(r"[- ]+")
_ENTITY = re.compile(r"&(?:amp;)*(?P<name>gt|lt|quot|apos|nbsp|#[0-9]{1,7}|#x[0-9a-f]{1,6});|&(?:amp;)+", re.IGNORECASE)

Levels = tuple[str, ...]
"""Names of a category's levels, the root first, without differences of case, blanks and Unicode form."""


@dataclass(frozen=True)
class ShopCategory:
    """One category of a shop's text.

    Attributes:
        category_id: Its category_id by the rule, such as `apparel.tops`.
        category_path: The text itself as a readable path, such as `Apparel > Tops`.
        levels: What the text has in common with its other spellings.
        spelling: The part of the text that names this category, as it was written.
    """

    category_id: str
    category_path: str
    levels: Levels
    spelling: str

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def is_plain(self) -> bool:
        """Whether the text is the category_id itself."""
        return self.spelling.strip() == self.category_id


def shop_categories(text: str) -> tuple[ShopCategory, ...]:
    """Return the categories that a shop's text names, in its order; none if it has no letter and no digit.

    Of a text of more than 4,096 characters the first are read, and a digest of all is added to each category_id.
    """
    if len(text) <= _MOST_READ:
        return _categories(text)
    digest = _digest(_caseless(_name(text)))
    return tuple(
        replace(each, category_id=_with_digest(each.category_id, digest), levels=(*each.levels, digest))
        for each in _categories(text[:_MOST_READ])
    )


def _categories(text: str) -> tuple[ShopCategory, ...]:
    pieces = [piece for piece in _COMMA.split(text) if piece.strip()]
    spellings = pieces if len(pieces) < 2 else [piece.strip() for piece in pieces]
    categories = (_category(piece.replace("\\,", ","), spelling=piece) for piece in spellings)
    return tuple(category for category in categories if category)


def text_key(text: str) -> tuple[Levels, ...]:
    """Return what a shop's text has in common with its other spellings, whatever it says; empty if it is blank."""
    categories = shop_categories(text)
    blank = not _name(text)
    return tuple(category.levels for category in categories) or (() if blank else ((_caseless(_name(text)),),))


def deepest(categories: tuple[ShopCategory, ...]) -> ShopCategory | None:
    """Return the category of a text that counts: the deepest one, the first of equally deep ones."""
    return max(categories, key=lambda category: category.depth, default=None)


def beside(categories: tuple[ShopCategory, ...], chosen_id: str) -> list[str]:
    """Return the category_ids of a text that are neither the chosen one nor above it, without repetition."""
    ids = dict.fromkeys(category.category_id for category in categories)
    return [each for each in ids if each != chosen_id and not chosen_id.startswith(f"{each}.")]


def _category(text: str, *, spelling: str) -> ShopCategory | None:
    named = [(slug, name) for name in map(_name, _split(_name(text))) if (slug := _slug(name))]
    if not named:
        return None
    if len(named) == 2 and re.fullmatch(r"[0-9]+\.0+", ".".join(slug for slug, _ in named)):
        named = named[:1]
    path = " > ".join(name for _, name in named)
    return ShopCategory(
        category_id=_shortened(".".join(slug for slug, _ in named)),
        category_path=path if len(path) <= MAX_CHARACTERS else f"{path[: MAX_CHARACTERS - 1]}\u2026",
        levels=tuple(_caseless(name) for _, name in named),
        spelling=spelling,
    )


def _split(text: str) -> list[str]:
    for separator in (">", "/"):
        if separator in text:
            return text.split(separator)
    return _DOT.split(text)


def _name(text: str) -> str:
    """Return a text in the Unicode form NFC, with single blanks, control characters as blanks, no invisible marks.

    Ingest stores a control character, such as the end of a line, as the replacement character.
    """
    replaced = {"Cc": " ", "Cf": ""}
    text = _ENTITY.sub(_character, unicodedata.normalize("NFC", text)).replace(_REPLACEMENT, " ")
    visible = "".join(replaced.get(unicodedata.category(character), character) for character in text)
    return unicodedata.normalize("NFC", " ".join(visible.split()))


def _character(entity: re.Match[str]) -> str:
    """Return the character of an entity of HTML, also of one that was written as an entity again: `&amp;gt;`."""
    return html.unescape(f"&{entity['name'].casefold()};") if entity["name"] else "&"


def _caseless(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _slug(name: str) -> str:
    """Return the part of a category_id for the name of a level; empty if it has no letter and no digit."""
    slug = _folded(name)
    while (again := _folded(slug)) != slug:  # a few characters need a second pass before they stay as they are
        slug = again
    return slug if any(map(is_letter_or_digit, slug)) else ""


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    kept: list[str] = []
    for character in decomposed:
        kind = unicodedata.category(character)
        if kind[0] == "M":  # an accent of a Latin letter goes; of other scripts it may be a vowel
            if kept and not kept[-1].isascii():
                kept.append(character)
        elif character in "-_" or is_letter_or_digit(character):
            kept.append(character)
        else:
            kept.append(" ")
    text = unicodedata.normalize("NFC", "".join(kept))
    return _GAP.sub(lambda gap: _hyphen(gap, len(text)), text)


def _hyphen(gap: re.Match[str], end: int) -> str:
    """Return what stands for signs and blanks: one hyphen inside of a name, nothing at its ends; hyphens alone stay."""
    if " " not in gap[0]:
        return gap[0]
    return "" if gap.start() == 0 or gap.end() == end else "-"


def _shortened(category_id: str) -> str:
    if len(category_id) <= MAX_CHARACTERS:
        return category_id
    return _with_digest(category_id, _digest(category_id))


def _with_digest(category_id: str, digest: str) -> str:
    return f"{category_id[: MAX_CHARACTERS - 1 - len(digest)].rstrip('.')}-{digest}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
