"""Option bodies by the thousand from one seed, and what a pod of each good one must be.

The pods are computed here a second time: KubeSpawner's own pod, completed by hand from tables
of this file, never by the code under test.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import re
from types import SimpleNamespace
from typing import Any

from hub_world import bodies
from jupyterhub import orm
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner
from traitlets.config import Config

from jupyter_gpu_jit.hub.spawner import GpuJitSpawner

Json = dict[str, Any]
GIB = 1 << 30
IMAGE = "quay.io/jupyter/base-notebook:1"
LISTED = "quay.io/jupyter/base-notebook:latest"
PATTERN = r"ghcr\.io/lab/[a-z-]+:[a-z0-9.-]+"

PROFILE_LIST: list[Json] = [
    {
        "display_name": "Plain",
        "slug": "plain",
        "kubespawner_override": {"cpu_limit": 2, "mem_limit": "4G"},
    },
    {
        "display_name": "Big GPU",
        "slug": "big_gpu",
        "kubespawner_override": {
            "cpu_guarantee": 3,
            "mem_guarantee": "12G",
            "mem_limit": "12G",
            "extra_resource_limits": {"nvidia.com/gpu": "1"},
            "environment": {"WHO": "{username}"},
            "tolerations": [{"key": "lab", "operator": "Exists"}],
        },
        "profile_options": {
            "image": {
                "choices": {
                    "base": {"kubespawner_override": {"image": LISTED}},
                    "torch": {"kubespawner_override": {"image": "ghcr.io/lab/torch:1"}},
                },
                "unlisted_choice": {
                    "enabled": True,
                    "validation_regex": f"^{PATTERN}$",
                    "kubespawner_override": {"image": "{value}"},
                },
            },
            "size": {
                "choices": {
                    "one": {"kubespawner_override": {}},
                    "two": {
                        "kubespawner_override": {
                            "cpu_guarantee": 6,
                            "mem_guarantee": "24G",
                            "mem_limit": "24G",
                            "extra_resource_limits": {"nvidia.com/gpu": "2"},
                        }
                    },
                }
            },
            "ui": {
                "choices": {
                    "lab": {"kubespawner_override": {"default_url": "/lab"}},
                    "tree": {"kubespawner_override": {"default_url": "/tree"}},
                }
            },
        },
    },
]


def config(*, adopted: bool) -> Config:
    c = Config()
    c.KubeSpawner.image = IMAGE
    if adopted:
        c.KubeSpawner.profile_list = copy.deepcopy(PROFILE_LIST)
    else:
        c.GpuJitSpawner.profiles = copy.deepcopy(bodies.PROFILES["profiles"])
    return c


def spawner(of: Any = GpuJitSpawner, *, adopted: bool, name: str = "ann", server: str = "") -> Any:
    """A spawner as the hub makes them, of a user in the groups of the corpus."""
    groups = [SimpleNamespace(name=group) for group in bodies.GROUPS]
    user = SimpleNamespace(name=name, id=1, url=f"/user/{name}/", groups=groups)
    made = of(_mock=True, config=config(adopted=adopted), user=user)
    made.orm_spawner = orm.Spawner(name=server, user_options={})
    return made


def as_json(pod: Any) -> Json:
    """The pod as it is sent; no client is needed for that."""
    client = ApiClient.__new__(ApiClient)
    found: Json = json.loads(json.dumps(client.sanitize_for_serialization(pod)))
    return found


# --- pods that are allowed ---------------------------------------------------------------------


def flat(pod: Json) -> str:
    """A pod as text: its environment without order, an allowed image as one word."""
    pod = copy.deepcopy(pod)
    notebook = pod["spec"]["containers"][0]
    image = notebook["image"]
    notebook["env"] = {v["name"]: v.get("value") for v in notebook["env"]}
    if image == LISTED or re.fullmatch(PATTERN, image):
        assert {notebook["env"][f"JUPYTER_IMAGE{more}"] for more in ("", "_SPEC")} == {image}
        notebook["image"] = "CHOSEN"
        notebook["env"] |= {"JUPYTER_IMAGE": "CHOSEN", "JUPYTER_IMAGE_SPEC": "CHOSEN"}
    return json.dumps(pod, sort_keys=True)


def completed(plain: Json, **what: Any) -> Json:
    """KubeSpawner's pod with what ours adds, written out by hand."""
    pod = copy.deepcopy(plain)
    cpu, memory, gpus = what["cpu"], what["memory"], what.get("gpus", 0)
    container = pod["spec"]["containers"][0]
    requests: Json = {"cpu": milli(cpu), "memory": f"{memory}Gi"}
    limits: Json = {"memory": f"{memory}Gi"}
    env = {v["name"]: v.get("value") for v in container["env"]}
    env |= {"CPU_GUARANTEE": str(cpu / 1000)}
    env |= {"MEM_GUARANTEE": str(memory * GIB), "MEM_LIMIT": str(memory * GIB)}
    if "cpu_limit" in what:
        limits["cpu"] = milli(what["cpu_limit"])
        env["CPU_LIMIT"] = str(what["cpu_limit"] / 1000)
    if gpus:
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(gpus)
    container["resources"] = {"requests": requests, "limits": limits}
    if "image" in what:
        container["image"] = what["image"]
        env["JUPYTER_IMAGE"] = env["JUPYTER_IMAGE_SPEC"] = what["image"]
    container["env"] = [{"name": name, "value": value} for name, value in env.items()]
    shm = {"medium": "Memory", "sizeLimit": f"{memory // 2}Gi"}
    mounts = container.get("volumeMounts") or []
    container["volumeMounts"] = [*mounts, {"name": "gpu-jit-shm", "mountPath": "/dev/shm"}]
    spec = pod["spec"]
    spec["volumes"] = [*(spec.get("volumes") or []), {"name": "gpu-jit-shm", "emptyDir": shm}]
    spec["automountServiceAccountToken"] = False
    spec["schedulingGates"] = [{"name": "gpu-jit.io/plan"}]
    spec["tolerations"] = [*(spec.get("tolerations") or []), *TOLERATIONS]
    pod["metadata"]["labels"]["gpu-jit.io/session"] = "true"
    pod["metadata"]["annotations"]["gpu-jit.io/session"] = request(what, cpu, memory, gpus)
    return pod


