"""The command ``gpu-jit``: the only place that knows every part and hands adapters to them.

Each command's module is imported when it runs, so that ``--help`` needs no client library.
Errors of ours end as one sentence and status 2; an interrupt ends quietly.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import GpuJitError
from .words import parser

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status (2 for an error that has a sentence)."""
    asked = parser().parse_args(arguments)
    try:
        return _call(asked)
    except GpuJitError as error:
        return _complain(error)
    except BaseExceptionGroup as group:
        ours = _ours(group)
        if ours is None:
            raise
        return _complain(ours)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _call(asked: argparse.Namespace) -> int:
    """The command's module is imported only now."""
    module, _, name = asked.command.partition(":")
    run = getattr(import_module(f".{module}", __name__), name)
    status: int = run(asked)
    return status


def _complain(error: GpuJitError) -> int:
    print(f"gpu-jit: {error.user_message}", file=sys.stderr)  # noqa: T201
    return 2


def _ours(group: BaseExceptionGroup[BaseException]) -> GpuJitError | None:
    """The first error in the group when all are ours."""
    _, foreign = group.split(GpuJitError)
    if foreign is not None:
        return None
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, GpuJitError) else None
