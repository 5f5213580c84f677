"""What a KubeSpawner profile_list becomes, what of it is said, and what its names mean."""

import copy
import re

import pytest

from jupyter_gpu_jit.core.carried import MAX_VARIANTS, Adopted, adopt
from jupyter_gpu_jit.core.options import resolve
from jupyter_gpu_jit.core.overrides import merged
from jupyter_gpu_jit.core.profile_schema import MAX_PROFILES
from jupyter_gpu_jit.errors import UserError

BASE = {
    "cpu_guarantee": None,
    "cpu_limit": None,
    "mem_guarantee": 1 << 30,
    "mem_limit": 1 << 30,
    "extra_resource_limits": {},
    "extra_resource_guarantees": {},
    "node_selector": {},
    "node_affinity_required": [],
}
KNOWN = frozenset({"namespace", "storage_capacity", "mem_guarantee"})
GPU = "nvidia.com/gpu"


def slugify(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def adopted(items, base=BASE, **how):
    return adopt(items, base, slugify=slugify, known=KNOWN, **how)


def entry(override=None, **more):
    return {
        "display_name": "A",
        "kubespawner_override": {"cpu_limit": 1, **(override or {})},
        **more,
    }


def one(override=None, **more):
    (profile,) = adopted([entry(override, **more)]).profiles
    return profile


def said(override=None, **more):
    return "\n".join(adopted([entry(override, **more)]).said)


def refused(items):
    with pytest.raises(UserError) as caught:
        adopted(items)
    assert caught.value.reason == "BadProfileList"
    return caught.value.user_message


def choices(**rows):
    return {
        "choices": {
            key: {"display_name": key.title(), "kubespawner_override": row}
            for key, row in rows.items()
        }
    }


def chosen(found, options):
    return resolve(found.profiles, found.options(options), groups=())


# --- sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ("8G", 8 << 30),
        ("1.5G", 3 << 29),
        ("512M", 512 << 20),
        ("65536K", 64 << 20),
        ("1T", 1 << 40),
        (2 << 30, 2 << 30),
        (1e9, 10**9),
    ],
)
def test_memory_has_jupyterhubs_units(value, size_bytes):
    profile = one({"mem_guarantee": value, "mem_limit": None})
    assert profile.memory_guarantee_bytes == size_bytes
    assert profile.effective_memory_limit_bytes == size_bytes


def test_guarantees_and_limits_of_both():
    override = {"cpu_guarantee": 0.5, "cpu_limit": 2, "mem_guarantee": "2G", "mem_limit": "4G"}
    profile = one(override)
    assert (profile.cpu_guarantee_millicpu, profile.cpu_limit_millicpu) == (500, 2000)
    assert (profile.memory_guarantee_bytes, profile.memory_limit_bytes) == (2 << 30, 4 << 30)
    assert said(override) == ""


def test_a_limit_alone_is_the_guarantee_too():
    profile = one({"cpu_limit": 3, "mem_guarantee": None, "mem_limit": "4G"})
    assert (profile.cpu_guarantee_millicpu, profile.memory_guarantee_bytes) == (3000, 4 << 30)


