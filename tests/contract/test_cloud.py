"""One port, two ways to the simulated cloud: directly and through its HTTP face, and they agree."""

import asyncio
import random

import aiohttp
import pytest

from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import CapacityError, Rejected, Unavailable
from jupyter_gpu_jit.local.cloud_api import CloudApi
from jupyter_gpu_jit.local.cloud_client import CloudClient
from jupyter_gpu_jit.ports import LaunchRequest
from jupyter_gpu_jit.sim.boot import BootModel, exactly
from jupyter_gpu_jit.sim.cloud import SimCloud
from jupyter_gpu_jit.sim.market import TYPES

TAGS = {"gpu-jit.io/cluster": "contract"}
STEPS = ("launch", "boot", "register", "ready", "gpus", "call", "shutdown")
TOKEN = "contract-token"
A, B = (
    Offering(
        instance_type="g6.xlarge", zone=zone, capacity_type=CapacityType.SPOT, usd_per_hour_micro=1
    )
    for zone in ("us-east-1a", "us-east-1b")
)


def request(token="t-1", offerings=(A, B), count=1, tags=TAGS):
    return LaunchRequest(client_token=token, offerings=offerings, count=count, tags=tags)


@pytest.fixture
async def sim():
    boot = BootModel(**dict.fromkeys(STEPS, exactly(0.0)))
    cloud = SimCloud(SystemClock(), RandomIds(), random.Random(1), TYPES, boot=boot, tags=TAGS)
    yield cloud
    await cloud.close()


@pytest.fixture(params=["direct", "http"])
async def cloud(request, sim):
    if request.param == "direct":
        yield sim
        return
    api = CloudApi(sim, TOKEN)
    client = CloudClient(await api.start(), TOKEN)
    yield client
    await client.close()
    await api.stop()


async def test_types_come_with_their_offerings_at_prices_of_now(sim, cloud):
    sim.set_price(A.key, 555)
    types = tuple(await cloud.instance_types())
    assert {t.name for t in types} == {t.name for t in TYPES}
    assert types == tuple(await sim.instance_types())
    (found,) = [o for t in types for o in t.offerings if o.key == A.key]
    assert found.usd_per_hour_micro == 555


async def test_the_same_token_answers_again_and_launches_nothing(sim, cloud):
    first = await cloud.launch(request(count=2))
    again, at_once = await asyncio.gather(*(cloud.launch(request(count=2)) for _ in range(2)))
    assert first == again == at_once
    assert len(first.instances) == len(sim.ledger) == 2
    assert first.instances[0].tags == TAGS


async def test_a_token_with_another_request_is_refused(sim, cloud):
    await cloud.launch(request())
    with pytest.raises(Rejected) as error:
        await cloud.launch(request(count=2))
    assert error.value.reason == "IdempotentParameterMismatch"
    assert "was used before with another request" in error.value.user_message
    assert len(sim.ledger) == 1


async def test_an_answer_may_be_partial_and_says_why(sim, cloud):
    sim.stock(A.key, 2)
    sim.refuse(B.key, "VcpuLimitExceeded")
    result = await cloud.launch(request(count=3))
    assert [i.zone for i in result.instances] == ["us-east-1a", "us-east-1a"]
    assert [(f.offering, f.code) for f in result.failures] == [
        (A, "InsufficientInstanceCapacity"),
        (B, "VcpuLimitExceeded"),
    ]
    assert all(f.message for f in result.failures)


async def test_instances_are_listed_ended_and_unknown_ids_are_no_error(sim, cloud):
    (one,) = (await cloud.launch(request())).instances
    await cloud.launch(request("other", tags={"gpu-jit.io/cluster": "another"}))
    assert [i.id for i in await cloud.instances()] == [one.id]
    await cloud.terminate([one.id, "i-unknown"])
    await cloud.terminate([one.id])
    (left,) = await cloud.instances()
    assert left.state in ("shutting-down", "terminated")
    assert [i.id for i in sim.live()] == [i for i in sim.ledger if i != one.id]


