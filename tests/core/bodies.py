"""The corpus of options: what must be refused with a sentence, and what must be taken.

For the tests of core, and of form, API and named servers in tests/hub. All of it is meant for
the profiles below, asked for by a user in the groups ``GROUPS``. Everything in BAD_BODIES is
a JSON object (anything else never reaches a spawner), can be sent with ``json.dumps`` and avoids
the two keys the hub itself takes out of a body (``display_name`` and ``user_options``).
"""

from __future__ import annotations

from typing import Any

GROUPS = ("students",)

PROFILES: dict[str, Any] = {
    "profiles": [
        {"slug": "cpu", "cpu": {"guarantee": "1700m", "limit": 2}, "memory": "4Gi"},
        {
            "slug": "l4",
            "gpus": {"count": 1, "models": ["L4"]},
            "cpu": 3,
            "memory": "12Gi",
            "zones": ["us-east-1a", "us-east-1b"],
            "most_hours": 12,
            "choices": {
                "gpus": [1, 4, 8],
                "cpu": [3, 6, "3500m"],
                "memory": ["12Gi", "24Gi"],
                "capacity": ["spot", "on-demand"],
                "zone": ["us-east-1a", "us-east-1b"],
                "hours": {"minimum": 1, "maximum": 12},
                "image": {
                    "list": ["quay.io/jupyter/base-notebook:latest"],
                    "pattern": r"ghcr\.io/lab/[a-z-]+:[a-z0-9.-]+",
                },
            },
        },
        {"slug": "staff", "groups": ["staff"], "choices": {"capacity": ["spot", "on-demand"]}},
    ]
}

Body = dict[str, Any]
_LONG = "l4" * 200
_DEEP: Any = "x"
for _ in range(60):
    _DEEP = [_DEEP]

# Values that no field takes, by name.
_NO_VALUE: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "empty list": [],
    "empty object": {},
    "object": {"value": 1},
    "nested lists": [[[["l4"]]]],
    "deep": _DEEP,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "huge": 10**30,
    "huge negative": -(10**30),
    "hundreds of digits": 10**400,
    "long text": _LONG,
    "text with NUL": "l4\0",
    "text with newline": "l4\n",
    "lone surrogate": "\ud800",
    "right-to-left mark": "‏l4",
    "markup": "<script>alert(1)</script>",
    "template": "{{ 7 * 7 }}",
    "format": "{username}",
    "shell": "$(reboot)",
    "path": "../../etc/passwd",
    "minus one": -1,
    "zero": 0,
    "half": 0.5,
    "blank": " ",
    "word": "banana",
}

_BAD_SLUGS: dict[str, Any] = {
    "empty": "",
    "one": 1,
    "unknown": "h100",
    "near": "l44",
    "upper case": "L4",
    "leading space": " l4",
    "trailing space": "l4 ",
    "cyrillic": "сpu",
    "full width": "ｌ４",
    "combining": "l4̈",
    "zero width": "l4​",
    "soft hyphen": "c­pu",
    "byte order mark": "﻿cpu",
    "arabic digit": "l٤",
    "tab": "l4\t",
    "escape": "\x1b[31ml4",
    "list": ["l4"],
    "two": ["l4", "cpu"],
    "mapping": {"slug": "l4"},
    "another group's": "staff",
    "position": "0",
    "dunder": "__class__",
    "percent": "l4%00",
    "sql": "l4' OR '1'='1",
    "both": "cpu,l4",
}

