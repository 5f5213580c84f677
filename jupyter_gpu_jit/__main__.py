"""``python -m jupyter_gpu_jit``: the same as ``gpu-jit``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
