"""What a session costs, what nodes cost together, and what has been spent."""

from __future__ import annotations

from fractions import Fraction

import pytest

from jupyter_gpu_jit.core.model import Offering, Resources
from jupyter_gpu_jit.core.pricing import (
    dominant_share,
    session_share_micro,
    spent_micro,
    total_usd_per_hour_micro,
)
from jupyter_gpu_jit.core.requirements import CapacityType

NODE = Resources(cpu_millicpu=96_000, memory_bytes=1000, gpus=8, pods=100)


@pytest.mark.parametrize(
    ("taken", "share"),
    [
        (Resources(gpus=1, cpu_millicpu=8000, memory_bytes=10), Fraction(1, 8)),
        (Resources(gpus=1, cpu_millicpu=48_000, memory_bytes=10), Fraction(1, 2)),
        (Resources(gpus=1, cpu_millicpu=1, memory_bytes=750), Fraction(3, 4)),
        (Resources(pods=1), Fraction(0)),
        (Resources(gpus=9), Fraction(1)),
    ],
)
def test_the_largest_share_counts_and_pods_do_not(taken, share):
    assert dominant_share(taken, NODE) == share


def test_a_gpu_of_a_node_that_reports_none_is_the_whole_node():
    assert dominant_share(Resources(gpus=1), Resources(cpu_millicpu=4000)) == 1


def test_a_share_of_the_price_is_rounded_up():
    third = Resources(cpu_millicpu=32_000)
    assert session_share_micro(1_000_000, third, NODE) == 333_334


def test_shares_of_a_whole_node_are_its_price():
    assert session_share_micro(21_957_642, NODE, NODE) == 21_957_642


def test_a_total_is_the_sum():
    offerings = [
        Offering(instance_type="a", zone="z", capacity_type=CapacityType.SPOT, usd_per_hour_micro=n)
        for n in (1, 20, 300)
    ]
    assert total_usd_per_hour_micro(offerings) == 321
    assert total_usd_per_hour_micro([]) == 0


@pytest.mark.parametrize(
    ("seconds", "micro"), [(3600, 720_000), (1, 200), (0.2, 200), (0, 0), (-5, 0), (60.0, 12_000)]
)
def test_each_second_begun_is_paid_for(seconds, micro):
    assert spent_micro(720_000, seconds) == micro
