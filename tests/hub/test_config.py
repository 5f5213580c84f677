"""What ``setup(c)`` says to the hub, and which settings it refuses."""

import json

import pytest
from traitlets import TraitError
from traitlets.config import Config

from jupyter_gpu_jit.hub import setup
from jupyter_gpu_jit.hub.traits import GpuJitTraits

GOOD = [{"slug": "cpu"}, {"slug": "big", "groups": ["staff"], "memory": "64Gi"}]


def configured(before=lambda c: None):
    c = Config()
    before(c)
    setup(c)
    return c


def test_waiting_starts_neither_end_the_hub_nor_keep_others_out():
    c = configured()
    assert c.JupyterHub.concurrent_spawn_limit == 0
    assert c.JupyterHub.active_server_limit == 0
    assert c.Spawner.consecutive_failure_limit == 0
    assert GpuJitTraits().start_deadline_seconds + 60 <= c.Spawner.start_timeout


def test_every_user_has_the_scopes_that_servers_are_given():
    c = configured()
    (role,) = [r for r in c.JupyterHub.load_roles if r["name"] == "user"]
    assert "self" in role["scopes"]
    assert "custom:gpu-jit:control!user" in role["scopes"]
    assert "custom:gpu-jit:control" in c.JupyterHub.custom_scopes
    assert "custom:gpu-jit:control!server" in c.Spawner.server_token_scopes


def test_what_was_configured_before_stays():
    def before(c):
        c.JupyterHub.template_paths = ["/mine"]
        c.JupyterHub.extra_handlers.append(("/mine", object))
        c.JupyterHub.load_roles = [
            {"name": "user", "scopes": ["self", "list:groups"]},
            {"name": "teacher", "scopes": ["admin:servers"]},
        ]
        c.JupyterHub.custom_scopes = {"custom:mine": {"description": "Mine."}}

    c = configured(before)
    assert c.JupyterHub.template_paths[-1] == "/mine"
    assert c.JupyterHub.extra_handlers[0] == ("/mine", object)
    user, teacher = c.JupyterHub.load_roles
    assert {"self", "list:groups", "custom:gpu-jit:control!user"} <= set(user["scopes"])
    assert teacher == {"name": "teacher", "scopes": ["admin:servers"]}
    ours = {"custom:gpu-jit:control", "custom:gpu-jit:read"}
    assert set(c.JupyterHub.custom_scopes) == {"custom:mine"} | ours


def test_setup_twice_is_setup_once():
    c = configured()
    roles, scopes = json.dumps(c.JupyterHub.load_roles), dict(c.JupyterHub.custom_scopes)
    setup(c)
    assert json.dumps(c.JupyterHub.load_roles) == roles
    assert c.JupyterHub.custom_scopes == scopes
    assert len(c.JupyterHub.template_paths) == len(set(c.JupyterHub.template_paths))
    routes = [row[0] for row in c.JupyterHub.extra_handlers]
    assert len(routes) == len(set(routes))


def test_profiles_come_from_traits_or_a_file(tmp_path):
    file = tmp_path / "profiles.yaml"
    file.write_text(json.dumps({"profiles": GOOD}))
    slugs = ["cpu", "big"]
    assert [p.slug for p in GpuJitTraits(profiles=GOOD).offered_profiles()] == slugs
    assert [p.slug for p in GpuJitTraits(profiles_file=str(file)).offered_profiles()] == slugs


def test_a_file_is_read_again_when_it_changes_and_a_broken_change_keeps_the_last_good(tmp_path):
    file = tmp_path / "profiles.yaml"
    file.write_text(json.dumps(GOOD))
    traits = GpuJitTraits(profiles_file=str(file))
    file.write_text(json.dumps([*GOOD, {"slug": "new"}]))
    assert [p.slug for p in traits.offered_profiles()] == ["cpu", "big", "new"]
    file.write_text("- {slug: [")
    assert [p.slug for p in traits.offered_profiles()] == ["cpu", "big", "new"]
    file.unlink()
    assert [p.slug for p in traits.offered_profiles()] == ["cpu", "big", "new"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"profiles": [{"slug": "a", "memmory": "1Gi"}]}, "memory"),
        ({"profiles": [{"slug": "a"}, {"slug": "a"}]}, "a"),
        ({"profiles_file": "/nowhere/profiles.yaml"}, "/nowhere/profiles.yaml"),
        ({"service_api_url": "proxy/services"}, "http"),
        ({"quotes_url": "file:///etc/passwd"}, "http"),
        ({"start_deadline_seconds": 0}, "1 second"),
    ],
)
def test_wrong_settings_are_refused_at_once_with_a_sentence(settings, words):
    with pytest.raises(TraitError, match=words):
        GpuJitTraits(**settings)


def test_every_setting_says_what_it_is_and_in_which_unit():
    for name, trait in GpuJitTraits.class_own_traits(config=True).items():
        assert trait.help.strip(), name
        if isinstance(trait.default_value, int):
            assert "second" in trait.help.lower(), name
