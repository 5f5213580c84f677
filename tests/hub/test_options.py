"""Bad options through every way in: a 4xx with a sentence each, never a 500, never a pod."""

import io
import json
import re
from urllib.parse import urlencode

import pytest
from hub_world import bodies, eventually

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.options import parse_profiles, resolve

pytestmark = pytest.mark.asyncio(loop_scope="module")
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
SENTENCE = re.compile(r"[A-Z\"].{8,}[.!?]", re.DOTALL)


def is_refused(status, text):
    return 400 <= status < 500 and SENTENCE.search(text)


async def refused(world, user, calls):
    """Names of the calls that were not refused with a sentence; no pod may come of any."""
    wrong = []
    for name, call in calls:
        status, answer = await call()
        text = answer.get("message", "") if isinstance(answer, dict) else str(answer)
        if not is_refused(status, text):
            wrong.append((name, status, text[:300]))
    assert not wrong, wrong[:5]
    assert world.hand.pod_of(user) is None
    assert not re.search(r"\b5\d\d (POST|GET)|Unhandled", world.log()), world.log()[-3000:]


def api(world, path, data, token=""):
    async def call():
        return await world.call("POST", path, data=data, token=token)

    return call


@pytest.mark.parametrize("server", ["", "named"])
async def test_bad_bodies_through_the_api_are_refused(world, server):
    user = await world.new_user()
    token = await world.token_of(user)
    path = f"users/{user}/servers/{server}" if server else f"users/{user}/server"
    calls = []
    for name, body in bodies.BAD_BODIES:
        calls.append((name, api(world, path, json.dumps(body).encode(), token)))
        wrapped = json.dumps({"user_options": body}).encode()
        calls.append((f"{name}, wrapped", api(world, path, wrapped, token)))
    assert len(calls) >= 400
    await refused(world, user, calls)


RAW = {
    "list": b'[{"profile": "cpu"}]',
    "empty list": b"[]",
    "text": b'"cpu"',
    "empty text": b'""',
    "number": b"4",
    "zero": b"0",
    "true": b"true",
    "false": b"false",
    "not JSON": b"{profile: cpu}",
    "form": b"profile=cpu",
    "cut off": b'{"profile": "cp',
    "not UTF-8": b'{"profile": "\xff\xfe"}',
    "deep": b"[" * 30000 + b"]" * 30000,
    "deep in an option": b'{"profile": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "10 MB of an option": b'{"profile": "' + b"x" * 10_000_000 + b'"}',
    "10 MB of keys": b"{" + b",".join(b'"k%d": 1' % i for i in range(900_000)) + b"}",
    "options a list": b'{"user_options": [1]}',
    "options a text": b'{"user_options": "cpu"}',
    "options a number": b'{"user_options": 1}',
}


@pytest.mark.parametrize("server", ["", "named"])
async def test_bodies_that_are_no_options_are_refused(world, server):
    user = await world.new_user()
    path = f"users/{user}/servers/{server}" if server else f"users/{user}/server"
    await refused(world, user, [(name, api(world, path, raw)) for name, raw in RAW.items()])


@pytest.mark.parametrize("server", ["", "named"])
async def test_bad_forms_are_refused(world, server):
    user = await world.new_user()
    browser = await world.browser(user)
    path = f"spawn/{user}/{server}" if server else "spawn"

    def form(fields):
        data = [(name, value) for name, values in fields.items() for value in values]

        async def call():
            text = urlencode(data, errors="surrogatepass").encode()
            return await browser.post(path, text, headers=URLENCODED)

        return call

    # A form may well use upstream's spelling of a field, and a field without values is no field.
    bad = [(n, f) for n, f in bodies.BAD_FORMS if any(f.values()) and n != "upstream form key"]
    calls = [(name, form(f)) for name, f in bad]
    await refused(world, user, calls)
    await browser.close()


async def test_forms_that_are_no_text_are_refused(world):
    user = await world.new_user()
    browser = await world.browser(user)

    def raw(data):
        async def call():
            return await browser.post("spawn", data, headers=URLENCODED)

        return call

    bodies_ = {
        "not UTF-8": b"profile=%ff%fe",
        "not UTF-8 as name": b"%ff=cpu",
        "10 MB": b"profile=" + b"x" * 10_000_000,
        "many fields": b"&".join(b"f%d=1" % i for i in range(2000)),
        "no profile of ours": b"profile=\x00",
    }
    await refused(world, user, [(name, raw(data)) for name, data in bodies_.items()])
    await browser.close()


async def test_files_in_a_form_are_refused(world):
    user = await world.new_user()
    browser = await world.browser(user)
    fields = {"profile": "cpu", "image": io.BytesIO(b"a file")}
    status, text = await browser.post("spawn", fields)
    assert is_refused(status, text)
    assert world.hand.pod_of(user) is None
    await browser.close()


