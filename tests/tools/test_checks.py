"""The checks before a commit find what they are for, and nothing in this repository."""

import subprocess
import sys
from pathlib import Path

import check_secrets
import check_sizes
import pytest

ROOT = Path(__file__).parents[2]
DRAWN = "9f86d081884c7d659a2feaa0c55ad015"

# Put together here, so that this file itself holds nothing that looks like a secret.
SECRETS = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "cloud access key": "key = " + "AKIA" + "ABCDEFGHIJKLMNOP",
    "forge token": "ghp" + "_" + "a1B2" * 9,
    "package index token": "pypi" + "-" + "AgEIcHlwaS5vcmc" * 3,
    "chat token": "xoxb" + "-123456789012-abcdef",
    "signed token": ".".join(
        ["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0", "c2lnbmF0dXJl"]
    ),
    "address with a password": "postgresql://hub:" + "correct-horse@db/hub",
    "literal secret": f'api_token = "{DRAWN}"',
}
INNOCENT = (
    'token = "contract-token"',
    "token = secrets.token_hex(32)",
    'PASSWORD_HELP = "what_people_read_on_the_form"',
    f"--hash=sha256:{DRAWN}",
    "https://example.org/user@host",
    "postgresql://hub:$PASSWORD@db/hub",
    f'token = "{DRAWN}"  # not-a-secret',
)


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_and_not_repeated(kind, tmp_path, capsys):
    file = tmp_path / "settings.py"
    file.write_text(f"first\n{SECRETS[kind]}\n")
    assert check_secrets.main([str(file)]) == 1
    said = capsys.readouterr().out
    assert f"settings.py:2: {kind}" in said
    assert SECRETS[kind] not in said


@pytest.mark.parametrize("line", INNOCENT)
def test_what_only_looks_like_a_secret_passes(line):
    assert list(check_secrets.finds(line)) == []


def test_what_is_not_text_is_passed_over(tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\xff\xfe")
    assert check_secrets.main([str(file), str(tmp_path / "gone")]) == 0


def told(tmp_path, text):
    file = tmp_path / "module.py"
    file.write_text(text)
    return list(check_sizes.complaints(file))


def test_a_long_module_is_to_be_split(tmp_path):
    [said] = told(tmp_path, "x = 1\n" * 401)
    assert "401 lines of code; at most 400" in said


def test_docstrings_comments_and_blank_lines_do_not_count(tmp_path):
    assert (
        told(tmp_path, '"""Why.\n' + "more\n" * 400 + '"""\n' + "# so\n\n" * 400 + "x = 1\n") == []
    )


def test_a_long_function_is_named_with_its_line(tmp_path):
    [said] = told(tmp_path, "\ndef long():\n" + "    x = 1\n" * 50)
    assert "module.py:2: long has 51 lines" in said


def test_many_parameters_by_position_are_named(tmp_path):
    [said] = told(tmp_path, "class A:\n    def f(self, a, b, c, d, e, g, *, h=1): ...\n")
    assert "module.py:2: f takes 6 by position" in said


def test_a_big_file_of_any_kind_is_named(tmp_path):
    file = tmp_path / "data.bin"
    file.write_bytes(bytes(600 * 1024))
    [said] = check_sizes.complaints(file)
    assert "600 KiB" in said


@pytest.mark.parametrize("script", ["check_secrets.py", "check_sizes.py"])
def test_the_repository_passes(script):
    command = [sys.executable, f"tools/{script}"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
