"""The HTTP face as its real clients use it: KubeSpawner's reflector, its client, kubectl."""

import asyncio
import io
import json
import logging

import aiohttp
import pytest
import yaml
from kubernetes_asyncio import client as hub_client
from kubernetes_asyncio.client.exceptions import ApiException
from kubespawner.reflector import ResourceReflector
from worlds import TOKEN, connected, eventually, in_namespace, served_memory

from jupyter_gpu_jit.adapters.system import SystemClock
from jupyter_gpu_jit.errors import Expired, Unavailable, UserError
from jupyter_gpu_jit.local.http_api import BODY_LIMIT_BYTES, KubernetesApi
from jupyter_gpu_jit.ports import NODES, PODS
from jupyter_gpu_jit.sim.binder import Binder

NAMESPACE = "gpu-jit"
CONTAINER = {"name": "notebook", "image": "registry.invalid/none:1"}


@pytest.fixture
async def face():
    async with served_memory() as (memory, api, url):
        yield memory, api, url


@pytest.fixture
async def http(face):
    """Raw calls with the token."""
    _, _, url = face
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(url, headers=headers, trust_env=False) as session:
        yield session


@pytest.fixture
async def hub(face, monkeypatch):
    """KubeSpawner's own client library."""
    _, _, url = face
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    configuration = hub_client.Configuration(host=url)
    configuration.api_key = {"BearerToken": f"Bearer {TOKEN}"}
    async with hub_client.ApiClient(configuration) as api_client:
        yield hub_client.CoreV1Api(api_client)


# --- KubeSpawner -----------------------------------------------------------------------------


class SessionPods(ResourceReflector):
    """As KubeSpawner declares its own."""

    kind = "pods"


@pytest.fixture
async def reflector(hub, monkeypatch):
    monkeypatch.setattr("kubespawner.reflector.shared_client", lambda name: hub)
    made = SessionPods(
        namespace=NAMESPACE,
        labels={"component": "singleuser-server"},
        timeout_seconds=1,
        log=logging.getLogger("reflector"),
    )
    await made.start()
    yield made
    await made.stop()


async def test_kubespawners_reflector_follows_pods_through_its_own_watch_restarts(
    reflector, hub, face
):
    memory, _, _ = face

    async def phase(name, wanted):
        async def check():
            pod = reflector.resources.get(f"{NAMESPACE}/{name}")
            return pod is not None and pod["status"]["phase"] == wanted

        await eventually(check)

    def pod(name, component):
        meta = {"name": name, "labels": {"component": component}}
        return {"metadata": meta, "spec": {"containers": [CONTAINER]}}

    await hub.create_namespaced_pod(NAMESPACE, pod("mine", "singleuser-server"))
    await hub.create_namespaced_pod(NAMESPACE, pod("other", "proxy"))
    await phase("mine", "Pending")
    # Longer than the reflector's own watch: it lists again with NotOlderThan and goes on.
    await asyncio.sleep(1.3)
    patch = {"status": {"phase": "Running", "podIP": "127.1.1.1"}}
    await memory.patch(PODS, "mine", patch, namespace=NAMESPACE, subresource="status")
    await phase("mine", "Running")
    assert set(reflector.resources) == {f"{NAMESPACE}/mine"}
    await memory.delete(PODS, "mine", namespace=NAMESPACE)

    async def gone():
        return not reflector.resources

    await eventually(gone)
    assert not reflector.watch_task.done()


async def test_the_hubs_client_deletes_with_an_options_body_and_reads_answers_back(hub):
    body = {"metadata": {"generateName": "jupyter-"}, "spec": {"containers": [CONTAINER]}}
    made = await hub.create_namespaced_pod(NAMESPACE, body)
    name = made.metadata.name
    options = hub_client.V1DeleteOptions(grace_period_seconds=1)
    gone = await hub.delete_namespaced_pod(
        name, NAMESPACE, body=options, grace_period_seconds=options.grace_period_seconds
    )
    assert gone.metadata.uid == made.metadata.uid
    with pytest.raises(ApiException) as caught:
        await hub.read_namespaced_pod(name, NAMESPACE)
    assert caught.value.status == 404
    assert "not found" in json.loads(caught.value.body)["message"]


