"""What the serving process remembers of each person: open pages, products to decide one by one, and what to take back.

Which products of a page are planted is known here alone; the page that the browser gets does not contain it. When the
server is started again, only this memory is lost: every decision is in the database.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sql.review.records import Planted, QueueItem

SKIPPED = timedelta(hours=1)
"""Time for which a product that a person skipped is not shown to that person again."""

_MOST_SENT = 100
"""Pages of one person that are remembered after they were sent, to be taken back."""

_MOST_OPEN_PRODUCTS = 6_000
"""Products on pages of one person that were not sent yet: 100 full pages of the queue, or 6,000 of Focus."""

_MOST_PEOPLE = 1_000
_MOST_NOTES = 20


@dataclass
class OpenPage:
    """A page that a person has in the browser, or has sent.

    Attributes:
        page_id: Random name, which its decisions get in the database.
        opened_at: When it was opened, with a time zone.
        items: The products in the order of the page; a planted one is shown as any other.
        planted: The planted products, by position on the page.
        address: Where the page is opened again.
        after: Where its script goes afterwards; empty for `address`.
        category_id: Suggested category of all products; None without one, or where they differ.
        marked: Positions that are marked when the page opens.
        chosen: Categories that are chosen below an inner node when the page opens, by position.
        news: What happened to a product meanwhile, by position.
        lock: Held while the page is written, so that a page sent twice is written once.
        outcome: What sending it brought; None before that.
        taken_back: Whether its decisions were taken back.
        put_aside: Whether its address opens a new page; a browser may still have this one, and send it.
        needs_leaf: Whether its category is an inner node, so that a leaf has to be chosen for each product.
        sent_as: What was sent of it, to see whether the same is sent again; None before that.
        sent_marks: Products that were marked when it was sent.
        sent_leaves: Categories chosen below an inner node when it was sent, by product.
    """

    page_id: str
    opened_at: datetime
    items: Sequence[QueueItem]
    address: str
    planted: Mapping[int, Planted] = field(default_factory=dict)
    category_id: str | None = None
    marked: Sequence[int] = ()
    chosen: Mapping[int, str] = field(default_factory=dict)
    news: Mapping[int, str] = field(default_factory=dict)
    after: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    outcome: Outcome | None = None
    taken_back: bool = False
    put_aside: bool = False
    needs_leaf: bool = False
    sent_as: object = None
    sent_marks: Sequence[str] = ()
    sent_leaves: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What sending a page brought, as its script gets it.

    Attributes:
        decided: Number of products decided.
        marked: Number of products that are now to be decided one by one.
        next: Address of the page to open.
    """

    decided: int
    marked: int
    next: str


