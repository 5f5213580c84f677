"""The command line: help without client libraries, one sentence for what goes wrong."""

import json
import subprocess
import sys

import pytest

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.errors import Defect, UserError

COMMANDS = ("demo", "provisioner", "service", "node-agent", "simulate", "bench", "validate")
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


def test_an_unknown_benchmark_is_a_sentence(capsys):
    assert cli.main(["bench", "flight"]) == 2
    assert "flight" in capsys.readouterr().err


def test_the_table_of_figures_has_a_line_for_each():
    from jupyter_gpu_jit import bench

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

    monkeypatch.setattr(cli, "_validate", fails)
    assert cli.main(["validate", "x"]) == 2
    assert capsys.readouterr().err == "gpu-jit: Do this.\n"


def test_a_foreign_error_in_a_group_is_not_swallowed(monkeypatch):
    def fails(asked):
        raise ExceptionGroup("tasks", [Defect("ours"), ZeroDivisionError()])

    monkeypatch.setattr(cli, "_validate", fails)
    with pytest.raises(ExceptionGroup):
        cli.main(["validate", "x"])


def test_bench_prints_rows_of_the_contract(capsys, monkeypatch):
    from jupyter_gpu_jit import bench

    monkeypatch.setattr(bench, "STARTS", 2)
    assert cli.main(["bench", "start", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    for row in rows:
        assert set(row) == {"name", "value", "unit", "aim", "better", "beside", "holds"}
        assert row["better"] in ("lower", "higher")
        assert isinstance(row["holds"], bool)