TOLERATIONS = (
    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    {
        "key": "hub.jupyter.org/dedicated",
        "operator": "Equal",
        "value": "user",
        "effect": "NoSchedule",
    },
)


def milli(cpu: int) -> str:
    return f"{cpu}m" if cpu % 1000 else str(cpu // 1000)


def request(what: Json, cpu: int, memory: int, gpus: int) -> str:
    body = {
        "v": 1,
        "user": "ann",
        "server": "",
        "profile": what["profile"],
        "group": "",
        "group_policy": {"together": "zone", "all_or_none": False, "size": 0},
        "resources": {
            "cpu_millicpu": cpu,
            "memory_bytes": memory * GIB,
            "gpus": gpus,
            "local_disk_bytes": 0,
        },
        "requirements": {
            "gpu_models": what.get("models", []),
            "gpu_memory_gib": 0,
            "min_compute_capability_tenths": 0,
            "nvlink": False,
            "efa": False,
            "share": None,
            "driver_families": ["nvidia"],
            "capacity": what["capacity"],
            "zones": what.get("zones", []),
            "architectures": ["amd64"],
            "max_usd_per_hour_micro": None,
            "max_interruptions_per_hour": None,
        },
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


async def allowed(*, adopted: bool) -> dict[str, str]:
    """Every pod that a body may give, and the profile it is of."""
    pods = await (_allowed_of_list() if adopted else _allowed_of_profiles())
    return {flat(pod): slug for slug, pod in pods}


async def _allowed_of_profiles() -> list[tuple[str, Json]]:
    plain = as_json(await spawner(KubeSpawner, adopted=False).get_pod_manifest())
    small = completed(plain, profile="cpu", cpu=1700, cpu_limit=2000, memory=4, capacity="spot")
    found = [("cpu", small)]
    zones = (["us-east-1a"], ["us-east-1b"], ["us-east-1a", "us-east-1b"])
    for gpus, cpu, memory, capacity, zone, image in itertools.product(
        (1, 4, 8), (3000, 6000, 3500), (12, 24), ("spot", "on-demand"), zones, (None, LISTED)
    ):
        what = {"gpus": gpus, "cpu": cpu, "memory": memory, "capacity": capacity, "zones": zone}
        more = {"image": image} if image else {}
        found.append(("l4", completed(plain, profile="l4", models=["L4"], **what, **more)))
    return found


async def _allowed_of_list() -> list[tuple[str, Json]]:
    """From KubeSpawner's own idea of each selection, on an object of its own."""
    found = []
    plain = await _upstream({"profile": "plain"})
    what = {"cpu": 2000, "cpu_limit": 2000, "memory": 4, "capacity": "on-demand"}
    found.append(("plain", completed(plain, profile="plain", **what)))
    for image, size, ui in itertools.product(("base", "torch"), ("one", "two"), ("lab", "tree")):
        plain = await _upstream({"profile": "big_gpu", "image": image, "size": size, "ui": ui})
        slug = "big-gpu" if (size, ui) == ("one", "lab") else f"big-gpu-{size}-{ui}"
        gpus = 2 if size == "two" else 1
        what = {"gpus": gpus, "cpu": 3000 * gpus, "memory": 12 * gpus, "capacity": "on-demand"}
        chosen = plain["spec"]["containers"][0]["image"]
        found.append((slug, completed(plain, profile=slug, image=chosen, **what)))
    return found


async def _upstream(options: Json) -> Json:
    fresh = spawner(KubeSpawner, adopted=True)
    fresh.user_options = options
    await fresh.load_user_options()
    return as_json(await fresh.get_pod_manifest())


# --- bodies ------------------------------------------------------------------------------------

GOOD: dict[str, Json] = {
    "l4": {
        "gpus": [1, 4, 8],
        "cpu": [3, "3", "6000m", 3.5, "3500m"],
        "memory": ["12Gi", "24576Mi"],
        "capacity": ["spot", "on-demand"],
        "zone": ["us-east-1a", "us-east-1b"],
        "hours": [1, 7, 12],
        "image": [LISTED, "ghcr.io/lab/torch:2", "ghcr.io/lab/a-b:1.0-x"],
    },
    "cpu": {},
}
GOOD_LIST: dict[str, Json] = {
    "plain": {},
    "big_gpu": {
        "image": ["base", "torch"],
        "image--unlisted-choice": ["ghcr.io/lab/mine:3"],
        "size": ["one", "two"],
        "ui": ["lab", "tree"],
    },
    "big-gpu": {"image": [LISTED, "base"], "size": ["two"]},
    "big-gpu-two-tree": {"image": ["torch"]},
}
KEYS = (
    *("profile", "gpus", "cpu", "memory", "image", "zone", "hours", "capacity", "size", "ui"),
    *("image--unlisted-choice", "size--unlisted-choice", "kubespawner_override", "node_selector"),
    *("profiles", "user_options", "display_name", "tolerations", "extra_pod_config", "privileged"),
    *("__class__", "gpus ", "GPUS", "gрus", "", "x" * 65, "profile-option-l4--gpus"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 16, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf")),
    *("", " ", "l4", "cpu", "staff", "L4", "сpu", "l4\n", "l4\0", "ｌ４", "\ud800", "‏4", "٤"),
    *("4", "4.0", "+4", "1e1", "12Gi", "12 Gi", "12GiB", "999Ti", "3m", "spot ", "SPOT"),
    *("*", "us-east-1c", "{value}", "{username}", "{0.__class__}", "{{7*7}}", "$(id)", "%s%n"),
    *("ghcr.io/lab/torch:1\n", "ghcr.io/lab/torch:1 x", "evil/ghcr.io/lab/torch:1", "-v", "a/../b"),
    *("<script>alert(1)</script>", "x" * 300, "x" * 20_000, [], {}, [1], {"a": 1}, [[[["l4"]]]]),
    *({"privileged": True}, {"profile": "l4"}, ["l4"], [None], {"": ""}),
)


STRANGE = ("\u200b", "\u0301", "а", "／", "\n", "\x00", "-", "A", "%", "@x", "/x")


class Bodies:
    """Bodies of one seed: (way in, what is sent, whether it must be taken)."""

    def __init__(self, seed: int, *, adopted: bool) -> None:
        self.random = random.Random(seed)
        self.good = GOOD_LIST if adopted else GOOD
        self.corpus = [body for _, body in bodies.BAD_BODIES if len(str(body)) < 40_000]

    def __call__(self) -> tuple[str, Any, bool]:
        draw = self.random
        body, is_good = self._good(), True
        for change in draw.choices(
            (None, self._changed, self._grown, self._foreign, self._nested, self._bent),
            (45, 20, 10, 10, 5, 10),
            k=draw.choice((1, 1, 2)),
        ):
            if change is not None:
                body, is_good = change(body), False
        way = draw.choice(("form", "form", "api", "api", "raw", "query"))
        if way == "form":
            return way, self._form(body), is_good
        if way == "raw":
            return way, self._noise(json.dumps(body).encode()), False
        return way, body, is_good and way == "api"

    def _good(self) -> Json:
        slug = self.random.choice(list(self.good))
        asked = {
            name: self.random.choice(values)
            for name, values in self.good[slug].items()
            if self.random.random() < 0.6
        }
        return {"profile": slug, **asked}

    def _changed(self, body: Any) -> Any:
        return {**body, self.random.choice(list(body)): self._value()} if body else {"": 1}

    def _grown(self, body: Json) -> Any:
        return {**body, self.random.choice(KEYS): self._value()}

    def _foreign(self, _: Json) -> Any:
        return self.random.choice(self.corpus)

    def _nested(self, body: Json) -> Any:
        depth = self.random.choice((1, 3, 12, 60))
        value: Any = self._value()
        for _ in range(depth):
            value = [value] if self.random.random() < 0.5 else {self.random.choice(KEYS): value}
        return {**body, self.random.choice(KEYS): value}

    def _bent(self, body: Json) -> Any:
        """One text with a character changed for one that looks like it, or another."""
        name = self.random.choice([k for k, v in body.items() if isinstance(v, str)] or ["profile"])
        text = str(body.get(name, "l4"))
        at = self.random.choice((len(text), self.random.randrange(len(text) + 1)))
        strange = self.random.choice(STRANGE)
        return {**body, name: text[:at] + strange + text[at + self.random.randrange(2) :]}

    def _value(self) -> Any:
        if self.random.random() < 0.7:
            return self.random.choice(VALUES)
        length = self.random.choice((1, 3, 9, 40))
        return "".join(
            chr(self.random.choice((33, 48, 97, 1072, 0x1F600)) + i) for i in range(length)
        )

    def _form(self, body: Any) -> dict[str, list[str]]:
        """As a browser sends it, in our spelling or KubeSpawner's."""
        upstream = self.random.random() < 0.5
        fields: dict[str, list[str]] = {}
        for name, value in body.items():
            text = value if isinstance(value, str) else json.dumps(value)
            slug = body.get("profile", "")
            known = upstream and name != "profile"
            fields[f"profile-option-{slug}--{name}" if known else name] = [text]
        return fields

    def _noise(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.choice((1, 2, 8))):
            changed[self.random.randrange(len(changed))] = self.random.randrange(256)
        return bytes(changed[: self.random.choice((len(changed), len(changed) // 2))])
