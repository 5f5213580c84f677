"""What is said of a profile_list before anybody starts: when a hub starts, and by the command."""

import json

import pytest
from traitlets import TraitError
from traitlets.config import Config

from jupyter_gpu_jit import cli
from jupyter_gpu_jit.hub import profile_list
from jupyter_gpu_jit.hub.spawner import GpuJitSpawner


def checked(listed, **settings):
    c = Config()
    c.KubeSpawner.profile_list = listed
    for name, value in settings.items():
        c.GpuJitSpawner[name] = value
    return profile_list.check(GpuJitSpawner, c)


def test_profiles_of_ours_win_and_that_is_said():
    entry = {"display_name": "A", "kubespawner_override": {"mem_guarantee": "nonsense"}}
    assert checked([entry], profiles=[{"slug": "x"}])[0] == [profile_list.WINS]


def test_a_function_is_not_asked_before_there_is_a_user():
    assert checked(lambda spawner: 1 / 0)[0] == [profile_list.ASKED_PER_USER]


def test_no_list_is_nothing_to_say():
    said, found = checked([])
    assert (said, found.profiles) == ([], ())


def test_a_setting_that_kubespawner_would_not_take_is_found_at_the_start():
    entry = {"display_name": "A", "kubespawner_override": {"priority_class_name": 7}}
    with pytest.raises(TraitError, match="priority_class_name"):
        checked([entry])


def test_hub_wide_settings_are_what_a_profile_begins_with():
    c = Config()
    c.KubeSpawner.profile_list = [{"display_name": "A"}]
    c.KubeSpawner.mem_guarantee, c.KubeSpawner.cpu_limit = "3G", 2
    c.KubeSpawner.extra_resource_limits = {"nvidia.com/gpu": "2"}
    c.GpuJitSpawner.profile_list_capacity = "spot"
    (profile,) = profile_list.check(GpuJitSpawner, c)[1].profiles
    assert (profile.memory_guarantee_bytes, profile.cpu_guarantee_millicpu) == (3 << 30, 2000)
    assert (profile.gpus, profile.capacity) == (2, "spot")


# --- gpu-jit validate --profile-list -----------------------------------------------------------

ENTRY = {
    "display_name": "L4",
    "kubespawner_override": {
        "cpu_limit": 3,
        "mem_limit": "12G",
        "namespace": "x",
        "extra_resource_limits": {"nvidia.com/gpu": 1},
    },
    "profile_options": {
        "image": {"choices": {k: {"kubespawner_override": {"image": k}} for k in ("a:1", "b:1")}}
    },
}
TOLD = (
    "  l4: 1 GPU, 3 CPU, 12Gi; to choose: image\n"
    "- L4: namespace is not carried: it is no part of the pod, so the hub's own value holds.\n"
)
PROGRAM = """
c = get_config()
from jupyter_gpu_jit import setup
setup(c)
c.KubeSpawner.profile_list = {}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", json.dumps([ENTRY])),
        ("mapping.yaml", json.dumps({"profile_list": [ENTRY]})),
        ("keys.yaml", json.dumps({"first": ENTRY})),
        ("values.yaml", json.dumps({"singleuser": {"profileList": [ENTRY]}})),
        ("chart.yaml", json.dumps({"jupyterhub": {"singleuser": {"profileList": [ENTRY]}}})),
        ("jupyterhub_config.py", PROGRAM.replace("{}", repr([ENTRY]))),
    ],
)
def test_the_command_says_what_is_carried_and_what_is_not(name, text, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert cli.main(["validate", "--profile-list", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out.endswith(f"{name}: 1 profiles of profile_list\n{TOLD}")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "[", "cannot be read as YAML"),
        ("a.json", "[]", "has no profile_list"),
        ("a.json", '{"singleuser": {}}', "has no profile_list"),
        ("a.json", "7", "profile_list"),
        ("a.json", '[{"display_name": 7}]', "entry 0: display_name must be a text"),
        ("a.py", PROGRAM.replace("{}", "[]"), "has no profile_list"),
        ("a.py", PROGRAM.replace("{}", "missing"), "fails: NameError"),
        ("a.py", PROGRAM.replace("{}", "7"), "profile_list"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_sentence(name, text, words, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert cli.main(["validate", "--profile-list", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("gpu-jit: ")
    assert words in said.err
    assert "Traceback" not in said.err
