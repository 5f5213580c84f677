"""The last one out: ends what a demo left behind, also when the demo itself was killed.

``gpu-jit demo`` starts this module as a process of its own and keeps the write end of its
standard input. When that pipe closes, for whatever reason, every process with the demo's mark
is ended and the demo's folder is removed. Standard library only: it must be up at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ..errors import Defect
from . import marks

GRACE_SECONDS = 2.0
ON_GUARD = b"on guard\n"


class Watchdog:
    """The demo's side: ``close`` lets the watchdog clean up and waits for it.

    It is on guard when the constructor returns. Raises Defect when it does not start.
    """

    def __init__(self, demo_id: str, folder: Path) -> None:
        # Without site and without writing bytecode: what it needs is little, and a full disk
        # must neither stop it nor leave half a file that Python would believe next time.
        command = [sys.executable, "-S", "-B", "-m", __name__, demo_id, str(folder)]
        package_home = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to the terminal's group: not to us
            env={"PYTHONPATH": package_home, "PATH": os.defpath},
        )
        assert self._process.stdout is not None
        with self._process.stdout as words:
            if words.readline() != ON_GUARD:
                raise Defect("The demo's watchdog did not start; without it nothing is started.")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self, timeout_seconds: float = 2 * GRACE_SECONDS + 2) -> None:
        """Give the sign, and wait until everything is gone. Blocks."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout_seconds)


def main(demo_id: str, folder: str) -> None:
    """Wait for the end of standard input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, ON_GUARD)
    while os.read(0, 4096):
        pass
    marks.end_all(marks.DEMO_MARK, demo_id, grace_seconds=GRACE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
