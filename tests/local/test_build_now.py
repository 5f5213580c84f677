"""``python -m jupyter_gpu_jit.local.control_plane`` says what it does, or why it cannot."""

from jupyter_gpu_jit.errors import Defect
from jupyter_gpu_jit.local.control_plane import __main__ as command


def test_what_is_built_is_said(monkeypatch, capsys):
    monkeypatch.setattr(command, "build", lambda say: say("building etcd"))
    assert command.main() == 0
    assert capsys.readouterr().out == "control plane: building etcd\n"


def test_a_build_that_fails_is_one_sentence_and_status_2(monkeypatch, capsys):
    def fails(say):
        raise Defect("There is no Go.")

    monkeypatch.setattr(command, "build", fails)
    assert command.main() == 2
    assert capsys.readouterr().err == "There is no Go.\n"
