"""Units: Kubernetes quantities, money and time stamps, all as integers or floats of one unit.

CPU is integer millicpu, memory integer bytes, money integer micro-USD (per hour where the
name says so), time float seconds since the epoch. Quantity grammar:
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
Everybody who meets text with a unit uses this; whatever is wrong with it is a UserError.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import ROUND_CEILING, Context, Decimal

from ..errors import UserError
from .texts import quote

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MICRO_USD = 1_000_000

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{s: Decimal(1000) ** i for i, s in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{s: Decimal(1024) ** i for i, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_QUANTITY = re.compile(rf"({_NUMBER})(?:([eE][+-]?[0-9]{{1,3}})|([A-Za-z]{{0,2}}))")
_MONEY = re.compile(rf"{_NUMBER}(?:[eE][+-]?[0-9]{{1,2}})?")
_MOST_CHARACTERS = 64
# Our own context, because the thread's may round to fewer digits. Twice 64 digits suffice to
# hold any text taken here times any unit exactly.
_EXACT = Context(prec=160)


def parse_quantity(text: str | int | float) -> Decimal:
    """Value of a Kubernetes quantity such as ``500m``, ``1.5Gi``, ``2e3`` or ``12E`` (exa).

    Raises UserError when the text is not a quantity.
    """
    match = _QUANTITY.fullmatch(_number_text(text))
    if match is None:
        raise _bad_quantity(text)
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    if suffix not in _SUFFIXES:
        raise UserError(f"{quote(text)} has no known unit.", reason="BadQuantity")
    return _EXACT.multiply(Decimal(number), _SUFFIXES[suffix])


def _bad_quantity(text: object) -> UserError:
    return UserError(
        f"{quote(text)} is not a quantity such as 500m, 8 or 64Gi.", reason="BadQuantity"
    )


def _number_text(value: object) -> str:
    """The text of a number; empty, which matches no pattern, when it can be none."""
    match value:
        case bool():
            return ""
        case int():
            return str(value) if value.bit_length() <= 128 else ""
        case float():
            return str(value)
        case str() if len(value) <= _MOST_CHARACTERS:
            return str(value)
    return ""


def parse_cpu(text: str | int | float) -> int:
    """Millicpu, rounded up as the scheduler rounds. Raises UserError."""
    return _whole(_EXACT.multiply(parse_quantity(text), Decimal(1000)))


def parse_bytes(text: str | int | float) -> int:
    """Bytes, rounded up. Raises UserError."""
    return _whole(parse_quantity(text))


def parse_count(text: str | int | float) -> int:
    """A whole count such as GPUs or pods, rounded up. Raises UserError."""
    return _whole(parse_quantity(text))


def _whole(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def format_cpu(millicpu: int) -> str:
    """Kubernetes quantity of a CPU amount: ``8`` or ``7910m``."""
    return str(millicpu // 1000) if millicpu % 1000 == 0 else f"{millicpu}m"


def format_bytes(size_bytes: int) -> str:
    """Kubernetes quantity of a memory amount in the largest exact binary unit."""
    for unit, factor in (("Gi", GIB), ("Mi", MIB), ("Ki", KIB)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def usd_to_micro(usd: str | int | float | Decimal) -> int:
    """Integer micro-USD of a price in USD, rounded up. Raises UserError."""
    text = str(usd) if isinstance(usd, Decimal) else _number_text(usd)
    if len(text) > _MOST_CHARACTERS or not _MONEY.fullmatch(text):
        raise UserError(f"{quote(usd)} is not an amount of money.", reason="BadMoney")
    return _whole(_EXACT.multiply(Decimal(text), Decimal(MICRO_USD)))


def format_usd(micro_usd: int) -> str:
    """Money for people: two decimals, three below ten cents: ``$21.96``, ``$0.067``."""
    usd = Decimal(micro_usd) / MICRO_USD
    return f"${usd:.3f}" if micro_usd and abs(micro_usd) < MICRO_USD // 10 else f"${usd:.2f}"


def parse_time(text: str) -> float:
    """Epoch seconds of an RFC 3339 time stamp, as Kubernetes writes it. Raises UserError.

    One without an offset is refused: it would mean another moment on another machine.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UserError(
            f"{quote(text)} is not a time such as 2026-01-31T12:00:00Z.", reason="BadTime"
        )
    return moment.timestamp()


def format_time(epoch_seconds: float) -> str:
    """RFC 3339 with microseconds (the MicroTime form Kubernetes reads everywhere we write)."""
    moment = datetime.fromtimestamp(epoch_seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
