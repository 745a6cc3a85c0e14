r"""Read a directory of pictures as a catalog, on a disk or in an object store.

The path of folders is the category of a picture. Its levels are joined by dots; a comma in a name is written `\,`,
since a comma alone separates categories. Pictures beside the folders have no category. What of a path is the product_id
is said by `Layout.product_id`:

- `stem`: the name of the file without its suffix.
- `path`: the path below the directory without the suffix, with `/` between its folders. Pictures of one folder that
  differ in their suffixes alone, `a.jpg` and `a.png`, keep them.
- `folder`: the path of the folder directly above the file. Its pictures are the images of the product, in order of
  their names, with numbers in natural order: 2 is before 10. The category is the folders above it. A picture in no
  folder is a product of its own, as with `stem`.

A file is a picture if it has the suffix of an image format, read or not. Whether it really is one is seen when it is
read: what is not becomes a product with a rejection. Of a file without a suffix the first bytes decide. All other files
are passed over and counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from upath import UPath

from jobs.catalog.description import is_description
from jobs.catalog.first_bytes import first_bytes
from jobs.catalog.layout import Layout
from jobs.catalog.links import path_link
from jobs.catalog.listing import entries_in_store, entries_on_disk
from jobs.catalog.passed_over import PassedOver
from jobs.catalog.rows import Batches, Part, Row, in_batches
from jobs.catalog.values import limited, printable, whole_characters
from jobs.images.formats import SUFFIXES, recognise
from jobs.storage.places import Place

_IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
_SUFFIX = re.compile(r"(?=[0-9]*[a-z])[a-z0-9]{1,10}~?")
"""What counts as a suffix; `v1.2` has none."""
_NUMBER = re.compile(r"([0-9]+)")
_OF_SYSTEMS = frozenset({"@eadir", "#recycle", "$recycle.bin", "system volume information", "__macosx", "lost+found"})
"""Folders that systems keep beside pictures: thumbnails, deleted files."""


def read_folders(root: Place, layout: Layout, part: Part, passed_over: PassedOver) -> Batches:
    """List the pictures of a directory as catalog rows, in batches.

    Args:
        root: The directory.
        layout: Says what of a path is the product_id, and how many pictures of a product are read.
        part: Which part of the catalog it is.
        passed_over: Counts what is left out.
    """
    rows = enumerate(folder_rows(root, layout, passed_over), part.first_position)
    yield from in_batches((*row, None, None, position) for position, row in rows)


def folder_rows(root: Place, layout: Layout, passed_over: PassedOver) -> Iterator[Row]:
    """List the pictures below a directory as catalog rows, folder by folder; one folder's names are in memory at once.

    Args:
        root: The directory.
        layout: As in `read_folders`.
        passed_over: As in `read_folders`.

    Yields:
        Rows with values in the order of `CATALOG_COLUMNS`. Hidden files and folders are left out.

    Raises:
        UsageError: If this user has no permission to list a folder, whose products would otherwise be missing
            unnoticed; or if a path is too long for an id or a category.
        StoreError: If an object store cannot list a folder.
    """
    where = str(root)
    for parts, files in _folders(root, passed_over):
        names = _pictures(root, parts, files, passed_over)
        by_folder = layout.product_id == "folder" and bool(parts)
        if by_folder:
            names.sort(key=_natural)
            passed_over.images += max(0, len(names) - layout.max_images)
            del names[layout.max_images :]
        else:
            names.sort()
        stems = (
            Counter(PurePosixPath(name).stem.strip() for name in names) if layout.product_id == "path" else Counter()
        )
        category = printable(".".join(parts[:-1] if by_folder else parts)).replace(",", "\\,") or None
        for index, name in enumerate(names):
            path = PurePosixPath(*parts, name)
            product_id = _product_id(path, layout, by_folder, keeps_suffix=stems[path.stem.strip()] > 1)
            limited(whole_characters(product_id, "product_id", where, "in a path"), "product_id", where, "in a path")
            limited(category or "", "category", where, "in a path")
            yield product_id, str(index if by_folder else 0), path_link(str(path)).image_uri, None, category, None


def _product_id(path: PurePosixPath, layout: Layout, by_folder: bool, *, keeps_suffix: bool) -> str:
    if by_folder:
        return str(path.parent).strip()
    if keeps_suffix:
        return str(path).strip()
    return (str(path.with_name(path.stem)) if layout.product_id == "path" else path.stem).strip()


def _folders(root: Place, passed_over: PassedOver) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the path of each folder below a directory, and the names of its files; hidden ones are left out."""
    for folder, subfolders, files in walk_disk(root, passed_over) if isinstance(root, Path) else walk_store(root):
        subfolders[:] = sorted(name for name in subfolders if not _is_hidden(name))
        yield PurePosixPath(folder).parts, [name for name in files if name and not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _pictures(root: Place, parts: tuple[str, ...], files: list[str], passed_over: PassedOver) -> list[str]:
    """Return the names of a folder's pictures, and count its other files."""
    pictures, unknown = [], []
    for name in files:
        suffix = PurePosixPath(name).suffix[1:].lower()
        if suffix.partition("?")[0] in _IMAGE_SUFFIXES:
            pictures.append(name)
        elif not _SUFFIX.fullmatch(suffix):
            unknown.append(name)
        elif parts or not is_description(Path(name)):
            passed_over.add_file(f".{suffix}")
    for name, head in first_bytes(root, "/".join(parts), unknown):
        if head is None or recognise(head).is_image:
            pictures.append(name)
        else:
            passed_over.add_file("without suffix")
    return pictures


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts names as people do: 2 before 10, and `1.jpg` before `1-back.jpg`."""
    pieces = _NUMBER.split(PurePosixPath(name).stem.casefold())  # texts and numbers in turn
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)], name


def walk_disk(root: Path, passed_over: PassedOver) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk the folders of a directory on a disk, top down, as `os.walk` does.

    A link to a folder is followed if that folder is below the directory and is hidden, as in a directory whose versions
    are changed by one link. Any other folder below the directory is visited by its own path. So each folder is visited
    once, and links that lead in a circle do no harm. Links to folders that have their own path, and links that lead out
    of the directory, are counted.

    Yields:
        The path of a folder below the directory, the names of its subfolders, the names of its files. A folder that the
        caller removes from the list of subfolders is not visited.

    Raises:
        UsageError: If a folder cannot be listed.
    """
    top = os.path.realpath(root)
    visited: set[str] = set()  # of the folders that were reached by a link
    pending = [("", False)]
    while pending:
        folder, linked = pending.pop()
        here = Path(root, folder)
        if linked:
            real = os.path.realpath(here)
            if real in visited:
                continue
            visited.add(real)
        subfolders, files, links = entries_on_disk(str(here))
        followed = set()
        for name in sorted(links):
            # No parts mean the directory itself.
            levels = Path(os.path.relpath(os.path.realpath(here / name), top)).parts
            if levels[:1] == (os.pardir,):
                if not _is_hidden(name):
                    passed_over.links.add(f"{folder}/{name}".strip("/"))
            elif any(map(_is_hidden, levels)):
                followed.add(name)
            elif not _is_hidden(name):
                passed_over.repeated.add(f"{folder}/{name}".strip("/"))
        subfolders += followed
        yield folder, subfolders, files
        pending += [(f"{folder}/{name}".strip("/"), linked or name in followed) for name in reversed(subfolders)]


def walk_store(root: UPath) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk the folders of an object store, top down, as `walk_disk` does on a disk.

    Yields:
        As `walk_disk`.

    Raises:
        StoreError: If a folder cannot be listed; fsspec's own walk would skip it silently.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        subfolders, files, _ = entries_in_store(root, f"{root.path.rstrip('/')}/{folder}".rstrip("/"))
        yield folder, subfolders, files
        pending += [f"{folder}/{name}".strip("/") for name in reversed(subfolders)]
