"""Metrics are declared once, with all their labels, and a meter takes no others."""

import re

import pytest

from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.ports import MetricKind
from jupyter_gpu_jit.provisioner import metrics
from jupyter_gpu_jit.sim.meter import Recorder


def test_every_metric_has_a_prometheus_name_of_its_own_and_is_explained():
    names = [metric.name for metric in metrics.ALL]
    assert len(set(names)) == len(names)
    constants = {v for k, v in vars(metrics).items() if k.isupper() and str(v).startswith("gpu_")}
    assert constants == set(names)
    for metric in metrics.ALL:
        assert re.fullmatch(r"gpu_jit_[a-z_]+[a-z]", metric.name)
        assert not metric.name.endswith("_total")
        assert metric.help.endswith(".")
        assert (metric.kind is MetricKind.HISTOGRAM) == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_all_series_of_declared_labels_exist_from_the_start_and_are_few():
    made = {m.name: list(metrics.series(m)) for m in metrics.ALL}
    assert {"capacity_type": "spot", "outcome": "launched", "code": ""} in made[metrics.LAUNCHES]
    assert made[metrics.PRICES_AGE_SECONDS] == [{}]
    # Which pools there are, the cloud decides.
    assert made[metrics.ICE] == []
    assert sum(map(len, made.values())) < 1000


def test_a_value_nobody_declared_is_counted_as_other():
    assert metrics.known(metrics.LAUNCHES, "code", "VcpuLimitExceeded") == "VcpuLimitExceeded"
    assert metrics.known(metrics.LAUNCHES, "code", "Brandnew") == metrics.OTHER


def test_a_meter_refuses_what_is_not_declared():
    meter = Recorder()
    meter.count(metrics.PLANS, gap="above")
    meter.count(metrics.ICE, capacity_type="spot", instance_type="g6.xlarge", zone="us-east-1a")
    meter.gauge(metrics.PRICES_AGE_SECONDS, 3.5)
    meter.observe(metrics.QUEUE_AGE_SECONDS, 0.2)
    assert meter.counted(metrics.PLANS) == meter.counted(metrics.PLANS, gap="above") == 1
    assert meter.counted(metrics.PLANS, gap="within") == 0
    assert meter.counted(metrics.ICE, zone="us-east-1a") == 1
    assert meter.last(metrics.PRICES_AGE_SECONDS) == 3.5
    assert meter.observed(metrics.QUEUE_AGE_SECONDS) == [0.2]
    with pytest.raises(Defect, match="no counter gpu_jit_surprise"):
        meter.count("gpu_jit_surprise")
    with pytest.raises(Defect, match="no gauge gpu_jit_plans"):
        meter.gauge(metrics.PLANS, 1.0, gap="above")
    with pytest.raises(Defect, match="labels"):
        meter.count(metrics.PLANS)
    with pytest.raises(Defect, match="'far' is no declared value of gap"):
        meter.count(metrics.PLANS, gap="far")
