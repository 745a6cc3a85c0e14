"""The life of a product in plain Python: what the database must hold after any sequence of runs and decisions.

It says what a product has by looking at all published rows again, each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tests.sql.ingested import CatalogRow, Moment, Position, Row, latest_by_catalog

REASONS = (
    *("gate_closed", "foreign_night", "foreign_group", "foreign_image", "shared_picture", "changed_picture"),
    *("taxonomy", "below_threshold"),
)
"""Why an answer waits for a person; where several reasons hold, the first counts."""

SHARED = "shared"
"""The picture that is the same for all products that have it."""

SHARED_BY = 2
"""Fewest products with that picture for which it holds their answers back."""

Given = tuple[str | None, float | None, str, str | None]
"""(category_id, confidence, status, review_reason)."""

NONE_OF_THEM: Given = (None, None, "unknown", None)
"""What a person decides on a product that is none of the categories."""

Predict = Callable[[str, str, str], Given]
"""Answer of a release for one picture: (release_id, product_id, picture) -> Given."""

Held = tuple[str, str | None]
"""(picture, reason for which the run that predicted it holds it back)."""

Combine = Callable[[str, str, list[Held]], Given]
"""The same for several pictures in the order of their positions."""

HeldBy = Callable[[str, str], str | None]
"""Why a run holds a picture back because of its category or night: (product_id, picture) -> reason."""


@dataclass(frozen=True)
class Answer:
    """The current answer of a product.

    Attributes:
        given: Category, confidence, status and reason.
        release: The release that answers; None after a person's decision.
        image_count: Number of pictures that it combines.
        newest: When the newest of these pictures was read; None without one.
        left_at: Night from which no catalog names the product; None while one does.
        run: Run that predicted the newest picture; None after a person's decision.
        decided_on: Pictures that a person decided on; None if no person's decision stands.
        suggested: What a run is sure of instead: (category_id, confidence, release).
    """

    given: Given
    release: str | None
    image_count: int
    newest: Moment | None
    left_at: int | None = None
    run: str | None = None
    decided_on: frozenset[str] | None = None
    suggested: tuple[str | None, float | None, str | None] | None = None

    @property
    def decided(self) -> bool:
        """Return whether the answer is a person's."""
        return self.decided_on is not None


@dataclass(frozen=True)
class Shown:
    """The row of `products` for one position: the catalog's title, when it was read, and why its picture is broken."""

    title: str
    read_at: Moment
    broken: bool


class Written(NamedTuple):
    """What a run wrote of a picture.

    Attributes:
        read_at: When the picture was read.
        why: Why the run held it back; None if it did not.
        of: Run whose prediction it holds back without one of its own; None for a prediction.
    """

    read_at: Moment
    why: str | None
    of: str | None = None


def take_back(written: dict[str, Written], run: str) -> None:
    """Take what a run wrote out of what was written of a picture, with what later runs hold back of it.

    If an earlier run has written of the picture, it is that prediction which they hold back then.
    """
    if run not in written:
        return
    runs = list(written)
    place = runs.index(run)
    below = runs[place - 1] if place else None
    if written[run].of is None:
        for later in runs[place + 1 :]:
            if written[later].of == run:
                if below is None:
                    del written[later]
                else:
                    under = written[below]
                    written[later] = Written(under.read_at, under.why or written[later].why, under.of or below)
    del written[run]


