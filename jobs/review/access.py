"""Who may reach the review pages, and what counts and remembers their requests."""

from __future__ import annotations

from dataclasses import dataclass
from threading import BoundedSemaphore

from jobs.review.people import People
from jobs.review.sessions import SESSION, LoginLimit, OneTimeToken, RequestLimit, Sessions


@dataclass(frozen=True)
class Proxy:
    """A proxy in front of the pages, known by a secret: what it says of a request is believed beside that alone.

    Attributes:
        secret_header: Header with the shared secret.
        secret: The shared secret.
        user_header: Header with the person who is logged in at the proxy; empty where people log in here.
    """

    secret_header: str
    secret: str
    user_header: str = ""


@dataclass(frozen=True)
class Access:
    """Who may reach the pages.

    Attributes:
        hosts: Values of the Host header that are ours, in lower case, with the port where it is not the usual one.
        origins: Values of the Origin header that are ours.
        address: Where people open the pages, one of `origins`; it is printed.
        port: Port of the server, for the cookie's name: browsers send cookies to all ports of a host.
        secure: Whether people reach the pages by HTTPS.
        by: Name of the only person, who opens a printed address that works once; empty for named people.
        people: People who log in with a password; None for one person.
        proxy: The proxy that is known by a secret; None without one.
        behind: Whether a proxy is in front, so that all requests come from its address.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    address: str
    port: int
    secure: bool = False
    by: str = ""
    people: People | None = None
    proxy: Proxy | None = None
    behind: bool = False

    @property
    def named_by_proxy(self) -> bool:
        """Whether the proxy logs people in and names them."""
        return self.proxy is not None and bool(self.proxy.user_header)

    @property
    def cookie(self) -> str:
        """Name of the session's cookie; `__Host-` makes browsers refuse it from other hosts and without HTTPS."""
        return f"{'__Host-' if self.secure else ''}shelfwise-{self.port}"

    def cookie_header(self, token: str) -> str:
        """Return the Set-Cookie header that starts a session, or that ends it if the token is empty."""
        age = int(SESSION.total_seconds()) if token else 0
        return f"{self.cookie}={token}; Max-Age={age}; Path=/; HttpOnly; SameSite=Strict{'; Secure' * self.secure}"


@dataclass(frozen=True)
class Guards:
    """What counts and remembers requests: sessions, the address that works once, and the limits.

    Attributes:
        sessions: Who is logged in.
        token: The address that works once.
        requests: Limit of requests by client.
        logins: Limit of failed logins.
        hashing: Limit of passwords that are compared at the same time, each for a tenth of a second.
    """

    sessions: Sessions
    token: OneTimeToken
    requests: RequestLimit
    logins: LoginLimit
    hashing: BoundedSemaphore
