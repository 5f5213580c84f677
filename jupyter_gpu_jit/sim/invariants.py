"""The rules that must hold after every step of a simulated world, as code.

Names and wording follow the project's list: I1 no double launch, I2 no leak, I3 no false
collection, I9 no deletion on a stale view, I11 progress only moves forward and is true; and of
the planner's side: capacity, one seat per session, the plan is executed. The world feeds every
change in; the first breach raises ``Violated`` with the recent trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import ceil

from ..core import wire
from ..core.layouts import room_on
from ..core.model import Node, NodeClaim, SessionPod
from ..core.progress import ORDER, Stage
from ..errors import Defect
from ..ports import Instance
from .cluster import Change
from .interrupted import LivesUntilTheEnd, ReplacedInTime
from .truth import ClaimStep, InstanceStep, NodeStep, PodStep, Step, Tick, Truth, is_live

LEAK_SECONDS = 300.0
ORPHAN_SECONDS = 60.0
TAKEOVER_SECONDS = 20.0
"""A new provisioner acts within this (its predecessor's lease has to run out)."""
RECHECK_SECONDS = 5.0
"""Between the last look at a node and the release onto it no more than this may pass."""

Complaints = Iterator[str]


class Violated(Defect):
    """An invariant does not hold; ``name`` says which, ``story`` what happened before."""

    default_reason = "InvariantViolated"

    def __init__(self, name: str, message: str, story: str = "") -> None:
        super().__init__(f"{name}: {message}\n{story}".rstrip())
        self.name, self.story = name, story


class NoDoubleLaunch:
    """I1: an intent first, at most one instance per claim, one launch per session and failure."""

    name = "I1 no double launch"

    def __init__(self) -> None:
        # Of claims that are long gone too: what was launched counts, not what is left of it.
        self._batches: dict[str, dict[str, int]] = {}

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if isinstance(step, InstanceStep) and step.old is None:
            yield from self._launch(truth, step.new)
        if isinstance(step, ClaimStep) and step.new is not None:
            self._remember(step.new)
            yield from self._given(truth, step.old, step.new) if step.new.provider_id else ()

    def _remember(self, claim: NodeClaim) -> None:
        for uid in claim.sessions:
            self._batches.setdefault(uid, {})[claim.batch.id] = len(claim.batch.claims)

    def _launch(self, truth: Truth, instance: Instance) -> Complaints:
        batch = instance.tags.get(wire.BATCH_TAG, "")
        claims = truth.batch_claims(batch)
        if not claims:
            yield f"{instance.id} was launched for batch {batch!r}, of which no claim is written."
            return
        planned = claims[0].batch.claims
        missing = sorted(set(planned) - {claim.name for claim in claims})
        if missing:
            yield f"batch {batch} was launched while its claims {missing} are not written."
        if truth.launched(batch) > len(planned):
            yield f"batch {batch} of {len(planned)} got {truth.launched(batch)} instances."
        yield from self._per_session(truth, claims)

    def _per_session(self, truth: Truth, claims: list[NodeClaim]) -> Complaints:
        for uid in sorted({uid for claim in claims for uid in claim.sessions}):
            sizes = self._batches[uid].items()
            launches = sum(ceil(truth.launched(batch) / size) for batch, size in sizes)
            if launches > 1 + truth.failures:
                yield f"{launches} launches for session {uid}, but {truth.failures} failures."

    def _given(self, truth: Truth, old: NodeClaim | None, new: NodeClaim) -> Complaints:
        if old is not None and old.provider_id and old.provider_id != new.provider_id:
            yield f"claim {new.name} changed from {old.provider_id} to {new.provider_id}."
        same = [c.name for c in truth.claims.values() if c.provider_id == new.provider_id]
        if len(same) > 1:
            yield f"claims {sorted(same)} have the same instance {new.provider_id}."


class NoLeak:
    """I2: no instance without a claim, and no claim without its instance, for over 5 minutes."""

    name = "I2 no leak"

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if not isinstance(step, Tick):
            return
        wrong = dict(self._leaks(truth))
        now = truth.clock.now()
        self._since = {key: self._since.get(key, now) for key in wrong}
        for key, since in self._since.items():
            if now - since > LEAK_SECONDS:
                yield f"{wrong[key]} for {now - since:.0f} s."

    def _leaks(self, truth: Truth) -> Iterator[tuple[str, str]]:
        for instance in truth.instances.values():
            if is_live(instance) and not truth.owners(instance):
                yield instance.id, f"instance {instance.id} runs without a claim"
        for claim in truth.claims.values():
            if claim.provider_id and not is_live(truth.instance_of(claim)):
                yield claim.name, f"claim {claim.name} has outlived its instance"

    def finish(self, truth: Truth) -> Complaints:
        """After everybody has left and all grace is over, nothing may be left."""
        for instance in truth.instances.values():
            if is_live(instance):
                yield f"instance {instance.id} is left over."
        left = [*truth.claims, *(n.name for n in truth.nodes.values()), *truth.pods]
        if left:
            yield f"objects are left over: {', '.join(left)}."


class NoFalseCollection:
    """I3: what is recorded, in flight, used or younger than a minute is never ended."""

    name = "I3 no false collection"

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if isinstance(step, InstanceStep) and step.new.state == "shutting-down":
            yield from self._ended(truth, step.new)
        if isinstance(step, ClaimStep) and step.new is not None and step.new.deleting:
            before = step.old is not None and step.old.deleting
            yield from () if before else self._let_go(truth, step.new)

    def _ended(self, truth: Truth, instance: Instance) -> Complaints:
        if instance.id in truth.excused:
            return
        owners = truth.owners(instance)
        for claim in owners:
            if not claim.deleting:
                yield f"{instance.id} was ended although claim {claim.name} has or awaits it."
            users = [pod.name for pod in truth.users_of(claim)]
            if users:
                yield f"{instance.id} was ended under the sessions {users}."
        age = truth.clock.now() - instance.launched_at
        if not owners and age < ORPHAN_SECONDS:
            yield f"{instance.id} without a claim was ended after only {age:.1f} s."

    def _let_go(self, truth: Truth, claim: NodeClaim) -> Complaints:
        instance = truth.instance_of(claim)
        if instance is None or not is_live(instance) or instance.id in truth.excused:
            return
        users = [pod.name for pod in truth.users_of(claim)]
        if users:
            yield f"claim {claim.name} of a healthy instance was deleted under {users}."


class ForwardAndTrue:
    """I11: a stage never goes back within an attempt, never runs ahead, and is shown within 5 s."""

    name = "I11 progress moves forward and is true"

    def __init__(self) -> None:
        self._late: dict[tuple[str, Stage], float] = {}

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if isinstance(step, PodStep) and step.new is not None:
            yield from self._forward(step.old, step.new)
            if step.old is None or step.old.status != step.new.status:
                yield from self._not_ahead(truth, step.new)
        if isinstance(step, Tick):
            yield from self._shown_in_time(truth)

    def _forward(self, old: SessionPod | None, new: SessionPod) -> Complaints:
        if old is None or old.claim != new.claim or not old.claim:
            return
        before, after = _rank(old), _rank(new)
        if before is not None and after is not None and after < before:
            yield f"{new.name} went back from {ORDER[before]} to {ORDER[after]}."

    def _not_ahead(self, truth: Truth, pod: SessionPod) -> Complaints:
        shown, claim = _rank(pod), truth.claims.get(pod.claim)
        if shown is None or claim is None:
            return
        true = ORDER.index(self._reached(truth, claim))
        if shown > true and shown <= ORDER.index(Stage.INITIALISED):
            yield f"{pod.name} shows {ORDER[shown]} while {claim.name} is at {ORDER[true]}."

    def _reached(self, truth: Truth, claim: NodeClaim) -> Stage:
        """How far the claim's machine really is, whatever was written about it."""
        node = truth.node_of(claim.provider_id)
        if node is not None:
            return Stage.INITIALISED if truth.complete(node) else Stage.REGISTERED
        if claim.provider_id:
            return Stage.BOOTING
        return Stage.LAUNCHING

    def _shown_in_time(self, truth: Truth) -> Complaints:
        now = truth.clock.now()
        late: dict[tuple[str, Stage], float] = {}
        for pod in truth.active():
            stage = self._due(truth, pod)
            if stage is not None and truth.acting_since is not None:
                key = (pod.uid, stage)
                first = max(now, truth.acting_since + TAKEOVER_SECONDS)
                late[key] = self._late.get(key, first)
                seconds = now - late[key]
                if seconds > truth.shown_within_seconds:
                    yield f"{pod.name} has been at {stage} for {seconds:.0f} s without showing it."
        self._late = late

    def _due(self, truth: Truth, pod: SessionPod) -> Stage | None:
        """The stage that the pod should show and does not yet."""
        claim = truth.claims.get(pod.claim)
        if claim is None or claim.deleting or pod.node_name:
            return None
        stage, shown = self._reached(truth, claim), _rank(pod)
        if stage is Stage.LAUNCHING or (shown is not None and shown >= ORDER.index(stage)):
            return None
        return stage


def _rank(pod: SessionPod) -> int | None:
    """Place of the stage shown in the order of stages; None when it stands beside them."""
    stage = pod.status.stage if pod.status else ""
    return ORDER.index(Stage(stage)) if stage in ORDER else None


class WithinCapacity:
    """No node ever carries more than it has, in any dimension."""

    name = "capacity"

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        node = self._touched(truth, step)
        if node is None:
            return
        load = truth.load_on(node.name)
        kind = truth.types.get(node.labels.get(wire.INSTANCE_TYPE_LABEL, ""))
        room = room_on(node, kind, node.labels.get(wire.LAYOUT_LABEL, ""))
        if not load.fits_in(room):
            yield f"node {node.name} has {room} and carries {load}."

    def _touched(self, truth: Truth, step: Step) -> Node | None:
        if isinstance(step, NodeStep):
            return step.new
        if isinstance(step, PodStep) and step.new is not None and step.new.node_name:
            return truth.nodes.get(step.new.node_name)
        return None


class OneSeat:
    """A session is bound once, and never has two live pods on nodes."""

    name = "one seat per session"

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if not isinstance(step, PodStep) or step.new is None or not step.new.node_name:
            return
        old, new = step.old, step.new
        if old is not None and old.node_name and old.node_name != new.node_name:
            yield f"{new.name} was bound to {old.node_name} and then to {new.node_name}."
        who = (new.request.user, new.request.server)
        same = [
            pod.uid
            for pod in truth.pods.values()
            if pod.node_name and not pod.finished and (pod.request.user, pod.request.server) == who
        ]
        if len(same) > 1:
            yield f"{who} has {len(same)} live pods on nodes: {sorted(same)}."


class PlanExecuted:
    """A pod is released onto an initialised claim's usable node, and bound to no other."""

    name = "plan executed"

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if not isinstance(step, PodStep) or step.new is None:
            return
        old, new = step.old, step.new
        if new.pinned_to and (old is None or not old.pinned_to):
            yield from self._released(truth, new)
        if new.node_name and (old is None or not old.node_name):
            yield from self._bound(truth, new)

    def _released(self, truth: Truth, pod: SessionPod) -> Complaints:
        claim = truth.claims.get(pod.pinned_to)
        if claim is None or not claim.is_true(wire.INITIALISED):
            yield f"{pod.name} was released onto {pod.pinned_to}, which is not initialised."
        node = truth.node_of(claim.provider_id) if claim is not None else None
        now = truth.clock.now()
        if node is None:
            yield f"{pod.name} was released onto {pod.pinned_to}, which has no node."
        elif now - truth.unusable_since.get(node.name, now) > RECHECK_SECONDS:
            yield f"{pod.name} was released onto {node.name}, which has long been unusable."
        if pod.claim != pod.pinned_to:
            yield f"{pod.name} was planned onto {pod.claim!r} and released onto {pod.pinned_to!r}."

    def _bound(self, truth: Truth, pod: SessionPod) -> Complaints:
        node, claim = truth.nodes.get(pod.node_name), truth.claims.get(pod.pinned_to)
        if node is None or claim is None:
            yield f"{pod.name} was bound to {pod.node_name} for {pod.pinned_to!r}: one is gone."
        elif node.claim != claim.name or node.provider_id != claim.provider_id:
            yield f"{pod.name}, pinned to {claim.name}, was bound to {node.name} of {node.claim!r}."


class FreshView:
    """I9: whoever deletes has heard of everything up to a minute ago, and of its own writes."""

    name = "I9 no deletion on a stale view"

    def check(self, what: str, *, behind_seconds: float, in_doubt: bool) -> Complaints:
        """Called before each deletion by the port wrapper that knows what was delivered."""
        if behind_seconds > ORPHAN_SECONDS:
            yield f"{what} is deleted on a view {behind_seconds:.0f} s old."
        if in_doubt:
            yield f"{what} is deleted before an unanswered write of our own was looked up."


Check = Callable[[Truth, Step], Complaints]


class Invariants:
    """All rules over one truth. ``checked`` counts how often each was asked."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.checked: Counter[str] = Counter()
        self._leaks, self._fresh = NoLeak(), FreshView()
        self._checks: tuple[tuple[str, Check], ...] = tuple(
            (check.name, check)
            for check in (
                NoDoubleLaunch(),
                self._leaks,
                NoFalseCollection(),
                ForwardAndTrue(),
                WithinCapacity(),
                OneSeat(),
                PlanExecuted(),
                ReplacedInTime(),
            )
        )
        self._ends = LivesUntilTheEnd()

    def cluster_changed(self, change: Change) -> None:
        """Hook for ``MemoryCluster.on_change``. Raises Violated."""
        step = self.truth.cluster_step(change)
        if step is not None:
            self._check(step)

    def instance_changed(self, instance: Instance) -> None:
        """Hook for ``SimCloud.on_change``. Raises Violated."""
        self._check(self.truth.instance_step(instance))

    def tick(self) -> None:
        """To be called every second or so. Raises Violated."""
        self._check(Tick())

    def deleting(self, what: str, *, behind_seconds: float, in_doubt: bool) -> None:
        """Before each deletion that the provisioner asks for. Raises Violated."""
        complaints = self._fresh.check(what, behind_seconds=behind_seconds, in_doubt=in_doubt)
        self._raise_first(self._fresh.name, complaints)
        self._raise_first(self._ends.name, self._ends.check(self.truth, what))

    def finish(self) -> None:
        """When all sessions have ended and all grace is over. Raises Violated."""
        self._raise_first(self._leaks.name, self._leaks.finish(self.truth))

    def _check(self, step: Step) -> None:
        for name, check in self._checks:
            self._raise_first(name, check(self.truth, step))

    def _raise_first(self, name: str, complaints: Complaints) -> None:
        self.checked[name] += 1
        for message in complaints:
            raise Violated(name, message, self.truth.story())
