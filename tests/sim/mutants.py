"""Six planted bugs, and the provisioner's safety nets, each of which can be taken away.

A bug or a missing net is a patch of the real parts for as long as a ``with`` lasts; the product
has no switches for this. ``test_mutants.py`` runs each bug with each net that is not its own
taken away, so that none is found only because another part was there to stumble over it.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from unittest.mock import patch

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import NODES, LaunchRequest
from jupyter_gpu_jit.provisioner import runtime
from jupyter_gpu_jit.provisioner.collection import Collection
from jupyter_gpu_jit.provisioner.launching import Launching
from jupyter_gpu_jit.provisioner.provisioning import Provisioning
from jupyter_gpu_jit.provisioner.state import ClusterState
from jupyter_gpu_jit.sim.boot import BootModel, exactly
from jupyter_gpu_jit.sim.market import A100
from jupyter_gpu_jit.sim.scenarios import PATIENCE_SECONDS, one_session
from jupyter_gpu_jit.sim.world import WorldConfig, real_provisioner

_fresh = itertools.count(1000)

# --- safety nets, taken away ----------------------------------------------------------------------


async def _collect_nothing(self):
    """Garbage collection off."""


_send = Launching._send


async def _send_with_fresh_token(self, batch, claim):
    """Client token off: a repeated request is a new one."""
    return await _send(self, replace(batch, attempt=next(_fresh)), claim)


_carry_out = Launching.carry_out


async def _carry_out_own_only(self, batch):
    """Replay off: what a predecessor began to launch is left alone."""
    own = self.__dict__.setdefault("own", set())
    members = [c for name in batch.claims if (c := self._state.claims.get(name))]
    if all(claim.condition(wire.LAUNCHED) is None for claim in members):
        own.add(batch.id)
    if batch.id in own:
        await _carry_out(self, batch)


async def _cached_node(self, claim):
    """Release recheck off: the node is as the cache has it."""
    return self._state.node_of(claim)


_parts = runtime._Parts.__init__


def _parts_without_grace(self, *ports, settings, **rest):
    """Grace off: nothing is too young to be judged."""
    _parts(self, *ports, settings=replace(settings, orphan_grace_seconds=0.0), **rest)


def _observe_nothing(self, kind, obj):
    """Read-your-writes off: answers to own writes do not enter the cache."""
    return obj


NETS = {
    "garbage collection": (Collection, "collect", _collect_nothing),
    "client token": (Launching, "_send", _send_with_fresh_token),
    "batch replay": (Launching, "carry_out", _carry_out_own_only),
    "release recheck": (Provisioning, "_check_node", _cached_node),
    "grace": (runtime._Parts, "__init__", _parts_without_grace),
    "read your writes": (ClusterState, "observe", _observe_nothing),
}

# --- bugs -----------------------------------------------------------------------------------------


_create = Provisioning._create


async def _launch_then_create(self, name, batch, planned):
    """Launch before intent: the request is sent, then what it is for is written down."""
    tags = {
        wire.CLUSTER_TAG: self._settings.cluster_id,
        wire.HUB_TAG: self._settings.hub_id,
        wire.BATCH_TAG: batch.id,
    }
    request = LaunchRequest(
        client_token=batch.client_token,
        offerings=planned.offerings,
        count=len(batch.claims),
        tags=tags,
    )
    await CloudOfWorld.cloud.launch(request)
    await _create(self, name, batch, planned)


class CloudOfWorld:
    """The cloud of the world that is being played, for a bug in a part that has none."""

    cloud = None


_snapshot = ClusterState.snapshot


def _last_snapshot(self):
    """Plan from a stale view: what was seen before the last plan was carried out."""
    before = self.__dict__.get("before")
    self.before = _snapshot(self)
    return before or self.before


async def _end_unnamed(self, instances, claims):
    """Garbage collection by name: an instance is owned if a claim knows its node's name."""
    names = {claim.node_name for claim in claims if claim.node_name}
    alive = {node.provider_id: node.name for node in self._state.nodes}
    orphans = [
        instance.id
        for instance in instances
        if instance.state in ("pending", "running")
        and alive.get(instance.provider_id) not in names
        and self._clock.now() - instance.launched_at > self._settings.orphan_grace_seconds
    ]
    if orphans:
        await self._cloud.terminate(orphans)


