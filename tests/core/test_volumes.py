"""Where volumes let a session run: one kind of volume, one sentence, at a time."""

from __future__ import annotations

import itertools

import pytest

from jupyter_gpu_jit.core.model import BoundPod, Resources, SessionPod, SessionRequest
from jupyter_gpu_jit.core.requirements import Requirements
from jupyter_gpu_jit.core.volumes import (
    ANYWHERE,
    NO_PROVISIONER,
    Storage,
    Uses,
    VolumeNeeds,
    claim_names,
    claims_of,
    resolved,
    with_volumes,
)
from jupyter_gpu_jit.core.volumes import needs_of as needs_with_uses

ZONE, EBS_ZONE = "topology.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone"


def pod(*claims, name="jupyter-ana", uid="ana", created_at=0.0, **changes):
    """A session that waits, in namespace "hub"."""
    return SessionPod(
        name=name,
        namespace="hub",
        uid=uid,
        resource_version="1",
        request=SessionRequest(uid=uid, user=uid, created_at=created_at),
        volume_claims=tuple(("hub", claim) for claim in claims),
        **changes,
    )


def other(*claims, name="other", node="n1", **changes):
    """Somebody's pod that runs."""
    return BoundPod(
        name=name,
        namespace="hub",
        uid=name,
        node_name=node,
        resources=Resources(),
        volume_claims=tuple(("hub", claim) for claim in claims),
        **changes,
    )


def needs_of(session, storage, *others, line=()):
    return needs_with_uses(session, storage, Uses.of(others, in_line=line))


def claim(name="home", phase="Bound", modes=("ReadWriteOnce",), kind="gp3", **meta):
    spec = {"accessModes": list(modes), "volumeName": f"pv-{name}"}
    if kind is not None:
        spec["storageClassName"] = kind
    metadata = {"name": name, "namespace": "hub", **meta}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def row(key, *values, operator="In"):
    return {"key": key, "operator": operator, "values": list(values)}


def volume(*terms, name="pv-home", labels=None):
    required = {"nodeSelectorTerms": [{"matchExpressions": rows} for rows in terms]}
    affinity = {"nodeAffinity": {"required": required}} if terms else {}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": affinity}


def storage_class(mode, name="gp3", default=False, **more):
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": notes}, "volumeBindingMode": mode, **more}


def zones(*names):
    return VolumeNeeds(zones=frozenset(names))


# --- volumes that exist -----------------------------------------------------------------------


@pytest.mark.parametrize("key", [ZONE, EBS_ZONE, "failure-domain.beta.kubernetes.io/zone"])
def test_a_bound_volume_says_in_which_zone(key):
    storage = Storage.of(claims=[claim()], volumes=[volume([row(key, "a")])])
    assert needs_of(pod("home"), storage) == zones("a")


def test_the_zones_of_a_volume_may_be_in_its_label():
    storage = Storage.of(claims=[claim()], volumes=[volume(labels={ZONE: "a__b"})])
    assert needs_of(pod("home"), storage) == zones("a", "b")


def test_a_volume_that_is_reached_from_everywhere_asks_for_nothing():
    storage = Storage.of(claims=[claim()], volumes=[volume()])
    assert needs_of(pod("home"), storage) == ANYWHERE


def test_any_term_of_a_volume_will_do_and_those_we_cannot_meet_are_left_out():
    terms = [row(ZONE, "a")], [row(ZONE, "b")], [row("rack", "r1")]
    storage = Storage.of(claims=[claim()], volumes=[volume(*terms)])
    assert needs_of(pod("home"), storage) == zones("a", "b")


def test_one_term_without_a_zone_leaves_every_zone_open():
    terms = [row(ZONE, "a")], [row("kubernetes.io/hostname", "n1")]
    storage = Storage.of(claims=[claim()], volumes=[volume(*terms)])
    assert needs_of(pod("home"), storage) == ANYWHERE


def test_the_disk_of_a_node_means_that_node():
    storage = Storage.of(claims=[claim()], volumes=[volume([row("kubernetes.io/hostname", "n1")])])
    assert needs_of(pod("home"), storage).node == "n1"


@pytest.mark.parametrize(
    "asked",
    [
        row("rack", "r1"),
        row(ZONE, "a", operator="NotIn"),
        row("kubernetes.io/hostname", "n1", "n2"),
    ],
)
def test_a_volume_that_asks_what_we_cannot_foresee_is_waited_for(asked):
    storage = Storage.of(claims=[claim()], volumes=[volume([asked])])
    waits = needs_of(pod("home"), storage).waits
    assert waits == f"volume pv-home asks for {asked['key']} of its node"


def test_two_volumes_in_different_zones_fit_nowhere():
    storage = Storage.of(
        claims=[claim(), claim("data")],
        volumes=[volume([row(ZONE, "a")]), volume([row(ZONE, "b")], name="pv-data")],
    )
    needs = needs_of(pod("home", "data"), storage)
    assert needs.waits == "its volumes are in different zones"


