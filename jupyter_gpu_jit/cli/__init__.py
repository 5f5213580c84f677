"""The command ``gpu-jit``: the only place that knows every part and hands adapters to them.

Each command's module is imported when it runs, so that ``--help`` needs no client library.
Errors of ours, and a full disk, end as one sentence and status 2; an interrupt ends quietly.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import GpuJitError
from ..local import disk
from .words import parser

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status (2 for an error that has a sentence)."""
    asked = parser().parse_args(arguments)
    try:
        return _call(asked)
    except BrokenPipeError:
        # Whoever read has seen enough (head, less); Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (GpuJitError, OSError, BaseExceptionGroup) as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"gpu-jit: {sentence}", file=sys.stderr)  # noqa: T201
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _call(asked: argparse.Namespace) -> int:
    """The command's module is imported only now."""
    # Before numpy is imported: the planner works on one thread, and those that BLAS would start
    # for its small products wait for work by burning a processor (twice the time, measured).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    module, _, name = asked.command.partition(":")
    run = getattr(import_module(f".{module}", __name__), name)
    status: int = run(asked)
    return status


def _sentence(error: BaseException) -> str | None:
    """What to say of an error of ours or of a full disk; None for any other."""
    if isinstance(error, BaseExceptionGroup):
        found = [_sentence(one) for one in error.exceptions]
        return None if None in found else found[0]
    if isinstance(error, GpuJitError):
        return error.user_message
    if isinstance(error, OSError) and error.errno in disk.ERRORS:
        return disk.FULL
    return None
