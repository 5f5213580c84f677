"""Words for people about input that may be hostile: quoting it, naming the nearest right one.

Used by profiles.py, choices.py, options.py and gpus.py for their UserErrors. The results are
plain text; whoever puts them on a page escapes them for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN_CHARACTERS = 40


def quote(value: object) -> str:
    """A short, printable, one-line picture of any value, for use inside a sentence."""
    match value:
        case str():
            return f'"{_printable(value)}"'
        case bool() | None:
            return {True: "true", False: "false", None: "nothing"}[value]
        case int():
            return str(value) if value.bit_length() <= 64 else "a huge number"
        case float():
            return str(value)
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return f"a {type(value).__name__}"


def _printable(text: str) -> str:
    cut = text[:_SHOWN_CHARACTERS]
    safe = ascii(cut)[1:-1].replace('"', "'")
    return f"{safe}..." if len(text) > _SHOWN_CHARACTERS else safe


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, or None."""
    if not isinstance(word, str):
        return None
    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word[:64].casefold(), by_fold, n=1, cutoff=0.5)
    return by_fold[found[0]] if found else None


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def suggest(word: object, known: Iterable[str]) -> str:
    """`did you mean "x"?` or, when nothing is near, the list of what is known."""
    names = list(known)
    near = nearest(word, names)
    return f'did you mean "{near}"?' if near else f"known here: {', '.join(names) or 'nothing'}."
