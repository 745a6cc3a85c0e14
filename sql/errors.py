"""Exceptions of the product database; each message is one sentence with the remedy."""

from __future__ import annotations


class DatabaseError(RuntimeError):
    """Raised when the product database failed or refused a call; the message never contains a password."""


class SupersededError(DatabaseError):
    """Raised when another driver has taken over this run; nothing of this attempt was written."""


class UnknownNameError(DatabaseError):
    """Raised when a query, parameter, product, category or alias is not in the database."""
