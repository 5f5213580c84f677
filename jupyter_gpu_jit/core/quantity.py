"""Units: Kubernetes quantities, money and time stamps, all as integers or floats of one unit.

CPU is integer millicpu, memory integer bytes, money integer micro-USD (per hour where the
name says so), time float seconds since the epoch. Quantity grammar:
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from ..errors import UserError

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
_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)([eE][+-]?[0-9]{1,3}|[A-Za-z]{0,2})")


def parse_quantity(text: str | int | float) -> Decimal:
    """Value of a Kubernetes quantity such as ``500m``, ``1.5Gi`` or ``2e3``.

    Raises UserError when the text is not a quantity.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise UserError(f"{text!r} is not a quantity such as 500m, 8 or 64Gi.", reason="BadQuantity")
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        raise UserError(f"{text!r} is not a quantity such as 500m, 8 or 64Gi.", reason="BadQuantity")
    number, suffix = match.groups()
    try:
        if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix not in _SUFFIXES:
            return Decimal(number + suffix)
        return Decimal(number) * _SUFFIXES[suffix]
    except (KeyError, InvalidOperation):
        raise UserError(f"{text!r} has no known unit.", reason="BadQuantity") from None


def parse_cpu(text: str | int | float) -> int:
    """Millicpu, rounded up as the scheduler rounds. Raises UserError."""
    return _whole(parse_quantity(text) * 1000)


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
    try:
        value = Decimal(str(usd))
    except InvalidOperation:
        raise UserError(f"{usd!r} is not an amount of money.", reason="BadMoney") from None
    if not value.is_finite():
        raise UserError(f"{usd!r} is not an amount of money.", reason="BadMoney")
    return _whole(value * MICRO_USD)


def format_usd(micro_usd: int) -> str:
    """Money for people: two decimals, three below ten cents: ``$21.96``, ``$0.067``."""
    usd = Decimal(micro_usd) / MICRO_USD
    return f"${usd:.3f}" if micro_usd and abs(micro_usd) < MICRO_USD // 10 else f"${usd:.2f}"


def parse_time(text: str) -> float:
    """Epoch seconds of an RFC 3339 time stamp in UTC, as Kubernetes writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def format_time(epoch_seconds: float) -> str:
    """RFC 3339 with microseconds (the MicroTime form Kubernetes reads everywhere we write)."""
    moment = datetime.fromtimestamp(epoch_seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
