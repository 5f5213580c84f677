"""S16: no two servers of a hub share a name of anything, and none takes another's request.

With KubeSpawner's real templates, which a-b and a, b (CVE-2020-15110) once met in.
"""

from __future__ import annotations

import itertools
import re

import option_fuzz
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyterhub import orm

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.options import parse_profiles
from jupyter_gpu_jit.hub.manifest import session_request


@pytest.fixture(autouse=True, scope="module")
def no_cluster():
    """KubeSpawner looks for a cluster when a spawner is made; nothing here asks one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubespawner.spawner.load_config", lambda **kwargs: None)
        patch.setattr("kubespawner.spawner.shared_client", lambda kind: None)
        yield


class Named:
    """One spawner asked for the names of many servers, with KubeSpawner's own templates."""

    def __init__(self) -> None:
        self.spawner = option_fuzz.spawner(adopted=False)

    def __call__(self, user: str, server: str) -> dict[str, str]:
        spawner = self.spawner
        spawner.user.name = user
        spawner.orm_spawner = orm.Spawner(name=server, user_options={})
        spawner.pod_name = spawner._expand_user_properties(spawner.pod_name_template)
        secret, claim = spawner.secret_name_template, spawner.pvc_name_template
        return {
            "pod": spawner.pod_name,
            "secret": spawner._expand_user_properties(secret),
            "claim": spawner._expand_user_properties(claim),
        }


def assert_apart(pairs: list[tuple[str, str]]) -> None:
    named = Named()
    owners: dict[tuple[str, str], tuple[str, str]] = {}
    for pair in pairs:
        for kind, name in named(*pair).items():
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name), (pair, name)
            assert owners.setdefault((kind, name), pair) == pair, (kind, name)


def test_no_two_of_all_short_pairs_share_a_name():
    users = [u for n in (1, 2, 3) for u in map("".join, itertools.product("ab-.", repeat=n))]
    servers = [s for n in (0, 1, 2) for s in map("".join, itertools.product("aA-b", repeat=n))]
    assert_apart(list(itertools.product(users, servers)))


def test_pairs_that_meet_when_joined_or_cut_have_names_of_their_own():
    long = "a" * 63
    pairs = [("a", "b"), ("a--b", ""), ("a-", "-b"), ("a-b", ""), ("a", "-b"), ("a", "")]
    pairs += [(long, ""), (long + "a", ""), (long + "b", ""), (long, "b"), (long + "--b", "")]
    pairs += [("a", long), ("a", long + "a"), ("a" * 200, "b" * 200), ("a" * 200, "b" * 199)]
    pairs += [("a@x.org", ""), ("a-x-org", ""), ("a-40x-2eorg", ""), ("é", ""), ("e", "é")]
    assert_apart(pairs)


TEXTS = st.text(st.sampled_from("ab-.@_é"), max_size=80)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(TEXTS.filter(bool), TEXTS), min_size=2, max_size=6, unique=True))
def test_no_two_servers_share_a_name_however_long(pairs):
    assert_apart(pairs)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=2, max_size=5, unique=True))
def test_the_request_on_a_pod_says_exactly_whose_it_is(pairs):
    (profile,) = parse_profiles([{"slug": "x"}])
    texts = {}
    for user, server in pairs:
        text = wire.encode_session(session_request(profile, user=user, server=server))
        found = wire.decode_session(text)
        assert (found.user, found.server) == (user, server)
        texts[text] = (user, server)
    assert len(texts) == len(pairs)
