"""Services that moto lacks or answers uselessly, all of them JSON. Called by ``front``.

Pricing, Service Quotas for EC2, the public SSM parameters of EKS and Bottlerocket images, and
EKS clusters that ``provision`` made. Whatever is not recognised here is left to moto.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from . import store
from .call import Call
from .parameters import ACCOUNT, QUOTAS

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
Own = tuple[int, Json]
"""HTTP status and body."""
IMAGES = (
    re.compile(
        r"/aws/service/eks/optimized-ami/1\.\d\d/amazon-linux-2023/"
        r"(x86_64|arm64)/(nvidia|standard|neuron)/recommended/image_id"
    ),
    re.compile(
        r"/aws/service/bottlerocket/aws-k8s-1\.\d\d(-nvidia)?/(x86_64|arm64)/"
        r"(latest|\d+\.\d+\.\d+[\w-]*)/image_id"
    ),
)
PAGE = 100


def answer(world: World, call: Call) -> Own | None:
    """The answer of one of our own services; None leaves it to moto."""
    if call.service == "eks":
        return _eks(world, call)
    table: Mapping[tuple[str, str], Callable[[World, Call], Own | None]] = {
        ("pricing", "GetProducts"): _products,
        ("servicequotas", "GetServiceQuota"): _quota,
        ("servicequotas", "ListServiceQuotas"): _quotas,
        ("ssm", "GetParameter"): _parameter,
        ("ssm", "GetParameters"): _parameters,
    }
    act = table.get((call.service, call.action))
    return act(world, call) if act is not None else None


def _refused(code: str, message: str, status: int = 400) -> Own:
    return status, {"__type": code, "message": message}


def _page(rows: Sequence[Any], call: Call, token_name: str = "NextToken") -> tuple[Any, Json]:
    begin = int(call.params.get("NextToken") or 0)
    end = begin + min(int(call.params.get("MaxResults") or PAGE), PAGE)
    return list(rows[begin:end]), {token_name: str(end)} if end < len(rows) else {}


# --- pricing -----------------------------------------------------------------------------------


def _products(world: World, call: Call) -> Own:
    """On-demand, Linux, shared tenancy, nothing else; as JSON texts, as Pricing does."""
    wanted = {f["Field"]: f["Value"] for f in call.params.get("Filters") or ()}
    if wanted.get("operatingSystem", "Linux") != "Linux":
        return 200, {"FormatVersion": "aws_v1", "PriceList": []}
    region = wanted.get("regionCode", world.region)
    one = wanted.get("instanceType")
    names = sorted({name for _, name in world.offered(region) if one in (None, name)})
    page, more = _page(names, call)
    products = [json.dumps(_product(world, region, name)) for name in page]
    return 200, {"FormatVersion": "aws_v1", "PriceList": products, **more}


def _product(world: World, region: str, name: str) -> Json:
    sku = hashlib.sha256(f"{region} {name}".encode()).hexdigest()[:16].upper()
    usd = f"{world.prices.on_demand_micro(name) / 1e6:.10f}"
    dimension = {
        "unit": "Hrs",
        "description": f"${usd} per On Demand Linux {name} Instance Hour",
        "pricePerUnit": {"USD": usd},
    }
    term = {"sku": sku, "priceDimensions": {f"{sku}.HRS": dimension}}
    attributes = {
        "instanceType": name,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    product = {"sku": sku, "productFamily": "Compute Instance", "attributes": attributes}
    return {
        "product": product,
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{sku}.OD": term}},
    }


# --- quotas ------------------------------------------------------------------------------------


def _quota_rows(world: World) -> list[Json]:
    return [
        {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": f"arn:aws:servicequotas:{world.region}:{ACCOUNT}:ec2/{code}",
            "QuotaCode": code,
            "QuotaName": name,
            "Value": float(world.market.quota(kind)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }
        for kind, (code, name) in QUOTAS.items()
    ]


def _quota(world: World, call: Call) -> Own:
    code = call.params.get("QuotaCode")
    found = [row for row in _quota_rows(world) if row["QuotaCode"] == code]
    if call.params.get("ServiceCode") != "ec2" or not found:
        return _refused("NoSuchResourceException", f"The quota {code} does not exist.")
    return 200, {"Quota": found[0]}


def _quotas(world: World, call: Call) -> Own:
    if call.params.get("ServiceCode") != "ec2":
        return _refused("NoSuchResourceException", "The service does not exist.")
    page, more = _page(_quota_rows(world), call)
    return 200, {"Quotas": page, **more}


# --- images ------------------------------------------------------------------------------------


def image_id(world: World, name: str) -> str:
    """The image that a public parameter names; "" when there is no such parameter."""
    if not any(pattern.fullmatch(name) for pattern in IMAGES):
        return ""
    text = hashlib.sha256(f"{world.region} {name}".encode()).hexdigest()
    return f"ami-{text[:17]}"


def _is_public(name: str) -> bool:
    return name.startswith(("/aws/service/eks/", "/aws/service/bottlerocket/"))


def _shown(world: World, name: str) -> Json:
    return {
        "Name": name,
        "Type": "String",
        "Value": image_id(world, name),
        "Version": 1,
        "DataType": "text",
        "ARN": f"arn:aws:ssm:{world.region}::parameter{name}",
    }


def _parameter(world: World, call: Call) -> Own | None:
    name = str(call.params.get("Name") or "")
    if not _is_public(name):
        return None
    if not image_id(world, name):
        return _refused("ParameterNotFound", f"Parameter {name} not found.")
    return 200, {"Parameter": _shown(world, name)}


def _parameters(world: World, call: Call) -> Own | None:
    names = [str(name) for name in call.params.get("Names") or ()]
    if not all(map(_is_public, names)):
        return None
    found = [name for name in names if image_id(world, name)]
    return 200, {
        "Parameters": [_shown(world, name) for name in found],
        "InvalidParameters": sorted(set(names) - set(found)),
    }


# --- clusters ----------------------------------------------------------------------------------


def _eks(world: World, call: Call) -> Own | None:
    """``/clusters/NAME`` and its access entries, of clusters that were provisioned."""
    parts = [unquote(part) for part in call.path.strip("/").split("/", 3)]
    if call.method != "GET" or parts[0] != "clusters" or len(parts) < 2:
        return None
    cluster = world.clusters.get(parts[1])
    if cluster is None:
        return _refused("ResourceNotFoundException", f"No cluster found for name: {parts[1]}.", 404)
    if len(parts) == 2:
        return 200, {"cluster": cluster["cluster"]}
    entries: Json = cluster["access_entries"]
    if parts[2] != "access-entries":
        return None
    if len(parts) == 3:
        return 200, {"accessEntries": sorted(entries)}
    if parts[3] not in entries:
        text = "The specified principalArn could not be found."
        return _refused("ResourceNotFoundException", text, 404)
    return 200, {"accessEntry": entries[parts[3]]}


def make_cluster(world: World, values: Json) -> Json:
    """A cluster as DescribeCluster shows it; ``values`` wins over what is made up."""
    name = values["name"]
    vpc, subnet_ids, group = store.default_network(world.region)
    role = values.get("node_role_arn") or f"arn:aws:iam::{ACCOUNT}:role/{name}-node"
    cluster = {
        "name": name,
        "arn": f"arn:aws:eks:{world.region}:{ACCOUNT}:cluster/{name}",
        "version": values.get("version", "1.33"),
        "endpoint": values.get("endpoint", f"https://{name}.eks.{world.region}.example"),
        "status": "ACTIVE",
        "certificateAuthority": {"data": values.get("ca_data", "bm90IGEgcmVhbCBDQQ==")},
        "kubernetesNetworkConfig": {
            "serviceIpv4Cidr": values.get("service_cidr", "10.100.0.0/16"),
            "ipFamily": "ipv4",
        },
        "resourcesVpcConfig": {
            "subnetIds": list(subnet_ids),
            "securityGroupIds": [group],
            "clusterSecurityGroupId": group,
            "vpcId": vpc,
            "endpointPublicAccess": True,
            "endpointPrivateAccess": True,
        },
        "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
        "tags": {},
    }
    entry = {
        "clusterName": name,
        "principalArn": role,
        "kubernetesGroups": ["system:nodes"],
        "username": "system:node:{{EC2PrivateDNSName}}",
        "type": "EC2_LINUX",
    }
    world.clusters[name] = {"cluster": cluster, "access_entries": {role: entry}}
    return cluster
