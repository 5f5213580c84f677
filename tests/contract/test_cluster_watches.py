"""Lists, selectors, and watches: order, resumption, selection, and versions that are too old."""

import asyncio

import pytest

from jupyter_gpu_jit.errors import Expired, Rejected
from jupyter_gpu_jit.ports import CLAIMS, LEASES, PODS


async def three_pods(world):
    labels = ({"app": "a", "tier": "x"}, {"app": "b"}, {"tier": "y", "empty": ""})
    return [await world.gated({"name": f"p{n}", "labels": row}) for n, row in enumerate(labels)]


async def listed(world, kind=PODS, **scope):
    found = await world.cluster.list(kind, namespace=world.namespace, **scope)
    return [item["metadata"]["name"] for item in found.items]


async def test_a_list_is_sorted_by_name_and_stays_in_its_namespace(world):
    for name in ("zeta", "alpha", "mid"):
        await world.cluster.create(LEASES, {"metadata": {"name": name}}, namespace=world.namespace)
    assert await listed(world, LEASES) == ["alpha", "mid", "zeta"]
    other = await world.cluster.list(LEASES, namespace="kube-node-lease")
    assert not {"zeta", "alpha"} & {item["metadata"]["name"] for item in other.items}
    everywhere = await world.cluster.list(LEASES)
    assert {"alpha", "mid", "zeta"} <= {item["metadata"]["name"] for item in everywhere.items}


async def test_a_lists_version_is_not_older_than_what_it_shows(world):
    pod = await world.gated()
    listing = await world.cluster.list(PODS, namespace=world.namespace)
    assert int(listing.resource_version) >= int(pod["metadata"]["resourceVersion"])


async def test_listed_items_equal_what_get_shows_but_only_custom_ones_name_their_kind(world):
    pod, claim = await world.gated(), await world.create_claim()
    found = await world.cluster.list(PODS, namespace=world.namespace)
    rest = {key: value for key, value in pod.items() if key not in ("kind", "apiVersion")}
    assert found.items == (rest,)
    found = await world.cluster.list(CLAIMS, label_selector=f"contract={world.namespace}")
    assert found.items == (claim,)


LABELS = {
    "app=a": ["p0"],
    "app==a": ["p0"],
    "app!=a": ["p1", "p2"],
    "app": ["p0", "p1"],
    "!app": ["p2"],
    "app in (a,b)": ["p0", "p1"],
    "app in (a, b),tier": ["p0"],
    "app notin (a)": ["p1", "p2"],
    "tier=x,app=b": [],
    "empty=": ["p2"],
    "app in (a),tier notin (y,z)": ["p0"],
}


async def test_label_selectors_select(world):
    await three_pods(world)
    got = {text: await listed(world, label_selector=text) for text in LABELS}
    assert got == LABELS


async def test_field_selectors_select(world):
    await three_pods(world)
    bound = await world.bound({"name": "p3"})
    await world.patch_pod(bound, {"status": {"phase": "Running"}}, "status")
    expected = {
        "metadata.name=p1": ["p1"],
        "metadata.name!=p1": ["p0", "p2", "p3"],
        "spec.nodeName=contract-node": ["p3"],
        "spec.nodeName=": ["p0", "p1", "p2"],
        "spec.nodeName!=": ["p3"],
        "status.phase=Pending": ["p0", "p1", "p2"],
        f"metadata.namespace={world.namespace},status.phase!=Pending": ["p3"],
        "spec.schedulerName=nobody,metadata.name=p0": ["p0"],
    }
    got = {text: await listed(world, field_selector=text) for text in expected}
    assert got == expected
    await world.delete_pod(bound, grace_seconds=0)


@pytest.mark.parametrize(
    "scope",
    [
        {"label_selector": "a b c"},
        {"label_selector": "app in a,b"},
        {"field_selector": "spec.containers=x"},
        {"field_selector": "metadata.name"},
    ],
)
async def test_selectors_that_cannot_be_understood_are_rejected(world, scope):
    with pytest.raises(Rejected):
        await world.cluster.list(PODS, namespace=world.namespace, **scope)


async def test_claims_are_selected_by_name_only(world):
    claim = await world.create_claim()
    name = claim["metadata"]["name"]
    found = await world.cluster.list(CLAIMS, field_selector=f"metadata.name={name}")
    assert found.items == (claim,)
    with pytest.raises(Rejected):
        await world.cluster.list(CLAIMS, field_selector="spec.hubID=h")


# --- watches ---------------------------------------------------------------------------------


