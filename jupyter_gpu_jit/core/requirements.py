"""What a session asks of a node besides its size: labels, taints, and our own requirements.

Semantics of node selector terms and tolerations follow
https://kubernetes.io/docs/concepts/scheduling-eviction/ ; only what a scheduler would enforce
(``requiredDuringScheduling...``, ``NoSchedule`` and ``NoExecute``) is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# What the scheduler takes for an integer; Python's int() also takes "1_0", " 1 " and "١".
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")


class CapacityType(StrEnum):
    """How the cloud sells an instance."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


class CapacityPolicy(StrEnum):
    """Which capacity types a profile may use."""

    SPOT = "spot"
    SPOT_THEN_ON_DEMAND = "spot-then-on-demand"
    ON_DEMAND = "on-demand"

    def allows(self, capacity_type: CapacityType) -> bool:
        """Whether an offering of that capacity type may serve this policy."""
        return self is CapacityPolicy.SPOT_THEN_ON_DEMAND or self.value == capacity_type.value


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequirement:
    """One ``matchExpressions`` row; ``operator`` is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels satisfies the row."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return self._compares(value)
        return False

    def _compares(self, value: str | None) -> bool:
        texts = (value or "", *self.values)
        if len(texts) != 2 or not all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
            return False
        difference = int(texts[0]) - int(texts[1])
        return difference > 0 if self.operator == "Gt" else difference < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A node taint; ``effect`` is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A pod toleration; an empty key with Exists tolerates all, an empty effect any effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether this toleration covers the taint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.operator == "Exists":
            return not self.key or self.key == taint.key
        return (
            self.operator in ("", "Equal") and self.key == taint.key and self.value == taint.value
        )


def untolerated(taints: tuple[Taint, ...], tolerations: tuple[Toleration, ...]) -> Taint | None:
    """The first taint that would keep a pod off a node, or None."""
    for taint in taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(toleration.tolerates(taint) for toleration in tolerations):
            return taint
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShare:
    """A part of a GPU is enough: one unit of at least that nominal memory, or more.

    ``time_sliced``: also one that others use at the same time, with no wall between.
    """

    memory_gib: int
    time_sliced: bool = False


NVIDIA, NVIDIA_GRID = "nvidia", "nvidia-grid"
"""Driver families: of whole cards, and of the fractions of a card that some types have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """All that a session asks of its node except size.

    ``gpu_models`` empty means any; ``gpu_memory_gib`` is nominal, per GPU, 0 means any;
    ``min_compute_capability_tenths`` 89 means 8.9 or newer. ``nvlink``: all GPUs of the session
    reach each other by it. ``share``: less than a whole GPU will do. ``driver_families`` are
    those that the image works with.
    ``max_usd_per_hour_micro`` caps the session's own share of a node's price.
    ``max_interruptions_per_hour`` caps how often the cloud may be expected to take its node back.
    ``node_labels`` and ``node_terms`` come from the pod itself: each label must match, and at
    least one term (a conjunction of rows) when there are terms. ``node`` is the only node that a
    volume in use leaves it; "" is any. ``shares_with`` is the planner's own: the name of those
    beside whom a GPU in time slices will do; "" is nobody. So is ``spread_as``: the profile whose
    sessions are to be spread over Spot pools; empty for those that are not.
    """

    gpu_models: tuple[str, ...] = ()
    gpu_memory_gib: int = 0
    min_compute_capability_tenths: int = 0
    nvlink: bool = False
    efa: bool = False
    share: GpuShare | None = None
    driver_families: tuple[str, ...] = (NVIDIA,)
    capacity: CapacityPolicy = CapacityPolicy.SPOT
    zones: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ("amd64",)
    max_usd_per_hour_micro: int | None = None
    max_interruptions_per_hour: float | None = None
    node: str = ""
    shares_with: str = ""
    spread_as: tuple[str, ...] = ()
    node_labels: tuple[tuple[str, str], ...] = ()
    node_terms: tuple[tuple[LabelRequirement, ...], ...] = ()
    tolerations: tuple[Toleration, ...] = ()

    def labels_match(self, labels: Mapping[str, str]) -> bool:
        """Whether the pod's own node selector and required affinity accept these labels."""
        if any(labels.get(key) != value for key, value in self.node_labels):
            return False
        if not self.node_terms:
            return True
        return any(term and all(row.matches(labels) for row in term) for term in self.node_terms)
