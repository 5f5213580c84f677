"""A whole world in one process: cluster, cloud, nodes, scheduler, users, and the real provisioner.

Tests and ``gpu-jit simulate`` play scenarios in it, in virtual time, with every invariant
checked after every change. The provisioner may be ended and started anew at any moment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from ..core import wire
from ..core.model import InstanceType
from ..errors import Defect
from ..ports import EVENTS, LEASES, Clock, Cloud, Cluster, Ids, Instance, Notice, NoticeKind
from ..provisioner.runtime import Provisioner, Settings
from .binder import Binder
from .boot import BootModel
from .cloud import Hooks, SimCloud
from .cluster import Change, MemoryCluster
from .invariants import LEAK_SECONDS, Invariants, Violated
from .keepers import PodGc, node_lost
from .kubelet import Habits, Kubelet, NodeSpec, PodTimes
from .line import Line, Outage, WatchMishap
from .loop import CountingIds, LoopClock
from .market import TYPES, ZONES
from .meter import Recorder
from .notices import NOTICE_SECONDS, NoticeFaults, SimNotices
from .taps import Away, Freshness, Tap, TappedCloud, TappedCluster, TappedNotices
from .tasks import Tasks
from .truth import Truth
from .users import Hub
from .volumes import VolumeMaker

T = TypeVar("T")
TICK_SECONDS = 1.0

SIM_SETTINGS = Settings(
    cluster_id="sim",
    hub_id="sim",
    empty_grace_seconds=60.0,
    registration_deadline_seconds=300.0,
    initialisation_deadline_seconds=180.0,
)


class Runs(Protocol):
    """What the world needs of a provisioner."""

    async def run(self) -> None:
        """Until cancelled."""
        ...


MakeProvisioner = Callable[..., Runs]
"""Called with cluster, cloud, clock, ids, settings; in a world with notices also ``notices``
and ``meter``."""


def real_provisioner(
    cluster: Cluster, cloud: Cloud, clock: Clock, ids: Ids, settings: Settings, **beside: Any
) -> Runs:
    """The product's own; tests may put a planted bug in its place."""
    return Provisioner(cluster, cloud, clock, ids=ids, settings=settings, **beside)


def fine_weather(clock: Clock, rng: random.Random) -> Sequence[Tap]:
    """Nothing between the provisioner and its ports."""
    return ()


def behave(number: int) -> Habits:
    """All nodes are good ones."""
    return Habits()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """What a world is made of.

    ``habits`` gives the n-th launched node (from 0) its habits; ``weather`` makes the taps
    that each new provisioner has to live with; ``shown_within_seconds`` is how soon people
    must see a new stage (I11), more only where answers are lost; ``watch_lag_seconds`` is how
    late the provisioner hears of every change. With ``notices`` the cloud tells of what it does
    to instances, and those faults befall what it tells.
    """

    types: tuple[InstanceType, ...] = TYPES
    boot: BootModel = field(default_factory=BootModel.aws)
    times: PodTimes = field(default_factory=PodTimes)
    settings: Settings = SIM_SETTINGS
    habits: Callable[[int], Habits] = behave
    lag_seconds: float = 0.0
    shown_within_seconds: float = 5.0
    watch_lag_seconds: float = 0.0
    weather: Callable[[Clock, random.Random], Sequence[Tap]] = fine_weather
    make: MakeProvisioner = real_provisioner
    notices: NoticeFaults | None = None


