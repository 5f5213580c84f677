"""The command lines of the control plane's parts. Called by ``plane``.

Everything listens on loopback with TLS and a secret: whoever may create pods here runs
programs as the developer, so other users of the machine must not. Nothing is made durable:
the folder lives as long as the plane.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import pki
from .builder import stage_files

# Those that a session's life touches; a real cluster runs more, and slower for it.
CONTROLLERS = (
    "daemonset-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
)
# Who did what with which right: requests of all service accounts, without their bodies.
AUDIT_POLICY: dict[str, object] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
KWOK_SELECTOR = "kwok.x-k8s.io/node=fake"
# user -> group; the first two have their rights from the cluster's own bootstrap roles
USERS = {
    "system:kube-scheduler": "",
    "system:kube-controller-manager": "",
    "kwok": "system:masters",
    "admin": "system:masters",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports; etcd's second one is for peers, of which there are none."""

    etcd: int
    etcd_peer: int
    api: int


@dataclass(frozen=True, slots=True)
class Setup:
    """Folder, programs, ports and secrets of one plane; its methods are command lines.

    ``audit``: the API server writes ``audit_log``, one JSON object a line.
    """

    folder: Path
    programs: Mapping[str, Path]
    ports: Ports
    keys: pki.Keys
    tokens: Mapping[str, str] = field(
        default_factory=lambda: {user: secrets.token_urlsafe(32) for user in USERS}
    )
    audit: bool = False

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return f"https://127.0.0.1:{self.ports.api}"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes what service accounts did, if ``audit``."""
        return self.folder / "audit.log"

    def kubeconfig(self, user: str, token: str) -> Path:
        """Write ``user``'s kubeconfig (JSON is YAML) and give its path."""
        text = json.dumps(_kubeconfig(self.server, self.keys.ca, user, token), indent=2)
        path = self.folder / f"{user.replace(':', '-').replace('/', '-')}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def etcd(self) -> list[str]:
        """Store; without fsync, which only a power cut would miss."""
        client = f"https://127.0.0.1:{self.ports.etcd}"
        peer = f"https://127.0.0.1:{self.ports.etcd_peer}"
        return self._line(
            "etcd",
            name="gpu-jit",
            data_dir=self.folder / "etcd",
            listen_client_urls=client,
            advertise_client_urls=client,
            listen_peer_urls=peer,
            initial_advertise_peer_urls=peer,
            initial_cluster=f"gpu-jit={peer}",
            unsafe_no_fsync="true",
            log_level="warn",
            **self._etcd_tls(),
        )

    def _etcd_tls(self) -> dict[str, object]:
        files = {
            "cert_file": self.keys.certificate,
            "key_file": self.keys.key,
            "trusted_ca_file": self.keys.ca,
            "client_cert_auth": "true",
        }
        return {**files, **{f"peer_{name}": value for name, value in files.items()}}

    def api_server(self) -> list[str]:
        """API server with RBAC, on loopback only."""
        return self._line(
            "kube-apiserver",
            bind_address="127.0.0.1",
            secure_port=self.ports.api,
            advertise_address="127.0.0.1",
            endpoint_reconciler_type="none",
            etcd_servers=f"https://127.0.0.1:{self.ports.etcd}",
            etcd_cafile=self.keys.ca,
            etcd_certfile=self.keys.certificate,
            etcd_keyfile=self.keys.key,
            tls_cert_file=self.keys.certificate,
            tls_private_key_file=self.keys.key,
            cert_dir=self.folder / "api",
            token_auth_file=self._token_file(),
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            service_cluster_ip_range="10.0.0.0/24",
            service_account_issuer="https://kubernetes.default.svc.cluster.local",
            service_account_key_file=self.keys.accounts,
            service_account_signing_key_file=self.keys.accounts,
            profiling="false",
            **(self._audit() if self.audit else {}),
        )

    def _audit(self) -> dict[str, object]:
        policy = self.folder / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        return {"audit_policy_file": policy, "audit_log_path": self.audit_log}

    def _token_file(self) -> Path:
        rows = (f'{self.tokens[user]},{user},{user},"{group}"' for user, group in USERS.items())
        path = self.folder / "tokens.csv"
        path.touch(mode=0o600)
        path.write_text("\n".join(rows) + "\n")
        return path

    def scheduler(self) -> list[str]:
        """kube-scheduler; one of it, so without election."""
        user = "system:kube-scheduler"
        return self._line(
            "kube-scheduler",
            kubeconfig=self.kubeconfig(user, self.tokens[user]),
            leader_elect="false",
            secure_port=0,
        )

    def controller_manager(self) -> list[str]:
        """kube-controller-manager with ``CONTROLLERS``, each under its own account."""
        user = "system:kube-controller-manager"
        return self._line(
            "kube-controller-manager",
            kubeconfig=self.kubeconfig(user, self.tokens[user]),
            controllers=",".join(CONTROLLERS),
            use_service_account_credentials="true",
            root_ca_file=self.keys.ca,
            leader_elect="false",
            secure_port=0,
        )

    def kwok(self) -> list[str]:
        """Simulated kubelets for nodes annotated ``KWOK_SELECTOR``; other nodes are left alone."""
        program = self.programs["kwok"]
        line = self._line(
            "kwok",
            kubeconfig=self.kubeconfig("kwok", self.tokens["kwok"]),
            manage_nodes_with_annotation_selector=KWOK_SELECTOR,
            node_lease_duration_seconds=40,
        )
        return [*line, *(f"--config={file}" for file in stage_files(program))]

    def _line(self, program: str, **flags: object) -> list[str]:
        words = (f"--{name.replace('_', '-')}={value}" for name, value in flags.items())
        return [str(self.programs[program]), *words]


def _kubeconfig(server: str, ca: Path, user: str, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
        "current-context": "local",
    }
