"""Ports that tell on their caller: every call of the provisioner passes taps that may stop it.

Used by the world (freshness of the view, invariant I9) and by the crash enumeration (which
counts calls and ends the process at one of them).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from ..core.model import InstanceType
from ..errors import GpuJitError, Unavailable
from ..ports import (
    Clock,
    Cloud,
    Cluster,
    Instance,
    Json,
    Kind,
    LaunchRequest,
    LaunchResult,
    Listing,
    Notice,
    Notices,
    WatchEvent,
)

T = TypeVar("T")
STARTED_WITHIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """A port call: method, plural of the kind (or ``cloud``) and the object's name."""

    verb: str
    kind: str
    name: str = ""

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.verb in ("create", "patch", "delete", "launch", "terminate", "settle")


class Tap(Protocol):
    """Hears of every call; may raise or never return, which the caller feels."""

    async def before(self, call: Call) -> None:
        """The call is about to be made."""
        ...

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """The call has taken effect, or failed with ``error``."""
        ...


async def _tapped(taps: Sequence[Tap], call: Call, work: Callable[[], Awaitable[T]]) -> T:
    """The call through the taps, the first one outermost: it also hears what the others raise."""
    if not taps:
        return await work()
    outer, inner = taps[0], taps[1:]
    await outer.before(call)
    try:
        result = await _tapped(inner, call, work)
    except GpuJitError as error:
        await outer.after(call, error)
        raise
    await outer.after(call, None)
    return result


class TappedCluster:
    """``ports.Cluster`` through taps."""

    def __init__(self, inner: Cluster, taps: Sequence[Tap]) -> None:
        self._inner, self._taps = inner, taps

    async def list(self, kind: Kind, **scope: str) -> Listing:
        """See ports.Cluster."""
        call = Call("list", kind.plural)
        return await _tapped(self._taps, call, lambda: self._inner.list(kind, **scope))

    async def watch(
        self, kind: Kind, *, resource_version: str, **scope: str
    ) -> AsyncIterator[WatchEvent]:
        """See ports.Cluster; its ``after`` comes when the watch ends."""
        call = Call("watch", kind.plural)
        error: GpuJitError | None = None
        met: list[Tap] = []
        try:
            for tap in self._taps:
                met.append(tap)
                await tap.before(call)
            events = self._inner.watch(kind, resource_version=resource_version, **scope)
            async with aclosing(events) as stream:  # type: ignore[type-var]
                async for event in stream:
                    yield event
        except GpuJitError as raised:
            error = raised
            raise
        finally:
            for tap in met:
                await tap.after(call, error)

    async def get(self, kind: Kind, name: str, *, namespace: str = "") -> Json:
        """See ports.Cluster."""
        call = Call("get", kind.plural, name)
        work = partial(self._inner.get, kind, name, namespace=namespace)
        return await _tapped(self._taps, call, work)

    async def create(self, kind: Kind, body: Json, **where: str) -> Json:
        """See ports.Cluster."""
        call = Call("create", kind.plural, body.get("metadata", {}).get("name", ""))
        return await _tapped(self._taps, call, lambda: self._inner.create(kind, body, **where))

    async def patch(self, kind: Kind, name: str, patch: Json, **where: str) -> Json:
        """See ports.Cluster."""
        call = Call("patch", kind.plural, name)
        return await _tapped(
            self._taps, call, lambda: self._inner.patch(kind, name, patch, **where)
        )

    async def delete(self, kind: Kind, name: str, **how: Any) -> None:
        """See ports.Cluster."""
        call = Call("delete", kind.plural, name)
        await _tapped(self._taps, call, lambda: self._inner.delete(kind, name, **how))


