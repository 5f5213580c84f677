"""The log of decisions: what is told when something changed, to whom, and with which time."""

from __future__ import annotations

from dataclasses import replace

from overview_world import RUNNING, T0, claim, facts, seated, session, told

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.decisions import Decision, news, shown
from jupyter_gpu_jit.core.model import Condition
from jupyter_gpu_jit.core.overview import Viewer
from jupyter_gpu_jit.core.quantity import format_time

NOW = T0 + 100


def lines(before, after):
    return [(line.at - T0, line.what, line.why) for line in news(before, after, NOW)]


EMPTY = facts(claims=())


def test_a_start_is_told_step_by_step_at_the_times_that_were_written():
    asked = facts(session(), claims=())
    assert lines(EMPTY, asked) == [(0, "Requested", "")]
    waits = facts(session(status=told("Waiting", message="No A100 now.")), claims=())
    assert lines(asked, waits) == [(5, "Waiting", "No A100 now.")]
    assert lines(waits, waits) == []
    terse = facts(session(status=told("Waiting", reason="NoCapacity")), claims=())
    assert lines(waits, terse) == [(5, "Waiting", "NoCapacity")]


def test_a_record_that_only_repeats_the_request_is_no_news():
    assert lines(EMPTY, facts(session(status=told("Requested")), claims=())) == [
        (0, "Requested", "")
    ]


def test_what_only_the_pod_shows_is_told_when_it_is_seen():
    waits, pulls = facts(session(), claims=()), facts(session(node_name="n1"), claims=())
    assert lines(waits, pulls) == [(100, "Pulling", "On n1.")]
    ready = facts(seated(), claims=())
    assert lines(pulls, ready) == [(100, "Ready", "On n1.")]
    stated = facts(seated(), claims=(), ready_since={"ann-": T0 + 40})
    assert lines(pulls, stated) == [(40, "Ready", "On n1.")]
    leaving = facts(seated(deleting=True), claims=())
    assert lines(ready, leaving) == [(100, "Ending", "")]
    assert lines(leaving, leaving) == []
    assert lines(leaving, EMPTY) == [(100, "Ended", "")]


def test_a_first_look_tells_the_last_known_step_of_everything():
    there = facts(
        seated(status=told("Initialised", message="Has a seat.")),
        seated("bob"),
        claims=(),
        ready_since={"ann-": T0 + 40},
    )
    assert lines(None, there) == [
        (0, "Requested", ""),
        (0, "Requested", ""),
        (5, "Initialised", "Has a seat."),
        (40, "Ready", "On n1."),
    ]


def condition(kind, status, **changes):
    return Condition(type=kind, status=status, since=T0 + 7, **changes)


def test_a_claim_is_told_from_intent_to_end_with_why():
    planned = facts(claims=(claim("c1", sessions=("a", "b")),))
    said = "p4d.24xlarge in us-east-1a (spot), $8.00/h, for 2 sessions; 1 offering would serve."
    assert lines(EMPTY, planned) == [(0, "Node planned", said)]
    asked = claim("c1", (wire.LAUNCHED, None))
    assert lines(planned, facts(claims=(asked,))) == [(0, "Launch asked for", "")]
    launched = replace(RUNNING, conditions=(condition(wire.LAUNCHED, True, reason="Launched"),))
    assert lines(facts(claims=(asked,)), facts(claims=(launched,))) == [
        (7, "Launched", "p4d.24xlarge in us-east-1a (spot), $8.00/h.")
    ]
    assert lines(facts(claims=(launched,)), facts(claims=(RUNNING,))) == [
        (1, "Node joined", "n1"),
        (2, "Node ready", "n1"),
    ]
    empty = replace(RUNNING, empty_since=T0 + 50)
    assert lines(facts(claims=(RUNNING,)), facts(claims=(empty,))) == [
        (50, "Empty", "Nobody sits here.")
    ]
    assert lines(facts(claims=(empty,)), facts(claims=(empty,))) == []
    assert lines(facts(claims=(empty,)), EMPTY) == [(100, "Given back", "")]


def test_a_failed_launch_says_what_the_cloud_said():
    def failed(**said):
        return claim("c1", offerings=()), replace(
            claim("c1", offerings=()), conditions=(condition(wire.LAUNCHED, False, **said),)
        )

    before, after = failed(reason="Capacity", message="No p4d in us-east-1a.")
    assert lines(facts(claims=(before,)), facts(claims=(after,))) == [
        (7, "Launch failed", "No p4d in us-east-1a.")
    ]
    before, after = failed(reason="Capacity")
    assert lines(facts(claims=(before,)), facts(claims=(after,)))[0][2] == "Capacity"
    assert lines(EMPTY, facts(claims=(before,))) == [(0, "Node planned", "")]


def test_a_node_that_is_taken_back_is_told_with_its_deadline():
    risk = Condition(
        type=wire.AT_RISK, status=True, since=T0 + 50, reason="RebalanceRecommendation"
    )
    taken = Condition(type=wire.INTERRUPTED, status=True, since=T0 + 60, reason="SpotInterruption")
    before = facts(claims=(claim("c1"),))
    old = before.claims[0]
    new = replace(old, conditions=(*old.conditions, risk, taken), deadline=T0 + 180.0)
    after = facts(claims=(new,))
    assert lines(before, after) == [
        (50, "May be taken back", "RebalanceRecommendation"),
        (60, "Taken back by the cloud", f"SpotInterruption, until {format_time(T0 + 180.0)}."),
    ]
    unknown = facts(claims=(replace(old, conditions=(*old.conditions, taken)),))
    assert lines(before, unknown) == [(60, "Taken back by the cloud", "SpotInterruption")]


def test_conditions_nobody_explains_are_left_out():
    odd = replace(claim("c1"), conditions=(condition("Odd", True),))
    assert lines(facts(claims=(claim("c1"),)), facts(claims=(odd,))) == []


def test_a_claim_that_became_unreadable_is_not_gone():
    assert lines(facts(), facts(claims=(), unreadable=("c1",))) == []


def test_the_log_is_newest_first_and_a_user_reads_only_of_own_sessions():
    log = [
        Decision(at=T0, what="Requested", user="ann"),
        Decision(at=T0 + 9, what="Waiting", why="No.", user="ann", server="two"),
        Decision(at=T0 + 5, what="Requested", user="bob"),
        Decision(at=T0 + 7, what="Launched", claim="c1"),
    ]
    everything = shown(log, Viewer(name="root", everything=True))
    assert [row["at"] for row in everything] == [format_time(T0 + s) for s in (9, 7, 5, 0)]
    own = shown(log, Viewer(name="ann", may=lambda user, server: user == "ann"))
    assert [(row["what"], row["server"]) for row in own] == [("Waiting", "two"), ("Requested", "")]
    assert shown(log, Viewer(name="nobody")) == []
