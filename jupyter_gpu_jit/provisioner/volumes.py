"""What is known of volumes: claims of the sessions' namespace, the volumes, and their classes.

Three more informers beside those of state.py, which plans with what they hold. The provisioner
writes none of these kinds, so they are not listed anew when a write of ours is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.model import SessionPod
from ..core.quantity import parse_time
from ..core.volumes import Key, Storage
from ..ports import STORAGE_CLASSES, VOLUME_CLAIMS, VOLUMES, Clock, Cluster, Json, Kind
from .informer import Informer

ADVICE = "Apply the roles of this version (hub_config/rbac.yaml), then start the provisioner again."
MAKING_SECONDS = 120.0
"""How long a volume may take to be made for a session that is released already."""


def _kept(obj: Json) -> Json:
    """The object without the book of who wrote which field, which is half of it."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


class Volumes:
    """The caches; ``changed`` is called after each change of any of them."""

    def __init__(
        self, cluster: Cluster, clock: Clock, *, namespace: str, changed: Callable[[], None]
    ) -> None:
        self._tell = changed
        self._storage: Storage | None = None

        def follow(kind: Kind, namespace: str = "") -> Informer[Json]:
            return Informer(
                cluster,
                clock,
                kind,
                read=_kept,
                changed=self._changed,
                namespace=namespace,
                advice=ADVICE,
            )

        self.claims = follow(VOLUME_CLAIMS, namespace)
        self.volumes = follow(VOLUMES)
        self.classes = follow(STORAGE_CLASSES)

    @property
    def informers(self) -> tuple[Informer[Json], ...]:
        """All three."""
        return (self.claims, self.volumes, self.classes)

    def _changed(self) -> None:
        self._storage = None
        self._tell()

    def storage(self) -> Storage:
        """Everything, as the planner takes it."""
        if self._storage is None:
            self._storage = Storage.of(
                claims=self.claims, volumes=self.volumes, classes=self.classes
            )
        return self._storage

    def are_made_for(self, session: SessionPod) -> bool:
        """Whether a volume is, or was a moment ago, made where the session has been released to.

        The scheduler binds such a pod only when its volume is there.
        """
        return any(self._is_new(key, session.released_at or 0.0) for key in session.volume_claims)

    def _is_new(self, key: Key, released_at: float) -> bool:
        claim = self.storage().claims.get(key)
        if claim is None:
            return False
        volume = self.storage().volumes.get(claim["spec"].get("volumeName") or "")
        if volume is None:
            return True
        # Times of objects are in whole seconds.
        return parse_time(volume["metadata"]["creationTimestamp"]) >= int(released_at)
