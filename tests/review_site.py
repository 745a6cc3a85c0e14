"""The review pages for tests: a database like the demo's, pictures from memory, a server on loopback, and clients."""

from __future__ import annotations

import html
import http.client
import json
import queue
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
import uvicorn

from jobs.review import serve
from jobs.review.access import Access
from jobs.review.application import ReviewConfig, make_application
from jobs.review.people import People
from jobs.review.services import Services
from sql.records import CategoryRecord, Combine, Decision, ReleaseRecord, RunRecord, StoredImage
from sql.review.records import Pictured
from sql.schema.tables import metadata
from sql.store import ProductDatabase
from tests.conftest import hash_of, picture
from tests.ports import free_port

TAXONOMY = {
    "apparel": "Apparel",
    "apparel.tops": "Apparel > Tops",
    "apparel.tops.pullover": "Apparel > Tops > Pullover",
    "apparel.tops.shirt": "Apparel > Tops > Shirt",
    "apparel.tops.t-shirt": "Apparel > Tops > T-shirt",
    "apparel.bottoms": "Apparel > Bottoms",
    "apparel.bottoms.trousers": "Apparel > Bottoms > Trousers",
    "footwear": "Footwear",
    "footwear.closed": "Footwear > Closed",
    "footwear.closed.boot": "Footwear > Closed > Boot",
    "footwear.closed.sneaker": "Footwear > Closed > Sneaker",
}
SHIRT, PULLOVER, T_SHIRT, TOPS = "apparel.tops.shirt", "apparel.tops.pullover", "apparel.tops.t-shirt", "apparel.tops"
SHIRTS = f"/queue?in={SHIRT}"
"""Address of the shirts of the queue."""
SNEAKER, BOOT, TROUSERS = "footwear.closed.sneaker", "footwear.closed.boot", "apparel.bottoms.trousers"
NIGHT = date(2026, 11, 1)
RELEASE = ReleaseRecord("release-1", "taxonomy-1", {})


@dataclass(frozen=True)
class Answer:
    """What a night answers on a product with one picture."""

    product_id: str
    category_id: str | None = SHIRT
    confidence: float = 0.7
    status: str = "review"
    reason: str | None = "below_threshold"
    title: str = ""
    content: str = "A"
    image_no: int = 0


def sha_of(answer: Answer) -> str:
    """Return the SHA-256 that stands for a product's picture."""
    return f"{hash_of(answer.product_id + answer.content, 0):064x}"


def publish(
    database: ProductDatabase,
    answers: Sequence[Answer],
    *,
    night: int = 0,
    taxonomy: Mapping[str, str] = TAXONOMY,
) -> str:
    """Publish a night, and return its run_id."""
    day = NIGHT + timedelta(days=night)
    started = datetime(2026, 11, 1, 1, tzinfo=UTC) + timedelta(days=night)
    run = RunRecord(f"nightly-{day}", "nightly", day, RELEASE.release_id, started, started + timedelta(hours=1))
    database.publish(
        run,
        predictions=[[_prediction(answer, day) for answer in answers]],
        rejections=[],
        products=[
            [
                (
                    one.product_id,
                    one.image_no,
                    f"{hash_of(one.product_id, 0)}.jpg",
                    one.title,
                    "Shop > Tops",
                    None,
                    None,
                    day,
                    1,
                )
                for one in answers
            ]
        ],
        categories=[CategoryRecord(*pair) for pair in taxonomy.items()],
        release=RELEASE,
        combine=combine,
    )
    return run.run_id


