"""The demo's own log file: one line per record, with the fields given as ``extra``.

Called by ``demo``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class FieldFormatter(logging.Formatter):
    """``time level logger message {fields}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback below it if there is one."""
        fields = {k: v for k, v in vars(record).items() if k not in _USUAL}
        text = super().format(record)
        head, newline, rest = text.partition("\n")
        shown = f" {json.dumps(fields, default=str)}" if fields else ""
        return f"{head}{shown}{newline}{rest}"


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send our own records from INFO, and everybody's from WARNING, to ``path``."""
    handler = logging.FileHandler(path)
    handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours, root = logging.getLogger(PACKAGE), logging.getLogger()
    level = ours.level
    ours.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(level)
        handler.close()
