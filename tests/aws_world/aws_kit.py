"""An unmodified boto3 against the AWS world over HTTP, and the requests that tests make of it."""

import json
from functools import cache

import boto3
from botocore.config import Config

ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=20)


class Aws:
    """One world and its clients. Attributes are clients by service: ``aws.ec2``."""

    def __init__(self, world):
        self.world = world
        self.get, self.post = world.control.get, world.control.post
        self.client = cache(self._client)

    def _client(self, service, config=ONCE):
        return boto3.client(
            service,
            endpoint_url=self.world.url,
            region_name=self.world.region,
            aws_access_key_id=self.world.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.world.env["AWS_SECRET_ACCESS_KEY"],
            config=config,
        )

    def __getattr__(self, service):
        return self.client(service)

    def subnet(self, zone):
        """The default subnet of a zone."""
        wanted = [{"Name": "availability-zone", "Values": [zone]}]
        return self.ec2.describe_subnets(Filters=wanted)["Subnets"][0]["SubnetId"]

    def template(self, name="nodes", **data):
        """A launch template with an image, and whatever else is given."""
        self.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": "ami-12345678", **data},
            # Else boto3 draws one, and no two histories are the same.
            ClientToken=name,
        )

    def fleet(self, *overrides, count=1, capacity="spot", token="", template="nodes", **more):
        """CreateFleet instant; overrides are "zone/type" or dicts."""
        strategy = "price-capacity-optimized" if capacity == "spot" else "lowest-price"
        options = {"AllocationStrategy": strategy, **more.pop("options", {})}
        if token:
            more["ClientToken"] = token
        return self.ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateName": template,
                        "Version": "$Latest",
                    },
                    "Overrides": [self._override(one) for one in overrides],
                }
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": capacity,
            },
            **{"SpotOptions" if capacity == "spot" else "OnDemandOptions": options},
            **more,
        )

    def _override(self, one):
        if not isinstance(one, str):
            return one
        zone, instance_type = one.split("/")
        return {"InstanceType": instance_type, "SubnetId": self.subnet(zone)}

    def launched(self, *overrides, **more):
        """Ids of a fleet's instances."""
        return ids_of(self.fleet(*overrides, **more))

    def states(self, **params):
        """Id -> state, as described."""
        pages = self.ec2.get_paginator("describe_instances").paginate(**params)
        rows = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
        return {row["InstanceId"]: row["State"]["Name"] for row in rows}

    def instance(self, instance_id):
        """One instance as described."""
        answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        return answer["Reservations"][0]["Instances"][0]

    def queue(self, name="notices"):
        """URL of a queue that all notices go to."""
        self.post("provision", queue=name)
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def received(self, url):
        """All that is in a queue now, in the order it came, and taken out of it."""
        bodies = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                bodies.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies


def ids_of(answer):
    """Instance ids of a fleet's answer."""
    return [i for row in answer["Instances"] for i in row["InstanceIds"]]


def codes_of(answer):
    """Codes of a fleet's errors by zone and type."""
    rows = answer.get("Errors", ())
    return {
        (o["AvailabilityZone"], o["InstanceType"]): row["ErrorCode"]
        for row in rows
        for o in [row["LaunchTemplateAndOverrides"]["Overrides"]]
    }