async def test_the_hubs_client_sees_409_with_its_reason(hub):
    body = {"metadata": {"name": "twice"}, "spec": {"containers": [CONTAINER]}}
    await hub.create_namespaced_pod(NAMESPACE, body)
    with pytest.raises(ApiException) as caught:
        await hub.create_namespaced_pod(NAMESPACE, body)
    assert caught.value.status == 409
    assert json.loads(caught.value.body)["reason"] == "AlreadyExists"


# --- kubectl ---------------------------------------------------------------------------------


@pytest.fixture
def kubectl(face, programs, tmp_path):
    """kubectl as a developer runs it against the demo."""
    _, api, _ = face
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(api.kubeconfig(NAMESPACE)))

    async def run(*arguments):
        process = await asyncio.create_subprocess_exec(
            str(programs["kubectl"]),
            f"--kubeconfig={path}",
            f"--cache-dir={tmp_path / 'cache'}",
            *arguments,
            env={"HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()

    return run


async def test_kubectl_shows_pods_as_yaml_and_json(face, kubectl):
    memory, _, _ = face
    body = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}}
    made = await memory.create(PODS, body, namespace=NAMESPACE)
    code, output, _ = await kubectl("get", "pods", "-o", "yaml")
    assert code == 0
    assert yaml.safe_load(output)["items"] == [made]
    code, output, _ = await kubectl("get", "pod", "p", "-o", "json")
    assert json.loads(output) == made


@pytest.mark.parametrize(
    "arguments", [("nodes",), ("gnc",), ("events", "-A"), ("leases.coordination.k8s.io",)]
)
async def test_kubectl_finds_every_kind_by_its_names(kubectl, arguments):
    code, output, errors = await kubectl("get", *arguments, "-o", "json")
    assert (code, errors) == (0, "")
    assert json.loads(output)["items"] == []


async def test_what_kubectl_cannot_have_is_named_without_the_token(face, kubectl):
    memory, _, _ = face
    body = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}}
    await memory.create(PODS, body, namespace=NAMESPACE)
    code, _, errors = await kubectl("logs", "p")
    assert code == 1
    assert "GET /api/v1/namespaces/gpu-jit/pods/p/log is not served" in errors
    assert TOKEN not in errors


# --- the edges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}]
)
async def test_without_the_token_nothing_is_told(face, headers):
    _, _, url = face
    async with aiohttp.ClientSession(trust_env=False) as session:
        for path in ("/api/v1/pods", "/api", "/healthz", "/wrong/api/v1/pods"):
            async with session.get(url + path, headers=headers) as answer:
                body = await answer.json()
                assert (answer.status, body["kind"], body["code"]) == (401, "Status", 401)


NOT_SERVED = [
    ("PUT", "/api/v1/namespaces/gpu-jit/pods/p"),
    ("DELETE", "/api/v1/namespaces/gpu-jit/pods"),
    ("GET", "/api/v1/namespaces/gpu-jit/pods/p/log"),
    ("POST", "/api/v1/namespaces/gpu-jit/pods/p/eviction"),
    ("POST", "/api/v1/namespaces/gpu-jit/pods/p/exec"),
    ("GET", "/apis/apps/v1/deployments"),
    ("GET", "/openapi/v3"),
    ("PATCH", "/api/v1/namespaces/gpu-jit/pods/p/scale"),
]


@pytest.mark.parametrize(("method", "path"), NOT_SERVED)
async def test_every_other_call_is_501_with_its_name(http, method, path):
    async with http.request(method, path, json={}) as answer:
        body = await answer.json()
        assert (answer.status, body["reason"]) == (501, "NotImplemented")
        assert f"{method} {path}" in body["message"]


