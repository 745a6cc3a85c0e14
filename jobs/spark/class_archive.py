"""Keep Spark's classes on the disk as Java has them in memory, so that the next Java starts Spark in half the time.

Java finds the classes of Spark in some 300 files, and checks and links each of them anew in every process. Its class
data sharing (JEP 350) avoids that: a Java that ends writes the classes that it has loaded into an archive, and later
ones map that into their memory. The first Java that ends below a directory makes the archive, after the command itself
has ended. Another Java, or another installation of PySpark, makes one of its own.

Java itself refuses an archive of other files. It does not survive one that is cut short or damaged, so the size is in
the archive's name, and Java is told to verify what it reads.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_UNFINISHED = ".unfinished"
_PATIENCE_SECONDS = 600
"""Time after which an archive that is not whole will not become so: its Java was killed, or still runs."""

_OLD_SECONDS = 30 * 24 * 3600
"""Age at which archives are deleted: Java passes a damaged one over each time, so even one in use is made anew."""

_OURS = re.compile(r"spark-[0-9a-f]{16}(-\d+\.jsa|\.[0-9a-f]{12}\.unfinished)")
_OTHER_FILES = ("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH", "SPARK_CLASSPATH")
"""Environment variables that put directories in front of Spark's files; Java archives no classes then."""


def archive_options(directory: Path | None, java: str, properties: Mapping[str, str]) -> list[str]:
    """Return the options with which Java uses the archive of Spark's classes, or makes it when it ends.

    Args:
        directory: Directory of archives, made if it is missing; some 180 MB each. None keeps none.
        java: What `java -version` says.
        properties: Spark properties of the session.

    Returns:
        Options, quoted as in `spark.driver.extraJavaOptions`. None where there can be no archive: Java was installed
        without one of its own classes, other directories come before Spark's files, the directory belongs to or may be
        written by another user, or another command makes the archive.
    """
    import pyspark

    jars = Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent) / "jars"
    if directory is None or "sharing" not in java or not _only_spark(jars, properties):
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if ":" in str(directory) or not _ours_alone(directory):
            return []
        name = f"spark-{_key(java, jars)}"
        _delete_old(directory)
        archive = _archive(directory, name)
        if archive is not None:
            options = ["-XX:+VerifySharedSpaces", f"-XX:SharedArchiveFile={archive}"]
        elif any(directory.glob(f"{name}.*{_UNFINISHED}")):
            return []
        else:
            made = directory / f"{name}.{secrets.token_hex(6)}{_UNFINISHED}"
            made.touch()  # the commands that start meanwhile leave the work to this one
            options = [f"-XX:ArchiveClassesAtExit={made}"]
    except OSError:  # without it Spark starts as well
        return []
    # Java would report on standard output that an archive does not fit, or which classes it leaves out.
    return [shlex.quote(option) for option in ("-Xlog:cds*=off", *options)]


def _only_spark(jars: Path, properties: Mapping[str, str]) -> bool:
    """Return whether nothing but the files of Spark is on the class path."""
    settings = Path(jars.parent, "conf")
    return (
        not any(os.environ.get(name) for name in _OTHER_FILES)
        and "spark.driver.extraClassPath" not in properties
        and not (settings.is_dir() and any(settings.iterdir()))
    )


def _ours_alone(directory: Path) -> bool:
    """Return whether no other user can put an archive there, whose code this user would run."""
    found = directory.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _key(java: str, jars: Path) -> str:
    """Return a short hash of Java and of the files of Spark."""
    files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(jars))
    return hashlib.sha256(repr((java, str(jars), files)).encode()).hexdigest()[:16]


def _archive(directory: Path, name: str) -> Path | None:
    """Return the whole archive of a name; one that a Java has finished since is renamed. None if there is none."""
    for unfinished in directory.glob(f"{name}.*{_UNFINISHED}"):
        with suppress(FileNotFoundError):  # another process renamed it
            if is_whole(unfinished):
                unfinished.rename(directory / f"{name}-{unfinished.stat().st_size}.jsa")
            elif time.time() - unfinished.stat().st_mtime > _PATIENCE_SECONDS:
                unfinished.unlink()
    kept = None
    for archive in directory.glob(f"{name}-*.jsa"):
        if kept is None and archive.stem.endswith(f"-{archive.stat().st_size}"):
            kept = archive
        else:  # it was cut short, or two commands made one at once
            archive.unlink(missing_ok=True)
    return kept


def is_whole(unfinished: Path) -> bool:
    """Return whether Java has written all of an archive: it writes the beginning of the file last."""
    with unfinished.open("rb") as file:
        return any(file.read(4))


def _delete_old(directory: Path) -> None:
    """Delete archives that are a month old, and nothing else that lies there."""
    for archive in directory.glob("spark-*"):
        with suppress(FileNotFoundError):
            found = archive.lstat()
            is_ours = stat.S_ISREG(found.st_mode) and _OURS.fullmatch(archive.name)
            if is_ours and time.time() - found.st_mtime > _OLD_SECONDS:
                archive.unlink()
