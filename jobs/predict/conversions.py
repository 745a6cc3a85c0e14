"""Releases in OpenVINO's format, kept in a directory of the driver's machine; the driver converts each once.

A helper process converts, because the driver needs neither Keras nor TensorFlow otherwise. The directory may be deleted
at any time: the next run converts again. Conversions that no run has used for a month are deleted; anything else that
lies in the directory stays.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.dataset.helper_process import HelperProcess
from jobs.errors import RunFailed, UsageError
from jobs.predict.config import Computing, ConvertedFiles, PredictConfig
from models.release import Release, ReleaseError
from models.serving.converted import Converted, check_openvino, conversion_key, read_manifest, write_manifest
from models.serving.engines import ConversionRefused, EngineError
from models.whole_files import write_whole

log = logging.getLogger(__name__)

PROGRAM = "import sys; from models.serving.conversion import serve; serve(int(sys.argv[1]))"
_MANIFEST = "converted.json"
_REFUSED = "refused.txt"
_KEY = re.compile(r"[0-9a-f]{32}")
_SCRATCH = re.compile(r"\.new-[a-z0-9_]{8}")
_WHOLE = "whole"
_PATIENCE_SECONDS = 1800
_KEPT_SECONDS = 30 * 24 * 3600


def converted_files(config: PredictConfig, release: Release, *, program: str = PROGRAM) -> ConvertedFiles | None:
    """Return a release in OpenVINO's format, converted now if no run has done so; None if Keras is to compute it.

    With the engine `auto`, a release that cannot be converted is computed by Keras, and a warning says why.

    Args:
        config: Engine, precision and directories.
        release: Release that `load_release` verified in `config.release_dir`.
        program: Python code of the helper process; tests replace it.

    Raises:
        UsageError: If the engine `openvino` is demanded together with a GPU or half precision.
        RunFailed: If the engine `openvino` is demanded and cannot compute the release; set SHELFWISE_ENGINE=auto.
        ReleaseError: If the directory of the release has changed since it was loaded, or a weight in it is not a finite
            number, so that no engine can compute it.
    """
    computing = config.computing
    if not _wanted(computing):
        return None
    try:
        check_openvino()
        return _kept_or_made(config, release, program)
    except (EngineError, OSError) as error:
        if computing.engine == "openvino":
            raise RunFailed(
                f"OpenVINO was demanded and cannot compute release {release.release_id}: {error}; or set "
                "SHELFWISE_ENGINE=auto"
            ) from error
        log.warning("release %s is computed by Keras, which is slower on processors: %s", release.release_id, error)
        return None


def _wanted(computing: Computing) -> bool:
    """Return whether tasks may compute with OpenVINO."""
    demands = {"SHELFWISE_GPU": computing.gpu, "SHELFWISE_PRECISION": computing.precision == "mixed_float16"}
    others = [name for name, demanded in demands.items() if demanded]
    if computing.engine == "openvino" and others:
        raise UsageError(
            "SHELFWISE_ENGINE=openvino computes on processors, in float32 or bfloat16, and "
            f"{others[0]} demands otherwise; unset one of them"
        )
    return computing.engine != "keras" and not others


def _kept_or_made(config: PredictConfig, release: Release, program: str) -> ConvertedFiles:
    kept = config.computing.engines_dir or config.places.local_home / "engines"
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = kept / conversion_key(release)
    with suppress(FileNotFoundError):
        raise EngineError((directory / _REFUSED).read_text(encoding="utf-8", errors="replace"))
    try:
        converted = read_manifest(directory / _MANIFEST)
        converted.check(release, directory)
        os.utime(directory)
        return ConvertedFiles(converted, directory)
    except FileNotFoundError:
        # A conversion arrives with its description, so this one was deleted in part; it would be in the way of another.
        if directory.is_dir() and not (directory / _MANIFEST).exists():
            shutil.rmtree(directory, ignore_errors=True)
    except EngineError as error:
        log.warning("the release is converted again: %s", error)
        shutil.rmtree(directory, ignore_errors=True)
    log.info("release %s is converted for OpenVINO, once", release.release_id)
    _delete_unused(kept)
    with tempfile.TemporaryDirectory(dir=kept, prefix=".new-") as scratch:  # mode 0700
        made = Path(scratch, _WHOLE)
        made.mkdir(mode=0o700)
        reply = _asked(config, release, made, program)
        if isinstance(reply, Converted):
            write_manifest(reply, made / _MANIFEST)
        elif isinstance(reply, ConversionRefused):  # the same would come of it each night
            write_whole(made / _REFUSED, str(reply))
        else:
            raise reply
        with suppress(OSError):  # another driver has put its own there meanwhile
            made.rename(directory)
    if not isinstance(reply, Converted):
        raise reply
    converted = read_manifest(directory / _MANIFEST)
    converted.check(release, directory)
    return ConvertedFiles(converted, directory)


def _asked(config: PredictConfig, release: Release, target: Path, program: str) -> Any:
    """Let a helper process convert the release to a directory; return what it sends, or an error if it ends."""
    helper = HelperProcess.start(program)
    try:
        helper.pipe.send((config.release_dir, target, release))
        if helper.pipe.poll(_PATIENCE_SECONDS):
            reply = helper.pipe.recv()
            if isinstance(reply, (Converted, EngineError, ReleaseError)):
                return reply
        else:
            helper.process.kill()
    except (EOFError, OSError):
        pass
    finally:
        status = helper.end()
    return EngineError(f"the process that converted it ended by {status}; see that this machine has memory for it")


def _delete_unused(kept: Path) -> None:
    """Delete conversions that no run has used for a month, and what killed drivers have left; nothing of others."""
    for directory in kept.iterdir():
        with suppress(OSError):
            if directory.lstat().st_mtime < time.time() - _KEPT_SECONDS and _is_ours(directory):
                shutil.rmtree(directory)


def _is_ours(directory: Path) -> bool:
    """Return whether this module made a directory, by its name and by the names of all that lies in it."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    names = {each.name for each in directory.iterdir()}
    if _SCRATCH.fullmatch(directory.name):
        return names <= {_WHOLE}
    files = {f"openvino-{directory.name}{suffix}" for suffix in (".xml", ".bin")}
    return bool(_KEY.fullmatch(directory.name)) and names <= {_MANIFEST, _REFUSED, *files}
