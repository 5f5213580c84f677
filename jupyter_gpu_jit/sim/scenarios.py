"""Stories that are played in a simulated world, by name: what people do, and what goes wrong.

``SCENARIOS`` is read by the tests, by the crash enumeration and by ``gpu-jit simulate``. Each
body ends with everybody gone and everything given back, or raises.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ..core.model import Offering
from ..core.progress import Stage
from ..errors import UserError
from . import loop
from .kubelet import Habits
from .market import A100, CPU, L4, T4, TYPES
from .notices import NoticeFaults
from .report import Report, report_on
from .users import Session
from .world import World, WorldConfig, play

Body = Callable[[World], Coroutine[Any, Any, None]]
PATIENCE_SECONDS = 1800.0
OUTAGE_SECONDS = 600.0
RECOVERED_SECONDS = 30.0
STORM_NODES, STORM_SECONDS = 40, 120.0


COST_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A story: ``title`` for people, ``body`` what happens, ``config`` the world it happens in.

    With faults its nodes may cost up to ``cost_tolerance`` (a share of 1) more or less.
    """

    name: str
    title: str
    body: Body
    config: WorldConfig = field(default_factory=WorldConfig)
    cost_tolerance: float = COST_TOLERANCE


async def _leave(world: World, *sessions: Session) -> None:
    """These people stop; then everything must be given back."""
    for session in sessions:
        await world.hub.stop(session)
    await world.hub.gone(*world.hub.sessions, seconds=PATIENCE_SECONDS)
    await world.all_given_back()


async def one_session(world: World) -> None:
    """Alice asks for an L4, works, and stops."""
    alice = world.hub.start("alice", L4)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, alice)


async def three_users_one_cancels(world: World) -> None:
    """Three ask for an A100 one after the other; Bob gives up while the node boots."""
    alice = world.hub.start("alice", A100)
    await world.clock.sleep(0.5)
    bob = world.hub.start("bob", A100)
    await world.clock.sleep(1.0)
    carol = world.hub.start("carol", A100)
    await world.hub.reached(bob, Stage.BOOTING, seconds=PATIENCE_SECONDS)
    await world.hub.stop(bob)
    await world.hub.ready(alice, bob, carol, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, alice, carol)


async def class_of_thirty(world: World) -> None:
    """Thirty people start within a minute, each a T4."""
    everybody = []
    for number in range(30):
        everybody.append(world.hub.start(f"student{number:02d}", T4))
        await world.clock.sleep(2.0)
    await world.hub.ready(*everybody, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, *everybody)


async def second_finds_a_seat(world: World) -> None:
    """The second and the third A100 sit down beside the first without a launch."""
    alice = world.hub.start("alice", A100)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    others = [world.hub.start(name, A100) for name in ("bob", "carol")]
    await world.hub.ready(*others, seconds=60.0)
    await world.steady()
    await _leave(world, alice, *others)


async def mixed_morning(world: World) -> None:
    """Different profiles at once, with and without GPUs."""
    wanted = (CPU, L4, A100, T4, CPU, A100, L4)
    everybody = [world.hub.start(f"user{n}", profile) for n, profile in enumerate(wanted)]
    await world.hub.ready(*everybody, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, *everybody)


async def dry_pools(world: World) -> None:
    """Spot is sold out everywhere for the cheapest L4 type; something dearer serves."""
    for offering in world.cloud.instance_type("g6.xlarge").offerings:
        world.cloud.dry(offering.key)
    await one_session(world)


async def nothing_to_sell(world: World) -> None:
    """Nothing with an L4 can be had for ten minutes; the session waits, then gets its node."""
    keys = [o.key for t in TYPES if t.gpu_model == "L4" for o in t.offerings]
    for key in keys:
        world.cloud.dry(key)
    alice = world.hub.start("alice", L4)
    await world.clock.sleep(600.0)
    for key in keys:
        world.cloud.stock(key, None)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, alice)


async def cancel_at_each_stage(world: World) -> None:
    """One after the other gives up, each at a later stage."""
    stages = (Stage.PLANNED, Stage.LAUNCHING, Stage.BOOTING, Stage.REGISTERED, Stage.INITIALISED)
    for stage in stages:
        session = world.hub.start(f"user-{stage.lower()}", L4)
        await world.hub.reached(session, stage, seconds=PATIENCE_SECONDS)
        await _leave(world, session)


async def comes_back_at_once(world: World) -> None:
    """Stops and starts again within a second, ten times, under the same pod name."""
    for _ in range(10):
        session = world.hub.start("alice", L4)
        await world.hub.ready(session, seconds=PATIENCE_SECONDS)
        await world.hub.stop(session)
        await world.hub.gone(session, seconds=60.0)
        await world.clock.sleep(0.3)
    await world.steady()
    await _leave(world)


