"""Read a source image from this machine, by the path or `file://` URI in a catalog."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from jobs.images.normalise import MAX_SOURCE_BYTES, Rejected
from jobs.storage.file_uris import path_of_file_uri


def resolve_uri(image_uri: str, base_dir: Path) -> Path:
    """Return the path of the local file that a catalog's image_uri names.

    Args:
        image_uri: A path, used literally, or a percent-encoded file:// URI.
        base_dir: Directory to which relative paths are relative: the catalog's.

    Returns:
        The path; the file need not exist.

    Raises:
        Rejected: `uri_not_allowed` for anything else; the detail names what is expected.
    """
    if not image_uri.strip():
        raise Rejected("uri_not_allowed", "expected a path or a URI, received an empty image_uri")
    scheme, colon, _ = image_uri.partition(":")
    if colon and scheme.lower() == "file":
        try:
            path = path_of_file_uri(image_uri)
        except ValueError as error:
            raise Rejected("uri_not_allowed", str(error)) from error
    elif re.match(r"[a-z][a-z0-9+.-]*://|data:", image_uri, re.IGNORECASE):
        raise Rejected(
            "uri_not_allowed",
            f"expected a path or a URI of file, http, https, s3, gs, abfs or hdfs, received the scheme {scheme[:40]!r}",
        )
    elif re.match(r"[a-z]:[\\/]|\\\\", image_uri, re.IGNORECASE) and os.name != "nt":
        raise Rejected("uri_not_allowed", "expected a path of this machine or a file:// URI, received a Windows path")
    else:
        path = image_uri  # a colon elsewhere, as in `a:b.jpg`, is part of a file's name
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise Rejected("uri_not_allowed", "the path holds a character that no file name can have") from error
    if b"\x00" in encoded:
        raise Rejected("uri_not_allowed", "the path holds a NUL character")
    return base_dir / path


def read_source(path: Path, *, max_bytes: int = MAX_SOURCE_BYTES) -> bytes:
    """Read all bytes of a source image that is a local path or a `file://` URI.

    Args:
        path: Path of the image, as `resolve_uri` returns it.
        max_bytes: Size limit in bytes; a larger file is rejected.

    Returns:
        The file's content, 1 to `max_bytes` bytes.

    Raises:
        Rejected: `missing`, `unreadable`, `too_large` or `empty`.
    """
    try:
        check_readable(path.stat(), max_bytes)
        # Non-blocking: since the first check a pipe may have replaced the file, and opening a pipe would block.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as file:
            check_readable(os.fstat(descriptor), max_bytes)
            data = file.read(max_bytes)
            check_readable(os.fstat(descriptor), max_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Rejected("missing", "there is no such file") from error
    except OSError as error:
        raise Rejected("unreadable", f"reading the file failed: {error.strerror or type(error).__name__}") from error
    if not data:
        raise Rejected("empty", "the file has no bytes")
    return data


def check_readable(status: os.stat_result, max_bytes: int = MAX_SOURCE_BYTES) -> None:
    """Check the kind and size of a source image.

    Args:
        status: Status of the file.
        max_bytes: Size limit in bytes.

    Raises:
        Rejected: `unreadable` if it is no regular file, `too_large` if it has more bytes.
    """
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, device or socket"
        raise Rejected("unreadable", f"expected a regular file, found {kind}")
    if status.st_size > max_bytes:
        raise Rejected("too_large", f"the file has {status.st_size:,} bytes, over the limit of {max_bytes:,}")
