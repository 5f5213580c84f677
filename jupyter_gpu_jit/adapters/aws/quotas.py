"""The account's vCPU quotas, for the planner and for ``gpu-jit doctor``."""

from __future__ import annotations

from ...core.quotas import Limits
from ...core.requirements import CapacityType
from .calls import AwsCalls

# Codes of Service Quotas, by class and capacity type. Source: EC2 user guide, "Instance quotas".
CODES = {
    ("g-vt", CapacityType.ON_DEMAND): "L-DB2E81BA",
    ("g-vt", CapacityType.SPOT): "L-3819A6DF",
    ("p", CapacityType.ON_DEMAND): "L-417A185B",
    ("p", CapacityType.SPOT): "L-7212CCBC",
    ("p5", CapacityType.SPOT): "L-C4BD4855",
    ("standard", CapacityType.ON_DEMAND): "L-1216C47A",
    ("standard", CapacityType.SPOT): "L-34B43A08",
}


async def read_quotas(calls: AwsCalls) -> Limits:
    """vCPUs by class and capacity type, of those that AWS told. Raises Rejected, Unavailable."""
    rows = await calls.pages("service-quotas", "ListServiceQuotas", "Quotas", ServiceCode="ec2")
    values = {row["QuotaCode"]: int(float(row["Value"])) for row in rows}
    return {key: values[code] for key, code in CODES.items() if code in values}
