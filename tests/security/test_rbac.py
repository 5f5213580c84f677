"""S11: the shipped roles are exactly what the accounts use: nothing missing, nothing unused.

Used is what the API server's audit log says of a whole life of sessions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from whole_run import NAMESPACE, QUICK, live, whole_run

from jupyter_gpu_jit.sim.boot import BootModel

SHIPPED = Path(__file__).parents[2] / "hub_config" / "rbac.yaml"
EVERYWHERE = "*"
FORBIDDEN = {"secrets", "configmaps", "serviceaccounts", "roles", "clusterroles", "pods/exec"}


class Right(NamedTuple):
    """``scope``: a namespace, or everywhere. ``resource``: with group and subresource."""

    account: str
    scope: str
    verb: str
    resource: str


def resource_of(group: str, plural: str, subresource: str = "") -> str:
    name = f"{plural}/{subresource}" if subresource else plural
    return f"{name} ({group})" if group else name


def granted() -> set[Right]:
    documents = list(yaml.safe_load_all(SHIPPED.read_text()))
    roles = {(d["kind"], d["metadata"]["name"]): d for d in documents if "rules" in d}
    return {
        Right(subject["name"], binding["metadata"].get("namespace", EVERYWHERE), verb, resource)
        for binding in documents
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for verb, resource in pairs(roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]])
        for subject in binding["subjects"]
    }


def pairs(role: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for plural in rule["resources"]:
                name, _, subresource = plural.partition("/")
                for verb in rule["verbs"]:
                    yield verb, resource_of(group, name, subresource)


def used(audit: list[dict[str, Any]]) -> set[Right]:
    return {
        Right(
            account=row["user"]["username"].rpartition(":")[2],
            scope=row["objectRef"].get("namespace", EVERYWHERE),
            verb=row["verb"],
            resource=resource_of(
                row["objectRef"].get("apiGroup", ""),
                row["objectRef"]["resource"],
                row["objectRef"].get("subresource", ""),
            ),
        )
        for row in audit
    }


async def test_every_right_is_used_and_every_use_is_granted(
    programs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BootModel, "demo", classmethod(lambda cls: QUICK))
    async with whole_run() as run:
        await live(run)
        audit = run.audit()
    refused = [row for row in audit if row.get("responseStatus", {}).get("code") in (401, 403)]
    assert refused == [], "something asked for is not granted"
    assert [row["requestURI"] for row in audit if "objectRef" not in row] == []
    rights, uses = granted(), used(audit)
    assert {right.account for right in uses} == {"hub", "provisioner", "service"}
    assert uses - rights == set(), "granted by something that is not shipped, or too widely"
    assert rights - uses == set(), "granted and never used"


def test_no_role_reaches_for_secrets_other_rights_or_all_of_anything() -> None:
    for right in granted():
        assert right.resource.partition(" ")[0] not in FORBIDDEN
        assert "*" not in (right.verb, right.resource)
        assert right.verb not in ("deletecollection", "impersonate", "escalate", "bind")


def test_only_readers_and_the_provisioner_see_beyond_the_namespace() -> None:
    wide = {right for right in granted() if right.scope == EVERYWHERE}
    assert {right.account for right in wide} == {"provisioner", "service"}
    assert {right.verb for right in wide if right.account == "service"} <= {"list", "watch"}
    changing = {r for r in wide if r.verb in ("create", "patch", "delete", "update")}
    assert {r.resource for r in changing} == {
        "nodes",
        "gpunodeclaims (gpu-jit.io)",
        "gpunodeclaims/status (gpu-jit.io)",
    }
    assert all(right.scope in (EVERYWHERE, NAMESPACE) for right in granted())
