"""A process node, on the in-memory cluster, with real processes."""

import asyncio
import contextlib
import json
import os
import sys
import urllib.request

import pytest

from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.core.model import InstanceType, Resources
from jupyter_gpu_jit.core.wire import GPU_RESOURCE, read_node
from jupyter_gpu_jit.local import marks
from jupyter_gpu_jit.local.agent import Delays, NodeAgent
from jupyter_gpu_jit.local.processes import (
    Addresses,
    Devices,
    Host,
    at_address,
    command_line,
    environment,
    expand,
)
from jupyter_gpu_jit.ports import EVENTS, LEASES, NODES, PODS, Instance
from jupyter_gpu_jit.sim.cluster import MemoryCluster

NAMESPACE = "gpu-jit"
KIND = InstanceType(
    name="g6.48xlarge",
    vcpu=192,
    memory_mib=786432,
    allocatable=Resources(cpu_millicpu=190_000, memory_bytes=700 << 30, gpus=3, pods=100),
    gpu_model="L4",
)
INSTANCE = Instance(
    id="i-0123",
    provider_id="aws:///us-east-1a/i-0123",
    instance_type="g6.48xlarge",
    zone="us-east-1a",
    capacity_type="spot",
    state="running",
    launched_at=0.0,
)
# Answers on the address it is told, with its environment.
SERVER = """
import http.server, json, os, sys, urllib.parse
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([dict(os.environ), os.getcwd()]).encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer((url.hostname, url.port), Handler).serve_forever()
"""
DEAF = """
import os, signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.system("sleep 600 &")
Path("ready").write_text(str(os.getpid()))
time.sleep(600)
"""


async def eventually(read, condition=bool, seconds=10.0):
    """The first value of ``read`` that satisfies ``condition``."""
    async with asyncio.timeout(seconds):
        while True:
            value = read()
            if asyncio.iscoroutine(value):
                value = await value
            if condition(value):
                return value
            await asyncio.sleep(0.02)


class Bench:
    """A cluster with one process node, and what tests do to it."""

    def __init__(self, cluster, host, agent):
        self.cluster, self.host, self.agent = cluster, host, agent

    async def start(self, name, code, *, gpus=0, args=(), env=(), **spec):
        """A pod that runs Python code, bound to the node."""
        await eventually(lambda: self.node(), lambda node: node is not None)
        url = {"name": "JUPYTERHUB_SERVICE_URL", "value": "http://0.0.0.0:8888/user/x/"}
        container = {
            "name": "notebook",
            "image": "demo/image:1",
            "command": [sys.executable, "-c", code, *args],
            "env": [url, *env],
            "resources": {"limits": {GPU_RESOURCE: str(gpus)}} if gpus else {},
        }
        if url["name"] not in code:
            container["env"].remove(url)
        annotations = {"hub.jupyter.org/username": name}
        body = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"containers": [container], "restartPolicy": "OnFailure", **spec},
        }
        await self.cluster.create(PODS, body, namespace=NAMESPACE)
        binding = {"target": {"kind": "Node", "name": self.agent.name}}
        await self.cluster.create(
            PODS, binding, namespace=NAMESPACE, name=name, subresource="binding"
        )

    def pod(self, name):
        found = [p for p in self.cluster.peek(PODS) if p["metadata"]["name"] == name]
        return found[0] if found else None

    def node(self):
        found = self.cluster.peek(NODES)
        return read_node(found[0]) if found else None

    async def ready(self, name):
        def is_ready(pod):
            conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions") or ()}
            return conditions.get("Ready") == "True"

        return await eventually(lambda: self.pod(name), is_ready)

    async def gone(self, name):
        await eventually(lambda: self.pod(name), lambda pod: pod is None)

    async def phase(self, name, phase):
        return await eventually(lambda: self.pod(name), lambda p: p["status"]["phase"] == phase)

    def processes(self):
        return marks.alive(marks.marked(marks.DEMO_MARK, self.host.demo_id))


@pytest.fixture
async def bench(tmp_path):
    clock = SystemClock()
    cluster = MemoryCluster(clock, RandomIds(), namespaces=[NAMESPACE])
    host = Host(
        folder=tmp_path,
        demo_id=f"agent-test-{os.getpid()}-{tmp_path.name}",
        addresses=Addresses(start=20_000),
    )
    agent = NodeAgent(
        cluster,
        clock,
        instance=INSTANCE,
        instance_type=KIND,
        host=host,
        delays=Delays(pull_seconds=0.05),
    )
    running = asyncio.create_task(agent.run())
    bench = Bench(cluster, host, agent)
    bench.running = running
    yield bench
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not bench.processes()


