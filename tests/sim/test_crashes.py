"""The provisioner is ended at every port call it makes, and nothing is lost or launched twice."""

from dataclasses import replace

import pytest

from jupyter_gpu_jit.sim.faults import (
    CrashPoint,
    Side,
    count_calls,
    enumerate_crashes,
    worth_trying,
)
from jupyter_gpu_jit.sim.invariants import Violated
from jupyter_gpu_jit.sim.scenarios import SCENARIOS
from jupyter_gpu_jit.sim.taps import Call
from jupyter_gpu_jit.sim.world import real_provisioner

ONE, THREE = SCENARIOS["one-session"], SCENARIOS["three-users-one-cancels"]


def test_the_provisioner_may_end_at_any_call():
    runs, wrong = enumerate_crashes(ONE, seed=1)
    assert runs > 100
    assert not wrong, "\n\n".join(str(crash) for crash in wrong)


def test_it_may_end_at_any_decision_while_one_of_three_gives_up():
    runs, wrong = enumerate_crashes(THREE, seed=1, only=_decides)
    assert runs > 10
    assert not wrong, "\n\n".join(str(crash) for crash in wrong)


@pytest.mark.parametrize("name", ["dry-pools", "pod-refused", "node-never-joins"])
def test_it_may_end_while_things_go_wrong(name):
    runs, wrong = enumerate_crashes(SCENARIOS[name], seed=2, only=_decides)
    assert runs > 10
    assert not wrong, "\n\n".join(str(crash) for crash in wrong)


def _decides(call):
    return call.writes and call.kind in ("gpunodeclaims", "cloud")


def test_the_quiet_run_counts_every_kind_of_call():
    end, calls = count_calls(ONE, seed=1)
    assert end.sessions == (("jupyter-alice", "stopped"),)
    assert end.instances == 1
    made = {(call.verb, call.kind) for call, _ in calls}
    assert {
        ("create", "leases"),
        ("list", "pods"),
        ("watch", "nodes"),
        ("create", "gpunodeclaims"),
        ("launch", "cloud"),
        ("patch", "pods"),
        ("terminate", "cloud"),
    } <= made


def test_looks_at_an_unchanged_world_are_tried_once():
    look, write = Call("list", "pods"), Call("patch", "pods", "a")
    watch = Call("watch", "pods")
    points = list(
        worth_trying([(look, 1), (look, 1), (look, 2), (write, 2), (write, 2), (watch, 3)])
    )
    assert [p.number for p in points] == [1, 1, 3, 3, 4, 4, 5, 5, 6]
    assert points[-1] == CrashPoint(6, Side.BEFORE)


# --- planted bugs: the enumeration must find each -------------------------------------------------


class Wrapped:
    """A cloud port between the provisioner and the real one, with one thing wrong."""

    def __init__(self, inner):
        self.inner = inner

    async def instance_types(self):
        return await self.inner.instance_types()

    async def launch(self, request):
        return await self.inner.launch(request)

    async def instances(self):
        return await self.inner.instances()

    async def terminate(self, instance_ids):
        await self.inner.terminate(instance_ids)

    async def network_nodes(self, instance_ids):
        return await self.inner.network_nodes(instance_ids)


class NoToken(Wrapped):
    """Each launch gets a token of its own: a repeated one launches again."""

    used = 0

    async def launch(self, request):
        NoToken.used += 1
        return await self.inner.launch(replace(request, client_token=f"fresh-{NoToken.used}"))


class NoTags(Wrapped):
    """Instances cannot be told to be ours."""

    async def launch(self, request):
        return await self.inner.launch(replace(request, tags={}))


class Blind(Wrapped):
    """The list of instances is always empty."""

    async def instances(self):
        return ()


def planted(wrapper):
    def make(cluster, cloud, clock, ids, settings):
        return real_provisioner(cluster, wrapper(cloud), clock, ids, settings)

    return replace(ONE, config=replace(ONE.config, make=make))


def _launches(call):
    return call.verb == "launch"


def test_a_launch_without_a_token_is_found():
    _, wrong = enumerate_crashes(planted(NoToken), seed=1, only=_launches)
    assert [crash.point.side for crash in wrong] == [Side.AFTER]
    assert "I1 no double launch: batch" in wrong[0].error


def test_a_launch_without_tags_is_found_without_any_crash():
    with pytest.raises(Violated, match="I1 no double launch"):
        count_calls(planted(NoTags), seed=1)


def test_a_cloud_that_lists_nothing_ends_no_session_and_leaves_no_instance():
    end, _ = count_calls(planted(Blind), seed=1)
    assert end.sessions == (("jupyter-alice", "stopped"),)
    assert end.instances == 1