# --- what only the wire has -------------------------------------------------------------------


class Failing:
    """A cloud that raises."""

    def __init__(self, error):
        self.error = error

    async def instances(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (Unavailable("Throttled.", reason="Throttled"), Unavailable),
        (CapacityError("Sold out.", reason="SoldOut"), CapacityError),
        (Rejected("No.", reason="NoRight"), Rejected),
    ],
)
async def test_errors_keep_their_kind_reason_and_words(error, seen):
    api = CloudApi(Failing(error), TOKEN)
    client = CloudClient(await api.start(), TOKEN)
    with pytest.raises(seen) as raised:
        await client.instances()
    assert (raised.value.reason, raised.value.user_message) == (error.reason, error.user_message)
    await client.close()
    await api.stop()


async def test_a_wrong_token_is_refused_and_a_cloud_that_is_gone_is_unavailable(sim):
    api = CloudApi(sim, TOKEN)
    client = CloudClient(await api.start(), "another")
    with pytest.raises(Rejected) as error:
        await client.launch(request())
    assert error.value.reason == "Unauthorized"
    assert sim.ledger == {}
    await api.stop()
    with pytest.raises(Unavailable, match="did not answer"):
        await client.instances()
    await client.close()


@pytest.mark.parametrize("body", ["[", "{}", "[]", '{"offerings": [{}]}', '{"offerings": 1}'])
async def test_a_body_that_cannot_be_read_is_refused(sim, body):
    api = CloudApi(sim, TOKEN)
    url = await api.start()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{url}/v1/launches", data=body) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["reason"] == "BadRequest"
    await api.stop()


async def test_an_answer_that_is_no_json_is_unavailable():
    from aiohttp import web

    async def page(_):
        return web.Response(text="<html>")

    async def other(_):
        return web.json_response([{"id": 1}])

    app = web.Application()
    app.router.add_get("/v1/instances", page)
    app.router.add_get("/v1/instance-types", other)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = CloudClient(f"http://127.0.0.1:{runner.addresses[0][1]}", TOKEN)
    with pytest.raises(Unavailable, match="is not JSON"):
        await client.instances()
    with pytest.raises(Unavailable, match="cannot be read"):
        await client.instance_types()
    await client.close()
    await runner.cleanup()


async def test_a_launch_goes_on_when_its_caller_hangs_up(sim):
    sim.boot = BootModel(**dict.fromkeys(STEPS, exactly(0.0)) | {"launch": exactly(0.6)})
    api = CloudApi(sim, TOKEN)
    client = CloudClient(await api.start(), TOKEN)
    calling = asyncio.ensure_future(client.launch(request()))
    await asyncio.sleep(0.1)
    calling.cancel()
    async with asyncio.timeout(5):
        while not sim.ledger:  # noqa: ASYNC110 - nothing to be told by
            await asyncio.sleep(0.02)
    again = await client.launch(request())
    assert [i.id for i in again.instances] == list(sim.ledger)
    await client.close()
    await api.stop()


async def test_network_nodes_are_told_of_running_instances_of_types_that_have_them(sim, cloud):
    big = Offering(
        instance_type="p4d.24xlarge", zone="us-east-1a", capacity_type=CapacityType.SPOT,
        usd_per_hour_micro=1,
    )  # fmt: skip
    large = await cloud.launch(request(token="large", offerings=(big,), count=2))
    small = await cloud.launch(request(token="small"))
    async with asyncio.timeout(5):
        while {i.state for i in sim.live()} != {"running"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    ids = [i.id for i in (*large.instances, *small.instances)]
    told = await cloud.network_nodes([*ids, "i-unknown"])
    assert sorted(told) == sorted(ids[:2])
    for above in told.values():
        assert len(above) == 3
        assert above[1].startswith(above[0])
    assert await cloud.network_nodes([]) == {}
