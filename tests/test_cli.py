"""The command line: help without client libraries, one sentence for what goes wrong."""

import asyncio
import signal
import subprocess
import sys

import pytest

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.cli import offline
from jupyter_gpu_jit.errors import Defect, UserError
from jupyter_gpu_jit.local.plane import memory_plane
from jupyter_gpu_jit.ports import LEASES, NODES

COMMANDS = (
    "demo",
    "provisioner",
    "doctor",
    "service",
    "node-agent",
    "simulate",
    "bench",
    "validate",
    "plan",
)
CLIENTS = (
    *("aiohttp", "kubernetes", "kubernetes_asyncio", "jupyterhub", "kubespawner", "tornado"),
    *("traitlets", "yaml", "boto3", "numpy", "highspy", "IPython", "ipywidgets"),
)
GOOD = """
profiles:
  - slug: small
    display_name: Small
    cpu: 1
    memory: 2Gi
"""


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)])
def test_help_imports_no_client_library(words):
    # -I: and nothing from a developer's environment may import it either.
    code = (
        "import sys\n"
        "from jupyter_gpu_jit.cli import main\n"
        "try:\n"
        f"    main([*{words!r}, '--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        f"print([name for name in {CLIENTS!r} if name in sys.modules])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.splitlines()[-1] == "[]"
    assert "usage: gpu-jit" in answer.stdout


def test_python_m_is_the_same_command():
    answer = subprocess.run(
        [sys.executable, "-m", "jupyter_gpu_jit", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout.startswith("gpu-jit ")


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["demo", "--port", "x"], ["demo", "--port", "65536"]]
)
def test_words_that_are_not_understood_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "usage: gpu-jit" in capsys.readouterr().err


def test_validate_accepts_good_profiles(tmp_path, capsys):
    file = tmp_path / "profiles.yaml"
    file.write_text(GOOD)
    assert cli.main(["validate", str(file)]) == 0
    assert "small" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace("memory", "memry"), "memory"),
        ("profiles: [", "cannot be read as YAML"),
        (None, "cannot be read"),
    ],
)
def test_validate_says_what_is_wrong_in_a_sentence(text, told, tmp_path, capsys):
    file = tmp_path / "profiles.yaml"
    if text is not None:
        file.write_text(text)
    assert cli.main(["validate", str(file)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("gpu-jit: ")
    assert told in said.err
    assert said.out == ""


def test_an_unknown_scenario_is_a_sentence(capsys):
    assert cli.main(["simulate", "no-such-scenario"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_instance_type_names_the_nearest(capsys):
    words = ["node-agent", "--instance-type", "g6.xlagre", "--kubeconfig", "/nowhere"]
    assert cli.main(words) == 2
    assert "g6.xlarge" in capsys.readouterr().err


def test_a_missing_kubeconfig_is_a_sentence(capsys, tmp_path):
    assert cli.main(["provisioner", "--kubeconfig", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cloud", "nowhere"], "is not a URL"),
        (["--cloud", "http://127.0.0.1:9"], "needs --cloud-token-file"),
        (["--cloud", "http://127.0.0.1:9", "--cloud-token-file", "/nowhere"], "cannot be read"),
    ],
)
def test_a_cloud_that_cannot_be_asked_is_a_sentence(words, told, capsys):
    assert cli.main(["provisioner", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "1.5", "-2", "x"])
def test_a_lease_is_a_whole_number_of_seconds(seconds, capsys):
    with pytest.raises(SystemExit):
        cli.main(["provisioner", "--lease-seconds", seconds])
    assert "whole number" in capsys.readouterr().err


def test_an_unknown_benchmark_is_a_sentence(capsys):
    assert cli.main(["bench", "flight"]) == 2
    assert "flight" in capsys.readouterr().err


def test_the_table_of_figures_has_a_line_for_each():
    from jupyter_gpu_jit.cli import figures as bench

    row = {"name": "a", "value": 1.0, "unit": "ms", "aim": 2.0, "better": "lower", "beside": "b"}
    lines = bench.table([{**row, "holds": True}, {**row, "aim": None, "holds": False}]).splitlines()
    assert [line.split()[0] for line in lines] == ["name", "a", "a"]
    assert "2 ms" in lines[1]


def test_a_scenario_is_played_and_reported(capsys):
    assert cli.main(["simulate", "one-session", "--seed", "3"]) == 0
    assert "alice" in capsys.readouterr().out


def test_a_service_outside_a_hub_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_API_URL", raising=False)
    assert cli.main(["service", "--kubeconfig", "/nowhere"]) == 2
    assert "JUPYTERHUB_API_URL" in capsys.readouterr().err


def test_our_error_in_a_group_is_still_one_sentence(monkeypatch, capsys):
    def fails(asked):
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [UserError("Do this.")])])

    monkeypatch.setattr(offline, "validate", fails)
    assert cli.main(["validate", "x"]) == 2
    assert capsys.readouterr().err == "gpu-jit: Do this.\n"


def test_a_foreign_error_in_a_group_is_not_swallowed(monkeypatch):
    def fails(asked):
        raise ExceptionGroup("tasks", [Defect("ours"), ZeroDivisionError()])

    monkeypatch.setattr(offline, "validate", fails)
    with pytest.raises(ExceptionGroup):
        cli.main(["validate", "x"])


async def _seen(cluster, kind, condition):
    async with asyncio.timeout(30):
        while True:
            if any(condition(obj) for obj in cluster.peek(kind)):
                return
            await asyncio.sleep(0.05)


async def _ended(process):
    process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(process.wait(), 15)


@pytest.fixture
async def plane(tmp_path):
    async with memory_plane(
        tmp_path, SystemClock(), RandomIds(), namespace="gpu-jit", say=lambda line: None
    ) as plane:
        yield plane


async def _command(plane, *words):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jupyter_gpu_jit", *words),
        *("--kubeconfig", str(plane.hub_kubeconfig)),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


async def test_the_provisioner_takes_its_lease_and_gives_it_back(plane):
    process = await _command(plane, "provisioner", "--identity", "me")
    await _seen(plane.nodes, LEASES, lambda lease: lease["spec"].get("holderIdentity") == "me")
    assert await _ended(process) == 0
    [lease] = plane.nodes.peek(LEASES)
    assert not lease["spec"].get("holderIdentity")


async def test_a_node_agent_joins_with_the_provider_id_it_was_told(plane):
    process = await _command(plane, "node-agent", "--provider-id", "aws:///us-east-1a/i-77")
    await _seen(
        plane.nodes, NODES, lambda node: node["spec"]["providerID"] == "aws:///us-east-1a/i-77"
    )
    assert await _ended(process) == 0


async def test_the_service_answers(plane, monkeypatch):
    import aiohttp

    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:9/hub/api")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jupyter_gpu_jit", "service", "--port", "0"),
        *("--kubeconfig", str(plane.hub_kubeconfig)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    url = (await process.stdout.readline()).decode().split()[-1]
    async with aiohttp.ClientSession() as client, client.get(url + "api/v1/health") as answer:
        assert (await answer.json())["status"] == "ok"
    assert await _ended(process) == 0
