"""The status page's picture: who sits where, who waits and why, money, and what a user may see."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from overview_world import (
    A100,
    ALL,
    ANN,
    NODE,
    RUNNING,
    STEPS,
    T0,
    claim,
    facts,
    seated,
    session,
    told,
)

from jupyter_gpu_jit.core import overview, wire
from jupyter_gpu_jit.core.model import BoundPod, Resources, SessionRequest
from jupyter_gpu_jit.core.overview import Viewer, claim_stage, render, session_stage
from jupyter_gpu_jit.core.progress import Stage
from jupyter_gpu_jit.core.quantity import format_time

# --- nodes and seats -------------------------------------------------------------------------


def test_a_node_shows_who_sits_on_how_many_of_its_gpus_and_what_is_free():
    system = BoundPod(
        name="d", namespace="s", uid="d", node_name="n1", resources=Resources(gpus=1), daemon=True
    )
    gone, elsewhere = replace(system, finished=True), replace(system, node_name="n2")
    others = (system, gone, elsewhere)
    (node,) = render(facts(seated(), seated("bob", gpus=4), others=others), ALL)["nodes"]
    assert (node["gpus"], node["gpus_free"], node["gpus_other"]) == (8, 2, 1)
    assert [(s["user"], s["gpus"], s["stage"]) for s in node["sessions"]] == [
        ("ann", 1, "Ready"),
        ("bob", 4, "Ready"),
    ]
    assert {key: node[key] for key in list(node)[:8]} == {
        "name": "n1",
        "state": "Ready",
        "instance_type": "p4d.24xlarge",
        "gpu_model": "A100",
        "zone": "us-east-1a",
        "capacity_type": "spot",
        "usd_per_hour": 8.0,
        "created_at": format_time(T0),
    }
    assert node["sessions"][0]["usd_per_hour"] == 1.0
    assert node["sessions"][0]["since"] == format_time(T0 + 30)


@pytest.mark.parametrize(
    ("node", "its_claim", "state"),
    [
        (NODE, RUNNING, "Ready"),
        (replace(NODE, ready=False), RUNNING, "Not ready"),
        (replace(NODE, unschedulable=True), RUNNING, "Cordoned"),
        (replace(NODE, deleting=True), RUNNING, "Ending"),
        (NODE, replace(RUNNING, deleting=True), "Ending"),
        (None, RUNNING, "Missing"),
    ],
)
def test_a_node_says_in_which_state_it_is(node, its_claim, state):
    nodes = (node,) if node else ()
    (row,) = render(facts(nodes=nodes, claims=(its_claim,)), ALL)["nodes"]
    assert (row["name"], row["state"], row["sessions"]) == ("n1", state, [])


def test_a_missing_node_keeps_the_name_of_its_claim_and_the_seats_that_were_taken():
    nameless = replace(RUNNING, node_name="")
    (row,) = render(facts(nodes=(), claims=(nameless,)), ALL)["nodes"]
    assert (row["name"], row["gpus"]) == ("c1", 0)
    (row,) = render(facts(seated(), nodes=()), ALL)["nodes"]
    assert (row["gpus"], row["gpus_free"]) == (1, 0)


def test_an_empty_node_says_since_when_to_those_who_pay_for_it():
    empty = replace(RUNNING, empty_since=T0 + 60)
    assert render(facts(claims=(empty,)), ALL)["nodes"][0]["empty_since"] == format_time(T0 + 60)
    assert render(facts(seated(), claims=(empty,)), ANN)["nodes"][0]["empty_since"] is None


def test_a_session_on_a_node_without_a_claim_is_still_shown():
    labels = {wire.INSTANCE_TYPE_LABEL: "p4d.24xlarge", wire.ZONE_LABEL: "z"}
    foreign = replace(NODE, name="f1", claim="", labels=labels)
    pods = seated(node_name="f1", pinned_to=""), seated("bob", node_name="ghost", pinned_to="")
    first, second = render(facts(*pods, nodes=(foreign,), claims=()), ALL)["nodes"]
    assert (first["name"], first["instance_type"], first["zone"]) == ("f1", "p4d.24xlarge", "z")
    assert (first["usd_per_hour"], first["created_at"]) == (0, format_time(T0 + 10))
    assert (second["name"], second["state"], second["created_at"]) == ("ghost", "Missing", None)


def test_of_a_type_the_catalogue_lacks_the_model_stays_open_and_the_price_is_the_whole_node():
    (node,) = render(facts(seated(), types={}), ALL)["nodes"]
    assert (node["gpu_model"], node["sessions"][0]["usd_per_hour"]) == ("", 1.0)
    flying = claim("c2", instance_type="x1", usd_per_hour_micro=3_000_000)
    waits = session(claim="c2")
    (waiting,) = render(facts(waits, claims=(flying,), types={}), ALL)["waiting"]
    assert waiting["usd_per_hour"] == 3.0


def test_a_leaving_session_holds_its_seat_and_a_finished_one_does_not():
    pods = seated(deleting=True, released_at=None), seated("bob", phase="Failed")
    (node,) = render(facts(*pods), ALL)["nodes"]
    (left,) = node["sessions"]
    assert (left["user"], left["ending"], left["since"]) == ("ann", True, format_time(T0))
    assert node["gpus_free"] == 7


# --- who waits -------------------------------------------------------------------------------


def test_a_waiting_session_says_stage_reason_and_when_it_may_be_ready():
    why = told("Waiting", reason="NoCapacity", message="No A100 has capacity now.")
    coming = told("Booting", eta_seconds=20)
    pods = session(status=why), session("bob", status=coming, claim="c1"), session("cat")
    first, second, third = render(facts(*pods), ALL)["waiting"]
    assert (first["stage"], first["reason"], first["message"], first["ready_at"]) == (
        "Waiting",
        "NoCapacity",
        "No A100 has capacity now.",
        None,
    )
    assert (second["claim"], second["ready_at"]) == ("c1", format_time(T0 + 25))
    assert (third["stage"], third["message"], third["since"]) == ("Requested", "", format_time(T0))


def test_a_cancelled_start_waits_no_more():
    assert render(facts(session(deleting=True)), ALL)["waiting"] == []


@pytest.mark.parametrize(
    ("pod", "stage"),
    [
        (session(), Stage.REQUESTED),
        (session(status=told("Nonsense")), Stage.REQUESTED),
        (session(status=told("Booting")), Stage.BOOTING),
        (session(node_name="n1"), Stage.PULLING),
        (session(node_name="n1", phase="Running"), Stage.STARTING),
        (seated(), Stage.READY),
        (seated(status=told("Failed")), Stage.FAILED),
    ],
)
def test_the_stage_of_a_session_follows_record_and_pod(pod, stage):
    assert session_stage(pod) is stage


# --- claims in flight ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "stage"),
    [
        ((), Stage.PLANNED),
        (((wire.LAUNCHED, None),), Stage.LAUNCHING),
        (((wire.LAUNCHED, False),), Stage.FAILED),
        (STEPS[:1], Stage.BOOTING),
        (STEPS[:2], Stage.REGISTERED),
        (STEPS, Stage.INITIALISED),
    ],
)
def test_the_stage_of_a_claim_follows_its_conditions(done, stage):
    assert claim_stage(claim("c", *done)) is stage


def test_a_claim_in_flight_says_what_it_is_expected_to_become_and_for_whom():
    planned, failed = claim("c2"), claim("c3", (wire.LAUNCHED, False))
    pods = session(claim="c2"), session("bob", claim="c2", deleting=True)
    (flight,) = render(facts(*pods, claims=(planned, failed)), ALL)["in_flight"]
    assert {key: flight[key] for key in list(flight)[:10]} == {
        "name": "c2",
        "stage": "Planned",
        "ending": False,
        "instance_type": "p4d.24xlarge",
        "zone": "us-east-1a",
        "capacity_type": "spot",
        "usd_per_hour": 8.0,
        "offerings": 1,
        "attempt": 1,
        "created_at": format_time(T0),
    }
    assert [s["user"] for s in flight["sessions"]] == ["ann"]


def test_a_launched_claim_says_what_it_became_and_since_when():
    became = {"instance_type": "g6.xlarge", "zone": "z", "capacity_type": "on-demand"}
    booting = claim("c2", *STEPS[:2], **became, usd_per_hour_micro=900_000)
    (flight,) = render(facts(claims=(booting,)), ALL)["in_flight"]
    assert {key: flight[key] for key in became} == became
    assert (flight["usd_per_hour"], flight["since"]) == (0.9, format_time(T0 + 1))


def test_a_claim_with_nothing_to_choose_from_is_shown_all_the_same():
    (flight,) = render(facts(claims=(claim("c2", offerings=()),)), ALL)["in_flight"]
    shown = flight["instance_type"], flight["zone"], flight["capacity_type"]
    assert (*shown, flight["usd_per_hour"]) == ("", "", "", 0.0)


# --- money and counts ------------------------------------------------------------------------


def test_money_is_of_whole_nodes_running_and_coming():
    picture = render(facts(seated(), claims=(RUNNING, claim("c2"))), ALL)
    assert picture["money"] == {
        "usd_per_hour": 16.0,
        "running_usd_per_hour": 8.0,
        "in_flight_usd_per_hour": 8.0,
    }
    assert picture["counts"] == {
        "running": 1,
        "waiting": 0,
        "nodes": 1,
        "in_flight": 1,
        "gpus": 8,
        "gpus_free": 7,
    }


# --- what a user sees ------------------------------------------------------------------------


def test_a_user_sees_own_sessions_seats_and_shares_and_nothing_of_anybody_else():
    other = replace(RUNNING, name="c9", node_name="n9")
    pods = (
        seated(),
        seated("bob", gpus=4),
        session("ann", "two", claim="c2"),
        session("bob", "two", claim="c2"),
        session("cat", claim="c3"),
    )
    claims = (RUNNING, other, claim("c2"), claim("c3"))
    picture = render(facts(*pods, claims=claims, unreadable=("c4",)), ANN)
    assert (picture["view"], picture["viewer"], picture["unreadable"]) == ("own", "ann", [])
    (node,) = picture["nodes"]
    assert (node["name"], node["gpus"], node["gpus_free"], node["gpus_other"]) == ("n1", 1, 0, 0)
    assert node["usd_per_hour"] == 1.0
    assert [w["server"] for w in picture["waiting"]] == ["two"]
    (flight,) = picture["in_flight"]
    assert (flight["name"], [s["server"] for s in flight["sessions"]]) == ("c2", ["two"])
    assert picture["money"] == {
        "usd_per_hour": 2.0,
        "running_usd_per_hour": 1.0,
        "in_flight_usd_per_hour": 1.0,
    }
    text = json.dumps(picture)
    assert not [name for name in ("bob", "cat", "c3", "c4", "c9", "n9") if name in text]


def test_whoever_may_see_nothing_sees_nothing():
    picture = render(facts(seated(), session("ann", "two")), Viewer(name="service"))
    assert (picture["nodes"], picture["waiting"], picture["in_flight"]) == ([], [], [])


# --- reading ---------------------------------------------------------------------------------


def test_lists_of_json_are_read_in_order_of_age_and_a_broken_claim_hides_nothing():
    size = Resources(gpus=1)
    pods = []
    for user, created in (("bob", T0 + 5), ("ann", T0)):
        request = SessionRequest(uid="", user=user, resources=size)
        pods.append(
            {
                "metadata": {
                    "name": user,
                    "namespace": "n",
                    "uid": user,
                    "resourceVersion": "1",
                    "creationTimestamp": format_time(created),
                    "annotations": {wire.SESSION_ANNOTATION: wire.encode_session(request)},
                },
                "status": {
                    "conditions": [
                        {"type": "PodScheduled", "status": "True"},
                        {"type": "Ready", "status": "False", "lastTransitionTime": format_time(T0)},
                        {"type": "Ready", "status": "True"},
                        {
                            "type": "Ready",
                            "status": "True",
                            "lastTransitionTime": format_time(created + 9),
                        },
                    ]
                },
            }
        )
    loose = {"metadata": {"name": "x", "uid": "x"}, "spec": {}}
    meta = {"uid": "u", "resourceVersion": "1", "creationTimestamp": format_time(T0)}
    body = wire.encode_claim(claim("c1"))
    good = {**body, "metadata": {**body["metadata"], **meta}}
    node = {"metadata": {"name": "n1", **meta}}
    read = overview.read(
        pods=iter([*pods, loose]),
        nodes=[node],
        claims=[good, {"metadata": {"name": "bad"}}, {}],
        instance_types=[A100],
    )
    assert [pod.request.user for pod in read.sessions] == ["ann", "bob"]
    assert [pod.name for pod in read.others] == ["x"]
    assert [each.name for each in read.claims] == ["c1"]
    assert read.unreadable == ("None", "bad")
    assert read.ready_since == {"ann": T0 + 9, "bob": T0 + 14}
    assert read.types == {"p4d.24xlarge": A100}
    assert render(read, ALL)["unreadable"] == ["None", "bad"]
