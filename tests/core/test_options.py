"""What a user may choose: every body either gives an allowed variation or a sentence."""

import json
from dataclasses import replace

import jsonschema
import pytest
from bodies import BAD_BODIES, BAD_FORMS, BAD_OBJECTS, GOOD_BODIES, GROUPS, PROFILES, as_form
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_jit.core.options import (
    check_size,
    form_fields,
    from_form,
    options_schema,
    parse_profiles,
    resolve,
    usable_profiles,
)
from jupyter_gpu_jit.core.quantity import GIB
from jupyter_gpu_jit.core.requirements import CapacityPolicy
from jupyter_gpu_jit.errors import UserError

ALL = parse_profiles(PROFILES)
CPU, L4, STAFF = ALL


def resolved(choices, profiles=ALL, groups=GROUPS):
    return resolve(profiles, choices, groups=groups)


def refused(choices, **how):
    with pytest.raises(UserError) as caught:
        resolved(choices, **how)
    message = caught.value.user_message
    assert message.isprintable()
    assert message.isascii()
    assert len(message) < 400
    assert message[-1] in ".?"
    return message


# --- bodies ----------------------------------------------------------------------------------


def test_the_corpus_is_large_and_names_each_body_once():
    assert len(BAD_BODIES) >= 200
    assert len({name for name, _ in BAD_BODIES}) == len(BAD_BODIES)
    assert len({name for name, _ in BAD_FORMS}) == len(BAD_FORMS) >= 200


@pytest.mark.parametrize(("name", "body"), BAD_BODIES, ids=[name for name, _ in BAD_BODIES])
def test_a_bad_body_is_refused_with_a_sentence(name, body):
    refused(json.loads(json.dumps(body)))


@pytest.mark.parametrize(("name", "body"), BAD_OBJECTS, ids=[name for name, _ in BAD_OBJECTS])
def test_what_is_no_mapping_of_plain_values_is_refused(name, body):
    refused(body)


@pytest.mark.parametrize(
    ("body", "canonical"), [(b, c) for _, b, c in GOOD_BODIES], ids=[n for n, _, _ in GOOD_BODIES]
)
def test_a_good_body_becomes_canonical_and_stays_so(body, canonical):
    once = resolved(body)
    assert once.user_options == canonical
    assert resolved(json.loads(json.dumps(once.user_options))) == once


def test_every_chosen_field_reaches_the_profile_and_nothing_else_changes():
    everything = next(body for name, body, _ in GOOD_BODIES if name == "everything")
    assert resolved(everything).profile == replace(
        L4,
        gpus=8,
        cpu_guarantee_millicpu=6000,
        memory_guarantee_bytes=24 * GIB,
        capacity=CapacityPolicy.ON_DEMAND,
        zones=("us-east-1a",),
        max_seconds=2 * 3600,
        image="ghcr.io/lab/torch:1",
    )


def test_nothing_chosen_gives_the_first_profile_of_the_user():
    assert resolved(None).profile == resolved({}).profile == CPU
    assert resolved({}, profiles=(STAFF, L4)).profile == L4
    assert resolved({}, profiles=(STAFF, L4), groups=("staff",)).profile == STAFF


def test_a_limit_below_the_chosen_guarantee_rises_with_it():
    (profile,) = parse_profiles(
        [
            {
                "slug": "x",
                "cpu": {"guarantee": 2, "limit": 4},
                "memory": {"guarantee": "8Gi", "limit": "16Gi"},
                "choices": {"cpu": [2, 8], "memory": ["8Gi", "32Gi"]},
            }
        ]
    )
    chosen = resolved({"cpu": 8, "memory": "32Gi"}, profiles=(profile,)).profile
    assert (chosen.cpu_guarantee_millicpu, chosen.cpu_limit_millicpu) == (8000, 8000)
    assert (chosen.memory_guarantee_bytes, chosen.memory_limit_bytes) == (32 * GIB, 32 * GIB)
    kept = resolved({"cpu": 2, "memory": "8Gi"}, profiles=(profile,)).profile
    assert kept == profile


