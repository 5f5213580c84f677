"""Nodes go when nothing of them is needed any more, and launches that nobody answers are let go."""

from __future__ import annotations

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import NODES, VOLUME_ATTACHMENTS
from jupyter_gpu_jit.sim.world import SIM_SETTINGS, World, real_provisioner


async def attach(world: World, node: str) -> None:
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": "csi-1"},
        "spec": {
            "attacher": "ebs.csi.aws.com",
            "nodeName": node,
            "source": {"persistentVolumeName": "home"},
        },
    }
    await world.cluster.create(VOLUME_ATTACHMENTS, body)


async def used_node(world: World, profile) -> str:
    """Name of a node that ann has worked on, with her volume attached; she has stopped."""
    ann = world.hub.start("ann", profile)
    await world.hub.ready(ann)
    await attach(world, ann.nodes[0])
    await world.hub.stop(ann)
    await world.hub.gone(ann)
    return ann.nodes[0]


def test_an_instance_is_ended_only_when_its_volumes_are_let_go_of(in_world, l4):
    async def body(world: World):
        await used_node(world, l4)
        await world.clock.sleep(200)
        assert len(world.cloud.live()) == 1
        (node,) = map(wire.read_node, world.cluster.peek(NODES))
        assert node.unschedulable
        assert wire.OUT_OF_SERVICE_TAINT not in node.taints
        await world.cluster.delete(VOLUME_ATTACHMENTS, "csi-1")
        await world.all_given_back(seconds=90)

    in_world(body)


def test_a_volume_that_is_never_let_go_of_does_not_keep_an_instance_for_ever(in_world, l4):
    async def body(world: World):
        await used_node(world, l4)
        limit = SIM_SETTINGS.empty_grace_seconds + SIM_SETTINGS.detach_deadline_seconds
        await world.until(lambda: not world.cloud.live(), seconds=limit + 60)
        assert world.clock.now() - world.started_at > SIM_SETTINGS.detach_deadline_seconds

    in_world(body)


def test_of_a_dead_node_kubernetes_is_told_that_it_may_detach(in_world, l4):
    async def body(world: World):
        ann = world.hub.start("ann", l4)
        await world.hub.ready(ann)
        await attach(world, ann.nodes[0])
        world.reclaim(world.cloud.live()[0].id)
        await world.until(lambda: tainted(world), seconds=200)
        assert ann.nodes[0] in world.truth.nodes
        await world.cluster.delete(VOLUME_ATTACHMENTS, "csi-1")
        await world.hub.gone(ann)
        await world.all_given_back()

    in_world(body)


def tainted(world: World) -> bool:
    nodes = map(wire.read_node, world.cluster.peek(NODES))
    return any(wire.OUT_OF_SERVICE_TAINT in node.taints for node in nodes)


def test_a_new_node_is_labelled_with_its_place_in_the_network_and_asked_about_once(in_world, a100):
    async def body(world: World):
        ann = world.hub.start("ann", a100)
        await world.hub.ready(ann)
        await world.clock.sleep(20)
        (node,) = map(wire.read_node, world.cluster.peek(NODES))
        (instance,) = world.cloud.live()
        told = await world.cloud.network_nodes([instance.id])
        assert tuple(node.labels[key] for key in wire.NETWORK_NODE_LABELS) == told[instance.id]

    in_world(body)


class Counting:
    """A cloud that counts questions about the network, and can be deaf to launches."""

    def __init__(self, inner, *, deaf=False, takes_effect=False):
        self.inner, self.deaf, self.takes_effect = inner, deaf, takes_effect
        self.asked, self.tokens = [], []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def network_nodes(self, instance_ids):
        self.asked.append(tuple(instance_ids))
        return await self.inner.network_nodes(instance_ids)

    async def launch(self, request):
        self.tokens.append(request.client_token)
        if self.takes_effect:
            await self.inner.launch(request)
        if self.deaf:
            raise Unavailable("The simulated answer did not come.", reason="Timeout")
        return await self.inner.launch(request)


def counting(clouds, **how):
    def make(cluster, cloud, *rest, **more):
        clouds.append(Counting(cloud, **how))
        return real_provisioner(cluster, clouds[-1], *rest, **more)

    return make


def test_a_type_without_a_known_place_is_asked_about_once(in_world, l4):
    clouds = []

    async def body(world: World):
        await world.hub.ready(world.hub.start("ann", l4))
        await world.clock.sleep(60)
        (node,) = map(wire.read_node, world.cluster.peek(NODES))
        assert not set(wire.NETWORK_NODE_LABELS) & set(node.labels)
        assert len(clouds[0].asked) == 1

    in_world(body, make=counting(clouds))


def test_a_launch_nobody_answers_is_given_up_after_its_time_and_planned_anew(in_world, l4):
    clouds = []

    async def body(world: World):
        ann = world.hub.start("ann", l4)
        limit = SIM_SETTINGS.launch_deadline_seconds
        await world.until(lambda: len(set(clouds[0].tokens)) > 1, seconds=limit + 60)
        assert world.clock.now() - world.started_at > limit
        clouds[0].deaf = False
        await world.hub.ready(ann)
        assert len(world.cloud.ledger) == 1

    in_world(body, make=counting(clouds, deaf=True))


def test_a_node_that_joins_when_its_claim_is_long_gone_is_removed(in_world, l4):
    async def body(world: World):
        ann = world.hub.start("ann", l4)
        await world.hub.ready(ann)
        await world.hub.stop(ann)
        await world.all_given_back()
        (record,) = world.cloud.ledger.values()
        for name, provider_id in (
            ("late", record.instance.provider_id),
            ("foreign", "aws:///us-east-1a/i-another"),
        ):
            node = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name},
                "spec": {"providerID": provider_id},
            }
            await world.cluster.create(NODES, node)
        await world.until(lambda: set(world.truth.nodes) == {"foreign"}, seconds=90)
        await world.clock.sleep(120)
        assert set(world.truth.nodes) == {"foreign"}

    in_world(body)


def test_what_was_launched_without_an_answer_is_found_and_not_launched_again(in_world, l4):
    clouds = []

    async def body(world: World):
        ann = world.hub.start("ann", l4)
        await world.hub.ready(ann, seconds=SIM_SETTINGS.launch_deadline_seconds + 120)
        assert len(world.cloud.ledger) == len(set(clouds[0].tokens)) == 1

    in_world(body, make=counting(clouds, deaf=True, takes_effect=True))