class Desk:
    """What the server remembers of one person. Its methods may be called from several threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Start empty; `clock` returns the time now, with a time zone."""
        self._clock = clock
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, OpenPage] = OrderedDict()
        self._sent: list[str] = []
        self._skipped: dict[str, datetime] = {}
        self._focus: OrderedDict[str, None] = OrderedDict()
        self._notes: list[str] = []
        self._marks: set[str] = set()
        self._leaves: dict[str, str] = {}
        self.queue_address = "/queue"

    def keep(self, page: OpenPage) -> OpenPage:
        """Remember a page, and return it."""
        with self._lock:
            self._pages[page.page_id] = page
            self._forget_oldest()
            return page

    def _forget_oldest(self) -> None:
        """Forget the oldest pages beyond the limits; what was sent pushes out nothing that is still open."""
        left = {True: _MOST_SENT, False: _MOST_OPEN_PRODUCTS}
        for page in reversed(list(self._pages.values())):
            was_sent = page.outcome is not None
            left[was_sent] -= 1 if was_sent else len(page.items)
            if left[was_sent] < 0:
                del self._pages[page.page_id]

    def page(self, page_id: str) -> OpenPage | None:
        """Return a remembered page."""
        with self._lock:
            return self._pages.get(page_id)

    def unsent(self, address: str) -> OpenPage | None:
        """Return the newest page of an address that was not sent yet: a page that is loaded again stays the same."""
        with self._lock:
            pages = (page for page in reversed(self._pages.values()) if page.address == address)
            newest = next(pages, None)
            is_open = newest is not None and newest.outcome is None and not newest.put_aside
            return newest if is_open else None

    def put_aside(self, page: OpenPage) -> None:
        """Let the address of a page open a new one; the page itself can still be sent."""
        with self._lock:
            page.put_aside = True

    def sent(self, page: OpenPage) -> None:
        """Remember that a page was written, so that it can be taken back."""
        with self._lock:
            self._sent.append(page.page_id)
            del self._sent[:-_MOST_SENT]

    def last_sent(self) -> OpenPage | None:
        """Return the last page that was written and not taken back."""
        with self._lock:
            while self._sent:
                page = self._pages.get(self._sent[-1])
                if page is not None and not page.taken_back:
                    return page
                self._sent.pop()
            return None

    def to_focus(self, product_ids: Iterable[str], *, first: bool = False) -> None:
        """Put products at the end of those to decide one by one, or before all others."""
        with self._lock:
            for product_id in product_ids:
                self._focus[product_id] = None
                if first:
                    self._focus.move_to_end(product_id, last=False)

    def out_of_focus(self, product_ids: Iterable[str]) -> None:
        """Remove products from those to decide one by one."""
        with self._lock:
            for product_id in product_ids:
                self._focus.pop(product_id, None)

    @property
    def focus(self) -> list[str]:
        """The products to decide one by one, in order."""
        with self._lock:
            return list(self._focus)

    def skip(self, product_ids: Iterable[str]) -> None:
        """Do not show products to this person for an hour."""
        with self._lock:
            self._skipped |= dict.fromkeys(product_ids, self._clock() + SKIPPED)

    def show_skipped(self) -> None:
        """Show skipped products again."""
        with self._lock:
            self._skipped.clear()

    @property
    def skipped(self) -> set[str]:
        """The products that this person skipped during the last hour."""
        now = self._clock()
        with self._lock:
            self._skipped = {name: until for name, until in self._skipped.items() if until > now}
            return set(self._skipped)

    def show_again(self, product_ids: Iterable[str], *, marked: Iterable[str], leaves: Mapping[str, str]) -> None:
        """Show the products of a page that was taken back again, with what was marked and chosen on it."""
        with self._lock:
            for product_id in product_ids:
                self._skipped.pop(product_id, None)
                self._focus.pop(product_id, None)
            self._marks, self._leaves = set(marked), dict(leaves)

    def marks_again(self) -> tuple[set[str], dict[str, str]]:
        """Return what was marked and chosen on the page that was taken back last, by product, and forget it."""
        with self._lock:
            marks, leaves = self._marks, self._leaves
            self._marks, self._leaves = set(), {}
            return marks, leaves

    def note(self, sentence: str) -> None:
        """Show a sentence on the next page that opens."""
        with self._lock:
            self._notes.append(sentence)
            del self._notes[:-_MOST_NOTES]

    def notes(self) -> list[str]:
        """Return the sentences for the page that opens, and forget them."""
        with self._lock:
            notes, self._notes = self._notes, []
            return notes


class Desks:
    """The desks of all people."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Start without any; `clock` returns the time now, with a time zone."""
        self._clock = clock
        self._lock = threading.Lock()
        self._desks: OrderedDict[str, Desk] = OrderedDict()

    def of(self, person: str) -> Desk:
        """Return a person's desk."""
        with self._lock:
            desk = self._desks.pop(person, None) or Desk(self._clock)
            self._desks[person] = desk
            while len(self._desks) > _MOST_PEOPLE:
                self._desks.popitem(last=False)
            return desk


def new_page_id() -> str:
    """Return a random name for a page."""
    return secrets.token_urlsafe(18)
