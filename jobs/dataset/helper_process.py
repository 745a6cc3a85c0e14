"""Start a Python process that serves requests over a pipe, and end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class HelperProcess:
    """A running helper process.

    Attributes:
        process: The process.
        pipe: This process's end of the pipe; the helper ends when it is closed.
    """

    process: subprocess.Popen[bytes]
    pipe: Connection

    @classmethod
    def start(cls, program: str, *arguments: object, files: Sequence[int] = ()) -> HelperProcess:
        """Start a helper.

        Args:
            program: Python code; `sys.argv[1]` is the file descriptor of its end of the pipe.
            arguments: Further arguments of the program.
            files: File descriptors that the helper inherits under the same numbers.
        """
        ours, theirs = Pipe()
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)  # includes the code that Spark sent
        words = [str(theirs.fileno()), *map(str, arguments)]
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-c", program, *words],
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno(), *files],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        return cls(process, ours)

    def end(self) -> str:
        """Close the pipe, wait until the process ends, kill it if it does not, and return its signal or exit code."""
        self.pipe.close()
        try:
            code = self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
