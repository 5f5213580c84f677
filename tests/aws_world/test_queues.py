"""SQS as the provisioner leans on it: seen once at a time, again when not deleted, never lost."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def url(aws):
    return aws.sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "20"})["QueueUrl"]


def send(aws, url, *bodies, **more):
    for body in bodies:
        aws.sqs.send_message(QueueUrl=url, MessageBody=body, **more)


def receive(aws, url, **more):
    return aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **more).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def test_what_is_received_is_hidden_and_comes_again_unless_deleted(aws, url):
    send(aws, url, "a", "b")
    first, second = receive(aws, url)
    assert receive(aws, url) == []
    aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    aws.post("advance", seconds=21)
    [again] = receive(aws, url, AttributeNames=["All"])
    assert (again["Body"], again["MessageId"]) == ("b", second["MessageId"])
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    assert again["Attributes"]["SentTimestamp"] == "1800000000000"


def test_an_old_handle_still_deletes_and_a_made_up_one_is_an_error(aws, url):
    send(aws, url, "a")
    [old] = receive(aws, url)
    aws.post("advance", seconds=21)
    receive(aws, url)
    entries = [
        {"Id": "1", "ReceiptHandle": old["ReceiptHandle"]},
        {"Id": "2", "ReceiptHandle": "made-up"},
    ]
    answer = aws.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    assert [row["Id"] for row in answer["Successful"]] == ["1"]
    assert [row["Code"] for row in answer["Failed"]] == ["ReceiptHandleIsInvalid"]
    aws.post("advance", seconds=21)
    assert receive(aws, url) == []


def test_a_receiver_can_ask_for_more_time_or_give_it_back(aws, url):
    send(aws, url, "a")
    [message] = receive(aws, url)
    change = aws.sqs.change_message_visibility
    change(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=100)
    aws.post("advance", seconds=60)
    assert receive(aws, url) == []
    change(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert bodies(receive(aws, url)) == ["a"]


def test_what_nobody_can_handle_ends_in_the_dead_letter_queue(aws):
    dead = aws.sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead",
        "maxReceiveCount": 2,
    }
    url = aws.sqs.create_queue(
        QueueName="q", Attributes={"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "5"}
    )["QueueUrl"]
    send(aws, url, "poison")
    for _ in range(2):
        assert bodies(receive(aws, url)) == ["poison"]
        aws.post("advance", seconds=6)
    assert receive(aws, url) == []
    assert bodies(receive(aws, dead)) == ["poison"]


def test_a_long_poll_wakes_when_a_message_comes(aws, url):
    found = []
    waiting = threading.Thread(target=lambda: found.extend(receive(aws, url, WaitTimeSeconds=20)))
    began = time.monotonic()
    waiting.start()
    send(aws, url, "late")
    waiting.join(15)
    assert bodies(found) == ["late"]
    assert time.monotonic() - began < 10


def test_a_short_poll_of_nothing_is_nothing_after_its_wait(aws, url):
    began = time.monotonic()
    assert receive(aws, url, WaitTimeSeconds=1) == []
    assert time.monotonic() - began >= 1


def test_delays_and_retention_count_in_world_time(aws):
    url = aws.sqs.create_queue(
        QueueName="q", Attributes={"MessageRetentionPeriod": "60"}
    )["QueueUrl"]  # fmt: skip
    send(aws, url, "later", DelaySeconds=30)
    assert receive(aws, url) == []
    aws.post("advance", seconds=31)
    assert bodies(receive(aws, url, VisibilityTimeout=0)) == ["later"]
    aws.post("advance", seconds=61)
    assert receive(aws, url) == []


def test_counts_are_told_and_a_purge_empties(aws, url):
    send(aws, url, "a", "b", "c")
    aws.sqs.receive_message(QueueUrl=url)
    counts = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "2"
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "1"
    aws.sqs.purge_queue(QueueUrl=url)
    assert receive(aws, url) == []


def test_many_receivers_get_each_message_once(aws, url):
    for start in range(0, 400, 10):
        entries = [{"Id": str(n), "MessageBody": str(n)} for n in range(start, start + 10)]
        aws.sqs.send_message_batch(QueueUrl=url, Entries=entries)

    def drain(_):
        mine = []
        while got := receive(aws, url):
            entries = [{"Id": m["MessageId"], "ReceiptHandle": m["ReceiptHandle"]} for m in got]
            aws.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
            mine += bodies(got)
        return mine

    with ThreadPoolExecutor(4) as pool:
        found = [body for part in pool.map(drain, range(4)) for body in part]
    assert sorted(map(int, found)) == list(range(400))


def test_an_absent_queue_is_said_so(aws, url):
    with pytest.raises(ClientError, match="NonExistentQueue"):
        receive(aws, url.replace("/q", "/absent"))
    with pytest.raises(ClientError, match="Between 1 and 10"):
        aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=11)
