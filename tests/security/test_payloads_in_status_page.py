"""The fifty hostile texts on the status page: of users, nodes, the cloud and the provisioner.

The page's own files and policy in a real browser; what it shows is made by the service's own
``Board`` from lists in which everything that is a text is hostile.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
import pytest_asyncio
from hostile import TEXTS, TRAP, Watched, launched
from playwright.async_api import Browser, Route

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import (
    Condition,
    LaunchBatch,
    NodeClaim,
    Offering,
    Resources,
    SessionRequest,
    SessionStatus,
)
from jupyter_gpu_jit.core.overview import Viewer
from jupyter_gpu_jit.core.quantity import format_time
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.service.board import Board
from jupyter_gpu_jit.service.pages import PAGE_POLICY, filled

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "http://status.test/"
PARTS = ("#gj-trouble", "gj-flights", "gj-nodes .gj-facts", "gj-nodes .gj-people", "gj-log")
EVERYTHING = Viewer(name="root", everything=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with launched(chromium) as browser:
        yield browser


def claim(text: str, name: str) -> NodeClaim:
    """Intent for a node whose type and zone are hostile."""
    offering = Offering(
        instance_type=text, zone=text, capacity_type=CapacityType.SPOT, usd_per_hour_micro=1
    )
    return NodeClaim(
        name=name, uid="", resource_version="", created_at=time.time(), cluster_id="c", hub_id="h",
        batch=LaunchBatch(id="b", claims=(name,)), offerings=(offering,),
    )  # fmt: skip


def pod(text: str, stage: str, claim_name: str) -> dict[str, Any]:
    """A session whose user, server, profile and record are hostile."""
    size = Resources(cpu_millicpu=1000, memory_bytes=1 << 30, gpus=1)
    asked = SessionRequest(uid="", user=text, server=text, profile=text, resources=size)
    words = dict.fromkeys(("node", "instance_type", "zone", "capacity_type", "reason"), text)
    record = SessionStatus(stage=stage, since=time.time(), message=text, **words)
    amounts = {"cpu": "1", "memory": "1Gi", wire.GPU_RESOURCE: "1"}
    resources = {"requests": amounts, "limits": amounts}
    return {
        "metadata": {
            "labels": {wire.SESSION_LABEL: "true"},
            "annotations": {
                wire.SESSION_ANNOTATION: wire.encode_session(asked),
                wire.STATUS_ANNOTATION: wire.encode_status(record),
                wire.CLAIM_ANNOTATION: claim_name,
            },
        },
        "spec": {
            "schedulingGates": [{"name": wire.GATE}],
            "containers": [{"name": "notebook", "image": text, "resources": resources}],
        },
    }


def node(text: str) -> dict[str, Any]:
    return {
        "metadata": {"name": text, "labels": {wire.PIN_LABEL: "sits"}},
        "spec": {"providerID": text},
        "status": {"allocatable": {"cpu": "9", "memory": "9Gi", wire.GPU_RESOURCE: "8"}},
    }


def seated(text: str) -> dict[str, Any]:
    body = pod(text, "Initialised", "sits")
    body["spec"] |= {"nodeName": text, "schedulingGates": [], "nodeSelector": {}}
    body["spec"]["nodeSelector"][wire.PIN_LABEL] = "sits"
    return body


def written(text: str, name: str, states: dict[str, bool]) -> dict[str, Any]:
    """A claim with its status."""
    made = [
        Condition(type=kind, status=state, since=time.time(), reason=text, message=text)
        for kind, state in states.items()
    ]
    status = {
        "conditions": [wire.encode_condition(one) for one in made],
        "nodeName": text, "instanceType": text, "zone": text, "capacityType": text,
    }  # fmt: skip
    return {**wire.encode_claim(claim(text, name)), "status": status}


class Told:
    """What the API server would list, names included that it forbids.

    One session on a node, one waiting for a claim in flight, a claim that failed, a broken one.
    """

    def __init__(self, text: str) -> None:
        sits = written(text, "sits", {wire.LAUNCHED: True, wire.INITIALISED: True})
        fails = written(text, text, {wire.LAUNCHED: False})
        broken = {"metadata": {"name": text}, "spec": {}}
        self._pods = stored(pod(text, "Waiting", "flies"), seated(text))
        self._nodes = stored(node(text))
        self._claims = stored(sits, wire.encode_claim(claim(text, "flies")), fails, broken)

    async def pods(self) -> list[Any]:
        return self._pods

    async def nodes(self) -> list[Any]:
        return self._nodes

    async def claims(self) -> list[Any]:
        return self._claims

    async def instance_types(self) -> list[Any]:
        return []


def stored(*bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """With what the API server adds."""
    for number, body in enumerate(bodies):
        born = format_time(time.time())
        body["metadata"] |= {"uid": f"{number}", "resourceVersion": "1", "namespace": "gpu-jit"}
        body["metadata"] |= {"creationTimestamp": born}
        body["metadata"].setdefault("name", f"pod-{number}")
    return list(bodies)


class Site:
    """The page's files and one picture, as the service sends them."""

    def __init__(self) -> None:
        self.picture: dict[str, Any] = {}
        self.name = ""

    async def answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(HOST).partition("?")[0]
        if path == "":
            values = {"name": self.name, "xsrf": self.name, "hub": "/hub/", "now": "0"}
            headers = {"Content-Type": "text/html; charset=utf-8"}
            headers["Content-Security-Policy"] = PAGE_POLICY
            await route.fulfill(body=filled("status.html", "/", **values), headers=headers)
        elif path.startswith("static/"):
            body = (files("jupyter_gpu_jit.service") / path).read_text()
            kind = "text/css" if path.endswith(".css") else "text/javascript"
            await route.fulfill(body=body, content_type=kind)
        else:
            body = f"event: overview\ndata: {json.dumps(self.picture)}\n\n"
            await route.fulfill(body=body, content_type="text/event-stream")


async def test_everything_on_the_status_page_is_text(browser: Browser) -> None:
    context, site = await browser.new_context(), Site()
    await context.add_init_script(TRAP)
    await context.route(f"{HOST}**", site.answer)
    watched = Watched(await context.new_page())
    for text in TEXTS:
        board = Board(Told(text), now=time.time)
        site.picture, site.name = await board.picture(EVERYTHING), text
        await watched.page.goto(HOST)
        await watched.holds("gj-waiting .gj-user", text)
        assert await watched.texts(".gj-who") == [text]
        assert await watched.texts("gj-nodes h3") == [text]
        assert await watched.texts("gj-nodes .gj-seat.gj-coming") == [text]
        assert await watched.texts("gj-waiting .gj-why") == [text]
        for part in (
            "#gj-trouble",
            "gj-flights",
            "gj-nodes .gj-facts",
            "gj-nodes .gj-people",
            "gj-log",
        ):
            assert text in "".join(await watched.texts(part)), part
        assert await watched.alarms() == []
    await context.close()
