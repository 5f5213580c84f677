"""Events as EventBridge sends them, and what they say of instances."""

import json

import pytest

from jupyter_gpu_jit.adapters.aws.events import Unreadable, notices_of, read_event
from jupyter_gpu_jit.ports import Notice, NoticeKind

SAID = 1_750_000_000.0  # 2025-06-15T15:06:40Z


def event(kind, detail, **more):
    body = {"detail-type": kind, "time": "2025-06-15T15:06:40Z", "detail": detail, **more}
    return json.dumps(body)


def notices(text, sent_at=5.0):
    return notices_of(read_event(text, sent_at), "r-1")


@pytest.mark.parametrize(
    "kind",
    [
        "EC2 Spot Instance Interruption Warning",
        "EC2 Capacity Reservation Instance Interruption Warning",
    ],
)
def test_an_interruption_has_two_minutes(kind):
    detail = {"instance-id": "i-1", "instance-action": "terminate"}
    assert notices(event(kind, detail)) == (
        Notice(
            kind=NoticeKind.INTERRUPTION,
            instance_id="i-1",
            said_at=SAID,
            deadline=SAID + 120,
            receipt="r-1",
        ),
    )


def test_a_rebalance_recommendation_has_no_deadline():
    (notice,) = notices(event("EC2 Instance Rebalance Recommendation", {"instance-id": "i-1"}))
    assert (notice.kind, notice.deadline) == (NoticeKind.REBALANCE, None)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("pending", 0),
        ("running", 0),
        ("stopping", 1),
        ("stopped", 1),
        ("shutting-down", 1),
        ("terminated", 1),
    ],
)
def test_only_states_that_end_an_instance_are_told(state, told):
    detail = {"instance-id": "i-1", "state": state}
    found = notices(event("EC2 Instance State-change Notification", detail))
    assert [n.kind for n in found] == [NoticeKind.ENDED] * told


def health(**detail):
    whole = {
        "service": "EC2",
        "eventTypeCategory": "scheduledChange",
        "startTime": "Sun, 15 Jun 2025 16:06:40 GMT",
        "affectedEntities": [
            {"entityValue": "i-1"},
            {"entityValue": "arn:aws:ec2:us-east-1:1:instance/i-2"},
            {"entityValue": "vol-1"},
        ],
    }
    return event("AWS Health Event", {**whole, **detail})


def test_a_scheduled_change_is_told_for_each_instance_it_touches():
    found = notices(health())
    assert [(n.instance_id, n.kind) for n in found] == [
        ("i-1", NoticeKind.SCHEDULED),
        ("i-2", NoticeKind.SCHEDULED),
    ]
    assert {n.deadline for n in found} == {SAID + 3600}


@pytest.mark.parametrize(
    "detail",
    [
        {"eventTypeCategory": "accountNotification"},
        {"service": "RDS"},
        {"affectedEntities": None},
    ],
)
def test_other_news_of_aws_health_is_not_ours(detail):
    assert notices(health(**detail)) == ()


@pytest.mark.parametrize("text", ['{"detail-type": "EC2 Fleet State Change"}', "{}", '{"a": 1}'])
def test_kinds_nobody_knows_say_nothing(text):
    assert notices(text) == ()


def test_absent_keys_are_filled_from_the_message():
    text = json.dumps(
        {
            "detail-type": "EC2 Instance Rebalance Recommendation",
            "detail": {"instance-id": "i-1"},
        }
    )
    assert notices(text, sent_at=77.0)[0].said_at == 77.0
    assert notices(health(startTime="soon"))[0].deadline is None


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '"text"',
        event("EC2 Spot Instance Interruption Warning", {}),
        event("EC2 Spot Instance Interruption Warning", {"instance-id": 7}),
        event("EC2 Spot Instance Interruption Warning", None),
    ],
)
def test_what_cannot_be_read_says_so(text):
    with pytest.raises(Unreadable):
        notices(text)
