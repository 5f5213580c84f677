"""Metrics are declared once, with all their labels, and a meter takes no others."""

import re

import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.ports import LaunchRequest, MetricKind
from jupyter_gpu_jit.provisioner import metrics
from jupyter_gpu_jit.sim.meter import Recorder
from jupyter_gpu_jit.sim.notices import NoticeFaults


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


def test_a_short_life_of_a_world_is_measured(in_world, l4):
    async def body(world):
        best = min(
            (o for t in world.config.types if t.gpu_model == "L4" for o in t.offerings),
            key=lambda o: o.usd_per_hour_micro,
        )
        world.cloud.dry(best.key)
        ann = world.hub.start("ann", l4)
        await world.hub.ready(ann)
        await world.clock.sleep(40)
        levels = {
            "paid": world.meter.last(metrics.PRICE_PAID, capacity_type="spot"),
            "on demand": world.meter.last(metrics.PRICE_ON_DEMAND),
            "dry": world.meter.last(metrics.OFFERINGS, state="dry"),
            "age": world.meter.last(metrics.PRICES_AGE_SECONDS),
        }
        await world.hub.stop(ann)
        await world.all_given_back()
        assert world.meter.last(metrics.PRICE_PAID, capacity_type="spot") in (0, levels["paid"])
        return best, world.meter, levels

    best, meter, levels = in_world(body, notices=NoticeFaults())
    pool = {"capacity_type": "spot", "instance_type": best.instance_type, "zone": best.zone}
    assert meter.counted(metrics.ICE) == meter.counted(metrics.ICE, **pool) == 1
    failed = {"outcome": "failed", "code": "InsufficientInstanceCapacity"}
    assert meter.counted(metrics.LAUNCHES, **failed) == 1
    assert meter.counted(metrics.LAUNCHES, outcome="launched", code="") == 1
    for name in (metrics.NODES_CREATED, metrics.NODES_TERMINATED):
        assert meter.counted(name) == meter.counted(name, capacity_type="spot") == 1
    assert meter.counted(metrics.CONSOLIDATIONS, action="empty") == 1
    assert 0 < levels["paid"] < 0.5 * levels["on demand"]
    assert levels["dry"] == 1
    assert 0 <= levels["age"] <= 60
    assert meter.observed(metrics.SCHEDULING_SECONDS)
    (booting,) = meter.observed(metrics.STAGE_SECONDS, stage="Booting")
    assert 20 < booting < 120
    assert not meter.counted(metrics.LEAKS_ENDED)


def test_what_is_left_over_is_counted_when_it_is_ended(in_world):
    async def body(world):
        tags = {wire.CLUSTER_TAG: "sim", wire.HUB_TAG: "sim", wire.BATCH_TAG: "batch-lost"}
        offering = world.config.types[0].offerings[0]
        world.truth.excuse("i-lost")
        lost = LaunchRequest(client_token="t", offerings=(offering,), count=1, tags=tags)
        # Nobody has written down what it is for: the rule against that is not what is tried here.
        world.cloud.on_change.remove(world._instance_changed)
        await world.cloud.launch(lost)
        await world.until(lambda: not world.cloud.live(), seconds=300)
        assert world.meter.counted(metrics.LEAKS_ENDED, what="instance") == 1

    in_world(body, notices=NoticeFaults())
