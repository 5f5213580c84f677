"""The one table of what a user may vary in a profile, and within what.

Each row says how a field is read, what the profile itself has, and how a chosen value is put
into the profile. profiles.py reads the admin's rules with it; options.py makes form, JSON
schema and validation from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError
from .model import Profile
from .quantity import GIB, format_bytes, format_cpu
from .requirements import CapacityPolicy
from .sizes import (
    read_capacity,
    read_cpu,
    read_gpus,
    read_hours,
    read_image,
    read_memory,
    read_zone,
)
from .texts import quote

Value = str | int
MAX_CHOICES = 50


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value out of a list, given in the order of the form."""

    values: tuple[Value, ...]

    def accepts(self, value: Value) -> bool:
        """Whether a user may choose it."""
        return value in self.values

    def __str__(self) -> str:
        return f"one of {', '.join(str(v) for v in self.values)}"


@dataclass(frozen=True, slots=True)
class Between:
    """A whole number from ``minimum`` to ``maximum``, both included."""

    minimum: int
    maximum: int

    def accepts(self, value: Value) -> bool:
        """Whether a user may choose it."""
        return isinstance(value, int) and self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that the admin's pattern matches from its first to its last character.

    ``values`` are allowed besides, and offered by the form.
    """

    pattern: str
    values: tuple[Value, ...] = ()

    def accepts(self, value: Value) -> bool:
        """Whether a user may choose it."""
        return value in self.values or re.fullmatch(self.pattern, str(value)) is not None

    def __str__(self) -> str:
        listed = f" or one of {', '.join(str(v) for v in self.values)}" if self.values else ""
        return f"a text that matches {self.pattern} as a whole{listed}"


Rule = OneOf | Between | Matching


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosable:
    """A field a user may vary. ``read`` raises UserError and gives the canonical value.

    ``own`` is the profile's value, None when it has none of its own; ``rule`` says how the
    admin writes the bounds: ``list``, ``range`` or ``pattern`` (which may hold a list).
    ``open_label`` tells the user what not choosing means when there is no own value;
    ``describe`` is a value for people.
    """

    name: str
    label: str
    rule: str
    read: Callable[[object], Value]
    own: Callable[[Profile], Value | None]
    apply: Callable[[Profile, Any], Profile]
    open_label: str = ""
    describe: Callable[[Value], str] = str


def _own_zone(profile: Profile) -> str | None:
    return profile.zones[0] if len(profile.zones) == 1 else None


def _own_hours(profile: Profile) -> int | None:
    return None if profile.max_seconds is None else profile.max_seconds // 3600


def _with_cpu(profile: Profile, quantity: str) -> Profile:
    """The guarantee as chosen; the limit never below it."""
    chosen = int(read_cpu(quantity))
    limit = profile.cpu_limit_millicpu
    return replace(
        profile,
        cpu_guarantee_millicpu=chosen,
        cpu_limit_millicpu=None if limit is None else max(limit, chosen),
    )


def _with_memory(profile: Profile, quantity: str) -> Profile:
    """The guarantee as chosen; the limit never below it."""
    chosen = int(read_memory(quantity))
    limit = profile.memory_limit_bytes
    return replace(
        profile,
        memory_guarantee_bytes=chosen,
        memory_limit_bytes=None if limit is None else max(limit, chosen),
    )


_CAPACITY_LABELS: Mapping[Value, str] = {
    CapacityPolicy.SPOT: "Spot: cheapest, may be interrupted, waits when there is none",
    CapacityPolicy.SPOT_THEN_ON_DEMAND: "Spot, and on-demand when there is none",
    CapacityPolicy.ON_DEMAND: "On-demand: never interrupted, full price",
}

CHOOSABLE: Mapping[str, Choosable] = {
    row.name: row
    for row in (
        Choosable(
            name="gpus",
            label="GPUs",
            rule="list",
            read=read_gpus,
            own=lambda p: p.gpus,
            apply=lambda p, v: replace(p, gpus=v),
        ),
        Choosable(
            name="cpu",
            label="CPU",
            rule="list",
            read=lambda v: format_cpu(read_cpu(v)),
            own=lambda p: format_cpu(p.cpu_guarantee_millicpu),
            apply=_with_cpu,
            describe=lambda v: f"{read_cpu(v) / 1000:g} CPU",
        ),
        Choosable(
            name="memory",
            label="Memory",
            rule="list",
            read=lambda v: format_bytes(read_memory(v)),
            own=lambda p: format_bytes(p.memory_guarantee_bytes),
            apply=_with_memory,
            describe=lambda v: f"{read_memory(v) / GIB:.4g} GiB",
        ),
        Choosable(
            name="capacity",
            label="Capacity",
            rule="list",
            read=read_capacity,
            own=lambda p: p.capacity,
            apply=lambda p, v: replace(p, capacity=v),
            describe=lambda v: _CAPACITY_LABELS[v],
        ),
        Choosable(
            name="zone",
            label="Zone",
            rule="list",
            read=read_zone,
            own=_own_zone,
            apply=lambda p, v: replace(p, zones=(v,)),
            open_label="any zone",
        ),
        Choosable(
            name="hours",
            label="Most hours",
            rule="range",
            read=read_hours,
            own=_own_hours,
            apply=lambda p, v: replace(p, max_seconds=v * 3600),
        ),
        Choosable(
            name="image",
            label="Image",
            rule="pattern",
            read=read_image,
            own=lambda p: p.image,
            apply=lambda p, v: replace(p, image=v),
            open_label="the usual image",
        ),
    )
}


def apply_choice(profile: Profile, name: str, value: object) -> tuple[Profile, Value]:
    """The profile with one field as chosen, and the canonical value.

    ``name`` must be a choice of the profile. Raises UserError when the value is not allowed.
    """
    row, rule = CHOOSABLE[name], profile.choices[name]
    try:
        canonical = row.read(value)
    except UserError as error:
        raise UserError(f'The choice "{name}": {error.user_message}', reason="BadChoice") from None
    if not rule.accepts(canonical):
        raise UserError(
            f'The choice "{name}" must be {rule}, not {quote(value)}.', reason="BadChoice"
        )
    return row.apply(profile, canonical), canonical
