"""S17: what the API server says may quote whole objects, with the tokens in them: it is cut short.

The place of redaction is where its answers come in: ``adapters.kubernetes_errors`` for provisioner
and service, ``hub.redaction`` for the hub.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hub_world import World, eventually

from jupyter_gpu_jit.adapters.kubernetes import KubernetesCluster
from jupyter_gpu_jit.adapters.kubernetes_errors import error_of
from jupyter_gpu_jit.errors import Rejected, Unavailable
from jupyter_gpu_jit.hub.redaction import Shortening, install
from jupyter_gpu_jit.local.ports import free_ports
from jupyter_gpu_jit.ports import PODS

MOST = 256
PLANTED = "planted-token-0123456789abcdef"
LONG = "Pod is invalid: " + "spec.containers[0].env " * 40 + PLANTED


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422, 429, 500, 503, 504])
def test_an_error_of_the_api_server_is_at_most_256_characters(code: int) -> None:
    error = error_of({"code": code, "message": LONG})
    assert len(str(error)) <= MOST
    assert PLANTED not in error.user_message


async def test_a_broken_connection_names_the_request_and_no_token() -> None:
    server = f"http://127.0.0.1:{free_ports(1)[0]}"
    cluster = KubernetesCluster.connect(server=server, token=PLANTED)
    try:
        with pytest.raises(Unavailable, match="/api/v1/pods") as caught:
            await cluster.list(PODS)
    finally:
        await cluster.close()
    assert PLANTED not in str(caught.value)
    assert len(str(caught.value)) <= 2 * MOST


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    here = await World(tmp_path).start()
    yield here
    await here.stop()


async def test_a_refused_pod_is_told_and_logged_in_a_few_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, sent = world.cluster.create, []

    async def refuse(kind: Any, body: Any, **where: Any) -> Any:
        if kind is PODS:
            sent.append(body)
            raise Rejected(LONG, reason="Invalid")
        return await create(kind, body, **where)

    monkeypatch.setattr(world.cluster, "create", refuse)
    user = await world.new_user()
    status, told = await world.call("POST", f"users/{user}/server", {"profile": "l4"})
    assert status < 500
    await world.until_stopped(user)
    assert "Pod is invalid" in world.log(), "the administrator is told why"
    assert PLANTED not in world.log()
    assert PLANTED not in str(told)
    [container] = sent[0]["spec"]["containers"]
    values = {row["name"]: row.get("value", "") for row in container["env"]}
    assert len(values["JUPYTERHUB_API_TOKEN"]) >= 32
    assert values["JUPYTERHUB_API_TOKEN"] not in world.log()


async def test_an_api_server_that_does_not_answer_is_logged_in_a_few_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(kind: Any, *args: Any, **where: Any) -> Any:
        raise Unavailable(LONG)

    for name in ("get", "list", "create"):
        monkeypatch.setattr(world.cluster, name, away)
    user = await world.new_user()
    await world.call("POST", f"users/{user}/server", {"profile": "l4"})
    await eventually(lambda: "An error occurred when calling" in world.log(), seconds=20)
    assert PLANTED not in world.log()


def test_only_what_must_not_be_read_is_taken_out_of_a_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("test.of.redaction")
    log.addFilter(Shortening())
    caplog.set_level(logging.INFO, log.name)
    log.info("Pod %s is created again", "gpu-jit/jupyter-ann")
    log.warning("An error occurred. Message: %s", "x" * (MOST + 1) + PLANTED)
    try:
        raise ValueError(f"HTTP response body: {LONG}")
    except ValueError:
        log.exception("Failed for %s", LONG)
    first, second, third = caplog.records
    assert first.getMessage() == "Pod gpu-jit/jupyter-ann is created again"
    assert second.getMessage() == f"An error occurred. Message: {'x' * MOST} ..."
    assert third.getMessage().startswith("Failed for an object that is not shown")
    assert "HTTP response body: Pod is invalid" in caplog.text
    assert PLANTED not in caplog.text


def test_the_hubs_logger_has_the_filter_once() -> None:
    for _ in range(2):
        install()
    logger = logging.getLogger("JupyterHub")
    assert sum(isinstance(known, Shortening) for known in logger.filters) == 1
