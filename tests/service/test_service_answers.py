"""What the service says: sessions, quotes, and what went wrong in one sentence."""

from __future__ import annotations

import asyncio
import json
import time
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hub_process import SCOPE
from service_world import (
    NOW,
    STARTED,
    Catalogue,
    create_claim,
    make_world,
    seat_session,
    session_pod,
    told,
)

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.dry import Dry, encode
from jupyter_gpu_jit.core.options import parse_profiles, profile_to_dict
from jupyter_gpu_jit.errors import Unavailable
from jupyter_gpu_jit.ports import CLAIMS, LEASES, NODES, PODS
from jupyter_gpu_jit.service import view
from jupyter_gpu_jit.service.lists import Shared

ROOT = Path(__file__).parents[2]
L4 = {"slug": "l4", "display_name": "L4", "gpus": {"models": ["L4"]}, "cpu": 3, "memory": "12Gi"}
HUGE = {"slug": "huge", "display_name": "Huge", "gpus": 16, "cpu": 1, "memory": "1Gi"}


@pytest.fixture(scope="session")
def token(hub):
    return hub.new_token("ann", scopes=[f"{SCOPE}!server=ann/", f"{SCOPE}!server=ann/two"])


async def session(world, token, server=""):
    answer = await world.ask(f"session?server={server}", token=token)
    assert answer.code == 200, answer.body
    return json.loads(answer.body)


async def test_a_running_session_is_told_with_its_share_of_the_price_and_what_it_spent(
    world, token
):
    await seat_session(world.cluster)
    assert await session(world, token) == {
        "user": "ann",
        "server": "",
        "profile": "a100",
        "stage": "Ready",
        "message": "",
        "gpus": 1,
        "gpu_model": "A100",
        "node": "n1",
        "instance_type": "p4d.24xlarge",
        "zone": "us-east-1a",
        "capacity_type": "spot",
        "usd_per_hour": 1.0,
        "node_usd_per_hour": 8.0,
        "started_at": "2027-01-15T07:00:00.000000Z",
        "running_seconds": 3600.0,
        "spent_usd": 1.0,
    }


async def test_a_waiting_session_is_told_its_stage_and_costs_nothing_yet(world, token):
    pod = session_pod(**told("Waiting", "No L4 has capacity now."))
    await world.cluster.create(PODS, pod, namespace="gpu-jit")
    seen = await session(world, token)
    assert (seen["stage"], seen["message"]) == ("Waiting", "No L4 has capacity now.")
    assert (seen["node"], seen["started_at"], seen["spent_usd"]) == ("", None, 0)


@pytest.mark.parametrize(
    ("status", "bound", "stage"),
    [
        ({}, False, "Requested"),
        (told("Nonsense", ""), False, "Requested"),
        (told("Booting", ""), False, "Booting"),
        (told("Initialised", ""), True, "Pulling"),
    ],
    ids=str,
)
async def test_the_stage_follows_record_and_pod(world, token, status, bound, stage):
    pod = session_pod(**status)
    if bound:
        pod["spec"] |= {"schedulingGates": None, "nodeName": "n1"}
    await world.cluster.create(PODS, pod, namespace="gpu-jit")
    assert (await session(world, token))["stage"] == stage


async def test_named_servers_are_told_apart(world, token):
    await seat_session(world.cluster, server="two")
    assert (await session(world, token, "two"))["server"] == "two"
    answer = await world.ask("session?server=", token=token)
    assert (answer.code, json.loads(answer.body)["reason"]) == (404, "NoSession")


async def test_of_an_ending_pod_and_its_successor_the_successor_is_told(world, token):
    await seat_session(world.cluster)
    (old,) = (await world.cluster.list(PODS)).items
    await world.cluster.delete(PODS, old["metadata"]["name"], namespace="gpu-jit")
    assert (await session(world, token))["stage"] == "Ready"
    await world.cluster.create(PODS, session_pod(), namespace="gpu-jit")
    deadline = time.monotonic() + 10  # the lists may be a second old
    while (stage := (await session(world, token))["stage"]) != "Requested":
        assert (stage, time.monotonic() < deadline) == ("Ready", True)
        await asyncio.sleep(0.05)


async def test_a_pod_whose_request_cannot_be_read_belongs_to_nobody(world, token):
    for text in ("nonsense", "[]", '{"v": 2}', '{"v": 1, "requirements": {"capacity": "x"}}'):
        broken = session_pod()
        broken["metadata"]["annotations"][wire.SESSION_ANNOTATION] = text
        await world.cluster.create(PODS, broken, namespace="gpu-jit")
    assert (await world.ask("session", token=token)).code == 404