_BAD_CHOICES: dict[str, dict[str, Any]] = {
    "gpus": {
        "text": "4",
        "float": 4.0,
        "not listed": 2,
        "too many": 16,
        "list": [4],
        "float just beside": 4.0000001,
        "exponent": "4e0",
    },
    "cpu": {
        "not listed": 4,
        "negative": "-3",
        "unit of memory": "3Gi",
        "no unit known": "3cores",
        "underscore": "3_500m",
        "spaces": " 3",
        "newline": "3\n",
        "arabic digit": "٣",
        "hexadecimal": "0x3",
        "huge exponent": "3e999",
        "endless digits": "3" * 200,
        "just beside": "3.0001",
        "comma": "3,5",
        "infinite text": "Infinity",
        "NaN text": "NaN",
        "list": [3],
    },
    "memory": {
        "not listed": "13Gi",
        "plain bytes": 12,
        "decimal unit": "12G",
        "lower-case unit": "12gi",
        "too large": "12Ei",
        "negative": "-12Gi",
        "two units": "12GiGi",
        "space inside": "12 Gi",
        "unit alone": "Gi",
        "exponent": "12e999",
        "list": ["12Gi"],
    },
    "capacity": {
        "not offered": "spot-then-on-demand",
        "upper case": "SPOT",
        "python name": "ON_DEMAND",
        "underscore": "on_demand",
        "space": "spot ",
        "both": "spot,on-demand",
        "list": ["spot"],
        "cyrillic": "spоt",
        "one": 1,
    },
    "zone": {
        "not offered": "us-east-1c",
        "region": "us-east-1",
        "upper case": "US-EAST-1A",
        "wildcard": "*",
        "list": ["us-east-1a"],
        "both": "us-east-1a,us-east-1b",
        "newline": "us-east-1a\n",
        "trailing dot": "us-east-1a.",
        "one": 1,
    },
    "hours": {
        "too many": 13,
        "text": "3",
        "float": 3.0,
        "almost whole": 3.5,
        "list": [3],
        "largest of 64 bits": 2**63 - 1,
        "duration": "3h",
    },
    "image": {
        "pattern matches a part": "ghcr.io/lab/torch:1/../../evil",
        "prefix": "evil.example/ghcr.io/lab/torch:1",
        "suffix": "ghcr.io/lab/torch:1@evil",
        "newline after a match": "ghcr.io/lab/torch:1\n",
        "second line matches": "evil\nghcr.io/lab/torch:1",
        "dot is not any": "ghcrxio/lab/torch:1",
        "upper case": "GHCR.IO/LAB/TORCH:1",
        "no tag": "ghcr.io/lab/torch",
        "space": "ghcr.io/lab/torch:1 evil",
        "flag": "--privileged",
        "listed with space": "quay.io/jupyter/base-notebook:latest ",
        "other tag of a listed one": "quay.io/jupyter/base-notebook:evil",
        "empty": "",
        "too long": "ghcr.io/lab/torch:" + "1" * 300,
        "list": ["ghcr.io/lab/torch:1"],
        "one": 1,
    },
}

_BAD_KEYS: dict[str, Body] = {
    "typing slip": {"profle": "l4"},
    "upper case": {"Profile": "l4"},
    "space": {"profile ": "l4"},
    "empty": {"": "l4"},
    "long": {"k" * 100: 1},
    "huge": {"k" * 20_000: 1},
    "NUL": {"profile\0": "l4"},
    "cyrillic": {"prоfile": "l4"},
    "markup": {"<b>profile</b>": "l4"},
    "dunder": {"__class__": "l4"},
    "slug as key": {"l4": True},
    "list key": {"profiles": ["l4"]},
    "upstream form key": {"profile": "l4", "profile-option-l4--gpus": "4"},
    "upstream unlisted": {"profile": "l4", "image--unlisted-choice": "evil:1"},
    "node selector": {"profile": "l4", "node_selector": {"a": "b"}},
    "pin": {"profile": "l4", "node": "ip-10-0-0-1"},
    "price": {"profile": "l4", "usd_per_hour_cap": 0},
    "tolerations": {"profile": "l4", "tolerations": [{"operator": "Exists"}]},
    "override": {"profile": "l4", "kubespawner_override": {"privileged": True}},
    "environment": {"profile": "l4", "environment": {"LD_PRELOAD": "x"}},
    "command": {"profile": "l4", "cmd": ["sh"]},
    "group": {"profile": "l4", "groups": ["staff"]},
    "field that is not a choice": {"profile": "l4", "shared_memory": "1Gi"},
    "models": {"profile": "l4", "gpu_models": ["H100"]},
    "zones": {"profile": "l4", "zones": ["us-east-1a"]},
    "most hours": {"profile": "l4", "most_hours": 1},
    "hour": {"profile": "l4", "hour": 1},
    "choices": {"profile": "l4", "choices": {}},
    "xsrf": {"profile": "l4", "_xsrf": "2|x"},
    "good beside bad": {"profile": "l4", "gpus": 4, "gpu": 4},
    "many": {f"k{i}": i for i in range(500)},
    "too many": {f"k{i}": i for i in range(20_000)},
}