# --- stories in which a bug must show -------------------------------------------------------------


class LosesFirstLaunch:
    """A tap: the answer to the first launch does not arrive."""

    def __init__(self):
        self.lost = False

    async def before(self, call):
        """Nothing."""

    async def after(self, call, error):
        """Raises Unavailable once, after the launch."""
        if call.verb == "launch" and not self.lost:
            self.lost = True
            raise Unavailable("The simulated answer was lost.", reason="Timeout")


class DeafToNodes:
    """A cluster that tells nothing about nodes while ``deaf``."""

    deaf = False

    def __init__(self, inner, clock):
        self.inner, self.clock = inner, clock

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def watch(self, kind, **scope):
        """Events, those of nodes held back while deaf."""
        async for event in self.inner.watch(kind, **scope):
            while kind == NODES and DeafToNodes.deaf:
                await self.clock.sleep(1.0)
            yield event


def _hard_of_hearing(cluster, cloud, clock, ids, settings):
    return real_provisioner(DeafToNodes(cluster, clock), cloud, clock, ids, settings)


async def cordoned_unheard(world):
    """A node with a free seat is cordoned, and that is not heard before somebody wants the seat."""
    alice = world.hub.start("alice", A100)
    await world.hub.ready(alice, seconds=PATIENCE_SECONDS)
    (node,) = world.truth.nodes
    DeafToNodes.deaf = True
    await world.cluster.patch(NODES, node, {"spec": {"unschedulable": True}})
    await world.clock.sleep(20.0)
    bob = world.hub.start("bob", A100)
    await world.clock.sleep(30.0)
    DeafToNodes.deaf = False
    await world.hub.ready(bob, seconds=PATIENCE_SECONDS)


async def launched_before_a_round(world):
    """One session, launched a moment before the first round of garbage collection."""
    await world.clock.sleep(26.0)
    await one_session(world)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug, the nets that it takes away itself, the invariant that must fail, and its story."""

    bug: tuple
    must_fail: str
    own_nets: tuple[str, ...]
    body: object = one_session
    config: WorldConfig = field(default_factory=WorldConfig)
    taps: tuple = ()
    seeds: range = range(1, 2)


_SLOW_TO_JOIN = WorldConfig(boot=replace(BootModel.exact(), register=exactly(100.0)))

MUTANTS = {
    "launch before intent": Mutant(
        bug=(Provisioning, "_create", _launch_then_create),
        must_fail="I1 no double launch",
        own_nets=(),
    ),
    "no token": Mutant(
        bug=NETS["client token"],
        must_fail="I1 no double launch",
        own_nets=("client token",),
        taps=(LosesFirstLaunch,),
    ),
    "collection without grace": Mutant(
        bug=NETS["grace"],
        must_fail="I3 no false collection",
        own_nets=("grace", "garbage collection"),
        body=launched_before_a_round,
        config=WorldConfig(lag_seconds=59.0),
        seeds=range(8),
    ),
    "plan from a stale view": Mutant(
        bug=(ClusterState, "snapshot", _last_snapshot),
        must_fail="I1 no double launch",
        own_nets=(),
    ),
    "release without recheck": Mutant(
        bug=NETS["release recheck"],
        must_fail="plan executed",
        own_nets=("release recheck",),
        body=cordoned_unheard,
        config=WorldConfig(make=_hard_of_hearing),
    ),
    "garbage collection by name": Mutant(
        bug=(Collection, "_end_orphans", _end_unnamed),
        must_fail="I3 no false collection",
        own_nets=("garbage collection",),
        config=_SLOW_TO_JOIN,
    ),
}


@contextmanager
def planted(*patches):
    """These replace methods of the real parts meanwhile."""
    with ExitStack() as stack:
        for owner, name, new in patches:
            stack.enter_context(patch.object(owner, name, new))
        yield