async def test_user_text_comes_back_as_json_text_only(world, hub):
    name = "<b>mallory</b>"
    await world.cluster.create(
        PODS, session_pod(**told("Waiting", "<script>x</script>")), namespace="gpu-jit"
    )
    token = hub.new_token("ann")
    answer = await world.ask("session", token=token)
    assert answer.headers["Content-Type"].startswith("application/json")
    missing = await world.ask(f"session?server={name}", token=token)
    assert b"mallory" not in missing.body


# --- quotes ----------------------------------------------------------------------------------


async def quotes(world, hub, body):
    return await world.ask("quotes", method="POST", body=body, token=hub.service_token)


async def test_quotes_are_by_slug_with_price_wait_and_reason(world, hub):
    profiles = [profile_to_dict(p) for p in parse_profiles([L4, HUGE])]
    answer = await quotes(world, hub, {"profiles": profiles})
    assert answer.code == 200, answer.body
    found = json.loads(answer.body)["quotes"]
    assert set(found) == {"l4", "huge"}
    assert found["l4"]["possible"]
    assert found["l4"]["usd_per_hour_micro"] > 0
    assert (found["l4"]["seat"], found["l4"]["instance_type"]) == ("new-node", "g6.xlarge")
    assert 0 < found["l4"]["wait_p50_seconds"] <= found["l4"]["wait_p90_seconds"]
    assert not found["huge"]["possible"]
    assert "16 GPUs" in found["huge"]["reason"]


async def test_what_the_provisioner_found_sold_out_is_not_quoted(world, hub):
    profiles = [profile_to_dict(p) for p in parse_profiles([L4])]

    async def quoted():
        answer = await quotes(world, hub, {"profiles": profiles})
        return json.loads(answer.body)["quotes"]["l4"]

    before = await quoted()
    types = await Catalogue().instance_types()
    best = [o for t in types if t.name == before["instance_type"] for o in t.offerings]
    dry = Dry()
    for offering in best:
        dry = dry.failed(offering, "InsufficientInstanceCapacity", now=NOW)
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "gpu-jit-provisioner",
            "annotations": {wire.DRY_ANNOTATION: encode(dry, now=NOW)},
        },
    }
    await world.cluster.create(LEASES, lease, namespace="gpu-jit")
    async with asyncio.timeout(10):
        while (after := await quoted())["instance_type"] == before["instance_type"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert after["possible"]


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b"{}", b"[" * 50_000, {"profiles": 7}, {"profiles": [{"sulg": 1}]}],
    ids=lambda body: str(body)[:12],
)
async def test_a_body_that_is_no_list_of_profiles_is_refused_with_a_sentence(world, hub, body):
    answer = await quotes(world, hub, body)
    assert answer.code == 400
    assert set(json.loads(answer.body)) == {"reason", "message"}


async def test_a_body_of_two_megabytes_is_not_read(world, hub):
    answer = await quotes(world, hub, b" " * (2 << 20))
    assert answer.code in (400, 599)


async def test_a_service_without_a_cloud_says_that_it_has_no_prices(hub):
    world = await make_world(hub, cloud=None)
    answer = await quotes(world, hub, {"profiles": [L4]})
    assert (answer.code, json.loads(answer.body)["reason"]) == (404, "NoPrices")
    world.server.stop()


# --- trouble ---------------------------------------------------------------------------------


async def test_an_api_server_that_is_away_is_503_with_a_sentence(world, token):
    async def away(kind, **selectors):
        raise Unavailable("The Kubernetes API does not answer.")

    world.cluster.list = away
    answer = await world.ask("session", token=token)
    assert answer.code == 503
    assert json.loads(answer.body)["message"] == "The Kubernetes API does not answer."


async def test_a_hub_that_is_away_is_503_with_a_sentence(hub, token):
    class Gone:
        api_url, service_token = "http://127.0.0.1:9/hub/api", hub.service_token

    world = await make_world(Gone())
    answer = await world.ask("session", token=token)
    assert answer.code == 503
    assert "hub" in json.loads(answer.body)["message"]
    world.server.stop()


async def test_what_nobody_foresaw_is_500_without_its_text(world, token, caplog):
    async def broken(kind, **selectors):
        raise RuntimeError("secret detail")

    world.cluster.list = broken
    answer = await world.ask("session", token=token)
    assert answer.code == 500
    assert b"secret" not in answer.body
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_405(world, method):
    assert (await world.ask("health", method=method)).code == 405


