"""Groups, from the pods to the fleet request: one batch, one placement group, all or none."""

from __future__ import annotations

from dataclasses import replace

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import GroupPolicy, Profile, Together
from jupyter_gpu_jit.core.packing.terms import placement_group
from jupyter_gpu_jit.ports import CLAIMS, PODS
from jupyter_gpu_jit.sim.users import session_pod
from jupyter_gpu_jit.sim.world import World

NAMESPACE = "gpu-jit"


async def ask(world: World, user: str, profile: Profile, policy: GroupPolicy) -> None:
    pod = session_pod(profile, user=user)
    notes = pod["metadata"]["annotations"]
    asked = wire.decode_session(notes[wire.SESSION_ANNOTATION])
    grouped = replace(asked, group="team", group_policy=policy)
    notes[wire.SESSION_ANNOTATION] = wire.encode_session(grouped)
    await world.cluster.create(PODS, pod, namespace=NAMESPACE)


def test_a_group_is_launched_in_one_request_into_its_placement_group(in_world, l4):
    policy = GroupPolicy(together=Together.PLACEMENT_GROUP, all_or_none=True, size=2)

    async def body(world: World):
        await ask(world, "ann", l4, policy)
        await ask(world, "bob", l4, policy)

        def launched() -> bool:
            claims = [wire.read_claim(c) for c in world.cluster.peek(CLAIMS)]
            return len(claims) == 2 and all(c.provider_id for c in claims)

        await world.until(launched, seconds=300)
        claims = [wire.read_claim(c) for c in world.cluster.peek(CLAIMS)]
        assert {c.terms.placement_group for c in claims} == {
            f"{claims[0].cluster_id}-{placement_group('team')}"
        }
        assert {c.terms.together for c in claims} == {"team"}
        assert len({c.batch.id for c in claims}) == 1
        assert len({(c.instance_type, c.zone) for c in claims}) == 1

        def seated() -> bool:
            pods = [wire.read_session_pod(p) for p in world.cluster.peek(PODS)]
            return all(pod.node_name for pod in pods)

        await world.until(seated, seconds=600)
        assert len(world.cloud.ledger) == 2

    in_world(body)
