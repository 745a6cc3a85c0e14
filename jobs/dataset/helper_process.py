"""Start a Python process that serves requests over a pipe, end it, and start it again where a request may end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 10.0


def be_killed_first() -> None:
    """Make the kernel kill this process before others where memory runs out, since it can be started again.

    Without this the kernel may choose Spark's Java, and with it all tasks of the executor.
    """
    with suppress(OSError):  # systems without /proc
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


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


@dataclass
class RestartedHelper:
    """A helper process that a request may end, and that is then started again.

    Attributes:
        program: Python code of the process, see `HelperProcess.start`.
        arguments: Further arguments of the program.
        exit_status: Signal or exit code of the last process that ended.
        running: The process; None before the first one and after each end.
    """

    program: str
    arguments: Sequence[object] = ()
    exit_status: str = ""
    running: HelperProcess | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start a process; none may be running."""
        self.running = HelperProcess.start(self.program, *self.arguments)

    def exchange(self, message: Any = None) -> Any:
        """Send a message to the running process and return its reply, or None if the process ended.

        Args:
            message: What to send; None only waits for what the process sends.
        """
        if self.running is None:
            raise ValueError("no helper process is running; start one first")
        try:
            if message is not None:
                self.running.pipe.send(message)
            return self.running.pipe.recv()
        except (EOFError, OSError):  # OSError: it ended in the middle of its reply
            self.end()
            return None

    def end(self) -> None:
        """End the process, if one is running."""
        if self.running:
            self.exit_status = self.running.end()
            self.running = None
