"""What the adapter makes of a server's bad days; the server here is a scripted one."""

import asyncio
import json

import pytest
from aiohttp import web
from worlds import connected

from jupyter_gpu_jit.adapters.kubernetes import CONNECTIONS, KubernetesCluster
from jupyter_gpu_jit.errors import (
    AlreadyExists,
    Conflict,
    Defect,
    Expired,
    NotFound,
    Rejected,
    Unavailable,
)
from jupyter_gpu_jit.ports import LEASES, PODS


class Server:
    """Answers each request with the next of ``answers`` and remembers what was asked."""

    def __init__(self):
        self.answers, self.requests, self.url = [], [], ""

    async def handle(self, request):
        self.requests.append((request, await request.text()))
        answer = self.answers.pop(0)
        return await answer(request) if callable(answer) else answer

    def will(self, status, body, **headers):
        text = body if isinstance(body, str) else json.dumps(body)
        self.answers.append(web.Response(status=status, text=text, headers=headers))


@pytest.fixture
async def server():
    scripted = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def cluster(server):
    async with connected(server.url, "t", request_seconds=0.5, watch_seconds=1) as made:
        yield made


def status(code, reason, message="told", **details):
    return {"kind": "Status", "code": code, "reason": reason, "message": message} | details


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", Rejected),
        (401, "Unauthorized", Rejected),
        (403, "Forbidden", Rejected),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Expired),
        (422, "Invalid", Rejected),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (501, "NotImplemented", Rejected),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)
async def test_a_status_becomes_its_error(server, cluster, code, reason, error):
    server.will(code, status(code, reason))
    with pytest.raises(error) as caught:
        await cluster.get(PODS, "p", namespace="n")
    assert type(caught.value) is error
    assert caught.value.user_message == "told"


async def test_long_messages_are_cut(server, cluster):
    server.will(422, status(422, "Invalid", "x" * 5000))
    with pytest.raises(Rejected) as caught:
        await cluster.get(PODS, "p", namespace="n")
    assert caught.value.user_message == "x" * 256


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ({"details": {"retryAfterSeconds": 7}}, {}, 7.0),
        ({}, {"Retry-After": "3"}, 3.0),
        ({}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({}, {}, 0.0),
    ],
)
async def test_unavailable_carries_when_to_come_back(server, cluster, details, headers, seconds):
    server.will(429, status(429, "TooManyRequests", **details), **headers)
    with pytest.raises(Unavailable) as caught:
        await cluster.list(PODS)
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(("code", "error"), [(502, Unavailable), (404, NotFound)])
async def test_an_answer_that_is_not_from_kubernetes_still_has_its_meaning(
    server, cluster, code, error
):
    server.will(code, "<html>gateway</html>")
    with pytest.raises(error, match=str(code)):
        await cluster.get(PODS, "p", namespace="n")


async def test_a_success_that_is_not_json_is_unavailable(server, cluster):
    server.will(200, "{half")
    with pytest.raises(Unavailable):
        await cluster.get(PODS, "p", namespace="n")


async def test_no_answer_within_the_time_is_unavailable(server, cluster):
    async def never(request):
        await asyncio.sleep(3)
        return web.Response()

    server.answers.append(never)
    with pytest.raises(Unavailable, match="did not answer GET"):
        await cluster.get(PODS, "p", namespace="n")


async def test_a_lease_is_renewed_however_much_other_work_is_under_way(server):
    full, over = asyncio.Event(), asyncio.Event()

    async def slow(request):
        if len(server.requests) == CONNECTIONS:
            full.set()
        await over.wait()
        return web.json_response({})

    server.answers += [slow] * CONNECTIONS
    async with connected(server.url, "t", request_seconds=30) as busy, asyncio.TaskGroup() as work:
        for _ in range(CONNECTIONS):
            work.create_task(busy.get(PODS, "p", namespace="n"))
        await full.wait()
        server.will(200, {"kind": "Lease"})
        assert await busy.get(LEASES, "l", namespace="n") == {"kind": "Lease"}
        over.set()


async def test_nobody_listening_is_unavailable():
    async with connected("http://127.0.0.1:9", "t") as cluster:
        with pytest.raises(Unavailable):
            await cluster.list(PODS)


async def test_a_list_is_fetched_in_pages(server, cluster):
    server.will(200, {"metadata": {"resourceVersion": "5", "continue": "a b"}, "items": [{"n": 1}]})
    server.will(200, {"metadata": {"resourceVersion": "5"}, "items": [{"n": 2}]})
    listing = await cluster.list(PODS, label_selector="a in (b)")
    assert (listing.items, listing.resource_version) == (({"n": 1}, {"n": 2}), "5")
    queries = [dict(request.query) for request, _ in server.requests]
    first = {"labelSelector": "a in (b)", "limit": "500"}
    assert queries == [first, {**first, "continue": "a b"}]


