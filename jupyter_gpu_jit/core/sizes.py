"""Readers of single values, shared by an admin's profiles and a user's choices.

Each takes any value, gives it in the unit of model.py, and raises UserError with one sentence.
The bounds only catch slips (4000 CPU for 4000m, 64 bytes for 64Gi); what a cloud sells decides
the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ..errors import UserError
from .quantity import GIB, MIB, parse_bytes, parse_cpu, usd_to_micro
from .requirements import CapacityPolicy
from .texts import quote, suggest

MAX_TEXT = 256
MAX_GPUS = 16
MAX_MILLICPU = 1024 * 1000
MIN_MEMORY_BYTES, MAX_MEMORY_BYTES = 16 * MIB, 32 * 1024 * GIB
MAX_HOURS = 24 * 366
MAX_RATE = 1000
MAX_USD_PER_HOUR_MICRO = 10_000 * 1_000_000

# A DNS label; without "--", which separates profile and option in KubeSpawner's form fields.
_SLUG = re.compile(r"(?=.{1,63}\Z)[a-z0-9]+(-[a-z0-9]+)*")
_ZONE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")


def bad(message: str) -> UserError:
    """The error of a value that cannot be taken."""
    return UserError(message, reason="BadValue")


def read_text(value: object, *, most: int = MAX_TEXT, lines: bool = False) -> str:
    """A text of at most ``most`` printable characters, with line breaks only if ``lines``."""
    if not isinstance(value, str):
        raise bad(f"must be a text, not {quote(value)}.")
    if len(value) > most:
        raise bad(f"must have at most {most} characters, not {len(value)}.")
    if not (value.replace("\n", "") if lines else value).isprintable():
        raise bad(f"contains characters that cannot be shown: {quote(value)}.")
    return value


def read_whole(value: object, *, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad(f"must be a whole number, not {quote(value)}.")
    if not least <= value <= most:
        raise bad(f"must be from {least} to {most}, not {quote(value)}.")
    return value


def read_number(value: object, *, most: float) -> float | int:
    """A number above 0 and at most ``most``; true, false, NaN and infinity are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
        raise bad(f"must be a number, not {quote(value)}.")
    if not 0 < value <= most:
        raise bad(f"must be above 0 and at most {most}, not {quote(value)}.")
    return value


def _finite(value: float | int) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def read_flag(value: object) -> bool:
    """True or false; nothing that only looks like it."""
    if not isinstance(value, bool):
        raise bad(f"must be true or false, not {quote(value)}.")
    return value


def read_one_of(value: object, known: Sequence[str]) -> str:
    """One of a few words; the error names the nearest."""
    if not isinstance(value, str) or value not in known:
        raise bad(f"must not be {quote(value)}; {suggest(value, known)}")
    return value


def read_slug(value: object) -> str:
    """A DNS label of lower-case letters, digits and single inner dashes, at most 63."""
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        raise bad(
            f"must be lower-case letters, digits and single inner dashes, not {quote(value)}."
        )
    return value


def read_zone(value: object) -> str:
    """The name of a zone such as us-east-1a."""
    if not isinstance(value, str) or not _ZONE.fullmatch(value):
        raise bad(f"must be a zone such as us-east-1a, not {quote(value)}.")
    return value


def read_image(value: object) -> str:
    """The name of a container image, tag or digest included."""
    text = read_text(value)
    if not _IMAGE.fullmatch(text):
        raise bad(
            f"must be an image such as quay.io/jupyter/scipy-notebook:tag, not {quote(value)}."
        )
    return text


def read_capacity(value: object) -> CapacityPolicy:
    """A capacity policy."""
    known = [policy.value for policy in CapacityPolicy]
    if not isinstance(value, str) or value not in known:
        raise bad(f"must be a capacity policy, not {quote(value)}; {suggest(value, known)}")
    return CapacityPolicy(value)


def read_gpus(value: object) -> int:
    """A count of GPUs, at least 1."""
    return read_whole(value, least=1, most=MAX_GPUS)


def read_hours(value: object) -> int:
    """Whole hours, at least 1."""
    return read_whole(value, least=1, most=MAX_HOURS)


def read_cpu(value: object) -> int:
    """Millicpu of a quantity such as 500m, 4 or 1.5."""
    millicpu = parse_cpu(_quantity(value))
    if not 1 <= millicpu <= MAX_MILLICPU:
        raise bad(f"must be from 1m to {MAX_MILLICPU // 1000} CPU, not {_hinted(value, 'm')}")
    return millicpu


def read_memory(value: object) -> int:
    """Bytes of a quantity such as 64Gi."""
    size_bytes = parse_bytes(_quantity(value))
    if not MIN_MEMORY_BYTES <= size_bytes <= MAX_MEMORY_BYTES:
        raise bad(f"must be from 16Mi to 32Ti, not {_hinted(value, 'Gi')}")
    return size_bytes


def _hinted(value: object, unit: str) -> str:
    """The end of a sentence on a number whose unit was probably forgotten."""
    text = str(value)
    forgotten = text.isdecimal() and text.isascii() and len(text) <= 4 and text.strip("0")
    return f'{quote(value)}; did you mean "{text}{unit}"?' if forgotten else f"{quote(value)}."


def _quantity(value: object) -> str | int | float:
    """What may be parsed as a quantity at all: short, and no number that only looks like one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise bad(f"must be a quantity such as 500m, 8 or 64Gi, not {quote(value)}.")
    if isinstance(value, int) and value.bit_length() > 64:
        raise bad(f"must be a quantity such as 500m, 8 or 64Gi, not {quote(value)}.")
    return read_text(value, most=32) if isinstance(value, str) else value


def read_usd_per_hour(value: object) -> int:
    """Micro-USD per hour of a price in USD, above 0."""
    number = read_number(value, most=MAX_USD_PER_HOUR_MICRO // 1_000_000)
    return usd_to_micro(number)


def read_shared_memory(value: object) -> int:
    """Bytes of /dev/shm; 0 leaves the container's own."""
    return 0 if parse_bytes(_quantity(value)) == 0 else read_memory(value)