def test_a_slip_is_answered_with_the_nearest_right_name():
    assert 'did you mean "profile"?' in refused({"profle": "l4"})
    assert 'did you mean "l4"?' in refused({"profile": "l44"})
    assert 'did you mean "hours"?' in refused({"profile": "l4", "hour": 3})
    assert "known here: cpu, l4." in refused({"profile": "zzz"})


def test_a_profile_of_another_group_cannot_be_told_from_one_that_is_not_there():
    hidden = refused({"profile": "staff"})
    absent = refused({"profile": "staff"}, profiles=(CPU, L4))
    assert hidden == absent
    assert "staff" not in refused({"profile": "staf"})
    assert resolved({"profile": "staff"}, groups=("staff", "x")).profile == STAFF


def test_somebody_without_any_profile_is_told_whom_to_ask():
    assert "ask an administrator" in refused({}, profiles=(STAFF,))
    assert usable_profiles(ALL, ()) == (CPU, L4)
    assert usable_profiles(ALL, {"staff"}) == ALL


def test_a_refusal_says_what_would_do():
    assert "a whole number from 1 to 12" in refused({"profile": "l4", "hours": 13})
    assert "one of 1, 4, 8, not 2" in refused({"profile": "l4", "gpus": 2})
    message = refused({"profile": "l4", "image": "evil:1"})
    assert "as a whole or one of quay.io/jupyter/base-notebook:latest" in message


def test_hours_are_bounded_from_below_too():
    (profile,) = parse_profiles([{"slug": "x", "choices": {"hours": {"minimum": 2, "maximum": 4}}}])
    assert resolved({"hours": 2}, profiles=(profile,)).profile.max_seconds == 2 * 3600
    assert "from 2 to 4, not 1" in refused({"hours": 1}, profiles=(profile,))


def test_one_profile_without_choices_takes_none():
    assert "known here: profile." in refused({"profile": "cpu", "zone": "us-east-1a"})


# --- properties ------------------------------------------------------------------------------