def test_no_size_at_all_is_said_and_planned_as_something():
    nothing = {"cpu_limit": None, "mem_guarantee": None, "mem_limit": None}
    profile = one(nothing)
    assert (profile.cpu_guarantee_millicpu, profile.memory_guarantee_bytes) == (1000, 1 << 30)
    assert profile.cpu_limit_millicpu is None
    assert "no cpu_guarantee" in said(nothing)
    assert "no mem_guarantee" in said(nothing)
    assert "no mem_limit" in said({"mem_guarantee": "2G", "mem_limit": None})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"mem_guarantee": "8 gigs"}, 'such as "8G"'),
        ({"mem_guarantee": "8Gi"}, 'such as "8G"'),
        ({"mem_guarantee": ""}, 'such as "8G"'),
        ({"mem_guarantee": True}, 'such as "8G"'),
        ({"mem_guarantee": [8]}, 'such as "8G"'),
        ({"mem_guarantee": "infG"}, 'such as "8G"'),
        ({"mem_guarantee": "1K"}, "memory.guarantee"),
        ({"mem_guarantee": "8G", "mem_limit": "4G"}, "must not be below"),
        ({"cpu_guarantee": "1"}, "a number of CPUs"),
        ({"cpu_guarantee": True}, "a number of CPUs"),
        ({"cpu_guarantee": -1}, "a number of CPUs"),
        ({"cpu_guarantee": float("nan")}, "a number of CPUs"),
        ({"image": 7}, "image"),
        ({"extra_resource_limits": {GPU: "many"}}, "as a number"),
        ({"extra_resource_limits": {GPU: True}}, "as a number"),
        ({"extra_resource_limits": {GPU: 1}, "extra_resource_guarantees": {GPU: 2}}, "1 and 2"),
        ({"extra_resource_limits": [1]}, "must be a mapping"),
        ({"extra_resource_limits": {GPU: 99}}, "gpus"),
        ({"node_selector": "gpu"}, "node_selector"),
        ({"node_selector": {"a": 1}}, "node_selector"),
        ({"node_affinity_required": ["a"]}, "must hold terms"),
        ({"node_affinity_required": "a"}, "must hold terms"),
    ],
)
def test_a_value_nothing_can_be_made_of_is_an_error_with_its_profile(override, words):
    message = refused([entry(override)])
    assert message.startswith("A: ")
    assert words in message


# --- GPUs and labels -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    [
        {"extra_resource_limits": {GPU: "2"}},
        {"extra_resource_guarantees": {GPU: 2}},
        {"extra_resource_limits": {GPU: 2}, "extra_resource_guarantees": {GPU: "2"}},
    ],
)
def test_gpus_are_found_in_limits_and_guarantees(override):
    assert one(override).gpus == 2


@pytest.mark.parametrize(
    "resource", ["nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "amd.com/gpu", "a.b/gpu"]
)
def test_other_kinds_of_gpu_leave_a_profile_out_and_say_so(resource):
    lost = entry({"extra_resource_limits": {resource: 1}})
    found = adopted([lost, {**entry(), "display_name": "B"}])
    assert [p.slug for p in found.profiles] == ["b"]
    assert found.said == (
        f"A: it is left out: it asks for {resource}; only whole GPUs (nvidia.com/gpu) are planned.",
    )
    assert "no profile of it can be offered" in refused([lost])
    with pytest.raises(UserError, match='no profile "a"'):
        chosen(found, {"profile": "a"})


def test_other_resources_stay_and_are_said():
    assert "smarter/fuse stays on the pod" in said({"extra_resource_limits": {"smarter/fuse": 1}})
    assert said({"extra_resource_limits": {"nvidia.com/mig-1g.5gb": 0}}) == ""


@pytest.mark.parametrize(
    ("label", "value", "models", "memory"),
    [
        ("nvidia.com/gpu.product", "Tesla-T4", ("T4",), 0),
        ("nvidia.com/gpu.product", "NVIDIA-L4", ("L4",), 0),
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB", ("A100",), 80),
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-40GB", ("A100",), 40),
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3", ("H100",), 0),
        ("k8s.amazonaws.com/accelerator", "nvidia-tesla-t4", ("T4",), 0),
        ("cloud.google.com/gke-accelerator", "nvidia-l4", ("L4",), 0),
        ("karpenter.k8s.aws/instance-gpu-name", "a10g", ("A10G",), 0),
    ],
)
def test_labels_of_gpus_become_models(label, value, models, memory):
    override = {"extra_resource_limits": {GPU: 1}, "node_selector": {label: value}}
    profile = one(override)
    assert (profile.gpu_models, profile.gpu_memory_gib) == (models, memory)
    assert ("or more" in said(override)) == (memory == 40)
    assert adopted([entry(override)]).pods["a"][-1] == {"node_selector": {label: None}}


def test_a_gpu_that_is_part_of_one_leaves_the_profile_out():
    for value in ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "Tesla-T4-SHARED"):
        override = {
            "extra_resource_limits": {GPU: 1},
            "node_selector": {"nvidia.com/gpu.product": value},
        }
        assert "left out" in refused([entry(override)])


