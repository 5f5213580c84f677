"""Create, read, patch and delete of any kind."""

import asyncio

import pytest
from worlds import eventually

from jupyter_gpu_jit.errors import AlreadyExists, Conflict, NotFound, Rejected
from jupyter_gpu_jit.ports import CLAIMS, EVENTS, LEASES, NODES, PODS, VOLUME_CLAIMS, Kind
from jupyter_gpu_jit.sim.objects import NAMESPACES, SECRETS, SERVICES


async def lease(world, **spec):
    body = {"metadata": {"name": world.name("lease")}, "spec": {"holderIdentity": "a", **spec}}
    return await world.cluster.create(LEASES, body, namespace=world.namespace)


async def patch_lease(world, made, patch):
    name = made["metadata"]["name"]
    return await world.cluster.patch(LEASES, name, patch, namespace=world.namespace)


async def test_create_stores_what_was_sent_and_adds_what_the_server_owns(world):
    made = await lease(world, leaseDurationSeconds=15)
    meta = made["metadata"]
    assert made["spec"] == {"holderIdentity": "a", "leaseDurationSeconds": 15}
    assert (made["apiVersion"], made["kind"]) == ("coordination.k8s.io/v1", "Lease")
    assert meta["namespace"] == world.namespace
    assert len(meta["uid"]) == 36
    assert int(meta["resourceVersion"]) > 0
    assert meta["creationTimestamp"].endswith("Z")
    assert len(meta["creationTimestamp"]) == len("2026-01-01T00:00:00Z")
    assert await world.cluster.get(LEASES, meta["name"], namespace=world.namespace) == made


async def test_what_the_server_owns_cannot_be_sent_at_create(world):
    body = world.claim(uid="mine", creationTimestamp="2001-01-01T00:00:00Z", generation=7)
    made = await world.cluster.create(CLAIMS, body)
    assert made["metadata"]["uid"] != "mine"
    assert not made["metadata"]["creationTimestamp"].startswith("2001")
    assert made["metadata"]["generation"] == 1


async def test_generate_name_gives_distinct_names(world):
    body = {"metadata": {"generateName": "made-"}}
    made = [await world.cluster.create(LEASES, body, namespace=world.namespace) for _ in range(2)]
    names = [lease["metadata"]["name"] for lease in made]
    assert all(name.startswith("made-") and len(name) > 5 for name in names)
    assert names[0] != names[1]


async def test_what_does_not_exist_is_not_found(world):
    cluster, where = world.cluster, {"namespace": world.namespace}
    with pytest.raises(NotFound):
        await cluster.get(PODS, "none", **where)
    with pytest.raises(NotFound):
        await cluster.patch(PODS, "none", {"metadata": {"labels": {"a": "b"}}}, **where)
    with pytest.raises(NotFound):
        await cluster.delete(PODS, "none", **where)


async def test_a_kind_that_is_not_served_is_an_error(world):
    unknown = Kind("nobody.example", "v1", "things", "Thing", False)
    # The local HTTP face answers 501 to what it does not have, so that a gap has a name.
    with pytest.raises((NotFound, Rejected)):
        await world.cluster.list(unknown)


async def test_the_second_create_of_a_name_is_already_exists(world):
    made = await world.create_claim()
    body = world.claim() | {"metadata": {"name": made["metadata"]["name"]}}
    body["spec"]["batch"]["claims"] = [made["metadata"]["name"]]
    with pytest.raises(AlreadyExists):
        await world.cluster.create(CLAIMS, body)


async def test_create_needs_an_existing_namespace(world):
    with pytest.raises(NotFound, match="namespaces"):
        await world.cluster.create(LEASES, {"metadata": {"name": "a"}}, namespace="no-such-place")


@pytest.mark.parametrize(
    ("meta", "more"),
    [
        ({}, {}),
        ({"name": "Not_A_Name"}, {}),
        ({"name": "a", "namespace": "elsewhere"}, {}),
        ({"name": "a"}, {"kind": "Pod"}),
        ({"name": "a"}, {"apiVersion": "v7"}),
    ],
)
async def test_bodies_that_make_no_sense_are_rejected(world, meta, more):
    with pytest.raises(Rejected):
        await world.cluster.create(LEASES, {"metadata": meta, **more}, namespace=world.namespace)


