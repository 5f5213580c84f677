"""The cache of built and fetched parts, outside the work tree, shared by all checkouts of a user.

Each entry is a folder named after its version. It appears whole or not at all, and one process
at a time makes entries. Called by ``control_plane.builder`` and ``proxy``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

Report = Callable[[str], None]
Make = Callable[[Path, Path], None]
_SCRATCH = "making-"


def root() -> Path:
    """``$XDG_CACHE_HOME/gpu-jit`` or ``~/.cache/gpu-jit``, created when missing."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "gpu-jit"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def entry(name: str, make: Make, *, report: Report) -> Path:
    """The folder ``name``, made by ``make(out, scratch)`` if nobody has made it yet.

    ``make`` fills ``out``; ``scratch`` is an empty folder removed afterwards. Blocks while
    another process makes an entry. Raises what ``make`` raises, and then leaves nothing.
    """
    target = root() / name
    if target.is_dir():
        return target
    with _alone(report):
        if not target.is_dir():
            _make(target, make)
    return target


def _make(target: Path, make: Make) -> None:
    _remove_leftovers()
    room = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=root()))
    out, scratch = room / "out", room / "scratch"
    try:
        out.mkdir()
        scratch.mkdir()
        make(out, scratch)
        out.rename(target)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _remove_leftovers() -> None:
    # Of a process that was killed: whoever holds the lock knows that nobody uses them.
    for folder in root().glob(f"{_SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(report: Report) -> Iterator[None]:
    with (root() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that is building for the same cache")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