async def test_a_list_whose_pages_expire_is_fetched_in_one_piece(server, cluster):
    server.will(200, {"metadata": {"resourceVersion": "5", "continue": "x"}, "items": [{"n": 1}]})
    server.will(410, status(410, "Expired"))
    server.will(200, {"metadata": {"resourceVersion": "6"}, "items": [{"n": 2}]})
    listing = await cluster.list(PODS)
    assert (listing.items, listing.resource_version) == (({"n": 2},), "6")
    assert "limit" not in server.requests[-1][0].query


async def test_requests_are_what_the_api_server_reads(server, cluster):
    for _ in range(3):
        server.will(200, {})
    await cluster.patch(PODS, "p", {"a": None}, namespace="n", subresource="status")
    await cluster.delete(PODS, "p", namespace="n", uid="u", resource_version="7", grace_seconds=0)
    await cluster.create(PODS, {"metadata": {"name": "q"}}, namespace="n")
    (patch, patched), (delete, options), (create, created) = server.requests
    assert (patch.method, patch.path) == ("PATCH", "/api/v1/namespaces/n/pods/p/status")
    assert patch.content_type == "application/merge-patch+json"
    assert patch.headers["Authorization"] == "Bearer t"
    assert json.loads(patched) == {"a": None}
    assert delete.method == "DELETE"
    assert json.loads(options) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
        "gracePeriodSeconds": 0,
    }
    assert create.path == "/api/v1/namespaces/n/pods"
    assert json.loads(created) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "q"},
    }


def stream(*lines, broken=False, hang=False):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(
                line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            )
        if hang:
            await asyncio.sleep(60)
        if broken:
            request.transport.abort()
        return response

    return answer


def event(kind, version):
    return {"type": kind, "object": {"metadata": {"resourceVersion": version}}}


async def watched(cluster):
    return [event.type async for event in cluster.watch(PODS, resource_version="1")]


async def test_a_watch_asks_for_bookmarks_and_ends_with_the_server(server, cluster):
    server.answers.append(stream(event("ADDED", "2"), event("BOOKMARK", "9")))
    assert await watched(cluster) == ["ADDED", "BOOKMARK"]
    query = server.requests[0][0].query
    assert query["allowWatchBookmarks"] == "true"
    assert (query["resourceVersion"], query["timeoutSeconds"]) == ("1", "1")


@pytest.mark.parametrize(("code", "error"), [(410, Expired), (500, Unavailable), (403, Rejected)])
async def test_an_error_event_in_a_watch_is_raised(server, cluster, code, error):
    server.answers.append(stream({"type": "ERROR", "object": status(code, "")}))
    with pytest.raises(error):
        await watched(cluster)


async def test_an_object_of_two_mebibytes_passes_through_a_watch(server, cluster):
    big = event("ADDED", "2")
    big["object"]["data"] = "x" * (2 << 20)
    server.answers.append(stream(big))
    assert await watched(cluster) == ["ADDED"]


@pytest.mark.parametrize("tail", [b'{"type": "ADD', b""])
async def test_a_watch_that_breaks_off_is_unavailable(server, cluster, tail):
    server.answers.append(stream(event("ADDED", "2"), tail, broken=True))
    with pytest.raises(Unavailable):
        await watched(cluster)


async def test_a_silent_connection_does_not_hold_a_watch_for_ever(server, cluster, monkeypatch):
    monkeypatch.setattr("jupyter_gpu_jit.adapters.kubernetes._WATCH_SLACK_SECONDS", -0.7)
    server.answers.append(stream(event("ADDED", "2"), hang=True))
    with pytest.raises(Unavailable):
        await watched(cluster)


async def test_a_proxy_of_the_environment_is_not_asked_for_loopback(server, cluster, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.will(200, {"name": "p"})
    assert await cluster.get(PODS, "p", namespace="n") == {"name": "p"}


async def test_a_kubeconfig_is_enough(server, tmp_path):
    path = tmp_path / "kubeconfig"
    entry = {"name": "x", "cluster": {"server": f"{server.url}/prefix"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    path.write_text(
        json.dumps(
            {
                "clusters": [entry],
                "users": [{"name": "x", "user": {"token": "secret"}}],
                "contexts": [context],
                "current-context": "x",
            }
        )
    )
    server.will(200, {"name": "p"})
    cluster = KubernetesCluster.from_kubeconfig(str(path))
    assert await cluster.get(PODS, "p", namespace="n") == {"name": "p"}
    await cluster.close()
    request, _ = server.requests[0]
    assert request.path == "/prefix/api/v1/namespaces/n/pods/p"
    assert request.headers["Authorization"] == "Bearer secret"


async def test_a_kubeconfig_that_cannot_be_read_is_a_defect_that_says_so(tmp_path):
    cluster = KubernetesCluster.from_kubeconfig(str(tmp_path / "none"))
    with pytest.raises(Defect, match="configuration"):
        await cluster.list(PODS)
    await cluster.close()
