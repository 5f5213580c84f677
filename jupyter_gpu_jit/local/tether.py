"""Child processes that end with this one, however it ends.

Called by ``control_plane``. Linux only. A child gets SIGKILL when the *thread* that started it
is gone, so whoever starts one does so in a thread that stays (the event loop's, not a pool's).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# A program of its own instead of preexec_fn, which may deadlock in a process with threads. The
# parent may be gone before the wish is heard: then the child's parent is another.
_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
POLL_SECONDS = 0.02


def command(line: Sequence[str]) -> list[str]:
    """A command line that runs ``line`` (its first word a path) tied to this process."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *line]


def start(
    line: Sequence[str], *, env: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Run ``line`` tied to this process, in a process group of its own, output into ``log``.

    Raises OSError.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command(line),
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(processes: Iterable[subprocess.Popen[bytes]], *, grace_seconds: float) -> None:
    """SIGTERM to all, after the grace SIGKILL to the groups of those left.

    Blocks until all are reaped.
    """
    left = list(processes)
    for process in left:
        process.terminate()
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and any(p.poll() is None for p in left):
        time.sleep(POLL_SECONDS)
    for process in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