class TappedCloud:
    """``ports.Cloud`` through taps."""

    def __init__(self, inner: Cloud, taps: Sequence[Tap]) -> None:
        self._inner, self._taps = inner, taps

    async def instance_types(self) -> Sequence[InstanceType]:
        """See ports.Cloud."""
        return await _tapped(
            self._taps, Call("instance_types", "cloud"), self._inner.instance_types
        )

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """See ports.Cloud."""
        call = Call("launch", "cloud", request.client_token)
        return await _tapped(self._taps, call, lambda: self._inner.launch(request))

    async def instances(self) -> Sequence[Instance]:
        """See ports.Cloud."""
        return await _tapped(self._taps, Call("instances", "cloud"), self._inner.instances)

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """See ports.Cloud."""
        call = Call("terminate", "cloud", ",".join(instance_ids))
        await _tapped(self._taps, call, lambda: self._inner.terminate(instance_ids))

    async def network_nodes(self, instance_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See ports.Cloud."""
        call = Call("network_nodes", "cloud", ",".join(instance_ids))
        return await _tapped(self._taps, call, lambda: self._inner.network_nodes(instance_ids))


class TappedNotices:
    """``ports.Notices`` through taps."""

    def __init__(self, inner: Notices, taps: Sequence[Tap]) -> None:
        self._inner, self._taps = inner, taps

    async def receive(self) -> Sequence[Notice]:
        """See ports.Notices."""
        return await _tapped(self._taps, Call("receive", "notices"), self._inner.receive)

    async def settle(self, notices: Sequence[Notice]) -> None:
        """See ports.Notices."""
        call = Call("settle", "notices", ",".join(notice.instance_id for notice in notices))
        await _tapped(self._taps, call, lambda: self._inner.settle(notices))


class Away:
    """A tap: the cloud does not answer while ``down``; ``calls`` is when it was called then."""

    def __init__(self, clock: Clock) -> None:
        self.down = False
        self.calls: list[float] = []
        self._clock = clock

    async def before(self, call: Call) -> None:
        """Raises Unavailable while the cloud is down."""
        if self.down and call.kind == "cloud":
            self.calls.append(self._clock.now())
            raise Unavailable("The simulated cloud is down.", reason="CloudDown")

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """Nothing more."""


class Deleting(Protocol):
    """Judges a deletion by the view it is made on; raises when that is too old."""

    def __call__(self, what: str, *, behind_seconds: float, in_doubt: bool) -> None:
        """As ``Invariants.deleting``."""
        ...


class Freshness:
    """How old the caller's view is, for invariant I9: when it last heard, what it may not know."""

    def __init__(self, clock: Clock, deleting: Deleting) -> None:
        self._clock, self._deleting = clock, deleting
        self._open: dict[str, int] = {}
        self._heard_at: dict[str, float] = {}
        self._opened_at: dict[Call, float] = {}
        self._doubt: set[str] = set()

    async def before(self, call: Call) -> None:
        """A watch begins, or a deletion is judged. Raises Violated."""
        if call.verb == "watch":
            self._open[call.kind] = self._open.get(call.kind, 0) + 1
            self._opened_at[call] = self._clock.now()
        elif call.verb in ("delete", "terminate"):
            self._deleting(
                f"{call.kind} {call.name}",
                behind_seconds=self.behind_seconds(),
                in_doubt=bool(self._doubt),
            )

    async def after(self, call: Call, error: GpuJitError | None) -> None:
        """An answer came, or an unanswered write leaves doubt."""
        if call.verb == "watch":
            self._open[call.kind] -= 1
        if call.verb in ("watch", "list") and (error is None or self._lived(call)):
            self._heard_at[call.kind] = self._clock.now()
        if call.verb == "list" and error is None:
            self._doubt.discard(call.kind)
        if call.writes and call.kind in self._heard_at and isinstance(error, Unavailable):
            self._doubt.add(call.kind)

    def _lived(self, call: Call) -> bool:
        """Whether this is a watch that was heard before it broke, not one that never began."""
        opened_at = self._opened_at.get(call, float("inf"))
        return self._clock.now() - opened_at > STARTED_WITHIN_SECONDS

    def behind_seconds(self) -> float:
        """Age of the oldest cache; one with an open watch is of now.

        What was never watched is no cache: it is looked at afresh when it is needed.
        """
        now = self._clock.now()
        ages = [now - at for kind, at in self._heard_at.items() if self._open.get(kind) == 0]
        return max(ages, default=0.0)
