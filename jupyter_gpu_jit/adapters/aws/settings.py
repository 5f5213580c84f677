"""What an admin says about the AWS account, as one frozen value; made by the command line.

What is left empty is found: by tag, or by asking EKS (facts.py). ``gpu-jit doctor`` checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ...core import wire


class ImageFamily(StrEnum):
    """Which kind of node image, and so which kind of user data."""

    AL2023 = "al2023"
    BOTTLEROCKET = "bottlerocket"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """Where the image of a node comes from.

    ``ids`` and ``parameters`` (of SSM) are by architecture, or by architecture and ``-gpu``
    (``"amd64-gpu"``), which counts more; an id counts more than a parameter. Without any, the
    public parameters of the family for the cluster's Kubernetes version are read.
    """

    family: ImageFamily = ImageFamily.AL2023
    ids: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSettings:
    """The disks of a node: encrypted gp3. ``snapshot_id``: a volume with images pulled before.

    ``kms_key_id`` empty means the account's default key. ``initialise_mib_per_second`` is how
    fast the snapshot's blocks are fetched (EC2 allows 100 to 300); 0 leaves it to the first read.
    """

    root_gib: int = 100
    iops: int = 3000
    mib_per_second: int = 250
    snapshot_id: str = ""
    data_gib: int = 100
    initialise_mib_per_second: int = 0
    kms_key_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    """The account, the cluster and how its nodes are made.

    ``eks_cluster`` is the cluster's name in EKS. ``subnet_ids`` and ``security_group_ids`` count
    more than the ``discovery_tag``, whose value is ``eks_cluster``; with neither, the cluster's
    own are taken. ``endpoint``, ``certificate_authority`` (base64), ``service_cidr`` and
    ``kubernetes_version`` are asked of EKS where empty. ``families`` ("g6") narrows what is
    bought; empty means everything. ``notice_wait_seconds`` is how long a poll of the queue waits,
    and how long an end of the provisioner may take. ``endpoint_url`` is for a stand-in of AWS.
    """

    region: str
    eks_cluster: str = ""
    cluster_id: str = "cluster"
    hub_id: str = ""
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    discovery_tag: str = wire.DISCOVERY_TAG
    instance_profile: str = ""
    endpoint: str = ""
    certificate_authority: str = ""
    service_cidr: str = ""
    kubernetes_version: str = ""
    image: ImageSettings = ImageSettings()
    disk: DiskSettings = DiskSettings()
    families: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    queue: str = ""
    notice_wait_seconds: int = 5
    dead_man_seconds: int = 900
    endpoint_url: str = ""
    threads: int = 16
    call_seconds: float = 60.0

    @property
    def owned(self) -> dict[str, str]:
        """The tags by which everything of ours is found again."""
        hub = {wire.HUB_TAG: self.hub_id} if self.hub_id else {}
        return {wire.CLUSTER_TAG: self.cluster_id, **hub}

    @property
    def standing_tags(self) -> dict[str, str]:
        """What everything of ours carries, whoever asked for it."""
        member = {f"kubernetes.io/cluster/{self.eks_cluster}": "owned"} if self.eks_cluster else {}
        return {**self.tags, **member, **self.owned}

    @property
    def owned_filters(self) -> list[dict[str, object]]:
        """The same as filters of a describe call."""
        return [{"Name": f"tag:{key}", "Values": [value]} for key, value in self.owned.items()]
