"""Gates, bindings, what a pod's patch may change, and how pods go."""

import pytest

from jupyter_gpu_jit.core.quantity import parse_time
from jupyter_gpu_jit.errors import Conflict, NotFound, Rejected
from jupyter_gpu_jit.ports import PODS


def scheduled(pod):
    rows = pod["status"].get("conditions") or []
    return next((row for row in rows if row["type"] == "PodScheduled"), None)


async def test_a_new_pod_is_pending_whatever_status_was_sent(world):
    body = world.pod() | {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    pod = await world.cluster.create(PODS, body, namespace=world.namespace)
    assert pod["status"]["phase"] == "Pending"
    assert "podIP" not in pod["status"]


async def test_a_new_pod_gets_the_servers_defaults(world):
    limits = {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}
    container = {"name": "n", "image": "i", "resources": {"limits": limits}}
    spec = (await world.gated(containers=[container], schedulerName=None))["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["schedulerName"] == "default-scheduler"
    assert spec["containers"][0]["resources"]["requests"] == limits
    kept = {(t["key"], t["effect"], t["tolerationSeconds"]) for t in spec["tolerations"]}
    assert kept == {
        ("node.kubernetes.io/not-ready", "NoExecute", 300),
        ("node.kubernetes.io/unreachable", "NoExecute", 300),
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": []},
        {"containers": [{"image": "i"}]},
        {"containers": [{"name": "n", "image": ""}]},
        {"schedulingGates": [{"name": "g.io/x"}], "nodeName": "n"},
        {
            "containers": [
                {"name": "n", "image": "i", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
            ]
        },
    ],
)
async def test_pods_that_cannot_be_are_rejected(world, spec):
    with pytest.raises(Rejected):
        await world.create_pod(**spec)


async def test_a_gated_pod_says_that_it_is_gated(world):
    pod = await world.gated()
    row = scheduled(pod)
    assert (row["status"], row["reason"]) == ("False", "SchedulingGated")
    assert row["lastTransitionTime"] == pod["metadata"]["creationTimestamp"]
    assert pod["spec"]["schedulingGates"] == [{"name": "gpu-jit.io/plan"}]


async def test_a_release_takes_the_gate_pins_and_annotates_in_one_patch(world):
    pod = await world.gated(nodeSelector=None)
    pin = {"node-restriction.kubernetes.io/gpu-jit-claim": "c1"}
    patch = {
        "metadata": {
            "resourceVersion": pod["metadata"]["resourceVersion"],
            "annotations": {"gpu-jit.io/claim": "c1"},
        },
        "spec": {
            "schedulingGates": None,
            "nodeSelector": pin,
        },
    }
    released = await world.patch_pod(pod, patch)
    assert not released["spec"].get("schedulingGates")
    assert released["spec"]["nodeSelector"] == {
        "node-restriction.kubernetes.io/gpu-jit-claim": "c1"
    }
    assert released["metadata"]["annotations"] == {"gpu-jit.io/claim": "c1"}
    assert released["metadata"]["generation"] == 2
    with pytest.raises(Conflict):
        await world.patch_pod(pod, patch)


async def test_one_of_two_gates_may_go_first(world):
    pod = await world.gated(schedulingGates=[{"name": "a.io/x"}, {"name": "b.io/y"}])
    left = await world.patch_pod(pod, {"spec": {"schedulingGates": [{"name": "b.io/y"}]}})
    assert left["spec"]["schedulingGates"] == [{"name": "b.io/y"}]
    with pytest.raises(Conflict):
        await world.bind(pod, "n")


async def test_an_affinity_may_be_added_while_gated(world):
    pod = await world.gated()
    term = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    changed = await world.patch_pod(pod, {"spec": {"affinity": {"nodeAffinity": required}}})
    assert changed["spec"]["affinity"]["nodeAffinity"] == required


GATED_REFUSALS = {
    "another gate": {"schedulingGates": [{"name": "gpu-jit.io/plan"}, {"name": "b.io/y"}]},
    "changed selector": {"nodeSelector": {"contract": "elsewhere"}},
    "dropped selector": {"nodeSelector": None},
    "node name": {"nodeName": "n"},
    "grace": {"terminationGracePeriodSeconds": 5},
    "scheduler": {"schedulerName": "other"},
}


@pytest.mark.parametrize("patch", GATED_REFUSALS.values(), ids=GATED_REFUSALS.keys())
async def test_a_gated_pods_spec_is_fixed_except_gates_and_more_pins(world, patch):
    pod = await world.gated(nodeSelector={"contract": "nowhere"})
    with pytest.raises(Rejected):
        await world.patch_pod(pod, {"spec": patch})
    assert await world.get_pod(pod) == pod


OPEN_REFUSALS = {
    "gate": {"schedulingGates": [{"name": "b.io/y"}]},
    "more selector": {"nodeSelector": {"more": "1"}},
    "node name": {"nodeName": "n"},
    "resources": {
        "containers": [
            {
                "name": "notebook",
                "image": "registry.invalid/none:1",
                "resources": {"requests": {"cpu": "9"}},
            }
        ]
    },
    "tolerations": {"tolerations": None},
}


@pytest.mark.parametrize("patch", OPEN_REFUSALS.values(), ids=OPEN_REFUSALS.keys())
async def test_a_released_pods_spec_is_fixed(world, patch):
    pod = await world.create_pod(tolerations=[{"key": "a", "operator": "Exists"}])
    with pytest.raises(Rejected):
        await world.patch_pod(pod, {"spec": patch})
    assert await world.get_pod(pod) == pod


async def test_a_released_pod_may_gain_a_toleration_and_another_image(world):
    pod = await world.create_pod()
    more = [*pod["spec"]["tolerations"], {"key": "a", "operator": "Exists", "effect": "NoSchedule"}]
    container = {**pod["spec"]["containers"][0], "image": "registry.invalid/none:2"}
    patch = {"spec": {"tolerations": more, "containers": [container]}}
    changed = await world.patch_pod(pod, patch)
    assert changed["spec"]["tolerations"] == more
    assert changed["spec"]["containers"][0]["image"].endswith(":2")


async def test_a_pods_status_is_written_by_its_own_door_only(world):
    pod = await world.gated()
    assert await world.patch_pod(pod, {"status": {"phase": "Running"}}) == pod
    patch = {
        "metadata": {"annotations": {"from": "status"}},
        "spec": {"schedulingGates": None},
        "status": {"phase": "Running", "podIP": "127.1.2.3", "message": "m"},
    }
    written = await world.patch_pod(pod, patch, "status")
    assert written["status"]["phase"] == "Running"
    assert written["status"]["podIP"] == "127.1.2.3"
    assert written["spec"] == pod["spec"]
    assert written["metadata"]["annotations"] == {"from": "status"}
    await world.delete_pod(pod, grace_seconds=0)


# --- binding ---------------------------------------------------------------------------------


async def test_binding_names_the_node_and_says_scheduled(world):
    pod = await world.create_pod()
    answer = await world.bind(pod, "contract-node", uid=pod["metadata"]["uid"])
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    bound = await world.get_pod(pod)
    assert bound["spec"]["nodeName"] == "contract-node"
    assert scheduled(bound)["status"] == "True"
    assert scheduled(bound)["lastTransitionTime"]
    assert "reason" not in scheduled(bound)


async def test_a_gated_pod_cannot_be_bound(world):
    pod = await world.gated()
    with pytest.raises(Conflict):
        await world.bind(pod, "n")
    assert await world.get_pod(pod) == pod


async def test_a_pod_is_bound_once(world):
    pod = await world.bound()
    for node in ("contract-node", "other"):
        with pytest.raises(Conflict):
            await world.bind(pod, node)


async def test_a_binding_for_another_uid_or_a_missing_pod_fails(world):
    pod = await world.create_pod()
    with pytest.raises(Conflict):
        await world.bind(pod, "n", uid="5b5e4f5e-0000-4000-8000-000000000000")
    await world.delete_pod(pod)
    with pytest.raises(NotFound):
        await world.bind(pod, "n")


async def test_a_terminating_pod_cannot_be_bound(world):
    pod = await world.create_pod({"finalizers": ["a.io/x"]})
    await world.delete_pod(pod)
    with pytest.raises(Conflict):
        await world.bind(pod, "n")
    await world.patch_pod(pod, {"metadata": {"finalizers": None}})


# --- deletion --------------------------------------------------------------------------------


async def is_gone(world, pod):
    try:
        await world.get_pod(pod)
    except NotFound:
        return True
    return False


@pytest.mark.parametrize("gated", [True, False])
async def test_an_unbound_pod_goes_at_once(world, gated):
    pod = await (world.gated() if gated else world.create_pod())
    await world.delete_pod(pod)
    assert await is_gone(world, pod)


async def test_a_bound_pod_stays_for_its_own_grace_until_its_kubelet_lets_go(world):
    pod = await world.bound(terminationGracePeriodSeconds=120)
    await world.delete_pod(pod)
    going = await world.get_pod(pod)
    meta = going["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 120
    assert meta["generation"] == pod["metadata"]["generation"] + 1
    asked_at = parse_time(meta["deletionTimestamp"]) - 120
    assert 0 <= asked_at - parse_time(meta["creationTimestamp"]) <= 10
    await world.delete_pod(pod, grace_seconds=0)
    assert await is_gone(world, pod)


async def test_a_second_delete_may_shorten_the_grace_but_not_prolong_it(world):
    pod = await world.bound()
    await world.delete_pod(pod, grace_seconds=60)
    first = await world.get_pod(pod)
    await world.delete_pod(pod)
    await world.delete_pod(pod, grace_seconds=600)
    assert await world.get_pod(pod) == first
    await world.delete_pod(pod, grace_seconds=10)
    second = await world.get_pod(pod)
    assert second["metadata"]["deletionGracePeriodSeconds"] == 10
    earlier = parse_time(first["metadata"]["deletionTimestamp"]) - parse_time(
        second["metadata"]["deletionTimestamp"]
    )
    assert earlier == 50
    await world.delete_pod(pod, grace_seconds=0)
    assert await is_gone(world, pod)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_finished_pod_goes_at_once(world, phase):
    pod = await world.bound()
    await world.patch_pod(pod, {"status": {"phase": phase}}, "status")
    await world.delete_pod(pod)
    assert await is_gone(world, pod)


async def test_a_pods_finalizer_holds_it_beyond_its_grace(world):
    pod = await world.bound({"finalizers": ["a.io/x"]})
    await world.delete_pod(pod)
    await world.delete_pod(pod, grace_seconds=0)
    held = await world.get_pod(pod)
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    await world.patch_pod(pod, {"metadata": {"finalizers": None}})
    assert await is_gone(world, pod)


async def test_a_finalizer_removed_early_leaves_the_pod_to_its_kubelet(world):
    pod = await world.bound({"finalizers": ["a.io/x"]})
    await world.delete_pod(pod)
    await world.patch_pod(pod, {"metadata": {"finalizers": None}})
    assert (await world.get_pod(pod))["metadata"]["deletionGracePeriodSeconds"] == 30
    await world.delete_pod(pod, grace_seconds=0)
    assert await is_gone(world, pod)


async def test_a_pod_is_deleted_only_when_it_is_the_one_that_was_meant(world):
    pod = await world.bound()
    with pytest.raises(Conflict):
        await world.delete_pod(pod, uid="5b5e4f5e-0000-4000-8000-000000000000")
    assert await world.get_pod(pod) == pod
    await world.delete_pod(pod, uid=pod["metadata"]["uid"], grace_seconds=0)
    assert await is_gone(world, pod)
