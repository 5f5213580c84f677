"""The generators give what they say: shares, sizes, zones, and the same for the same seed."""

from collections import Counter
from random import Random

import pytest

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Snapshot
from jupyter_gpu_jit.core.quantity import GIB, MIB
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.sim.baselines import karpenter_like
from jupyter_gpu_jit.sim.workloads import (
    benchmark_mix,
    common_types,
    day_of_sessions,
    hub_mix,
    linear_types,
)

TYPES = common_types(instance_types())


def shapes_of(sessions):
    return {(s.resources, s.requirements) for s in sessions}


@pytest.mark.parametrize(
    "make",
    [
        lambda dice: hub_mix(dice, TYPES, shapes=10, sessions=50),
        lambda dice: benchmark_mix(dice, 50).sessions,
        lambda dice: day_of_sessions(dice, 50),
    ],
    ids=["hub", "benchmark", "day"],
)
def test_a_seed_is_a_workload(make):
    assert make(Random(1)) == make(Random(1))
    assert make(Random(1)) != make(Random(2))


def test_common_types_are_what_most_hubs_may_use():
    assert {t.name[0] for t in TYPES} == set("cmrgp")
    assert not any(t.bare_metal or t.architecture != "amd64" for t in TYPES)
    assert {o.capacity_type for t in TYPES for o in t.offerings} == {CapacityType.ON_DEMAND}
    assert sum(t.allocatable.gpus > 0 for t in TYPES) > 40


def test_a_hub_has_its_sessions_of_its_shapes_and_all_can_be_served():
    sessions = hub_mix(Random(3), TYPES, shapes=40, sessions=1000)
    assert len({s.uid for s in sessions}) == 1000
    assert 35 <= len(shapes_of(sessions)) <= 40
    plan = karpenter_like(Snapshot(now=0.0, waiting=sessions, instance_types=TYPES))
    assert not plan.refused


def test_a_quarter_has_no_gpu_and_a_third_of_the_rest_names_models():
    sessions = hub_mix(Random(4), TYPES, shapes=1500, sessions=20_000)
    with_gpu = [s.requirements for s in sessions if s.resources.gpus]
    assert 0.70 < len(with_gpu) / len(sessions) < 0.80
    parts = [n for n in with_gpu if n.share]
    assert 0.15 < len(parts) / len(with_gpu) < 0.30
    # A third of those who want neither a part nor NVLink.
    rest = [n for n in with_gpu if not n.share and not n.nvlink]
    assert 0.26 < sum(bool(n.gpu_models) for n in rest) / len(rest) < 0.40
    assert any(n.gpu_memory_gib for n in with_gpu)
    assert any(n.nvlink for n in with_gpu)
    assert {s.resources.gpus for s in sessions} == {0, 1, 2, 4, 8}


def test_linear_types_are_those_of_the_benchmark():
    types = linear_types()
    assert len(types) == 400
    last = types[-1]
    assert last.allocatable.cpu_millicpu == 399_900
    assert last.allocatable.memory_bytes == 800 * GIB - 10 * MIB
    assert last.allocatable.pods == 4000
    assert {o.usd_per_hour_micro for o in last.offerings} == {40_000_000 + 85_899_345}
    assert Counter(o.capacity_type for o in last.offerings) == {
        CapacityType.SPOT: 2,
        CapacityType.ON_DEMAND: 3,
    }


def test_the_benchmark_mix_is_five_fifths_of_thirty_sizes():
    mix = benchmark_mix(Random(42), 1003)
    kinds = Counter(s.uid.rpartition("-")[0] for s in mix.sessions)
    assert kinds == {
        "plain": 203,
        "zone-spread": 200,
        "host-spread": 200,
        "zone-affinity": 200,
        "host-anti-affinity": 200,
    }
    assert len({s.resources for s in mix.sessions}) == 30
    classes = Counter(mix.one_per_node.values())
    assert classes["nginx"] == 200
    assert len(classes) == 8


def test_spread_over_zones_is_even_for_each_label():
    mix = benchmark_mix(Random(42), 1000)
    zones = Counter(s.requirements.zones for s in mix.sessions if s.uid.startswith("zone-spread"))
    assert len(zones) == 3
    assert max(zones.values()) - min(zones.values()) <= 7


def test_a_day_is_quiet_at_night_and_full_after_noon():
    stays = day_of_sessions(Random(5), 1150)
    assert 1050 < len(stays) < 1250
    assert len({stay.session.uid for stay in stays}) == len(stays)
    by_hour = Counter(stay.start_minute // 60 for stay in stays)
    assert by_hour[13] > 5 * by_hour[3]
    lives = sorted(stay.end_minute - stay.start_minute for stay in stays)
    assert 65 < lives[len(lives) // 2] < 85
    assert lives[0] >= 1
    assert len({stay.session.profile for stay in stays}) == 21
