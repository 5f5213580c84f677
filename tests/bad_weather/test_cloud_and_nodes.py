"""A cloud that refuses and a node that never comes, with the real provisioner in virtual time."""

from __future__ import annotations

from itertools import pairwise

from cases import Case, covers
from simkit import virtually

from jupyter_gpu_jit.core.progress import Stage
from jupyter_gpu_jit.sim.kubelet import Habits
from jupyter_gpu_jit.sim.market import L4, TYPES
from jupyter_gpu_jit.sim.users import Outcome
from jupyter_gpu_jit.sim.world import World, WorldConfig, play

KEYS = [o.key for t in TYPES if t.gpu_model == "L4" for o in t.offerings]
SHUT_SECONDS = 600.0
ASKED_AGAIN_SECONDS = 1800.0 + 60.0  # a pool that refused again and again rests for half an hour
SOON_SECONDS = 15.0  # nobody is left without a word for longer


@covers("launch-error")
def test_a_launch_error_is_told_and_waited_out(case: Case) -> None:
    async def body(world: World) -> None:
        for key in KEYS:
            world.cloud.refuse(key, "VcpuLimitExceeded")
        alice = world.hub.start("alice", L4)
        await world.hub.reached(alice, Stage.WAITING)
        times = [alice.requested_at, *(at for at, _ in alice.shown)]
        assert max(later - earlier for earlier, later in pairwise(times)) < SOON_SECONDS
        assert alice.message == case.says()
        assert not world.cloud.ledger
        await world.clock.sleep(SHUT_SECONDS)
        assert alice.outcome is Outcome.STARTING, "it waits; it does not fail"
        for key in KEYS:
            world.cloud.refuse(key, "")
        await world.hub.ready(alice, seconds=ASKED_AGAIN_SECONDS)
        assert alice.outcome is Outcome.READY
        assert len(world.cloud.ledger) == 1
        await world.hub.stop(alice)
        await world.all_given_back()

    virtually(lambda: play(body, seed=3))


@covers("node-never-joins")
def test_a_node_that_never_joins_is_replaced(case: Case) -> None:
    config = WorldConfig(habits=lambda number: Habits(joins=number > 0))
    deadline = config.settings.registration_deadline_seconds

    async def body(world: World) -> None:
        alice = world.hub.start("alice", L4)
        await world.hub.reached(alice, Stage.BOOTING)
        assert alice.message == case.says()
        await world.hub.ready(alice, seconds=3 * deadline)
        assert alice.outcome is Outcome.READY
        shown = [stage for _, stage in alice.shown]
        again = shown.index(Stage.BOOTING) + 1
        assert shown[again:].count(Stage.BOOTING) == 1, f"told that it begins anew: {shown}"
        first, second = (record.instance for record in world.cloud.ledger.values())
        assert first.state in ("shutting-down", "terminated")
        assert alice.nodes
        assert second.state == "running"
        assert (first.instance_type, first.zone, first.capacity_type) != (
            second.instance_type,
            second.zone,
            second.capacity_type,
        ), "what did not join is not tried again at once"
        await world.hub.stop(alice)
        await world.all_given_back()

    virtually(lambda: play(body, seed=3, config=config))
