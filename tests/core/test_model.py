"""The nouns: sums, defaults and small questions they answer about themselves."""

from dataclasses import replace

from jupyter_gpu_jit.core.model import (
    Condition,
    LaunchBatch,
    NodeClaim,
    Offering,
    Profile,
    Resources,
    SessionPod,
    SessionRequest,
)
from jupyter_gpu_jit.core.quantity import GIB
from jupyter_gpu_jit.core.requirements import CapacityPolicy, CapacityType, GpuShare, Requirements


def amounts(cpu=0, memory=0, gpus=0, pods=0):
    return Resources(cpu_millicpu=cpu, memory_bytes=memory, gpus=gpus, pods=pods)


def test_amounts_add_subtract_and_compare_in_every_dimension():
    a, b = amounts(1, 2, 3, 4), amounts(10, 20, 30, 40)
    assert a + b == amounts(11, 22, 33, 44)
    assert b - a == amounts(9, 18, 27, 36)
    assert amounts(5, 1, 5, 1).at_most(amounts(1, 5, 1, 5)) == amounts(1, 1, 1, 1)


def test_an_amount_fits_only_when_every_dimension_does():
    room = amounts(1, 1, 1, 1)
    assert room.fits_in(room)
    for short in (amounts(2), amounts(0, 2), amounts(0, 0, 2), amounts(0, 0, 0, 2)):
        assert not short.fits_in(room)


def test_volumes_and_local_disk_are_amounts_like_the_others():
    little = Resources(volumes=1, local_disk_bytes=10)
    much = Resources(volumes=5, local_disk_bytes=7)
    assert little + much == Resources(volumes=6, local_disk_bytes=17)
    assert much - little == Resources(volumes=4, local_disk_bytes=-3)
    assert little.at_most(much) == Resources(volumes=1, local_disk_bytes=7)
    assert not little.fits_in(much)
    assert not much.fits_in(little)
    assert Resources(volumes=1, local_disk_bytes=7).fits_in(much)


def test_limit_and_shared_memory_follow_the_guarantee_unless_given():
    plain = Profile(slug="x", display_name="x", memory_guarantee_bytes=8 * GIB)
    assert plain.effective_memory_limit_bytes == 8 * GIB
    assert plain.effective_shared_memory_bytes == 4 * GIB
    own = Profile(
        slug="x",
        display_name="x",
        memory_guarantee_bytes=8 * GIB,
        memory_limit_bytes=16 * GIB,
        shared_memory_bytes=0,
    )
    assert own.effective_memory_limit_bytes == 16 * GIB
    assert own.effective_shared_memory_bytes == 0


def test_a_profile_says_what_it_needs_of_a_node():
    profile = Profile(
        slug="x",
        display_name="x",
        gpus=2,
        gpu_models=("L4",),
        gpu_memory_gib=24,
        cpu_guarantee_millicpu=3000,
        memory_guarantee_bytes=GIB,
        capacity=CapacityPolicy.ON_DEMAND,
        zones=("a",),
        max_usd_per_hour_micro=5,
        min_compute_capability_tenths=89,
        nvlink=True,
        efa=True,
        gpu_share=GpuShare(memory_gib=5),
        driver_families=("nvidia-grid",),
        architectures=("arm64",),
        local_disk_bytes=7,
        max_interruptions_per_hour=0.5,
    )
    assert profile.resources == replace(amounts(3000, GIB, 2, 1), local_disk_bytes=7)
    assert profile.requirements == Requirements(
        gpu_models=("L4",),
        gpu_memory_gib=24,
        min_compute_capability_tenths=89,
        nvlink=True,
        efa=True,
        share=GpuShare(memory_gib=5),
        driver_families=("nvidia-grid",),
        architectures=("arm64",),
        max_interruptions_per_hour=0.5,
        capacity=CapacityPolicy.ON_DEMAND,
        zones=("a",),
        max_usd_per_hour_micro=5,
    )


def test_an_offering_is_the_same_at_another_price():
    def offered(price):
        return Offering(
            instance_type="g6.xlarge",
            zone="a",
            capacity_type=CapacityType.SPOT,
            usd_per_hour_micro=price,
        )

    assert offered(1).key == offered(2).key == ("g6.xlarge", "a", "spot")


def test_a_batch_sent_again_has_the_same_token_and_another_attempt_another():
    batch = LaunchBatch(id="b", claims=("c",))
    assert batch.client_token == LaunchBatch(id="b", claims=("c",)).client_token
    assert batch.client_token != LaunchBatch(id="b", claims=("c",), attempt=2).client_token


def test_a_pod_is_finished_when_its_containers_are_over():
    def pod(phase):
        return SessionPod(
            name="p",
            namespace="n",
            uid="u",
            resource_version="1",
            request=SessionRequest(uid="u", user="ada"),
            phase=phase,
        )

    assert {
        phase for phase in ("Pending", "Running", "Succeeded", "Failed") if pod(phase).finished
    } == {
        "Succeeded",
        "Failed",
    }


def test_a_condition_is_true_only_when_it_was_written_and_is_true():
    claim = NodeClaim(
        name="c",
        uid="u",
        resource_version="1",
        created_at=0,
        cluster_id="k",
        hub_id="h",
        batch=LaunchBatch(id="b", claims=("c",)),
        offerings=(),
        conditions=(
            Condition(type="Launched", status=True, since=1),
            Condition(type="Registered", status=None, since=2),
            Condition(type="Initialised", status=False, since=3),
        ),
    )
    assert claim.is_true("Launched")
    assert not claim.is_true("Registered")
    assert not claim.is_true("Initialised")
    assert not claim.is_true("Terminating")
    assert claim.condition("Registered").since == 2
    assert claim.condition("Terminating") is None
