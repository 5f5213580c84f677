"""Types and prices from AWS's answers, beside the packaged table."""

import gzip
import json
from importlib.resources import files

import pytest
from aws_parts import TYPES, offering

from jupyter_gpu_jit.adapters.aws.market import risky
from jupyter_gpu_jit.adapters.aws.prices import newest, read_product
from jupyter_gpu_jit.adapters.aws.scores import rate_of
from jupyter_gpu_jit.adapters.aws.sizes import cpu_kept, instance_type, most_pods

DESCRIBED = json.loads(
    gzip.decompress((files("moto") / "ec2/resources/instance_types.json.gz").read_bytes())
)
"""DescribeInstanceTypes as EC2 answered it, as kept by moto."""
SOME = ("g6.xlarge", "g5.12xlarge", "g6f.large", "g5g.xlarge", "p5.48xlarge", "c6g.large")


@pytest.mark.parametrize("name", SOME)
def test_a_type_newer_than_the_package_is_read_as_the_package_would_have_it(name):
    packaged = TYPES[name]
    read = instance_type(DESCRIBED[name], {}, packaged.offerings)
    assert read.allocatable == packaged.allocatable
    assert (read.vcpu, read.memory_mib, read.architecture) == (
        packaged.vcpu,
        packaged.memory_mib,
        packaged.architecture,
    )
    assert (read.gpu_model, read.gpu_memory_mib) == (packaged.gpu_model, packaged.gpu_memory_mib)
    assert (read.driver_family, read.efa_interfaces) == (
        packaged.driver_family,
        packaged.efa_interfaces,
    )


def test_links_between_gpus_are_what_the_package_knows_and_else_the_least():
    assert instance_type(DESCRIBED["p5.48xlarge"], TYPES, ()).gpu_interconnect == "nvswitch"
    assert instance_type(DESCRIBED["p5.48xlarge"], {}, ()).gpu_interconnect == "pcie"


def test_an_architecture_of_no_image_is_no_type():
    body = {**DESCRIBED["g6.xlarge"], "ProcessorInfo": {"SupportedArchitectures": ["i386"]}}
    assert instance_type(body, TYPES, ()) is None


@pytest.mark.parametrize(("vcpu", "kept"), [(1, 60), (2, 70), (4, 80), (8, 90), (192, 550)])
def test_the_kubelet_keeps_its_share_of_cpu(vcpu, kept):
    assert cpu_kept(vcpu) == kept


def test_pods_are_as_many_as_addresses():
    assert most_pods({"MaximumNetworkInterfaces": 4, "Ipv4AddressesPerInterface": 15}) == 58
    assert most_pods({}) == 2


# --- prices ---------------------------------------------------------------------------------------


def spot(price, when, zone="us-east-1a"):
    return {
        "InstanceType": "g6.xlarge",
        "AvailabilityZone": zone,
        "SpotPrice": price,
        "Timestamp": when,
    }


def test_the_newest_price_of_a_pool_counts_and_no_price_is_none():
    rows = [spot("0.40", "2026-01-02"), spot("0.30", "2026-01-01"), spot("x", "2026-01-03", "z")]
    assert newest(rows) == {("g6.xlarge", "us-east-1a"): 400_000}


def product(price, **more):
    dimensions = {"d": {"pricePerUnit": {"USD": price}}}
    return {
        "product": {"attributes": {"instanceType": "g6.xlarge"}},
        "terms": {"OnDemand": {"t": {"priceDimensions": dimensions}}},
        **more,
    }


def test_products_are_read_as_text_or_not():
    assert read_product(json.dumps(product("0.8048"))) == ("g6.xlarge", 804_800)
    assert read_product(product("0.8048")) == ("g6.xlarge", 804_800)


@pytest.mark.parametrize(
    "broken", ["{", "{}", product("0"), product("free"), product("1", terms={"OnDemand": {}})]
)
def test_a_product_without_a_price_is_left_out(broken):
    assert read_product(broken) is None


def test_a_deeper_pool_is_taken_back_less_often():
    rates = [rate_of(score) for score in range(1, 11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1] > 0


def test_scores_are_a_risk_of_spot_alone():
    sold = (offering(), offering(zone="us-east-1b"), offering(capacity_type="on-demand"))
    kind = instance_type(DESCRIBED["g6.xlarge"], TYPES, sold)
    (found,) = risky([kind], {("L4", "us-east-1a"): 0.03})
    assert [o.interruptions_per_hour for o in found.offerings] == [0.03, None, None]
