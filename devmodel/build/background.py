"""A kernel that is built while something else goes on: in a process of its own, at low priority."""

import os
import subprocess
import threading
from collections.abc import Callable

from devmodel import interpreter
from devmodel.build.config import KernelConfig
from devmodel.errors import BuildFailed

NICE = "10"


class Background:
    """A build that has begun. It ends with the thread that started it, whatever becomes of that."""

    def __init__(self, config: KernelConfig, tell: Callable[[str], None]) -> None:
        """`tell` gets each line that the build says."""
        line = ["nice", "-n", NICE, *interpreter.command("devmodel.build")]
        self._process = subprocess.Popen(
            [*line, config.model_dump_json(), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._tell = tell
        self._last = "it said nothing"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until it is built. BuildFailed with its last words if it is not."""
        code = self._process.wait()
        self._reader.join()
        if code:
            raise BuildFailed(self._last)

    def stop(self) -> None:
        """End it. What was finished stays in the cache."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._last = line.strip()
                self._tell(self._last)
