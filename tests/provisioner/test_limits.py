"""What limits a plan, in a living world: account quotas, and sizes as nodes tell them."""

from __future__ import annotations

import copy
from dataclasses import replace

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.ports import NODES, PODS
from jupyter_gpu_jit.provisioner.state import ClusterState
from jupyter_gpu_jit.sim.users import Outcome
from jupyter_gpu_jit.sim.world import SIM_SETTINGS, World


def test_a_session_waits_while_the_accounts_quota_is_used_up(in_world, l4):
    quotas = {("g-vt", CapacityType.SPOT): 4}

    async def body(world: World):
        first, second = world.hub.start("ann", l4), world.hub.start("bob", l4)
        await world.until(lambda: Outcome.READY in (first.outcome, second.outcome))
        await world.clock.sleep(60)
        assert {first.outcome, second.outcome} != {Outcome.READY}
        assert len(world.cloud.ledger) == 1
        (waits,) = [
            wire.decode_status(pod["metadata"]["annotations"].get(wire.STATUS_ANNOTATION))
            for pod in world.cluster.peek(PODS)
            if pod["spec"].get("schedulingGates")
        ]
        assert waits is not None
        assert "quota of spot vCPUs of class g-vt has 0 left" in waits.message

    in_world(body, settings=replace(SIM_SETTINGS, vcpu_quotas=quotas))


def test_plans_count_on_what_a_node_of_a_type_said_although_it_is_gone(in_world, l4):
    async def body(world: World):
        await world.hub.ready(world.hub.start("ann", l4))
        state = ClusterState(
            world.cluster, world.cloud, world.clock, settings=SIM_SETTINGS, changed=lambda: None
        )
        world.in_background(state.run(), "state")
        await state.wait_synced()
        await state.settle()
        node = copy.deepcopy(world.cluster.peek(NODES)[0])
        node["status"]["allocatable"]["cpu"] = "3600m"
        node["metadata"]["resourceVersion"] += "0"
        state.observe(NODES, node)
        await state.settle()
        state.nodes.forget({**node, "metadata": {**node["metadata"], "resourceVersion": "9" * 9}})
        await state.settle()
        name = node["metadata"]["labels"][wire.INSTANCE_TYPE_LABEL]
        before, after = (
            {kind.name: kind.allocatable.cpu_millicpu for kind in types}
            for types in (await world.cloud.instance_types(), state.snapshot().instance_types)
        )
        assert before[name] != 3600
        assert after == {**before, name: 3600}

    in_world(body)
