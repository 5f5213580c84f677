"""Launch batches after a crash: never sent in part, replayed to the letter, given out in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Condition, LaunchBatch, LaunchTerms, NodeClaim, Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.ports import CLAIMS, LaunchRequest, PlacementGroup
from jupyter_gpu_jit.sim.world import World

NAMES = ("gnc-a", "gnc-b", "gnc-c")
BATCH = LaunchBatch(id="batch-1", claims=NAMES)
TYPE = "g6.xlarge"


def offerings(world: World) -> tuple[Offering, ...]:
    kind = next(t for t in world.config.types if t.name == TYPE)
    return tuple(o for o in kind.offerings if o.capacity_type is CapacityType.SPOT)[:2]


NOTHING = LaunchTerms()


async def write(
    world: World, name: str, *, launched: str | None = None, terms: LaunchTerms = NOTHING
) -> None:
    """A claim as a provisioner that is gone now left it; ``launched``: True, False or Unknown."""
    claim = NodeClaim(
        name=name, uid="", resource_version="", created_at=0.0, cluster_id="sim", hub_id="sim",
        batch=BATCH, offerings=offerings(world), terms=terms,
    )  # fmt: skip
    await world.cluster.create(CLAIMS, wire.encode_claim(claim))
    if launched is not None:
        status = {"True": True, "False": False, "Unknown": None}[launched]
        condition = Condition(type=wire.LAUNCHED, status=status, since=world.clock.now())
        patch = {"status": {"conditions": [wire.encode_condition(condition)]}}
        await world.cluster.patch(CLAIMS, name, patch, subresource="status")


def request(world: World) -> LaunchRequest:
    tags = {wire.CLUSTER_TAG: "sim", wire.HUB_TAG: "sim", wire.BATCH_TAG: BATCH.id}
    return LaunchRequest(
        client_token=BATCH.client_token, offerings=offerings(world), count=len(NAMES), tags=tags
    )


@pytest.mark.parametrize("marks", [(None, None), ("False", None), (None, "False")])
def test_a_batch_that_was_never_written_whole_is_given_up_not_launched(
    in_world: Any, marks: tuple[str | None, str | None]
) -> None:
    async def body(world: World) -> None:
        for name, mark in zip(NAMES, marks, strict=False):
            await write(world, name, launched=mark)
        world.start_provisioner()
        await world.until(lambda: not world.cluster.peek(CLAIMS), seconds=120)
        assert not world.cloud.ledger

    in_world(body, provisioner=False)


def test_a_launch_without_an_answer_is_repeated_and_given_out_in_order(in_world: Any) -> None:
    async def body(world: World) -> None:
        for name in NAMES:
            await write(world, name, launched="Unknown")
        first = await world.cloud.launch(request(world))
        world.start_provisioner()

        def told() -> bool:
            claims = map(wire.read_claim, world.cluster.peek(CLAIMS))
            return all(claim.provider_id for claim in claims)

        await world.until(told, seconds=60)
        assert len(world.cloud.ledger) == len(first.instances) == len(NAMES)
        by_name = {c.name: c for c in map(wire.read_claim, world.cluster.peek(CLAIMS))}
        in_order = sorted(first.instances, key=lambda i: i.id)
        assert [by_name[n].provider_id for n in NAMES] == [i.provider_id for i in in_order]
        await world.all_given_back()

    in_world(body, provisioner=False)


def test_a_launch_that_gave_less_than_asked_ends_the_claims_left_over(in_world: Any) -> None:
    async def body(world: World) -> None:
        for offering in offerings(world):
            world.cloud.stock(offering.key, 1)
        for name in NAMES:
            await write(world, name)
        world.start_provisioner()

        def settled() -> bool:
            claims = [wire.read_claim(c) for c in world.cluster.peek(CLAIMS)]
            return len(claims) == 2 and all(c.provider_id for c in claims)

        await world.until(settled, seconds=60)
        assert len(world.cloud.ledger) == 2
        await world.all_given_back()

    in_world(body, provisioner=False)


def test_an_instance_that_nobody_claims_is_ended_but_not_before_its_grace(in_world: Any) -> None:
    async def body(world: World) -> None:
        for name in NAMES:
            await write(world, name, launched="Unknown")
        result = await world.cloud.launch(request(world))
        for name in NAMES:
            await world.cluster.patch(CLAIMS, name, {"metadata": {"finalizers": None}})
            await world.cluster.delete(CLAIMS, name)
        world.start_provisioner()
        grace = world.config.settings.orphan_grace_seconds
        await world.clock.sleep(grace - 10)
        assert len(world.cloud.live()) == len(result.instances)
        await world.until(lambda: not world.cloud.live(), seconds=300)

    in_world(body, provisioner=False)


def test_what_a_batch_asks_besides_is_sent_with_it(in_world: Any) -> None:
    terms = LaunchTerms(placement_group="pg-1", efa=True, together="g")

    async def body(world: World) -> None:
        for name in NAMES:
            await write(world, name, launched="Unknown", terms=terms)
        group = PlacementGroup(name="pg-1")
        sent = replace(request(world), at_least=3, placement_group=group, efa=True)
        # The token of another request would be refused, so only this very one gives instances.
        await world.cloud.launch(sent)
        world.start_provisioner()

        def told() -> bool:
            claims = map(wire.read_claim, world.cluster.peek(CLAIMS))
            return all(claim.provider_id for claim in claims)

        await world.until(told, seconds=60)
        assert len(world.cloud.ledger) == len(NAMES)

    in_world(body, provisioner=False)
