"""Whether the demo's folder still takes files, and what is said when it does not.

Called by ``demo`` before anything is started and while it runs, and by ``cli`` for its words. A
file is really written: a quota or a limit on file sizes shows in no number of free bytes.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

FULL = "The disk is full: free some space, or set TMPDIR to a folder on another disk."
# EFBIG: a limit on the size of files, which administrators set to the same end.
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NEEDED_BYTES = 1 << 20
"""What a demo has written when its first session runs: the hub's database and the logs."""
LOOK_SECONDS = 3.0
_GLANCE_BYTES = 64 << 10


def has_room(folder: Path, size_bytes: int = NEEDED_BYTES) -> bool:
    """Whether a file of that size can be written there; it is removed again.

    Raises OSError for any trouble but a lack of room.
    """
    probe = folder / ".room"
    try:
        probe.write_bytes(bytes(size_bytes))
    except OSError as error:
        if error.errno not in ERRORS:
            raise
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


async def watch(folder: Path, say: Callable[[str], None]) -> None:
    """Say when the folder's disk gets full and when there is room again; until cancelled."""
    full = False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if has_room(folder, _GLANCE_BYTES) is full:
            full = not full
            say(f"disk: {folder} is full, starts fail" if full else f"disk: room again in {folder}")