@pytest.mark.parametrize(
    ("content_type", "patch", "status"),
    [
        ("application/merge-patch+json", {"metadata": {"labels": {"a": "b"}}}, 200),
        ("application/strategic-merge-patch+json", {"metadata": {"labels": {"a": "b"}}}, 200),
        ("application/strategic-merge-patch+json", {"spec": {"taints": []}}, 501),
        ("application/strategic-merge-patch+json", {"spec": {"$patch": "delete"}}, 501),
        ("application/json-patch+json", {}, 501),
        ("application/apply-patch+yaml", {}, 501),
        ("application/merge-patch+json", [], 400),
    ],
)
async def test_only_patches_that_mean_the_same_as_a_merge_are_served(
    face, http, content_type, patch, status
):
    memory, _, _ = face
    await memory.create(NODES, {"metadata": {"name": "n"}})
    headers = {"Content-Type": content_type}
    data = json.dumps(patch)
    async with http.patch("/api/v1/nodes/n", data=data, headers=headers) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("method", "path", "data", "status"),
    [
        ("POST", "/api/v1/nodes", "not json", 400),
        ("POST", "/api/v1/nodes", "[]", 400),
        ("GET", "/api/v1/nodes?watch=1&timeoutSeconds=soon", None, 400),
        ("GET", "/api/v1/nodes?watch=1&sendInitialEvents=true", None, 422),
        ("GET", "/api/v1/nodes?resourceVersion=999999", None, 504),
        ("GET", "/api/v1/nodes?continue=abc", None, 410),
        ("POST", "/api/v1/nodes?dryRun=All", "{}", 501),
    ],
)
async def test_bad_requests_are_answered_with_a_status(http, method, path, data, status):
    async with http.request(method, path, data=data) as answer:
        body = await answer.json()
        assert (answer.status, body["kind"], body["code"]) == (status, "Status", status)
        assert body["message"]


async def test_a_body_above_the_limit_is_413(http):
    data = io.BytesIO(b"x" * (BODY_LIMIT_BYTES + 1))
    async with http.post("/api/v1/nodes", data=data) as answer:
        assert (await answer.json())["code"] == 413


async def test_a_watch_without_bookmarks_ends_after_its_seconds(http):
    async with http.get("/api/v1/nodes?watch=True&timeoutSeconds=1") as answer:
        async with asyncio.timeout(5):
            assert await answer.read() == b""


async def test_a_watch_that_is_too_old_says_so_in_an_event(http):
    async with http.get("/api/v1/nodes?watch=true&resourceVersion=1") as answer:
        assert answer.status == 200
        event = json.loads(await answer.read())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_it_listens_on_loopback_only(face):
    memory, _, _ = face
    with pytest.raises(UserError, match="loopback"):
        await KubernetesApi(memory, TOKEN).start("0.0.0.0")


async def test_stopping_ends_open_watches_at_once():
    async with served_memory() as (memory, api, url), connected(url, TOKEN) as cluster:
        world = await in_namespace(cluster, real=False)
        start = (await cluster.list(PODS)).resource_version
        waiting = asyncio.create_task(world.events_until(PODS, 1, start))
        await eventually(lambda: _has_watch(memory))
        async with asyncio.timeout(2):
            await api.stop()
            with pytest.raises((Unavailable, Expired)):
                await waiting


async def _has_watch(memory):
    return bool(memory._wakers)


async def test_the_binder_works_through_the_adapter_in_real_time():
    async with served_memory() as (memory, _, url), connected(url, TOKEN) as cluster:
        binder = asyncio.create_task(Binder(cluster, SystemClock()).run())
        status = {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "9"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        await memory.create(NODES, {"metadata": {"name": "n"}, "status": status})
        body = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}}
        await memory.create(PODS, body, namespace=NAMESPACE)

        async def is_bound():
            pod = await memory.get(PODS, "p", namespace=NAMESPACE)
            return pod["spec"].get("nodeName") == "n"

        await eventually(is_bound)
        binder.cancel()
        await asyncio.wait([binder])
