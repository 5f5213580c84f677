"""What a person who waits is told, as a function of record, pod and clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_jit.core.model import SessionStatus
from jupyter_gpu_jit.core.progress import (
    NEW_NODE_STAGES,
    ORDER,
    History,
    PodFacts,
    Stage,
    current_stage,
    duration,
    render,
)

T = 1_000_000.0
GATED = PodFacts(created_at=T)
BOUND = PodFacts(created_at=T, node_name="n1")
PULLING = PodFacts(created_at=T, node_name="n1", container="waiting")
RUNS = PodFacts(created_at=T, node_name="n1", container="running")


def told(stage, *, at=T, **more):
    return SessionStatus(stage=stage, since=at, **more)


@pytest.mark.parametrize(
    ("status", "facts", "stage"),
    [
        (None, None, Stage.REQUESTED),
        (None, GATED, Stage.REQUESTED),
        (told("Planned"), GATED, Stage.PLANNED),
        (told("Booting"), None, Stage.BOOTING),
        (told("Initialised"), GATED, Stage.INITIALISED),
        (told("Initialised"), BOUND, Stage.PULLING),
        (told("Initialised"), PULLING, Stage.PULLING),
        (told("Initialised"), RUNS, Stage.STARTING),
        (told("Waiting"), GATED, Stage.WAITING),
        (told("Waiting"), RUNS, Stage.STARTING),
        (told("Refused"), BOUND, Stage.REFUSED),
        (told("Failed"), RUNS, Stage.FAILED),
        (told("Ready"), BOUND, Stage.READY),
        (told("of a later release"), GATED, Stage.REQUESTED),
    ],
)
def test_the_record_says_the_stage_until_the_pod_has_a_node(status, facts, stage):
    assert current_stage(status, facts) is stage


@given(
    st.sampled_from([s for s in Stage if s not in (Stage.REFUSED, Stage.FAILED)]), st.floats(0, 1e5)
)
def test_messages_a_second_apart_always_differ(stage, after):
    for eta in (None, 40):
        status = told(stage, eta_seconds=eta)
        history = History().note(status, GATED, T)
        first = render(status, GATED, T + after, history=history).message
        assert first != render(status, GATED, T + after + 1.0, history=history).message


@given(st.lists(st.floats(0, 5000), min_size=2), st.sampled_from(ORDER))
def test_the_bar_never_goes_back(times, stage):
    status = told(stage, eta_seconds=60)
    views = [render(status, GATED, T + t) for t in sorted(times)]
    percents = [view.percent for view in views]
    assert percents == sorted(percents)
    assert 0 <= percents[0] <= percents[-1] <= 100


def test_a_later_stage_is_further_on_the_bar():
    at_end = [render(told(s, eta_seconds=0), GATED, T + 9999).percent for s in ORDER]
    at_start = [render(told(s, eta_seconds=60), GATED, T).percent for s in ORDER]
    assert all(a < b for a, b in zip(at_end, at_start[1:], strict=False))


def test_the_message_tells_what_is_waited_for_for_how_long_and_how_much_longer():
    status = told("Booting", message="g6.xlarge boots.", eta_seconds=60)
    assert render(status, GATED, T + 12).message == "g6.xlarge boots. 12 s so far, about 48 s left."
    late = render(status, GATED, T + 75)
    assert late.message == "g6.xlarge boots. 1 min 15 s so far, longer than usual."
    assert late.eta_seconds == 0
    assert render(told("Planned"), GATED, T).message == (
        "A place is planned; waiting for its node. 0 s so far."
    )


def test_the_records_sentence_is_not_used_for_another_stage():
    status = told("Initialised", message="Has a seat.")
    assert render(status, RUNS, T).message.startswith("The container runs;")


def test_a_planner_that_does_not_answer_is_mentioned():
    assert "Asking the planner" in render(None, GATED, T + 29).message
    assert "has not answered" in render(None, GATED, T + 31).message


def test_trouble_of_the_node_is_told():
    facts = PodFacts(created_at=T, node_name="n1", container="waiting", trouble="ImagePullBackOff")
    view = render(told("Initialised"), facts, T)
    assert "ImagePullBackOff" in view.message
    assert view.reason == "ImagePullBackOff"


def test_an_end_is_one_sentence_with_a_full_bar():
    view = render(told("Refused", message="No zone sells that."), GATED, T + 5)
    assert view.message == "No zone sells that."
    assert view.percent == 100
    assert render(told("Failed"), GATED, T).message == "This start failed."


def test_the_view_carries_what_the_record_knows():
    status = told(
        "Booting",
        node="claim-1",
        instance_type="g6.xlarge",
        zone="us-east-1a",
        capacity_type="spot",
        usd_per_hour_micro=321_000,
        eta_seconds=30,
        reason="",
    )
    view = render(status, PodFacts(created_at=T - 5), T + 10)
    assert (view.node, view.instance_type, view.zone) == ("claim-1", "g6.xlarge", "us-east-1a")
    assert (view.capacity_type, view.usd_per_hour_micro) == ("spot", 321_000)
    assert (view.eta_seconds, view.waited_seconds) == (20, 15)
    assert render(status, BOUND, T).node == "n1"


def rows(view):
    return {row.name: (row.state, row.seconds) for row in view.stages}


def history(*moments):
    seen = History()
    for at, status, facts in moments:
        seen = seen.note(status, facts, T + at)
    return seen


def test_stages_show_how_long_each_took():
    seen = history((0, None, GATED), (2, told("Planned", at=T + 2), GATED))
    status = told("Launching", at=T + 3)
    seen = seen.note(status, GATED, T + 4)
    shown = rows(render(status, GATED, T + 10, history=seen))
    assert shown["Requested"] == ("done", 2)
    assert shown["Planned"] == ("done", 1)
    assert shown["Launching"] == ("current", 7)
    assert shown["Ready"] == ("todo", None)


def test_a_seat_on_a_node_that_is_there_skips_the_launch():
    seen = history((0, None, GATED), (1, told("Initialised", at=T + 1), GATED))
    shown = rows(render(told("Initialised", at=T + 1), GATED, T + 2, history=seen))
    assert all(shown[stage.value][0] == "skipped" for stage in NEW_NODE_STAGES)
    assert shown["Planned"] == ("done", None)


def test_after_a_restart_of_the_hub_what_was_not_seen_is_done_without_a_time():
    status = told("Initialised", at=T + 60)
    shown = rows(render(status, GATED, T + 65, history=history((65, status, GATED))))
    assert shown["Booting"] == ("done", None)
    assert shown["Initialised"] == ("current", 5)


def test_while_it_waits_for_capacity_the_list_stands_where_it_got_to():
    waiting = told("Waiting", at=T + 9, message="No L4.")
    seen = history((0, None, GATED), (3, told("Launching", at=T + 3), GATED), (9, waiting, GATED))
    shown = rows(render(waiting, GATED, T + 10, history=seen))
    assert shown["Launching"] == ("current", 7)
    assert shown["Requested"] == ("done", 3)
    fresh = rows(render(waiting, GATED, T + 10))
    assert fresh["Requested"] == ("current", None)
    assert fresh["Planned"][0] == "todo"


def test_a_stage_is_noted_once_and_never_in_the_future():
    seen = history((0, told("Booting", at=T + 50), GATED))
    assert seen.since == {Stage.BOOTING: T}
    assert seen.note(told("Booting", at=T), GATED, T + 9) is seen
    assert history((7, None, None)).since == {Stage.REQUESTED: T + 7}
    assert history((7, None, GATED)).since == {Stage.REQUESTED: T}
    assert history((7, told("Initialised"), RUNS)).since == {Stage.STARTING: T + 7}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3661, "1 h 1 min 1 s"),
    ],
)
def test_durations_are_told_to_the_second(seconds, text):
    assert duration(seconds) == text
