"""Every scenario, with the real provisioner and every invariant watched, for several seeds."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from simkit import virtually

from jupyter_gpu_jit.errors import Defect, UserError
from jupyter_gpu_jit.ports import PODS
from jupyter_gpu_jit.sim import weather
from jupyter_gpu_jit.sim.invariants import Violated
from jupyter_gpu_jit.sim.market import L4
from jupyter_gpu_jit.sim.scenarios import (
    LARGE,
    OUTAGE_SECONDS,
    SCENARIOS,
    Scenario,
    run_scenario,
)
from jupyter_gpu_jit.sim.world import World, WorldConfig, play

QUICK = [name for name in SCENARIOS if name not in LARGE]
LOSING = {"instance-vanishes", "node-interrupted", "interrupted-unsaid"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", QUICK)
def test_a_scenario_ends_well(name, seed):
    report = run_scenario(name, seed)
    assert all(line.outcome in ("stopped", "cancelled", "lost") for line in report.sessions)
    lost = [line for line in report.sessions if line.outcome == "lost"]
    assert len(lost) == (name in LOSING)


def test_thirty_starts_within_a_minute_get_thirty_seats():
    report = run_scenario("class-of-thirty", 1)
    waits = [line.wait_seconds for line in report.sessions]
    assert len([wait for wait in waits if wait is not None]) == 30
    assert len(report.instances) == 30
    assert {line.instance_type for line in report.instances} == {"g4dn.xlarge"}


def test_the_a100_node_is_shared_and_launched_once():
    report = run_scenario("second-finds-a-seat", 5)
    assert len(report.instances) == 1
    first, *others = report.sessions
    assert first.wait_seconds > 20.0
    assert all(line.wait_seconds < 15.0 for line in others)
    assert {line.nodes for line in report.sessions} == {first.nodes}


def test_a_session_stays_on_the_node_it_was_planned_for_when_another_cancels():
    report = run_scenario("three-users-one-cancels", 2)
    assert [line.outcome for line in report.sessions] == ["stopped", "cancelled", "stopped"]
    assert len(report.instances) == 1


def test_an_outage_of_the_api_ends_nobody_and_is_not_stormed():
    async def body(world):
        await SCENARIOS["api-outage"].body(world)
        return world

    config = SCENARIOS["api-outage"].config
    world, _ = virtually(lambda: play(body, seed=1, config=config), seed=1)
    alice, bob, carol = world.hub.sessions
    assert alice.outcome == bob.outcome == carol.outcome == "stopped"
    assert 0 < world.outage.refused <= OUTAGE_SECONDS
    # She came half-way through: a seat was free, so a minute after the end she is at work.
    assert carol.wait_seconds < OUTAGE_SECONDS / 2 + 30.0
    assert len(world.cloud.ledger) == 2


def test_starts_outlive_the_hub_that_made_them():
    report = run_scenario("hub-restarts", 1)
    assert [line.outcome for line in report.sessions] == ["stopped"] * 4
    assert len(report.instances) == 4


@pytest.mark.parametrize("name", ["one-session", "mixed-morning", "second-finds-a-seat"])
def test_looking_again_at_a_settled_world_changes_nothing(name):
    """I13: a provisioner that begins anew, and one that is rung for nothing, write nothing."""

    async def steady(world):
        await World.steady(world)
        before = world.changes
        await world.crash()
        world.start_provisioner()
        for number in range(5):
            await world.clock.sleep(30.0)
            note = {"metadata": {"annotations": {"somebody-else.io/note": str(number)}}}
            for pod in list(world.truth.pods.values()):
                await world.cluster.patch(PODS, pod.name, note, namespace=pod.namespace)
                before += 1
        await world.clock.sleep(30.0)
        assert world.changes == before, world.truth.story()

    async def body(world):
        world.steady = lambda: steady(world)
        await SCENARIOS[name].body(world)

    virtually(lambda: play(body, seed=1), seed=1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", QUICK)
def test_slow_answers_break_nothing(name, seed):
    scenario = SCENARIOS[name]
    config = replace(scenario.config, weather=weather.slow)
    virtually(lambda: play(scenario.body, seed=seed, config=config), seed=seed)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", QUICK)
def test_lost_answers_and_conflicts_break_nothing(name, seed):
    scenario = SCENARIOS[name]
    late = max(60.0, scenario.config.shown_within_seconds)
    config = replace(scenario.config, weather=weather.stormy, shown_within_seconds=late)
    virtually(lambda: play(scenario.body, seed=seed, config=config), seed=seed)


def test_the_report_is_for_people():
    text = str(run_scenario("one-session", 1))
    assert text.startswith("scenario one-session, seed 1: ")
    assert "launches: 1, money: $0." in text
    assert "none violated" in text
    assert "Planned > Launching > Booting > Registered > Initialised" in text
    assert "g6.xlarge" in text


def test_an_unknown_scenario_names_those_there_are():
    with pytest.raises(UserError, match="There is no scenario 'nope'; there are one-session, "):
        run_scenario("nope", 1)


def test_one_seed_is_one_run_whatever_the_hash_seed():
    code = (
        "from jupyter_gpu_jit.sim.scenarios import run_scenario;"
        "print(run_scenario('mixed-morning', 3))"
    )

    def printed(hash_seed):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

    first = printed("0")
    assert b"mixed-morning, seed 3" in first
    assert printed("1") == printed("12345") == first


def test_seeds_differ():
    assert str(run_scenario("one-session", 1)) != str(run_scenario("one-session", 2))


# --- the world itself ----------------------------------------------------------------------------


class Idle:
    """A provisioner that does nothing."""

    def __init__(self, error=None):
        self.error = error

    async def run(self):
        if self.error:
            raise self.error


def made_of(provisioner, body):
    async def nothing(world):
        await world.clock.sleep(60.0)

    config = WorldConfig(make=lambda *ports: provisioner)
    scenario = Scenario(name="test", title="", body=body or nothing, config=config)
    return virtually(lambda: play(scenario.body, seed=1, config=config))


def test_a_provisioner_that_ends_fails_the_run():
    with pytest.raises(Defect, match="ended by itself"):
        made_of(Idle(), None)


def test_a_provisioner_that_breaks_fails_the_run_with_its_error():
    with pytest.raises(ZeroDivisionError):
        made_of(Idle(ZeroDivisionError()), None)


def test_what_is_left_over_at_the_end_is_a_leak():
    async def body(world):
        await world.crash()
        world.hub.start("alice", L4)
        await world.clock.sleep(10.0)
        await world.all_given_back(seconds=60.0)

    with pytest.raises(Violated, match="I2 no leak: objects are left over"):
        virtually(lambda: play(body, seed=1))
