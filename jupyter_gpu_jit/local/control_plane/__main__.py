"""``python -m jupyter_gpu_jit.local.control_plane``: build the programs now, saying what is done.

``make test`` calls it, so that a first build is seen and is not part of any test.
"""

from __future__ import annotations

import sys

from ...errors import GpuJitError
from .builder import build


def main() -> int:
    """Build what is not there; 2 and a sentence when that fails."""
    try:
        build(lambda line: print(f"control plane: {line}", flush=True))  # noqa: T201
    except GpuJitError as error:
        print(error.user_message, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