def _prediction(answer: Answer, day: date) -> tuple[Any, ...]:
    others = [name for name in (SHIRT, PULLOVER, T_SHIRT, SNEAKER) if name != answer.category_id]
    top = [[answer.category_id, answer.confidence]] if answer.category_id else []
    top += [[name, round((1 - answer.confidence) / 5, 4)] for name in others]
    networks = {"xception": [answer.category_id, answer.confidence], "efficientnet": [others[0], 0.5]}
    named = (answer.category_id, answer.confidence if answer.category_id else None, answer.status)
    row = (
        answer.product_id,
        sha_of(answer),
        answer.image_no,
        "a.jpg",
        day,
        1,
        *named,
        json.dumps(top),
        json.dumps(networks),
        "shop",
    )
    return (*row, answer.reason if answer.status != "auto" else None, None, None, None)


def combine(images: Sequence[StoredImage]) -> Decision:
    """Answer as the first image."""
    [category_id, confidence] = images[0].top[0]
    reason = images[0].review_reason
    return Decision(category_id, confidence, "review" if reason else "auto", reason)


def combine_by(_manifest: Mapping[str, Any]) -> Combine:
    """Answer alike for every release."""
    return combine


def like_the_demo(database: ProductDatabase, *, waiting: int = 130, known: int = 60) -> None:
    """Fill a database: products that wait in groups and categories, and some whose category is known."""
    chosen = random.Random(7)
    answers = [
        Answer(f"known-{n}", chosen.choice((SHIRT, SNEAKER, BOOT, TROUSERS)), 0.999, "auto") for n in range(known)
    ]
    for number in range(waiting):
        in_group = number % 5 < 2
        category_id = TOPS if in_group else (SHIRT, PULLOVER, T_SHIRT)[number % 3]
        reason = "taxonomy" if in_group else "below_threshold"
        title = f"Article {number:03d}, plain" if number % 4 else ""
        answers.append(
            Answer(f"article-{number:05d}", category_id, round(0.4 + number / 300, 4), "review", reason, title)
        )
    publish(database, answers)


@dataclass
class FakePictures:
    """Pictures from memory; those of the products in `gone`, and the large ones of `gone_large`, were pruned."""

    gone: set[str] = field(default_factory=set)
    gone_large: set[tuple[str, int]] = field(default_factory=set)
    read: list[int] = field(default_factory=list)

    def thumbnails(self, pictures: Sequence[Pictured], *, seconds: float | None = None) -> dict[tuple[str, str], bytes]:
        """Return the pictures that are there."""
        self.read.append(len(pictures))
        return {
            (one.product_id, one.image_sha256): picture(
                hash_of(one.product_id, one.image_no), width_px=120, height_px=160
            )
            for one in pictures
            if one.product_id not in self.gone
        }

    def large(self, picture_: Pictured) -> bytes | None:
        """Return a picture, or None."""
        if picture_.product_id in self.gone or (picture_.product_id, picture_.image_no) in self.gone_large:
            return None
        return picture(hash_of(picture_.product_id, picture_.image_no), width_px=480, height_px=640)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        """Start now."""
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return its time."""
        return self.now

    def forward(self, **by: float) -> None:
        """Move it, as timedelta."""
        self.now += timedelta(**by)


@dataclass
class Response:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The JSON document."""
        return json.loads(self.text)