@pytest.mark.parametrize(
    ("label", "value", "field", "wanted", "moved"),
    [
        ("topology.kubernetes.io/zone", "us-east-1a", "zones", ("us-east-1a",), False),
        ("failure-domain.beta.kubernetes.io/zone", "us-east-1b", "zones", ("us-east-1b",), True),
        ("karpenter.sh/capacity-type", "spot", "capacity", "spot", True),
        ("eks.amazonaws.com/capacityType", "ON_DEMAND", "capacity", "on-demand", True),
    ],
)
def test_labels_of_places_become_requirements(label, value, field, wanted, moved):
    found = adopted([entry({"node_selector": {label: value}})], capacity="spot-then-on-demand")
    assert getattr(found.profiles[0], field) == wanted
    assert bool(found.pods["a"][-1]) == moved
    assert found.said == ()


def test_labels_that_our_nodes_have_stay_on_the_pod():
    labels = {
        "node.kubernetes.io/instance-type": "g6.xlarge",
        "hub.jupyter.org/node-purpose": "user",
        "kubernetes.io/arch": "amd64",
    }
    found = adopted([entry({"node_selector": labels})])
    assert found.said == ()
    assert found.pods["a"][-1] == {}


@pytest.mark.parametrize(
    "labels",
    [
        {"pool": "gpu"},
        {"karpenter.sh/capacity-type": "reserved"},
        {"nvidia.com/gpu.product": "NVIDIA-Unheard-Of"},
        {"nvidia.com/gpu.product": ""},
    ],
)
def test_labels_that_no_node_of_ours_has_are_said(labels):
    override = {"extra_resource_limits": {GPU: 1}, "node_selector": labels}
    (label,) = labels
    assert f"the label {label}=" in said(override)


def test_a_model_without_a_count_of_gpus_is_only_a_label():
    assert "the label nvidia.com/gpu.product" in said(
        {"node_selector": {"nvidia.com/gpu.product": "Tesla-T4"}}
    )


def test_labels_in_required_affinity_are_looked_at_too():
    rows = [{"key": "pool", "operator": "Exists"}, {"key": "kubernetes.io/arch"}, "odd"]
    term = {"matchExpressions": rows}
    for terms in ([term], {"a": term}):
        text = said({"node_affinity_required": terms})
        assert "the label pool stays" in text
        assert text.count("label") == 1
    assert "without looking at it" in said({"pod_affinity_required": [{}]})


# --- settings --------------------------------------------------------------------------------


def test_what_is_no_part_of_the_pod_is_said():
    text = said({"namespace": "x", "automount_service_account_token": True, "mem_guarante": "8G"})
    assert "namespace is not carried: it is no part of the pod" in text
    assert "automount_service_account_token is not carried" in text
    assert 'did you mean "mem_guarantee"?' in text
    assert said({"automount_service_account_token": False}) == ""
    assert "image is a function" in said({"image": lambda spawner: "x"})


def test_what_belongs_to_the_pod_is_kept_for_it_in_order():
    found = adopted([entry({"environment": {"A": "1"}, "privileged": False, "namespace": "x"})])
    assert found.pods["a"][0] == {"cpu_limit": 1, "environment": {"A": "1"}, "privileged": False}


def test_the_old_name_of_image_is_image():
    assert one({"image_spec": "lab/x:1"}).image == "lab/x:1"


