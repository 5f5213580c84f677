"""Metrics as Prometheus reads them: what is declared is there from the start."""

import urllib.request

import pytest

from jupyter_gpu_jit.adapters.meter import PrometheusMeter
from jupyter_gpu_jit.errors import Defect, UserError
from jupyter_gpu_jit.ports import Metric, MetricKind
from jupyter_gpu_jit.provisioner import metrics

ENDED = Metric(
    name="ended", kind=MetricKind.COUNTER, help="Ended.", labels={"what": ("node", "other")}
)
AGE = Metric(name="age_seconds", kind=MetricKind.GAUGE, help="Age.")
WAIT = Metric(name="wait_seconds", kind=MetricKind.HISTOGRAM, help="Wait.", buckets=(1, 5))
POOL = Metric(name="pools", kind=MetricKind.COUNTER, help="Pools.", labels={"zone": ()})


@pytest.fixture
def meter():
    return PrometheusMeter((ENDED, AGE, WAIT, POOL))


def test_declared_series_exist_before_anything_happened(meter):
    assert 'ended_total{what="node"} 0.0' in meter.text()
    assert "age_seconds 0.0" in meter.text()


def test_counts_gauges_and_observations_are_told(meter):
    meter.count("ended", 2, what="node")
    meter.gauge("age_seconds", 7.5)
    meter.observe("wait_seconds", 3)
    text = meter.text()
    assert 'ended_total{what="node"} 2.0' in text
    assert "age_seconds 7.5" in text
    assert 'wait_seconds_bucket{le="1.0"} 0.0' in text
    assert 'wait_seconds_bucket{le="5.0"} 1.0' in text


def test_a_value_nobody_declared_is_other_unless_the_label_is_open(meter):
    meter.count("ended", what="planet")
    meter.count("pools", zone="us-east-1a")
    assert 'ended_total{what="other"} 1.0' in meter.text()
    assert 'pools_total{zone="us-east-1a"} 1.0' in meter.text()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m: m.count("unheard"),
        lambda m: m.count("age_seconds"),
        lambda m: m.count("ended"),
        lambda m: m.gauge("ended", 1, what="node"),
        lambda m: m.observe("age_seconds", 1, extra="x"),
    ],
)
def test_what_is_not_declared_so_is_a_defect(meter, wrong):
    with pytest.raises(Defect, match="declared"):
        wrong(meter)


def test_all_that_the_provisioner_declares_can_be_made_and_counted():
    meter = PrometheusMeter(metrics.ALL, other=metrics.OTHER)
    meter.count(metrics.CLOUD_CALLS, action="CreateFleet")
    text = meter.text()
    assert 'gpu_jit_cloud_calls_total{action="CreateFleet"} 1.0' in text
    for metric in metrics.ALL:
        assert f"# TYPE {metric.name}" in text
        for labels in metrics.series(metric):
            row = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
            assert not row or row in text


def test_it_is_served_and_a_taken_port_is_one_sentence(meter):
    server = meter.serve("127.0.0.1", 0)
    port = server.server_address[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"ended_total" in answer.read()
    with pytest.raises(UserError, match="name a free port"):
        PrometheusMeter(()).serve("127.0.0.1", port)
    server.shutdown()
    server.server_close()
