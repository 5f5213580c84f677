"""What running nodes teach of their type, and what no node can make us believe; quotas."""

from __future__ import annotations

from dataclasses import replace

import pytest
from packing_worlds import amount, kind, launched, session, snapshot

from jupyter_gpu_jit.core.learned import learned, sizes_seen
from jupyter_gpu_jit.core.model import Node, Resources
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.quantity import GIB, MIB
from jupyter_gpu_jit.core.quotas import Quota, free_quotas, vcpu_class
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.core.wire import INSTANCE_TYPE_LABEL, UNREGISTERED_TAINT

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
M5 = replace(kind("m5.xlarge", 0.1, cpu=3.9, gib=14), vcpu=4, memory_mib=16384)
G6 = replace(kind("g6.xlarge", 0.3, cpu=3.9, gib=14, gpus=1, model="L4"), vcpu=4, memory_mib=16384)
TYPES = (M5, G6)


def node(cpu=3.8, gib=14.5, *, of="m5.xlarge", gpus=0, **more):
    fields = {
        "name": "n",
        "resource_version": "1",
        "provider_id": "p",
        "labels": {INSTANCE_TYPE_LABEL: of},
        "allocatable": amount(gpus, cpu, gib, 29),
        "ready": True,
        "claim": "c",
    }
    return Node(**{**fields, **more})


def test_a_type_is_as_large_as_its_node_says():
    types = learned(TYPES, sizes_seen([node()], TYPES))
    assert types[0].allocatable == amount(0, 3.8, 14.5, 29)
    assert types[1] is G6


def test_a_plan_keeps_to_what_was_learned():
    waiting = [session(u, cpu=1.95, gib=1) for u in "ab"]
    assert launched(solve(snapshot(waiting, TYPES))) == [("m5.xlarge", 2)]
    types = learned(TYPES, sizes_seen([node()], TYPES))
    assert launched(solve(snapshot(waiting, types))) == [("m5.xlarge", 1)] * 2


def test_of_several_nodes_the_least_of_each_counts():
    nodes = [node(3.8, 14.5), node(3.85, 14.0)]
    for order in (nodes, nodes[::-1]):
        assert dict(sizes_seen(order, TYPES))["m5.xlarge"] == amount(0, 3.8, 14.0, 29)


def test_what_was_learned_outlives_the_node():
    before = sizes_seen([node()], TYPES)
    assert sizes_seen([], TYPES, before) == before
    newer = sizes_seen([node(3.85), node(of="g6.xlarge", gpus=1)], TYPES, before)
    assert [name for name, _ in newer] == ["g6.xlarge", "m5.xlarge"]
    assert dict(newer)["m5.xlarge"].cpu_millicpu == 3850


def test_gpus_are_never_learned():
    types = learned(TYPES, sizes_seen([node(of="g6.xlarge", gpus=7)], TYPES))
    assert types[1].allocatable.gpus == 1


@pytest.mark.parametrize(
    "doubtful",
    [
        node(cpu=1.9),
        node(gib=6.9),
        node(cpu=4.1),
        node(gib=16.5),
        node(allocatable=Resources(cpu_millicpu=3800, memory_bytes=14 * GIB)),
        node(of="unheard.of"),
        node(labels={}),
        node(ready=False),
        node(claim=""),
        node(taints=(UNREGISTERED_TAINT,)),
    ],
)
def test_a_node_that_is_faulty_starting_or_not_ours_teaches_nothing(doubtful):
    assert sizes_seen([doubtful], TYPES) == ()


def test_the_whole_machine_is_the_most_that_is_believed():
    assert sizes_seen([node(4, 16)], TYPES)
    assert M5.memory_mib * MIB == 16 * GIB


def test_the_same_lesson_gives_the_very_same_catalogue():
    sizes = sizes_seen([node()], TYPES)
    assert learned(TYPES, sizes) is learned(TYPES, tuple(sizes))
    assert learned(TYPES, ()) is TYPES
    as_expected = sizes_seen([node(3.9, 14)], TYPES)
    assert as_expected
    assert learned(TYPES, as_expected) is TYPES
    assert learned((M5, G6), sizes) is not learned(TYPES, sizes)


# --- quotas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spot", "on_demand"),
    [
        ("m5.xlarge", "standard", "standard"),
        ("im4gn.large", "standard", "standard"),
        ("g5.xlarge", "g-vt", "g-vt"),
        ("gr6.4xlarge", "g-vt", "g-vt"),
        ("vt1.3xlarge", "g-vt", "g-vt"),
        ("p4d.24xlarge", "p", "p"),
        ("p5.48xlarge", "p5", "p"),
        ("p6-b200.48xlarge", "p5", "p"),
        ("x2gd.large", "x", "x"),
        ("f2.6xlarge", "f", "f"),
        ("hpc7a.12xlarge", "hpc", "hpc"),
        ("trn1.2xlarge", "trn", "trn"),
        ("u-6tb1.metal", "high-memory", "high-memory"),
        ("7.strange", "standard", "standard"),
    ],
)
def test_a_type_is_counted_as_ec2_counts_it(name, spot, on_demand):
    assert (vcpu_class(name, SPOT), vcpu_class(name, ON_DEMAND)) == (spot, on_demand)


def test_what_runs_and_what_is_coming_is_taken_from_the_quota():
    limits = {("standard", SPOT): 16, ("g-vt", SPOT): 4, ("standard", ON_DEMAND): 8}
    used = [("m5.xlarge", SPOT), ("m5.xlarge", SPOT), ("g6.xlarge", SPOT), ("g6.xlarge", SPOT)]
    free = free_quotas(limits, [*used, ("x.unknown", SPOT)], {"m5.xlarge": 4, "g6.xlarge": 4})
    assert free == (
        Quota(vcpu_class="g-vt", capacity_type=SPOT, free_vcpus=0),
        Quota(vcpu_class="standard", capacity_type=ON_DEMAND, free_vcpus=8),
        Quota(vcpu_class="standard", capacity_type=SPOT, free_vcpus=8),
    )