def test_overrides_merge_mappings_and_none_removes():
    base = {"a": {"x": 1, "y": {"z": 1}}, "b": [1], "c": 1}
    before = copy.deepcopy(base)
    once = merged(
        base, {"a": {"x": None, "y": {"w": 2}, "new": {"deep": 1}}}, {"c": None, "b": [2]}
    )
    assert once == {"a": {"y": {"z": 1, "w": 2}, "new": {"deep": 1}}, "b": [2], "c": None}
    assert merged(base, {"a": {"x": {"was": "a number"}, "gone": None}})["a"]["x"] == {
        "was": "a number"
    }
    assert base == before


def test_hub_wide_settings_are_merged_into():
    base = {**BASE, "node_selector": {"pool": "x"}, "extra_resource_limits": {GPU: 4}}
    override = {"node_selector": {"pool": None}, "extra_resource_limits": {GPU: None}}
    found = adopted([entry(override)], base=base)
    assert (found.profiles[0].gpus, found.said) == (0, ())


# --- entries ---------------------------------------------------------------------------------


def test_the_default_comes_first_and_a_mapping_is_sorted_by_its_keys():
    a, b, c = (entry(display_name=name) for name in "ABC")
    assert [p.slug for p in adopted([a, b, {**c, "default": True}]).profiles] == ["c", "a", "b"]
    assert [p.slug for p in adopted({"2": a, "1": b}).profiles] == ["b", "a"]


def test_slugs_are_kubespawners_where_we_can_and_theirs_keep_working():
    found = adopted([entry(slug="My_GPU.Big"), entry(slug="!!", display_name="B")])
    assert [p.slug for p in found.profiles] == ["my-gpu-big", "profile"]
    assert chosen(found, {"profile": "My_GPU.Big"}).profile.slug == "my-gpu-big"
    assert chosen(found, {"profile": "my-gpu-big"}).profile.slug == "my-gpu-big"
    assert chosen(found, {"profile": "!!"}).user_options == {"profile": "profile"}


def test_texts_are_shown_as_text():
    long = one(display_name="B" * 120, description="<p>One &amp; <b>two</b></p>\x07\nthree")
    assert (len(long.display_name), long.description) == (100, "One &amp; two\nthree")
    text = said(display_name="B" * 120, description="<p>One</p>")
    assert "cut to 100" in text
    assert "markup in its description" in text
    assert one(display_name="<b></b>", slug="x").display_name == "Profile"


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("gpu", "a list or a mapping"),
        (None, "a list or a mapping"),
        ([], "no profile"),
        (["gpu"], "entry 0: must be a mapping"),
        ([{}], "display_name"),
        ([{"display_name": " "}], "display_name"),
        ([{"display_name": 7}], "display_name"),
        ([entry(slug=7)], "slug must be a text"),
        ([{"display_name": "A", "kubespawner_override": []}], "kubespawner_override"),
        ([entry(profile_options=[])], "profile_options must be"),
        ([entry(profile_options={"image": 7})], 'the option "image" must be a mapping'),
        ([entry(profile_options={"image": {"choices": ["a"]}})], "for each of its choices"),
        ([entry(profile_options={"image": {"choices": {"a": 7}}})], "for each of its choices"),
        ([entry(profile_options={"image": {"unlisted_choice": 7}})], "for each of its choices"),
        (
            [entry(profile_options={"x": {"choices": {"a": {"kubespawner_override": 7}}}})],
            "for each of its choices",
        ),
        ([entry(), entry()], 'the slug "a" is that of two'),
        ([entry(display_name=f"A{i}") for i in range(MAX_PROFILES + 1)], "more than"),
        ([entry({"mem_guarantee": "x"}, display_name=f"A{i}") for i in range(12)], "A9: "),
    ],
)
def test_a_list_that_cannot_be_read_is_an_error_that_says_where(items, words):
    assert words in refused(items)


def test_keys_without_meaning_are_said():
    assert '"allowed_groups" has no meaning to KubeSpawner' in said(allowed_groups=["a"])


# --- options ---------------------------------------------------------------------------------