async def test_merge_patch_merges_objects_replaces_lists_and_removes_nulls(world):
    pod = await world.create_pod({"labels": {"keep": "1", "drop": "2"}, "finalizers": ["a.io/x"]})
    patch = {"metadata": {"labels": {"drop": None, "new": "3"}, "finalizers": ["b.io/y", "c.io/z"]}}
    changed = await world.patch_pod(pod, patch)
    assert changed["metadata"]["labels"] == {"keep": "1", "new": "3"}
    assert changed["metadata"]["finalizers"] == ["b.io/y", "c.io/z"]
    assert changed["spec"] == pod["spec"]
    assert int(changed["metadata"]["resourceVersion"]) > int(pod["metadata"]["resourceVersion"])
    assert changed == await world.get_pod(pod)
    await world.patch_pod(pod, {"metadata": {"finalizers": None}})


async def test_a_patch_that_changes_nothing_keeps_the_version(world):
    made = await lease(world)
    same = await patch_lease(world, made, {"spec": {"holderIdentity": "a"}})
    assert same == made


async def test_a_patch_with_a_stale_version_is_a_conflict_and_changes_nothing(world):
    made = await lease(world)
    version = made["metadata"]["resourceVersion"]
    first = await patch_lease(
        world, made, {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "b"}}
    )
    with pytest.raises(Conflict):
        await patch_lease(
            world, made, {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "c"}}
        )
    now = await world.cluster.get(LEASES, made["metadata"]["name"], namespace=world.namespace)
    assert now == first


