"""Profile definitions: what is right parses and comes back, every slip is named with its path."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_jit.core.choices import Between, Matching, OneOf
from jupyter_gpu_jit.core.gpus import MODELS
from jupyter_gpu_jit.core.model import Profile
from jupyter_gpu_jit.core.options import parse_profiles, profile_schema, profile_to_dict
from jupyter_gpu_jit.core.quantity import GIB, MIB
from jupyter_gpu_jit.core.requirements import CapacityPolicy, GpuShare
from jupyter_gpu_jit.errors import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = jsonschema.Draft202012Validator(profile_schema())


def parsed(**profile):
    (found,) = parse_profiles([{"slug": "x", **profile}])
    return found


def problems(data):
    with pytest.raises(UserError) as caught:
        parse_profiles(data)
    assert caught.value.reason == "BadProfiles"
    lines = caught.value.user_message.split("\n")
    assert all(line.isprintable() for line in lines)
    return lines


def problem(**profile):
    (line,) = problems([{"slug": "x", **profile}])
    return line


def test_a_slug_alone_is_a_profile():
    assert parsed() == Profile(slug="x", display_name="x")


def test_every_key_has_its_meaning():
    found = parsed(
        display_name="Big",
        description="Two\nlines",
        gpus={"count": 2, "models": ["nvidia-a100", "h100"], "memory_gib": 80},
        cpu={"guarantee": "3500m", "limit": 8},
        memory={"guarantee": "64Gi", "limit": "96Gi"},
        shared_memory="8Gi",
        image="quay.io/lab/torch:1",
        capacity="on-demand",
        zones=["us-east-1a"],
        most_hours=1.5,
        usd_per_hour_cap=2.5,
        groups=["staff"],
    )
    assert found == Profile(
        slug="x",
        display_name="Big",
        description="Two\nlines",
        gpus=2,
        gpu_models=("A100", "H100"),
        gpu_memory_gib=80,
        cpu_guarantee_millicpu=3500,
        cpu_limit_millicpu=8000,
        memory_guarantee_bytes=64 * GIB,
        memory_limit_bytes=96 * GIB,
        shared_memory_bytes=8 * GIB,
        image="quay.io/lab/torch:1",
        capacity=CapacityPolicy.ON_DEMAND,
        zones=("us-east-1a",),
        max_seconds=5400,
        max_usd_per_hour_micro=2_500_000,
        groups=("staff",),
    )


def test_every_key_about_the_machine_has_its_meaning():
    found = parsed(
        gpus={"compute_capability": 8.9, "nvlink": True, "count": 2},
        efa=True,
        drivers=["nvidia", "nvidia-grid"],
        architectures=["arm64", "amd64"],
        local_disk="200G",
        interruptions_per_hour_cap=0.05,
    )
    assert (found.min_compute_capability_tenths, found.nvlink, found.efa) == (89, True, True)
    assert found.driver_families == ("nvidia", "nvidia-grid")
    assert found.architectures == ("arm64", "amd64")
    assert found.local_disk_bytes == 200 * 10**9
    assert found.max_interruptions_per_hour == 0.05
    assert parse_profiles([profile_to_dict(found)]) == (found,)


def test_a_share_is_one_unit_of_the_memory_asked_for():
    plain = parsed(gpus={"share": {"memory_gib": 10}})
    sliced = parsed(gpus={"share": {"memory_gib": 4, "time_sliced": True}, "models": ["T4"]})
    assert (plain.gpus, plain.gpu_share) == (1, GpuShare(memory_gib=10))
    assert sliced.gpu_share == GpuShare(memory_gib=4, time_sliced=True)
    for each in (plain, sliced):
        assert parse_profiles([profile_to_dict(each)]) == (each,)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"efa": "yes"}, 'efa: must be true or false, not "yes".'),
        ({"drivers": ["amd"]}, 'drivers[0]: must not be "amd"; known here: nvidia, nvidia-grid.'),
        ({"architectures": [1]}, "architectures[0]: must not be 1; known here: amd64, arm64."),
        ({"local_disk": "1"}, 'local_disk: must be from 16Mi to 32Ti, not "1"'),
        ({"interruptions_per_hour_cap": 0}, "interruptions_per_hour_cap: must be above 0"),
        (
            {"gpus": {"compute_capability": 8.95}},
            "gpus.compute_capability: must be a compute capability such as 8.9, not 8.95.",
        ),
        (
            {"gpus": {"compute_capability": 9, "models": ["L4"]}},
            "gpus.compute_capability: no such GPU has more than 8.9.",
        ),
        ({"gpus": {"nvlink": 1}}, "gpus.nvlink: must be true or false, not 1."),
        ({"gpus": {"share": 10}}, "gpus.share: must be a mapping with memory_gib, such as"),
        ({"gpus": {"share": {}}}, "gpus.share.memory_gib: is missing."),
        (
            {"gpus": {"share": {"memory_gib": 99}, "models": ["T4"]}},
            "gpus.share.memory_gib: no such GPU has more than 16 GiB.",
        ),
        (
            {"gpus": {"share": {"memory_gib": 9}, "count": 2}},
            "gpus.share: a session has one share; leave the count out.",
        ),
        (
            {"gpus": {"share": {"memory_gib": 9}, "memory_gib": 9}},
            "gpus.memory_gib: belongs inside the share, when there is one.",
        ),
        (
            {"gpus": {"share": {"memory_gib": 9, "memory": 9}}},
            'gpus.share.memory: did you mean "memory_gib"?',
        ),
        (
            {"gpus": {"share": {"memory_gib": 9}}, "choices": {"gpus": [1, 2]}},
            "choices.gpus: a profile of a share has one; there is no choice.",
        ),
    ],
)
def test_a_slip_about_the_machine_is_named_with_its_path(profile, said):
    assert problem(**profile).startswith(f"profiles[0].{said}")


def test_short_forms_mean_a_guarantee_and_a_count():
    found = parsed(gpus=4, cpu=2, memory="512Mi", shared_memory=0)
    assert (found.gpus, found.gpu_models, found.gpu_memory_gib) == (4, (), 0)
    assert (found.cpu_guarantee_millicpu, found.cpu_limit_millicpu) == (2000, None)
    assert (found.memory_guarantee_bytes, found.memory_limit_bytes) == (512 * MIB, None)
    assert found.shared_memory_bytes == 0
    assert parsed(gpus={}).gpus == 1


def test_choices_become_rules():
    found = parsed(
        gpus=1,
        cpu=1,
        memory="2Gi",
        choices={
            "gpus": [1, 2],
            "cpu": [1, "2000m"],
            "memory": ["2048Mi", "4Gi"],
            "capacity": ["spot", "on-demand"],
            "zone": ["us-east-1a"],
            "hours": {"maximum": 8},
            "image": ["a:1", "b:1"],
        },
    )
    assert found.choices == {
        "gpus": OneOf((1, 2)),
        "cpu": OneOf(("1", "2")),
        "memory": OneOf(("2Gi", "4Gi")),
        "capacity": OneOf(("spot", "on-demand")),
        "zone": OneOf(("us-east-1a",)),
        "hours": Between(1, 8),
        "image": OneOf(("a:1", "b:1")),
    }


def test_images_may_be_listed_matched_or_both():
    assert parsed(choices={"image": {"list": ["a:1"]}}).choices["image"] == OneOf(("a:1",))
    assert parsed(choices={"image": {"pattern": "a"}}).choices["image"] == Matching("a")
    both = parsed(choices={"image": {"list": ["a:1"], "pattern": "b"}}).choices["image"]
    assert both == Matching("b", ("a:1",))


def test_a_choice_of_hours_bounds_those_who_do_not_choose():
    assert parsed(choices={"hours": {"maximum": 8}}).max_seconds == 8 * 3600
    own = parsed(most_hours=2, choices={"hours": {"minimum": 2, "maximum": 8}})
    assert own.max_seconds == 2 * 3600


def test_a_list_and_a_mapping_of_profiles_are_the_same():
    assert parse_profiles({"profiles": [{"slug": "x"}]}) == parse_profiles([{"slug": "x"}])


# --- slips -----------------------------------------------------------------------------------


def test_a_wrong_key_is_answered_with_the_nearest_right_one():
    data = {"profiles": [{"slug": "a"}, {"slug": "b"}, {"slug": "c", "memroy": "4Gi"}]}
    assert problems(data) == ['profiles[2].memroy: did you mean "memory"?']
    assert problem(gpus={"modles": ["L4"]}) == 'profiles[0].gpus.modles: did you mean "models"?'
    assert problem(cpu={"guarantee": 1, "limits": 2}).endswith('.limits: did you mean "limit"?')
    assert problem(choices={"zones": ["a"]}).endswith('.choices.zones: did you mean "zone"?')
    assert problem(choices={"hours": {"maximum": 2, "max": 1}}).endswith(
        '.hours.max: did you mean "maximum"?'
    )
    assert problems({"profiles": [{"slug": "x"}], "profile": 1})[0].startswith("profile: did you")


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"slug": "Big"}, "slug: must be lower-case"),
        ({"slug": "a--b"}, "slug: must be lower-case"),
        ({"slug": "-a"}, "slug: must be lower-case"),
        ({"slug": "a" * 64}, "slug: must be lower-case"),
        ({"slug": "a\n"}, "slug: must be lower-case"),
        ({"slug": 1}, "slug: must be lower-case"),
        ({"display_name": " "}, "display_name: must not be empty"),
        ({"display_name": "x" * 101}, "display_name: must have at most 100"),
        ({"display_name": "a\nb"}, "display_name: contains characters"),
        ({"description": "\x1b[31m"}, "description: contains characters"),
        ({"description": 5}, "description: must be a text, not 5"),
        ({"gpus": True}, "gpus: must be a whole number, not true"),
        ({"gpus": "1"}, 'gpus: must be a whole number, not "1"'),
        ({"gpus": 1.0}, "gpus: must be a whole number"),
        ({"gpus": -1}, "gpus: must be from 0 to 16"),
        ({"gpus": 17}, "gpus: must be from 0 to 16"),
        ({"gpus": None}, "gpus: must be a whole number, not nothing"),
        ({"gpus": {"count": 0}}, "gpus.count: must be from 1"),
        ({"gpus": {"models": "L4"}}, 'gpus.models: must be a list, not "L4"'),
        ({"gpus": {"models": ["L5"]}}, 'gpus.models[0]: "L5" is no GPU model; did you mean "L4"?'),
        ({"gpus": {"models": ["L4", "l4"]}}, 'gpus.models[1]: "l4" is there twice'),
        ({"gpus": {"models": ["L4"], "memory_gib": 80}}, "gpus.memory_gib: no such GPU has more"),
        ({"gpus": {"memory_gib": 289}}, "gpus.memory_gib: no such GPU has more than 288 GiB"),
        ({"cpu": 4000}, 'cpu: must be from 1m to 1024 CPU, not 4000; did you mean "4000m"?'),
        ({"cpu": 0}, "cpu: must be from 1m"),
        ({"cpu": "-1"}, "cpu: must be from 1m"),
        ({"cpu": "2 cores"}, 'cpu: "2 cores" is not a quantity'),
        ({"cpu": "2x"}, "has no known unit"),
        ({"cpu": True}, "cpu: must be a quantity"),
        ({"cpu": 10**30}, "cpu: must be a quantity"),
        ({"cpu": float("nan")}, "is not a quantity"),
        ({"cpu": {"limit": 2}}, "cpu.guarantee: is missing"),
        ({"cpu": {"guarantee": 2, "limit": 1}}, "cpu.limit: must not be below the guarantee"),
        ({"memory": 64}, 'memory: must be from 16Mi to 32Ti, not 64; did you mean "64Gi"?'),
        ({"memory": "33Ti"}, "memory: must be from 16Mi to 32Ti"),
        ({"memory": {"guarantee": "4Gi", "limit": "2Gi"}}, "memory.limit: must not be below"),
        ({"shared_memory": "2Gi"}, "shared_memory: is counted in the memory, so at most 1Gi"),
        (
            {"memory": "4Gi", "shared_memory": "3Gi", "choices": {"memory": ["2Gi", "4Gi"]}},
            "shared_memory: is counted in the memory, so at most 2Gi",
        ),
        ({"shared_memory": False}, "shared_memory: must be a quantity"),
        ({"image": "a b"}, "image: must be an image"),
        ({"image": "x" * 257}, "image: must have at most 256"),
        ({"capacity": "spott"}, 'capacity: must be a capacity policy, not "spott"; did you mean'),
        ({"capacity": ["spot"]}, "capacity: must be a capacity policy, not a list"),
        ({"zones": "us-east-1a"}, "zones: must be a list"),
        ({"zones": ["US"]}, "zones[0]: must be a zone"),
        ({"zones": ["a"] * 51}, "zones: must have at most 50 entries, not 51"),
        ({"most_hours": 0}, "most_hours: must be above 0"),
        ({"most_hours": float("inf")}, "most_hours: must be a number, not inf"),
        ({"most_hours": "8"}, "most_hours: must be a number"),
        ({"most_hours": True}, "most_hours: must be a number"),
        ({"most_hours": 10**40}, "most_hours: must be above 0 and at most"),
        ({"usd_per_hour_cap": -1}, "usd_per_hour_cap: must be above 0"),
        ({"groups": [""]}, "groups[0]: must not be empty"),
        ({"groups": [1]}, "groups[0]: must be a text"),
        ({1: "x"}, "profiles[0].1: a key must be a text"),
        ({"choices": ["gpus"]}, "choices: must be a mapping, not a list"),
        ({"choices": {"gpus": [1, 2]}}, "choices.gpus: a profile without GPUs"),
        ({"choices": {"cpu": []}}, "choices.cpu: must have at least one entry"),
        ({"choices": {"cpu": [2]}}, 'choices.cpu: must include the profile\'s own "1"'),
        ({"choices": {"cpu": [1, "x"]}}, 'choices.cpu[1]: "x" is not a quantity'),
        ({"choices": {"capacity": ["on-demand"]}}, 'must include the profile\'s own "spot"'),
        ({"choices": {"hours": 3}}, "choices.hours: must be a mapping of minimum and maximum"),
        ({"choices": {"hours": {"minimum": 2}}}, "choices.hours.maximum: is missing"),
        (
            {"choices": {"hours": {"minimum": 3, "maximum": 2}}},
            "choices.hours.maximum: must not be below the minimum",
        ),
        (
            {"most_hours": 9, "choices": {"hours": {"maximum": 8}}},
            "choices.hours: must include the profile's own 9",
        ),
        (
            {"most_hours": 1.5, "choices": {"hours": {"maximum": 8}}},
            "choices.hours: a choice of hours needs most_hours to be whole hours",
        ),
        (
            {"zones": ["us-east-1a", "us-east-1c"], "choices": {"zone": ["us-east-1b"]}},
            'choices.zone: "us-east-1b" is not among the profile\'s zones',
        ),
        ({"choices": {"image": {}}}, "choices.image: must have a list or a pattern"),
        ({"choices": {"image": {"pattern": "("}}}, "pattern: is no regular expression"),
        ({"choices": {"image": {"pattern": 5}}}, "pattern: must be a text"),
        (
            {"image": "a:1", "choices": {"image": {"pattern": "b.*"}}},
            'choices.image: must include the profile\'s own "a:1"',
        ),
    ],
)
def test_a_slip_is_named_with_its_path(profile, said):
    (line,) = problems([{"slug": "x", **profile}])
    assert line.startswith("profiles[0].")
    assert said in line


def test_a_profile_needs_a_slug_of_its_own():
    assert problems([{"cpu": 1}]) == ["profiles[0].slug: is missing."]
    twice = [{"slug": "a"}, {"slug": "b"}, {"slug": "a"}]
    assert problems(twice) == ['profiles[2].slug: "a" is that of profiles[0].']
    assert problems([{}, {}]) == ["profiles[0].slug: is missing.", "profiles[1].slug: is missing."]


@pytest.mark.parametrize("data", [None, [], {}, {"profiles": []}, "x", 5, {"profiles": "x"}])
def test_a_file_needs_a_list_of_profiles(data):
    assert "must be a list of at least one profile" in problems(data)[0]


def test_a_file_has_only_mappings_and_not_too_many():
    assert problems(["l4"]) == ['profiles[0]: must be a mapping, not "l4".']
    assert problems([{"slug": "x"}] * 201) == ["profiles: must be at most 200, not 201."]


def test_all_problems_are_told_at_once_up_to_ten():
    lines = problems([{"slug": f"p{i}", "cpu": 0, "memory": 0} for i in range(7)])
    assert len(lines) == 11
    assert lines[0].startswith("profiles[0].cpu: ")
    assert lines[1].startswith("profiles[0].memory: ")
    assert lines[-1] == "... and 4 more."


# --- round trip and schema -------------------------------------------------------------------


def test_the_schema_file_is_the_schema_of_the_code():
    stored = json.loads((ROOT / "docs/wire/profiles.json").read_text())
    assert stored == profile_schema()
    jsonschema.Draft202012Validator.check_schema(stored)


def test_the_example_file_is_right_and_sized_to_fit_its_nodes():
    data = yaml.safe_load((ROOT / "hub_config/profiles.yaml").read_text())
    SCHEMA.validate(data)
    by_slug = {p.slug: p for p in parse_profiles(data)}
    assert next(iter(by_slug)) == "cpu"
    a100 = by_slug["a100"]
    assert (a100.gpus, a100.gpu_models) == (1, ("A100",))
    assert (a100.cpu_guarantee_millicpu, a100.memory_guarantee_bytes) == (8000, 64 * GIB)
    # Allocatable of m7i.large, g6.xlarge and g4dn.xlarge; a tenth is left to DaemonSets.
    for slug, millicpu, mib in (("cpu", 1930, 6903), ("l4", 3920, 14162), ("t4", 3920, 14481)):
        assert by_slug[slug].cpu_guarantee_millicpu <= 0.9 * millicpu
        assert by_slug[slug].memory_guarantee_bytes <= 0.9 * mib * MIB


def test_the_commented_example_of_a_group_is_right_too():
    text = (ROOT / "hub_config/profiles.yaml").read_text()
    start = text.index("  # - slug: h100x8")
    lines = [line.removeprefix("  # ") for line in text[start:].splitlines()]
    (profile,) = parse_profiles(yaml.safe_load("\n".join(lines)))
    assert profile.groups == ("gpu-large",)


_quantity = st.sampled_from(["16Mi", "1Gi", "1500Mi", "2G", 2**31, "64Gi", "1e9"])
_cpu = st.sampled_from([1, "500m", 0.25, "2", 7.91, "1e1"])
_limits = st.sampled_from([None, 1, 2])
_zones = st.lists(st.sampled_from(["a", "b", "us-east-1a"]), unique=True)
_text = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)


def test_the_example_of_a_share_in_the_docs_is_right():
    text = (ROOT / "docs/gpu-shares.md").read_text()
    block = text.split("```yaml\n")[1].split("```")[0]
    (profile,) = parse_profiles(yaml.safe_load(block))
    assert profile.gpu_share == GpuShare(memory_gib=10)
    commented = (ROOT / "hub_config/profiles.yaml").read_text()
    assert "docs/gpu-shares.md" in commented
    assert "share: {memory_gib: 10}" in commented


@st.composite
def right_profiles(draw):
    """Definitions that must parse, in every written form."""
    gpus = draw(st.integers(0, 16))
    body = {
        "display_name": draw(_text),
        "description": draw(st.just("") | _text),
        "gpus": gpus,
        "cpu": draw(_cpu),
        "memory": draw(_quantity),
        "capacity": draw(st.sampled_from([p.value for p in CapacityPolicy])),
        "zones": draw(_zones),
        "groups": draw(st.lists(_text, unique=True, max_size=3)),
        "most_hours": draw(st.integers(1, 8784) | st.floats(0.001, 8784)),
        "usd_per_hour_cap": draw(st.integers(1, 10_000) | st.floats(0.000001, 10_000)),
        "shared_memory": draw(st.sampled_from([0, "16Mi"])),
        "image": draw(st.sampled_from(["a", "quay.io/a/b:c", "a@sha256:00"])),
        "efa": draw(st.booleans()),
        "drivers": draw(st.lists(st.sampled_from(["nvidia", "nvidia-grid"]), unique=True)),
        "architectures": draw(st.lists(st.sampled_from(["amd64", "arm64"]), unique=True)),
        "local_disk": draw(_quantity),
        "interruptions_per_hour_cap": draw(st.integers(1, 1000) | st.floats(0.001, 1000)),
    }
    if gpus:
        models = draw(st.lists(st.sampled_from(list(MODELS)), unique=True))
        memory = draw(st.integers(1, min(MODELS[m][-1] for m in models or MODELS)))
        body["gpus"] = {"count": gpus, "models": models, "memory_gib": memory}
        body["gpus"] |= {"nvlink": draw(st.booleans()), "compute_capability": 7}
        body["choices"] = {"gpus": list({gpus, 1, 2})}
    kept = draw(st.sets(st.sampled_from(sorted(body))))
    chosen = {key: value for key, value in body.items() if key in kept}
    if "gpus" not in chosen:
        chosen.pop("choices", None)
    return {"slug": draw(st.from_regex(r"\A[a-z0-9]+(-[a-z0-9]+)*\Z").filter(_short)), **chosen}


def _short(slug):
    return len(slug) <= 63


@given(right_profiles())
def test_profiles_survive_the_way_to_a_file_and_back(body):
    SCHEMA.validate([body])
    (profile,) = parse_profiles([body])
    written = profile_to_dict(profile)
    SCHEMA.validate([written])
    assert parse_profiles(json.loads(json.dumps([written]))) == (profile,)
    assert profile_to_dict(parse_profiles([written])[0]) == written


def test_every_kind_of_rule_and_limit_survives_the_way_back():
    profile = parsed(
        gpus={"memory_gib": 24},
        cpu={"guarantee": 1, "limit": "1500m"},
        memory={"guarantee": "2Gi", "limit": "4Gi"},
        shared_memory=0,
        choices={
            "cpu": [1, 2],
            "capacity": ["spot", "on-demand"],
            "hours": {"minimum": 2, "maximum": 4},
            "image": {"list": ["a:1"], "pattern": "b"},
        },
    )
    assert parse_profiles([profile_to_dict(profile)]) == (profile,)
    for other in (
        parsed(choices={"image": {"pattern": "b"}}),
        parsed(gpus={"models": ["L4"]}),
        parsed(gpus=2, choices={"gpus": [1, 2]}),
    ):
        assert parse_profiles([profile_to_dict(other)]) == (other,)


_KEYS = st.sampled_from([*profile_schema()["$defs"]["profile"]["properties"], "profiles", "count"])
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | _quantity,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(), inner),
    max_leaves=10,
)


@given(_ANY | st.lists(st.dictionaries(_KEYS, _ANY), max_size=2))
def test_whatever_is_in_a_file_parses_or_is_answered_with_a_sentence(data):
    try:
        profiles = parse_profiles(data)
    except UserError:
        return
    SCHEMA.validate(data)
    assert parse_profiles([profile_to_dict(p) for p in profiles]) == profiles