_ELSEWHERE: dict[str, Body] = {
    "choice of another profile": {"profile": "cpu", "gpus": 1},
    "choice without a profile": {"gpus": 4},
    "hours without a profile": {"hours": 3},
    "image without a profile": {"image": "ghcr.io/lab/torch:1"},
    "capacity of a profile without choices": {"profile": "cpu", "capacity": "spot"},
    "choice in a profile of another group": {"profile": "staff", "capacity": "spot"},
    "good value, bad profile": {"profile": "nope", "gpus": 4},
    "good profile, two bad values": {"profile": "l4", "gpus": 3, "hours": 99},
    "one bad among good": {
        "profile": "l4",
        "gpus": 4,
        "cpu": 6,
        "memory": "24Gi",
        "capacity": "on-demand",
        "zone": "us-east-1b",
        "hours": 13,
    },
}

_LARGE: dict[str, Body] = {
    "10 MB text": {"profile": "l" * 10_000_000},
    "1 MB list": {"profile": ["l4"] * 200_000},
    "wide nest": {"profile": [[["l4"] * 30] * 30] * 30},
    "deep list": {"image": [_DEEP]},
    "many small texts": {"profile": "l4", "image": ["x" * 200] * 200},
    "17 KiB of keys": {f"{i:060d}": "" for i in range(300)},
}


def _bad_bodies() -> list[tuple[str, Body]]:
    bodies = [(f"profile: {name}", {"profile": v}) for name, v in _NO_VALUE.items()]
    bodies += [(f"profile: {name}", {"profile": v}) for name, v in _BAD_SLUGS.items()]
    for field, values in _BAD_CHOICES.items():
        for name, value in (_NO_VALUE | values).items():
            bodies.append((f"{field}: {name}", {"profile": "l4", field: value}))
    for family in (_BAD_KEYS, _ELSEWHERE, _LARGE):
        bodies += list(family.items())
    return bodies


BAD_BODIES: list[tuple[str, Body]] = _bad_bodies()

# Whole bodies that are no objects; the hub refuses some itself and takes the empty for none.
BAD_OBJECTS: list[tuple[str, Any]] = [
    ("list", ["l4"]),
    ("empty list", []),
    ("pairs", [["profile", "l4"]]),
    ("text", "l4"),
    ("empty text", ""),
    ("number", 4),
    ("zero", 0),
    ("true", True),
    ("false", False),
    ("NaN", float("nan")),
    ("bytes", b"l4"),
    ("bytes inside", {"profile": b"l4"}),
    ("set inside", {"profile": {"l4"}}),
    ("tuple", ("profile", "l4")),
    ("number as key", {1: "l4"}),
    ("nothing as key", {None: "l4"}),
    ("class inside", {"profile": object}),
    ("complex number", {"profile": 1j}),
]

