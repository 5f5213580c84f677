"""The words of the command line: options, defaults, help. Called by ``main``.

Standard library only: help must not import anything that a command may need.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import __version__


def parser() -> argparse.ArgumentParser:
    """What is understood; ``command`` says ``module:function`` of this package."""
    whole = argparse.ArgumentParser(
        prog="gpu-jit", description="GPU sessions for JupyterHub, provisioned just in time."
    )
    whole.add_argument("--version", action="version", version=f"gpu-jit {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    _demo_words(commands)
    _provisioner_words(commands)
    _doctor_words(commands)
    _service_words(commands)
    _node_agent_words(commands)
    _plan_words(commands)
    _offline_words(commands)
    return whole


def _command(commands: Any, name: str, does: str, run: str) -> Any:
    parser = commands.add_parser(name, help=does, description=does)
    parser.set_defaults(command=run)
    return parser


def _demo_words(commands: Any) -> None:
    does = (
        "Run a JupyterHub with GPU profiles on this machine. Nodes, GPUs and prices are simulated; "
        "hub, spawner, provisioner and JupyterLab are real. Ctrl-C ends everything."
    )
    demo = _command(commands, "demo", does, "demo:demo")
    demo.add_argument("--port", type=_port, default=8000, help="port (0: a free one)")
    demo.add_argument(
        "--control-plane",
        choices=("memory", "real"),
        default="memory",
        help="Kubernetes API: in memory, or real programs built from source (default: memory)",
    )
    demo.add_argument(
        "--aws",
        action="store_true",
        help="buy the nodes on an EC2 of its own on loopback, through the adapters of production",
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
        "Run the provisioner against a Kubernetes cluster, on EC2 with --aws. Without it the cloud "
        "is a simulated one, in this process or at a URL, and no machine is bought."
    )
    parser = _command(commands, "provisioner", does, "single:provisioner")
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
    parser.add_argument(
        "--lease-seconds",
        type=_lease_seconds,
        default=15.0,
        metavar="SECONDS",
        help="how long after a crash the next provisioner waits; whole, from 1 (default: 15)",
    )
    parser.add_argument(
        "--replace-at-risk",
        action="store_true",
        help="keep room elsewhere already when the cloud only says that it may take a node back",
    )
    parser.add_argument(
        "--drain-once-replaced",
        action="store_true",
        help="on a node that is taken back, end sessions as soon as there is room elsewhere; "
        "without it they have until 20 s before",
    )
    parser.add_argument("--cloud", default="", metavar="URL", help="a simulated cloud's address")
    parser.add_argument(
        "--cloud-token-file", type=Path, metavar="FILE", help="file with the token for --cloud"
    )
    _aws_word(parser, "buy on EC2, as this file says (hub_config/aws/aws.toml)")
    parser.add_argument(
        "--metrics-port", type=_port, metavar="PORT", help="serve metrics (default: not)"
    )
    parser.add_argument(
        "--metrics-address", default="0.0.0.0", help="address of the metrics (default: all)"
    )


def _doctor_words(commands: Any) -> None:
    does = "Check an AWS account: all that must be true before a node can come up."
    parser = _command(commands, "doctor", does, "single:doctor")
    parser.add_argument("--cluster-id", default="cluster", help="marks what is ours")
    parser.add_argument("--hub-id", default="hub", help="marks what is this hub's")
    _aws_word(parser, "the provisioner's file (hub_config/aws/aws.toml)", required=True)


def _aws_word(parser: Any, does: str, *, required: bool = False) -> None:
    parser.add_argument("--aws", type=Path, metavar="FILE.toml", help=does, required=required)


def _service_words(commands: Any) -> None:
    does = (
        "Run the service (quotes, a session's facts) that a hub knows as gpu-jit. Prices are "
        "those of the simulated cloud."
    )
    parser = _command(commands, "service", does, "single:service")
    _cluster_words(parser)
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=8090, help="port (0: a free one)")


def _node_agent_words(commands: Any) -> None:
    does = (
        "Be a process node: run the session pods bound to it as processes of this machine. "
        "For trials; its GPUs are pretended."
    )
    parser = _command(commands, "node-agent", does, "single:node_agent")
    parser.add_argument("--kubeconfig", default="", help="kubeconfig (default: in the cluster)")
    parser.add_argument("--instance-type", default="g6.xlarge", help="what to pretend to be")
    parser.add_argument("--zone", default="us-east-1a", help="zone to pretend to be in")
    parser.add_argument("--provider-id", default="", help="provider id of its instance")


def _plan_words(commands: Any) -> None:
    does = (
        "Plan a file of requests with no cluster: the nodes with their GPU seats, what they cost, "
        "what any plan would cost at least, and why somebody has no place."
    )
    parser = _command(commands, "plan", does, "plan:plan")
    parser.add_argument(
        "file",
        type=Path,
        metavar="REQUESTS.json",
        help="what to plan: a list of {count, profile fields} (docs/plan.md); also YAML",
    )
    parser.add_argument(
        "--catalogue",
        type=Path,
        metavar="FILE",
        help="instance types and offerings (default: the packaged ones, on-demand)",
    )
    parser.add_argument(
        "--spot", type=Path, metavar="FILE", help="Spot prices and interruption rates over it"
    )
    parser.add_argument("--nodes", type=Path, metavar="FILE", help="nodes that run already")
    parser.add_argument(
        "--bare",
        action="store_true",
        help="figures of the catalogue alone: without root disk, daemonsets, interruption cost "
        "and diversification",
    )
    parser.add_argument(
        "--lint",
        action="store_true",
        help="instead: which requests, or profiles of a profiles file, just miss an instance type, "
        "and what trimming them would save",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a drawing")
    form.add_argument("--html", action="store_true", help="print a page instead of a drawing")


def _offline_words(commands: Any) -> None:
    validate = _command(commands, "validate", "Check a file of profiles.", "offline:validate")
    validate.add_argument("file", type=Path, help="YAML file with profiles")
    validate.add_argument(
        "--profile-list",
        action="store_true",
        help="the file is a jupyterhub_config.py, or JSON or YAML (also values of Zero to "
        "JupyterHub), with a profile_list of KubeSpawner: say what of it is carried",
    )
    simulate = _command(
        commands,
        "simulate",
        "Run a scenario in virtual time with the real provisioner.",
        "offline:simulate",
    )
    simulate.add_argument("name", help="name of the scenario")
    simulate.add_argument("--seed", type=int, default=0, help="one seed is one run (default: 0)")
    bench = _command(commands, "bench", "Measure, and print aim and figure.", "offline:bench")
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


def _lease_seconds(text: str) -> float:
    if not text.isdigit() or not 1 <= int(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 3600")
    return float(text)
