"""S1, S2: whatever is asked for, the pod is one an administrator allowed, or it is a 4xx.

Most of it in this process, on real spawners, through the functions the hub calls in their order;
some hundreds over HTTP on a real hub.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any
from urllib.parse import urlencode

import option_fuzz
import pytest
from hub_world import World
from option_fuzz import Bodies, Json, allowed, as_json, flat

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.hub import guard
from jupyter_gpu_jit.hub.refusals import Refusal

SEED = 20260801
COUNT = 10_000
OVER_HTTP = 200
SENTENCE = re.compile(r"[A-Z\"/].{8,}[.!?]", re.DOTALL)


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """KubeSpawner looks for a cluster when a spawner is made; nothing here asks one."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **kwargs: None)


async def options_of(spawner: Any, way: str, sent: Any) -> Any:
    """The options that the hub takes from a form, a link or a body."""
    if way == "form":
        return await spawner.run_options_from_form(sent)
    if way == "query":
        return spawner.options_from_query(sent)
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    guard.check_body(raw)
    guard.check_json(raw)
    body = json.loads(raw) if raw.strip() else None
    is_wrapped = body and ("user_options" in body or "display_name" in body)
    return body["user_options"] if is_wrapped and "user_options" in body else body


async def pod_of(spawner: Any, way: str, sent: Any) -> Any:
    """The pod of one start, through what the hub calls. Raises Refusal."""
    options = await options_of(spawner, way, sent)
    if options is not None:
        await spawner.learn_profiles()
        spawner.resolved(options)
    spawner.user_options = options or {}
    await spawner._run_apply_user_options(spawner.user_options)
    await spawner.load_user_options()
    return await spawner.get_pod_manifest()


