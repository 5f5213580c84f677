"""No key, token or password enters the repository. Called by pre-commit.

``python tools/check_secrets.py [FILE ...]``; without files, all that git tracks. Prints file,
line and kind of each find, never the find itself, and exits with 1 if there is any. A line
that only looks like one says so: ``not-a-secret``.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracked_files import tracked

EXCUSE = "not-a-secret"
KINDS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "cloud access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "forge token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|glpat-[\w-]{20,})"),
    "package index token": re.compile(r"\bpypi-[A-Za-z0-9_-]{32,}"),
    "chat token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "signed token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "address with a password": re.compile(
        r"\b[a-z][a-z0-9+.-]*://[^\s/:@{}$'\"]+:[^\s/@{}$'\"]{6,}@"
    ),
}
# A literal that is given to something with a telling name counts when it looks drawn by chance.
_NAMED = re.compile(
    r"(?i)(?:secret|token|passw(?:or)?d|api_?key|access_?key)\w*['\"]?\s*[:=]\s*['\"]"
    r"([A-Za-z0-9+/_=.-]{20,})['\"]"
)
_CHANCE_BITS, _CHANCE_DIGITS = 3.0, 4


def finds(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and kinds of what looks like a secret."""
    for number, line in enumerate(text.splitlines(), start=1):
        if EXCUSE in line:
            continue
        for kind, pattern in KINDS.items():
            if pattern.search(line):
                yield number, kind
        if any(_is_drawn(match.group(1)) for match in _NAMED.finditer(line)):
            yield number, "literal secret"


def _is_drawn(text: str) -> bool:
    """Phrases have no digits, and fillers like ``00000000`` no variety."""
    return sum(map(str.isdigit, text)) >= _CHANCE_DIGITS and bits(text) > _CHANCE_BITS


def bits(text: str) -> float:
    """Shannon entropy of a text, in bits per character."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def main(names: Sequence[str]) -> int:
    """Check these files, or all. What is not text is passed over."""
    found = 0
    for path in [*map(Path, names)] or tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        for number, kind in finds(text):
            found += 1
            print(f"{path}:{number}: {kind}; take it out, and revoke it if it is real.")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
