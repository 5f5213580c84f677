"""Each thing a session may ask of its node, in a world where it alone decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_worlds import kind, launched, places, refusal, seat, session, snapshot

from jupyter_gpu_jit.core.gpus import MODELS, compute_capability_tenths
from jupyter_gpu_jit.core.layouts import WHOLE, layout_named, layouts_of
from jupyter_gpu_jit.core.model import InstanceType, Plan, Resources, Seat, SessionRequest
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.packing.shapes import how_many
from jupyter_gpu_jit.core.quantity import GIB
from jupyter_gpu_jit.core.requirements import NVIDIA, NVIDIA_GRID, GpuShare


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
    assert refusal(solve(snapshot(waiting, [bare])), "s0").reason == "NoSuchLocalDisk"


def test_who_needs_no_volume_does_not_mind_a_node_full_of_them():
    packed = having(kind("few.large", 1.0, cpu=64, gib=256), volumes=1)
    waiting = [wanting(session("home"), volumes=1), session("none")]
    assert len(set(places(solve(snapshot(waiting, [packed]))).values())) == 1


def test_a_node_that_lacks_what_nobody_asks_for_holds_nobody_all_the_same():
    overdrawn = Resources(cpu_millicpu=8000, memory_bytes=8 * GIB, pods=9, volumes=-1)
    assert how_many(session("s").resources, overdrawn, 5) == 0


# --- what a type is ----------------------------------------------------------------------------


def gpus(name: str, usd: float, model: str = "L4", count: int = 1, **more) -> InstanceType:
    """A type with that many GPUs; memory as the model reports it."""
    memory = {"T4": 16384, "L4": 22888, "A100": 40960, "H100": 81559, "V100": 16384}[model]
    made = kind(name, usd, gpus=count, cpu=8 * count, gib=32 * count, model=model, **more)
    return replace(made, gpu_memory_mib=memory, driver_family=more.get("driver_family", NVIDIA))


T4 = gpus("t4.large", 0.5, "T4")
L4 = gpus("l4.large", 0.8, "L4")
FRACTION = gpus(
    "l4f.large", 0.1, "L4", gpu_interconnect="fraction", driver_family=NVIDIA_GRID
)  # fmt: skip
FRACTION = replace(FRACTION, gpu_memory_mib=5722)
A100 = gpus("a100.large", 2.0, "A100", gpu_interconnect="single")


def the_seat(of: InstanceType, **more) -> Seat:
    """A ready node of that type, with what a snapshot would say of it."""
    known = {
        "gpu_interconnect": of.gpu_interconnect,
        "driver_family": of.driver_family,
        "efa_interfaces": of.efa_interfaces,
    }
    return seat(more.pop("place", "there"), of, **{**known, **more})


ALONE = [
    # what is asked, sessions' GPUs, the cheap type that will not do, the dear one that will
    ({"min_compute_capability_tenths": 80}, 1, T4, L4),
    ({"efa": True}, 1, L4, gpus("efa.large", 2.0, "L4", efa_interfaces=1)),
    ({"efa": True}, 0, kind("m.large", 0.1), kind("efa.cpu", 0.5, efa_interfaces=2)),
    (
        {"nvlink": True},
        2,
        gpus("pcie.large", 1.0, "L4", 4, gpu_interconnect="pcie"),
        gpus("switch.large", 9.0, "A100", 8, gpu_interconnect="nvswitch"),
    ),
    (
        {"nvlink": True},
        4,
        gpus("mesh.16xlarge", 1.0, "V100", 8, gpu_interconnect="nvlink2-mesh"),
        gpus("mesh.8xlarge", 2.0, "V100", 4, gpu_interconnect="nvlink2-mesh"),
    ),
    ({"driver_families": ("other",)}, 1, L4, replace(T4, driver_family="other")),
    ({}, 1, FRACTION, L4),
    ({"driver_families": (NVIDIA, NVIDIA_GRID)}, 1, FRACTION, L4),
    ({"share": GpuShare(memory_gib=4)}, 1, FRACTION, T4),
]


@pytest.mark.parametrize(("asked", "count", "wrong", "right"), ALONE)
def test_a_requirement_alone_decides_which_type_is_bought(asked, count, wrong, right):
    wanted = session("s", count, **asked)
    both = solve(snapshot([wanted], [wrong, right]))
    assert launched(both) == [(right.name, 1)]
    refused = refusal(solve(snapshot([wanted], [wrong])), "s")
    assert refused.excluded[0][1] == len(wrong.offerings)
    assert not refused.temporary


@pytest.mark.parametrize(("asked", "count", "wrong", "right"), ALONE)
def test_a_requirement_alone_decides_which_seat_is_taken(asked, count, wrong, right):
    wanted = session("s", count, **asked)
    assert not solve(snapshot([wanted], [], [the_seat(wrong)])).placements
    assert places(solve(snapshot([wanted], [], [the_seat(right)]))) == {"s": "there"}


@pytest.mark.parametrize(
    ("asked", "count", "types", "reason", "words"),
    [
        (
            {"min_compute_capability_tenths": 80},
            1,
            [T4],
            "NoSuchComputeCapability",
            "1 GPU, compute capability 8.0 and spot only: 0 of 2 pools have that compute "
            "capability; ",
        ),
        ({"efa": True}, 1, [L4], "NoEfa", "1 GPU, EFA and spot only: 0 of 2 pools have EFA; "),
        (
            {"nvlink": True},
            2,
            [gpus("pcie.large", 1.0, "L4", 4, gpu_interconnect="pcie")],
            "NoNvlink",
            "2 GPUs, NVLink and spot only: 0 of 2 pools connect its GPUs by NVLink; without "
            "NVLink from $0.50/h.",
        ),
        (
            {"share": GpuShare(memory_gib=4)},
            1,
            [FRACTION],
            "NoSuchDriver",
            "a share of a GPU with 4 GB and spot only: 0 of 2 pools work with nvidia drivers; "
            "with an image for nvidia-grid drivers from $0.10/h.",
        ),
        (
            {"driver_families": (NVIDIA_GRID,)},
            1,
            [FRACTION],
            "NoWholeGpu",
            "1 GPU and spot only: 0 of 2 pools have whole GPUs; with a share of a GPU (6 GB) "
            "from $0.10/h.",
        ),
        (
            {"share": GpuShare(memory_gib=20), "gpu_models": ("T4",)},
            1,
            [T4],
            "NoSuchGpuMemory",
            "a share of T4 with 20 GB and spot only: 0 of 2 pools have that much memory per GPU; "
            "with 16 GB per GPU from $0.50/h.",
        ),
    ],
)
def test_a_refusal_tells_the_requirement_and_what_would_do(asked, count, types, reason, words):
    refused = refusal(solve(snapshot([session("s", count, **asked)], types)), "s")
    assert refused.reason == reason
    assert refused.message.startswith(words)


def test_a_single_gpu_needs_no_link_and_a_whole_mesh_is_linked():
    single = snapshot([session("s", 1, nvlink=True)], [L4])
    mesh = gpus("mesh.16xlarge", 1.0, "V100", 8, gpu_interconnect="nvlink2-mesh")
    assert launched(solve(single)) == [("l4.large", 1)]
    assert launched(solve(snapshot([session("s", 8, nvlink=True)], [mesh]))) == [(mesh.name, 1)]


def test_every_model_that_is_sold_has_a_compute_capability():
    assert all(compute_capability_tenths(model) >= 70 for model in MODELS)
    assert compute_capability_tenths("unheard of") == 0


def test_a_refusal_for_too_many_volumes_or_too_much_disk_tells_what_there_is():
    small = having(kind("m.large", 1.0), volumes=2, local_disk_bytes=100 * 10**9)
    many = wanting(session("s"), volumes=3)
    large = wanting(session("s"), local_disk_bytes=200 * 10**9)
    assert refusal(solve(snapshot([many], [small])), "s").message == (
        "1 CPU, 1 GiB and spot only: 0 of 2 pools attach 3 volumes; with at most 2 volumes from "
        "$0.25/h."
    )
    assert refusal(solve(snapshot([large], [small])), "s").message == (
        "1 CPU, 1 GiB, 200 GB of local disk and spot only: 0 of 2 pools have 200 GB of local "
        "disk; with 100 GB of local disk from $0.25/h."
    )


# --- shares and layouts ------------------------------------------------------------------------


def share(uid: str, memory_gib: int, *, time_sliced: bool = False, **more) -> SessionRequest:
    return session(uid, 1, share=GpuShare(memory_gib=memory_gib, time_sliced=time_sliced), **more)


def crowd(count: int, memory_gib: int, **more) -> list[SessionRequest]:
    return [share(f"s{i}", memory_gib, **more) for i in range(count)]


def layouts(plan: Plan) -> list[str]:
    return sorted(claim.layout for claim in plan.claims)


def test_seven_small_shares_go_on_one_partitioned_gpu():
    plan = solve(snapshot(crowd(7, 5), [A100]))
    assert [(c.layout, len(c.sessions)) for c in plan.claims] == [("mig-1g.5gb", 7)]


def test_the_memory_of_a_share_decides_how_a_gpu_is_divided():
    assert layouts(solve(snapshot(crowd(4, 10), [A100]))) == ["mig-1g.10gb"]
    assert layouts(solve(snapshot(crowd(2, 20), [A100]))) == ["mig-3g.20gb"]
    assert layouts(solve(snapshot(crowd(2, 21), [A100]))) == [WHOLE, WHOLE]


def test_a_share_takes_a_whole_gpu_where_that_is_cheapest():
    plan = solve(snapshot(crowd(1, 5), [A100, T4]))
    assert [(c.layout, c.offerings[0].instance_type) for c in plan.claims] == [(WHOLE, "t4.large")]


def test_only_who_says_so_is_put_on_a_time_sliced_gpu():
    apart = solve(snapshot(crowd(4, 4), [T4]))
    shared = solve(snapshot(crowd(4, 4, time_sliced=True), [T4]))
    assert layouts(apart) == [WHOLE] * 4
    assert layouts(shared) == ["time-sliced-4"]


def test_one_who_minds_does_not_join_those_who_share_their_time():
    mixed = [share("a", 4, time_sliced=True), share("b", 4, time_sliced=True), share("c", 4)]
    found = places(solve(snapshot(mixed, [T4])))
    assert found["a"] == found["b"] != found["c"]


def test_a_fraction_of_a_card_is_used_when_the_image_has_its_driver():
    both = (NVIDIA, NVIDIA_GRID)
    wanted = share("s", 4, driver_families=both)
    plan = solve(snapshot([wanted], [FRACTION, T4]))
    assert launched(plan) == [("l4f.large", 1)]


def test_whole_gpus_and_shares_are_not_put_on_one_divided_node():
    waiting = [*crowd(7, 5), session("whole", 1, gpu_models=("A100",))]
    plan = solve(snapshot(waiting, [A100]))
    by_layout = {c.layout: len(c.sessions) for c in plan.claims}
    assert by_layout == {"mig-1g.5gb": 7, WHOLE: 1}


def test_every_offering_of_a_divided_node_can_be_divided_so():
    twin = gpus("a100b.large", 2.1, "A100", gpu_interconnect="single")
    other = replace(gpus("h100.large", 2.05, "H100"), gpu_interconnect="single")
    claims = solve(snapshot(crowd(7, 5), [A100, twin, other, L4])).claims
    listed = {o.instance_type for claim in claims for o in claim.offerings}
    assert listed == {"a100.large", "a100b.large"}


def divided(layout: str, of: InstanceType = A100, **more) -> Seat:
    units = layout_named(of, layout)
    assert units is not None
    room = replace(of.allocatable, gpus=of.allocatable.gpus * units.units_per_gpu)
    return the_seat(of, layout=layout, residual=room, total=room, **more)


def test_a_share_takes_a_seat_on_a_divided_node_that_is_large_enough():
    seats = [divided("mig-1g.5gb")]
    assert places(solve(snapshot([share("s", 5)], [A100], seats))) == {"s": "there"}
    assert places(solve(snapshot([share("s", 6)], [A100], seats))) == {"s": "new-1"}


def test_a_whole_gpu_is_never_looked_for_on_a_divided_node():
    seats = [divided("mig-3g.20gb"), divided("time-sliced-2", place="other")]
    plan = solve(snapshot([session("s", 1)], [A100], seats))
    assert places(plan) == {"s": "new-1"}


def test_a_share_pays_its_part_of_a_divided_node():
    cap = {"max_usd_per_hour_micro": 300_000}
    plan = solve(snapshot(crowd(7, 5, **cap), [A100]))
    assert layouts(plan) == ["mig-1g.5gb"]
    assert not solve(snapshot(crowd(1, 21, **cap), [A100])).claims


def test_sessions_find_their_patterns_again_on_divided_nodes():
    first = solve(snapshot(crowd(30, 5), [A100, T4]))
    again = solve(snapshot(crowd(30, 5), [A100, T4]))
    assert first == again
    assert set(layouts(first)) == {"mig-1g.5gb", WHOLE} or layouts(first)[0] == "mig-1g.5gb"


KINDS = (T4, L4, FRACTION, A100, gpus("p.8xlarge", 9.0, "A100", 8, gpu_interconnect="nvswitch"))


@st.composite
def anybody(draw: st.DrawFn, uid: str) -> SessionRequest:
    kind_of_need = draw(st.sampled_from(("cpu", "whole", "share")))
    families = draw(st.sampled_from(((NVIDIA,), (NVIDIA, NVIDIA_GRID))))
    if kind_of_need == "cpu":
        return session(uid)
    if kind_of_need == "whole":
        count = draw(st.integers(1, 4))
        return session(uid, count, nvlink=draw(st.booleans()), driver_families=families)
    memory = draw(st.sampled_from((1, 5, 10, 16, 20, 30)))
    return share(uid, memory, time_sliced=draw(st.booleans()), driver_families=families)


@st.composite
def crowds(draw: st.DrawFn) -> list[SessionRequest]:
    return [draw(anybody(f"s{i}")) for i in range(draw(st.integers(1, 10)))]


@given(crowds(), st.sets(st.sampled_from(KINDS), min_size=1))
def test_nobody_is_ever_put_where_its_requirements_forbid(waiting, types):
    plan = solve(snapshot(waiting, types))
    known, asked = {t.name: t for t in types}, {s.uid: s for s in waiting}
    for claim in plan.claims:
        members = [asked[uid] for uid in claim.sessions]
        for of in {known[o.instance_type] for o in claim.offerings}:
            layout = next(each for each in layouts_of(of) if each.name == claim.layout)
            units = of.allocatable.gpus * layout.units_per_gpu
            assert sum(s.resources.gpus for s in members) <= units
            for each in members:
                assert allowed(each, of, layout.unit_memory_gib, claim.layout)


def allowed(who: SessionRequest, of: InstanceType, memory_gib: int, layout: str) -> bool:
    """Said once more, in other words than the planner's."""
    needs = who.requirements
    if not who.resources.gpus:
        return True
    if of.driver_family not in needs.driver_families:
        return False
    if needs.share is None:
        linked = who.resources.gpus == 1 or of.gpu_interconnect == "nvswitch" or not needs.nvlink
        return layout == WHOLE and of is not FRACTION and linked
    tolerated = "time-sliced" not in layout or needs.share.time_sliced
    return memory_gib >= needs.share.memory_gib and tolerated
