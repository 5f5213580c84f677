"""People and their hub, as the provisioner sees them: pods that come, wait, and go.

A model of JupyterHub with our spawner, for the simulator: creates gated session pods of the
shape that ``hub`` creates, waits for Ready, cancels and stops, and re-creates a pod that was
deleted with the recreate annotation during its start. Times of everything are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..core import wire
from ..core.model import Profile, SessionRequest
from ..core.nodes import SESSION_TOLERATIONS
from ..core.progress import ORDER, Stage
from ..core.quantity import format_bytes, format_cpu
from ..core.requirements import Toleration
from ..errors import AlreadyExists, Conflict, Expired, NotFound
from ..ports import PODS, Clock, Cluster, Json
from .tasks import Tasks

IMAGE = "quay.io/jupyter/pytorch-notebook:cuda12-latest"


class Outcome(StrEnum):
    """Where a session stands. ``LOST``: its pod went although nobody here asked for it."""

    STARTING = "starting"
    READY = "ready"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    LOST = "lost"


def pod_name(user: str, server: str = "") -> str:
    """Name of the pod; the same for every start of one server, as KubeSpawner's is."""
    return f"jupyter-{user}--{server}" if server else f"jupyter-{user}"


def session_pod(
    profile: Profile, *, user: str, server: str = "", volumes: Sequence[str] = ()
) -> Json:
    """The gated pod of a session, as the spawner sends it to the API server.

    ``volumes`` are names of volume claims.
    """
    request = SessionRequest(
        uid="",
        user=user,
        server=server,
        profile=profile.slug,
        resources=profile.resources,
        requirements=profile.requirements,
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(user, server),
            "labels": {
                wire.SESSION_LABEL: "true",
                "app.kubernetes.io/name": "jupyterhub",
                "component": "singleuser-server",
                "hub.jupyter.org/username": user,
            },
            "annotations": {wire.SESSION_ANNOTATION: wire.encode_session(request)},
        },
        "spec": {
            "schedulingGates": [{"name": wire.GATE}],
            "restartPolicy": "OnFailure",
            "automountServiceAccountToken": False,
            "tolerations": [_toleration_json(t) for t in SESSION_TOLERATIONS],
            "containers": [_container(profile)],
            **_mounts(volumes),
        },
    }


def _mounts(claims: Sequence[str]) -> Json:
    rows = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return {"volumes": rows} if rows else {}


def _container(profile: Profile) -> Json:
    limits = {"memory": format_bytes(profile.effective_memory_limit_bytes)}
    if profile.cpu_limit_millicpu is not None:
        limits["cpu"] = format_cpu(profile.cpu_limit_millicpu)
    requests = {
        "cpu": format_cpu(profile.cpu_guarantee_millicpu),
        "memory": format_bytes(profile.memory_guarantee_bytes),
    }
    if profile.gpus:
        limits[wire.GPU_RESOURCE] = requests[wire.GPU_RESOURCE] = str(profile.gpus)
    return {
        "name": "notebook",
        "image": profile.image or IMAGE,
        "ports": [{"name": "notebook-port", "containerPort": 8888}],
        "resources": {"requests": requests, "limits": limits},
    }


def _toleration_json(toleration: Toleration) -> Json:
    body = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
    }
    return {key: value for key, value in body.items() if value}


@dataclass(slots=True, kw_only=True)
class Session:
    """One start of one server, and what became of it; times in epoch seconds.

    ``stages`` holds when each stage was first seen in the pod's record; ``shown`` every
    change of it in order. ``nodes`` are all nodes it was ever bound to, ``pods`` all pod uids,
    ``volumes`` the volume claims it mounts.
    """

    user: str
    profile: Profile
    server: str = ""
    volumes: tuple[str, ...] = ()
    requested_at: float = 0.0
    ready_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome = Outcome.STARTING
    stages: dict[str, float] = field(default_factory=dict)
    shown: list[tuple[float, str]] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    message: str = ""

    @property
    def name(self) -> str:
        """Name of its pod."""
        return pod_name(self.user, self.server)

    @property
    def wait_seconds(self) -> float | None:
        """From the request to Ready; None when it never was."""
        return None if self.ready_at is None else self.ready_at - self.requested_at

    @property
    def wanted(self) -> bool:
        """Whether its user still wants it."""
        return self.outcome in (Outcome.STARTING, Outcome.READY)

    @property
    def settled(self) -> bool:
        """Whether its start is over, well or not, and what was stopped is gone."""
        return self.outcome is Outcome.READY or self.ended_at is not None