class Client:
    """A browser of a test: it keeps its cookie, and sends what browsers send."""

    def __init__(self, port: int) -> None:
        """Talk to a server on loopback."""
        self.port, self.cookie = port, ""

    def __call__(
        self, method: str, path: str, body: bytes | str | None = None, *, drop: Sequence[str] = (), **headers: str
    ) -> Response:
        """Send a request; keyword arguments replace headers, with `_` for `-`, and `drop` leaves some out."""
        host = f"127.0.0.1:{self.port}"
        sent = {"Host": host, "Cookie": self.cookie}
        if method == "POST":
            sent |= {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{host}"}
        sent |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if name not in drop and value:
                    link.putheader(name, value)
            content = body.encode() if isinstance(body, str) else body
            if content is not None and "Content-Length" not in sent:
                link.putheader("Content-Length", str(len(content)))
            link.endheaders(content)
            answer = link.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            if "set-cookie" in got:
                self.cookie = got["set-cookie"].partition(";")[0]
            return Response(answer.status, got, answer.read().decode("utf-8", "replace"))
        finally:
            link.close()

    def get(self, path: str, **headers: str) -> Response:
        """Open a page."""
        return self("GET", path, **headers)

    def send(self, path: str, content: Any, **headers: str) -> Response:
        """Send JSON as the pages' script does."""
        told = {"accept": "application/json", "content_type": "application/json", **headers}
        return self("POST", path, json.dumps(content), **told)

    def form(self, path: str, **fields: str) -> Response:
        """Send a form."""
        return self("POST", path, urlencode(fields), content_type="application/x-www-form-urlencoded")


@dataclass
class Site:
    """A server of the review pages."""

    port: int
    services: Services
    announced: list[str]
    pictures: FakePictures
    clock: Clock

    @property
    def address(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, *, logged_in_as: str = "ada") -> Client:
        """Return a client; with a name it has a session of that person."""
        client = Client(self.port)
        if logged_in_as:
            client.cookie = f"{self.services.access.cookie}={self.services.guards.sessions.start(logged_in_as)}"
        return client


def page_id_of(page: Response) -> str:
    """Return the page_id in a page."""
    [found] = re.findall(r'data-page="([^"]+)"', page.text)
    return str(found)


def hidden_in(page: Response) -> dict[str, str]:
    """Return the hidden fields of a page's forms."""
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
    return {name: html.unescape(value) for name, value in fields}


def products_on(page: Response) -> list[str]:
    """Return the products on a page of the queue, in order."""
    return re.findall(r'data-product="([^"]*)"', page.text)


def rows(database: ProductDatabase, table: str) -> list[dict[str, object]]:
    """Return the rows of a table."""
    with database.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(metadata.tables[table])).mappings()]


def sent(page_id: str, *, wrong: tuple[int, ...] = (), leaves: Mapping[str, str] | None = None) -> dict[str, object]:
    """Return what the script sends of a page."""
    return {"page_id": page_id, "wrong": list(wrong), "leaves": {**(leaves or {})}}


@contextmanager
def review_site(
    database: ProductDatabase,
    directory: Path,
    *,
    by: str = "ada",
    people: People | None = None,
    change: Callable[[Access], Access] = lambda access: access,
    chance: random.Random | None = None,
) -> Iterator[Site]:
    """Serve the review pages on loopback while the block runs.

    Args:
        database: Migrated.
        directory: Where reports and the file of people are.
        by: The one person; not used with people.
        people: Who logs in with a password.
        change: Changes who may reach the pages.
        chance: Chooses the planted products; by default none is planted.
    """
    port, clock, pictures = free_port(), Clock(), FakePictures()
    announced: list[str] = []
    known = people or People(directory / "people.json")
    access = serve.access_of(serve.Serving(port=port, by=by), known, port=port, user="system")
    if people is not None:
        access = replace(access, by="", people=people)
    config = ReviewConfig(
        database=database,
        pictures=pictures,
        combine_by=combine_by,
        access=change(access),
        reports=directory,
        announce=announced.append,
        clock=clock,
        chance=chance or NeverPlanted(),
    )
    application = make_application(config)
    servers: queue.Queue[uvicorn.Server] = queue.Queue()
    with serve.bound_socket("127.0.0.1", port) as listening:
        told = {"serving": serve.Serving(port=port), "started": servers.put}
        thread = threading.Thread(target=serve.run, args=(application, listening), kwargs=told, daemon=True)
        thread.start()
        try:
            yield Site(port, application.services, announced, pictures, clock)
        finally:
            servers.get(timeout=30).should_exit = True
            thread.join(30)
    assert not thread.is_alive()


class NeverPlanted(random.Random):
    """Chance by which no product is planted."""

    def random(self) -> float:
        """Return more than any share."""
        return 0.999
