"""What a node is made of and told: templates and user data, as AWS and the node read them."""

import base64
import json
import subprocess
import tomllib
from dataclasses import replace
from email import message_from_string

import pytest
from aws_parts import FACTS, SETTINGS, TYPES

from jupyter_gpu_jit.adapters.aws.facts import public_parameter
from jupyter_gpu_jit.adapters.aws.settings import DiskSettings, ImageFamily, ImageSettings
from jupyter_gpu_jit.adapters.aws.templates import boot_of, template
from jupyter_gpu_jit.adapters.aws.user_data import Boot, dns_address, user_data
from jupyter_gpu_jit.errors import UserError

ROCKET = replace(SETTINGS, image=ImageSettings(family=ImageFamily.BOTTLEROCKET))


def made(settings=SETTINGS, *, kind="g6.xlarge", layout="", sold="spot", efa=0, facts=FACTS):
    boot = boot_of(TYPES[kind], settings, layout, sold)
    return template(facts, settings, boot, image="ami-1", efa_interfaces=efa)


def told(**choices):
    return base64.b64decode(made(**choices).data["UserData"]).decode()


def parts(**choices):
    message = message_from_string(told(**choices))
    assert message.get_content_type() == "multipart/mixed"
    return {part.get_content_type(): part.get_payload() for part in message.get_payload()}


# --- templates ------------------------------------------------------------------------------------


def test_nodes_guard_their_metadata_and_end_when_switched_off():
    data = made().data
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert data["IamInstanceProfile"] == {"Name": "gpu-jit-node"}
    assert data["SecurityGroupIds"] == ["sg-1"]


def test_every_disk_is_encrypted_gp3_and_goes_with_its_node():
    disk = DiskSettings(snapshot_id="snap-1", kms_key_id="key", initialise_mib_per_second=200)
    for settings in (SETTINGS, ROCKET, replace(SETTINGS, disk=disk), replace(ROCKET, disk=disk)):
        for mapping in made(settings).data["BlockDeviceMappings"]:
            ebs = mapping["Ebs"]
            assert (ebs["VolumeType"], ebs["Encrypted"]) == ("gp3", True)
            assert ebs["DeleteOnTermination"]
    root, data = made(replace(SETTINGS, disk=disk)).data["BlockDeviceMappings"]
    assert "SnapshotId" not in root["Ebs"]
    assert data["Ebs"]["SnapshotId"] == "snap-1"
    assert data["Ebs"]["VolumeInitializationRate"] == 200
    assert root["Ebs"]["KmsKeyId"] == data["Ebs"]["KmsKeyId"] == "key"


def test_a_spot_request_is_tagged_only_where_there_is_one():
    def kinds(sold):
        return [s["ResourceType"] for s in made(sold=sold).data["TagSpecifications"]]

    assert kinds("spot") == ["network-interface", "spot-instances-request"]
    assert kinds("on-demand") == ["network-interface"]


def test_efa_interfaces_take_the_place_of_the_plain_one():
    cards = made(kind="p5.48xlarge", efa=3).data["NetworkInterfaces"]
    assert [(c["NetworkCardIndex"], c["DeviceIndex"]) for c in cards] == [(0, 0), (1, 1), (2, 1)]
    assert {c["InterfaceType"] for c in cards} == {"efa"}
    assert all(c["Groups"] == ["sg-1"] for c in cards)
    assert "SecurityGroupIds" not in made(kind="p5.48xlarge", efa=3).data


def test_a_template_is_named_by_its_content():
    assert made() == made()
    others = [
        made(sold="on-demand"),
        made(efa=1, kind="p5.48xlarge"),
        made(layout="time-sliced-4"),
        made(replace(SETTINGS, tags={"team": "other"})),
        made(facts=replace(FACTS, endpoint="https://other")),
        made(ROCKET),
    ]
    assert len({made().name, *(other.name for other in others)}) == 1 + len(others)
    assert made(kind="g5.xlarge").name == made().name


# --- user data ------------------------------------------------------------------------------------


def test_nodeadm_is_told_the_cluster_the_taints_and_the_labels():
    config = json.loads(parts()["application/node.eks.aws"])
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert config["spec"]["cluster"] == {
        "name": "lab",
        "apiServerEndpoint": "https://lab.eks.test",
        "certificateAuthority": "Y2E=",
        "cidr": "172.20.0.0/16",
    }
    taints = config["spec"]["kubelet"]["config"]["registerWithTaints"]
    assert [(t["key"], t["effect"]) for t in taints] == [
        ("gpu-jit.io/unregistered", "NoExecute"),
        ("nvidia.com/gpu", "NoSchedule"),
        ("hub.jupyter.org/dedicated", "NoSchedule"),
    ]
    assert config["spec"]["kubelet"]["flags"] == [
        "--node-labels=gpu-jit.io/capacity-type=spot,hub.jupyter.org/node-purpose=user"
    ]