# (name, body, what it becomes)
GOOD_BODIES: list[tuple[str, Body, dict[str, str | int]]] = [
    ("nothing chosen", {}, {"profile": "cpu"}),
    ("first profile", {"profile": "cpu"}, {"profile": "cpu"}),
    ("another profile", {"profile": "l4"}, {"profile": "l4"}),
    ("count", {"profile": "l4", "gpus": 4}, {"profile": "l4", "gpus": 4}),
    ("own value", {"profile": "l4", "gpus": 1}, {"profile": "l4", "gpus": 1}),
    ("CPU number", {"profile": "l4", "cpu": 6}, {"profile": "l4", "cpu": "6"}),
    ("CPU text", {"profile": "l4", "cpu": "6000m"}, {"profile": "l4", "cpu": "6"}),
    ("CPU fraction", {"profile": "l4", "cpu": 3.5}, {"profile": "l4", "cpu": "3500m"}),
    ("CPU exponent", {"profile": "l4", "cpu": "3e0"}, {"profile": "l4", "cpu": "3"}),
    ("memory", {"profile": "l4", "memory": "24Gi"}, {"profile": "l4", "memory": "24Gi"}),
    ("memory in Mi", {"profile": "l4", "memory": "24576Mi"}, {"profile": "l4", "memory": "24Gi"}),
    ("capacity", {"profile": "l4", "capacity": "spot"}, {"profile": "l4", "capacity": "spot"}),
    ("zone", {"profile": "l4", "zone": "us-east-1b"}, {"profile": "l4", "zone": "us-east-1b"}),
    ("fewest hours", {"profile": "l4", "hours": 1}, {"profile": "l4", "hours": 1}),
    ("most hours", {"profile": "l4", "hours": 12}, {"profile": "l4", "hours": 12}),
    (
        "image that matches",
        {"profile": "l4", "image": "ghcr.io/lab/torch:2.1"},
        {"profile": "l4", "image": "ghcr.io/lab/torch:2.1"},
    ),
    (
        "image that is listed",
        {"profile": "l4", "image": "quay.io/jupyter/base-notebook:latest"},
        {"profile": "l4", "image": "quay.io/jupyter/base-notebook:latest"},
    ),
    (
        "everything",
        {
            "image": "ghcr.io/lab/torch:1",
            "hours": 2,
            "zone": "us-east-1a",
            "capacity": "on-demand",
            "memory": "24Gi",
            "cpu": "6",
            "gpus": 8,
            "profile": "l4",
        },
        {
            "profile": "l4",
            "gpus": 8,
            "cpu": "6",
            "memory": "24Gi",
            "capacity": "on-demand",
            "zone": "us-east-1a",
            "hours": 2,
            "image": "ghcr.io/lab/torch:1",
        },
    ),
]

Form = dict[str, list[str]]


def as_form(body: Body) -> Form | None:
    """The body as HTML form data would carry it; None when a form cannot carry it."""
    form: Form = {}
    for key, value in body.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return None
        if isinstance(value, int) and value.bit_length() > 2000:
            return None
        form[key] = [str(value)]
    encodable = all(c.isprintable() or c == "\n" for f in form.values() for c in f[0])
    return form if encodable else None


_ONLY_FORMS: list[tuple[str, Form]] = [
    ("profile twice", {"profile": ["l4", "cpu"]}),
    ("profile empty", {"profile": [""]}),
    ("option twice", {"profile": ["l4"], "gpus": ["1", "4"]}),
    (
        "both spellings differ",
        {"profile": ["l4"], "gpus": ["1"], "profile-option-l4--gpus": ["4"]},
    ),
    ("upstream option unknown", {"profile": ["l4"], "profile-option-l4--node": ["x"]}),
    ("upstream option not listed", {"profile": ["l4"], "profile-option-l4--gpus": ["3"]}),
    ("upstream option of cpu", {"profile": ["cpu"], "profile-option-cpu--gpus": ["1"]}),
    (
        "upstream unlisted choice",
        {"profile": ["l4"], "profile-option-l4--image--unlisted-choice": ["evil:1"]},
    ),
    ("signed count", {"profile": ["l4"], "gpus": ["+4"]}),
    ("count with a point", {"profile": ["l4"], "gpus": ["4.0"]}),
    ("count in arabic digits", {"profile": ["l4"], "gpus": ["٤"]}),
    ("endless count", {"profile": ["l4"], "gpus": ["4" * 200]}),
    ("long field", {"profile": ["l4"], "x" * 1000: ["1"]}),
    ("long text", {"profile": ["l4"], "image": ["x" * 5000]}),
    ("nothing", {"profile": []}),
]


def _bad_forms() -> list[tuple[str, Form]]:
    forms = list(_ONLY_FORMS)
    for name, body in BAD_BODIES:
        # What is wrong in JSON may be right in a form: it sends all numbers as text, and
        # blank inputs and the cross-site token on its own.
        # KubeSpawner's names of inputs are for forms only.
        if name in ("gpus: text", "hours: text", "image: empty", "xsrf", "upstream form key"):
            continue
        form = as_form(body)
        if form is not None:
            forms.append((name, form))
    return forms


BAD_FORMS: list[tuple[str, Form]] = _bad_forms()