def test_two_volumes_leave_the_zones_they_share():
    storage = Storage.of(
        claims=[claim(), claim("data")],
        volumes=[volume([row(ZONE, "a", "b")]), volume([row(ZONE, "b", "c")], name="pv-data")],
    )
    assert needs_of(pod("home", "data"), storage) == zones("b")


# --- volumes in use -----------------------------------------------------------------------------


def in_zone_a(*modes):
    return Storage.of(claims=[claim(modes=modes)], volumes=[volume([row(ZONE, "a")])])


def test_a_single_node_volume_in_use_means_the_node_where_it_is():
    needs = needs_of(pod("home"), in_zone_a("ReadWriteOnce"), other("home"))
    assert needs == VolumeNeeds(zones=frozenset("a"), node="n1")


def test_a_shared_volume_in_use_means_no_node():
    assert needs_of(pod("home"), in_zone_a("ReadWriteMany"), other("home")) == zones("a")


def test_a_volume_for_one_pod_waits_until_that_pod_is_gone():
    needs = needs_of(pod("home"), in_zone_a("ReadWriteOncePod"), other("home"))
    assert needs.waits == "its volume claim home is in use by another pod"


@pytest.mark.parametrize("over", [{"finished": True}, {"deleting": True}, {"node": ""}])
def test_who_has_ended_is_going_or_never_ran_does_not_hold_a_volume(over):
    assert needs_of(pod("home"), in_zone_a("ReadWriteOnce"), other("home", **over)) == zones("a")


def test_a_session_that_runs_has_its_volume_in_use_like_anybody():
    running = pod("home", uid="named", node_name="n1", phase="Running")
    assert needs_of(pod("home"), in_zone_a("ReadWriteOnce"), running).node == "n1"


def test_volumes_in_use_on_two_nodes_cannot_be_had_together():
    storage = Storage.of(
        claims=[claim(), claim("data")],
        volumes=[volume(), volume(name="pv-data")],
    )
    users = other("home", name="p1", node="n1"), other("data", name="p2", node="n2")
    needs = needs_of(pod("home", "data"), storage, *users)
    assert needs.waits == "its volumes are in use on n1 and on n2"


# --- sessions that share a volume ---------------------------------------------------------------

UNBOUND = Storage.of(
    claims=[claim(phase="Pending")],
    classes=[storage_class("WaitForFirstConsumer")],
)


@pytest.mark.parametrize("storage", [in_zone_a("ReadWriteOnce"), UNBOUND], ids=["bound", "new"])
def test_of_two_who_share_a_volume_the_first_decides_where_it_is(storage):
    first = pod("home", name="jupyter-ana", uid="z", created_at=1.0)
    second = pod("home", name="jupyter-ana--two", uid="a", created_at=2.0)
    for line in ((first, second), (second, first)):
        assert not needs_of(first, storage, line=line).waits
        told = needs_of(second, storage, line=line).waits
        assert told == "its volume claim home goes to jupyter-ana first"


def test_who_is_released_comes_before_who_waits_however_long():
    waiting = pod("home", uid="old", created_at=1.0)
    released = pod("home", name="late", uid="new", created_at=2.0, pinned_to="c1")
    needs = needs_of(waiting, in_zone_a("ReadWriteOnce"), line=(waiting, released))
    assert needs.waits == "its volume claim home goes to late first"


def test_a_claim_that_is_in_use_has_a_volume_whatever_was_heard_of_it():
    needs = needs_of(pod("home"), UNBOUND, other("home"))
    assert needs.waits == "the volume of its claim home is not known yet"


def test_a_volume_that_many_nodes_may_use_is_waited_for_by_nobody():
    first, second = pod("home", uid="a"), pod("home", uid="b")
    assert needs_of(second, in_zone_a("ReadWriteMany"), line=(first, second)) == zones("a")


# --- volumes that are not there yet ------------------------------------------------------------


def test_a_volume_that_waits_for_its_first_consumer_leaves_the_zone_free():
    storage = Storage.of(
        claims=[claim(phase="Pending")], classes=[storage_class("WaitForFirstConsumer")]
    )
    assert needs_of(pod("home"), storage) == ANYWHERE


def test_a_class_may_allow_some_zones_only():
    topologies = [{"matchLabelExpressions": [{"key": EBS_ZONE, "values": ["a", "b"]}]}]
    kind = storage_class("WaitForFirstConsumer", allowedTopologies=topologies)
    storage = Storage.of(claims=[claim(phase="Pending")], classes=[kind])
    assert needs_of(pod("home"), storage) == zones("a", "b")


@pytest.mark.parametrize("classes", [[storage_class("Immediate")], []])
def test_a_volume_that_is_bound_at_once_is_waited_for(classes):
    storage = Storage.of(claims=[claim(phase="Pending")], classes=classes)
    assert needs_of(pod("home"), storage).waits == "its volume claim home has no volume yet"


