"""What AWS says unasked: the documented bodies in SQS, once, twice, late, or not at all."""

import pytest

ONE = "us-east-1a/g6.xlarge"
INTERRUPTION = "EC2 Spot Instance Interruption Warning"
STATE = "EC2 Instance State-change Notification"


@pytest.fixture
def url(aws):
    aws.template()
    return aws.queue()


def kinds(bodies):
    return [body["detail-type"] for body in bodies]


def running(aws, *overrides, **more):
    ids = aws.launched(*(overrides or (ONE,)), **more)
    aws.post("advance", seconds=60)
    return ids


def test_changes_of_state_are_told_in_order(aws, url):
    (instance_id,) = running(aws)
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    aws.post("advance", seconds=120)
    bodies = aws.received(url)
    states = [body["detail"]["state"] for body in bodies]
    assert states == ["pending", "running", "shutting-down", "terminated"]
    assert {body["detail"]["instance-id"] for body in bodies} == {instance_id}
    assert set(bodies[0]) >= {"version", "id", "source", "account", "time", "region", "resources"}


def test_an_interruption_is_told_two_minutes_before_the_end(aws, url):
    (instance_id,) = running(aws)
    aws.received(url)
    aws.post("interrupt", ids=[instance_id])
    (body,) = aws.received(url)
    assert body["detail-type"] == INTERRUPTION
    assert body["detail"] == {"instance-id": instance_id, "instance-action": "terminate"}
    aws.post("advance", seconds=119)
    assert aws.states() == {instance_id: "running"}
    aws.post("advance", seconds=2)
    assert aws.states() == {instance_id: "shutting-down"}
    reason = aws.instance(instance_id)["StateReason"]["Code"]
    assert reason == "Server.SpotInstanceTermination"


def test_a_capacity_reservation_has_a_notice_of_its_own(aws, url):
    (instance_id,) = running(aws, capacity="on-demand")
    aws.received(url)
    aws.post("interrupt", ids=[instance_id], reservation=True, seconds=30)
    (body,) = aws.received(url)
    assert body["detail-type"] == "EC2 Capacity Reservation Instance Interruption Warning"
    aws.post("advance", seconds=31)
    assert aws.states() == {instance_id: "shutting-down"}


def test_a_storm_takes_a_whole_pool_and_leaves_it_dry(aws, url):
    gone = running(aws, count=3)
    stays = running(aws, "us-east-1b/g6.xlarge")
    aws.received(url)
    aws.post("interrupt", zone="us-east-1a", type="g6.xlarge", spread_seconds=100)
    aws.post("advance", seconds=100)
    told = [
        b["detail"]["instance-id"] for b in aws.received(url) if b["detail-type"] == INTERRUPTION
    ]
    assert sorted(told) == sorted(gone)
    aws.post("advance", seconds=300)
    assert {i for i, state in aws.states().items() if state == "running"} == set(stays)
    assert aws.launched(ONE) == []


def test_messages_come_twice_and_out_of_order_on_demand(aws, url):
    ids = running(aws, count=5)
    aws.received(url)
    aws.post("delivery", copies=2, late_seconds=60)
    aws.post("rebalance", ids=ids)
    assert aws.received(url) == []
    aws.post("advance", seconds=60)
    told = [body["detail"]["instance-id"] for body in aws.received(url)]
    assert sorted(told) == sorted(ids * 2)
    assert told != sorted(told, key=ids.index)


def test_messages_may_be_lost(aws, url):
    running(aws)
    aws.received(url)
    aws.post("delivery", dropped_share=1.0)
    aws.post("rebalance")
    aws.post("advance", seconds=60)
    assert aws.received(url) == []


def test_health_tells_of_a_scheduled_change(aws, url):
    (instance_id,) = running(aws)
    aws.received(url)
    aws.post("health", ids=[instance_id], starts_in_seconds=600)
    (body,) = aws.received(url)
    assert (body["source"], body["detail-type"]) == ("aws.health", "AWS Health Event")
    assert body["detail"]["affectedEntities"] == [{"entityValue": instance_id}]
    assert body["detail"]["eventTypeCategory"] == "scheduledChange"
    status = aws.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"][0]
    assert status["Events"][0]["Code"] == "instance-retirement"


def test_a_lie_about_a_state_can_be_told(aws, url):
    (instance_id,) = running(aws)
    aws.received(url)
    aws.post("state-change", ids=[instance_id], state="terminated")
    assert [body["detail"]["state"] for body in aws.received(url)] == ["terminated"]
    assert aws.states() == {instance_id: "running"}


def test_ending_by_itself_is_told(aws, url):
    (instance_id,) = running(aws)
    aws.received(url)
    aws.post("state-change", ids=[instance_id], end=True)
    assert [body["detail"]["state"] for body in aws.received(url)] == ["shutting-down"]


def test_a_rule_made_by_the_client_gets_what_it_matches(aws):
    aws.template()
    made = aws.sqs.create_queue(QueueName="mine")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:123456789012:mine"
    pattern = '{"source":["aws.ec2"],"detail-type":["EC2 Spot Instance Interruption Warning"]}'
    aws.events.put_rule(Name="mine", EventPattern=pattern)
    aws.events.put_targets(Rule="mine", Targets=[{"Id": "q", "Arn": arn}])
    aws.post("interrupt", ids=running(aws))
    assert kinds(aws.received(made)) == [INTERRUPTION]


def test_the_weather_takes_pools_down_and_brings_them_back(aws, url):
    aws.post("parameters", weather=True, rebalance_absent_share=0.0)
    zones = [f"us-east-1{z}/g6.xlarge" for z in "abcd"]
    ids = running(aws, *zones, count=20, options={"AllocationStrategy": "diversified"})
    assert ids
    aws.post("advance", seconds=2 * 86400)
    told = kinds(aws.received(url))
    assert INTERRUPTION in told
    assert "EC2 Instance Rebalance Recommendation" in told
    turns = [line for line in aws.get("log")["lines"] if line["kind"] == "weather"]
    assert {line["pool"][2] for line in turns} == {"spot"}
    assert any(pool["up"] for pool in aws.get("pools")["pools"] if pool["capacity_type"] == "spot")
