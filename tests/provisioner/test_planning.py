"""Plans are judged once it is quiet, with a bound that had time; patterns are kept."""

from random import Random

import pytest

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Snapshot
from jupyter_gpu_jit.core.packing import USUAL
from jupyter_gpu_jit.provisioner import metrics
from jupyter_gpu_jit.provisioner.planning import QUIET_SECONDS, WIDE, Planning
from jupyter_gpu_jit.sim.workloads import common_types, hub_mix

TYPES = common_types(instance_types())


class Counts:
    """A meter that keeps what is counted."""

    def __init__(self):
        self.counted = []

    def count(self, name, amount=1.0, **labels):
        self.counted.append((name, labels["gap"]))


class Hour:
    now = 1000.0


def crowd(seed, sessions, shapes=20):
    waiting = hub_mix(Random(seed), TYPES, shapes=shapes, sessions=sessions)
    return Snapshot(now=0.0, waiting=waiting, instance_types=TYPES)


@pytest.fixture
def meter():
    return Counts()


@pytest.fixture
def planning(meter):
    return Planning(USUAL, meter, lambda: Hour.now)


@pytest.fixture(autouse=True)
def morning():
    Hour.now = 1000.0


def wide_crowd(planning):
    """A crowd whose first answer is far above its own bound."""
    for seed in range(40):
        plan = planning.plan(crowd(f"wide-{seed}", 300))
        if plan.gap > WIDE:
            return plan
    raise AssertionError("no first answer was far from its bound")


def test_a_plan_is_judged_only_after_a_quiet_moment(planning, meter):
    planning.plan(crowd("one", 5))
    assert planning.settle() == Hour.now + QUIET_SECONDS
    assert not meter.counted
    Hour.now += QUIET_SECONDS
    assert planning.settle() is None
    assert meter.counted == [(metrics.PLANS, "proven")]


def test_a_plan_is_judged_once(planning, meter):
    planning.plan(crowd("one", 5))
    Hour.now += QUIET_SECONDS
    planning.settle()
    assert planning.settle() is None
    assert len(meter.counted) == 1


def test_a_plan_followed_by_another_is_judged_by_its_own_bound(planning, meter):
    wide_crowd(planning)
    meter.counted.clear()
    planning.plan(crowd("one", 5))
    assert meter.counted == [(metrics.PLANS, "above")]


def test_a_plan_far_from_its_bound_is_thought_over_and_found_near(planning, meter):
    wide_crowd(planning)
    meter.counted.clear()
    Hour.now += QUIET_SECONDS
    planning.settle()
    assert meter.counted == [(metrics.PLANS, "within")]


def test_thinking_over_leaves_patterns_for_the_next_plan(planning):
    wide = wide_crowd(planning)
    before = set(planning.warm.patterns)
    Hour.now += QUIET_SECONDS
    planning.settle()
    assert before == set(wide.patterns)
    assert set(planning.warm.patterns) - before


def test_nothing_planned_means_nothing_to_judge(planning, meter):
    planning.plan(Snapshot(now=0.0, waiting=(), instance_types=TYPES))
    Hour.now += QUIET_SECONDS
    assert planning.settle() is None
    assert not meter.counted
