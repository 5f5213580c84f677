"""The command ``gpu-jit``: the only place that knows every part and hands adapters to them.

Each command imports what it needs when it runs, so that ``--help`` needs no client library.
Errors of ours end as one sentence and status 2; an interrupt ends quietly.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import GpuJitError, UserError

if TYPE_CHECKING:
    from .core.packing import WaitModel
    from .core.progress import Stage
    from .local.demo import Parts, ServicePlace, Serving
    from .local.plane import ClosableCluster
    from .ports import Cloud, Cluster

CLUSTER_ID = HUB_ID = "demo"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status (2 for an error that has a sentence)."""
    asked = _parser().parse_args(arguments)
    try:
        status: int = asked.command(asked)
        return status
    except GpuJitError as error:
        return _complain(error)
    except BaseExceptionGroup as group:
        ours = _ours(group)
        if ours is None:
            raise
        return _complain(ours)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _complain(error: GpuJitError) -> int:
    print(f"gpu-jit: {error.user_message}", file=sys.stderr)  # noqa: T201
    return 2


def _ours(group: BaseExceptionGroup[BaseException]) -> GpuJitError | None:
    """The first error in the group when all are ours."""
    _, foreign = group.split(GpuJitError)
    if foreign is not None:
        return None
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, GpuJitError) else None


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run until done or until a signal asks to end; being asked to end is no failure."""

    async def ended_by_signals() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        await work()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(ended_by_signals())
    return 0


# --- demo ------------------------------------------------------------------------------------


def _demo(asked: argparse.Namespace) -> int:
    _needs_extra("aiohttp", "local")
    from .local.demo import DemoSettings, run_demo

    settings = DemoSettings(port=asked.port, real=asked.control_plane == "real")
    return _run(lambda: run_demo(settings, _demo_parts(asked.empty_grace), _say))


def _demo_parts(empty_grace_seconds: float) -> Parts:
    from .adapters.kubernetes import KubernetesCluster
    from .adapters.system import RandomIds, SystemClock
    from .catalogue import instance_types
    from .local.demo import Parts
    from .provisioner.runtime import Provisioner, Settings

    settings = Settings(
        cluster_id=CLUSTER_ID,
        hub_id=HUB_ID,
        empty_grace_seconds=empty_grace_seconds,
        registration_deadline_seconds=120.0,
        initialisation_deadline_seconds=120.0,
        stage_seconds=_demo_stage_seconds(),
    )

    async def provision(cluster: Cluster, cloud: Cloud) -> None:
        await Provisioner(cluster, cloud, SystemClock(), ids=RandomIds(), settings=settings).run()

    return Parts(
        clock=SystemClock(),
        ids=RandomIds(),
        instance_types=instance_types(),
        provision=provision,
        serve=_serve_demo,
        connect=KubernetesCluster.from_kubeconfig,
    )


def _demo_stage_seconds() -> Mapping[Stage, float]:
    """Medians of the demo's boot model, for the ETA shown; JupyterLab's start was measured."""
    from .core.progress import Stage
    from .sim.boot import BootModel
    from .sim.kubelet import PodTimes

    boot, times = BootModel.demo(), PodTimes.demo()
    return {
        Stage.REQUESTED: 0.1,
        Stage.PLANNED: 0.1,
        Stage.LAUNCHING: boot.launch.median_seconds,
        Stage.BOOTING: boot.boot.median_seconds + boot.register.median_seconds,
        Stage.REGISTERED: boot.ready.median_seconds + boot.gpus.median_seconds,
        Stage.INITIALISED: 0.1,
        Stage.PULLING: times.pull.median_seconds,
        Stage.STARTING: 3.0,
    }


def _demo_waits() -> WaitModel:
    """What the spawn page says a start takes: the same medians; half as much again nine in ten."""
    from .core.packing import WaitModel
    from .core.progress import Stage

    seconds = _demo_stage_seconds()
    new_node = round(sum(seconds.values()))
    now = round(seconds[Stage.PULLING] + seconds[Stage.STARTING])
    in_flight = (now + new_node) // 2
    return WaitModel(
        now_p50_seconds=now,
        now_p90_seconds=2 * now,
        in_flight_p50_seconds=in_flight,
        in_flight_p90_seconds=in_flight * 3 // 2,
        new_node_p50_seconds=new_node,
        new_node_p90_seconds=new_node * 3 // 2,
    )


def _serve_demo(cluster: Cluster, cloud: Cloud, place: ServicePlace) -> Serving:
    from .local.demo import Serving
    from .service.app import ServiceSettings, make_app, serve

    settings = ServiceSettings(
        hub_api_url=place.hub_api_url,
        api_token=place.token,
        prefix="/services/gpu-jit/",
        waits=_demo_waits(),
    )
    server, port = serve(make_app(cluster, cloud, settings=settings))

    async def stop() -> None:
        server.stop()
        await server.close_all_connections()

    return Serving(port=port, stop=stop)


# --- single processes ------------------------------------------------------------------------


def _provisioner(asked: argparse.Namespace) -> int:
    _needs_extra("kubernetes", "provisioner")
    _log_to_stderr()
    return _run(lambda: _provision(asked))


async def _provision(asked: argparse.Namespace) -> None:
    from .adapters.system import RandomIds, SystemClock
    from .provisioner.runtime import Provisioner, Settings

    settings = Settings(
        cluster_id=asked.cluster_id,
        hub_id=asked.hub_id,
        namespace=asked.namespace,
        identity=asked.identity or f"{socket.gethostname()}-{os.getpid()}",
        empty_grace_seconds=asked.empty_grace,
    )
    cluster = _connect(asked.kubeconfig)
    cloud = _simulated_cloud(settings.cluster_id, settings.hub_id)
    provisioner = Provisioner(cluster, cloud, SystemClock(), ids=RandomIds(), settings=settings)
    try:
        await provisioner.run()
    finally:
        with contextlib.suppress(GpuJitError):
            await provisioner.resign()
        await cloud.close()
        await cluster.close()


def _service(asked: argparse.Namespace) -> int:
    _needs_extra("kubernetes", "provisioner")
    _needs_extra("tornado", "service")
    _log_to_stderr()
    return _run(lambda: _serve(asked))


async def _serve(asked: argparse.Namespace) -> None:
    from .service.app import ServiceSettings, make_app, serve

    settings = ServiceSettings(
        hub_api_url=_from_hub("JUPYTERHUB_API_URL"), api_token=_from_hub("JUPYTERHUB_API_TOKEN")
    )
    cluster = _connect(asked.kubeconfig)
    cloud = _simulated_cloud(asked.cluster_id, asked.hub_id)
    app = make_app(cluster, cloud, settings=settings)
    server, port = serve(app, address=asked.address, port=asked.port)
    _say(f"serving on http://{asked.address}:{port}{settings.prefix}")
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()
        await server.close_all_connections()
        await cloud.close()
        await cluster.close()


def _from_hub(name: str) -> str:
    if not os.environ.get(name):
        raise UserError(
            f"{name} is not set: JupyterHub sets it for the services it starts; set it yourself "
            "when you start the service."
        )
    return os.environ[name]


def _node_agent(asked: argparse.Namespace) -> int:
    _needs_extra("kubernetes", "provisioner")
    _log_to_stderr()
    return _run(lambda: _be_a_node(asked))


async def _be_a_node(asked: argparse.Namespace) -> None:
    import tempfile

    from .adapters.system import SystemClock
    from .local.agent import NodeAgent
    from .local.processes import Host

    kind = _instance_type(asked.instance_type)
    cluster = _connect(asked.kubeconfig)
    with tempfile.TemporaryDirectory(prefix="gpu-jit-node-") as folder:
        host = Host(folder=Path(folder), demo_id=f"node-{os.getpid()}")
        agent = NodeAgent(
            cluster,
            SystemClock(),
            instance=_local_instance(asked),
            instance_type=kind,
            host=host,
        )
        _say(f"node {agent.name}: {kind.name}, sessions in {folder}")
        try:
            await agent.run()
        finally:
            await cluster.close()


# --- what needs no cluster ---------------------------------------------------------------------


def _validate(asked: argparse.Namespace) -> int:
    _needs_extra("yaml", "hub")
    import yaml

    from .core.options import parse_profiles

    try:
        data = yaml.safe_load(asked.file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{asked.file} cannot be read as YAML: {error}") from error
    profiles = parse_profiles(data)
    _say(f"{asked.file}: {len(profiles)} profiles: {', '.join(p.slug for p in profiles)}")
    return 0


def _simulate(asked: argparse.Namespace) -> int:
    from .sim.scenarios import run_scenario

    _say(str(run_scenario(asked.name, seed=asked.seed)))
    return 0


def _bench(asked: argparse.Namespace) -> int:
    from . import bench

    rows = bench.run(asked.name)
    _say(json.dumps(rows, indent=1) if asked.json else bench.table(rows))
    return 0


# --- shared ----------------------------------------------------------------------------------


def _connect(kubeconfig: str) -> ClosableCluster:
    from .adapters.kubernetes import KubernetesCluster

    if kubeconfig and not Path(kubeconfig).is_file():
        raise UserError(f"There is no kubeconfig file {kubeconfig}.")
    if kubeconfig:
        return KubernetesCluster.from_kubeconfig(kubeconfig)
    return KubernetesCluster.in_cluster()


def _simulated_cloud(cluster_id: str, hub_id: str) -> Any:
    import random

    from .adapters.system import RandomIds, SystemClock
    from .catalogue import instance_types
    from .core.wire import CLUSTER_TAG, HUB_TAG
    from .sim.cloud import SimCloud

    tags = {CLUSTER_TAG: cluster_id, HUB_TAG: hub_id}
    return SimCloud(SystemClock(), RandomIds(), random.Random(), instance_types(), tags=tags)


def _instance_type(name: str) -> Any:
    from difflib import get_close_matches

    from .catalogue import instance_types

    known = {kind.name: kind for kind in instance_types()}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f" Do you mean {near[0]}?" if near else ""
        raise UserError(f"There is no instance type {name!r}.{hint}")
    return known[name]


def _local_instance(asked: argparse.Namespace) -> Any:
    from .adapters.system import SystemClock
    from .ports import Instance

    provider_id = asked.provider_id or f"process://{socket.gethostname()}/{os.getpid()}"
    return Instance(
        id=provider_id.rpartition("/")[2],
        provider_id=provider_id,
        instance_type=asked.instance_type,
        zone=asked.zone,
        capacity_type="on-demand",
        state="running",
        launched_at=SystemClock().now(),
    )


def _needs_extra(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise UserError(
            f"This command needs the extra [{extra}]: pip install 'jupyter_gpu_jit[{extra}]'.",
            reason="ExtraMissing",
        )


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


# --- the words -------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu-jit", description="GPU sessions for JupyterHub, provisioned just in time."
    )
    parser.add_argument("--version", action="version", version=f"gpu-jit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _demo_words(commands)
    _provisioner_words(commands)
    _service_words(commands)
    _node_agent_words(commands)
    _offline_words(commands)
    return parser


def _command(commands: Any, name: str, does: str, run: Callable[..., int]) -> Any:
    parser = commands.add_parser(name, help=does, description=does)
    parser.set_defaults(command=run)
    return parser


def _demo_words(commands: Any) -> None:
    does = (
        "Run a JupyterHub with GPU profiles on this machine. Nodes, GPUs and prices are simulated; "
        "hub, spawner, provisioner and JupyterLab are real. Ctrl-C ends everything."
    )
    demo = _command(commands, "demo", does, _demo)
    demo.add_argument("--port", type=_port, default=8000, help="port (0: a free one)")
    demo.add_argument(
        "--control-plane",
        choices=("memory", "real"),
        default="memory",
        help="Kubernetes API: in memory, or real programs built from source (default: memory)",
    )
    demo.add_argument(
        "--empty-grace",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long an empty node is kept (default: 60)",
    )


def _provisioner_words(commands: Any) -> None:
    does = (
        "Run the provisioner against a Kubernetes cluster. The cloud is still the simulated one: "
        "it plans and claims, and no machine is bought."
    )
    parser = _command(commands, "provisioner", does, _provisioner)
    _cluster_words(parser)
    parser.add_argument("--namespace", default="gpu-jit", help="where session pods live")
    parser.add_argument("--identity", default="", help="this process in the Lease")
    parser.add_argument(
        "--empty-grace",
        type=_seconds,
        default=300.0,
        metavar="SECONDS",
        help="how long an empty node is kept (default: 300)",
    )


def _service_words(commands: Any) -> None:
    does = (
        "Run the service (quotes, a session's facts) that a hub knows as gpu-jit. Prices are "
        "those of the simulated cloud."
    )
    parser = _command(commands, "service", does, _service)
    _cluster_words(parser)
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=8090, help="port (0: a free one)")


def _node_agent_words(commands: Any) -> None:
    does = (
        "Be a process node: run the session pods bound to it as processes of this machine. "
        "For trials; its GPUs are pretended."
    )
    parser = _command(commands, "node-agent", does, _node_agent)
    parser.add_argument("--kubeconfig", default="", help="kubeconfig (default: in the cluster)")
    parser.add_argument("--instance-type", default="g6.xlarge", help="what to pretend to be")
    parser.add_argument("--zone", default="us-east-1a", help="zone to pretend to be in")
    parser.add_argument("--provider-id", default="", help="provider id of its instance")


def _offline_words(commands: Any) -> None:
    validate = _command(commands, "validate", "Check a file of profiles.", _validate)
    validate.add_argument("file", type=Path, help="YAML file with profiles")
    simulate = _command(
        commands, "simulate", "Run a scenario in virtual time with the real provisioner.", _simulate
    )
    simulate.add_argument("name", help="name of the scenario")
    simulate.add_argument("--seed", type=int, default=0, help="one seed is one run (default: 0)")
    bench = _command(commands, "bench", "Measure, and print aim and figure.", _bench)
    bench.add_argument("name", nargs="?", default="start", help="which figures (default: start)")
    bench.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _cluster_words(parser: Any) -> None:
    parser.add_argument("--kubeconfig", default="", help="kubeconfig (default: in the cluster)")
    parser.add_argument("--cluster-id", default="cluster", help="marks what is ours")
    parser.add_argument("--hub-id", default="hub", help="marks what is this hub's")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value