FREE = {
    "enabled": True,
    "validation_regex": "^lab/[a-z]+:[0-9]+$",
    "kubespawner_override": {"image": "{value}"},
}
OPTIONS = {
    "image": {**choices(base={"image": "lab/base:1"}, torch={"image": "lab/torch:1"})},
    "ram": choices(small={"mem_guarantee": "2G", "mem_limit": "2G"}, big={"mem_limit": "8G"}),
    "cores": choices(two={"cpu_limit": 2}, four={"cpu_limit": 4}),
    "cards": choices(
        one={"extra_resource_limits": {GPU: 1}}, two={"extra_resource_limits": {GPU: 2}}
    ),
    "size": choices(
        s={"environment": {"SIZE": "s"}},
        l={"environment": {"SIZE": "l"}, "tolerations": [{"operator": "Exists"}]},
    ),
}
OPTIONS["ram"]["choices"]["big"]["kubespawner_override"]["mem_guarantee"] = "8G"
OPTIONS["image"]["unlisted_choice"] = FREE


def full():
    return adopted([entry(profile_options=OPTIONS, slug="a_1")])


def test_options_that_vary_one_thing_are_choices_of_ours_and_others_are_profiles():
    found = full()
    assert [(p.slug, p.display_name) for p in found.profiles] == [
        ("a-1", "A: S"),
        ("a-1-l", "A: L"),
    ]
    rules = found.profiles[0].choices
    assert set(rules) == {"image", "memory", "cpu", "gpus"}
    assert rules["memory"].values == ("2Gi", "8Gi")
    assert found.pods["a-1-l"][-2]["environment"] == {"SIZE": "l"}
    assert found.said == ()


@pytest.mark.parametrize(
    ("options", "canonical"),
    [
        ({}, {"profile": "a-1"}),
        ({"profile": "a_1"}, {"profile": "a-1"}),
        ({"profile": "a_1", "size": "l"}, {"profile": "a-1-l"}),
        ({"profile": "a_1", "size": "", "image": "", "ram": ""}, {"profile": "a-1"}),
        ({"size": "l", "ram": "big"}, {"profile": "a-1-l", "memory": "8Gi"}),
        ({"image": "torch"}, {"profile": "a-1", "image": "lab/torch:1"}),
        ({"image": "lab/torch:1"}, {"profile": "a-1", "image": "lab/torch:1"}),
        ({"image--unlisted-choice": "lab/x:7"}, {"profile": "a-1", "image": "lab/x:7"}),
        (
            {"image": "base", "image--unlisted-choice": "lab/x:7"},
            {"profile": "a-1", "image": "lab/x:7"},
        ),
        (
            {"image": "base", "image--unlisted-choice": ""},
            {"profile": "a-1", "image": "lab/base:1"},
        ),
        ({"cards": "two", "cores": "four"}, {"profile": "a-1", "gpus": 2, "cpu": "4"}),
        ({"profile": "a-1-l", "cards": "two"}, {"profile": "a-1-l", "gpus": 2}),
    ],
)
def test_kubespawners_names_are_understood_and_the_outcome_is_stable(options, canonical):
    found = full()
    once = chosen(found, options)
    assert once.user_options == canonical
    assert chosen(found, once.user_options) == once


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": "m"}, "one of s, l"),
        ({"size": ["l"]}, "one of s, l"),
        ({"size": True}, "one of s, l"),
        ({"ram": "huge"}, "one of small, big"),
        ({"ram": None}, "one of small, big"),
        ({"ram": "big", "memory": "2Gi"}, "given twice"),
        ({"image": "nope"}, "image"),
        ({"image--unlisted-choice": "lab/x:7\n"}, "image"),
        ({"image--unlisted-choice": "lab/x:7x"}, "image"),
        ({"image--unlisted-choice": 7}, "must be a text"),
        ({"ram--unlisted-choice": "8G"}, "no option"),
        ({"profile": "a-1-l", "size": "s"}, "no option"),
        ({"profile": 7, "size": "s"}, "profile"),
        ({"profile": "other", "size": "s"}, "no profile"),
        ({"profile": "x" * 300}, "256"),
        ([], "mapping"),
    ],
)
def test_other_options_are_refused_with_a_sentence(options, words):
    with pytest.raises(UserError) as caught:
        chosen(full(), options)
    assert words in caught.value.user_message