async def asked(pod):
    url = f"http://{pod['status']['podIP']}:8888/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def read():
        with opener.open(url, timeout=5) as answer:
            return answer.read()

    return json.loads(await asyncio.to_thread(read))


async def test_a_node_joins_tainted_and_reports_its_gpus_after_it_is_ready(bench):
    seen = []

    def record(change):
        if change.kind == NODES:
            node = read_node(change.object)
            seen.append((node.ready, node.allocatable.gpus))

    bench.cluster.on_change.append(record)
    await eventually(lambda: bench.node(), lambda n: n is not None and n.allocatable.gpus == 3)
    assert seen == [(False, 0), (True, 0), (True, 3)]
    node = bench.node()
    assert node.provider_id == INSTANCE.provider_id
    assert {taint.key for taint in node.taints} >= {"gpu-jit.io/unregistered", "nvidia.com/gpu"}
    lease = await bench.cluster.get(LEASES, bench.agent.name, namespace="kube-node-lease")
    assert lease["spec"]["renewTime"]


async def test_a_session_gets_its_pods_environment_and_nothing_of_the_developers(
    bench, monkeypatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("http_proxy", "http://planted.invalid")
    await bench.start("ann", SERVER, env=[{"name": "HELLO", "value": "world"}])
    pod = await bench.ready("ann")
    env, folder = await asked(pod)
    assert env["HELLO"] == "world"
    assert env["HOME"] == folder == str(bench.host.home("ann"))
    address = pod["status"]["podIP"]
    assert address.startswith("127.0.")
    assert env["JUPYTERHUB_SERVICE_URL"] == f"http://{address}:8888/user/x/"
    ours = {"PATH", "HOME", "LANG", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}
    theirs = {"HELLO", "JUPYTERHUB_SERVICE_URL"}
    marked = {marks.DEMO_MARK, marks.POD_MARK}
    assert set(env) - {"LC_CTYPE"} == ours | theirs | marked


async def test_events_tell_the_kubelets_story_in_order(bench):
    await bench.start("ann", SERVER)
    await bench.ready("ann")
    events = sorted(bench.cluster.peek(EVENTS), key=lambda e: int(e["metadata"]["resourceVersion"]))
    assert [e["reason"] for e in events] == ["Pulling", "Pulled", "Created", "Started"]
    uid = bench.pod("ann")["metadata"]["uid"]
    assert {e["involvedObject"]["uid"] for e in events} == {uid}


async def test_gpus_are_never_given_twice_and_come_back(bench):
    await bench.start("ann", SERVER, gpus=2)
    await bench.start("bob", SERVER, gpus=1)
    given = []
    for name in ("ann", "bob"):
        env, _ = await asked(await bench.ready(name))
        given.append(set(env["CUDA_VISIBLE_DEVICES"].split(",")))
    assert sorted(map(len, given)) == [1, 2]
    assert set.union(*given) == {"0", "1", "2"}
    await bench.start("cat", SERVER, gpus=1)
    pod = await bench.phase("cat", "Failed")
    assert pod["status"]["reason"] == "UnexpectedAdmissionError"
    await bench.cluster.delete(PODS, "bob", namespace=NAMESPACE)
    await bench.gone("bob")
    await bench.start("dan", SERVER, gpus=1)
    env, _ = await asked(await bench.ready("dan"))
    assert {env["CUDA_VISIBLE_DEVICES"]} == given[1]


async def test_each_pod_has_its_own_address(bench):
    await bench.start("ann", SERVER)
    await bench.start("bob", SERVER)
    addresses = {(await bench.ready(name))["status"]["podIP"] for name in ("ann", "bob")}
    assert len(addresses) == 2


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (3, "Failed")])
async def test_an_exit_is_reported_with_its_code(bench, code, phase):
    await bench.start("ann", f"raise SystemExit({code})")
    pod = await bench.phase("ann", phase)
    [status] = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == code
    await bench.cluster.delete(PODS, "ann", namespace=NAMESPACE)
    await bench.gone("ann")


async def test_a_missing_program_fails_the_pod_with_the_reason(bench):
    await eventually(bench.node, lambda node: node is not None)
    body = {
        "metadata": {"name": "eve"},
        "spec": {
            "nodeName": bench.agent.name,
            "containers": [{"name": "notebook", "image": "x", "command": ["no-such-program"]}],
        },
    }
    await bench.cluster.create(PODS, body, namespace=NAMESPACE)
    pod = await bench.phase("eve", "Failed")
    assert "no-such-program" in pod["status"]["message"]


