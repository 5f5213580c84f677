"""A KubeSpawner profile_list as it stands, on a real hub: form, API, pods, bad entries."""

import asyncio
import json
import re

import pytest
import pytest_asyncio
from hub_world import World

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.hub import profile_list

on_hub = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
c.GpuJitSpawner.profiles_file = ""
c.KubeSpawner.environment = {"EVERYBODY": "1", "UNWANTED": "1"}
c.KubeSpawner.node_selector = {"hub.jupyter.org/node-purpose": "user"}

LIST = [
    {"display_name": "Small", "description": "No GPU",
     "kubespawner_override": {"cpu_guarantee": 0.5, "cpu_limit": 2, "mem_guarantee": "1G",
                              "mem_limit": "2G"}},
    {"display_name": "L4", "slug": "gpu_l4", "default": True,
     "kubespawner_override": {
        "image": "quay.io/jupyter/pytorch:1",
        "cpu_guarantee": 3, "mem_guarantee": "12G", "mem_limit": "12G",
        "extra_resource_limits": {"nvidia.com/gpu": "1"},
        "extra_resource_guarantees": {"nvidia.com/gpu": "1"},
        "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        "tolerations": [{"key": "lab", "operator": "Exists", "effect": "NoSchedule"}],
        "environment": {"PROFILE": "l4", "WHO": "{username}", "UNWANTED": None},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-{username}"}}],
        "volume_mounts": [{"name": "data", "mountPath": "/data"}]},
     "profile_options": {
        "image": {"display_name": "Image",
          "choices": {
            "torch": {"display_name": "PyTorch",
                      "kubespawner_override": {"image": "quay.io/jupyter/pytorch:1"}},
            "tf": {"display_name": "TensorFlow",
                   "kubespawner_override": {"image": "quay.io/jupyter/tensorflow:1"}}},
          "unlisted_choice": {"enabled": True, "display_name": "Other",
            "validation_regex": "^quay.io/lab/[a-z]+:[0-9]+$",
            "kubespawner_override": {"image": "{value}"}}},
        "size": {"display_name": "Size",
          "choices": {
            "one": {"display_name": "One GPU", "default": True, "kubespawner_override": {
                "extra_resource_limits": {"nvidia.com/gpu": "1"},
                "extra_resource_guarantees": {"nvidia.com/gpu": "1"}}},
            "four": {"display_name": "Four GPUs", "kubespawner_override": {
                "cpu_guarantee": 12, "mem_guarantee": "48G", "mem_limit": "48G",
                "extra_resource_limits": {"nvidia.com/gpu": "4"},
                "extra_resource_guarantees": {"nvidia.com/gpu": "4"}}}}}}},
    {"display_name": "Slice", "kubespawner_override": {
        "extra_resource_limits": {"nvidia.com/mig-1g.5gb": "1"}, "namespace": "elsewhere"}},
]

async def per_user(spawner):
    if spawner.user.name.startswith("broken"):
        raise RuntimeError("the directory is down")
    mine = {"display_name": "Of " + spawner.user.name, "slug": "mine",
            "kubespawner_override": {"mem_guarantee": lambda s: "%dG" % len(s.user.name)}}
    if spawner.user.name.startswith("odd"):
        mine["kubespawner_override"] = {"mem_limit": "1G", "priority_class_name": 7}
    return LIST if spawner.user.name.startswith("u") else [mine]