async def instance_vanishes(world: World) -> None:
    """The cloud takes the node back without a word; the next session gets a new one."""
    alice = world.hub.start("alice", L4)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    world.reclaim(world.cloud.live()[0].id)
    await world.hub.gone(alice, seconds=600.0)
    bob = world.hub.start("bob", L4)
    await world.hub.ready(bob, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, bob)


async def api_outage(world: World) -> None:
    """The API server is away from the provisioner for ten minutes; one works, two are waiting."""
    alice = world.hub.start("alice", A100)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    bob = world.hub.start("bob", L4)
    await world.hub.reached(bob, Stage.BOOTING, seconds=PATIENCE_SECONDS)
    world.outage.down = True
    await world.clock.sleep(OUTAGE_SECONDS / 2)
    carol = world.hub.start("carol", A100)
    await world.clock.sleep(OUTAGE_SECONDS / 2)
    world.outage.down = False
    await world.hub.ready(bob, carol, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, alice, bob, carol)


async def hub_restarts(world: World) -> None:
    """The hub is away for a minute while four wait for their nodes."""
    everybody = [world.hub.start(f"user{number}", L4) for number in range(4)]
    await world.clock.sleep(20.0)
    await world.hub.restart(60.0)
    await world.hub.ready(*everybody, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, *everybody)


async def _starts_again(world: World, *lost: Session) -> list[Session]:
    """These people lost their servers with their nodes, and start them again."""
    await world.hub.gone(*lost, seconds=PATIENCE_SECONDS)
    again = [world.hub.start(each.user, each.profile) for each in lost]
    await world.hub.ready(*again, seconds=PATIENCE_SECONDS)
    return again


async def node_interrupted(world: World) -> None:
    """Alice's node is taken in two minutes; her next server starts on the node kept for her."""
    alice = world.hub.start("alice", L4)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    world.interrupt(world.cloud.live()[0].id)
    (again,) = await _starts_again(world, alice)
    await world.steady()
    await _leave(world, again)


async def interrupted_unsaid(world: World) -> None:
    """The node is taken without a notice; that it has ended is said afterwards."""
    alice = world.hub.start("alice", L4)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    world.interrupt(world.cloud.live()[0].id, noticed=False)
    (again,) = await _starts_again(world, alice)
    await world.steady()
    await _leave(world, again)


async def interrupted_while_starting(world: World) -> None:
    """A node is taken while it boots: the start goes on with another."""
    alice = world.hub.start("alice", L4)
    await world.hub.reached(alice, Stage.BOOTING, seconds=PATIENCE_SECONDS)
    world.interrupt(world.cloud.live()[0].id)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, alice)


