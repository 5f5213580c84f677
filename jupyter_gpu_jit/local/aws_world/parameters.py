"""Every figure the world assumes of AWS, each with its mark. Read by all of ``aws_world``.

Marks: [measured] by us on traces or type data; [published] by AWS or read in a peer's source;
[assumed] ours, to be labelled so wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

ACCOUNT = "123456789012"

READS = (100.0, 20.0)
"""Burst and refill per second of reading actions [published: Karpenter's EC2 fake]."""
RATE_LIMITS: Mapping[str, tuple[float, float]] = {
    "CreateFleet": (50.0, 5.0),  # [published]
    "RunInstances": (5.0, 2.0),  # [published]
    "TerminateInstances": (100.0, 5.0),  # [published]
    "CreateTags": (100.0, 10.0),  # [published]
    "CreateLaunchTemplate": (50.0, 5.0),  # [published]
    "DeleteLaunchTemplate": (50.0, 5.0),  # [published]
    "DescribeInstanceTopology": (10.0, 1.0),  # [assumed] "reportedly tiny"
}
LAUNCHES = (1000.0, 2.0)
"""Bucket of launched instances, beside the one of calls [published: EC2 developer guide]."""

VCPU_CLASSES: Mapping[str, tuple[str, ...]] = {
    # Beginnings of families, the longest first match counts [published: Service Quotas].
    "P5": ("p5", "p6"),
    "P": ("p2", "p3", "p4"),
    "G": ("g", "vt"),
    "INF": ("inf",),
    "TRN": ("trn",),
    "DL": ("dl",),
    "X": ("x",),
    "F": ("f1", "f2"),
    "STANDARD": ("a", "c", "d", "h", "i", "m", "r", "t", "z"),
}
QUOTAS: Mapping[tuple[str, str], tuple[str, str]] = {
    # (class, capacity type) -> code and name of the quota [published].
    ("G", "on-demand"): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("G", "spot"): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("P", "on-demand"): ("L-417A185B", "Running On-Demand P instances"),
    ("P", "spot"): ("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    ("P5", "spot"): ("L-C4BD4855", "All P5 Spot Instance Requests"),
    ("STANDARD", "on-demand"): (
        "L-1216C47A",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    ),
    ("STANDARD", "spot"): (
        "L-34B43A08",
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What may be set at start and by ``POST /_world/parameters``. Seconds are the world's."""

    # --- life of an instance
    boot_seconds: float = 16.0
    """Pending to running, median [assumed; 12-16 s published for c5, GPU types longer]."""
    boot_sigma: float = 0.3
    """Spread of that, log-normal [assumed]."""
    shutdown_seconds: float = 20.0
    """Shutting-down to terminated, median [assumed]."""
    terminated_shown_seconds: float = 3600.0
    """How long a terminated instance is still described [published: about an hour]."""
    describe_lag_seconds: float = 0.0
    """Answers are up to this old; a fresh id is unknown for so long [assumed: 0-5]."""

    # --- the node's own side
    register_seconds: float = 25.0
    """Running to Node object, median [published: 24-28 s]."""
    ready_seconds: float = 8.0
    """Node object to Ready, median [assumed]."""
    gpus_seconds: float = 10.0
    """Ready to allocatable GPUs, median [assumed]."""

    # --- the market
    depth: int = 1000
    """Instances a pool holds while nothing is said of it [assumed]."""
    quota_vcpus: int = 100_000
    """vCPU quota of every class and capacity type unless set [assumed; new accounts: near 0]."""
    spot_role: bool = True
    """Whether the account has the service-linked role that Spot needs [published]."""
    weather: bool = False
    """Whether spot pools go up and down by themselves."""
    up_medians_seconds: tuple[float, float] = (1200.0, 21600.0)
    """Medians of the short and the long kind of up time [measured: p50 32 min, p90 431 min]."""
    up_long_share: float = 0.4
    """How often an up time is of the long kind [measured, fitted]."""
    down_median_seconds: float = 1740.0
    """Median outage, log-normal [measured: 29 min]."""
    down_sigma: float = 1.7
    """Spread of outages [measured: p90 268 min]."""
    weather_depth: int = 20
    """Median depth of a pool that is up, log-normal with sigma 0.7 [assumed]."""
    notice_seconds: float = 120.0
    """From the interruption notice to the end of the instance [published]."""
    storm_seconds: float = 180.0
    """Notices of one pool fall within this time [published: 92 % within 3 min]."""
    rebalance_lead_seconds: float = 1200.0
    """A rebalance recommendation comes 0 to this long before the notice [assumed]."""
    rebalance_absent_share: float = 0.4
    """How often none comes before the notice [assumed]."""

    # --- prices
    spot_start: tuple[float, float] = (0.35, 0.6)
    """Share of on-demand that spot prices begin at and return to [assumed]."""
    spot_step_hours: tuple[float, float] = (1.0, 6.0)
    """Hours between two prices of a pool [assumed]."""
    spot_step_sigma: float = 0.06
    """Size of one step, log [assumed]."""
    spot_pull: float = 0.2
    """Share of the way back to the mean per step [assumed]."""
    spot_zone_spread: float = 0.2
    """Prices of zones differ by up to this share [assumed]."""
    price_history_seconds: float = 7 * 86400.0
    """How far back the price history goes [assumed; AWS: 90 days]."""
    score_configurations_per_day: int = 50
    """New placement score questions a day [assumed]."""

    # --- the API
    throttle: bool = True
    """Whether token buckets are enforced."""
    latency_seconds: float = 0.0
    """Wall-clock seconds added to every call [assumed: AWS 0.05-2]."""

    def changed(self, values: Mapping[str, Any]) -> Parameters:
        """A copy with those values. Raises ValueError naming what does not exist."""
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"There is no parameter {', '.join(unknown)}.")
        pairs: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return replace(self, **pairs)


def vcpu_class(instance_type: str) -> str:
    """The quota class of a type; "OTHER" when no quota is known."""
    family = instance_type.partition(".")[0]
    found = [
        (len(begin), name)
        for name, begins in VCPU_CLASSES.items()
        for begin in begins
        if family.startswith(begin)
    ]
    return max(found)[1] if found else "OTHER"


def quota_class(instance_type: str, capacity_type: str) -> str:
    """As ``vcpu_class``; on-demand P5 counts with P [published]."""
    found = vcpu_class(instance_type)
    return "P" if found == "P5" and capacity_type == "on-demand" else found