async def test_a_watch_shows_every_change_after_its_version_in_order(world):
    before = await world.gated()
    start = (await world.cluster.list(PODS, namespace=world.namespace)).resource_version
    pod = await world.gated()
    for step in "123":
        await world.patch_pod(pod, {"metadata": {"labels": {"step": step}}})
    await world.delete_pod(pod)
    await world.delete_pod(before)
    events = await world.events_until(PODS, 8, start, namespace=world.namespace)
    going = ["MODIFIED", "DELETED"]
    assert [event.type for event in events] == ["ADDED", *["MODIFIED"] * 3, *going, *going]
    steps = [event.object["metadata"].get("labels", {}).get("step") for event in events]
    assert steps == [None, "1", "2", "3", "3", "3", None, None]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert {event.object["kind"] for event in events} == {"Pod"}
    assert events[0].object == pod


async def test_a_watch_goes_on_where_another_stopped(world):
    start = (await world.cluster.list(CLAIMS)).resource_version
    scope = {"label_selector": f"contract={world.namespace}"}
    made = [await world.create_claim() for _ in range(3)]
    first = await world.events_until(CLAIMS, 2, start, **scope)
    position = first[-1].object["metadata"]["resourceVersion"]
    rest = await world.events_until(CLAIMS, 1, position, **scope)
    assert [event.object for event in (*first, *rest)] == made


async def test_a_waiting_watch_hears_of_a_change_at_once(world):
    start = (await world.cluster.list(PODS, namespace=world.namespace)).resource_version
    waiting = asyncio.create_task(world.events_until(PODS, 1, start, namespace=world.namespace))
    await asyncio.sleep(0.1)
    pod = await world.gated()
    async with asyncio.timeout(2):
        (event,) = await waiting
    assert (event.type, event.object) == ("ADDED", pod)


async def test_an_unchanged_patch_is_not_an_event(world):
    pod = await world.gated({"labels": {"a": "1"}})
    position = pod["metadata"]["resourceVersion"]
    await world.patch_pod(pod, {"metadata": {"labels": {"a": "1"}}})
    await world.patch_pod(pod, {"metadata": {"labels": {"a": "2"}}})
    (event,) = await world.events_until(PODS, 1, position, namespace=world.namespace)
    assert event.object["metadata"]["labels"] == {"a": "2"}


async def test_leaving_a_selection_is_a_deletion_and_entering_it_an_addition(world):
    pod = await world.gated({"labels": {"in": "no"}})
    position = pod["metadata"]["resourceVersion"]
    for value in ("yes", "no", "yes"):
        await world.patch_pod(pod, {"metadata": {"labels": {"in": value}}})
    await world.patch_pod(pod, {"metadata": {"annotations": {"a": "b"}}})
    await world.delete_pod(pod)
    events = await world.events_until(
        PODS, 6, position, namespace=world.namespace, label_selector="in=yes"
    )
    kinds = ["ADDED", "DELETED", "ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert [event.type for event in events] == kinds
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert events[1].object["metadata"]["labels"] == {"in": "yes"}


async def test_a_watch_by_field_sees_the_binding_as_an_addition(world):
    pod = await world.create_pod()
    position = pod["metadata"]["resourceVersion"]
    await world.bind(pod, "contract-node")
    (event,) = await world.events_until(
        PODS, 1, position, namespace=world.namespace, field_selector="spec.nodeName=contract-node"
    )
    assert event.type == "ADDED"
    await world.delete_pod(pod, grace_seconds=0)


async def test_a_watch_from_zero_begins_with_what_is_there(world):
    pods = [await world.gated() for _ in range(2)]
    events = await world.events_until(PODS, 2, "0", namespace=world.namespace)
    assert [event.type for event in events] == ["ADDED", "ADDED"]
    assert sorted(event.object["metadata"]["name"] for event in events) == sorted(
        pod["metadata"]["name"] for pod in pods
    )


async def test_graceful_deletion_is_seen_as_a_change_and_then_a_deletion(world):
    pod = await world.bound()
    position = pod["metadata"]["resourceVersion"]
    await world.delete_pod(pod)
    await world.delete_pod(pod, grace_seconds=0)
    events = await world.events_until(PODS, 3, position, namespace=world.namespace)
    assert [event.type for event in events] == ["MODIFIED", "MODIFIED", "DELETED"]
    graces = [event.object["metadata"]["deletionGracePeriodSeconds"] for event in events]
    assert graces == [30, 0, 0]


async def test_a_watch_from_a_forgotten_version_is_expired(world):
    await world.create_claim()
    with pytest.raises(Expired):
        await world.events_until(CLAIMS, 1, "1")


async def test_a_watch_with_a_selector_that_cannot_be_is_refused(world):
    with pytest.raises(Rejected):
        await world.events_until(PODS, 1, "0", field_selector="spec.x=1")
