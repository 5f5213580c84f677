"""What gave nothing is left alone: which of it, for how long, and until when."""

from dataclasses import replace

import pytest

from jupyter_gpu_jit.core.dry import (
    Dry,
    Key,
    Scope,
    closed,
    decode,
    encode,
    key_of,
    no_quota,
)
from jupyter_gpu_jit.core.model import InstanceType, Offering, Resources
from jupyter_gpu_jit.core.quotas import Quota
from jupyter_gpu_jit.core.requirements import CapacityType

ICE, QUOTA, ADDRESSES = (
    "InsufficientInstanceCapacity", "VcpuLimitExceeded", "InsufficientFreeAddressesInSubnet"
)  # fmt: skip
MINUTE = 60.0


def offering(name="g6.xlarge", zone="a", sold=CapacityType.SPOT):
    return Offering(instance_type=name, zone=zone, capacity_type=sold, usd_per_hour_micro=1)


def kind(name):
    offerings = tuple(offering(name, zone, sold) for zone in "ab" for sold in CapacityType)
    return InstanceType(
        name=name, vcpu=4, memory_mib=1, allocatable=Resources(), offerings=offerings
    )


TYPES = (kind("g5.xlarge"), kind("g6.xlarge"))
A = offering()


def test_one_pool_is_dry_for_three_minutes_and_no_other():
    dry = Dry().failed(A, ICE, now=100.0)
    assert dry.excluded(TYPES, now=100.0) == [A.key]
    assert dry.excluded(TYPES, now=100.0 + 3 * MINUTE - 1) == [A.key]
    assert dry.next_end(now=100.0) == 100.0 + 3 * MINUTE
    assert dry.excluded(TYPES, now=100.0 + 3 * MINUTE) == []
    assert dry.next_end(now=100.0 + 3 * MINUTE) is None
    assert dry.without_quota(now=100.0) == []


def test_each_repeat_lasts_twice_as_long_up_to_half_an_hour():
    dry, now, lengths = Dry(), 0.0, []
    for _ in range(6):
        dry = dry.failed(A, ICE, now=now)
        lengths.append(dry.next_end(now=now) - now)
        now += lengths[-1]
    assert lengths == [3 * MINUTE, 6 * MINUTE, 12 * MINUTE, 24 * MINUTE, 30 * MINUTE, 30 * MINUTE]


def test_the_same_shortage_told_twice_is_no_repeat():
    once = Dry().failed(A, ICE, now=0.0)
    assert once.failed(A, ICE, now=1.0) is once


def test_half_an_hour_after_its_end_a_spell_is_forgotten():
    dry = Dry().failed(A, ICE, now=0.0)
    later = 3 * MINUTE + 30 * MINUTE
    again = dry.failed(offering(zone="b"), ICE, now=later).failed(A, ICE, now=later)
    assert again.next_end(now=later) == later + 3 * MINUTE


def test_a_success_forgets_the_pool_its_zone_and_its_class():
    dry = Dry()
    for code in (ICE, QUOTA, ADDRESSES):
        dry = dry.failed(A, code, now=0.0)
    other = dry.failed(offering("g5.xlarge", "b"), ICE, now=0.0)
    assert dry.succeeded(A).spells == {}
    assert other.succeeded(A).excluded(TYPES, now=0.0) == [("g5.xlarge", "b", "spot")]
    assert Dry().succeeded(A) == Dry()


@pytest.mark.parametrize("code", [QUOTA, "MaxSpotInstanceCountExceeded"])
def test_a_quota_is_about_a_class_of_types_in_every_zone(code):
    dry = Dry().failed(A, code, now=0.0)
    assert dry.without_quota(now=0.0) == [("g-vt", CapacityType.SPOT)]
    assert dry.excluded(TYPES, now=0.0) == []
    assert dry.next_end(now=0.0) == 3 * MINUTE
    assert dry.without_quota(now=3 * MINUTE) == []


def test_without_addresses_a_whole_zone_is_left_out():
    dry = Dry().failed(A, ADDRESSES, now=0.0)
    found = dry.excluded(TYPES, now=0.0)
    assert {zone for _, zone, _ in found} == {"a"}
    assert len(found) == 4


def test_without_a_role_for_spot_nothing_is_asked_of_spot():
    dry = Dry().failed(A, "AuthFailure.ServiceLinkedRoleCreationNotPermitted", now=0.0)
    assert {sold for _, _, sold in dry.excluded(TYPES, now=0.0)} == {"spot"}
    assert len(dry.excluded(TYPES, now=0.0)) == 4
    assert dry.succeeded(offering("g5.xlarge", "b")).excluded(TYPES, now=0.0) == []


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "Throttling", "ServiceUnavailable"])
def test_a_throttle_marks_nothing(code):
    assert key_of(A, code) is None
    assert Dry().failed(A, code, now=0.0) == Dry()


def test_a_code_nobody_knows_is_about_the_pool():
    pool = Key(Scope.POOL, "g6.xlarge", "a", "spot")
    assert key_of(A, "SomethingNew") == pool
    assert key_of(replace(A, zone="b"), "SomethingNew") == replace(pool, zone="b")


def test_a_class_without_quota_has_none_left_for_the_planner():
    spot, standard = ("g-vt", CapacityType.SPOT), ("standard", CapacityType.ON_DEMAND)
    known = tuple(
        Quota(vcpu_class=name, capacity_type=sold, free_vcpus=64) for name, sold in (standard, spot)
    )
    found = closed(known, [spot, ("p5", CapacityType.SPOT)])
    assert [(q.vcpu_class, q.free_vcpus) for q in found] == [
        ("g-vt", 0), ("p5", 0), ("standard", 64)
    ]  # fmt: skip
    assert no_quota(*spot) == (
        "Your cluster has no Spot quota left for G instances: ask your admin."
    )
    assert "no on-demand quota left for standard instances" in no_quota(*standard)


def test_it_is_written_and_read_again_as_far_as_it_still_holds():
    dry = Dry().failed(A, ICE, now=0.0).failed(A, QUOTA, now=100.0)
    dry = dry.failed(offering(zone="b"), ADDRESSES, now=100.0)
    text = encode(dry, now=200.0)
    again = decode(text)
    assert set(again.spells) == {k for k in dry.spells if k.scope is not Scope.POOL}
    assert again.without_quota(now=200.0) == dry.without_quota(now=200.0)
    assert again.excluded(TYPES, now=200.0) == dry.excluded(TYPES, now=200.0)
    assert again.excluded(TYPES, now=300.0) == []
    assert encode(again, now=200.0) == text


def test_what_was_read_again_goes_on_where_it_was():
    twice = Dry(10.0).failed(A, ICE, now=0.0).failed(A, ICE, now=20.0)
    again = decode(encode(twice, now=20.0), 10.0).failed(A, ICE, now=60.0)
    assert again == twice.failed(A, ICE, now=60.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spells": [{}]}', '{"spells": 1}'])
def test_what_cannot_be_read_is_no_memory(text):
    assert decode(text) == Dry()


def test_the_first_spell_can_be_set():
    dry = Dry(first_seconds=10.0).failed(A, ICE, now=0.0)
    assert dry.next_end(now=0.0) == 10.0
