"""The file of the people who may review: their names and scrypt hashes of their passwords, readable by its owner alone.

A password is asked for at login only. The file is read again when it has changed, so a person who is removed, or gets a
new password, is logged out from that moment.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.errors import UsageError
from jobs.storage.home_json import locked
from jobs.storage.modes import refuse_open_to_others
from models.whole_files import write_whole

SHORTEST_PASSWORD = 12
"""Fewest characters of a password."""

LONGEST_NAME = 100
"""Most characters of a person's name."""

_LONGEST_PASSWORD = 1000
_N, _R, _P = 2**15, 8, 3
"""Cost of scrypt as OWASP's Password Storage Cheat Sheet recommends it: 32 MiB of memory for one hash."""


@dataclass(frozen=True)
class Person:
    """A person who may review, and since when."""

    name: str
    added_at_utc: datetime


def checked_name(name: str) -> str:
    """Return a person's name without spaces around it.

    Raises:
        UsageError: If it is empty, too long, or has characters that cannot be printed.
    """
    stripped = name.strip()
    if not stripped or len(stripped) > LONGEST_NAME or not stripped.isprintable():
        raise UsageError(
            f"{name[:LONGEST_NAME]!r} cannot be a person's name: expected 1 to {LONGEST_NAME} printable characters"
        )
    return stripped


class People:
    """People who may log in, in a file of mode 0600."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Use a file, which need not exist.

        Args:
            path: The file.
            clock: Returns the time now, with a time zone.
        """
        self.path = path
        self._clock = clock
        self._one_hash = threading.Lock()  # several at once would take 32 MiB each
        self._read_at: tuple[int, int, int] | None = None
        self._rows: dict[str, dict[str, Any]] = {}

    def all(self) -> list[Person]:
        """Return all people, by name."""
        return [Person(name, datetime.fromisoformat(row["added_at_utc"])) for name, row in sorted(self._read().items())]

    def fingerprint(self, name: str) -> str:
        """Return what a person's sessions stand for: another one with each new password; empty for an unknown name."""
        row = self._read().get(name)
        return "" if row is None else hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()

    def add(self, name: str, password: str) -> bool:
        """Add a person, or give one a new password.

        Returns:
            Whether the person is new.

        Raises:
            UsageError: If the name or the password cannot be used.
        """
        name = checked_name(name)
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise UsageError(
                f"the password has {len(password)} characters: expected {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD}; "
                "several words are easy to remember"
            )
        salt = secrets.token_bytes(16)
        hashed = {"salt": _text(salt), "scrypt": _text(self._hash(password, salt))}
        with self._changed() as rows:
            former = rows.get(name)
            added = former["added_at_utc"] if former else self._clock().isoformat()
            rows[name] = {"added_at_utc": added, **hashed}
        return former is None

    def remove(self, name: str) -> None:
        """Remove a person.

        Raises:
            UsageError: If there is no such person; the message lists those there are.
        """
        with self._changed() as rows:
            if name not in rows:
                known = ", ".join(repr(other) for other in sorted(rows)[:5]) or "nobody yet"
                raise UsageError(f"there is no person {name!r}: expected one of {known}")
            del rows[name]

    def accepts(self, name: str, password: str) -> bool:
        """Return whether this is the person's password; an unknown name takes as long as a known one."""
        row = self._read().get(name)
        salt = base64.b64decode(row["salt"]) if row else b"0123456789abcdef"
        found = self._hash(password[: _LONGEST_PASSWORD + 1], salt)
        return row is not None and hmac.compare_digest(found, base64.b64decode(row["scrypt"]))

    def _hash(self, password: str, salt: bytes) -> bytes:
        with self._one_hash:
            return hashlib.scrypt(
                password.encode("utf-8", "surrogatepass"), salt=salt, n=_N, r=_R, p=_P, maxmem=2**26, dklen=32
            )

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return {}
        if not status.st_size:  # its first writer was stopped
            return {}
        version = (status.st_mtime_ns, status.st_ino, status.st_size)
        if version != self._read_at:
            refuse_open_to_others(self.path, "passwords' hashes")
            try:
                rows = json.loads(self.path.read_text(encoding="utf-8"))["people"]
                for row in rows.values():
                    base64.b64decode(row["salt"]), base64.b64decode(row["scrypt"])
                    datetime.fromisoformat(row["added_at_utc"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(
                    f"{self.path} is not the file of people that shelfwise wrote ({type(error).__name__}): restore it, "
                    "or delete it and add the people again"
                ) from error
            self._rows, self._read_at = rows, version
        return self._rows

    @contextmanager
    def _changed(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Yield the rows to change, and write them; two commands at the same time change them one after the other."""
        with locked(self.path):
            rows = dict(self._read())
            yield rows
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))  # the writer keeps the mode of a file
            write_whole(self.path, json.dumps({"people": rows}, indent=1, ensure_ascii=False) + "\n")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