async def test_of_writers_racing_for_a_lease_exactly_one_wins(world):
    made = await lease(world)
    version = made["metadata"]["resourceVersion"]

    async def take(who):
        patch = {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": who}}
        try:
            return await patch_lease(world, made, patch)
        except Conflict:
            return None

    won = [taken for taken in await asyncio.gather(*map(take, "bcdef")) if taken]
    assert len(won) == 1


async def test_times_of_a_lease_keep_their_microseconds(world):
    made = await lease(world, renewTime="2026-01-02T03:04:05.678901Z", leaseTransitions=3)
    assert made["spec"]["renewTime"] == "2026-01-02T03:04:05.678901Z"


async def test_identity_cannot_be_patched(world):
    made = await lease(world)
    with pytest.raises(Rejected):
        await patch_lease(world, made, {"metadata": {"uid": "another"}})
    with pytest.raises(Rejected):
        await patch_lease(world, made, {"metadata": {"name": "another"}})
    with pytest.raises(Rejected):
        await patch_lease(world, made, {"metadata": {"namespace": "another"}})


async def test_delete_removes_and_frees_the_name_for_an_object_with_another_uid(world):
    made = await world.create_claim()
    await world.cluster.delete(CLAIMS, made["metadata"]["name"])
    with pytest.raises(NotFound):
        await world.cluster.get(CLAIMS, made["metadata"]["name"])
    body = {"metadata": {"name": made["metadata"]["name"]}, "spec": made["spec"]}
    again = await world.cluster.create(CLAIMS, body)
    assert again["metadata"]["uid"] != made["metadata"]["uid"]


@pytest.mark.parametrize("condition", ["uid", "resource_version"])
async def test_a_delete_whose_precondition_fails_is_a_conflict(world, condition):
    made = await world.create_claim()
    name = made["metadata"]["name"]
    with pytest.raises(Conflict):
        await world.cluster.delete(CLAIMS, name, **{condition: "12345"})
    key = {"uid": "uid", "resource_version": "resourceVersion"}[condition]
    await world.cluster.delete(CLAIMS, name, **{condition: made["metadata"][key]})
    with pytest.raises(NotFound):
        await world.cluster.get(CLAIMS, name)


async def test_a_finalizer_holds_a_deleted_object_until_it_is_removed(world):
    made = await world.create_claim(finalizers=["gpu-jit.io/termination"])
    name = made["metadata"]["name"]
    await world.cluster.delete(CLAIMS, name)
    held = await world.cluster.get(CLAIMS, name)
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    assert held["metadata"]["generation"] == 2
    await world.cluster.delete(CLAIMS, name)
    assert await world.cluster.get(CLAIMS, name) == held
    with pytest.raises(Rejected):
        await world.cluster.patch(
            CLAIMS, name, {"metadata": {"finalizers": ["gpu-jit.io/termination", "b.io/y"]}}
        )
    await world.cluster.patch(CLAIMS, name, {"metadata": {"labels": {"still": "here"}}})
    last = await world.cluster.patch(CLAIMS, name, {"metadata": {"finalizers": None}})
    assert last["metadata"]["name"] == name
    with pytest.raises(NotFound):
        await world.cluster.get(CLAIMS, name)


async def test_a_deleted_object_cannot_be_revived(world):
    made = await world.create_claim(finalizers=["gpu-jit.io/termination"])
    name = made["metadata"]["name"]
    await world.cluster.delete(CLAIMS, name)
    held = await world.cluster.get(CLAIMS, name)
    again = await world.cluster.patch(CLAIMS, name, {"metadata": {"deletionTimestamp": None}})
    assert again["metadata"]["deletionTimestamp"] == held["metadata"]["deletionTimestamp"]
    await world.cluster.patch(CLAIMS, name, {"metadata": {"finalizers": None}})


# --- claims ----------------------------------------------------------------------------------


async def test_a_claims_status_is_written_by_its_own_door_only(world):
    body = {**world.claim(), "status": {"nodeName": "early"}}
    made = await world.cluster.create(CLAIMS, body)
    name = made["metadata"]["name"]
    assert "status" not in made
    ignored = await world.cluster.patch(CLAIMS, name, {"status": {"nodeName": "main"}})
    assert ignored == made
    patch = {
        "metadata": {"labels": {"from": "status"}},
        "spec": {"hubID": "other"},
        "status": {"nodeName": "n"},
    }
    written = await world.cluster.patch(CLAIMS, name, patch, subresource="status")
    assert written["status"] == {"nodeName": "n"}
    assert written["spec"] == made["spec"]
    assert "from" not in written["metadata"]["labels"]
    assert written["metadata"]["generation"] == 1


async def test_a_claims_status_write_obeys_the_version(world):
    made = await world.create_claim()
    name = made["metadata"]["name"]
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    await world.cluster.patch(
        CLAIMS, name, {**patch, "status": {"zone": "a"}}, subresource="status"
    )
    with pytest.raises(Conflict):
        await world.cluster.patch(
            CLAIMS, name, {**patch, "status": {"zone": "b"}}, subresource="status"
        )


async def test_a_claims_spec_never_changes(world):
    made = await world.create_claim()
    with pytest.raises(Rejected):
        await world.cluster.patch(CLAIMS, made["metadata"]["name"], {"spec": {"hubID": "other"}})


async def test_a_claims_provider_id_is_set_once(world):
    name = (await world.create_claim())["metadata"]["name"]
    await world.cluster.patch(CLAIMS, name, {"status": {"providerID": "i-1"}}, subresource="status")
    for other in ("i-2", None):
        with pytest.raises(Rejected):
            await world.cluster.patch(
                CLAIMS, name, {"status": {"providerID": other}}, subresource="status"
            )


async def test_a_claim_without_its_own_name_in_the_batch_or_without_offerings_is_rejected(world):
    body = world.claim()
    body["spec"]["batch"]["claims"] = ["another"]
    with pytest.raises(Rejected):
        await world.cluster.create(CLAIMS, body)
    body = world.claim()
    del body["spec"]["offerings"]
    with pytest.raises(Rejected):
        await world.cluster.create(CLAIMS, body)


# --- nodes -----------------------------------------------------------------------------------


async def test_a_node_brings_its_status_and_later_changes_it_by_its_own_door(world):
    node = await world.create_node(status={"capacity": {"cpu": "4"}}, spec={"providerID": "x://1"})
    name = node["metadata"]["name"]
    assert node["status"]["capacity"] == {"cpu": "4"}
    same = await world.cluster.patch(NODES, name, {"status": {"capacity": {"cpu": "8"}}})
    assert same["status"]["capacity"] == {"cpu": "4"}
    patch = {
        "metadata": {"labels": {"from": "status"}},
        "spec": {"unschedulable": True},
        "status": {"capacity": {"cpu": "8", "nvidia.com/gpu": "1"}},
    }
    written = await world.cluster.patch(NODES, name, patch, subresource="status")
    assert written["status"]["capacity"] == {"cpu": "8", "nvidia.com/gpu": "1"}
    assert "unschedulable" not in written["spec"]
    assert written["metadata"]["labels"]["from"] == "status"
    await world.cluster.delete(NODES, name)


async def test_a_node_is_labelled_tainted_and_cordoned_in_one_patch(world):
    node = await world.create_node()
    name = node["metadata"]["name"]
    taint = {"key": "gpu-jit.io/unregistered", "effect": "NoExecute"}
    patch = {
        "metadata": {"labels": {"node-restriction.kubernetes.io/gpu-jit-claim": "c1"}},
        "spec": {"taints": [taint], "unschedulable": True},
    }
    changed = await world.cluster.patch(NODES, name, patch)
    assert changed["metadata"]["labels"]["node-restriction.kubernetes.io/gpu-jit-claim"] == "c1"
    assert changed["metadata"]["labels"]["contract"] == world.namespace
    assert changed["spec"]["unschedulable"] is True
    assert changed["spec"]["taints"] == [taint]
    await world.cluster.delete(NODES, name)


async def test_a_node_is_tainted_until_it_is_ready(world):
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    own = {"key": "gpu-jit.io/unregistered", "effect": "NoExecute"}
    not_ready = {"type": "Ready", "status": "False", "reason": "Booting"}
    node = await world.create_node(spec={"taints": [own]}, status={"conditions": [not_ready]})
    name = node["metadata"]["name"]
    assert taint in node["spec"]["taints"]
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "Up"}]}
    await world.cluster.patch(NODES, name, {"status": ready}, subresource="status")

    async def is_free():
        got = await world.cluster.get(NODES, name)
        return [row["key"] for row in got["spec"]["taints"]] == ["gpu-jit.io/unregistered"]

    await eventually(is_free)
    await world.cluster.delete(NODES, name)