async def test_a_link_with_options_starts_nothing(world):
    user = await world.new_user()
    browser = await world.browser(user)
    for query in ("opt-profile=l4", "profile=l4", "opt-profile=nonsense", "opt-profile=%ff"):
        status, text = await browser.get(f"spawn?{query}")
        assert is_refused(status, text), (query, status)
        assert world.hand.pod_of(user) is None
    _, text = await browser.get("spawn?opt-profile=l4")
    assert re.search(r'value="l4"[^>]*\s+checked', text), text
    await browser.close()


async def test_bad_options_are_not_remembered_for_the_next_start(world):
    user = await world.new_user()
    status, _ = await world.call("POST", f"users/{user}/server", {"profile": "nope"})
    assert status == 400
    status, text = await world.call("POST", f"users/{user}/server", {})
    assert status in (201, 202), text
    pod = await world.hand.has_pod(user)
    assert json.loads(pod["metadata"]["annotations"][wire.SESSION_ANNOTATION])["profile"] == "cpu"


async def test_saved_options_of_a_profile_that_is_no_longer_open_are_refused(world):
    user = await world.new_user(groups=("students", "staff"))
    await world.call("POST", f"users/{user}/server", {"profile": "staff"})
    await world.hand.has_pod(user)
    await world.call("POST", f"gpu-jit/users/{user}/server/cancel")
    await world.until_stopped(user)
    await world.call("DELETE", "groups/staff/users", {"users": [user]})
    status, answer = await world.call("POST", f"users/{user}/server")
    assert status == 400
    assert "staff" in answer["message"]
    assert world.hand.pod_of(user) is None


async def test_a_profile_of_a_group_is_open_to_its_members_only(world):
    outside = await world.new_user()
    status, _ = await world.call("POST", f"users/{outside}/server", {"profile": "staff"})
    assert status == 400
    inside = await world.new_user(groups=("staff",))
    status, text = await world.call("POST", f"users/{inside}/server", {"profile": "staff"})
    assert status in (201, 202), text
    await world.hand.has_pod(inside)


async def test_good_bodies_give_exactly_the_allowed_pod(world):
    profiles = parse_profiles(bodies.PROFILES)
    for name, body, canonical in bodies.GOOD_BODIES:
        user = await world.new_user()
        wanted = resolve(profiles, body, groups=bodies.GROUPS)
        assert wanted.user_options == canonical
        status, text = await world.call("POST", f"users/{user}/server", body)
        assert status in (201, 202), (name, text)
        pod = await world.hand.has_pod(user)
        size = wire.pod_resources(pod["spec"])
        assert size == wanted.profile.resources, name
        request = wire.read_session_pod(pod).request
        assert request.profile == wanted.profile.slug
        assert request.requirements.capacity == wanted.profile.capacity
        assert request.requirements.zones == wanted.profile.zones
        image = pod["spec"]["containers"][0]["image"]
        assert image == (wanted.profile.image or "quay.io/jupyter/base-notebook:1")
        await world.call("POST", f"gpu-jit/users/{user}/server/cancel")
        await eventually(lambda u=user: world.hand.pod_of(u), lambda p: p is None)


async def test_the_form_starts_what_was_chosen(world):
    user = await world.new_user()
    browser = await world.browser(user)
    fields = {
        "profile": "l4",
        "profile-option-l4--gpus": "4",
        "profile-option-l4--zone": "us-east-1b",
        "profile-option-staff--capacity": "spot",
    }
    status, text = await browser.post("spawn", fields)
    assert status == 302, text
    pod = await world.hand.has_pod(user)
    assert wire.pod_resources(pod["spec"]).gpus == 4
    await browser.close()


async def test_nothing_of_a_start_stays_for_the_next_one(world):
    user = await world.new_user()
    await world.call("POST", f"users/{user}/server", {"profile": "l4", "gpus": 8})
    await world.hand.has_pod(user)
    await world.call("POST", f"gpu-jit/users/{user}/server/cancel")
    await world.until_stopped(user)
    await world.call("POST", f"users/{user}/server", {"profile": "cpu"})
    pod = await world.hand.has_pod(user)
    assert wire.pod_resources(pod["spec"]).gpus == 0
    assert "nvidia.com/gpu" not in json.dumps(pod["spec"]["containers"])


async def test_a_hub_of_bad_starts_goes_on_living(world):
    user = await world.new_user()
    for _ in range(12):
        status, _ = await world.call("POST", f"users/{user}/server", {"profile": "nope"})
        assert status == 400
    status, _ = await world.call("GET", "")
    assert status == 200
