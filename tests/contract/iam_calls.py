"""Which rights a recorded call needs: AWS's service authorisation reference, for what we call.

A call of the log becomes ``Need``s: every one of them must be allowed. What later calls refer to
by name (templates, groups, instances) is remembered with its tags.
"""

from iam_policy import ACCOUNT, REGION, Need

EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}:"
RIGHTS = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "DeleteMessageBatch": "DeleteMessage",
}
# Anybody may ask who they are.
FREE = {("sts", "GetCallerIdentity")}


def tags_of(specifications, kind):
    """The tags asked for a kind of resource, as context keys of the request."""
    return {
        f"aws:RequestTag/{tag['Key']}": tag["Value"]
        for specification in specifications or ()
        if specification["ResourceType"] == kind
        for tag in specification.get("Tag") or specification.get("Tags") or ()
    }


def as_resource(request_tags):
    """Tags of a request as those of the resource that it made."""
    return {
        key.replace("aws:RequestTag/", "aws:ResourceTag/"): v for key, v in request_tags.items()
    }


class Reader:
    """Reads calls in order."""

    def __init__(self, *, cluster, queue):
        self.cluster, self.queue = cluster, queue
        self.templates, self.groups, self.instances = {}, {}, {}

    def needs(self, call):
        """The rights that a call needs."""
        service, action, params = call["service"], call["action"], call["params"]
        if (service, action) in FREE:
            return []
        special = getattr(self, f"_{service}_{action.partition(' ')[0]}", None)
        if special is not None:
            return special(call, params)
        region = {"aws:RequestedRegion": call["region"]}
        return [Need(f"{service}:{action}", "*", region)]

    # --- EC2 ---------------------------------------------------------------------------------

    def _ec2_CreateLaunchTemplate(self, _, params):
        tags = tags_of(params["TagSpecification"], "launch-template")
        name = params["LaunchTemplateName"]
        self.templates[name] = (params["LaunchTemplateData"], as_resource(tags))
        return _made("CreateLaunchTemplate", "launch-template", tags)

    def _ec2_CreatePlacementGroup(self, _, params):
        tags = tags_of(params["TagSpecification"], "placement-group")
        self.groups[params["GroupName"]] = as_resource(tags)
        return _made("CreatePlacementGroup", "placement-group", tags)

    def _ec2_DeleteLaunchTemplate(self, _, params):
        _, tags = self.templates[params["LaunchTemplateName"]]
        return [Need("ec2:DeleteLaunchTemplate", EC2 + "launch-template/lt-1", tags)]

    def _ec2_DeletePlacementGroup(self, _, params):
        name = params["GroupName"]
        return [
            Need("ec2:DeletePlacementGroup", EC2 + f"placement-group/{name}", self.groups[name])
        ]

    def _ec2_TerminateInstances(self, _, params):
        known = [i for i in params["InstanceId"] if i in self.instances]
        return [
            Need("ec2:TerminateInstances", EC2 + f"instance/{i}", self.instances[i]) for i in known
        ]

    def _ec2_CreateFleet(self, _, params):
        """The fleet, and RunInstances on behalf of whoever asked for it."""
        asked, spot = params["TagSpecification"], "SpotOptions" in params
        made = {kind: tags_of(asked, kind) for kind in ("instance", "volume")}
        used = []
        for config in params["LaunchTemplateConfigs"]:
            data, tags = self.templates[config["LaunchTemplateSpecification"]["LaunchTemplateName"]]
            made |= self._made_by_template(data, spot)
            used += [*self._used_by_template(data), (EC2 + "launch-template/lt-1", tags)]
            used += self._used_by_overrides(config["Overrides"])
        needs = [Need("ec2:CreateFleet", EC2 + "fleet/f-1", tags_of(asked, "fleet"))]
        needs += _tagging("CreateFleet", "fleet", tags_of(asked, "fleet"))
        for right in ("ec2:CreateFleet", "ec2:RunInstances"):
            needs += [Need(right, resource, tags) for resource, tags in used]
            needs += [Need(right, EC2 + f"{kind}/x", tags) for kind, tags in made.items()]
        for kind, tags in made.items():
            needs += _tagging("RunInstances", kind, tags)
        # The profile's role goes to the instances.
        passed = {"iam:PassedToService": "ec2.amazonaws.com"}
        role = f"arn:aws:iam::{ACCOUNT}:role/gpu-jit-{self.cluster}-node"
        return [*needs, Need("iam:PassRole", role, passed)]

    def _made_by_template(self, data, spot):
        kinds = ["network-interface"] + ["spot-instances-request"] * spot
        asked = data.get("TagSpecification") or data.get("TagSpecifications")
        return {kind: tags_of(asked, kind) for kind in kinds}

    def _used_by_template(self, data):
        found = [(f"arn:aws:ec2:{REGION}::image/{data['ImageId']}", {})]
        cards = data.get("NetworkInterface") or data.get("NetworkInterfaces") or ()
        groups = data.get("SecurityGroupId") or data.get("SecurityGroupIds") or ()
        for card in cards:
            groups = card.get("SecurityGroupId") or card.get("Groups") or groups
        found += [(EC2 + f"security-group/{group}", {}) for group in groups]
        disks = data.get("BlockDeviceMapping") or data.get("BlockDeviceMappings") or ()
        snapshots = [disk["Ebs"]["SnapshotId"] for disk in disks if "SnapshotId" in disk["Ebs"]]
        return found + [(EC2 + f"snapshot/{snapshot}", {}) for snapshot in snapshots]

    def _used_by_overrides(self, overrides):
        found = [(EC2 + f"subnet/{override['SubnetId']}", {}) for override in overrides]
        names = {o["Placement"]["GroupName"] for o in overrides if "Placement" in o}
        return found + [(EC2 + f"placement-group/{name}", self.groups[name]) for name in names]

    # --- the others --------------------------------------------------------------------------

    def _sqs_any(self, call, _):
        action = RIGHTS.get(call["action"], call["action"])
        return [Need(f"sqs:{action}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.queue}")]

    _sqs_GetQueueUrl = _sqs_GetQueueAttributes = _sqs_any
    _sqs_ReceiveMessage = _sqs_DeleteMessageBatch = _sqs_ChangeMessageVisibilityBatch = _sqs_any

    def _ssm_GetParameter(self, call, params):
        return [Need("ssm:GetParameter", f"arn:aws:ssm:{REGION}::parameter{params['Name']}")]

    def _eks_GET(self, call, _):
        """EKS is called by path."""
        _, name, *rest = call["path"].strip("/").split("/", 2)
        base = f"arn:aws:eks:{REGION}:{ACCOUNT}:"
        if not rest:
            return [Need("eks:DescribeCluster", f"{base}cluster/{name}")]
        assert rest[0].startswith("access-entries/")
        return [Need("eks:DescribeAccessEntry", f"{base}access-entry/{name}/role/x")]

    def _iam_GetInstanceProfile(self, _, params):
        name = params["InstanceProfileName"]
        arn = f"arn:aws:iam::{ACCOUNT}:instance-profile/{name}"
        return [Need("iam:GetInstanceProfile", arn)]

    def _iam_GetRole(self, _, params):
        path = "aws-service-role/spot.amazonaws.com"
        return [Need("iam:GetRole", f"arn:aws:iam::{ACCOUNT}:role/{path}/{params['RoleName']}")]


def _made(action, kind, tags):
    return [Need(f"ec2:{action}", EC2 + f"{kind}/x", tags), *_tagging(action, kind, tags)]


def _tagging(action, kind, tags):
    return [Need("ec2:CreateTags", EC2 + f"{kind}/x", {**tags, "ec2:CreateAction": action})]