async def spot_storm(world: World) -> None:
    """Forty nodes in two pools; one of the pools is taken back within two minutes."""
    best = min(_pools("T4", "spot"), key=lambda o: o.usd_per_hour_micro)
    world.cloud.stock(best.key, STORM_NODES // 2)
    everybody = [world.hub.start(f"user{number:02d}", T4) for number in range(STORM_NODES)]
    await world.hub.ready(*everybody, seconds=PATIENCE_SECONDS)
    taken = [i for i in world.cloud.live() if i.zone == best.zone and i.capacity_type == "spot"]
    names = {world.node_name(instance.id) for instance in taken}
    for instance in taken:
        world.interrupt(instance.id)
        await world.clock.sleep(STORM_SECONDS / len(taken))
    struck = [session for session in everybody if session.nodes[-1] in names]
    again = await _starts_again(world, *struck)
    world.cloud.stock(best.key, None)
    await world.steady()
    await _leave(world, *(s for s in everybody if s not in struck), *again)


def _pools(gpu_model: str, capacity_type: str) -> list[Offering]:
    kinds = [kind for kind in TYPES if kind.gpu_model == gpu_model]
    return [o for kind in kinds for o in kind.offerings if o.capacity_type == capacity_type]


async def cloud_outage(world: World) -> None:
    """Cloud and queue are away for ten minutes; one works, one waits for a node, one comes."""
    alice = world.hub.start("alice", A100)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    bob = world.hub.start("bob", L4)
    await world.hub.reached(bob, Stage.BOOTING, seconds=PATIENCE_SECONDS)
    world.cloud_away.down = world.notices.down = True
    await world.clock.sleep(OUTAGE_SECONDS / 2)
    carol = world.hub.start("carol", T4)
    await world.clock.sleep(OUTAGE_SECONDS / 2)
    world.cloud_away.down = False
    world.notices.restored()
    launched = len(world.cloud.ledger)
    await world.until(lambda: len(world.cloud.ledger) > launched, seconds=RECOVERED_SECONDS)
    await world.hub.ready(bob, carol, seconds=PATIENCE_SECONDS)
    await world.steady()
    await _leave(world, alice, bob, carol)


def _first(habits: Habits) -> Callable[[int], Habits]:
    """Only the first node has these habits."""
    return lambda number: habits if number == 0 else Habits()


_ALL = (
    Scenario(name="one-session", title="One session on a new node", body=one_session),
    Scenario(
        name="three-users-one-cancels",
        title="Three share an A100 node, one gives up",
        body=three_users_one_cancels,
    ),
    Scenario(name="class-of-thirty", title="Thirty starts within a minute", body=class_of_thirty),
    Scenario(
        name="second-finds-a-seat",
        title="Later sessions sit down beside the first",
        body=second_finds_a_seat,
    ),
    Scenario(name="mixed-morning", title="Different profiles at once", body=mixed_morning),
    Scenario(name="dry-pools", title="The best offerings are sold out", body=dry_pools),
    Scenario(
        name="nothing-to-sell",
        title="No capacity for ten minutes",
        body=nothing_to_sell,
        # Which offerings still count as dry when there is capacity again depends on when each was
        # last asked for, so another one may be bought: any that is not dry, whatever it costs.
        cost_tolerance=float("inf"),
    ),
    Scenario(
        name="cancel-at-each-stage", title="Cancelled at each stage", body=cancel_at_each_stage
    ),
    Scenario(name="comes-back-at-once", title="Stop and start, ten times", body=comes_back_at_once),
    Scenario(name="instance-vanishes", title="A node is taken back", body=instance_vanishes),
    Scenario(
        name="node-never-joins",
        title="The first node never joins",
        body=one_session,
        config=WorldConfig(habits=_first(Habits(joins=False))),
    ),
    Scenario(
        name="node-joins-late",
        title="The first node joins after the deadline",
        body=one_session,
        config=WorldConfig(habits=_first(Habits(join_delay_seconds=400.0))),
    ),
    Scenario(
        name="gpus-missing",
        title="The first node never reports its GPU",
        body=one_session,
        config=WorldConfig(habits=_first(Habits(gpus=0))),
    ),
    Scenario(
        name="pod-refused",
        title="The first node's kubelet refuses the pod",
        body=one_session,
        config=WorldConfig(habits=_first(Habits(admission_failures=1))),
    ),
    Scenario(
        name="ignores-sigterm",
        title="Containers ignore SIGTERM",
        body=second_finds_a_seat,
        config=WorldConfig(habits=lambda number: Habits(stubborn=True)),
    ),
    Scenario(
        name="lagging-cloud",
        title="The cloud's list is up to 30 s late",
        body=three_users_one_cancels,
        config=WorldConfig(lag_seconds=30.0),
    ),
    Scenario(
        name="api-outage",
        title="The API server is away for ten minutes",
        body=api_outage,
        config=WorldConfig(shown_within_seconds=OUTAGE_SECONDS + 60.0),
    ),
    Scenario(name="hub-restarts", title="The hub restarts while four wait", body=hub_restarts),
    Scenario(
        name="node-interrupted",
        title="A node is taken in two minutes",
        body=node_interrupted,
        config=WorldConfig(notices=NoticeFaults()),
    ),
    Scenario(
        name="interrupted-unsaid",
        title="A node is taken without a notice",
        body=interrupted_unsaid,
        config=WorldConfig(notices=NoticeFaults()),
    ),
    Scenario(
        name="interrupted-while-starting",
        title="A node is taken while it boots",
        body=interrupted_while_starting,
        config=WorldConfig(notices=NoticeFaults()),
    ),
    Scenario(
        name="spot-storm",
        title="Half of forty nodes are taken in two minutes",
        body=spot_storm,
        config=WorldConfig(notices=NoticeFaults(twice=0.2, late=0.1)),
        cost_tolerance=float("inf"),
    ),
    Scenario(
        name="cloud-outage",
        title="The cloud and its queue are away for ten minutes",
        body=cloud_outage,
        config=WorldConfig(notices=NoticeFaults()),
    ),
    Scenario(
        name="late-news",
        title="The provisioner hears of everything half a minute late",
        body=three_users_one_cancels,
        config=WorldConfig(watch_lag_seconds=30.0, shown_within_seconds=120.0),
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
"""Every scenario by name."""
LARGE = frozenset(("class-of-thirty", "spot-storm"))
"""Those that take seconds to play; the others are tried in many variations."""


def find(name: str) -> Scenario:
    """The scenario of that name. Raises UserError that lists the names."""
    if name not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise UserError(f"There is no scenario {name!r}; there are {known}.", reason="NoScenario")
    return SCENARIOS[name]


async def _told(scenario: Scenario, seed: int) -> Report:
    async def body(world: World) -> Report:
        await scenario.body(world)
        return report_on(world, name=scenario.name, seed=seed)

    _, report = await play(body, seed=seed, config=scenario.config)
    return report


def run_scenario(name: str, seed: int) -> Report:
    """Play a scenario in virtual time; ``str()`` of the result is for people.

    Raises UserError for an unknown name, Violated when an invariant does not hold.
    """
    scenario = find(name)
    return loop.run(lambda: _told(scenario, seed), seed=seed)
