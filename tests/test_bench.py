"""The benchmark of starts keeps its contract, shown with few starts on a cluster in memory.

The figures that are stated come from the real control plane (``gpu-jit bench start``).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.cli import figures
from jupyter_gpu_jit.cli.bench import rows
from jupyter_gpu_jit.cli.bench.provisioner import BENCH, INSTANT
from jupyter_gpu_jit.cli.bench.start import Counts, measure
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.ports import Instance
from jupyter_gpu_jit.provisioner.runtime import Provisioner, Settings
from jupyter_gpu_jit.sim.binder import Binder
from jupyter_gpu_jit.sim.boot import exactly
from jupyter_gpu_jit.sim.cloud import Hooks, SimCloud
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.kubelet import Kubelet, NodeSpec, PodTimes
from jupyter_gpu_jit.sim.market import TYPES

NAMESPACE = "gpu-jit"
FEW = Counts(
    starts=3, at_once=5, at_once_runs=1, empty_nodes=2, empty_runs=1, empty_grace_seconds=0.2
)
# The issue's rows in its order: name, unit, aim.
ROWS = [
    ("claim_written_p50_ms", "ms", 50.0),
    ("claim_written_p99_ms", "ms", None),
    ("launched_p50_ms", "ms", None),
    ("launched_p99_ms", "ms", None),
    ("ready_to_running_p50_ms", "ms", None),
    ("ready_to_running_p99_ms", "ms", None),
    ("whole_p50_ms", "ms", 300.0),
    ("whole_p99_ms", "ms", None),
    ("hundred_at_once_s", "s", 2.0),
    ("empty_nodes_gone_s", "s", 1.0),
]
NO_TIME = PodTimes(pull=exactly(0.0), start=exactly(0.0), stop=exactly(0.0))


@dataclass
class MemoryStage:
    """See start.Stage: the same measurements in one process; no figures to state."""

    cluster: MemoryCluster
    namespace: str = NAMESPACE
    clock: SystemClock = field(default_factory=SystemClock)
    nodes: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @asynccontextmanager
    async def provisioner(self, empty_grace_seconds: float) -> AsyncIterator[None]:
        settings = Settings(cluster_id=BENCH, hub_id=BENCH, empty_grace_seconds=empty_grace_seconds)
        cloud = self._cloud()
        provisioner = Provisioner(
            self.cluster, cloud, self.clock, ids=RandomIds(), settings=settings
        )
        work = (provisioner.run, Binder(self.cluster, self.clock).run)
        tasks = [asyncio.create_task(call()) for call in work]
        try:
            yield
        finally:
            await _cancel(tasks)
            await provisioner.resign()
            await cloud.close()

    def _cloud(self) -> SimCloud:
        tags = {wire.CLUSTER_TAG: BENCH, wire.HUB_TAG: BENCH}
        cloud = SimCloud(self.clock, RandomIds(), random.Random(1), TYPES, boot=INSTANT, tags=tags)

        async def on_running(instance: Instance) -> None:
            kind = cloud.instance_type(instance.instance_type)
            spec = NodeSpec(instance=instance, instance_type=kind, boot=INSTANT, times=NO_TIME)
            kubelet = Kubelet(self.cluster, self.clock, RandomIds(), random.Random(1), spec=spec)
            self.nodes[instance.id] = asyncio.create_task(kubelet.run())

        async def on_ended(instance: Instance) -> None:
            await _cancel([self.nodes.pop(instance.id)])

        cloud.hooks = Hooks(on_running=on_running, on_ended=on_ended)
        return cloud


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _few() -> list[rows.Row]:
    cluster = MemoryCluster(SystemClock(), RandomIds(), namespaces=(NAMESPACE,))
    return await measure(MemoryStage(cluster), FEW, lambda text: None)


@pytest.fixture(scope="module")
def measured() -> list[rows.Row]:
    return asyncio.run(_few())


def test_each_row_of_the_issue_is_there_with_its_aim(measured):
    assert [(row["name"], row["unit"], row["aim"]) for row in measured] == ROWS


def test_a_row_says_what_it_was_measured_beside_and_holds_by_its_aim(measured):
    for row in measured:
        assert set(row) == {"name", "value", "unit", "aim", "better", "beside", "holds"}
        assert row["better"] == "lower"
        assert row["beside"]
        assert row["holds"] is (row["aim"] is None or row["value"] <= row["aim"])


def test_the_spans_of_a_start_contain_each_other(measured):
    value = {row["name"]: row["value"] for row in measured}
    assert 0 < value["claim_written_p50_ms"] < value["launched_p50_ms"] < value["whole_p50_ms"]
    assert 0 < value["ready_to_running_p50_ms"] < value["whole_p50_ms"]
    assert all(value[f"{n}_p50_ms"] <= value[f"{n}_p99_ms"] for n in ("claim_written", "whole"))


def test_the_command_prints_rows_as_json_or_as_a_table_and_ends_well(monkeypatch, capsys):
    row = rows.Figure(name="x_s", unit="s", beside="nothing", aim=1.0).row(2.0)

    async def measured_rows():
        return [row]

    monkeypatch.setattr(figures, "BENCHES", {"start": measured_rows})
    assert cli.main(["bench", "start", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row]
    assert cli.main(["bench"]) == 0, "status 0 whatever holds"
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["x_s", "2.00", "s"]


@pytest.mark.parametrize(
    ("better", "aim", "value", "holds"),
    [("lower", 2.0, 2.0, True), ("lower", 2.0, 2.1, False), ("higher", 2.0, 1.9, False),
     ("higher", 2.0, 2.0, True), ("lower", None, 9.0, True)],
)  # fmt: skip
def test_holds_follows_from_aim_and_value(better, aim, value, holds):
    figure = rows.Figure(name="n", unit="s", beside="b", aim=aim, better=better)
    assert figure.row(value)["holds"] is holds


def test_p99_of_two_hundred_is_the_second_largest_but_one():
    assert rows.percentile(list(range(1, 201)), 99) == 198
    assert rows.percentile([5.0], 99) == 5.0
    assert rows.median([1.0, 2.0, 9.0]) == 2.0
