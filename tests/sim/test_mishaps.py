"""Every kind of fault at every kind of call, alone: the end is that of the fault-free run (I14)."""

from dataclasses import replace

import pytest
from simkit import virtually

from jupyter_gpu_jit.errors import Conflict, Expired, GpuJitError, Unavailable
from jupyter_gpu_jit.ports import NODES
from jupyter_gpu_jit.provisioner.leader import Leader
from jupyter_gpu_jit.sim.faults import EndState
from jupyter_gpu_jit.sim.line import Line, WatchFault, WatchMishap
from jupyter_gpu_jit.sim.mishaps import (
    CallMishap,
    Fault,
    MishapTap,
    OldView,
    faults_of,
    mishaps,
    quiet_run,
    sample,
    try_all,
)
from jupyter_gpu_jit.sim.scenarios import SCENARIOS
from jupyter_gpu_jit.sim.taps import Call
from jupyter_gpu_jit.sim.world import play

# How many classes (verb, kind, stage, fault), and how many points beside: `make soak` does all.
SAMPLES = {
    "one-session": (60, 0),
    "cancel-at-each-stage": (20, 5),
    "node-never-joins": (20, 5),
    "api-outage": (12, 3),
    "hub-restarts": (12, 3),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_single_fault_does_not_change_the_end(name):
    classes, others = SAMPLES[name]
    scenario = SCENARIOS[name]
    quiet = quiet_run(scenario, seed=1)
    chosen = sample(quiet, seed=1, classes=classes, others=others)
    assert len(chosen) == classes + others
    wrong = try_all(scenario, quiet, chosen, seed=1)
    assert not wrong, "\n\n".join(str(each) for each in wrong)


def test_a_fault_in_the_class_of_thirty_does_not_change_the_end():
    scenario = SCENARIOS["class-of-thirty"]
    quiet = quiet_run(scenario, seed=1)
    lost = [n for n, heard in enumerate(quiet.calls, 1) if heard.call.verb == "launch"]
    chosen = [CallMishap(lost[len(lost) // 2], Fault.DONE)]
    wrong = try_all(scenario, quiet, chosen, seed=1)
    assert not wrong, "\n\n".join(str(each) for each in wrong)


# --- the faults are what they say ----------------------------------------------------------------


def test_every_kind_of_fault_is_tried_on_every_kind_of_call():
    everything = [key for _, key in mishaps(quiet_run(SCENARIOS["one-session"], seed=1))]
    tried = {(verb, kind, fault) for verb, kind, _, fault in everything}
    for fault in (*Fault, "old view"):
        assert ("patch", "pods", fault) in tried or fault is Fault.EXPIRED
    assert ("list", "nodes", Fault.EXPIRED) in tried
    assert ("launch", "cloud", Fault.DONE) in tried
    assert {f for verb, _, f in tried if verb == "event"} == set(WatchFault)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (Call("launch", "cloud"), Fault.CONFLICT),
        (Call("get", "nodes"), Fault.DONE),
        (Call("watch", "pods"), Fault.NOT_DONE),
        (Call("patch", "pods"), Fault.EXPIRED),
    ],
)
def test_a_fault_is_not_tried_where_it_cannot_be(call, fault):
    assert fault not in faults_of(call)


def in_world(body):
    return virtually(lambda: play(body, seed=1, provisioner=False), seed=1)[1]


@pytest.mark.parametrize(
    ("fault", "error", "seconds"),
    [
        (Fault.CONFLICT, Conflict, 0.0),
        (Fault.TOO_MANY, Unavailable, 0.0),
        (Fault.SERVER_ERROR, Unavailable, 0.0),
        (Fault.NOT_DONE, Unavailable, 10.0),
    ],
)
def test_only_the_call_that_is_meant_fails_before_it_is_done(fault, error, seconds):
    async def body(world):
        tap, call = MishapTap(world, CallMishap(2, fault)), Call("patch", "pods", "a")
        await tap.before(Call("list", "pods"))
        began = world.clock.now()
        with pytest.raises(error):
            await tap.before(call)
        assert world.clock.now() - began == pytest.approx(seconds)
        await tap.before(call)
        await tap.after(call, None)

    in_world(body)


def test_a_lost_answer_is_lost_after_the_call_is_done():
    async def body(world):
        tap, call = MishapTap(world, CallMishap(1, Fault.DONE)), Call("patch", "pods", "a")
        await tap.before(call)
        with pytest.raises(Unavailable):
            await tap.after(call, None)

    in_world(body)


async def events_of(line, *, until):
    """Events of the nodes' watch from the beginning, and what ended it."""
    seen = []
    try:
        async for event in line.watch(NODES, resource_version="0"):
            seen.append((line.clock.now(), event.object["metadata"]["name"]))
            if len(seen) == until:
                break
    except GpuJitError as error:
        return seen, type(error)
    return seen, None


async def line_with_two_nodes(world, **how):
    for name in ("a", "b"):
        await world.cluster.create(NODES, {"metadata": {"name": name}})
    return Line(cluster=world.cluster, clock=world.clock, **how)


@pytest.mark.parametrize(
    ("fault", "ends"), [(WatchFault.DROP, Unavailable), (WatchFault.EXPIRED, Expired)]
)
def test_a_watch_breaks_before_the_event_that_is_meant(fault, ends):
    async def body(world):
        line = await line_with_two_nodes(world, mishap=WatchMishap("nodes", 2, fault))
        seen, error = await events_of(line, until=2)
        assert [name for _, name in seen] == ["a"]
        assert error is ends
        assert len((await events_of(line, until=2))[0]) == 2

    in_world(body)


def test_a_watch_is_silent_for_half_a_minute_and_loses_nothing():
    async def body(world):
        mishap = WatchMishap("nodes", 2, WatchFault.STALL)
        line = await line_with_two_nodes(world, mishap=mishap)
        (first, _), (second, _) = (await events_of(line, until=2))[0]
        assert second - first == pytest.approx(30.0)

    in_world(body)


def test_an_old_view_is_that_of_then_for_the_first_list_only():
    async def body(world):
        await line_with_two_nodes(world)
        line = Line(
            cluster=world.cluster, clock=world.clock, first_lists_at=world.cluster.version - 1
        )
        first, second = await line.list(NODES), await line.list(NODES)
        assert [node["metadata"]["name"] for node in first.items] == ["a"]
        assert [node["metadata"]["name"] for node in second.items] == ["a", "b"]
        assert int(first.resource_version) == int(second.resource_version) - 1

    in_world(body)


def test_history_gives_back_what_was_changed_and_what_was_deleted():
    async def body(world):
        await line_with_two_nodes(world)
        before = world.cluster.version
        was = (await world.cluster.list(NODES)).items
        await world.cluster.patch(NODES, "a", {"metadata": {"labels": {"x": "y"}}})
        await world.cluster.delete(NODES, "b")
        await world.cluster.create(NODES, {"metadata": {"name": "c"}})
        assert (await world.cluster.list_as_of(NODES, before)).items == was
        world.cluster.compact()
        with pytest.raises(Expired):
            await world.cluster.list_as_of(NODES, before)

    in_world(body)


def test_no_call_gets_through_an_outage():
    async def body(world):
        line = await line_with_two_nodes(world)
        line.outage.down = True
        for call in (line.list(NODES), line.get(NODES, "a"), line.delete(NODES, "a")):
            with pytest.raises(Unavailable):
                await call
        assert await events_of(line, until=2) == ([], Unavailable)
        assert line.outage.refused == 4

    in_world(body)


# --- what convergence means ----------------------------------------------------------------------

QUIET = EndState((("jupyter-alice", "stopped"),), 1, 100, 500.0)


@pytest.mark.parametrize(
    ("end", "same"),
    [
        (QUIET, True),
        (replace(QUIET, usd_per_hour_micro=110, seconds=1100.0), True),
        (replace(QUIET, usd_per_hour_micro=111), False),
        (replace(QUIET, seconds=1101.0), False),
        (replace(QUIET, instances=2), False),
        (replace(QUIET, sessions=(("jupyter-alice", "lost"),)), False),
    ],
)
def test_an_end_is_the_same_within_ten_percent_and_ten_minutes(end, same):
    assert (end.unlike(QUIET) == "") is same


def test_a_provisioner_that_believes_an_old_list_is_found(monkeypatch):
    unknown = property(lambda self: 0, lambda self, version: None)
    monkeypatch.setattr(Leader, "version", unknown, raising=False)
    scenario = SCENARIOS["one-session"]
    quiet = quiet_run(scenario, seed=1)
    launch = next(n for n, h in enumerate(quiet.calls, 1) if h.call.verb == "launch")
    wrong = try_all(scenario, quiet, [OldView(launch, behind) for behind in range(1, 8)], seed=1)
    assert any("I1 no double launch" in each.error for each in wrong)
