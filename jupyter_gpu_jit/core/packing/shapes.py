"""Sessions that want the same are one shape: the planner's work grows with shapes, not sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..model import Resources, SessionRequest
from ..requirements import Requirements

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
    found: list[tuple[Resources, Requirements, list[SessionRequest]]] = []
    # By size first: few requirements share one, and comparing them is quicker than hashing them.
    of_size: dict[Resources, list[int]] = {}
    for session in sessions:
        alike = of_size.setdefault(session.resources, [])
        same = next((i for i in alike if found[i][1] == session.requirements), None)
        if same is None:
            alike.append(len(found))
            found.append((session.resources, session.requirements, [session]))
        else:
            found[same][2].append(session)
    return tuple(Shape(size, needs, tuple(own)) for size, needs, own in found)


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
