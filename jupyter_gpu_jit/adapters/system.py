"""The machine's own clock and randomness behind ``ports.Clock`` and ``ports.Ids``."""

from __future__ import annotations

import asyncio
import secrets
import time

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 10
_PREFIX_LIMIT = 63 - _SUFFIX_LENGTH - 1


class SystemClock:
    """The wall clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)


class RandomIds:
    """Names with 47 random bits: no vowels, nothing that reads like a word."""

    def new(self, prefix: str) -> str:
        """``prefix``, cut to fit a DNS label, a dash and ten random characters."""
        suffix = "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX_LENGTH))
        return f"{prefix[:_PREFIX_LIMIT].rstrip('-')}-{suffix}"