class Hub:
    """All users of one hub. One watch for all sessions, as KubeSpawner's reflector."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        namespace: str = "gpu-jit",
        stop_grace_seconds: int = 1,
    ) -> None:
        self.sessions: list[Session] = []
        self._cluster, self._clock = cluster, clock
        self._namespace, self._grace = namespace, stop_grace_seconds
        self._current: dict[str, Session] = {}
        self._changed = asyncio.Event()
        self._tasks = Tasks()
        self._up = asyncio.Event()
        self._up.set()

    # --- what people do ----------------------------------------------------------------------

    def start(
        self, user: str, profile: Profile, *, server: str = "", volumes: Sequence[str] = ()
    ) -> Session:
        """Ask for a session; returns at once. The last one of that server must have ended."""
        session = Session(
            user=user,
            profile=profile,
            server=server,
            volumes=tuple(volumes),
            requested_at=self._clock.now(),
        )
        self.sessions.append(session)
        self._current[session.name] = session
        self._tasks.start(self._create(session), f"spawn {session.name}")
        return session

    async def stop(self, session: Session) -> None:
        """End a session at whatever stage: cancelled while it starts, stopped once Ready."""
        if not session.wanted:
            return
        was_ready = session.outcome is Outcome.READY
        session.outcome = Outcome.STOPPED if was_ready else Outcome.CANCELLED
        self._wake()
        if not await self._delete(session):
            self._ended(session)

    async def restart(self, seconds: float) -> None:
        """The hub is away that long; then it adopts the pods of starts that were under way.

        People see no page meanwhile, and stop nothing; pods stay.
        """
        self._up.clear()
        await self._tasks.close()
        await self._clock.sleep(seconds)
        self._tasks = Tasks()
        self._up.set()
        for session in list(self._current.values()):
            if session.wanted and session.ended_at is None and not session.pods:
                self._tasks.start(self._create(session), f"spawn {session.name} after restart")

    async def until(self, condition: Callable[[], bool], *, seconds: float = 3600.0) -> None:
        """Wait until something about the sessions holds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():
                # Cleared and waited for without an await between, so that no change is missed.
                self._changed.clear()
                await self._changed.wait()

    async def ready(self, *sessions: Session, seconds: float = 3600.0) -> None:
        """Wait until these are Ready, or ended. Raises TimeoutError."""
        await self.until(lambda: all(s.settled for s in sessions), seconds=seconds)

    async def reached(self, session: Session, stage: str, *, seconds: float = 3600.0) -> None:
        """Wait until the session's record has shown the stage or a later one, or is over."""
        later = ORDER[ORDER.index(Stage(stage)) :] if stage in ORDER else (stage,)
        await self.until(
            lambda: session.settled or any(each in session.stages for each in later),
            seconds=seconds,
        )

    async def gone(self, *sessions: Session, seconds: float = 3600.0) -> None:
        """Wait until these have ended and their pods are gone. Raises TimeoutError."""
        await self.until(lambda: all(s.ended_at is not None for s in sessions), seconds=seconds)

    async def close(self) -> None:
        """End all tasks; pods stay."""
        await self._tasks.close()

    # --- pods --------------------------------------------------------------------------------

    async def _create(self, session: Session) -> None:
        """Create the pod; one of the same name that is still going is waited for."""
        body = session_pod(
            session.profile, user=session.user, server=session.server, volumes=session.volumes
        )
        while session.wanted:
            try:
                pod = await self._cluster.create(PODS, body, namespace=self._namespace)
            except AlreadyExists:
                await self._clock.sleep(0.5)
                continue
            session.pods.append(pod["metadata"]["uid"])
            # Cancelled while the call was under way: nobody else knows of this pod.
            if not session.wanted:
                await self._delete(session)
            return

    async def _delete(self, session: Session) -> bool:
        """Ask for the newest pod's deletion; False when there is none to wait for."""
        if not session.pods:
            return False
        try:
            await self._cluster.delete(
                PODS,
                session.name,
                namespace=self._namespace,
                uid=session.pods[-1],
                grace_seconds=self._grace,
            )
        except (NotFound, Conflict):
            return False
        return True

    async def run(self) -> None:
        """Follow all session pods; until cancelled."""
        label = f"{wire.SESSION_LABEL}=true"
        while True:
            await self._up.wait()
            listing = await self._cluster.list(
                PODS, namespace=self._namespace, label_selector=label
            )
            self._relisted(listing.items)
            events = self._cluster.watch(
                PODS,
                resource_version=listing.resource_version,
                namespace=self._namespace,
                label_selector=label,
            )
            try:
                async for event in events:
                    if not self._up.is_set():
                        break
                    if event.type != "BOOKMARK":
                        self._saw(event.object, gone=event.type == "DELETED")
            except Expired:
                continue

    def _relisted(self, pods: tuple[Json, ...]) -> None:
        for pod in pods:
            self._saw(pod, gone=False)
        present = {pod["metadata"]["uid"] for pod in pods}
        for session in self._current.values():
            if session.pods and session.pods[-1] not in present and session.ended_at is None:
                self._pod_gone(session, {})

    def _saw(self, pod: Json, *, gone: bool) -> None:
        meta = pod["metadata"]
        session = self._current.get(meta["name"])
        if session is None or session.ended_at is not None:
            return
        if session.pods and session.pods[-1] != meta["uid"]:
            return
        seen = wire.read_session_pod(pod)
        if seen.node_name and seen.node_name not in session.nodes:
            session.nodes.append(seen.node_name)
        if seen.status is not None:
            self._show(session, seen.status.stage, seen.status.message)
        if gone:
            self._pod_gone(session, meta.get("annotations") or {})
        elif seen.ready and session.outcome is Outcome.STARTING:
            session.outcome, session.ready_at = Outcome.READY, self._clock.now()
        self._wake()

    def _show(self, session: Session, stage: str, message: str) -> None:
        now = self._clock.now()
        session.stages.setdefault(stage, now)
        session.message = message
        if not session.shown or session.shown[-1][1] != stage:
            session.shown.append((now, stage))

    def _pod_gone(self, session: Session, annotations: Json) -> None:
        if session.outcome is Outcome.STARTING and wire.RECREATE_ANNOTATION in annotations:
            self._tasks.start(self._create(session), f"spawn {session.name} again")
            return
        if session.wanted:
            session.outcome = Outcome.LOST
        self._ended(session)

    def _ended(self, session: Session) -> None:
        session.ended_at = self._clock.now()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
