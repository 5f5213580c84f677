"""One seed, one history: again in the same process, in another one, and from the log alone."""

from jupyter_gpu_jit.local.aws_world import AwsWorld
from jupyter_gpu_jit.local.aws_world.replay import differences, flat, replay

START = 1_800_000_000.0


def a_day(aws):
    """Something of everything: launches, a lost answer, a storm, ends, messages."""
    url = aws.queue()
    aws.template()
    aws.post("pool", zone="us-east-1a", type="g6.xlarge", free=3)
    aws.launched("us-east-1a/g6.xlarge", "us-east-1b/g5.xlarge", count=5, token="one")
    aws.post("fault", kind="error", action="CreateFleet", code="InternalError", status=500)
    try:
        aws.launched("us-east-1b/g5.xlarge", token="two")
    except aws.ec2.exceptions.ClientError:
        aws.launched("us-east-1b/g5.xlarge", token="two")
    aws.post("advance", seconds=90)
    aws.post("delivery", copies=2, late_seconds=30)
    aws.post("interrupt", zone="us-east-1a", type="g6.xlarge", spread_seconds=60)
    aws.post("advance", seconds=100)
    aws.received(url)
    ids = [i for i, state in aws.states().items() if state == "running"]
    aws.ec2.terminate_instances(InstanceIds=ids[:1])
    aws.post("advance", seconds=300)
    return aws.get("log")["lines"]


def test_the_same_seed_and_calls_give_the_same_history(aws):
    first = a_day(aws)
    aws.post("reset", seed=7, start=START)
    again = a_day(aws)
    assert list(differences(first, again)) == []
    assert len(first) > 40


def test_another_seed_gives_another(aws):
    first = a_day(aws)
    aws.post("reset", seed=8, start=START)
    assert list(differences(first, a_day(aws))) != []


def test_a_log_can_be_played_again_in_another_process(aws):
    lines = a_day(aws)
    with AwsWorld(seed=99, speed=0.0) as other:
        assert replay(lines, other.control) == []


def test_a_replay_tells_where_it_parts(aws):
    lines = a_day(aws)
    fleet = next(line for line in lines if line.get("action") == "CreateFleet")
    fleet["params"]["TargetCapacitySpecification"]["TotalTargetCapacity"] = "1"
    assert replay(lines, aws.world.control)[0].startswith("Line ")


def test_parameters_are_recorded_as_they_were_sent(aws):
    aws.template(name="disks", BlockDeviceMappings=[{"DeviceName": "/dev/a", "Ebs": {}}])
    line = aws.get("log")["lines"][-1]
    assert (line["action"], line["service"], line["status"]) == (
        "CreateLaunchTemplate",
        "ec2",
        "200",
    )
    assert line["principal"] == "aws-world"
    assert line["params"]["LaunchTemplateData"]["BlockDeviceMapping"][0]["DeviceName"] == "/dev/a"
    assert flat({"A": [{"B": "c"}, {"B": "d"}]}) == {"A.1.B": "c", "A.2.B": "d"}
