"""The world as a process: how it starts, what clients need to find it, how it runs by itself."""

import json
import os
import subprocess
import sys
import time

import pytest
from aws_kit import Aws

from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.local.aws_world import AwsWorld

CLIENT = """
import boto3, json
ec2 = boto3.client("ec2")
print(json.dumps([ec2.meta.region_name, len(ec2.describe_subnets()["Subnets"])]))
"""


def test_the_environment_alone_leads_any_client_there(aws):
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env={"PATH": os.defpath, **aws.world.env},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == ["us-east-1", 6]


def test_a_running_clock_boots_instances_by_itself(aws):
    aws.template()
    (instance_id,) = aws.launched("us-east-1a/g6.xlarge")
    aws.post("speed", speed=600)
    try:
        deadline = time.monotonic() + 20
        while aws.states() != {instance_id: "running"}:
            assert time.monotonic() < deadline
    finally:
        aws.post("speed", speed=0)
    row = next(iter(aws.get("instances")["instances"]))
    assert 2 < row["running_at"] - row["launched_at"] < 120


def test_a_world_that_cannot_start_says_so(tmp_path):
    log = tmp_path / "world.log"
    with pytest.raises(Defect, match="did not start"):
        AwsWorld(parameters={"absent": 1}, log=log).start()
    assert "There is no parameter absent." in log.read_text()


def test_another_region_has_its_own_zones_and_types():
    with AwsWorld(region="eu-west-1", speed=0.0) as world:
        there = Aws(world)
        there.template()
        assert world.env["AWS_DEFAULT_REGION"] == "eu-west-1"
        (instance_id,) = there.launched("eu-west-1a/g5.xlarge")
        assert there.instance(instance_id)["Placement"]["AvailabilityZone"] == "eu-west-1a"
        there.post("interrupt", zone="eu-west-1a", type="g5.xlarge")
        there.post("advance", seconds=300)
        assert there.states() == {instance_id: "terminated"}


def test_a_stopped_world_is_gone_and_stopping_again_is_fine():
    world = AwsWorld(speed=0.0).start()
    control = world.control
    world.stop()
    world.stop()
    with pytest.raises(OSError, match="refused"):
        control.get("clock")
