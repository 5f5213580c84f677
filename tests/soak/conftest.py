"""Soak tests run only when they are asked for by path (`make soak`): they take hours."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out unless the command line names it."""
    asked = any("soak" in Path(argument).parts for argument in config.args)
    return None if asked or "soak" not in collection_path.parts else True