async def test_a_session_deaf_to_sigterm_ends_at_its_grace_with_its_children(bench):
    await bench.start("ann", DEAF)
    await bench.ready("ann")
    await eventually((bench.host.home("ann") / "ready").exists)
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    await bench.cluster.delete(PODS, "ann", namespace=NAMESPACE, grace_seconds=1)
    await bench.gone("ann")
    assert 1.0 <= loop.time() - asked_at < 3.0
    assert not bench.processes()


async def test_a_second_delete_may_shorten_the_grace(bench):
    await bench.start("ann", DEAF)
    await bench.ready("ann")
    await eventually((bench.host.home("ann") / "ready").exists)
    await bench.cluster.delete(PODS, "ann", namespace=NAMESPACE, grace_seconds=300)
    await bench.cluster.delete(PODS, "ann", namespace=NAMESPACE, grace_seconds=1)
    await bench.gone("ann")
    assert not bench.processes()


async def test_a_pod_deleted_without_grace_takes_its_process_along(bench):
    await bench.start("ann", DEAF)
    await bench.ready("ann")
    await bench.cluster.delete(PODS, "ann", namespace=NAMESPACE, grace_seconds=0)
    await eventually(lambda: not bench.processes())


async def test_a_pod_deleted_while_its_image_is_pulled_never_starts(bench):
    held = asyncio.Event()

    def on_change(change):
        if change.kind == EVENTS and change.object["reason"] == "Pulling":
            held.set()

    bench.cluster.on_change.append(on_change)
    await bench.start("ann", SERVER)
    await held.wait()
    await bench.cluster.delete(PODS, "ann", namespace=NAMESPACE)
    await bench.gone("ann")
    reasons = {e["reason"] for e in bench.cluster.peek(EVENTS)}
    assert "Started" not in reasons


async def test_the_end_of_a_node_ends_its_sessions(bench):
    await bench.start("ann", DEAF)
    await bench.start("bob", SERVER)
    await bench.ready("ann")
    await bench.ready("bob")
    assert bench.processes()
    bench.running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await bench.running
    assert not bench.processes()


async def test_a_watch_that_expired_is_begun_anew(bench):
    await bench.start("ann", SERVER)
    await bench.ready("ann")
    bench.cluster.compact()
    await bench.start("bob", SERVER)
    await bench.ready("bob")


def test_no_user_name_leads_out_of_the_homes_folder(tmp_path):
    host = Host(folder=tmp_path, demo_id="x")
    for name in ("..", ".", "", "a/../../b", "/etc", "ä", "%2E%2E"):
        home = host.home(name)
        assert home.parent == tmp_path / "homes"
        assert home.resolve() == home
    assert len({host.home(n) for n in ("a", "A", "a.", "%", "")}) == 5


def test_references_in_variables_are_expanded_as_kubernetes_does():
    env = {"A": "1"}
    assert expand("$(A) $(B) $$(A) $A", env) == "1 $(B) $(A) $A"


def test_a_service_url_keeps_port_and_path():
    assert at_address("http://0.0.0.0:8888/user/a/", "127.0.3.4") == "http://127.0.3.4:8888/user/a/"
    assert at_address("http://[::]:1/", "127.0.3.4") == "http://127.0.3.4:1/"


def test_a_container_without_command_runs_the_images_default(tmp_path):
    host = Host(folder=tmp_path, demo_id="x")
    env = environment({}, host=host, home=tmp_path, uid="u", address="127.0.1.1", gpus=())
    line = command_line({"name": "notebook"}, env)
    assert line[0].endswith("/jupyterhub-singleuser")
    assert ("--allow-root" in line) == (os.geteuid() == 0)
    assert env["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_devices_refuse_what_they_do_not_have():
    devices = Devices(2)
    assert devices.take(3) is None
    assert devices.take(2) == (0, 1)
    assert devices.take(1) is None
    assert devices.take(0) == ()
    devices.give_back((1,))
    assert devices.take(1) == (1,)


def test_addresses_skip_one_whose_port_is_taken():
    import socket

    addresses = Addresses(start=30_000)
    first = addresses.take(0)
    addresses.give_back(first)
    with socket.create_server((first, 0)) as listener:
        assert addresses.take(listener.getsockname()[1]) != first
