"""A cloud that sells simulated instances: pools, prices, boot times, idempotency tokens, lag.

Implements ``ports.Cloud`` for the simulator (virtual time) and the demo (real time); time comes
from the Clock port only. Node agents are started and stopped by its hooks. It behaves like EC2
where a provisioner could be fooled: a token is remembered for ever, an answer may hold both
instances and failures, ``instances()`` may lag, a cancelled call may still have launched.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.layouts import units
from ..core.model import InstanceType, Offering
from ..errors import Rejected
from ..ports import Clock, Ids, Instance, LaunchFailure, LaunchRequest, LaunchResult
from .boot import BootModel, Delay, exactly
from .tasks import Tasks

__all__ = ["BootModel", "Delay", "Hooks", "Record", "SimCloud", "exactly"]

OfferingKey = tuple[str, str, str]
"""(instance type, zone, capacity type), as ``Offering.key``."""

NO_CAPACITY = "InsufficientInstanceCapacity"
UNSUPPORTED = "Unsupported"
TERMINATED_SHOWN_SECONDS = 3600.0
"""How long ``instances()`` goes on showing a terminated instance; EC2: about an hour."""
BILLED_AT_LEAST_SECONDS = 60.0

Hook = Callable[[Instance], Awaitable[None]]


async def _nothing(instance: Instance) -> None:
    """The hook of a cloud that nobody listens to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Where a node agent comes in.

    ``on_running`` is called once when an instance begins to run; ``on_ended`` once when an
    instance for which ``on_running`` was called is terminated.
    """

    on_running: Hook = _nothing
    on_ended: Hook = _nothing


@dataclass(slots=True, kw_only=True)
class Record:
    """One line of the ledger: an instance that was ever launched, and its history.

    ``history`` holds every state with the moment it began; ``ended_at`` is when billing
    stopped (shutting-down), None while it goes on.
    """

    client_token: str
    history: list[tuple[float, Instance]] = field(default_factory=list)
    ended_at: float | None = None
    ran: bool = False
    life: asyncio.Task[None] | None = None

    @property
    def instance(self) -> Instance:
        """The instance as it is now."""
        return self.history[-1][1]

    @property
    def live(self) -> bool:
        """Whether it is paid for: pending or running."""
        return self.instance.state in ("pending", "running")

    def seen_at(self, moment: float) -> Instance | None:
        """The instance as it was at ``moment``; None when it was not there yet."""
        return next((i for began, i in reversed(self.history) if began <= moment), None)

    def cost_micro_usd(self, now: float) -> int:
        """What it has cost by ``now``: per second, at least a minute."""
        began = self.history[0][0]
        until = now if self.ended_at is None else min(now, self.ended_at)
        seconds = max(until - began, BILLED_AT_LEAST_SECONDS)
        return round(seconds * self.instance.usd_per_hour_micro / 3600)


class SimCloud:
    """``ports.Cloud`` over simulated instances.

    ``tags``: ``instances()`` shows only instances that carry them (ours). Capacity is
    unlimited unless ``dry`` or ``stock`` says otherwise. Tasks are ended by ``close``.
    """

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        rng: random.Random,
        types: Sequence[InstanceType],
        *,
        boot: BootModel | None = None,
        tags: Mapping[str, str] | None = None,
        hooks: Hooks | None = None,
        lag_seconds: float = 0.0,
    ) -> None:
        self.boot = boot or BootModel.aws()
        self.hooks = hooks or Hooks()
        self.lag_seconds = lag_seconds
        self.ledger: dict[str, Record] = {}
        self.on_change: list[Callable[[Instance], None]] = []
        self._clock, self._ids, self._rng = clock, ids, rng
        self._tags = dict(tags or {})
        self._types = {t.name: t for t in types}
        self._answers: dict[str, tuple[LaunchRequest, LaunchResult]] = {}
        self._stock: dict[OfferingKey, int] = {}
        self._refusals: dict[OfferingKey, str] = {}
        self._tasks = Tasks()

    # --- the port ----------------------------------------------------------------------------

    async def instance_types(self) -> Sequence[InstanceType]:
        """All types with their offerings at prices of now."""
        await self._wait(self.boot.call)
        return tuple(self._types.values())

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """Carry out a fleet request, once per client token.

        Takes effect half-way through the call, so that a caller cancelled later has launched.
        Raises Rejected when the token was used with another request.
        """
        seconds = self.boot.launch.draw(self._rng)
        await self._clock.sleep(seconds / 2)
        answer = self._answer(request)
        await self._clock.sleep(seconds / 2)
        return answer

    async def instances(self) -> Sequence[Instance]:
        """Instances with our tags, each as it was up to ``lag_seconds`` ago."""
        await self._wait(self.boot.call)
        now = self._clock.now()
        seen = [record.seen_at(now - self._lag()) for record in self.ledger.values()]
        return tuple(i for i in seen if i is not None and self._ours(i) and self._shown(i, now))

    async def terminate(self, instance_ids: Sequence[str]) -> None:
        """End instances; unknown or ended ones are no error."""
        await self._wait(self.boot.call)
        for instance_id in instance_ids:
            self.reclaim(instance_id)

    async def network_nodes(self, instance_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """The network nodes above each running instance, widest first; without those unknown."""
        await self._wait(self.boot.call)
        asked = (self.ledger.get(instance_id) for instance_id in instance_ids)
        running = (r.instance for r in asked if r is not None and r.instance.state == "running")
        # As on EC2 only of types that are built into a network one would want to know of.
        return {i.id: _above(i) for i in running if self._types[i.instance_type].efa_interfaces}

    # --- for scenarios and tests -------------------------------------------------------------

    def dry(self, key: OfferingKey) -> None:
        """From now on the offering has no capacity."""
        self._stock[key] = 0

    def stock(self, key: OfferingKey, count: int | None) -> None:
        """The offering has capacity for ``count`` more launches; None: as many as you like."""
        if count is None:
            self._stock.pop(key, None)
        else:
            self._stock[key] = count

    def refuse(self, key: OfferingKey, code: str) -> None:
        """Every launch of the offering fails with ``code``; an empty code ends that."""
        self._refusals[key] = code

    def set_price(self, key: OfferingKey, usd_per_hour_micro: int) -> None:
        """The offering's price for launches from now on. Raises KeyError when unknown."""
        found = self._types[key[0]]
        offerings = tuple(
            replace(o, usd_per_hour_micro=usd_per_hour_micro) if o.key == key else o
            for o in found.offerings
        )
        self._types[key[0]] = replace(found, offerings=offerings)

    def reclaim(self, instance_id: str) -> None:
        """The instance begins to end now, whoever wanted it; no error when it already did."""
        record = self.ledger.get(instance_id)
        if record is None or not record.live:
            return
        record.ended_at = self._clock.now()
        self._becomes(record, "shutting-down")
        if record.life is not None and not record.ran:
            record.life.cancel()
        self._tasks.start(self._shut_down(record), f"end {instance_id}")

    def live(self) -> tuple[Instance, ...]:
        """All instances now pending or running, in order of launch, whoever owns them."""
        return tuple(record.instance for record in self.ledger.values() if record.live)

    def cost_micro_usd(self) -> int:
        """What everything launched has cost up to now."""
        now = self._clock.now()
        return sum(record.cost_micro_usd(now) for record in self.ledger.values())

    def instance_type(self, name: str) -> InstanceType:
        """The type of that name. Raises KeyError."""
        return self._types[name]

    async def close(self) -> None:
        """End all tasks; instances stay as they are. Does not call hooks."""
        await self._tasks.close()

    # --- inside ------------------------------------------------------------------------------

    async def _wait(self, delay: Delay) -> None:
        await self._clock.sleep(delay.draw(self._rng))

    def _lag(self) -> float:
        return self._rng.uniform(0.0, self.lag_seconds) if self.lag_seconds else 0.0

    def _ours(self, instance: Instance) -> bool:
        return all(instance.tags.get(key) == value for key, value in self._tags.items())

    def _shown(self, instance: Instance, now: float) -> bool:
        ended_at = self.ledger[instance.id].ended_at
        gone = instance.state == "terminated"
        return not gone or ended_at is None or now - ended_at <= TERMINATED_SHOWN_SECONDS

    def _answer(self, request: LaunchRequest) -> LaunchResult:
        """First use of a token launches, every other use repeats the answer. Never awaits."""
        known = self._answers.get(request.client_token)
        if known is not None and known[0] != request:
            raise Rejected(
                f"Client token {request.client_token} was used before with another request.",
                reason="IdempotentParameterMismatch",
            )
        if known is None:
            known = (request, self._fill(request))
            self._answers[request.client_token] = known
        return known[1]

    def _fill(self, request: LaunchRequest) -> LaunchResult:
        """Offering by offering in the order asked, until ``count`` is reached or none is left."""
        taken: list[tuple[Offering, int]] = []
        failures: list[LaunchFailure] = []
        for offering in request.offerings:
            wanted = request.count - sum(given for _, given in taken)
            if wanted <= 0:
                break
            code, given = self._take(offering, request.layout, wanted)
            taken.append((offering, given))
            if given < wanted:
                failures.append(
                    LaunchFailure(offering=offering, code=code, message=_explain(offering, code))
                )
        if sum(given for _, given in taken) < request.at_least:
            self._give_back(taken)
            taken = []
        instances = [
            self._new_instance(offering, request) for offering, given in taken for _ in range(given)
        ]
        return LaunchResult(instances=tuple(instances), failures=tuple(failures))

    def _take(self, offering: Offering, layout: str, wanted: int) -> tuple[str, int]:
        """How many of ``wanted`` the pool gives, and the code for those it does not."""
        key = offering.key
        if self._refusals.get(key):
            return self._refusals[key], 0
        sold = self._sold(key)
        if sold is None or (layout and not units(self._types[key[0]], layout)):
            return UNSUPPORTED, 0
        left = self._stock.get(key, wanted if sold.available else 0)
        given = min(left, wanted)
        if key in self._stock:
            self._stock[key] -= given
        return NO_CAPACITY, given

    def _give_back(self, taken: Sequence[tuple[Offering, int]]) -> None:
        for offering, given in taken:
            if offering.key in self._stock:
                self._stock[offering.key] += given

    def _sold(self, key: OfferingKey) -> Offering | None:
        found = self._types.get(key[0])
        return next((o for o in found.offerings if o.key == key), None) if found else None

    def _new_instance(self, offering: Offering, request: LaunchRequest) -> Instance:
        # EC2's form: 17 hexadecimal digits; hashed so that equal ids in give equal ids out.
        digest = hashlib.sha256(self._ids.new("instance").encode()).hexdigest()
        sold = self._sold(offering.key) or offering
        instance = Instance(
            id=f"i-{digest[:17]}",
            provider_id=f"aws:///{offering.zone}/i-{digest[:17]}",
            instance_type=offering.instance_type,
            zone=offering.zone,
            capacity_type=offering.capacity_type.value,
            state="pending",
            launched_at=self._clock.now(),
            usd_per_hour_micro=sold.usd_per_hour_micro,
            tags=dict(request.tags),
        )
        record = Record(client_token=request.client_token)
        record.history.append((instance.launched_at, instance))
        self.ledger[instance.id] = record
        record.life = self._tasks.start(self._boot(record), f"boot {instance.id}")
        self._tell(instance)
        return instance

    async def _boot(self, record: Record) -> None:
        await self._wait(self.boot.boot)
        record.ran = True
        await self.hooks.on_running(self._becomes(record, "running"))

    async def _shut_down(self, record: Record) -> None:
        await self._wait(self.boot.shutdown)
        instance = self._becomes(record, "terminated")
        if record.life is None or not record.ran:
            return
        # A node agent still being started is not cut off in the middle of its work.
        await asyncio.wait([record.life])
        await self.hooks.on_ended(instance)

    def _becomes(self, record: Record, state: str) -> Instance:
        instance = replace(record.instance, state=state)
        record.history.append((self._clock.now(), instance))
        self._tell(instance)
        return instance

    def _tell(self, instance: Instance) -> None:
        for listener in self.on_change:
            listener(instance)


def _above(instance: Instance) -> tuple[str, ...]:
    """Three layers of a tree of its own per zone, four branches each; which one, by its id."""
    digest = hashlib.sha256(instance.id.encode()).digest()
    branches = [str(byte % 4) for byte in digest[:3]]
    return tuple(f"nn-{instance.zone}-{'-'.join(branches[: n + 1])}" for n in range(3))


def _explain(offering: Offering, code: str) -> str:
    what = f"{offering.instance_type} ({offering.capacity_type.value}) in {offering.zone}"
    if code == NO_CAPACITY:
        return f"There is not enough {what} capacity now."
    if code == UNSUPPORTED:
        return f"{what} is not offered."
    return f"{what} was refused: {code}."
