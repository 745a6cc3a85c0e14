"""A file is replaced whole by one writer of many; a pipe, a device and what is open already are written into.

Nothing here touches /dev/null or /dev/stdout: replacing these would break the machine that the tests run on.
"""

from __future__ import annotations

import ast
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.cli.database import write_rows
from jobs.cli.output import FORMATS
from jobs.errors import UsageError
from models.whole_files import destination, in_place_of, remove_left_behind, write_whole
from sql.named_queries import QueryResult

ROOT = Path(__file__).parents[3]
PAGE = "<html>\N{SNOWMAN}</html>"


def rows() -> QueryResult:
    return QueryResult(("product_id", "confidence"), iter([("p1", 0.5)]))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def reader(pipe: Path) -> Iterator[list[bytes]]:
    """Read all that is written into a pipe."""
    received: list[bytes] = []
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # there before the writer, which so needs not wait
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)  # room for all of it
    try:
        yield received
        received.append(os.read(descriptor, 1 << 20))
    finally:
        os.close(descriptor)


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with reader(tmp_path / "pipe") as received:
        assert write_whole(tmp_path / "pipe", PAGE) == len(PAGE.encode())
    assert received == [PAGE.encode()]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_a_device_is_written_into_and_stays_a_device(tmp_path: Path) -> None:
    terminal, other_end = os.openpty()
    link = tmp_path / "terminal"
    link.symlink_to(os.ttyname(other_end))
    write_whole(link, PAGE)
    assert os.read(terminal, 1000) == PAGE.encode()
    assert (link.is_symlink(), link.is_char_device()) == (True, True)
    os.close(terminal)
    os.close(other_end)


@pytest.mark.parametrize("form", FORMATS)
def test_a_query_is_written_into_a_pipe_in_every_form(tmp_path: Path, form: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with reader(tmp_path / "pipe") as received:
        write_rows(rows(), form, tmp_path / "pipe")
    write_rows(rows(), form, tmp_path / "file")
    assert received == [(tmp_path / "file").read_bytes()] != [b""]
    assert names(tmp_path) == ["file", "pipe"]


@pytest.mark.parametrize("links", [1, 2])
def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path, links: int) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    file = tmp_path / "there" / "page.html"
    file.write_text("old")
    before = file.stat().st_ino
    link = tmp_path / "here" / "1.html"
    link.symlink_to("../there/page.html")
    if links == 2:
        (tmp_path / "here" / "2.html").symlink_to("1.html")
    write_whole(tmp_path / "here" / f"{links}.html", PAGE)
    assert (link.is_symlink(), file.is_symlink(), file.read_text()) == (True, False, PAGE)
    assert file.stat().st_ino != before, "it is replaced in one step and not written over"
    assert names(tmp_path / "there") == ["page.html"]
    write_rows(rows(), "csv", link)
    assert (link.is_symlink(), file.read_text()) == (True, "product_id,confidence\np1,0.5\n")


def test_a_dangling_link_creates_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", PAGE)
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "file").read_text()) == (True, PAGE)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "one", PAGE)
    with pytest.raises(UsageError, match=r"one cannot be written \(Too many levels of symbolic links\)"):
        write_rows(rows(), "csv", tmp_path / "one")