# --- lists -----------------------------------------------------------------------------------


async def test_a_burst_costs_one_list_and_a_failure_is_not_kept():
    answers, asked = [Unavailable("away."), "a", "b"], []

    async def fetch():
        asked.append(1)
        await asyncio.sleep(0)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    shared = Shared(fetch, max_age_seconds=60)
    first = await asyncio.gather(*(shared.get() for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in first] == [Unavailable] * 5
    assert await asyncio.gather(*(shared.get() for _ in range(5))) == ["a"] * 5
    assert await shared.get() == "a"
    assert len(asked) == 2


async def test_a_caller_that_leaves_does_not_take_the_answer_from_others():
    go = asyncio.Event()

    async def fetch():
        await go.wait()
        return "here"

    shared = Shared(fetch, max_age_seconds=60)
    leaver, stayer = (asyncio.ensure_future(shared.get()) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    go.set()
    assert await stayer == "here"


async def test_an_old_answer_is_asked_for_again():
    answers = iter("ab")

    async def fetch():
        return next(answers)

    shared = Shared(fetch, max_age_seconds=0)
    assert [await shared.get(), await shared.get()] == ["a", "b"]


# --- the description -------------------------------------------------------------------------


def test_openapi_describes_every_route_and_every_field_of_a_session():
    text = (files("jupyter_gpu_jit.service") / "openapi.yaml").read_text()
    spec = yaml.safe_load(text)
    assert {(path, method) for path, of in spec["paths"].items() for method in of} == {
        ("/events", "get"),
        ("/health", "get"),
        ("/overview", "get"),
        ("/quotes", "post"),
        ("/session", "get"),
    }
    pod = session_pod() | {"status": {}}
    pod["metadata"] |= {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"}
    pod["metadata"]["creationTimestamp"] = STARTED
    found = view.find([pod], user="ann", server="")
    assert found is not None
    described = view.describe(found, claims=[], nodes=[], instance_types=[], now=NOW)
    schema = spec["components"]["schemas"]["Session"]
    assert list(schema["properties"]) == list(described)
    assert schema["required"] == list(described)


async def test_openapi_describes_what_the_status_page_is_told(world, hub):
    await seat_session(world.cluster)
    await world.cluster.create(PODS, session_pod("bob"), namespace="gpu-jit")
    await create_claim(world.cluster, "gnc-2")
    answer = await world.ask("overview", token=hub.new_token("root"))
    picture = json.loads(answer.body)
    schemas = yaml.safe_load((files("jupyter_gpu_jit.service") / "openapi.yaml").read_text())
    schemas = schemas["components"]["schemas"]

    def required(schema):
        parts = [schemas["SessionRow"], schema["allOf"][1]] if "allOf" in schema else [schema]
        return [name for part in parts for name in part["required"]]

    overview, rows = schemas["Overview"], schemas["Overview"]["properties"]
    assert list(picture) == overview["required"] == list(rows)
    for name in ("counts", "money"):
        assert list(picture[name]) == rows[name]["required"]
    for name in ("waiting", "log"):
        assert list(picture[name][0]) == required(rows[name]["items"])
    for name, schema in (("nodes", schemas["NodeRow"]), ("in_flight", schemas["FlightRow"])):
        assert list(picture[name][0]) == schema["required"] == list(schema["properties"])
    seated = schemas["NodeRow"]["properties"]["sessions"]["items"]
    assert list(picture["nodes"][0]["sessions"][0]) == required(seated)


def test_openapi_lists_the_fields_of_a_quote():
    from dataclasses import fields

    from jupyter_gpu_jit.core.packing import Quote

    spec = yaml.safe_load((files("jupyter_gpu_jit.service") / "openapi.yaml").read_text())
    schema = spec["components"]["schemas"]["Quote"]
    assert list(schema["properties"]) == [field.name for field in fields(Quote)]


def test_the_kinds_read_are_those_the_service_account_may_list():
    rbac = yaml.safe_load_all((ROOT / "hub_config" / "rbac.yaml").read_text())
    rules = [
        (group, resource, verb)
        for each in rbac
        if each["kind"] in ("ClusterRole", "Role") and "service" in each["metadata"]["name"]
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    for kind in (PODS, NODES, CLAIMS):
        assert (kind.group, kind.plural, "list") in rules
    assert {verb for _, _, verb in rules} <= {"get", "list", "watch"}