def test_nothing_adopted_translates_nothing():
    options = {"image": "torch"}
    assert Adopted().options(options) is options
    assert full().options(None) is None


def test_each_choice_gives_what_its_overrides_give_alone():
    found = full()
    for ram, memory in (("small", "2G"), ("big", "8G")):
        for size in ("s", "l"):
            profile = chosen(found, {"ram": ram, "size": size}).profile
            alone = one({"mem_guarantee": memory, "mem_limit": memory})
            assert profile.memory_guarantee_bytes == alone.memory_guarantee_bytes
            assert profile.effective_memory_limit_bytes == alone.effective_memory_limit_bytes


@pytest.mark.parametrize(
    "option",
    [
        choices(a={"cpu_guarantee": 1, "cpu_limit": 2}, b={"cpu_guarantee": 2, "cpu_limit": 4}),
        choices(a={"mem_guarantee": "2G", "cpu_limit": 2}, b={"mem_guarantee": "4G"}),
        choices(a={"image": "lab/a:1"}, b={"image": None}),
        choices(a={}, b={"extra_resource_limits": {GPU: 1}}),
        choices(
            a={"extra_resource_limits": {GPU: 1}},
            b={"extra_resource_limits": {GPU: 2, "smarter/fuse": 1}},
        ),
        choices(a={"image": "b"}, b={"image": "a"}),
        choices(a={}, b={}),
    ],
)
def test_an_option_that_is_no_single_choice_becomes_profiles(option):
    found = adopted([entry({"mem_limit": "8G"}, profile_options={"o": option})])
    assert [p.slug for p in found.profiles] == ["a", "a-b"]
    assert not any(p.choices for p in found.profiles)
    assert chosen(found, {"o": "b"}).profile.slug == "a-b"


def test_two_options_about_one_thing_become_profiles():
    image = choices(x={"image": "lab/x:1"}, y={"image": "lab/y:1"})
    found = adopted([entry(profile_options={"one": image, "two": image})])
    assert [p.slug for p in found.profiles] == ["a", "a-x-y", "a-y-x", "a-y-y"]
    # The later option wins, as it does with KubeSpawner.
    assert chosen(found, {"one": "y"}).profile.image == "lab/x:1"
    assert chosen(found, {"two": "y"}).profile.image == "lab/y:1"
    free = {**image, "unlisted_choice": FREE}
    assert "the free text of one is not carried" in said(
        profile_options={"one": free, "two": image}
    )
    assert [
        p.slug for p in adopted([entry(profile_options={"one": image, "two": free})]).profiles
    ] == ["a", "a-x-y", "a-y-x", "a-y-y"]


def test_the_default_choice_is_what_one_gets():
    option = choices(a={"cmd": ["a"]}, b={"cmd": ["b"]})
    option["choices"]["b"]["default"] = True
    found = adopted([entry(profile_options={"o": option})])
    assert [(p.slug, p.display_name) for p in found.profiles] == [("a", "A: B"), ("a-a", "A: A")]
    assert chosen(found, {}).profile.slug == "a"


def test_choices_with_long_or_equal_names_have_slugs_of_their_own():
    option = choices(**{"x" * 70: {"cmd": ["1"]}, "x" * 71: {"cmd": ["2"]}, "x" * 72: {}})
    found = adopted([entry(profile_options={"o": option})])
    slugs = [p.slug for p in found.profiles]
    assert len(set(slugs)) == 3
    assert slugs[2].endswith("-2")
    assert all(len(slug) <= 63 for slug in slugs)


