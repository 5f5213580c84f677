"""One port, three clouds: simulated, the same behind its HTTP face, and boto3 against an AWS."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from cloud_stages import STEPS, TAGS, TOKEN, aws_stage, sim_stage
from worlds import eventually

from jupyter_gpu_jit.core.model import Offering
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import CapacityError, Rejected, Unavailable
from jupyter_gpu_jit.local.cloud_api import CloudApi
from jupyter_gpu_jit.local.cloud_client import CloudClient
from jupyter_gpu_jit.ports import LaunchRequest
from jupyter_gpu_jit.sim.boot import BootModel, exactly

A, B = (
    Offering(
        instance_type="g6.xlarge", zone=zone, capacity_type=CapacityType.SPOT, usd_per_hour_micro=1
    )
    for zone in ("us-east-1a", "us-east-1b")
)


def request(token="t-1", offerings=(A, B), count=1, *, tags=TAGS, at_least=1):
    return LaunchRequest(
        client_token=token, offerings=offerings, count=count, tags=tags, at_least=at_least
    )


@pytest.fixture(params=["direct", "http", "aws"])
async def stage(request):
    """A cloud and its knobs; the AWS is started only when asked for."""
    if request.param == "aws":
        async with aws_stage(request.getfixturevalue("aws_world")) as found:
            yield found
    else:
        async with sim_stage(http=request.param == "http") as found:
            yield found


@pytest.fixture
async def sim():
    async with sim_stage(http=False) as found:
        yield found.sim


async def test_types_come_with_their_offerings_at_prices_of_now(stage):
    stage.set_price(A.key, 555)
    types = {kind.name: kind for kind in await stage.cloud.instance_types()}
    assert {"g6.xlarge", "p4d.24xlarge"} <= types.keys()
    (found,) = [o for o in types["g6.xlarge"].offerings if o.key == A.key]
    assert found.usd_per_hour_micro == 555
    assert types["g6.xlarge"].gpu_model == "L4"
    assert types["g6.xlarge"].allocatable.gpus == 1


async def test_the_same_token_answers_again_and_launches_nothing(stage):
    cloud = stage.cloud
    first = await cloud.launch(request(count=2))
    again, at_once = await asyncio.gather(*(cloud.launch(request(count=2)) for _ in range(2)))
    assert first == again == at_once
    assert len(first.instances) == len(stage.ever()) == 2
    assert first.instances[0].tags == TAGS


async def test_a_token_with_another_request_is_refused(stage):
    await stage.cloud.launch(request())
    with pytest.raises(Rejected) as error:
        await stage.cloud.launch(request(count=2))
    assert error.value.reason == "IdempotentParameterMismatch"
    assert "was used before with another request" in error.value.user_message
    assert len(stage.ever()) == 1


async def test_an_answer_may_be_partial_and_says_why(stage):
    stage.stock(A.key, 2)
    stage.refuse(B.key, "VcpuLimitExceeded")
    result = await stage.cloud.launch(request(count=3))
    assert [i.zone for i in result.instances] == ["us-east-1a", "us-east-1a"]
    assert [(f.offering, f.code) for f in result.failures] == [
        (A, "InsufficientInstanceCapacity"),
        (B, "VcpuLimitExceeded"),
    ]
    assert all(f.message for f in result.failures)


async def test_fewer_than_the_least_are_not_launched_at_all(stage):
    stage.stock(A.key, 2)
    stage.stock(B.key, 0)
    result = await stage.cloud.launch(request(count=3, at_least=3))
    assert result.instances == ()
    assert result.failures
    assert stage.live() == []


async def test_on_demand_is_taken_where_spot_has_nothing(stage):
    plain = replace(A, capacity_type=CapacityType.ON_DEMAND)
    stage.stock(A.key, 1)
    result = await stage.cloud.launch(request(offerings=(A, plain), count=3))
    sold = sorted(i.capacity_type for i in result.instances)
    assert sold == ["on-demand", "on-demand", "spot"]
    assert [f.offering.key for f in result.failures] == [A.key]


async def test_instances_are_listed_ended_and_unknown_ids_are_no_error(stage):
    cloud = stage.cloud
    (one,) = (await cloud.launch(request())).instances
    assert [i.id for i in await cloud.instances()] == [one.id]
    (other,) = (await cloud.launch(request("other"))).instances
    await cloud.terminate([one.id, "i-unknown"])
    await cloud.terminate([one.id])
    states = {i.id: i.state for i in await cloud.instances()}
    assert states[one.id] in ("shutting-down", "terminated")
    assert stage.live() == [other.id]


async def test_network_nodes_are_told_of_running_instances_of_types_that_have_them(stage):
    big = replace(A, instance_type="p4d.24xlarge")
    large = await stage.cloud.launch(request(token="large", offerings=(big,), count=2))
    small = await stage.cloud.launch(request(token="small"))
    await eventually(stage.all_running)
    ids = [i.id for i in (*large.instances, *small.instances)]
    told = await stage.cloud.network_nodes([*ids, "i-unknown"])
    assert sorted(told) == sorted(ids[:2])
    assert {len(above) for above in told.values()} == {3}
    assert all(len(set(above)) == 3 for above in told.values())
    assert await stage.cloud.network_nodes([]) == {}


# --- what only the simulated cloud has ----------------------------------------------------------


async def test_instances_of_others_are_not_listed(sim):
    (one,) = (await sim.launch(request())).instances
    await sim.launch(request("other", tags={"gpu-jit.io/cluster": "another"}))
    assert [i.id for i in await sim.instances()] == [one.id]


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
