"""What can go wrong with the product database, each in one sentence that says what to do."""

from __future__ import annotations


class DatabaseError(RuntimeError):
    """The product database cannot do what was asked; the message never holds a password."""


class SupersededError(DatabaseError):
    """Another driver took this run over while it was being published; nothing of this attempt was written."""


class UnknownNameError(DatabaseError):
    """A query, parameter, product or category that the database does not know."""
