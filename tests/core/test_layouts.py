"""Layouts: what a type's GPUs can be divided into, and what a node may claim to have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.gpus import MODELS
from jupyter_gpu_jit.core.layouts import (
    MIG,
    TIME_SLICES,
    WHOLE,
    layout_named,
    layouts_of,
    room_of,
    room_on,
    unit_memory_gib,
    units,
    whole,
)
from jupyter_gpu_jit.core.model import UNTOLD, InstanceType, Node, Resources
from jupyter_gpu_jit.core.quantity import GIB

KINDS = {kind.name: kind for kind in instance_types()}


def names(kind: str) -> list[str]:
    return [layout.name for layout in layouts_of(KINDS[kind])]


def test_a_card_that_can_be_partitioned_has_its_profiles_and_time_slices():
    assert names("p4d.24xlarge") == [
        WHOLE,
        "mig-1g.5gb",
        "mig-1g.10gb",
        "mig-2g.10gb",
        "mig-3g.20gb",
        "time-sliced-2",
        "time-sliced-4",
        "time-sliced-8",
    ]


def test_the_larger_card_of_a_model_has_larger_instances():
    small = layout_named(KINDS["p4d.24xlarge"], "mig-3g.20gb")
    large = layout_named(KINDS["p4de.24xlarge"], "mig-3g.40gb")
    assert small is not None
    assert large is not None
    assert (small.units_per_gpu, small.unit_memory_gib) == (2, 20)
    assert (large.units_per_gpu, large.unit_memory_gib) == (2, 40)


def test_a_card_that_cannot_be_partitioned_has_time_slices_alone():
    assert names("g6.xlarge") == [WHOLE, "time-sliced-2", "time-sliced-4", "time-sliced-8"]
    half = layout_named(KINDS["g6.xlarge"], "time-sliced-2")
    assert half is not None
    assert half.time_sliced
    assert half.unit_memory_gib == 12


@pytest.mark.parametrize("kind", ["m7i.large", "g6f.large", "g4ad.xlarge"])
def test_no_gpu_a_part_of_a_card_and_another_makers_card_are_not_divided(kind):
    assert names(kind) == [WHOLE]


def test_instances_of_a_profile_never_have_more_memory_than_the_card():
    for (model, memory_gib), profiles in MIG.items():
        for profile, count in profiles.items():
            assert count >= 2
            assert count * int(profile.partition(".")[2].removesuffix("gb")) <= memory_gib * 1.02
        assert model == "A30" or memory_gib in MODELS[model]


def test_units_are_gpus_times_what_the_layout_makes_of_each():
    kind = KINDS["p4d.24xlarge"]
    assert units(kind, WHOLE) == 8
    assert units(kind, "mig-1g.5gb") == 56
    assert [units(kind, f"time-sliced-{k}") for k in TIME_SLICES] == [16, 32, 64]
    assert not whole(kind).time_sliced


def test_a_layout_that_a_type_cannot_have_gives_no_room():
    assert units(KINDS["g6.xlarge"], "mig-1g.5gb") == 0
    assert room_of(KINDS["g6.xlarge"], "mig-1g.5gb") == Resources()


@pytest.mark.parametrize("name", ["mig-9g.5gb", "time-sliced-0", "mig-", "half"])
def test_a_name_that_is_no_layout_has_units_without_memory(name):
    assert unit_memory_gib(name, 80) == 0
    assert units(KINDS["p4de.24xlarge"], name) == 0


def test_a_layout_changes_the_count_of_gpus_and_nothing_else():
    kind = KINDS["p4d.24xlarge"]
    assert room_of(kind, "mig-3g.20gb") == replace(kind.allocatable, gpus=16)
    assert room_of(kind, WHOLE) == kind.allocatable


KIND = InstanceType(
    name="g6.xlarge",
    vcpu=4,
    memory_mib=16 * 1024,
    allocatable=Resources(
        cpu_millicpu=3920,
        memory_bytes=14 * GIB,
        gpus=1,
        pods=29,
        volumes=5,
        local_disk_bytes=250,
    ),
    gpu_model="L4",
    gpu_memory_mib=22888,
)


def node(**says: int) -> Node:
    amounts = {"volumes": UNTOLD, "local_disk_bytes": UNTOLD, **says}
    return Node(
        name="n",
        resource_version="1",
        provider_id="p",
        labels={},
        allocatable=Resources(**amounts),
    )


def test_a_node_that_says_more_than_its_machine_has_is_not_believed():
    boastful = node(cpu_millicpu=99_000, memory_bytes=99 * GIB, gpus=64, pods=500)
    assert room_on(boastful, KIND, WHOLE) == Resources(
        cpu_millicpu=4000,
        memory_bytes=16 * GIB,
        gpus=1,
        pods=500,
        volumes=5,
        local_disk_bytes=250,
    )


def test_a_node_may_have_more_than_was_expected_and_less():
    modest = node(cpu_millicpu=3950, memory_bytes=13 * GIB, pods=20)
    room = room_on(modest, KIND, WHOLE)
    assert (room.cpu_millicpu, room.memory_bytes, room.gpus, room.pods) == (3950, 13 * GIB, 0, 20)


def test_a_divided_node_is_believed_up_to_the_units_of_its_layout():
    assert room_on(node(gpus=64), KIND, "time-sliced-4").gpus == 4
    assert room_on(node(gpus=64), KIND, "mig-1g.5gb").gpus == 0


def test_a_node_of_an_unknown_type_is_taken_at_its_word():
    assert room_on(node(gpus=3), None, WHOLE) == node(gpus=3).allocatable
