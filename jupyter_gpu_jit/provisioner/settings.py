"""What an admin sets for the provisioner, as one frozen value; made by cli.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core import wire
from ..core.interruption import Rules
from ..core.packing import USUAL, Policy
from ..core.progress import Stage
from ..core.quotas import Limits

# Medians of a GPU node on EC2 with a pre-pulled image; only used for the ETA shown.
EC2_STAGE_SECONDS: Mapping[Stage, float] = {
    Stage.REQUESTED: 0.1,
    Stage.PLANNED: 0.5,
    Stage.LAUNCHING: 3.0,
    Stage.BOOTING: 40.0,
    Stage.REGISTERED: 10.0,
    Stage.INITIALISED: 1.0,
    Stage.PULLING: 5.0,
    Stage.STARTING: 6.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All durations in seconds.

    ``cluster_id`` and ``hub_id`` mark everything we own; ``namespace`` is where session pods
    live; ``identity`` is this process in the Lease. ``drain_once_replaced``: sessions on a node
    that is taken back are ended as soon as another is ready for them; otherwise they have until
    20 s before it is taken, because nothing of them is saved yet. ``vcpu_quotas`` are the
    account's; a class that it lacks is unlimited.
    """

    cluster_id: str = "cluster"
    hub_id: str = "hub"
    namespace: str = "gpu-jit"
    identity: str = "provisioner-0"
    lease_name: str = "gpu-jit-provisioner"
    lease_seconds: float = 15.0
    empty_grace_seconds: float = 300.0
    registration_deadline_seconds: float = 900.0
    initialisation_deadline_seconds: float = 600.0
    release_deadline_seconds: float = 10.0
    orphan_grace_seconds: float = 60.0
    collect_interval_seconds: float = 30.0
    dry_seconds: float = 180.0
    interruption: Rules = field(default_factory=Rules)
    drain_once_replaced: bool = False
    launch_deadline_seconds: float = 300.0
    detach_deadline_seconds: float = 360.0
    prices_age_seconds: float = 60.0
    max_usd_per_hour_micro: int | None = None
    vcpu_quotas: Limits = field(default_factory=dict)
    policy: Policy = USUAL
    stage_seconds: Mapping[Stage, float] = field(default_factory=lambda: EC2_STAGE_SECONDS)

    @property
    def own_selector(self) -> str:
        """Label selector of the claims that are ours."""
        return f"{wire.CLUSTER_LABEL}={self.cluster_id},{wire.HUB_LABEL}={self.hub_id}"