def test_no_label_is_one_that_a_kubelet_may_not_set():
    for layout in ("", "time-sliced-4", "mig-1g.10gb"):
        text = told(layout=layout, kind="p5.48xlarge")
        assert "node-restriction.kubernetes.io" not in text


def test_a_node_that_never_joins_switches_itself_off():
    script = parts()["text/x-shellscript"]
    assert script.startswith("#!/bin/sh\n")
    assert "--on-active=900s" in script
    assert "systemctl poweroff" in script


@pytest.mark.parametrize("layout", ["", "mig-1g.10gb", "time-sliced-4"])
def test_the_script_is_one_that_a_shell_reads(layout):
    with_images = replace(SETTINGS, disk=DiskSettings(snapshot_id="snap-1"))
    script = parts(settings=with_images, kind="p5.48xlarge", layout=layout)["text/x-shellscript"]
    subprocess.run(["/bin/sh", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(("pods", "goes_off"), [((), True), (("kube-system_aws-node",), False)])
def test_only_a_node_that_never_had_a_pod_goes_off(tmp_path, pods, goes_off):
    for pod in pods:
        (tmp_path / pod).mkdir()
    (line,) = [line for line in parts()["text/x-shellscript"].splitlines() if "dead-man" in line]
    check = line.split("/bin/sh -c ")[1].strip("'")
    check = check.replace("/var/log/pods", str(tmp_path)).replace("systemctl poweroff", "echo off")
    said = subprocess.run(["/bin/sh", "-c", check], capture_output=True, text=True, check=True)
    assert (said.stdout == "off\n") is goes_off


def test_a_layout_is_made_before_the_kubelet_runs():
    mig = parts(kind="p5.48xlarge", layout="mig-1g.10gb")["text/x-shellscript"]
    assert "nvidia-smi -mig 1\nnvidia-smi mig -cgi " + ",".join(["1g.10gb"] * 7) + " -C" in mig
    config = parts(layout="time-sliced-4")["application/node.eks.aws"]
    assert "nvidia.com/device-plugin.config=time-sliced-4" in config
    assert "gpu-jit.io/gpu-layout=time-sliced-4" in config


def test_pulled_images_are_mounted_where_the_runtime_looks():
    with_images = replace(SETTINGS, disk=DiskSettings(snapshot_id="snap-1"))
    assert (
        "mount /dev/xvdb /var/lib/containerd" in parts(settings=with_images)["text/x-shellscript"]
    )
    assert "mount" not in parts()["text/x-shellscript"]


def test_bottlerocket_is_told_the_same_in_toml():
    kubernetes = tomllib.loads(told(settings=ROCKET))["settings"]["kubernetes"]
    assert kubernetes["cluster-name"] == "lab"
    assert kubernetes["api-server"] == "https://lab.eks.test"
    assert kubernetes["cluster-certificate"] == "Y2E="
    assert kubernetes["cluster-dns-ip"] == "172.20.0.10"
    assert kubernetes["node-taints"] == {
        "gpu-jit.io/unregistered": [":NoExecute"],
        "nvidia.com/gpu": [":NoSchedule"],
        "hub.jupyter.org/dedicated": ["user:NoSchedule"],
    }
    assert kubernetes["node-labels"]["gpu-jit.io/capacity-type"] == "spot"


def test_bottlerocket_divides_gpus_by_its_own_settings():
    def nvidia(**choices):
        whole = tomllib.loads(told(settings=ROCKET, **choices))["settings"]
        return whole["kubelet-device-plugins"]["nvidia"]

    sliced = nvidia(layout="time-sliced-4")
    assert sliced["device-sharing-strategy"] == "time-slicing"
    assert sliced["time-slicing"] == {"replicas": 4, "rename-by-default": False}
    mig = nvidia(kind="p5.48xlarge", layout="mig-1g.10gb")
    assert mig["device-partitioning-strategy"] == "mig"
    assert mig["mig"]["profile"] == {"h100.80gb": "1g.10gb"}


def test_user_data_that_ec2_would_refuse_is_refused_here():
    boot = Boot(family=ImageFamily.AL2023, capacity_type="spot")
    with pytest.raises(UserError, match="EC2 takes 16384"):
        user_data(replace(FACTS, certificate_authority="A" * 20000), boot)


@pytest.mark.parametrize(("cidr", "address"), [("10.100.0.0/16", "10.100.0.10"), ("", "")])
def test_the_dns_address_follows_from_the_services(cidr, address):
    assert dns_address(cidr) == address


def test_images_are_where_aws_publishes_them():
    assert public_parameter(ImageFamily.AL2023, "1.36", "amd64", True) == (
        "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
    )
    assert public_parameter(ImageFamily.AL2023, "1.36", "arm64", False).endswith(
        "/arm64/standard/recommended/image_id"
    )
    assert public_parameter(ImageFamily.BOTTLEROCKET, "1.36", "amd64", True) == (
        "/aws/service/bottlerocket/aws-k8s-1.36-nvidia/x86_64/latest/image_id"
    )
