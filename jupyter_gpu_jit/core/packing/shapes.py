"""Sessions that want the same are one shape: the planner's work grows with shapes, not sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from ..model import Resources, SessionRequest
from ..requirements import Requirements

# The fields as a tuple: it is hashed and compared without a call into Python.
_amounts = attrgetter(*(field.name for field in fields(Resources)))

Key = tuple[Resources, Requirements]
"""What makes a shape: size and requirements."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and requirements, and who has them, in the order they are to be served."""

    size: Resources
    needs: Requirements
    sessions: tuple[SessionRequest, ...]

    @property
    def key(self) -> Key:
        """What its sessions have in common."""
        return self.size, self.needs

    @property
    def cpu_only(self) -> bool:
        """Whether it asks for no GPU."""
        return self.size.gpus == 0


def in_order(sessions: Iterable[SessionRequest]) -> list[SessionRequest]:
    """The largest first, then the oldest; the uid breaks ties, so the input's order is nothing."""
    return sorted(
        sessions,
        key=lambda s: (
            -s.resources.gpus,
            -s.resources.cpu_millicpu,
            -s.resources.memory_bytes,
            s.created_at,
            s.uid,
        ),
    )


def group(sessions: Sequence[SessionRequest]) -> tuple[Shape, ...]:
    """Shapes of sessions already in order, each at the place of its first session."""
    found: list[list[SessionRequest]] = []
    # By size first: few requirements share one, and comparing them is quicker than hashing them.
    of_size: dict[object, list[list[SessionRequest]]] = {}
    for session in sessions:
        needs = session.requirements
        alike = of_size.setdefault(_amounts(session.resources), [])
        for own in alike:
            known = own[0].requirements
            if known is needs or known == needs:
                own.append(session)
                break
        else:
            alike.append([session])
            found.append(alike[-1])
    return tuple(Shape(own[0].resources, own[0].requirements, tuple(own)) for own in found)


def how_many(size: Resources, room: Resources, most: int) -> int:
    """How often ``size`` fits into ``room``, at most ``most`` times."""
    for used, free in (
        (size.gpus, room.gpus),
        (size.cpu_millicpu, room.cpu_millicpu),
        (size.memory_bytes, room.memory_bytes),
        (size.pods, room.pods),
        (size.volumes, room.volumes),
        (size.local_disk_bytes, room.local_disk_bytes),
    ):
        if used > 0:
            most = min(most, free // used)
        elif free < 0:
            return 0
    return max(most, 0)


def times(size: Resources, count: int) -> Resources:
    """``count`` times that much."""
    return Resources(
        cpu_millicpu=size.cpu_millicpu * count,
        memory_bytes=size.memory_bytes * count,
        gpus=size.gpus * count,
        pods=size.pods * count,
        volumes=size.volumes * count,
        local_disk_bytes=size.local_disk_bytes * count,
    )
