"""The real control plane: what it enforces with our CRD and roles, and that it goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import Condition, LaunchBatch, NodeClaim, Offering
from jupyter_gpu_jit.core.quantity import format_time
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import Defect, NotFound
from jupyter_gpu_jit.local import tether
from jupyter_gpu_jit.local.control_plane import ControlPlane, builder

NAMESPACE = "gpu-jit"
NOW = 1_800_000_000.0


def claim_json(name: str, **changes: Any) -> dict[str, Any]:
    offering = Offering(
        instance_type="g6.xlarge",
        zone="us-east-1a",
        capacity_type=CapacityType.SPOT,
        usd_per_hour_micro=320_000,
    )
    claim = NodeClaim(
        name=name,
        uid="",
        resource_version="",
        created_at=NOW,
        cluster_id="cluster",
        hub_id="hub",
        batch=LaunchBatch(id="batch", claims=(name, "another")),
        offerings=(offering,),
        sessions=("uid-1",),
    )
    body = wire.encode_claim(claim)
    body["spec"] |= changes
    return body


async def create(plane: ControlPlane, body: dict[str, Any]) -> dict[str, Any]:
    stored = await plane.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body))
    result: dict[str, Any] = json.loads(stored)
    return result


async def patch(plane: ControlPlane, name: str, body: dict[str, Any], *more: str) -> str:
    text = json.dumps(body)
    return await plane.kubectl("patch", "gnc", name, "--type=merge", "-p", text, *more)


async def patch_status(plane: ControlPlane, name: str, status: dict[str, Any]) -> str:
    return await patch(plane, name, {"status": status}, "--subresource=status")


@pytest.fixture
async def claim(control_plane: ControlPlane) -> AsyncIterator[str]:
    name = "claim-under-test"
    await create(control_plane, claim_json(name))
    yield name
    await patch(control_plane, name, {"metadata": {"finalizers": None}})
    await control_plane.kubectl("delete", "gnc", name)


async def test_says_its_version(control_plane: ControlPlane) -> None:
    version = json.loads(await control_plane.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == builder.KUBERNETES.version
    assert version["clientVersion"]["gitVersion"] == builder.KUBERNETES.version


async def test_a_claim_comes_back_as_it_was_written(
    control_plane: ControlPlane, claim: str
) -> None:
    await patch_status(control_plane, claim, LAUNCHED_STATUS)
    stored = json.loads(await control_plane.kubectl("get", "gnc", claim, "-o", "json"))
    assert stored["spec"] == claim_json(claim)["spec"]
    read = wire.read_claim(stored)
    assert read.provider_id == LAUNCHED_STATUS["providerID"]
    assert read.usd_per_hour_micro == 320_000
    assert read.empty_since == NOW
    assert read.is_true(wire.LAUNCHED)


async def test_a_claims_spec_cannot_change(control_plane: ControlPlane, claim: str) -> None:
    with pytest.raises(Defect, match="spec is immutable"):
        await patch(control_plane, claim, {"spec": {"sessions": ["uid-2"]}})


async def test_a_claim_gets_one_instance_for_good(control_plane: ControlPlane, claim: str) -> None:
    await patch_status(control_plane, claim, {"providerID": "aws:///us-east-1a/i-1"})
    await patch_status(control_plane, claim, {"providerID": "aws:///us-east-1a/i-1"})
    for other in ("aws:///us-east-1a/i-2", "", None):
        with pytest.raises(Defect, match="providerID is set once and stays"):
            await patch_status(control_plane, claim, {"providerID": other})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"batch": {"id": "b", "claims": ["x"], "attempt": 1}}, "must contain metadata.name"),
        ({"batch": {"id": "b", "claims": ["bad-claim"], "attempt": 0}}, "attempt"),
        ({"offerings": []}, "offerings"),
        ({"clusterID": ""}, "clusterID"),
        (
            {
                "offerings": [
                    {"instanceType": "t", "zone": "z", "capacityType": "free", "microUSDPerHour": 1}
                ]
            },
            "capacityType",
        ),
    ],
)
async def test_a_claim_that_makes_no_sense_is_refused(
    control_plane: ControlPlane, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Defect, match=complaint):
        await create(control_plane, claim_json("bad-claim", **changes))


LAUNCHED_STATUS = {
    "providerID": "aws:///us-east-1a/i-0123456789",
    "nodeName": "ip-10-0-0-1",
    "instanceType": "g6.xlarge",
    "zone": "us-east-1a",
    "capacityType": "spot",
    "microUSDPerHour": 320_000,
    "emptySince": format_time(NOW),
    "conditions": [
        wire.encode_condition(Condition(type=kind, status=True, since=NOW))
        for kind in (wire.LAUNCHED, wire.REGISTERED)
    ],
}


async def test_the_list_of_claims_tells_their_story(
    control_plane: ControlPlane, claim: str
) -> None:
    await patch_status(control_plane, claim, LAUNCHED_STATUS)
    head, row = (await control_plane.kubectl("get", "gnc", claim)).splitlines()
    assert head.split() == ["NAME", "TYPE", "ZONE", "CAPACITY", "NODE", "STAGE", "AGE"]
    assert row.split()[:-1] == [
        claim,
        "g6.xlarge",
        "us-east-1a",
        "spot",
        "ip-10-0-0-1",
        "Registered",
    ]


OWN = {  # verb and resource, in the namespace
    "hub": {
        *(f"{verb} pods" for verb in ("get", "list", "watch", "create", "delete")),
    },
    "provisioner": {
        *(f"{verb} pods" for verb in ("patch", "delete")),
        "create events",
        *(f"{verb} persistentvolumeclaims" for verb in ("list", "watch")),
        *(f"{verb} leases.coordination.k8s.io" for verb in ("get", "create", "patch")),
    },
    "service": {"get leases.coordination.k8s.io"},
}
EVERYWHERE = {  # in every namespace, and of what has none
    "hub": set[str](),
    "provisioner": {
        *(f"{verb} pods" for verb in ("list", "watch")),
        *(f"{verb} nodes" for verb in ("get", "list", "watch", "patch", "delete")),
        *(
            f"{verb} gpunodeclaims.gpu-jit.io"
            for verb in ("list", "watch", "create", "patch", "delete")
        ),
        "patch gpunodeclaims.gpu-jit.io/status",
        *(f"{verb} persistentvolumes" for verb in ("list", "watch")),
        *(f"{verb} storageclasses.storage.k8s.io" for verb in ("list", "watch")),
        "list volumeattachments.storage.k8s.io",
    },
    "service": {f"list {resource}" for resource in ("pods", "nodes", "gpunodeclaims.gpu-jit.io")},
}


async def rights(plane: ControlPlane, account: str, namespace: str) -> set[str]:
    """What the account may do there, besides what every account may."""
    kubeconfig = await plane.kubeconfig_for(account, NAMESPACE)
    line = ("auth", "can-i", "--list", "--no-headers", "-n", namespace)
    text = await plane.kubectl(*line, kubeconfig=kubeconfig)
    found = set()
    for row in text.splitlines():
        resource, rest = row.split(maxsplit=1)
        verbs = rest.rpartition("[")[2].rstrip("] ").split()
        found |= {f"{verb} {resource}" for verb in verbs if not resource.startswith("[")}
    return {right for right in found if "selfsubject" not in right}


@pytest.mark.parametrize("account", ["hub", "provisioner", "service"])
async def test_each_account_has_just_its_rights(control_plane: ControlPlane, account: str) -> None:
    assert await rights(control_plane, account, "default") == EVERYWHERE[account]
    assert await rights(control_plane, account, NAMESPACE) == EVERYWHERE[account] | OWN[account]


@pytest.mark.parametrize(
    ("account", "line"),
    [
        ("hub", "get nodes"),
        ("hub", "get pods -n default"),
        ("hub", "get secrets -n gpu-jit"),
        ("hub", "get gnc"),
        ("service", "delete pods anything -n gpu-jit"),
        ("provisioner", "get secrets -n gpu-jit"),
    ],
)
async def test_the_api_server_refuses_what_is_not_theirs(
    control_plane: ControlPlane, account: str, line: str
) -> None:
    kubeconfig = await control_plane.kubeconfig_for(account, NAMESPACE)
    with pytest.raises(Defect, match="Forbidden"):
        await control_plane.kubectl(*line.split(), kubeconfig=kubeconfig)


async def test_an_unknown_account_is_not_found(control_plane: ControlPlane) -> None:
    with pytest.raises(NotFound):
        await control_plane.kubeconfig_for("nobody", NAMESPACE)


def test_secrets_are_for_the_owner_only(control_plane: ControlPlane) -> None:
    folder = control_plane.ca_file.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    secret = [*folder.glob("*.key"), *folder.glob("*.kubeconfig"), folder / "tokens.csv"]
    assert len(secret) >= 6
    assert {file.stat().st_mode & 0o777 for file in secret} == {0o600}


KWOK_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "fake", "annotations": {"kwok.x-k8s.io/node": "fake"}},
    "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
}
GATED_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "gated", "namespace": NAMESPACE},
    "spec": {
        "schedulingGates": [{"name": wire.GATE}],
        "containers": [{"name": "notebook", "image": "none"}],
    },
}


async def test_a_pod_runs_once_its_gate_is_gone(control_plane: ControlPlane) -> None:
    plane, pod = control_plane, ("pod/gated", "-n", NAMESPACE)
    await create(plane, KWOK_NODE)
    await create(plane, GATED_POD)
    gated = json.loads(await plane.kubectl("get", *pod, "-o", "json"))
    assert gated["spec"].get("nodeName") is None
    body = json.dumps({"spec": {"schedulingGates": None}})
    await plane.kubectl("patch", *pod, "--type=merge", "-p", body)
    await plane.kubectl("wait", "--for=condition=Ready", "--timeout=20s", *pod)
    await plane.kubectl("delete", *pod, "--timeout=20s")
    await plane.kubectl("delete", "node/fake", "--timeout=20s")


def running(pids: dict[str, int]) -> set[str]:
    return {name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()}


async def test_stop_leaves_no_process(programs: dict[str, Path], tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "plane", programs)
    await plane.start()
    pids = plane.pids
    assert running(pids) == {
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kwok",
    }
    await plane.stop()
    assert running(pids) == set()
    assert plane.pids == {}


async def test_a_part_that_ends_is_named_with_its_last_words(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    broken = {**programs, "kube-apiserver": Path("/bin/false")}
    plane = ControlPlane(tmp_path / "plane", broken)
    with pytest.raises(Defect, match="kube-apiserver ended"):
        await plane.start()
    assert plane.pids == {}


def test_a_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    parent_program = (
        "import sys, time, pathlib; from jupyter_gpu_jit.local import tether\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "child = tether.start(['/bin/sleep', '60'], env={}, folder=folder, log=folder / 'log')\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    line = [sys.executable, "-c", parent_program, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        until(lambda: command_line(child) == "/bin/sleep 60")
        parent.kill()
    until(lambda: command_line(child) == "")


def command_line(pid: int) -> str:
    """Empty for a process that is gone, or is a zombie that nobody reaps."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().strip("\0").replace("\0", " ")
    except OSError:
        return ""


def until(holds: Any, deadline_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + deadline_seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(tether.POLL_SECONDS)


def test_programs_of_kubebuilder_assets_come_first(
    programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink("/bin/true", tmp_path / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    found = builder.build(lambda _: None)
    assert found == {**programs, "etcd": tmp_path / "etcd"}
