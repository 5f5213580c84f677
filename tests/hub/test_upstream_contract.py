"""The names and signatures of JupyterHub and KubeSpawner that we rely on, also the private ones.

A new release that changes one of them fails here first, by name.
"""

import inspect

import jupyterhub
import kubespawner
import pytest
from jupyterhub import apihandlers, handlers
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.apihandlers.users import SpawnProgressAPIHandler, UserServerAPIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.pages import SpawnHandler, SpawnPendingHandler
from jupyterhub.spawner import Spawner
from jupyterhub.user import User
from kubespawner import KubeSpawner
from kubespawner.reflector import ResourceReflector
from kubespawner.spawner import PodReflector

from jupyter_gpu_jit.hub import guard
from jupyter_gpu_jit.hub.spawner import GpuJitSpawner


def names(function):
    return list(inspect.signature(function).parameters)


def test_the_versions_are_those_we_support():
    assert (5, 5, 1) <= jupyterhub.version_info[:3] < (7, 0, 0)
    assert int(kubespawner.__version__.split(".")[0]) >= 7


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_start", ["self"]),
        ("_make_create_pod_request", ["self", "pod", "request_timeout"]),
        ("_start_watching_pods", ["self", "replace"]),
        (
            "_start_reflector",
            ["self", "kind", "reflector_class", "replace", "kwargs"],
        ),
        ("_get_pod_url", ["self", "pod"]),
        ("get_pod_manifest", ["self"]),
        ("load_user_options", ["self"]),
        ("is_pod_running", ["self", "pod"]),
        ("poll", ["self"]),
        ("stop", ["self", "now"]),
        ("progress", ["self"]),
        ("get_env", ["self"]),
    ],
)
def test_kubespawner_has_what_we_override_or_call(method, parameters):
    assert names(getattr(KubeSpawner, method)) == parameters
    if method in vars(GpuJitSpawner):
        assert names(getattr(GpuJitSpawner, method)) == parameters


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_run_apply_user_options", ["self", "user_options"]),
        ("options_from_query", ["self", "query_data"]),
        ("run_options_from_form", ["self", "form_data"]),
        ("get_options_form", ["self"]),
        ("get_url", ["self"]),
    ],
)
def test_the_hubs_spawner_has_what_we_override_or_call(method, parameters):
    assert names(getattr(Spawner, method)) == parameters


@pytest.mark.parametrize(
    "name",
    [
        "_spawn_pending",
        "_check_pending",
        "_proxy_pending",
        "_waiting_for_response",
        "_spawn_future",
        "_failed",
        "_log_name",
        "pending",
        "ready",
        "active",
        "user_options",
        "apply_user_options",
        "options_form",
        "options_from_form",
        "consecutive_failure_limit",
        "server_token_scopes",
    ],
)
def test_the_hubs_spawner_has_what_we_read(name):
    assert hasattr(Spawner, name)


@pytest.mark.parametrize(
    "name",
    [
        "reflectors",
        "pod_reflector",
        "component_label",
        "k8s_api_request_timeout",
        "enable_user_namespaces",
        "services_enabled",
        "after_pod_created_hook",
        "events_enabled",
    ],
)
def test_kubespawner_has_what_we_read(name):
    assert hasattr(KubeSpawner, name)


def test_the_reflector_replaces_its_resources_whole_and_pops_what_is_deleted():
    listing = inspect.getsource(ResourceReflector._list_and_update)
    assert "self.resources = {" in listing
    watching = inspect.getsource(ResourceReflector._watch_and_update)
    assert "self.resources.pop(ref_key, None)" in watching
    assert "self.resources[ref_key] = resource" in watching
    assert isinstance(PodReflector.pods, property)
    assert {"watch_task", "first_load_future"} <= set(ResourceReflector.__init__.__code__.co_names)


def test_a_poll_at_the_hubs_start_may_wait_before_it_is_judged():
    from jupyterhub.app import JupyterHub

    source = inspect.getsource(JupyterHub.init_spawners)
    poll, url = (
        source.index("status = await spawner.poll()\n                except"),
        source.index("await spawner.get_url()"),
    )
    assert source.index("def check_spawner") < poll < url
    assert "spawner._check_pending = True" in source


def test_what_a_failed_start_raises_reaches_people():
    source = inspect.getsource(APIHandler.write_error)
    assert "jupyterhub_message" in source or "exception.log_message % exception.args" in source
    from jupyterhub.utils import format_exception

    assert names(format_exception) == ["exc", "only_jupyterhub"]


def test_the_hub_stops_whatever_a_failed_start_made():
    source = inspect.getsource(User.spawn)
    assert "await self.stop(spawner.name)" in source
    assert "_run_apply_user_options" in source


def test_the_guards_stand_in_for_handlers_that_exist():
    assert any(
        row[1] in (UserServerAPIHandler, guard.GuardedServerAPIHandler)
        for row in apihandlers.default_handlers
    )
    assert any(
        row[1] in (SpawnHandler, guard.GuardedSpawnHandler) for row in handlers.default_handlers
    )
    assert names(BaseHandler.spawn_single_user)[:3] == ["self", "user", "server_name"]
    assert "options" in names(BaseHandler.spawn_single_user)
    for handler in (UserServerAPIHandler.post, SpawnHandler._wrap_spawn_single_user):
        assert "options=options" in inspect.getsource(inspect.unwrap(handler))


def test_the_pages_we_replace_are_given_what_ours_use():
    source = inspect.getsource(inspect.unwrap(SpawnPendingHandler.get))
    for name in ("spawn_pending.html", "progress_url=", "spawner=spawner", "user=user"):
        assert name in source
    assert {"keepalive", "send_event"} <= set(vars(SpawnProgressAPIHandler))
