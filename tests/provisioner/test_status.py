"""What people are told about their claim, and when it is worth telling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Condition, LaunchBatch, NodeClaim, Offering
from jupyter_gpu_jit.core.progress import Stage
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.provisioner.settings import Settings
from jupyter_gpu_jit.provisioner.status import on_claim, remaining_seconds, says_the_same

SETTINGS = Settings()
START = 1_000.0


def claim(*conditions: Condition, **more: Any) -> NodeClaim:
    offering = Offering(
        instance_type="g6.xlarge",
        zone="us-east-1a",
        capacity_type=CapacityType.SPOT,
        usd_per_hour_micro=321_920,
    )
    return NodeClaim(
        name="gnc-a",
        uid="u",
        resource_version="1",
        created_at=START,
        cluster_id="c",
        hub_id="h",
        batch=LaunchBatch(id="b", claims=("gnc-a",)),
        offerings=(offering,),
        conditions=conditions,
        **more,
    )


def launched(since: float) -> Condition:
    return Condition(type=wire.LAUNCHED, status=True, since=since)


def test_whoever_joins_a_booting_node_late_is_told_what_is_left():
    whole = remaining_seconds(Stage.BOOTING, SETTINGS.stage_seconds)
    first = on_claim(claim(launched(START)), now=START, settings=SETTINGS)
    late = on_claim(claim(launched(START)), now=START + 30, settings=SETTINGS)
    assert (first.stage, first.eta_seconds) == (Stage.BOOTING, whole)
    assert late.eta_seconds == whole - 30


def test_a_stage_that_takes_too_long_leaves_the_stages_after_it():
    after = remaining_seconds(Stage.REGISTERED, SETTINGS.stage_seconds)
    status = on_claim(claim(launched(START)), now=START + 600, settings=SETTINGS)
    assert status.eta_seconds == after


def test_a_clock_that_was_set_back_promises_nothing_longer():
    whole = remaining_seconds(Stage.BOOTING, SETTINGS.stage_seconds)
    status = on_claim(claim(launched(START)), now=START - 3600, settings=SETTINGS)
    assert status.eta_seconds == whole


def test_only_news_is_written():
    status = on_claim(claim(launched(START)), now=START, settings=SETTINGS)
    assert says_the_same(status, replace(status, since=START + 5, eta_seconds=1))
    assert not says_the_same(status, replace(status, node="other"))
    assert not says_the_same(None, status)
