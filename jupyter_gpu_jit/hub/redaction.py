"""What must not reach the hub's log: whole objects, and long answers of the API server.

KubeSpawner logs a pod that was refused with all it holds, the server's token among it, and
tracebacks quote whatever the API server answered. One filter on the hub's logger shortens both.
Installed by ``setup(c)``.
"""

from __future__ import annotations

import logging
import re

MOST_CHARACTERS = 256
_LOGGER = "JupyterHub"
_WITH_WHOLE_OBJECT = frozenset({"Failed for %s", "Failed to create %s"})
_INSTEAD = "an object that is not shown, because it holds tokens: the line before names it"
_ANSWER = re.compile(
    rf"((?:HTTP response headers|HTTP response body|Message): .{{{MOST_CHARACTERS}}}).+"
)


def shortened(text: str) -> str:
    """The text with at most 256 characters of each answer of the API server in it."""
    return _ANSWER.sub(r"\1 ...", text)


class Shortening(logging.Filter):
    """Lets every record through, with what must not be read taken out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        if record.msg in _WITH_WHOLE_OBJECT:
            record.args = (_INSTEAD,)
        if _ANSWER.search(record.getMessage()):
            record.msg, record.args = shortened(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = shortened(text)
        return True


def install() -> None:
    """Put the filter on the hub's logger; more than once changes nothing."""
    logger = logging.getLogger(_LOGGER)
    if not any(isinstance(known, Shortening) for known in logger.filters):
        logger.addFilter(Shortening())
