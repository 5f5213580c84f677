"""Things of the AWS adapters that several tests make."""

from jupyter_gpu_jit.adapters.aws.facts import Facts, Subnet
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.ports import LaunchRequest

SETTINGS = AwsSettings(
    region="us-east-1",
    eks_cluster="lab",
    cluster_id="c1",
    hub_id="h1",
    instance_profile="gpu-jit-node",
    tags={"team": "physics"},
)
FACTS = Facts(
    name="lab",
    endpoint="https://lab.eks.test",
    certificate_authority="Y2E=",
    service_cidr="172.20.0.0/16",
    kubernetes_version="1.36",
    instance_profile="gpu-jit-node",
    security_group_ids=("sg-1",),
    subnets=(
        Subnet(id="subnet-a1", zone="us-east-1a"),
        Subnet(id="subnet-a2", zone="us-east-1a"),
        Subnet(id="subnet-b1", zone="us-east-1b"),
    ),
)
TYPES = {kind.name: kind for kind in instance_types()}


def offering(instance_type="g6.xlarge", zone="us-east-1a", capacity_type="spot", price=1):
    return Offering(
        instance_type=instance_type,
        zone=zone,
        capacity_type=CapacityType(capacity_type),
        usd_per_hour_micro=price,
    )


def request(*offerings, token="batch-1-1", count=1, **more):
    tags = {"gpu-jit.io/cluster": "c1", "gpu-jit.io/batch": "batch-1"}
    return LaunchRequest(client_token=token, offerings=offerings, count=count, tags=tags, **more)