class World:
    """Everything together; made and closed by ``play``."""

    def __init__(self, config: WorldConfig, *, seed: int) -> None:
        self.config = config
        self.clock = LoopClock()
        self.started_at = self.clock.now()
        self.ids = CountingIds()
        self.cluster = MemoryCluster(self.clock, self.ids, seed=seed)
        self.cloud = self._make_cloud(seed)
        self.hub = Hub(self.cluster, self.clock, namespace=config.settings.namespace)
        self.maker = VolumeMaker(self.cluster, self.clock, zone=ZONES[0])
        self.truth = Truth(
            self.clock,
            {kind.name: kind for kind in config.types},
            shown_within_seconds=config.shown_within_seconds,
        )
        self.invariants = Invariants(self.truth)
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rng = random.Random(f"{seed}-kubelets")
        self._kubelets: dict[str, tuple[Kubelet, asyncio.Task[None]]] = {}
        self.outage = Outage()
        self.cloud_away = Away(self.clock)
        self.meter = Recorder()
        self.notices = SimNotices(
            self.clock,
            random.Random(f"{seed}-notices"),
            config.notices or NoticeFaults(),
            on_delivery=self._notice_delivered,
        )
        self.steady_instances = self.steady_usd_per_hour_micro = self.changes = 0
        self._launched = self._incarnation = 0
        self._provisioner: asyncio.Task[None] | None = None
        self._tasks = Tasks()

    def _make_cloud(self, seed: int) -> SimCloud:
        settings = self.config.settings
        return SimCloud(
            self.clock,
            self.ids,
            random.Random(f"{seed}-cloud"),
            self.config.types,
            boot=self.config.boot,
            tags={wire.CLUSTER_TAG: settings.cluster_id, wire.HUB_TAG: settings.hub_id},
            hooks=Hooks(on_running=self._node_runs, on_ended=self._node_ended),
            lag_seconds=self.config.lag_seconds,
        )

    # --- the world's own life ----------------------------------------------------------------

    def start(self) -> None:
        """Begin; the provisioner is started apart."""
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
        self.cluster.on_change.append(self._cluster_changed)
        self.cloud.on_change.append(self._instance_changed)
        if self.config.notices is not None:
            self.cloud.on_change.append(self.notices.instance_changed)
        self._tasks.start(Binder(self.cluster, self.clock).run(), "binder")
        self._tasks.start(PodGc(self.cluster, self.clock).run(), "podgc")
        self._tasks.start(self.maker.run(), "volumes")
        self._tasks.start(self.hub.run(), "hub")
        self._tasks.start(self._tick(), "ticker")

    async def close(self) -> None:
        """End all tasks. Raises Defect when the provisioner cannot be ended."""
        try:
            await self.crash()
        finally:
            await self.hub.close()
            await self.cloud.close()
            await self._tasks.close()

    def fail(self, error: BaseException) -> None:
        """The run is over; the first failure is the one that is reported."""
        if not self.failure.done():
            self.failure.set_exception(error)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.fail(context.get("exception") or Defect(context["message"]))

    def _cluster_changed(self, change: Change) -> None:
        if change.kind not in (LEASES, EVENTS):
            self.changes += 1
        self._judged(lambda: self.invariants.cluster_changed(change))

    def _instance_changed(self, instance: Instance) -> None:
        self.changes += 1
        self._judged(lambda: self.invariants.instance_changed(instance))

    def _notice_delivered(self, notice: Notice) -> None:
        if notice.kind is NoticeKind.INTERRUPTION:
            self.truth.noticed.setdefault(notice.instance_id, self.clock.now())

    def _judged(self, judge: Callable[[], None]) -> None:
        # Raised in the writer too, but that may be a task which swallows it.
        try:
            judge()
        except Violated as violated:
            self.fail(violated)
            raise

    def _deleting(self, what: str, *, behind_seconds: float, in_doubt: bool) -> None:
        def judge() -> None:
            self.invariants.deleting(what, behind_seconds=behind_seconds, in_doubt=in_doubt)

        self._judged(judge)

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_SECONDS)
            self._judged(self.invariants.tick)

    # --- the provisioner ---------------------------------------------------------------------

    def start_provisioner(
        self,
        *taps: Tap,
        watch_mishap: WatchMishap | None = None,
        first_lists_at: int | None = None,
    ) -> Line:
        """A new process with an empty memory and an identity of its own; its line to the API."""
        self._incarnation += 1
        weather = self.config.weather(self.clock, random.Random(self._rng.getrandbits(64)))
        every = (Freshness(self.clock, self._deleting), *taps, *weather, self.cloud_away)
        line = Line(
            cluster=self.cluster,
            clock=self.clock,
            outage=self.outage,
            mishap=watch_mishap,
            first_lists_at=first_lists_at,
            lag_seconds=self.config.watch_lag_seconds,
        )
        cluster = TappedCluster(line, every)
        cloud = TappedCloud(self.cloud, every)
        identity = f"provisioner-{self._incarnation}"
        settings = replace(self.config.settings, identity=identity)
        beside: dict[str, Any] = {}
        if self.config.notices is not None:
            beside = {"notices": TappedNotices(self.notices, every), "meter": self.meter}
        made = self.config.make(cluster, cloud, self.clock, self.ids, settings, **beside)
        self.truth.acting_since = self.clock.now()
        self.truth.note(f"{identity} starts")
        self._provisioner = self._tasks.start(self._run(made), identity)
        return line

    async def _run(self, provisioner: Runs) -> None:
        await provisioner.run()
        raise Defect("The provisioner ended by itself.")

    async def crash(self) -> None:
        """End the provisioner; nothing it held in memory is kept.

        Raises Defect when it had to be asked twice: a process that overhears its cancellation
        would hang at every SIGTERM.
        """
        task, self._provisioner = self._provisioner, None
        self.truth.acting_since = None
        if task is None:
            return
        self.truth.note("the provisioner ends")
        for attempt in range(5):
            task.cancel()
            await asyncio.wait([task], timeout=TICK_SECONDS)
            if task.done() and attempt > 0:
                raise Defect("The provisioner overheard its cancellation.", reason="Overheard")
            if task.done():
                return
        raise Defect("The provisioner cannot be cancelled.", reason="Overheard")

    # --- nodes -------------------------------------------------------------------------------

    async def _node_runs(self, instance: Instance) -> None:
        spec = NodeSpec(
            instance=instance,
            instance_type=self.cloud.instance_type(instance.instance_type),
            boot=self.config.boot,
            times=self.config.times,
            habits=self.config.habits(self._launched),
        )
        self._launched += 1
        if spec.habits.faulty:
            self.truth.excuse(instance.id)
        rng = random.Random(self._rng.getrandbits(64))
        kubelet = Kubelet(self.cluster, self.clock, self.ids, rng, spec=spec)
        task = self._tasks.start(kubelet.run(), f"kubelet {spec.name}")
        self._kubelets[instance.id] = (kubelet, task)

    async def _node_ended(self, instance: Instance) -> None:
        kubelet, task = self._kubelets.pop(instance.id)
        task.cancel()
        name = kubelet.spec.name
        self._tasks.start(node_lost(self.cluster, self.clock, name), f"node lost {name}")

    def node_name(self, instance_id: str) -> str:
        """Name of the node of an instance that runs. Raises KeyError."""
        return self._kubelets[instance_id][0].spec.name

    def in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something beside the scenario, ended with the world."""
        self._tasks.start(work, name)

    # --- what scenarios wait for and do ------------------------------------------------------

    async def until(self, condition: Callable[[], bool], *, seconds: float = 3600.0) -> None:
        """Wait for anything in the world, looked at each tick. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():
                await self.clock.sleep(TICK_SECONDS)

    async def steady(self) -> None:
        """Wait until whatever a fault left must be gone, then note what runs and what it costs."""
        await self.clock.sleep(LEAK_SECONDS)
        live = self.cloud.live()
        self.steady_instances = len(live)
        self.steady_usd_per_hour_micro = sum(i.usd_per_hour_micro for i in live)

    async def all_given_back(self, *, seconds: float = 1200.0) -> None:
        """Wait until no instance, claim, node or pod is left. Raises Violated when some stay."""
        try:
            await self.until(self._empty, seconds=seconds)
        except TimeoutError:
            self.invariants.finish()
        self.invariants.finish()

    def _empty(self) -> bool:
        truth = self.truth
        return not (self.cloud.live() or truth.claims or truth.nodes or truth.pods)

    def interrupt(self, instance_id: str, *, noticed: bool = True) -> None:
        """The cloud takes an instance back in two minutes and says so, unless it forgets to."""
        self.truth.excuse(instance_id)
        self.truth.note(f"instance {instance_id} is interrupted")
        if noticed:
            kind = NoticeKind.INTERRUPTION
            self.notices.say_of(kind, instance_id, in_seconds=NOTICE_SECONDS)
        self.in_background(self._taken_in_time(instance_id), f"take {instance_id}")

    async def _taken_in_time(self, instance_id: str) -> None:
        await self.clock.sleep(NOTICE_SECONDS)
        self.cloud.reclaim(instance_id)

    def reclaim(self, instance_id: str) -> None:
        """The cloud takes an instance back; nobody is to blame for what follows."""
        self.truth.excuse(instance_id)
        self.cloud.reclaim(instance_id)


async def play(
    body: Callable[[World], Coroutine[Any, Any, T]],
    *,
    seed: int,
    config: WorldConfig | None = None,
    provisioner: bool = True,
) -> tuple[World, T]:
    """Run a scenario's body in a new world on the running loop, a provisioner included or not.

    Raises Violated, or whatever failed first anywhere in the world.
    """
    world = World(config or WorldConfig(), seed=seed)
    world.start()
    if provisioner:
        world.start_provisioner()
    main = asyncio.get_running_loop().create_task(body(world), name="scenario")
    try:
        waiting: set[Awaitable[Any]] = {main, world.failure}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
        if world.failure.done():
            world.failure.result()
        return world, await main
    finally:
        main.cancel()
        await asyncio.wait([main])
        await world.close()
