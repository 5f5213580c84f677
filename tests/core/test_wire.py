"""What is written on Kubernetes objects comes back the same; what cannot be read is said so."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import (
    UNTOLD,
    BoundPod,
    Condition,
    GroupPolicy,
    LaunchBatch,
    NodeClaim,
    Offering,
    Reservation,
    Resources,
    SessionRequest,
    SessionStatus,
    Together,
)
from jupyter_gpu_jit.core.progress import ORDER, Stage
from jupyter_gpu_jit.core.quantity import GIB, MIB
from jupyter_gpu_jit.core.requirements import (
    CapacityPolicy,
    CapacityType,
    GpuShare,
    LabelRequirement,
    Requirements,
    Taint,
    Toleration,
)
from jupyter_gpu_jit.errors import Defect, UserError

ROOT = Path(__file__).parents[2]


def schema(name):
    stored = json.loads((ROOT / f"docs/wire/{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(stored)
    return jsonschema.Draft202012Validator(stored)


SESSION, STATUS, CLAIM = schema("session"), schema("status"), schema("claim")
REQUEST = SessionRequest(
    uid="",
    user="ada",
    server="two",
    profile="l4",
    group="class",
    resources=Resources(cpu_millicpu=3000, memory_bytes=12 * GIB, gpus=1, pods=1),
    requirements=Requirements(
        gpu_models=("L4", "A10G"),
        gpu_memory_gib=24,
        capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND,
        zones=("us-east-1a",),
        architectures=("amd64", "arm64"),
        max_usd_per_hour_micro=2_000_000,
    ),
)
PICKY = replace(
    REQUEST,
    group_policy=GroupPolicy(together=Together.RACK, all_or_none=True, size=4),
    resources=replace(REQUEST.resources, local_disk_bytes=10**11),
    requirements=replace(
        REQUEST.requirements,
        min_compute_capability_tenths=89,
        nvlink=True,
        efa=True,
        share=GpuShare(memory_gib=10, time_sliced=True),
        driver_families=("nvidia", "nvidia-grid"),
        max_interruptions_per_hour=0.05,
    ),
)


# --- the session annotation ------------------------------------------------------------------


@pytest.mark.parametrize("request_", [REQUEST, PICKY], ids=["plain", "picky"])
def test_a_request_survives_the_annotation_and_fits_the_schema(request_):
    text = wire.encode_session(request_)
    SESSION.validate(json.loads(text))
    assert wire.decode_session(text) == request_


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("nvlink", "yes", "requirements.nvlink, where true or false belongs"),
        ("efa", 1, "requirements.efa, where true or false belongs"),
        ("share", [], "requirements.share, where a mapping belongs"),
        ("share", {"memory_gib": -1}, "requirements.share.memory_gib, where a whole number"),
        ("max_interruptions_per_hour", True, "where a number that is not negative belongs"),
        ("max_interruptions_per_hour", -1, "where a number that is not negative belongs"),
        ("driver_families", "nvidia", "where a list of texts belongs"),
    ],
)
def test_a_requirement_of_another_type_is_refused_with_its_place(key, value, words):
    body = json.loads(wire.encode_session(REQUEST))
    body["requirements"][key] = value
    with pytest.raises(UserError, match=words):
        wire.decode_session(json.dumps(body))


def test_equal_requests_give_equal_text():
    body = json.loads(wire.encode_session(REQUEST))
    assert wire.canonical(dict(reversed(body.items()))) == wire.encode_session(REQUEST)
    assert " " not in wire.encode_session(REQUEST)


def test_what_is_missing_or_null_has_its_empty_value():
    empty = SessionRequest(uid="", user="", resources=Resources(pods=1))
    assert wire.decode_session('{"v":1}') == empty
    nulls = {"v": 1, "user": None, "resources": None, "requirements": {"zones": None}}
    SESSION.validate(nulls)
    assert wire.decode_session(json.dumps(nulls)) == empty


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "null", "5", "{}", '{"v":2}', '{"v":"1"}', "[" * 100_000, "9" * 5000, None],
)
def test_an_annotation_of_another_kind_is_refused(text):
    with pytest.raises(UserError) as caught:
        wire.decode_session(text)
    assert caught.value.reason == "BadSession"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"user": 5}, "5 at user"),
        ({"profile": ["l4"]}, "a list at profile"),
        ({"group_policy": "zone"}, '"zone" at group_policy'),
        ({"group_policy": {"together": "room"}}, '"room" at group_policy.together'),
        ({"group_policy": {"together": 1}}, "1 at group_policy.together"),
        ({"group_policy": {"all_or_none": 1}}, "1 at group_policy.all_or_none"),
        ({"group_policy": {"size": -1}}, "-1 at group_policy.size"),
        ({"resources": []}, "a list at resources"),
        ({"resources": {"gpus": "1"}}, '"1" at resources.gpus'),
        ({"resources": {"gpus": True}}, "true at resources.gpus"),
        ({"resources": {"gpus": -1}}, "-1 at resources.gpus"),
        ({"resources": {"memory_bytes": 2**63}}, "at resources.memory_bytes"),
        ({"resources": {"cpu_millicpu": 1.5}}, "1.5 at resources.cpu_millicpu"),
        ({"requirements": "x"}, '"x" at requirements'),
        ({"requirements": {"capacity": "free"}}, '"free" at requirements.capacity'),
        ({"requirements": {"capacity": 1}}, "1 at requirements.capacity"),
        ({"requirements": {"zones": "a"}}, '"a" at requirements.zones'),
        ({"requirements": {"gpu_models": [1]}}, "a list at requirements.gpu_models"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place_by_reader_and_schema(change, where):
    body = {"v": 1, **change}
    with pytest.raises(UserError) as caught:
        wire.decode_session(json.dumps(body))
    assert where in caught.value.user_message
    assert not SESSION.is_valid(body)


_KEYS = st.sampled_from(
    ["v", "user", "server", "resources", "requirements", "gpus", "capacity", "zones", "group"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("spot"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(_KEYS, _VALUES).map(lambda body: {**body, "v": 1}))
def test_reader_and_schema_of_the_session_agree(body):
    try:
        wire.decode_session(json.dumps(body))
    except UserError:
        assert not SESSION.is_valid(body)
    else:
        SESSION.validate(body)


# --- the status annotation -------------------------------------------------------------------


def test_a_status_survives_the_annotation_and_fits_the_schema():
    full = SessionStatus(
        stage=Stage.BOOTING,
        since=1_700_000_000.25,
        reason="Booting",
        node="n",
        instance_type="g6.xlarge",
        zone="us-east-1a",
        capacity_type="spot",
        usd_per_hour_micro=322_000,
        eta_seconds=40,
        message="Booting.",
    )
    for status in (full, SessionStatus(stage=Stage.WAITING, since=0.0)):
        text = wire.encode_status(status)
        STATUS.validate(json.loads(text))
        assert wire.decode_status(text) == status


def test_the_stages_of_the_schema_are_those_of_the_code_in_order():
    listed = STATUS.schema["properties"]["stage"]["enum"]
    assert listed == [str(stage) for stage in Stage]
    assert listed[: len(ORDER)] == [str(stage) for stage in ORDER]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "x",
        "[]",
        '{"v":2,"stage":"Ready","since":"1970-01-01T00:00:00Z"}',
        '{"v":1,"since":"1970-01-01T00:00:00Z"}',
        '{"v":1,"stage":"Ready"}',
        '{"v":1,"stage":"Ready","since":"yesterday"}',
        '{"v":1,"stage":"Ready","since":5}',
        '{"v":1,"stage":"Ready","since":"1970-01-01T00:00:00Z","eta_seconds":"x"}',
        '{"v":1,"stage":"Ready","since":"1970-01-01T00:00:00Z","eta_seconds":[]}',
        '{"v":1,"stage":"Ready","since":"1970-01-01T00:00:00Z","eta_seconds":Infinity}',
        "[" * 100_000,
    ],
)
def test_a_status_that_cannot_be_read_is_none(text):
    assert wire.decode_status(text) is None


# --- sizes -----------------------------------------------------------------------------------


def container(cpu=None, memory=None, gpus=None, limits=None, always=False):
    requests = {"cpu": cpu, "memory": memory, wire.GPU_RESOURCE: gpus}
    body = {"resources": {"requests": {k: v for k, v in requests.items() if v is not None}}}
    if limits:
        body["resources"]["limits"] = limits
    return {**body, "restartPolicy": "Always"} if always else body


def size(cpu=0, memory_mib=0, gpus=0):
    return Resources(cpu_millicpu=cpu, memory_bytes=memory_mib * MIB, gpus=gpus, pods=1)


def test_containers_are_summed():
    spec = {"containers": [container("1", "1Gi", "1"), container("500m", "512Mi"), {}]}
    assert wire.pod_resources(spec) == size(1500, 1536, 1)


def test_a_limit_without_a_request_counts_and_a_request_comes_before_it():
    limits = {"cpu": "2", "memory": "2Gi", wire.GPU_RESOURCE: "4"}
    assert wire.pod_resources({"containers": [container(limits=limits)]}) == size(2000, 2048, 4)
    both = container("1", limits=limits)
    assert wire.pod_resources({"containers": [both]}) == size(1000, 2048, 4)


def test_the_largest_init_step_counts_when_it_is_more_in_each_dimension():
    spec = {
        "containers": [container("1", "4Gi")],
        "initContainers": [container("3", "1Gi"), container("2", "2Gi")],
    }
    assert wire.pod_resources(spec) == size(3000, 4096)


def test_a_sidecar_runs_beside_the_containers_and_the_init_steps_after_it():
    early = {
        "containers": [container("1")],
        "initContainers": [container("1", always=True), container("3")],
    }
    assert wire.pod_resources(early) == size(4000)
    late = {
        "containers": [container("1")],
        "initContainers": [container("3"), container("1", always=True)],
    }
    assert wire.pod_resources(late) == size(3000)
    two = {
        "containers": [container("1")],
        "initContainers": [container("1", always=True), container("1", always=True)],
    }
    assert wire.pod_resources(two) == size(3000)


def test_requests_of_the_pod_as_a_whole_replace_those_of_its_containers():
    spec = {
        "containers": [container("1", "1Gi", "2")],
        "resources": {"requests": {"cpu": "5"}, "limits": {"cpu": "8"}},
    }
    assert wire.pod_resources(spec) == size(5000, 1024, 2)
    spec["resources"] = {"requests": {"memory": "3Gi"}}
    assert wire.pod_resources(spec) == size(1000, 3072, 2)


def test_overhead_comes_on_top():
    spec = {"containers": [container("1")], "overhead": {"cpu": "250m", "memory": "120Mi"}}
    assert wire.pod_resources(spec) == size(1250, 120)
    assert wire.pod_resources({}) == size()


# --- pods ------------------------------------------------------------------------------------


def session_pod(**changes):
    pod = {
        "metadata": {
            "name": "jupyter-ada",
            "namespace": "gpu-jit",
            "uid": "u1",
            "resourceVersion": "7",
            "creationTimestamp": "1970-01-01T00:01:00Z",
            "annotations": {wire.SESSION_ANNOTATION: wire.encode_session(REQUEST)},
        },
        "spec": {
            "schedulingGates": [{"name": wire.GATE}, {"name": "other/gate"}],
            "containers": [container("3", "12Gi", "1")],
        },
        "status": {"phase": "Pending"},
    }
    for key, value in changes.items():
        pod[key] = {**pod[key], **value}
    return pod


def test_a_waiting_session_is_read_with_the_sizes_of_its_admitted_pod():
    pod = session_pod(spec={"containers": [container("4", "13Gi", "1")]})
    assert wire.is_session(pod)
    found = wire.read_session_pod(pod)
    assert found.request.resources == size(4000, 13 * 1024, 1)
    assert found.request.user == "ada"
    assert found.request.created_at == 60
    assert found.request.uid == found.uid == "u1"
    assert found.gates == (wire.GATE, "other/gate")
    assert (found.claim, found.pinned_to, found.released_at) == ("", "", None)
    assert (found.ready, found.deleting, found.status) == (False, False, None)


def test_a_released_session_is_read_with_its_place():
    status = SessionStatus(stage=Stage.STARTING, since=5.0)
    pod = session_pod(
        metadata={
            "deletionTimestamp": "1970-01-01T00:02:00Z",
            "annotations": {
                wire.SESSION_ANNOTATION: '{"v":1,"user":"ada"}',
                wire.CLAIM_ANNOTATION: "gnc-1",
                wire.RELEASED_ANNOTATION: "1970-01-01T00:01:30Z",
                wire.STATUS_ANNOTATION: wire.encode_status(status),
            },
        },
        spec={
            "schedulingGates": None,
            "nodeSelector": {wire.PIN_LABEL: "gnc-1", "disk": "fast"},
            "nodeName": "n1",
        },
        status={
            "phase": "Failed",
            "reason": "Evicted",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )
    found = wire.read_session_pod(pod)
    assert (found.claim, found.pinned_to, found.node_name) == ("gnc-1", "gnc-1", "n1")
    assert found.request.place == "gnc-1"
    assert found.released_at == 90
    assert (found.phase, found.failure_reason) == ("Failed", "Evicted")
    assert found.ready
    assert found.deleting
    assert found.status == status
    assert found.gates == ()
    assert found.request.requirements.node_labels == (("disk", "fast"),)


def test_selector_affinity_and_tolerations_of_the_pod_are_requirements():
    spec = {
        "nodeSelector": {"b": "2", "a": "1"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
                        {"matchExpressions": [{"key": "k", "operator": "Exists"}]},
                        {},
                    ]
                }
            }
        },
        "tolerations": [
            {"key": "t", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "u", "value": "x"},
        ],
    }
    found = wire.read_session_pod(session_pod(spec=spec)).request.requirements
    assert found.gpu_models == REQUEST.requirements.gpu_models
    assert found.node_labels == (("a", "1"), ("b", "2"))
    assert found.node_terms == (
        (LabelRequirement(key="k", operator="In", values=("v",)),),
        (LabelRequirement(key="k", operator="Exists"),),
        (),
    )
    assert found.tolerations == (
        Toleration(key="t", operator="Exists", effect="NoSchedule"),
        Toleration(key="u", value="x"),
    )


def test_a_term_that_names_a_node_matches_no_node_of_ours():
    fields = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    term = {"matchExpressions": [{"key": "k", "operator": "Exists"}], "matchFields": fields}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    spec = {"affinity": {"nodeAffinity": required}}
    found = wire.pod_requirements(Requirements(), spec)
    assert not found.labels_match({"k": "v", "metadata.name": "n1"})


def test_a_scheduler_also_looks_at_the_pin():
    spec = {"nodeSelector": {wire.PIN_LABEL: "gnc-1"}}
    assert wire.pod_requirements(Requirements(), spec).node_labels == ()
    assert wire.scheduling_requirements(spec).node_labels == ((wire.PIN_LABEL, "gnc-1"),)


@pytest.mark.parametrize(
    "annotations",
    [
        {wire.SESSION_ANNOTATION: "x"},
        {wire.SESSION_ANNOTATION: '{"v":1,"requirements":{"capacity":"x"}}'},
        {wire.SESSION_ANNOTATION: '{"v":1}', wire.RELEASED_ANNOTATION: "soon"},
    ],
)
def test_a_session_that_cannot_be_read_is_a_user_error(annotations):
    with pytest.raises(UserError):
        wire.read_session_pod(session_pod(metadata={"annotations": annotations}))


def test_anybodys_pod_is_a_load_on_its_node():
    pod = {
        "metadata": {"name": "p", "uid": "u", "ownerReferences": [{"kind": "DaemonSet"}]},
        "spec": {"nodeName": "n1", "containers": [container("100m")]},
        "status": {"phase": "Succeeded"},
    }
    assert not wire.is_session(pod)
    assert wire.read_bound_pod(pod) == BoundPod(
        name="p",
        namespace="",
        uid="u",
        node_name="n1",
        resources=size(100),
        daemon=True,
        finished=True,
    )
    bare = wire.read_bound_pod({"metadata": {"name": "p", "uid": "u"}})
    assert (bare.daemon, bare.finished, bare.node_name) == (False, False, "")


# --- nodes -----------------------------------------------------------------------------------


def test_a_node_is_read_with_its_claim_taints_and_room():
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    node = wire.read_node(
        {
            "metadata": {
                "name": "n1",
                "resourceVersion": "3",
                "creationTimestamp": "1970-01-01T00:00:05Z",
                "deletionTimestamp": "1970-01-01T00:00:09Z",
                "labels": {wire.PIN_LABEL: "gnc-1", "zone": "a"},
            },
            "spec": {"providerID": "aws:///a/i-1", "taints": [taint], "unschedulable": True},
            "status": {
                "allocatable": {
                    "cpu": "3920m",
                    "memory": "14162Mi",
                    "nvidia.com/gpu": "1",
                    "pods": 58,
                },
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
    )
    assert node.claim == "gnc-1"
    assert node.provider_id == "aws:///a/i-1"
    assert node.taints == (wire.GPU_TAINT,)
    assert node.allocatable == Resources(
        cpu_millicpu=3920,
        memory_bytes=14162 * MIB,
        gpus=1,
        pods=58,
        volumes=UNTOLD,
        local_disk_bytes=UNTOLD,
    )
    assert node.ready
    assert node.unschedulable
    assert node.deleting
    assert node.created_at == 5


def test_each_claimed_volume_of_a_pod_is_one_attachment():
    volumes = [
        {"name": "home", "persistentVolumeClaim": {"claimName": "home-ann"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "config", "configMap": {"name": "c"}},
    ]
    again = {"name": "again", "persistentVolumeClaim": {"claimName": "home-ann"}}
    assert wire.pod_resources({"containers": [], "volumes": volumes}).volumes == 2
    assert wire.pod_resources({"containers": [], "volumes": [*volumes, again]}).volumes == 2


def test_local_disk_is_what_the_annotation_asks_for():
    asked = SessionRequest(uid="", user="ann", resources=Resources(local_disk_bytes=10**11))
    pod = {
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": "1970-01-01T00:00:00Z",
            "annotations": {wire.SESSION_ANNOTATION: wire.encode_session(asked)},
        },
        "spec": {"containers": []},
    }
    read = wire.read_session_pod(pod).request.resources
    assert read == Resources(pods=1, local_disk_bytes=10**11)


def test_a_node_that_has_said_nothing_yet_has_no_room_and_is_not_ready():
    meta = {"name": "n", "resourceVersion": "1", "creationTimestamp": "1970-01-01T00:00:00Z"}
    node = wire.read_node({"metadata": meta})
    assert node.allocatable == Resources(volumes=UNTOLD, local_disk_bytes=UNTOLD)
    assert (node.claim, node.provider_id, node.taints) == ("", "", ())
    assert not node.ready


@pytest.mark.parametrize("taint", [wire.USER_TAINT, wire.GPU_TAINT, wire.UNREGISTERED_TAINT])
def test_taints_survive_the_way_to_json_and_back(taint):
    assert wire.read_taints([wire.taint_json(taint)]) == (taint,)
    assert ("value" in wire.taint_json(taint)) is bool(taint.value)


def test_only_kubernetes_own_taints_pass_by_themselves():
    assert wire.is_passing(Taint(key="node.kubernetes.io/not-ready"))
    assert wire.is_passing(Taint(key="node.cloudprovider.kubernetes.io/uninitialized"))
    assert not wire.is_passing(wire.GPU_TAINT)
    assert not wire.is_passing(wire.UNREGISTERED_TAINT)


def test_a_taint_without_a_value_may_say_so_with_null():
    body = [{"key": "k", "value": None, "effect": "NoExecute"}]
    assert wire.read_taints(body) == (Taint(key="k", effect="NoExecute"),)


# --- claims ----------------------------------------------------------------------------------

OFFERING = Offering(
    instance_type="g6.xlarge", zone="a", capacity_type=CapacityType.SPOT, usd_per_hour_micro=5
)
WANTED = NodeClaim(
    name="gnc-1",
    uid="u",
    resource_version="1",
    created_at=0.0,
    cluster_id="k",
    hub_id="h",
    batch=LaunchBatch(id="b", claims=("gnc-1", "gnc-2"), attempt=2),
    offerings=(OFFERING,),
    sessions=("s1",),
)


def stored(status=None, **meta):
    body = wire.encode_claim(WANTED)
    body["metadata"] |= {
        "uid": "u",
        "resourceVersion": "1",
        "creationTimestamp": "1970-01-01T00:00:00Z",
        **meta,
    }
    return {**body, "status": status} if status is not None else body


def test_an_intent_survives_the_way_to_the_cluster_and_fits_the_schema():
    CLAIM.validate(wire.encode_claim(WANTED))
    assert wire.read_claim(stored()) == WANTED
    assert wire.encode_claim(WANTED)["metadata"]["finalizers"] == [wire.FINALIZER]


def test_the_layout_of_a_claim_is_kept_and_one_written_before_layouts_is_whole():
    divided = replace(WANTED, layout="mig-1g.10gb")
    body = {**stored(), "spec": wire.encode_claim(divided)["spec"]}
    CLAIM.validate(wire.encode_claim(divided))
    assert wire.read_claim(body) == divided
    del body["spec"]["layout"]
    assert wire.read_claim(body) == WANTED


def test_a_result_is_read_with_its_conditions():
    launched = Condition(type=wire.LAUNCHED, status=True, since=4.0, reason="R", message="M")
    joined = Condition(type=wire.REGISTERED, status=None, since=5.0, reason="Registered")
    status = {
        "providerID": "aws:///a/i-1",
        "nodeName": "n1",
        "instanceType": "g6.xlarge",
        "zone": "a",
        "capacityType": "spot",
        "microUSDPerHour": 5,
        "emptySince": "1970-01-01T00:00:09Z",
        "conditions": [wire.encode_condition(c) for c in (launched, joined)],
    }
    body = stored(status, deletionTimestamp="1970-01-01T00:00:10Z")
    CLAIM.validate(body)
    claim = wire.read_claim(body)
    assert claim.conditions == (launched, joined)
    assert (claim.provider_id, claim.node_name, claim.zone) == ("aws:///a/i-1", "n1", "a")
    assert (claim.instance_type, claim.capacity_type) == ("g6.xlarge", "spot")
    assert (claim.usd_per_hour_micro, claim.empty_since) == (5, 9)
    assert claim.deleting


def test_what_an_interruption_leaves_on_a_claim_is_read_back():
    kept = Reservation(
        session="u-1",
        user="alice",
        server="",
        resources=Resources(
            cpu_millicpu=1, memory_bytes=2, gpus=3, volumes=4, local_disk_bytes=5, pods=1
        ),
        until=11.0,
    )
    status = {
        "deadline": "1970-01-01T00:00:09Z",
        "reservations": [wire.encode_reservation(kept)],
    }
    body = stored(status)
    CLAIM.validate(body)
    claim = wire.read_claim(body)
    assert claim.deadline == 9
    assert claim.reservations == (kept,)
    none = wire.read_claim(stored({"deadline": None, "reservations": None}))
    assert (none.deadline, none.reservations) == (None, ())


def test_the_taint_of_a_deadline_bears_it_in_seconds():
    taint = wire.deadline_taint(1700000000.4)
    assert wire.taint_json(taint)["value"] == "1700000000"
    assert taint.effect == "NoSchedule"
    assert "value" not in wire.taint_json(wire.deadline_taint(None))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda body: body.pop("spec"),
        lambda body: body.pop("metadata"),
        lambda body: body["spec"].pop("batch"),
        lambda body: body["spec"].update(offerings=[{}]),
        lambda body: body["spec"]["offerings"][0].update(capacityType="free"),
        lambda body: body["spec"].update(batch=[]),
        lambda body: body.update(status="x"),
        lambda body: body.update(status={"emptySince": "soon"}),
        lambda body: body["metadata"].update(creationTimestamp=None),
        lambda body: body.update(metadata="x"),
    ],
)
def test_a_claim_we_cannot_have_written_is_a_defect(break_it):
    body = stored()
    break_it(body)
    with pytest.raises(Defect, match=r"GpuNodeClaim (gnc-1|\?) cannot be read"):
        wire.read_claim(body)


def test_a_condition_keeps_its_time_while_its_status_stays():
    first = Condition(type="Launched", status=None, since=1.0, message="asking")
    other = Condition(type="Registered", status=True, since=1.0)
    again = Condition(type="Launched", status=None, since=2.0, message="still asking")
    done = Condition(type="Launched", status=True, since=3.0)
    kept = wire.with_condition((first, other), again)
    assert kept == (
        other,
        Condition(type="Launched", status=None, since=1.0, message="still asking"),
    )
    assert wire.with_condition(kept, done) == (other, done)
    assert wire.with_condition((), done) == (done,)


def test_every_status_of_a_condition_is_written_as_kubernetes_does():
    written = [
        wire.encode_condition(Condition(type="X", status=s, since=0.0))["status"]
        for s in (True, False, None)
    ]
    assert written == ["True", "False", "Unknown"]


def properties(body, path=""):
    """Every key a schema names, as paths, with what it lists as allowed there."""
    found = {}
    for key, inner in body.get("properties", {}).items():
        found[f"{path}.{key}"] = sorted(inner.get("enum", ()))
        found |= properties(inner, f"{path}.{key}")
    return found | (properties(body["items"], f"{path}[]") if "items" in body else {})


def test_the_claim_schema_names_the_fields_of_the_custom_resource():
    crd = yaml.safe_load((ROOT / "hub_config/crd.yaml").read_text())
    served = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    documented = CLAIM.schema["properties"]
    for part in ("spec", "status"):
        ours, theirs = properties(documented[part]), properties(served[part])
        # The resource takes any type of condition; the document lists those there are.
        ours.pop(".conditions[].type", None)
        theirs.pop(".conditions[].type", None)
        assert ours == theirs