async def test_a_nodes_provider_id_may_be_set_late_but_only_once(world):
    name = (await world.create_node())["metadata"]["name"]
    await world.cluster.patch(NODES, name, {"spec": {"providerID": "aws:///a/i-1"}})
    with pytest.raises(Rejected):
        await world.cluster.patch(NODES, name, {"spec": {"providerID": "aws:///a/i-2"}})
    await world.cluster.delete(NODES, name)


# --- events and the plain kinds --------------------------------------------------------------


def event(world, involved, **more):
    return {
        "metadata": {"generateName": "e-"},
        "involvedObject": {"kind": "Pod", "name": involved, "namespace": world.namespace},
        "reason": "Planned",
        "message": "text",
        "type": "Normal",
        **more,
    }


async def test_an_event_has_both_times_even_when_only_one_was_sent(world):
    body = event(world, "p", lastTimestamp="2026-01-02T03:04:05Z", count=1)
    made = await world.cluster.create(EVENTS, body, namespace=world.namespace)
    assert made["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert made["eventTime"] is None
    assert made["firstTimestamp"] is None
    assert made["message"] == "text"


async def test_events_are_selected_by_what_they_are_about(world):
    for involved in ("p1", "p2"):
        await world.cluster.create(EVENTS, event(world, involved), namespace=world.namespace)

    async def names(selector):
        found = await world.cluster.list(EVENTS, namespace=world.namespace, field_selector=selector)
        return [item["involvedObject"]["name"] for item in found.items]

    assert await names("involvedObject.name=p2") == ["p2"]
    assert sorted(await names("involvedObject.kind=Pod,reason=Planned")) == ["p1", "p2"]
    assert await names("involvedObject.kind=Node") == []


async def test_an_event_about_an_object_of_another_namespace_is_rejected(world):
    body = event(world, "p")
    body["involvedObject"]["namespace"] = "elsewhere"
    with pytest.raises(Rejected):
        await world.cluster.create(EVENTS, body, namespace=world.namespace)


async def test_a_kind_without_status_has_no_status_door(world):
    made = await lease(world)
    with pytest.raises(NotFound):
        await world.cluster.patch(
            LEASES,
            made["metadata"]["name"],
            {"status": {}},
            namespace=world.namespace,
            subresource="status",
        )


PLAIN = [
    (SECRETS, {"stringData": {}, "type": "Opaque"}),
    (SERVICES, {"spec": {"ports": [{"port": 80, "name": "http"}], "clusterIP": "None"}}),
    (
        VOLUME_CLAIMS,
        {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}},
            }
        },
    ),
]


@pytest.mark.parametrize(("kind", "rest"), PLAIN, ids=[kind.plural for kind, _ in PLAIN])
async def test_the_hubs_other_kinds_are_created_read_listed_and_deleted(world, kind, rest):
    where = {"namespace": world.namespace}
    name = f"plain-{kind.plural}"
    await world.cluster.create(kind, {"metadata": {"name": name}, **rest}, **where)
    got = await world.cluster.get(kind, name, **where)
    assert got["metadata"]["namespace"] == world.namespace
    listed = await world.cluster.list(kind, **where)
    assert [item["metadata"]["name"] for item in listed.items] == [name]
    if kind != VOLUME_CLAIMS:  # a protection finalizer keeps the real ones a moment
        await world.cluster.delete(kind, name, **where)
        with pytest.raises(NotFound):
            await world.cluster.get(kind, name, **where)


async def test_a_namespace_is_active_and_carries_its_name_as_a_label(world):
    got = await world.cluster.get(NAMESPACES, world.namespace)
    assert got["status"]["phase"] == "Active"
    assert got["metadata"]["labels"] == {"kubernetes.io/metadata.name": world.namespace}
