"""What a ``kubespawner_override`` means for placing a session, and what of it cannot be carried.

KubeSpawner's settings are known here by name only: sizes, image, GPU counts and well-known labels
become our own words; what else belongs to the pod stays with the pod; the rest gets a
sentence. Called by carried.py. Semantics: KubeSpawner 7.1, ``_apply_overrides`` and ``make_pod``.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UserError
from .gpus import MODELS, model_named
from .quantity import format_bytes, format_cpu, parse_count
from .sizes import bad
from .texts import quote, suggest
from .wire import ARCH_LABEL, GPU_RESOURCE, INSTANCE_TYPE_LABEL, PURPOSE_LABEL, ZONE_LABEL

Settings = dict[str, Any]
Say = Callable[[str], None]

SIZES = frozenset({"cpu_guarantee", "cpu_limit", "mem_guarantee", "mem_limit", "image"})
"""Settings that become part of our own profile and of nothing else."""

POD = frozenset(
    (
        *(
            "allow_privilege_escalation",
            "args",
            "cmd",
            "common_labels",
            "container_security_context",
        ),
        *("debug", "default_url", "env_keep", "environment", "extra_annotations"),
        *("extra_container_config", "extra_containers", "extra_labels", "extra_pod_config"),
        *("extra_resource_guarantees", "extra_resource_limits", "fs_gid", "gid"),
        *("image_pull_policy", "image_pull_secrets", "init_containers", "lifecycle_hooks"),
        *("node_affinity_preferred", "node_affinity_required", "node_selector", "notebook_dir"),
        *("pod_affinity_preferred", "pod_affinity_required", "pod_anti_affinity_preferred"),
        *("pod_anti_affinity_required", "pod_security_context", "priority_class_name"),
        *("privileged", "scheduler_name", "service_account", "supplemental_gids"),
        *("tolerations", "uid", "volume_mounts", "volumes", "working_dir"),
    )
)
"""Settings that KubeSpawner reads only while it builds the pod; an allow-list."""

_UNPLANNED = ("pod_affinity_required", "pod_anti_affinity_required")
_ON_NODES = frozenset(
    {ARCH_LABEL, INSTANCE_TYPE_LABEL, PURPOSE_LABEL, ZONE_LABEL, "kubernetes.io/os"}
)
_OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
_CAPACITY = ("karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType")
_GPU_PRODUCT = "nvidia.com/gpu.product"
_GPU_NAMES = (
    _GPU_PRODUCT,
    "k8s.amazonaws.com/accelerator",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
)
_PRODUCT = re.compile(
    r"(?P<name>.+?)(-(SXM[0-9]?|PCIE|PCIe|NVL|HBM[0-9]e?))*(-(?P<gb>[0-9]+)GB(-HBM[0-9]e?)?)?"
)
_BYTE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_OTHER_GPUS = re.compile(
    r"nvidia\.com/.+|.+/gpu(\..+)?|gpu\.intel\.com/.+|aws\.amazon\.com/neuron.*"
)


class NotOffered(UserError):
    """A profile that asks for something no node of ours can give; it is left out, and said."""


def merged(base: Mapping[str, Any], *overrides: Mapping[str, Any]) -> Settings:
    """Settings after these overrides, as KubeSpawner applies them: mappings grow, None removes."""
    found = copy.deepcopy(dict(base))
    for override in overrides:
        for key, value in override.items():
            if isinstance(value, Mapping) and isinstance(found.get(key), dict):
                _update(found[key], value)
            else:
                found[key] = copy.deepcopy(value)
    return found


def _update(target: dict[Any, Any], new: Mapping[Any, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            _update(target[key], value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = copy.deepcopy(value)


def check_names(override: Mapping[str, Any], known: frozenset[str], say: Say) -> Settings:
    """The override without what cannot be carried, each of which is said."""
    kept: Settings = {}
    for name, value in override.items():
        if name == "image_spec":  # KubeSpawner's old name of it
            kept["image"] = value
        elif callable(value):
            say(f"{name} is a function; it is asked for each user, so nothing is known of it here.")
        elif name in SIZES or name in POD:
            kept[name] = value
        elif name == "automount_service_account_token":
            if value:
                say(f"{name} is not carried: sessions never get a token of the cluster.")
        elif name in known:
            say(f"{name} is not carried: it is no part of the pod, so the hub's own value holds.")
        else:
            say(f"{name} is not carried: KubeSpawner has no such setting; {suggest(name, known)}")
    return kept


def read(settings: Mapping[str, Any], say: Say) -> tuple[Settings, Settings]:
    """What of a profile of ours these settings are, and what to take off the pod instead.

    Raises UserError for a value that KubeSpawner could not use either, NotOffered for a demand
    that only another kind of node could meet.
    """
    gpus = _gpu_count(settings, say)
    labels = _labels(settings)
    found, moved = _placement(labels, gpus, say)
    _say_unknown_labels({k: v for k, v in labels.items() if k not in moved}, settings, say)
    for name in _UNPLANNED:
        if settings.get(name):
            say(f"{name} is on the pod, but a node is chosen for it without looking at it.")
    models = found.pop("models", None)
    if models:
        found["gpus"] = {"count": gpus, **models}
    elif gpus:
        found["gpus"] = gpus
    if settings.get("image"):
        found["image"] = settings["image"]
    found["cpu"] = _cpu(settings, say)
    found["memory"] = _memory(settings, say)
    taken = {"node_selector": dict.fromkeys(moved)} if moved else {}
    return found, taken


def remainder(settings: Mapping[str, Any]) -> Settings:
    """What of these settings only the pod shows: all that is not a size, an image or a GPU."""
    found = {name: value for name, value in settings.items() if name in POD}
    for name in ("extra_resource_limits", "extra_resource_guarantees"):
        amounts = found.get(name) or {}
        found[name] = {key: value for key, value in amounts.items() if key != GPU_RESOURCE}
    return found


# --- sizes -----------------------------------------------------------------------------------


def _cpu(settings: Mapping[str, Any], say: Say) -> Settings:
    guarantee, limit = (_cores(settings, name) for name in ("cpu_guarantee", "cpu_limit"))
    if not guarantee and not limit:
        say("it has no cpu_guarantee, so 1 CPU is planned and guaranteed for it.")
        return {"guarantee": "1"}
    # Kubernetes takes the limit for a guarantee that is not given.
    return _amount(guarantee or limit, limit, format_cpu)


def _cores(settings: Mapping[str, Any], name: str) -> int:
    value = settings.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        raise bad(f"{name} must be a number of CPUs, not {quote(value)}.")
    return math.ceil(value * 1000)


def _memory(settings: Mapping[str, Any], say: Say) -> Settings:
    guarantee, limit = (_bytes(settings, name) for name in ("mem_guarantee", "mem_limit"))
    if not guarantee and not limit:
        say("it has no mem_guarantee, so 1Gi is planned and guaranteed for it, and is its limit.")
        return {"guarantee": "1Gi"}
    if not limit:
        say("it has no mem_limit; here the limit is then the guarantee.")
    # A limit like the guarantee is what a profile has anyway.
    return _amount(guarantee or limit, 0 if limit == guarantee else limit, format_bytes)


def _bytes(settings: Mapping[str, Any], name: str) -> int:
    """Bytes as JupyterHub reads them: K, M, G and T are powers of 1024."""
    value = settings.get(name)
    if value is None:
        return 0
    try:
        if isinstance(value, str):
            return int(float(value[:-1]) * _BYTE_UNITS[value[-1]])
        if not isinstance(value, bool):
            return int(value)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError):
        pass
    raise bad(f'{name} must be bytes or a text such as "8G", not {quote(value)}.')


def _amount(guarantee: int, limit: int, form: Callable[[int], str]) -> Settings:
    own = {"guarantee": form(guarantee)}
    return {**own, "limit": form(limit)} if limit else own


# --- GPUs ------------------------------------------------------------------------------------


def _gpu_count(settings: Mapping[str, Any], say: Say) -> int:
    counts = set()
    for name in ("extra_resource_limits", "extra_resource_guarantees"):
        amounts = settings.get(name) or {}
        if not isinstance(amounts, Mapping):
            raise bad(f"{name} must be a mapping, not {quote(amounts)}.")
        for resource, amount in amounts.items():
            count = _count(name, resource, amount)
            if resource == GPU_RESOURCE:
                counts.add(count)
            elif count:
                _other_resource(str(resource), say)
    if len(counts) > 1:
        few, many = min(counts), max(counts)
        raise bad(f"{GPU_RESOURCE} must be the same as limit and guarantee, not {few} and {many}.")
    return counts.pop() if counts else 0


def _count(name: str, resource: object, amount: object) -> int:
    if isinstance(amount, (str, int)) and not isinstance(amount, bool):
        try:
            return parse_count(amount)
        except UserError:
            pass
    raise bad(f"{name} must give {resource} as a number, not {quote(amount)}.")


def _other_resource(resource: str, say: Say) -> None:
    if _OTHER_GPUS.fullmatch(resource):
        raise NotOffered(f"it asks for {resource}; only whole GPUs ({GPU_RESOURCE}) are planned.")
    say(f"{resource} stays on the pod, but a node is chosen for it without looking at it.")


# --- labels ----------------------------------------------------------------------------------


def _labels(settings: Mapping[str, Any]) -> dict[str, str]:
    labels = settings.get("node_selector") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(v, str) for v in labels.values()):
        raise bad(f"node_selector must map labels to texts, not {quote(labels)}.")
    return {str(label): value for label, value in labels.items()}


def _placement(labels: Mapping[str, str], gpus: int, say: Say) -> tuple[Settings, list[str]]:
    """Requirements that labels stand for, and which labels they replace on the pod."""
    found: Settings = {}
    moved: list[str] = []
    for label, value in labels.items():
        if label in (ZONE_LABEL, _OLD_ZONE):
            found["zones"] = [value]
        elif label in _CAPACITY and (policy := value.lower().replace("_", "-")) in _POLICIES:
            found["capacity"] = policy
        elif label in _GPU_NAMES and gpus and (models := _models(label, value, say)):
            found["models"] = models
        else:
            continue
        if label != ZONE_LABEL:  # nodes have it, so it may also stay
            moved.append(label)
    return found, moved


_POLICIES = ("spot", "on-demand")


def _models(label: str, value: str, say: Say) -> Settings:
    """Model, and least memory when several sizes of it exist; empty when it is no model of ours."""
    if "-MIG-" in value or value.endswith("-SHARED"):
        raise NotOffered(f"it asks for {label}={value}; only whole GPUs are planned.")
    match = _PRODUCT.fullmatch(value)
    try:
        model = model_named(match["name"] if match else value)
    except UserError:
        return {}
    size = int(match["gb"] or 0) if match else 0
    sizes = MODELS[model]
    if size not in sizes or len(sizes) == 1:
        return {"models": [model]}
    if size != sizes[-1]:
        say(f"{label}={value} is read as {model} with {size} GB or more.")
    return {"models": [model], "memory_gib": size}


def _say_unknown_labels(labels: Mapping[str, str], settings: Mapping[str, Any], say: Say) -> None:
    terms = settings.get("node_affinity_required") or ()
    if not isinstance(terms, (list, tuple)):
        terms = list(terms.values()) if isinstance(terms, Mapping) else [terms]
    asked = [f"{label}={value}" for label, value in labels.items() if label not in _ON_NODES]
    for term in terms:
        if not isinstance(term, Mapping):
            raise bad(f"node_affinity_required must hold terms, not {quote(term)}.")
        rows = term.get("matchExpressions") or ()
        keys = [str(row.get("key")) for row in rows if isinstance(row, Mapping)]
        asked += [key for key in keys if key not in _ON_NODES]
    for label in asked:
        say(
            f"the label {label} stays on the pod, but no node that is launched here has it: "
            "take it out, or nothing will serve this profile."
        )