@pytest.mark.parametrize("adopted", [False, True], ids=["profiles", "profile_list"])
async def test_ten_thousand_bodies_give_an_allowed_pod_or_a_refusal(adopted):
    draw = Bodies(SEED, adopted=adopted)
    wanted = await allowed(adopted=adopted)
    # The same few objects all the way: nothing of one start may reach the next.
    spawners = [option_fuzz.spawner(adopted=adopted) for _ in range(3)]
    seen: set[str] = set()
    taken = refused = 0
    wrong: list[Any] = []
    for number in range(COUNT // 2):
        way, sent, must_be_taken = draw()
        try:
            pod = await pod_of(spawners[number % 3], way, sent)
        except Refusal as refusal:
            refused += 1
            told = (way, sent, refusal.status_code, refusal.jupyterhub_message)
            is_good = 400 <= told[2] < 500 and SENTENCE.search(told[3]) and not must_be_taken
            wrong += [] if is_good else [told]
            continue
        taken += 1
        text = flat(as_json(pod))
        assert text in wanted, (way, sent, text)
        assert wanted[text] == asked_profile(way, sent, wanted[text], adopted), (way, sent)
        seen.add(text)
    assert not wrong, wrong[:3]
    assert min(taken, refused) > COUNT // 10, (taken, refused)
    assert len(seen) > len(wanted) // 4


def asked_profile(way: str, sent: Any, given: str, adopted: bool) -> str:
    """The profile that was named, where one was; an option of a list may be a profile too."""
    body = sent if isinstance(sent, dict) else json.loads(sent or b"{}")
    body = body.get("user_options", body) or {}
    asked = body.get("profile", given)
    asked = asked[0] if way == "form" else asked
    if (adopted and asked == "big_gpu") or (adopted and asked == "big-gpu"):
        assert given.startswith("big-gpu")
        return given
    return str(asked)


# --- over HTTP ---------------------------------------------------------------------------------


async def test_some_hundreds_over_http_give_an_allowed_pod_or_a_refusal(tmp_path):
    """On a real hub; forms and links in a browser's way, bodies through the API."""
    world = await World(tmp_path).start()
    try:
        draw, taken = Bodies(SEED + 1, adopted=False), 0
        user = await world.new_user()
        browser = await world.browser(user)
        for _ in range(OVER_HTTP):
            way, sent, must_be_taken = draw()
            server = f"s{taken}"  # each that starts has a name of its own
            status, text = await over_http(world, browser, f"{user}/{server}", way, sent)
            assert status < 500, (way, sent, text[:500])
            if status >= 400:
                assert not must_be_taken, (way, sent, text[:500])
                assert SENTENCE.search(text), (way, sent)
                assert world.hand.pod_of(user, server) is None, (way, sent)
                continue
            taken += 1
            assert_allowed(await world.hand.has_pod(user, server))
        await browser.close()
        assert OVER_HTTP // 10 < taken < OVER_HTTP * 9 // 10
        assert not re.search(r"\b5\d\d (POST|GET)|Unhandled", world.log())
    finally:
        await world.stop()


async def over_http(world: World, browser: Any, whose: str, way: str, sent: Any) -> tuple[int, str]:
    if way == "query":
        return await browser.get(f"spawn/{whose}?{_urlencoded(sent)}")
    if way == "form":
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await browser.post(f"spawn/{whose}", _urlencoded(sent).encode(), headers=headers)
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    path = f"users/{whose.replace('/', '/servers/')}"
    status, answer = await world.call("POST", path, data=raw)
    return status, answer.get("message", "") if isinstance(answer, dict) else str(answer)


def _urlencoded(fields: Json) -> str:
    rows = ((name, v if isinstance(v, list) else [str(v)]) for name, v in fields.items())
    return urlencode(dict(rows), doseq=True, errors="surrogatepass")


def assert_allowed(pod: Json) -> None:
    """A pod of the corpus' profiles: size, image and nothing that nobody configured."""
    size = wire.pod_resources(pod["spec"])
    shapes = {(1700, 4, 0), *itertools.product((3000, 3500, 6000), (12, 24), (1, 4, 8))}
    assert (size.cpu_millicpu, size.memory_bytes >> 30, size.gpus) in shapes
    image = pod["spec"]["containers"][0]["image"]
    listed = (option_fuzz.IMAGE, option_fuzz.LISTED)
    assert image in listed or re.fullmatch(option_fuzz.PATTERN, image)
    for field, read in FORBIDDEN.items():
        assert read(pod["spec"]) == {**ORDINARY, **ADMITTED}.get(field), field


# --- S2: what no option may touch --------------------------------------------------------------


def _notebook(spec: Json) -> Json:
    notebook: Json = spec["containers"][0]
    return notebook


FORBIDDEN: dict[str, Any] = {
    "hostPath": lambda spec: [v for v in spec["volumes"] if "hostPath" in v] or None,
    "hostNetwork": lambda spec: spec.get("hostNetwork"),
    "hostPID": lambda spec: spec.get("hostPID"),
    "serviceAccountName": lambda spec: spec.get("serviceAccountName"),
    "automountServiceAccountToken": lambda spec: spec.get("automountServiceAccountToken"),
    "nodeSelector": lambda spec: spec.get("nodeSelector"),
    "nodeName": lambda spec: spec.get("nodeName"),
    "affinity": lambda spec: spec.get("affinity"),
    "tolerations": lambda spec: sorted(t["key"] for t in spec["tolerations"]),
    "containers": lambda spec: [c["name"] for c in spec["containers"]],
    "initContainers": lambda spec: spec.get("initContainers") or None,
    "privileged": lambda spec: (_notebook(spec).get("securityContext") or {}).get("privileged"),
    "command": lambda spec: _notebook(spec).get("command"),
    "priorityClassName": lambda spec: spec.get("priorityClassName"),
    "schedulingGates": lambda spec: [g["name"] for g in spec["schedulingGates"]],
}
ORDINARY: Json = {
    "automountServiceAccountToken": False,
    "tolerations": ["hub.jupyter.org/dedicated", "nvidia.com/gpu"],
    "containers": ["notebook"],
    "schedulingGates": [wire.GATE],
}
# What the API server writes into every pod.
ADMITTED: Json = {
    "serviceAccountName": "default",
    "tolerations": sorted(
        [
            *ORDINARY["tolerations"],
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ]
    ),
}
HOSTILE: Json = {
    "hostPath": [{"name": "x", "hostPath": {"path": "/"}}],
    "hostNetwork": True,
    "hostPID": True,
    "serviceAccountName": "admin",
    "automountServiceAccountToken": True,
    "nodeSelector": {"pool": "system"},
    "nodeName": "master",
    "affinity": {"nodeAffinity": {}},
    "tolerations": [{"operator": "Exists"}],
    "containers": [{"name": "x", "image": "evil"}],
    "initContainers": [{"name": "x", "image": "evil"}],
    "privileged": True,
    "command": ["sh"],
    "priorityClassName": "system-node-critical",
    "schedulingGates": [],
}
SETTINGS = {
    "hostPath": "volumes",
    "serviceAccountName": "service_account",
    "automountServiceAccountToken": "automount_service_account_token",
    "nodeSelector": "node_selector",
    "affinity": "node_affinity_required",
    "containers": "extra_containers",
    "initContainers": "init_containers",
    "command": "cmd",
    "priorityClassName": "priority_class_name",
}


def attempts(field: str, slug: str, option: str) -> list[Json]:
    """Bodies that try to set a field of the pod, by its name, KubeSpawner's, or inside others."""
    value = HOSTILE[field]
    spec = {field: value}
    names = [field, SETTINGS.get(field, field), f"{option}--{field}"]
    tries = [{"profile": slug, name: value} for name in names]
    for key in ("kubespawner_override", "extra_pod_config", "spec", "extra_container_config"):
        tries += [{"profile": slug, key: spec}, {"profile": slug, key: {"spec": spec}}]
    tries += [{"profile": slug, option: inner} for inner in (spec, [spec], json.dumps(spec))]
    tries += [{"profile": spec}, spec, {"user_options": {"profile": slug, **spec}}]
    tries.append({"profile": slug, "image--unlisted-choice": spec})
    return [
        *tries,
        {"profile": slug, "image--unlisted-choice": f"ghcr.io/lab/x:1 {json.dumps(spec)}"},
    ]


@pytest.mark.parametrize("adopted", [False, True], ids=["profiles", "profile_list"])
@pytest.mark.parametrize("field", FORBIDDEN)
async def test_no_option_can_set(field, adopted):
    slug = "big_gpu" if adopted else "l4"
    spawner = option_fuzz.spawner(adopted=adopted)
    ordinary = FORBIDDEN[field](as_json(await pod_of(spawner, "api", {"profile": slug}))["spec"])
    for body in attempts(field, slug, "image"):
        for way in ("api", "form", "query"):
            form = {name: [v if isinstance(v, str) else json.dumps(v)] for name, v in body.items()}
            with pytest.raises(Refusal):
                await pod_of(spawner, way, form if way == "form" else body)
    after = as_json(await pod_of(spawner, "api", {"profile": slug}))["spec"]
    assert FORBIDDEN[field](after) == ordinary
    if not adopted:
        assert ordinary == ORDINARY.get(field)


@pytest.mark.parametrize("adopted", [False, True], ids=["profiles", "profile_list"])
async def test_no_text_of_a_user_is_filled_in_as_a_template(adopted):
    """KubeSpawner formats ``{username}`` and the like in an administrator's texts."""
    slug = "big_gpu" if adopted else "l4"
    spawner = option_fuzz.spawner(adopted=adopted)
    key = "image--unlisted-choice" if adopted else "image"
    for text in ("ghcr.io/lab/{username}:1", "{0.__class__}", "ghcr.io/lab/x:{value}"):
        with pytest.raises(Refusal):
            await pod_of(spawner, "api", {"profile": slug, key: text})
