"""Each thing a session may ask of its node, in a world where it alone decides."""

from __future__ import annotations

from dataclasses import replace

from packing_worlds import kind, launched, places, refusal, session, snapshot

from jupyter_gpu_jit.core.model import InstanceType, SessionRequest
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.quantity import GIB


def having(made: InstanceType, **room: int) -> InstanceType:
    return replace(made, allocatable=replace(made.allocatable, **room))


def wanting(made: SessionRequest, **size: int) -> SessionRequest:
    return replace(made, resources=replace(made.resources, **size))


def test_a_type_that_attaches_few_volumes_holds_few_sessions():
    few = having(kind("few.large", 1.0, cpu=64, gib=256), volumes=2)
    many = having(kind("many.large", 1.5, cpu=64, gib=256), volumes=30)
    crowd = [wanting(session(f"s{i}"), volumes=1) for i in range(8)]
    assert launched(solve(snapshot(crowd, [few, many]))) == [("many.large", 8)]
    assert launched(solve(snapshot(crowd, [few]))) == [("few.large", 2)] * 4
    assert launched(solve(snapshot([replace(s, resources=session("x").resources) for s in crowd],
                                   [few, many]))) == [("few.large", 8)]  # fmt: skip


def test_local_disk_is_asked_of_types_that_have_it_and_shared_out():
    bare = kind("bare.large", 1.0, cpu=64, gib=256)
    disk = having(kind("disk.large", 3.0, cpu=64, gib=256), local_disk_bytes=300 * GIB)
    waiting = [wanting(session(f"s{i}"), local_disk_bytes=100 * GIB) for i in range(4)]
    plan = solve(snapshot(waiting, [bare, disk]))
    assert launched(plan) == [("disk.large", 1), ("disk.large", 3)]
    assert refusal(solve(snapshot(waiting, [bare])), "s0").reason == "TooLarge"


def test_who_needs_no_volume_does_not_mind_a_node_full_of_them():
    packed = having(kind("few.large", 1.0, cpu=64, gib=256), volumes=1)
    waiting = [wanting(session("home"), volumes=1), session("none")]
    assert len(set(places(solve(snapshot(waiting, [packed]))).values())) == 1
