"""The command line on AWS: the file, the doctor, and a provisioner that buys."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings, ImageFamily
from jupyter_gpu_jit.adapters.system import SystemClock
from jupyter_gpu_jit.cli.aws import read_settings
from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import SessionRequest
from jupyter_gpu_jit.core.requirements import Requirements
from jupyter_gpu_jit.errors import UserError
from jupyter_gpu_jit.local.aws_world import AwsWorld
from jupyter_gpu_jit.local.http_api import KubernetesApi
from jupyter_gpu_jit.local.ports import free_ports
from jupyter_gpu_jit.ports import CLAIMS, PODS
from jupyter_gpu_jit.sim.cluster import MemoryCluster
from jupyter_gpu_jit.sim.loop import CountingIds

SHIPPED = Path(__file__).parents[1] / "hub_config/aws/aws.toml"


def read(tmp_path, text):
    file = tmp_path / "aws.toml"
    file.write_text(text)
    return read_settings(file, cluster_id="c", hub_id="h")


# --- the file -------------------------------------------------------------------------------------


def test_the_shipped_file_is_read_whole():
    settings = read_settings(SHIPPED, cluster_id="lab", hub_id="h")
    assert (settings.region, settings.eks_cluster, settings.queue) == (
        "us-east-1",
        "lab",
        "gpu-jit-lab",
    )
    assert settings.families == ("g5", "g6", "g6e")
    assert settings.image.family is ImageFamily.AL2023
    assert settings.tags == {"project": "notebooks"}


def test_what_the_file_leaves_out_has_its_default(tmp_path):
    assert read(tmp_path, 'region = "eu-west-1"\n') == AwsSettings(
        region="eu-west-1", cluster_id="c", hub_id="h"
    )


def test_numbers_and_tables_arrive_as_what_they_are(tmp_path):
    text = """
region = "eu-west-1"
call_seconds = 30
[disk]
root_gib = 200
[image]
family = "bottlerocket"
ids = { amd64 = "ami-1" }
"""
    settings = read(tmp_path, text)
    assert settings.call_seconds == 30.0
    assert settings.disk.root_gib == 200
    assert settings.image.family is ImageFamily.BOTTLEROCKET
    assert settings.image.ids == {"amd64": "ami-1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "region is missing"),
        ("region = ", "cannot be read"),
        ('regoin = "x"', 'regoin is no setting; did you mean "region"?'),
        ('cluster_id = "x"', "cluster_id is no setting"),
        ("region = 1", "region is 1, which is no text"),
        ("threads = true", "threads is True, which is no whole number"),
        ('families = "g6"', "families is 'g6', which is no list of texts"),
        ("tags = { a = 1 }", "which is no table of texts"),
        ("image = 1", "image is a table of its own: [image]"),
        ('[image]\nfamily = "windows"', "which is no image family (al2023, bottlerocket)"),
        ("[disk]\nroot = 1", "disk.root is no setting"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert words in error.value.user_message
    assert "aws.toml" in error.value.user_message


def test_a_file_that_is_not_there_is_one_sentence(capsys, tmp_path):
    assert cli.main(["doctor", "--aws", str(tmp_path / "none.toml")]) == 2
    assert "none.toml cannot be read" in capsys.readouterr().err


# --- with an AWS ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    with AwsWorld() as found:
        found.control.post(
            "provision",
            profile="gpu-jit-lab-node",
            queue="gpu-jit-lab",
            cluster={"name": "lab", "version": "1.36"},
        )
        yield found


@pytest.fixture
def here(world, monkeypatch):
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    return world


def test_the_doctor_says_a_line_for_each_check_and_fails_with_any_of_them(here, capsys):
    assert cli.main(["doctor", "--cluster-id", "lab", "--aws", str(SHIPPED)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "ok   region: The region is us-east-1." in lines
    assert [line for line in lines if line.startswith("FAIL Spot role: Spot was never used")]
    assert all(line.startswith(("ok   ", "FAIL ")) for line in lines)


@pytest.fixture
async def plane(tmp_path):
    """A cluster in memory behind HTTP, and its kubeconfig."""
    cluster = MemoryCluster(SystemClock(), CountingIds())
    api = KubernetesApi(cluster, "secret")
    cluster.kubeconfig = tmp_path / "kubeconfig"
    cluster.kubeconfig.write_text(_kubeconfig(await api.start()))
    yield cluster
    await api.stop()


async def test_a_waiting_session_has_a_node_bought_for_it(here, plane):
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jupyter_gpu_jit", "provisioner", "--identity", "me"),
        *("--kubeconfig", str(plane.kubeconfig), "--cluster-id", "lab", "--aws", str(SHIPPED)),
        *("--metrics-address", "127.0.0.1", "--metrics-port", str(port)),
        env={**os.environ, **here.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        await plane.create(PODS, waiting_pod(), namespace="gpu-jit")
        await _within(60, lambda: _launched(plane))
        await _within(30, lambda: _told(url, "gpu_jit_cloud_calls_total", "CreateFleet"))
        await _within(30, lambda: _told(url, "gpu_jit_prices_age_seconds ", ""))
    finally:
        process.terminate()
        assert await process.wait() == 0
    (claim,) = (await plane.list(CLAIMS)).items
    (row,) = here.control.get("instances")["instances"]
    assert claim["status"]["providerID"] == row["provider_id"]
    assert claim["status"]["microUSDPerHour"] == row["usd_per_hour_micro"]
    assert (row["type"].split(".")[0] in ("g5", "g6", "g6e"), row["capacity_type"]) == (
        True,
        "spot",
    )
    assert row["tags"]["project"] == "notebooks"


def waiting_pod():
    asked = SessionRequest(
        uid="", user="ada", requirements=Requirements(gpu_memory_gib=24), profile="one-gpu"
    )
    sizes = {"cpu": "3", "memory": "12Gi", "nvidia.com/gpu": "1"}
    container = {
        "name": "notebook",
        "image": "registry.invalid/none:1",
        "resources": {"requests": sizes, "limits": sizes},
    }
    return {
        "metadata": {
            "name": "jupyter-ada",
            "annotations": {wire.SESSION_ANNOTATION: wire.encode_session(asked)},
        },
        "spec": {
            "schedulingGates": [{"name": wire.GATE}],
            "containers": [container],
            "tolerations": [
                {"key": taint.key, "operator": "Exists"}
                for taint in (wire.GPU_TAINT, wire.USER_TAINT)
            ],
        },
    }


def _kubeconfig(url):
    return f"""
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
"""


async def _within(seconds, check):
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.1)


async def _launched(cluster):
    claims = (await cluster.list(CLAIMS)).items
    return any((claim.get("status") or {}).get("providerID") for claim in claims)


async def _told(url, name, label):
    """Whether that series is there with a number that is not zero, and not infinite."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        lines = (await answer.text()).splitlines()
    found = [float(line.split()[-1]) for line in lines if line.startswith(name) and label in line]
    return any(0 < value < 1e6 for value in found)