_KEYS = st.sampled_from(["profile", *L4.choices]) | st.text(max_size=70)
_LIKELY = st.sampled_from(
    [v for _, body, _ in GOOD_BODIES for v in body.values()]
    + [v for _, body in BAD_BODIES for v in body.values() if isinstance(v, (str, int, float))]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _LIKELY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


def outcome(call):
    """What it gives, or the UserError it raises; any other exception is a failure."""
    try:
        return call()
    except UserError as error:
        return error


def is_allowed(profile, asked):
    """Whether ``profile`` differs from the admin's only in what may be chosen, within bounds."""
    origin = next(p for p in ALL if p.slug == profile.slug)
    assert origin in usable_profiles(ALL, GROUPS)
    free = {
        "gpus": ("gpus", lambda v: v in (1, 4, 8)),
        "cpu": ("cpu_guarantee_millicpu", lambda v: v in (3000, 3500, 6000)),
        "memory": ("memory_guarantee_bytes", lambda v: v in (12 * GIB, 24 * GIB)),
        "capacity": ("capacity", lambda v: v in ("spot", "on-demand")),
        "zone": ("zones", lambda v: v in (("us-east-1a",), ("us-east-1b",))),
        "hours": ("max_seconds", lambda v: v in range(3600, 12 * 3600 + 1, 3600)),
        "image": ("image", lambda v: v.startswith(("ghcr.io/lab/", "quay.io/jupyter/"))),
    }
    for name, (field, holds) in free.items():
        if name in asked:
            assert holds(getattr(profile, field))
            profile = replace(profile, **{field: getattr(origin, field)})
    return profile == origin


@given(_JSON | st.dictionaries(_KEYS, _JSON, max_size=5))
def test_any_json_resolves_to_an_allowed_variation_or_a_sentence(body):
    found = outcome(lambda: resolved(body))
    if isinstance(found, UserError):
        assert found.user_message.isprintable()
    else:
        assert is_allowed(found.profile, found.user_options)
        assert resolved(found.user_options) == found


@given(
    st.fixed_dictionaries(
        {"profile": st.just("l4")},
        optional={
            "gpus": st.sampled_from([1, 4, 8]),
            "cpu": st.sampled_from([3, "3", "3000m", 3.5, "6e0"]),
            "memory": st.sampled_from(["12Gi", "24576Mi", 12 * GIB]),
            "capacity": st.sampled_from(["spot", "on-demand"]),
            "zone": st.sampled_from(["us-east-1a", "us-east-1b"]),
            "hours": st.integers(1, 12),
            "image": st.from_regex(r"\Aghcr\.io/lab/[a-z-]+:[a-z0-9.-]+\Z").filter(
                lambda text: len(text) <= 256
            ),
        },
    )
)
def test_every_allowed_combination_resolves_and_satisfies_the_schema(body):
    found = resolved(body)
    assert set(found.user_options) == set(body)
    assert is_allowed(found.profile, found.user_options)
    jsonschema.validate(found.user_options, options_schema(usable_profiles(ALL, GROUPS)))


@given(
    st.dictionaries(
        _KEYS | st.sampled_from(["profile-option-l4--gpus", "profile-option-cpu--gpus", "_xsrf"]),
        st.lists(st.text(max_size=20) | st.binary(max_size=20) | _LIKELY, max_size=2),
        max_size=6,
    )
)
def test_any_form_gives_choices_that_resolve_or_a_sentence(form):
    found = outcome(lambda: resolved(from_form(form)))
    if isinstance(found, UserError):
        assert found.user_message.isprintable()
    else:
        assert is_allowed(found.profile, found.user_options)


# --- size ------------------------------------------------------------------------------------


def too_large(value):
    with pytest.raises(UserError) as caught:
        check_size(value)
    assert caught.value.reason == "TooLarge"


def test_nesting_is_bounded_even_when_it_never_ends():
    flat = "x"
    for _ in range(8):
        flat = [flat]
    check_size(flat)
    too_large([flat])
    endless = {}
    endless["again"] = endless
    too_large(endless)


def test_the_whole_is_bounded_though_each_part_is_small():
    check_size({f"k{i}": "x" * 200 for i in range(70)})
    too_large({f"k{i}": "x" * 200 for i in range(90)})
    too_large([["x"] * 100] * 100)
    too_large([[]] * 5000)


def test_what_is_too_large_is_not_read_to_its_end():
    class Endless(dict):
        def __len__(self):
            return 10**9

        def items(self):
            raise AssertionError("read")

    too_large(Endless())


def test_numbers_have_at_most_64_bits_and_are_finite():
    check_size([2**64 - 1, -(2**63), 1e308])
    for number in (2**64, 10**5000, float("nan"), float("-inf")):
        with pytest.raises(UserError, match=r"^A number in the options is"):
            check_size(number)


# --- forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "form"), BAD_FORMS, ids=[name for name, _ in BAD_FORMS])
def test_a_bad_form_is_refused_with_a_sentence(name, form):
    with pytest.raises(UserError) as caught:
        resolved(from_form(form))
    assert caught.value.user_message.isprintable()


@pytest.mark.parametrize(
    ("body", "canonical"),
    [(b, c) for n, b, c in GOOD_BODIES],
    ids=[n for n, _, _ in GOOD_BODIES],
)
def test_a_form_gives_what_the_api_gives(body, canonical):
    form = as_form(body)
    assert resolved(from_form(form)).user_options == canonical
    in_bytes = {key: [values[0].encode()] for key, values in form.items()}
    assert resolved(from_form(in_bytes)).user_options == canonical


def test_upstream_names_of_form_fields_are_understood():
    form = {
        "_xsrf": ["2|abc"],
        "profile": ["l4"],
        "profile-option-l4--gpus": ["4"],
        "profile-option-l4--zone": [""],
        "profile-option-l4--hours": ["03"],
        "profile-option-other--gpus": ["9"],
    }
    assert from_form(form) == {"profile": "l4", "gpus": 4, "hours": 3}


def test_one_field_may_come_under_both_names_when_they_agree():
    form = {"profile": ["l4"], "gpus": ["4"], "profile-option-l4--gpus": ["4"]}
    assert from_form(form) == {"profile": "l4", "gpus": 4}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([("profile", "l4")], "must be a mapping"),
        ({"profile": "l4"}, "must be given once"),
        ({"profile": [None]}, "must be a text"),
        ({"profile": [{"filename": "x", "body": b""}]}, "must be a text"),
        ({"profile": [b"\xff"]}, "is not UTF-8"),
        ({"profile": ["x" * 257]}, "too long"),
        ({1: ["x"]}, "is no option"),
        ({f"k{i}": ["x"] for i in range(5000)}, "too many fields"),
    ],
)
def test_what_no_browser_sends_is_refused(form, said):
    with pytest.raises(UserError, match=said):
        from_form(form)


