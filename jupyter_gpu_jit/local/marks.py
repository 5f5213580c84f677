"""Finding and ending processes by a mark in their environment.

A demo gives all it starts the variable ``GPU_JIT_DEMO``, a session ``GPU_JIT_POD`` besides: a
kernel in a session of its own, whose parent is gone, is still found. Descendants of a marked
process count too, whatever they did to their environment. Linux only. Called by the watchdog
and by ``processes``; standard library only, because the watchdog must start at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

DEMO_MARK = "GPU_JIT_DEMO"
POD_MARK = "GPU_JIT_POD"
_PROC = Path("/proc")
_EMPTY_LOOKS = 3


def marked(name: str, value: str) -> set[int]:
    """Ids of all processes that carry ``name=value``, and of their descendants.

    The calling process and its parents are never among them.
    """
    wanted = f"{name}={value}".encode()
    parents = {pid: _parent(pid) for pid in _all_pids()}
    found = {pid for pid in parents if wanted in _environ(pid)}
    return _with_descendants(found, parents) - _own_line(parents)


def _all_pids() -> Iterable[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _environ(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or somebody else's
        return []


def _stat(pid: int) -> list[bytes]:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return [b"X", b"0"]
    return text.rpartition(b")")[2].split()  # the name may hold spaces and brackets


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _with_descendants(found: set[int], parents: dict[int, int]) -> set[int]:
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found = found | more


def _own_line(parents: dict[int, int]) -> set[int]:
    line, pid = set(), os.getpid()
    while pid and pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def alive(pids: Iterable[int]) -> set[int]:
    """Those that still run; a zombie waiting for its parent does not."""
    return {pid for pid in pids if _stat(pid)[0] not in (b"Z", b"X")}


def end_all(name: str, value: str, *, grace_seconds: float) -> None:
    """SIGTERM to all marked processes, SIGKILL after the grace, until none is left.

    Blocks. Gives up 2 s after the first SIGKILL: what still lives then is in the kernel's hands.
    """
    asked: set[int] = set()
    empty_looks, kill_at, give_up_at = 0, time.monotonic() + grace_seconds, float("inf")
    # In the middle of an exec a process has no environment: one look without anybody says little.
    while empty_looks < _EMPTY_LOOKS and time.monotonic() < give_up_at:
        left = alive(marked(name, value))
        empty_looks = 0 if left else empty_looks + 1
        if time.monotonic() < kill_at:
            send(left - asked, signal.SIGTERM)
        else:
            send(left, signal.SIGKILL)
            give_up_at = min(give_up_at, time.monotonic() + 2)
        asked |= left
        time.sleep(0.02)
