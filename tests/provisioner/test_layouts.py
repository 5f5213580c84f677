"""Parts of a GPU, from the plan to the seat: claim, launch and node know the layout."""

from __future__ import annotations

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Profile
from jupyter_gpu_jit.core.requirements import CapacityPolicy, GpuShare
from jupyter_gpu_jit.ports import CLAIMS, NODES
from jupyter_gpu_jit.sim.kubelet import Habits
from jupyter_gpu_jit.sim.users import Outcome
from jupyter_gpu_jit.sim.world import World

GIB = 1 << 30


def share(memory_gib: int, *, time_sliced: bool = False, models: tuple[str, ...] = ()) -> Profile:
    return Profile(
        slug="share", display_name="Share", gpus=1, gpu_models=models,
        gpu_share=GpuShare(memory_gib=memory_gib, time_sliced=time_sliced),
        cpu_guarantee_millicpu=500, memory_guarantee_bytes=GIB,
        capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND,
    )  # fmt: skip


def claims(world: World):
    return [wire.read_claim(c) for c in world.cluster.peek(CLAIMS)]


def nodes(world: World):
    return [wire.read_node(n) for n in world.cluster.peek(NODES)]


def test_shares_land_on_one_node_with_partitioned_gpus(in_world):
    profile = share(5, models=("A100",))

    async def body(world: World):
        users = [world.hub.start(f"user{i}", profile) for i in range(20)]
        await world.hub.ready(*users)
        assert {user.outcome for user in users} == {Outcome.READY}
        assert [claim.layout for claim in claims(world)] == ["mig-1g.5gb"]
        assert [node.allocatable.gpus for node in nodes(world)] == [56]
        assert [node.labels[wire.LAYOUT_LABEL] for node in nodes(world)] == ["mig-1g.5gb"]
        late = world.hub.start("late", profile)
        await world.hub.ready(late)
        assert late.nodes == users[0].nodes
        assert len(world.cloud.ledger) == 1

    in_world(body)


def test_a_whole_gpu_is_not_given_out_on_a_divided_node(in_world, a100):
    async def body(world: World):
        parts = [world.hub.start(f"user{i}", share(5, models=("A100",))) for i in range(10)]
        await world.hub.ready(*parts)
        whole = world.hub.start("ann", a100)
        await world.hub.ready(whole)
        assert whole.nodes != parts[0].nodes
        assert sorted(claim.layout for claim in claims(world)) == ["", "mig-1g.5gb"]

    in_world(body)


def test_a_node_whose_parts_never_all_appear_is_replaced(in_world):
    async def body(world: World):
        users = [world.hub.start(f"user{i}", share(4, time_sliced=True)) for i in range(4)]
        await world.hub.ready(*users, seconds=2000)
        assert {user.outcome for user in users} == {Outcome.READY}
        assert len(world.cloud.ledger) == 2

    in_world(body, habits=lambda number: Habits(gpus=1 if number == 0 else None))


def test_a_node_that_says_too_many_gpus_gets_no_more_sessions_than_its_type_has(in_world, l4):
    async def body(world: World):
        first = world.hub.start("ann", l4)
        await world.hub.ready(first)
        second = world.hub.start("bob", l4)
        await world.hub.ready(second)
        assert first.nodes != second.nodes

    in_world(body, habits=lambda number: Habits(gpus=64))
