"""Sessions of people who are logged in, addresses that work once, and limits of requests and of failed logins.

All of it is in the memory of the serving process, and tokens only as their SHA-256: to start the server again ends all
sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

Clock = Callable[[], datetime]

SESSION = timedelta(hours=12)
"""Time for which a person stays logged in."""

TOKEN = timedelta(hours=1)
"""Time within which a printed address works."""

_MOST_SESSIONS = 1_000
_MOST_CLIENTS = 10_000

BURST, PER_SECOND = 1_000, 100
"""Requests of one client that are answered at once, and a second after that; a page of 60 pictures is 70."""

_FREE_TRIES = 5
LONGEST_WAIT, SHORT_WAIT = timedelta(minutes=15), timedelta(minutes=1)
"""Longest waits after failed logins: of one client, and of many clients together."""


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class Session:
    """A session: who is logged in, and `People.fingerprint` at the login; empty where nobody has a password."""

    person: str
    fingerprint: str


class Sessions:
    """Who is logged in, by the hash of a random token."""

    def __init__(self, clock: Clock) -> None:
        """Start without a session; `clock` returns the time now, with a time zone."""
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, tuple[Session, datetime]] = OrderedDict()

    def start(self, person: str, *, fingerprint: str = "") -> str:
        """Start a session and return its token.

        Args:
            person: Who is logged in.
            fingerprint: `People.fingerprint` of the person, with which the session ends; empty without a password.
        """
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._open[_hash(token)] = (Session(person, fingerprint), self._clock() + SESSION)
            while len(self._open) > _MOST_SESSIONS:
                self._open.popitem(last=False)
        return token

    def of(self, token: str) -> Session | None:
        """Return the session with this token; None if there is none, or if it has ended."""
        key = _hash(token)
        with self._lock:
            found = self._open.get(key)
            if found is not None and found[1] > self._clock():
                return found[0]
            self._open.pop(key, None)
            return None

    def end(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._open.pop(_hash(token), None)


class OneTimeToken:
    """The token of a printed address: it works once within an hour, and a new one is made at most once a minute."""

    def __init__(self, clock: Clock) -> None:
        """Start without a token; `clock` returns the time now, with a time zone."""
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: bytes | None = None
        self._made_at: datetime | None = None

    def make(self) -> str | None:
        """Return a new token if the last one does not work any more; None if it does, or is younger than a minute."""
        now = self._clock()
        with self._lock:
            if self._works(now) or (self._made_at and now - self._made_at < timedelta(minutes=1)):
                return None
            token = secrets.token_urlsafe(32)
            self._waiting, self._made_at = _hash(token), now
            return token

    def use(self, token: str) -> bool:
        """Return whether the token works, and end it."""
        with self._lock:
            if self._waiting is None or not self._works(self._clock()):
                return False
            if not hmac.compare_digest(self._waiting, _hash(token)):
                return False
            self._waiting = None
            return True

    def _works(self, now: datetime) -> bool:
        return self._waiting is not None and self._made_at is not None and now - self._made_at < TOKEN


class RequestLimit:
    """How many requests of each client are still answered: a bucket that fills again."""

    def __init__(self, clock: Clock, *, burst: int = BURST, per_second: int = PER_SECOND) -> None:
        """Start with full buckets.

        Args:
            clock: Returns the time now, with a time zone.
            burst: Requests that are answered at once.
            per_second: Requests a second that are answered after that.
        """
        self._clock, self._burst, self._per_second = clock, burst, per_second
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def allows(self, client: str) -> bool:
        """Count a request of a client, and return whether it is to be answered."""
        now = self._clock()
        left, since = self._buckets.pop(client, (float(self._burst), now))
        left = min(self._burst, left + max(0.0, (now - since).total_seconds()) * self._per_second)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        while len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return left >= 1


class LoginLimit:
    """How long a client, or who uses a person's name, has to wait after failed logins: it doubles with each."""

    def __init__(self, clock: Clock) -> None:
        """Start without a failure; `clock` returns the time now, with a time zone."""
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[int, datetime]] = OrderedDict()

    def try_again_seconds(self, key: str, *, longest: timedelta = LONGEST_WAIT) -> int:
        """Return for how long a key has to wait before the next try, in seconds; 0 if it need not.

        Args:
            key: A client, or a person's name.
            longest: The longest wait.
        """
        with self._lock:
            failures, last = self._failed.get(key, (0, self._clock()))
            if failures < _FREE_TRIES:
                return 0
            wait = min(longest, timedelta(seconds=2 ** min(failures - _FREE_TRIES + 1, 12)))
            return max(0, round((last + wait - self._clock()).total_seconds()))

    def count(self, key: str, *, failed: bool) -> None:
        """Count a try; one that succeeds ends the wait."""
        with self._lock:
            failures, _ = self._failed.pop(key, (0, self._clock()))
            if failed:
                self._failed[key] = (failures + 1, self._clock())
            while len(self._failed) > _MOST_CLIENTS:
                self._failed.popitem(last=False)