def test_a_claim_without_a_class_is_of_the_default_one():
    classes = [
        storage_class("Immediate", "aaa"),
        storage_class("WaitForFirstConsumer", "zzz", default=True),
    ]
    storage = Storage.of(claims=[claim(phase="Pending", kind=None)], classes=classes)
    assert needs_of(pod("home"), storage) == ANYWHERE
    nobody = Storage.of(claims=[claim(phase="Pending", kind=None)], classes=classes[:1])
    assert needs_of(pod("home"), nobody).waits


def test_of_two_default_classes_the_newer_one_counts():
    old = storage_class("Immediate", "zzz", default=True)
    new = storage_class("WaitForFirstConsumer", "aaa", default=True)
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    new["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    unbound = [claim(phase="Pending", kind=None)]
    assert needs_of(pod("home"), Storage.of(claims=unbound, classes=[old, new])) == ANYWHERE


def free(zone, name, phase="Available", kind="gp3"):
    body = volume([row(ZONE, zone)], name=name)
    return {**body, "spec": {**body["spec"], "storageClassName": kind}, "status": {"phase": phase}}


def test_where_volumes_are_not_made_but_found_the_session_goes_where_one_is():
    found = storage_class("WaitForFirstConsumer", provisioner=NO_PROVISIONER)
    unbound = [claim(phase="Pending")]
    volumes = [free("a", "p"), free("b", "q"), free("c", "r", "Bound"), free("d", "s", kind="x")]
    storage = Storage.of(claims=unbound, classes=[found], volumes=volumes)
    assert needs_of(pod("home"), storage) == zones("a", "b")
    none_left = Storage.of(claims=unbound, classes=[found], volumes=volumes[2:])
    assert needs_of(pod("home"), none_left).waits == "no volume is left for its claim home"


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ([], "its volume claim home does not exist yet"),
        ([claim(deletionTimestamp="now")], "its volume claim home is being deleted"),
        ([claim(phase="Lost")], "the volume of its claim home is lost"),
        ([claim()], "the volume of its claim home is not known yet"),
    ],
)
def test_a_claim_that_cannot_be_used_says_why(claims, sentence):
    assert needs_of(pod("home"), Storage.of(claims=claims)) == VolumeNeeds(waits=sentence)


def test_claims_of_another_namespace_are_other_claims():
    elsewhere = claim(namespace="elsewhere")
    assert needs_of(pod("home"), Storage.of(claims=[elsewhere])).waits


# --- pods and sessions -------------------------------------------------------------------------


def test_a_pod_uses_each_claim_once_and_those_made_for_it():
    volumes = [
        {"name": "home", "persistentVolumeClaim": {"claimName": "home"}},
        {"name": "again", "persistentVolumeClaim": {"claimName": "home"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "e", "emptyDir": {}},
    ]
    body = {"metadata": {"name": "ana", "namespace": "hub"}, "spec": {"volumes": volumes}}
    assert claims_of(body) == (("hub", "home"), ("hub", "ana-scratch"))
    assert claim_names(body["spec"], "ana") == ("home", "ana-scratch")
    assert claims_of({"metadata": {"name": "ana"}}) == ()


def request(**needs):
    return SessionRequest(uid="u", user="ana", requirements=Requirements(**needs))


def test_a_session_gets_what_its_volumes_ask():
    needs = VolumeNeeds(zones=frozenset(("a", "b")), node="n1")
    changed = with_volumes(request(zones=("b", "c")), needs).requirements
    assert (changed.zones, changed.node) == (("b",), "n1")
    assert with_volumes(request(), needs).requirements.zones == ("a", "b")
    assert with_volumes(request(zones=("c",)), ANYWHERE) == request(zones=("c",))


def test_a_session_without_volumes_asks_for_what_it_asks():
    session = pod()
    assert resolved(session, Storage(), Uses()) is session.request
    assert resolved(pod("home"), Storage(), Uses()).waits_for


def test_a_session_that_asks_for_another_zone_than_its_volume_waits_and_says_so():
    changed = with_volumes(request(zones=("c",)), zones("b", "a"))
    assert changed.waits_for == "its volumes are in a or b, it asks for another zone"


def test_what_comes_first_is_what_the_session_waits_for():
    needs = VolumeNeeds(zones=frozenset(), waits="its volume is lost")
    assert with_volumes(request(zones=("c",)), needs).waits_for == "its volume is lost"


def test_the_order_of_objects_does_not_matter():
    storage = Storage.of(claims=[claim()], volumes=[volume()])
    users = [other("home", name=f"p{n}", node=f"n{n}") for n in range(3)]
    for order in itertools.permutations(users):
        assert needs_of(pod("home"), storage, *order).node == "n2"
