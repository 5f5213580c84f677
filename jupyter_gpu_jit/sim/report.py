"""What came of a scenario: waits, nodes, money, launches, checks; as values and as plain text.

Made by scenarios.py while the world's clock still runs; printed by ``gpu-jit simulate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core.quantity import format_usd
from .cloud import Record
from .users import Session
from .world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """One start: ``wait_seconds`` from request to Ready, None when it never was."""

    user: str
    profile: str
    outcome: str
    wait_seconds: float | None
    nodes: tuple[str, ...]
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLine:
    """One instance that was ever launched, how long it was paid for, and what it cost."""

    id: str
    instance_type: str
    zone: str
    capacity_type: str
    seconds: float
    cost_micro_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one run. ``checks`` is how often each invariant was asked."""

    scenario: str
    seed: int
    virtual_seconds: float
    sessions: tuple[SessionLine, ...]
    instances: tuple[InstanceLine, ...]
    checks: tuple[tuple[str, int], ...]

    @property
    def cost_micro_usd(self) -> int:
        """What all instances cost together."""
        return sum(line.cost_micro_usd for line in self.instances)

    def __str__(self) -> str:
        return "\n".join(
            (*self._head(), "", *self._table_of_sessions(), "", *self._table_of_nodes())
        )

    def _head(self) -> Iterable[str]:
        waits = [s.wait_seconds for s in self.sessions if s.wait_seconds is not None]
        yield f"scenario {self.scenario}, seed {self.seed}: {self.virtual_seconds:.0f} virtual s"
        if waits:
            middle = sorted(waits)[len(waits) // 2]
            yield f"waits: median {middle:.1f} s, longest {max(waits):.1f} s, of {len(waits)}"
        yield f"launches: {len(self.instances)}, money: {format_usd(self.cost_micro_usd)}"
        yield f"invariants: {sum(count for _, count in self.checks)} checks, none violated"

    def _table_of_sessions(self) -> list[str]:
        rows = [("user", "profile", "outcome", "wait s", "node", "stages")]
        for line in self.sessions:
            wait = "-" if line.wait_seconds is None else f"{line.wait_seconds:.1f}"
            node = " ".join(line.nodes) or "-"
            rows.append(
                (line.user, line.profile, line.outcome, wait, node, " > ".join(line.stages))
            )
        return _aligned(rows)

    def _table_of_nodes(self) -> list[str]:
        rows = [("instance", "type", "zone", "capacity", "paid s", "cost")]
        rows += [
            (
                line.id,
                line.instance_type,
                line.zone,
                line.capacity_type,
                f"{line.seconds:.0f}",
                format_usd(line.cost_micro_usd),
            )
            for line in self.instances
        ]
        return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return [line.rstrip() for line in lines]


def report_on(world: World, *, name: str, seed: int) -> Report:
    """The report of a world as it is now; call it while its loop runs."""
    now = world.clock.now()
    return Report(
        scenario=name,
        seed=seed,
        virtual_seconds=now - world.started_at,
        sessions=tuple(_session_line(session) for session in world.hub.sessions),
        instances=tuple(_instance_line(record, now) for record in world.cloud.ledger.values()),
        checks=tuple(sorted(world.invariants.checked.items())),
    )


def _session_line(session: Session) -> SessionLine:
    return SessionLine(
        user=session.user,
        profile=session.profile.slug,
        outcome=session.outcome.value,
        wait_seconds=session.wait_seconds,
        nodes=tuple(session.nodes),
        stages=tuple(stage for _, stage in session.shown),
    )


def _instance_line(record: Record, now: float) -> InstanceLine:
    instance = record.instance
    until = now if record.ended_at is None else record.ended_at
    return InstanceLine(
        id=instance.id,
        instance_type=instance.instance_type,
        zone=instance.zone,
        capacity_type=instance.capacity_type,
        seconds=until - instance.launched_at,
        cost_micro_usd=record.cost_micro_usd(now),
    )