@dataclass
class Life:
    """The model.

    Attributes:
        predict: Answers one picture.
        combine: Answers several.
        rows: Published rows of `images/` and `seen/`.
        predicted: By release, product and picture: each run that wrote the prediction, the last one at the end. A run
            that would change nothing does not write.
        runs: By run that is published and not retracted: its release.
        registered: By release: the night that registered it.
        promoted: Releases in the order of their last promotion.
        answers: By product.
        decisions: By product: the latest decision that was not cleared, as its category, None for none of them, and the
            pictures that it is about. An answer of another picture may have replaced one for none of the categories.
        shown: Rows of `products`, by position.
        allowed: Whether a person has allowed the shared picture.
    """

    predict: Predict
    combine: Combine
    rows: set[Row] = field(default_factory=set)
    predicted: dict[tuple[str, str, str], dict[str, Written]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    registered: dict[str, int] = field(default_factory=dict)
    promoted: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    decisions: dict[str, tuple[str | None, frozenset[str]]] = field(default_factory=dict)
    shown: dict[Position, Shown] = field(default_factory=dict)
    allowed: bool = False

    @property
    def releases(self) -> list[str]:
        """Return the releases from the lowest rank to the highest: those that were never champion come first."""
        others = sorted((night, release) for release, night in self.registered.items() if release not in self.promoted)
        return [release for _, release in others] + self.promoted

    @property
    def heard(self) -> list[str]:
        """Return the releases, in the same order, that were champion once or have a run that counts."""
        return [release for release in self.releases if release in self.promoted or release in self.runs.values()]

    def publish(
        self,
        night: int,
        release: str,
        rows: Iterable[Row],
        catalog_rows: Iterable[CatalogRow],
        *,
        run: str,
        held_by: HeldBy,
        force: bool = False,
    ) -> None:
        """Publish a run: its rows, and the predictions of its stored pictures."""
        self.registered.setdefault(release, night)
        self.runs[run] = release
        rows = set(rows)
        self.rows |= rows
        stored = [row for row in rows if row.outcome == "stored"]
        shared = "shared_picture" if self.is_shared() else None
        for row in sorted(stored, key=lambda row: row.read_at):
            key = (release, row.position[0], str(row.picture))
            why = held_by(row.position[0], str(row.picture)) or (shared if row.picture == SHARED else None)
            written = self.predicted.setdefault(key, {})
            last = list(written.values())[-1] if written else None
            if last is None or row.read_at > last.read_at or (row.read_at == last.read_at and why != last.why):
                take_back(written, run)
                written[run] = Written(row.read_at, why)
        if shared:
            for product in sorted({row.position[0] for row in stored}):
                self._hold_older(product, release, run)
        for product in sorted({row.position[0] for row in stored}):
            self._answer_by_run(product, release, force)
        for product in sorted({row.position[0] for row in rows}):
            self._look_again(product, forced=release if force else None)
        self._settle_all()
        self._show(catalog_rows)

    def retract(self, run: str) -> None:
        """Take a run back: what its release predicted does not count, and its products are answered by what remains.

        What another release had predicted before, when the same run was published by it, counts again.
        """
        retracted = self.runs.pop(run)
        products = {product for product, answer in self.answers.items() if answer.run == run}
        for (release, product, picture), written in list(self.predicted.items()):
            if run in written and (release == retracted or release not in self.heard):
                take_back(written, run)
                products.add(product)
            if not written:
                del self.predicted[release, product, picture]
        for product in sorted(products):
            self._look_again(product)
            if self.left_at(product) is None and not self._is_decided(product):
                self._settle(product, without=run)

    def is_shared(self) -> bool:
        """Return whether so many products have the shared picture now that it holds answers back."""
        products = {
            position[0]
            for position in self.positions()
            if self.left(position) is None and self.picture(position) == SHARED
        }
        return len(products) >= SHARED_BY and not self.allowed

    def allow(self) -> None:
        """Let a person allow the shared picture: it holds nothing back, and the products with it are settled."""
        self.allowed = True
        products = set()
        for (_, product, picture), written in self.predicted.items():
            if picture == SHARED and list(written.values())[-1].why == "shared_picture":
                products.add(product)
            for run, (read_at, why, of) in written.items():
                written[run] = Written(read_at, None if picture == SHARED and why == "shared_picture" else why, of)
        for product in sorted(products):
            self._look_again(product)
            if self.left_at(product) is None and not self._is_decided(product):
                self._settle(product)

    def promote(self, release: str) -> None:
        """Give a release the highest rank; answers change with the next run."""
        self.registered.setdefault(release, 0)
        self.promoted = [other for other in self.promoted if other != release] + [release]

    def decide(self, product: str, category_id: str | None) -> None:
        """Let a person decide on the pictures of now, None for none of the categories."""
        now = self.answers.get(product, Answer(("", None, "", None), None, 0, None))
        present = set(self.pictures(product))
        if now.decided_on is not None and now.given[0] == category_id and not now.suggested:
            if now.decided_on and present - now.decided_on:
                self.answers[product] = replace(now, decided_on=frozenset(present))
                self.decisions[product] = (category_id, frozenset(present))
            return
        everything = {self.picture(position) for position in self.positions(product)}
        pictures = present if now.left_at is None else {picture for picture in everything if picture}
        self.answers[product] = replace(
            now,
            given=(category_id, None, "manual" if category_id else "unknown", None),
            release=None,
            run=None,
            left_at=self.left_at(product),
            decided_on=frozenset(pictures),
            suggested=None,
        )
        self.decisions[product] = (category_id, frozenset(pictures))

    def clear(self, product: str) -> None:
        """Take a decision back: the product has the answer of its pictures again, or none."""
        if self._is_decided(product):
            del self.answers[product]
        del self.decisions[product]
        self._settle(product)

    def positions(self, product: str | None = None) -> list[Position]:
        """Return every position that was ever published, in order."""
        return sorted({row.position for row in self.rows if product in (None, row.position[0])})

    def left(self, position: Position) -> int | None:
        """Return the night from which no catalog names a position; None while one does."""
        latest = latest_by_catalog(row for row in self.rows if row.position == position).values()
        if any(row.outcome != "left" for row in latest):
            return None
        return max(row.counts_at[0] for row in latest)

    def left_at(self, product: str) -> int | None:
        """Return the night from which no catalog names a product; None while one does, or if nothing is known."""
        nights = [self.left(position) for position in self.positions(product)]
        return max((night for night in nights if night is not None), default=None) if None not in nights else None

    def picture(self, position: Position) -> str | None:
        """Return the last usable picture of a position."""
        usable = [row for row in self.rows if row.position == position and row.picture]
        return max(usable, key=lambda row: row.read_at).picture if usable else None

    def broken(self, position: Position) -> bool:
        """Return whether the newest picture of a position cannot be used."""
        read = [
            row for row in self.rows if row.position == position and row.outcome in ("stored", "unchanged", "rejected")
        ]
        return bool(read) and max(read, key=lambda row: row.read_at).outcome == "rejected"

    def pictures(self, product: str) -> list[str]:
        """Return the pictures that have a say, each once, in the order of their positions."""
        present = [position for position in self.positions(product) if self.left(position) is None]
        pictures = (self.picture(position) for position in present)
        return list(dict.fromkeys(picture for picture in pictures if picture))

    def _answer(self, product: str, release: str) -> Answer | None:
        """Return what a release answers from the product's pictures now; None if it has predicted none of them."""
        pictures = [picture for picture in self.pictures(product) if (release, product, picture) in self.predicted]
        if not pictures:
            return None
        last = [list(self.predicted[release, product, picture].items())[-1] for picture in pictures]
        held = [(picture, wrote.why) for picture, (_, wrote) in zip(pictures, last, strict=True)]
        one = len(pictures) == 1
        given = self._answer_of_one(release, product, *held[0]) if one else self.combine(release, product, held)
        run, (newest, _, _) = max(last, key=lambda each: each[1][0])
        return Answer(given, release, len(pictures), newest, run=run)

    def _answer_of_one(self, release: str, product: str, picture: str, held_by: str | None) -> Given:
        """Return the answer for a product with one picture: a suggestion if its run held the picture back."""
        category_id, confidence, status, reason = self.predict(release, product, picture)
        first = next((name for name in REASONS if name in (reason, held_by)), None)
        return category_id, confidence, "review" if held_by and status == "auto" else status, first

    def _hold_older(self, product: str, release: str, run: str) -> None:
        """Let a run that predicts a product hold its shared picture back too, which an earlier run has predicted."""
        written = self.predicted.get((release, product, SHARED))
        if not written or SHARED not in self.pictures(product):
            return
        last, wrote = list(written.items())[-1]
        if wrote.why is None:
            of = wrote.of or (last if last != run else None)
            if last != run:
                written.pop(run, None)
            written[run] = Written(wrote.read_at, "shared_picture", of)

    def _answer_by_run(self, product: str, release: str, force: bool) -> None:
        answer, stored = self._answer(product, release), self.answers.get(product)
        if answer is None or answer.newest is None:
            return
        if stored is not None:
            if stored.decided or stored.newest is None or stored.release is None:
                return
            older_release = stored.release in self.heard[self.heard.index(release) + 1 :]
            if answer.newest < stored.newest or (answer.newest == stored.newest and older_release and not force):
                return
        self.answers[product] = answer

    def _is_decided(self, product: str) -> bool:
        return product in self.answers and self.answers[product].decided

    def _look_again(self, product: str, forced: str | None = None) -> None:
        """Look at a person's decision again: what does the release of the newest picture say of pictures after it?"""
        stored = self.answers.get(product)
        if product not in self.decisions or self.left_at(product) is not None:
            return
        category_id, decided_on = self.decisions[product]
        ranked = {release: self._answer(product, release) for release in self.heard}
        possible = [
            (answer.newest, release == forced, rank, answer)
            for rank, (release, answer) in enumerate(ranked.items())
            if answer
        ]
        answer = max(possible, key=lambda each: each[:3])[3] if possible else None
        pictures = self.pictures(product)
        seen = {picture for picture in pictures if answer and (answer.release, product, picture) in self.predicted}
        is_new = answer is not None and bool(seen - decided_on)
        if category_id is None:
            if answer and is_new and self._is_decided(product):
                self.answers[product] = answer
            elif not is_new and not self._is_decided(product):
                count, newest = (answer.image_count, answer.newest) if answer else (0, None)
                self.answers[product] = Answer(NONE_OF_THEM, None, count, newest, decided_on=decided_on)
            return
        assert stored is not None  # a category that a person chose
        sure_of = answer.given if answer else None
        waits = bool(decided_on) and is_new and sure_of and sure_of[2] == "auto" and sure_of[0] != category_id
        self.answers[product] = replace(
            stored,
            given=(category_id, None, "manual", "changed_picture" if waits else None),
            suggested=(*sure_of[:2], answer.release) if waits and answer and sure_of else None,
        )

    def _settle_all(self) -> None:
        for product in sorted({row.position[0] for row in self.rows} | set(self.answers)):
            stored = self.answers.get(product)
            left_at = self.left_at(product)
            if left_at is None and self.positions(product) and not (stored and stored.decided):
                self._settle(product)
            if product in self.answers:
                self.answers[product] = replace(self.answers[product], left_at=left_at)

    def _settle(self, product: str, without: str | None = None) -> None:
        """Answer a product by the release that answers it; else by that of the newest picture, with the highest rank.

        The release of an answer that a retracted run gave is not preferred.

        It has no answer if no release has predicted a picture that has a say.
        """
        stored = self.answers.pop(product, None)
        by_release = {release: self._answer(product, release) for release in self.heard}
        possible = [(answer.newest, rank, answer) for rank, answer in enumerate(by_release.values()) if answer]
        if possible:
            keeps = stored and stored.release and (without is None or stored.run != without)
            same = by_release.get(str(stored.release)) if stored and keeps else None
            self.answers[product] = same or max(possible, key=lambda each: each[:2])[2]

    def _show(self, catalog_rows: Iterable[CatalogRow]) -> None:
        """Write the rows of positions that a catalog names, newest first; drop those of positions that have left."""
        for row in catalog_rows:
            shown = self.shown.get(row.position)
            if shown is None or row.read_at > shown.read_at:
                self.shown[row.position] = Shown(row.title, row.read_at, broken=False)
        known = set(self.positions())
        self.shown = {
            position: replace(shown, broken=self.broken(position))
            for position, shown in self.shown.items()
            if position not in known or self.left(position) is None
        }

    def totals(self) -> dict[tuple[str, str, str], tuple[int, int, int]]:
        """Return, by category, status and reason ('' for none), the products, the confidences and their sum in 1e-9."""
        totals: dict[tuple[str, str, str], tuple[int, int, int]] = {}
        for answer in self.answers.values():
            if answer.left_at is None:
                category_id, confidence, status, reason = answer.given
                key = (category_id or "", status, reason or "")
                count, known, total = totals.get(key, (0, 0, 0))
                more = 0 if confidence is None else round(confidence * 1e9)
                totals[key] = (count + 1, known + (confidence is not None), total + more)
        return totals

    def teaching(self) -> int:
        """Return on how many products that a catalog names people have decided; these are the labels of a training."""
        return sum(
            any(self.left(position) is None for position in self.positions(product)) for product in self.decisions
        )

    def queue(self) -> set[tuple[str, str | None, str | None, float | None]]:
        """Return the products that wait for a person, each with the reason, the suggestion and its confidence."""
        return {
            (product, answer.given[3], *(answer.suggested or answer.given)[:2])
            for product, answer in self.answers.items()
            if (answer.given[2] == "review" or answer.suggested) and answer.left_at is None
        }