def test_too_many_profiles_of_one_entry_keep_the_default_of_an_option_and_say_so():
    many = choices(**{f"k{i}": {"cmd": [str(i)]} for i in range(MAX_VARIANTS)})
    found = adopted([entry(profile_options={"a": many, "b": choices(x={}, y={})})])
    assert len(found.profiles) == MAX_VARIANTS
    assert found.said == ("A: the option b is not carried: its default holds.",)
    with pytest.raises(UserError, match="no option"):
        chosen(found, {"b": "y"})


def test_a_choice_of_another_kind_of_gpu_is_left_out_alone():
    option = choices(whole={"extra_resource_limits": {GPU: 1}})
    option["choices"]["mig"] = {
        "kubespawner_override": {"extra_resource_limits": {"nvidia.com/mig-1g.5gb": 1}}
    }
    found = adopted([entry(profile_options={"o": option})])
    assert [p.slug for p in found.profiles] == ["a"]
    assert "A: mig is left out: it asks for nvidia.com/mig-1g.5gb" in found.said[0]
    with pytest.raises(UserError, match="no profile"):
        resolve(found.profiles, {"profile": "a-mig"}, groups=())


def test_a_bad_choice_is_an_error_of_its_profile():
    option = choices(a={"mem_guarantee": "much"}, b={})
    assert refused([entry(profile_options={"o": option})]).startswith("A: mem_guarantee")


# --- free text -------------------------------------------------------------------------------


def free(template, regex=None, **more):
    row = {"enabled": True, "kubespawner_override": {"image": template, **more}}
    if regex is not None:
        row["validation_regex"] = regex
    return {"img": {"unlisted_choice": row}}


@pytest.mark.parametrize(
    ("template", "regex", "good", "bad"),
    [
        ("{value}", None, "any/thing:1", "two words"),
        ("{value}", "^lab/[^/]+$", "lab/x:1", "lab/x/y:1"),
        ("{value}", "^lab/a$|^lab/b$", "lab/b", "lab/c"),
        ("lab/note.book:{value}", "^[0-9]+$", "12", "12/x"),
        ("lab/note.book:{value}-cuda", "[0-9]+", "12", "x"),
    ],
)
def test_free_text_must_match_as_a_whole(template, regex, good, bad):
    found = adopted([entry(profile_options=free(template, regex))])
    image = chosen(found, {"img--unlisted-choice": good}).profile.image
    assert image == template.replace("{value}", good)
    with pytest.raises(UserError):
        chosen(found, {"img--unlisted-choice": bad})
    with pytest.raises(UserError, match="one of none"):
        chosen(found, {"img": "x"})
    assert chosen(found, {"img": ""}).profile.image is None


def test_without_free_text_one_gets_the_profiles_own_image():
    found = adopted([entry({"image": "own/image:1"}, profile_options=free("{value}", "^lab/.+$"))])
    assert chosen(found, {}).profile.image == "own/image:1"
    assert chosen(found, {"image": "own/image:1"}).profile.image == "own/image:1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (free("{value}", "lab/.+"), "must match"),
        (free("{value}", r"lab/.+\$"), "must match"),
        (free("{value}:{value}"), "once"),
        (free("lab/x:1"), "once"),
        (free("{value}", "[a"), "no pattern"),
        (free("lab/x:{value}", "^a$|^b$"), "too special"),
        (free("{value}", "a" * 300), "too special"),
        (free("{value}", environment={"A": "{value}"}), "only images"),
        (free(7), "only images"),
    ],
)
def test_free_text_that_is_not_carried_or_stricter_is_said(options, words):
    text = said(profile_options=options)
    assert "the free text of img" in text
    assert words in text


def test_free_text_that_is_not_enabled_is_none():
    options = free("{value}")
    options["img"]["unlisted_choice"]["enabled"] = False
    found = adopted([entry(profile_options=options)])
    assert (found.said, found.profiles[0].choices) == ((), {})
    with pytest.raises(UserError, match="no option"):
        chosen(found, {"img--unlisted-choice": "x"})