def test_a_form_has_the_fields_that_may_be_chosen_with_the_profiles_own_values():
    fields = {field.name: field for field in form_fields(L4)}
    assert list(fields) == ["gpus", "cpu", "memory", "capacity", "zone", "hours", "image"]
    assert form_fields(CPU) == ()
    assert fields["gpus"].kind == "select"
    assert (fields["gpus"].default, fields["cpu"].default) == ("1", "3")
    assert fields["cpu"].options[2] == ("3500m", "3.5 CPU")
    assert fields["memory"].options == (("12Gi", "12 GiB"), ("24Gi", "24 GiB"))
    assert [value for value, _ in fields["capacity"].options] == ["spot", "on-demand"]
    assert fields["zone"].options[0] == ("", "any zone")
    assert fields["zone"].default == ""
    hours = fields["hours"]
    assert (hours.kind, hours.minimum, hours.maximum, hours.default) == ("number", 1, 12, "12")
    image = fields["image"]
    assert (image.kind, image.default) == ("text", "")
    assert image.pattern == r"ghcr\.io/lab/[a-z-]+:[a-z0-9.-]+"


def test_what_a_form_offers_resolves():
    for field in form_fields(L4):
        for value, _ in field.options:
            form = {"profile": ["l4"], f"profile-option-l4--{field.name}": [value]}
            chosen = resolved(from_form(form)).user_options
            assert str(chosen.get(field.name, "")) == value


def test_a_zone_of_the_profiles_own_is_the_default():
    (profile,) = parse_profiles(
        [{"slug": "x", "zones": ["us-east-1a"], "choices": {"zone": ["us-east-1a"]}}]
    )
    (field,) = form_fields(profile)
    assert field.options == (("us-east-1a", "us-east-1a"),)
    assert field.default == "us-east-1a"


# --- schema ----------------------------------------------------------------------------------


def test_the_options_schema_takes_only_what_resolves():
    schema = options_schema(usable_profiles(ALL, GROUPS))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name, body in BAD_BODIES:
        # Python's "$" lets one line break pass, and 4.0 is an integer to JSON Schema.
        if not name.startswith(("image: newline", "gpus: float", "hours: float")):
            assert not validator.is_valid(body), name
    for _, _, canonical in GOOD_BODIES:
        assert validator.is_valid(canonical)
    assert validator.is_valid({})


def test_the_options_schema_of_a_pattern_alone_is_the_pattern():
    (profile,) = parse_profiles([{"slug": "x", "choices": {"image": {"pattern": "a|b"}}}])
    validator = jsonschema.Draft202012Validator(options_schema([profile]))
    assert validator.is_valid({"image": "b"})
    assert not validator.is_valid({"image": "ab"})