c.KubeSpawner.profile_list = per_user
"""


class Adopting(World):
    """A hub with further lines of configuration."""

    lines = CONFIG

    async def start_hub(self):
        config = self.folder / "jupyterhub_config.py"
        if self.lines not in config.read_text():
            config.write_text(f"{config.read_text()}\n{self.lines}")
        await super().start_hub()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hub(tmp_path_factory):
    """A hub whose profile_list is an async function."""
    here = await Adopting(tmp_path_factory.mktemp("hub")).start()
    yield here
    await here.stop()


async def pod_of(hub, user, body):
    status, text = await hub.call("POST", f"users/{user}/server", body)
    assert status in (201, 202), text
    return await hub.hand.has_pod(user)


def notebook(pod):
    return pod["spec"]["containers"][0]


def environment(pod):
    return {v["name"]: v.get("value") for v in notebook(pod)["env"]}


L4 = {"cpu": "3", "memory": "12Gi", "nvidia.com/gpu": "1"}


@on_hub
async def test_an_entry_with_gpus_starts_gated_with_the_resources_of_its_override(hub):
    user = await hub.new_user()
    pod = await pod_of(hub, user, {"profile": "gpu_l4"})
    assert pod["spec"]["schedulingGates"] == [{"name": wire.GATE}]
    assert notebook(pod)["resources"] == {
        "requests": L4,
        "limits": {"memory": "12Gi", "nvidia.com/gpu": "1"},
    }
    assert notebook(pod)["image"] == "quay.io/jupyter/pytorch:1"
    request = wire.read_session_pod(pod).request
    assert (request.profile, request.requirements.gpu_models) == ("gpu-l4", ("L4",))
    assert request.requirements.capacity == "on-demand"


@on_hub
async def test_what_does_not_place_a_session_is_on_its_pod_and_labels_that_do_are_not(hub):
    user = await hub.new_user()
    pod = await pod_of(hub, user, {"profile": "gpu_l4"})
    told = environment(pod)
    assert (told["PROFILE"], told["WHO"], told["EVERYBODY"]) == ("l4", user, "1")
    assert "UNWANTED" not in told
    assert pod["spec"]["nodeSelector"] == {"hub.jupyter.org/node-purpose": "user"}
    claims = [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["spec"]["volumes"]]
    assert f"data-{user}" in claims
    assert {"key": "lab", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"][
        "tolerations"
    ]


@on_hub
async def test_nothing_chosen_is_the_entry_marked_as_default(hub):
    user = await hub.new_user()
    assert wire.read_session_pod(await pod_of(hub, user, None)).request.profile == "gpu-l4"


@on_hub
@pytest.mark.parametrize(
    ("body", "image", "gpus"),
    [
        ({"image": "tf"}, "quay.io/jupyter/tensorflow:1", "1"),
        ({"size": "four"}, "quay.io/jupyter/pytorch:1", "4"),
        ({"image": "tf", "size": "four"}, "quay.io/jupyter/tensorflow:1", "4"),
        ({"image--unlisted-choice": "quay.io/lab/mine:7"}, "quay.io/lab/mine:7", "1"),
    ],
)
async def test_kubespawners_names_of_options_work_through_api_and_form(hub, body, image, gpus):
    user = await hub.new_user()
    pod = await pod_of(hub, user, {"profile": "gpu_l4", **body})
    by_form = await hub.new_user()
    browser = await hub.browser(by_form)
    form = {f"profile-option-gpu_l4--{name}": value for name, value in body.items()}
    status, text = await browser.post("spawn", {"profile": "gpu_l4", **form})
    assert status == 302, text
    for found in (pod, await hub.hand.has_pod(by_form)):
        assert notebook(found)["image"] == image
        assert notebook(found)["resources"]["limits"]["nvidia.com/gpu"] == gpus
    await browser.close()


@on_hub
@pytest.mark.parametrize(
    "body",
    [
        {"profile": "nope"},
        {"profile": "slice"},
        {"profile": "mine"},
        {"profile": "gpu_l4", "image": "nope"},
        {"profile": "gpu_l4", "size": "eight"},
        {"profile": "gpu_l4", "size": ["four"]},
        {"profile": "gpu_l4", "image--unlisted-choice": "quay.io/lab/mine:7/../evil:1"},
        {"profile": "gpu_l4", "image--unlisted-choice": "evil quay.io/lab/mine:7"},
        {"profile": "gpu_l4", "image--unlisted-choice": 7},
        {"profile": "gpu_l4", "size--unlisted-choice": "8"},
        {"profile": "gpu_l4", "image": "tf", "image--unlisted-choice": ["x"]},
        {"profile": "gpu_l4", "kubespawner_override": {"privileged": True}},
    ],
)
async def test_what_the_list_does_not_allow_is_refused_with_a_sentence(hub, body):
    user = await hub.new_user()
    status, answer = await hub.call("POST", f"users/{user}/server", body)
    assert status == 400, answer
    assert re.search(r"[A-Z].{8,}\.", answer["message"])
    assert hub.hand.pod_of(user) is None


@on_hub
async def test_nothing_of_a_profile_stays_for_the_next_start(hub):
    user = await hub.new_user()
    await pod_of(hub, user, {"profile": "gpu_l4"})
    await hub.call("POST", f"gpu-jit/users/{user}/server/cancel")
    await hub.until_stopped(user)
    pod = await pod_of(hub, user, {"profile": "small"})
    assert notebook(pod)["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "2Gi"},
    }
    assert environment(pod)["UNWANTED"] == "1"
    assert not {"PROFILE", "WHO"} & set(environment(pod))
    assert notebook(pod)["image"] == "quay.io/jupyter/base-notebook:1"
    assert "data" not in json.dumps(pod["spec"]["volumes"])


@on_hub
async def test_a_function_is_asked_for_each_user_and_those_in_it_are_called(hub):
    user = await hub.new_user("fourteen-chars")
    pod = await pod_of(hub, user, {})
    assert notebook(pod)["resources"]["requests"]["memory"] == "14Gi"
    browser = await hub.browser(user)
    await hub.call("POST", f"gpu-jit/users/{user}/server/cancel")
    await hub.until_stopped(user)
    _, text = await browser.get("spawn")
    assert "Of fourteen-chars" in text
    assert "gpu-l4" not in text
    await browser.close()


@on_hub
async def test_the_spawn_page_offers_what_the_list_has(hub):
    user = await hub.new_user()
    browser = await hub.browser(user)
    _, text = await browser.get("spawn")
    for words in ("L4: One GPU", "L4: Four GPUs", "quay.io/jupyter/tensorflow:1", "No GPU"):
        assert words in text, words
    assert "Slice" not in text
    await browser.close()


@on_hub
@pytest.mark.parametrize(
    ("user", "why"),
    [("broken-one", "the directory is down"), ("odd-one", "priority_class_name")],
)
async def test_a_function_that_fails_is_a_sentence_and_a_line_in_the_log(hub, user, why):
    await hub.new_user(user)
    status, answer = await hub.call("POST", f"users/{user}/server", {})
    assert (status, answer["message"]) == (400, profile_list.BROKEN)
    assert why in hub.log()
    assert hub.hand.pod_of(user) is None


# --- when the hub starts -----------------------------------------------------------------------


async def started(folder, lines):
    """A hub with these lines, its log; None when it ended by itself."""
    here = Adopting(folder)
    here.lines = lines
    try:
        return await asyncio.wait_for(here.start(), 60)
    except AssertionError:
        return None
    finally:
        await here.stop()


async def test_what_is_not_carried_is_in_the_log_once_when_the_hub_starts(tmp_path):
    lines = CONFIG.replace("profile_list = per_user", "profile_list = LIST")
    assert await started(tmp_path, lines)
    log = (tmp_path / "hub.log").read_text()
    assert log.count("Slice: it is left out: it asks for nvidia.com/mig-1g.5gb") == 1
    assert log.count("Slice: namespace is not carried") == 1
    assert "profile_list adopted: gpu-l4, gpu-l4-four, small" in log


async def test_a_bad_entry_ends_the_hub_with_a_sentence(tmp_path):
    lines = """
c.GpuJitSpawner.profiles_file = ""
c.KubeSpawner.profile_list = [
    {"display_name": "A", "kubespawner_override": {"mem_guarantee": "8 gigs"}},
]
"""
    assert await started(tmp_path, lines) is None
    log = (tmp_path / "hub.log").read_text()
    assert 'A: mem_guarantee must be bytes or a text such as "8G", not "8 gigs".' in log
    assert "Traceback" not in log