@pytest.mark.parametrize("directory", ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd", "/proc/{}/fd"])
def test_an_open_descriptor_is_written_at_its_position(tmp_path: Path, directory: str) -> None:
    """As with `--output /dev/stdout >> file`: what is in the file stays, and what comes next comes behind it."""
    directory = directory.format(os.getpid())
    with (tmp_path / "log").open("wb") as log:
        log.write(b"before ")
        log.flush()
        before = os.fstat(log.fileno()).st_ino
        write_whole(Path(directory, str(log.fileno())), PAGE)
        (tmp_path / "link").symlink_to(Path(directory, str(log.fileno())))
        write_rows(rows(), "csv", tmp_path / "link")
        log.write(b"after")
    assert (tmp_path / "log").read_text() == f"before {PAGE}product_id,confidence\np1,0.5\nafter"
    assert (tmp_path / "log").stat().st_ino == before
    assert names(tmp_path) == ["link", "log"]


def test_the_standard_streams_are_always_written_into() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        assert destination(Path("/dev", name)) == number
    assert destination(Path("/dev/fd/0")) == 0
    assert destination(Path("/dev/../proc/self/../self/fd/1")) == 1


def test_a_file_that_another_process_has_open_is_not_replaced(tmp_path: Path) -> None:
    """It would be the file that is open there."""
    with (tmp_path / "log").open("wb") as log:
        log.write(b"a long line that was there before")
        log.flush()
        before, path = os.fstat(log.fileno()).st_ino, Path(f"/proc/{os.getpid()}/fd/{log.fileno()}")
        child = os.fork()
        if not child:
            write_whole(path, PAGE)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert ((tmp_path / "log").read_text(), (tmp_path / "log").stat().st_ino) == (PAGE, before)


def test_a_closed_descriptor_gives_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"/dev/fd/999 cannot be written \(Bad file descriptor\)"):
        write_rows(rows(), "csv", Path("/dev/fd/999"))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode_and_owner(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")
    if os.geteuid() == 0:
        os.chown(file, 12345, 23456)
    file.chmod(mode)
    before = file.stat()
    with in_place_of(file) as scratch:
        assert stat.S_IMODE(scratch.stat().st_mode) & ~0o600 & ~mode == 0, "nobody else may read it meanwhile"
        scratch.write_text("new")
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert file.read_text() == "new"


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "page.html", PAGE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["file", "pipe", "nothing"])
def test_a_failed_write_keeps_the_former_file(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("old")
    elif kind == "pipe":
        os.mkfifo(target)
    before = names(tmp_path)

    def fail() -> None:
        with in_place_of(target) as scratch:
            scratch.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert names(tmp_path) == before
    if kind == "file":
        assert target.read_text() == "old"


def test_two_writers_at_once_do_not_mix_their_bytes(tmp_path: Path) -> None:
    target, both = tmp_path / "page.html", threading.Barrier(2, timeout=20)

    def write(letter: str, size: int) -> None:
        with in_place_of(target) as scratch, scratch.open("w") as file:
            both.wait()
            file.write(letter * size)
            file.flush()
            both.wait()

    with ThreadPoolExecutor(2) as writers:
        list(writers.map(write, "ab", (10, 10_000)))
    assert target.read_text() in ("a" * 10, "b" * 10_000)
    assert names(tmp_path) == ["page.html"]


def test_a_file_name_of_maximal_length_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("\N{SNOWMAN}" * 83 + ".html")
    write_whole(target, PAGE)
    assert names(tmp_path) == [target.name]


def test_the_scratch_file_of_a_killed_writer_is_removed(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.npz", "old")
    for name in (".b.npz." + "0" * 32 + ".tmp", ".a.npz.tmp", ".mine.tmp"):
        (tmp_path / name).touch()
    before = names(tmp_path)
    child = os.fork()
    if not child:
        with in_place_of(tmp_path / "a.npz"):
            os._exit(0)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == len(before) + 1
    remove_left_behind(tmp_path / "a.npz")
    assert names(tmp_path) == before, "and nothing that is another's"


WRITERS = {
    "models/whole_files.py": {"replace"},
    # Directories, which are put in place as a whole too, and what only one process ever sees.
    "models/release.py": {"replace", "write_text", "write_bytes"},
    "models/fashion_mnist.py": {"replace"},
    "jobs/releases/stored.py": {"replace", "write_bytes"},
    "jobs/training/features.py": {"replace"},
    "jobs/dataset/local_copies.py": {"replace"},
    "jobs/predict/conversions.py": {"rename"},  # a whole directory
    "jobs/demo/local_nights.py": {"rename"},
    # The demo's broken images, the kernel's own files, and a page of this clone.
    "jobs/demo/shop.py": {"write_text", "write_bytes"},
    "jobs/spark/class_archive.py": {"rename"},  # Java wrote it
    "jobs/dataset/helper_process.py": {"write_text"},
    "sql/docs.py": {"write_text"},
    # SQLite itself copies a database, and sql imports nothing of models.
    "sql/schema/set_aside.py": {"rename"},
}
"""What a module may do beside writing by `models.whole_files`."""


def _calls(path: Path) -> Iterator[str]:
    """Yield what a module calls that writes or moves a file by its name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, of = node.func.attr, node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        moves = name == "replace" and (of == "os" or (len(node.args) == 1 and not node.keywords))  # a text's takes two
        writes = name in {"write_text", "write_bytes"} and of != "scratch"
        if moves or writes or name in {"rename", "renames", "mkstemp", "NamedTemporaryFile"}:
            yield name


@pytest.mark.parametrize("folder", ["dags", "jobs", "models", "sql"])
def test_whole_files_have_one_writer(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        assert set(_calls(path)) <= WRITERS.get(name, set()), f"{name} writes by itself; use models.whole_files"
