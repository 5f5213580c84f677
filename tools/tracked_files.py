"""What the checks look at when they are given no files. Called by check_secrets and check_sizes."""

from __future__ import annotations

import subprocess
from pathlib import Path


def tracked() -> list[Path]:
    """All files of the repository that are in git."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.split("\0") if name]
