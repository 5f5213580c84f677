"""Nodes are taken back, with notices that come twice, late, in any order, or not at all."""

from dataclasses import replace
from itertools import pairwise

import pytest
from mutants import planted
from simkit import virtually

from jupyter_gpu_jit.core.interruption import DRAIN_SECONDS
from jupyter_gpu_jit.provisioner import interruption, metrics, state
from jupyter_gpu_jit.sim.faults import enumerate_crashes
from jupyter_gpu_jit.sim.invariants import Violated
from jupyter_gpu_jit.sim.notices import NoticeFaults
from jupyter_gpu_jit.sim.scenarios import (
    OUTAGE_SECONDS,
    RECOVERED_SECONDS,
    SCENARIOS,
    STORM_NODES,
)
from jupyter_gpu_jit.sim.world import play


def played(name, *, seed=1, **changes):
    """The world after a scenario, played in an altered configuration."""
    scenario = SCENARIOS[name]

    async def body(world):
        await scenario.body(world)
        return world

    config = replace(scenario.config, **changes)
    return virtually(lambda: play(body, seed=seed, config=config), seed=seed)[0]


def test_in_a_storm_everybody_has_a_place_to_go_on_and_finds_it():
    world = played("spot-storm")
    half = STORM_NODES // 2
    assert world.meter.counted(metrics.INTERRUPTIONS, kind="interruption") == half
    assert world.invariants.checked["P5 replaced in time"] > 0
    lost = [s for s in world.hub.sessions if s.outcome == "lost"]
    again = [s for s in world.hub.sessions if s.requested_at > max(x.ready_at for x in lost)]
    assert len(lost) == len(again) == half
    # One node for each who had to leave, in another pool, and it was there when they came back.
    assert len(world.cloud.ledger) == STORM_NODES + half
    taken = {_pool(world.cloud.ledger[i]) for i in world.truth.noticed}
    new = list(world.cloud.ledger.values())[STORM_NODES:]
    assert taken.isdisjoint({_pool(record) for record in new})
    assert all(session.wait_seconds < 30.0 for session in again)


def _pool(record):
    made = record.instance
    return made.instance_type, made.zone, made.capacity_type


def test_sessions_live_until_shortly_before_the_end_and_notes_are_kept_of_it():
    world = played("node-interrupted")
    lost = world.hub.sessions[0]
    (heard_at,) = world.truth.noticed.values()
    assert 120.0 - DRAIN_SECONDS - 2.0 < lost.ended_at - heard_at < 120.0
    assert "takes this node back at" in lost.message
    assert "start your server again" in lost.message


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "faults",
    [
        NoticeFaults(twice=1.0, transit_seconds=5.0),
        NoticeFaults(late=1.0, late_seconds=90.0),
        NoticeFaults(late=1.0, late_seconds=90.0, twice=1.0),
        NoticeFaults(lost=0.5),
        NoticeFaults(lost=1.0),
    ],
    ids=["twice", "late", "late and twice", "half lost", "all lost"],
)
def test_whatever_becomes_of_the_notices_nobody_is_left_without_a_way_on(faults, seed):
    world = played("node-interrupted", notices=faults, seed=seed)
    assert [s.outcome for s in world.hub.sessions] == ["lost", "stopped"]
    assert len(world.cloud.ledger) == 2


def test_a_start_goes_on_elsewhere_although_its_notice_comes_twice():
    world = played("interrupted-while-starting", notices=NoticeFaults(twice=1.0))
    assert [s.outcome for s in world.hub.sessions] == ["stopped"]
    assert len(world.cloud.ledger) == 2


def test_the_outage_of_cloud_and_queue_ends_nobody_and_is_not_stormed():
    world = played("cloud-outage")
    assert [s.outcome for s in world.hub.sessions] == ["stopped"] * 3
    began = world.cloud_away.calls[0]
    for calls in (world.cloud_away.calls, world.notices.calls):
        during = [at for at in calls if began + 5.0 <= at < began + OUTAGE_SECONDS - 20.0]
        assert len(during) > OUTAGE_SECONDS / 60
        gaps = [b - a for a, b in pairwise(during)]
        assert min(gaps) >= 1.0
    carol = world.hub.sessions[2]
    assert carol.wait_seconds < OUTAGE_SECONDS / 2 + RECOVERED_SECONDS + 100.0


def _decides(call):
    node = call.kind == "nodes" and call.verb == "patch"
    return call.writes and (node or call.kind in ("gpunodeclaims", "cloud", "notices"))


@pytest.mark.parametrize("name", ["node-interrupted", "interrupted-while-starting"])
def test_the_provisioner_may_end_at_any_decision_while_a_node_is_taken(name):
    runs, wrong = enumerate_crashes(SCENARIOS[name], seed=1, only=_decides)
    assert runs > 20
    assert not wrong, "\n\n".join(str(crash) for crash in wrong)


# --- planted bugs: each must be found -------------------------------------------------------------


def test_without_another_plan_nobody_is_replaced_in_time():
    def unasked(sessions, claims, rules, *, now):
        return list(sessions)

    with planted((state, "asked_again", unasked)), pytest.raises(Violated, match="P5"):
        played("node-interrupted")


def test_an_end_before_its_time_is_found():
    with planted((interruption, "DRAIN_SECONDS", 60.0)), pytest.raises(Violated, match="I4"):
        played("node-interrupted")


def test_a_session_that_is_not_told_is_found():
    def silent(self, session, claim):
        """Nothing is said."""

    with (
        planted((interruption.Interruption, "_tell", silent)),
        pytest.raises(Violated, match="was not told"),
    ):
        played("node-interrupted")
