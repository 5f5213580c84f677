"""The files of gpu-jit plan: what is right is read, every slip is one sentence with its path."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_worlds import kind

from jupyter_gpu_jit.core.model import UNTOLD, Resources
from jupyter_gpu_jit.core.plan_answer_schema import answer_schema
from jupyter_gpu_jit.core.planfile import read_nodes, read_requests, request_of, split
from jupyter_gpu_jit.core.planfile_market import on_demand_only, overlay_spot, read_catalogue
from jupyter_gpu_jit.core.planfile_schema import plan_schema
from jupyter_gpu_jit.core.quantity import GIB
from jupyter_gpu_jit.core.requirements import CapacityPolicy, CapacityType
from jupyter_gpu_jit.errors import UserError

ROOT = Path(__file__).parents[2]
PARTS = ("requests", "catalogue", "spot", "nodes")
SCHEMAS = {part: jsonschema.Draft202012Validator(plan_schema(part)) for part in PARTS}
OFFER = {"zone": "z-1", "capacity_type": "on-demand", "usd_per_hour": 2}
TYPE = {"type": "a.large", "allocatable": {"cpu": 4, "memory": "8Gi"}, "offerings": [OFFER]}
NODE = {"name": "n-1", "type": "a.large", "zone": "z-1"}


def catalogue(*changes, known=None):
    return read_catalogue([{**TYPE, **change} for change in changes or ({},)], known or {})


def spot(*rows):
    return overlay_spot(catalogue(), list(rows))


def nodes(*rows):
    return read_nodes(list(rows), {kind.name: kind for kind in catalogue()})


READERS = {
    "requests": read_requests,
    "catalogue": lambda data: read_catalogue(data, {"a.large": kind("a.large", 1)}),
    "spot": lambda data: overlay_spot(catalogue(), data),
    "nodes": lambda data: read_nodes(data, {kind.name: kind for kind in catalogue()}),
}


def said(part, data):
    with pytest.raises(UserError) as caught:
        READERS[part](data)
    assert "\n" not in caught.value.user_message
    return caught.value.user_message


# --- requests --------------------------------------------------------------------------------


def test_a_request_is_a_profile_times_a_count():
    first, second = read_requests([{"count": 3, "gpus": 1, "cpu": 8}, {"slug": "x", "cpu": 2}])
    assert (first.count, first.profile.slug, second.count) == (3, "request-1", 1)
    assert first.profile.capacity is CapacityPolicy.SPOT_THEN_ON_DEMAND
    sessions = [*first.sessions(), *second.sessions()]
    assert [request_of(s.uid) for s in sessions] == [0, 0, 0, 1]
    assert sessions[0].resources == Resources(cpu_millicpu=8000, memory_bytes=GIB, gpus=1, pods=1)


def test_a_file_may_hold_all_parts():
    assert split([1]) == {"requests": [1]}
    assert split({"requests": [], "nodes": []}) == {"requests": [], "nodes": []}
    with pytest.raises(UserError, match='did you mean "requests"'):
        split({"request": []})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (5, "requests: must be a list, not 5."),
        ([], "requests: must have at least one entry."),
        ([5], "requests[0]: must be a mapping, not 5."),
        ([{"cuont": 3}], 'requests[0].cuont: did you mean "count"?'),
        ([{"count": 0}], "requests[0].count: must be from 1"),
        ([{"gpus": {"models": ["A10"]}}, {"gpus": {"models": ["H10"]}}], "H100"),
        ([{"cpu": "x"}], "requests[0].cpu: "),
        ([{"slug": "a"}, {"slug": "a"}], 'requests[1].slug: "a" is that of requests[0].'),
        ([{"count": 60_000}, {"count": 60_000}], "more than 100000 sessions"),
        ([{"cpu": 0, "memory": 0}], "(and 1 more)"),
        ({"request": []}, 'request: did you mean "requests"?'),
    ],
)
def test_a_slip_in_requests_has_its_path(data, told):
    assert told in said("requests", data)


# --- a catalogue -----------------------------------------------------------------------------


def test_a_catalogue_says_what_is_sold():
    market = catalogue(
        {
            "gpus": 2,
            "gpu_model": "nvidia-a100",
            "architecture": "arm64",
            "interconnect": "nvswitch",
            "offerings": [{**OFFER, "interruptions_per_hour": 0.1, "available": False}],
        }
    )
    (found,) = market
    assert found.allocatable == Resources(
        cpu_millicpu=4000, memory_bytes=8 * GIB, gpus=2, pods=110, volumes=UNTOLD
    )
    assert (found.gpu_model, found.gpu_memory_mib) == ("A100", 40 * 1024)
    assert (found.architecture, found.gpu_interconnect) == ("arm64", "nvswitch")
    (sold,) = found.offerings
    assert (sold.usd_per_hour_micro, sold.available) == (2_000_000, False)
    assert sold.interruptions_per_hour == 0.1


def test_what_a_catalogue_leaves_out_is_that_of_the_known_type():
    known = kind("a.large", 1, gpus=1, model="L4", pods=29, architecture="arm64", bare_metal=True)
    (found,) = catalogue(known={"a.large": known})
    assert (found.gpu_model, found.gpu_memory_mib) == ("L4", 22888)
    assert (found.architecture, found.allocatable.gpus, found.allocatable.pods) == ("arm64", 1, 29)
    # What is in the file may be bought.
    assert not found.bare_metal
    (plain,) = catalogue({"gpus": 0}, known={"a.large": known})
    assert (plain.gpu_model, plain.gpu_memory_mib) == ("", 0)


def test_gpus_may_be_said_as_kubernetes_does():
    (found,) = catalogue({"allocatable": {"cpu": 4, "memory": "8Gi", "nvidia.com/gpu": 4}})
    assert found.allocatable.gpus == 4


def test_the_default_market_has_no_spot():
    (found,) = on_demand_only((kind("a", 1),))
    assert [o.capacity_type for o in found.offerings] == [CapacityType.ON_DEMAND]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"alocatable": {}}, 'catalogue[0].alocatable: did you mean "allocatable"?'),
        ({"allocatable": 5}, "catalogue[0].allocatable: must be a mapping, not 5."),
        ({"allocatable": {"mem": 1}}, 'catalogue[0].allocatable.mem: did you mean "memory"?'),
        ({"type": "a b"}, "catalogue[0].type: must be a name"),
        ({"allocatable": {"pods": 0}}, "catalogue[0].allocatable.pods: must be from 1 to 10000"),
        ({"gpus": 999}, "catalogue[0].gpus: must be from 0 to 128"),
        ({"gpus": 1, "gpu_model": "A101"}, 'did you mean "A10'),
        ({"architecture": "arm"}, 'did you mean "arm64"?'),
        ({"offerings": 5}, "catalogue[0].offerings: must be a list"),
        ({"offerings": [5]}, "catalogue[0].offerings[0]: must be a mapping"),
        ({"offerings": [{}]}, "catalogue[0].offerings[0].zone: is missing. (and 2 more)"),
        ({"offerings": [{**OFFER, "capacity_type": "on_demand"}]}, 'did you mean "on-demand"?'),
        ({"offerings": [{**OFFER, "usd_per_hour": -1}]}, "offerings[0].usd_per_hour: must be"),
        ({"offerings": [{**OFFER, "available": 1}]}, "available: must be true or false, not 1."),
        ({"offerings": [{**OFFER, "interruptions_per_hour": "x"}]}, "interruptions_per_hour"),
        ({"offerings": [OFFER, OFFER]}, "offerings[1]: this zone and capacity type are there"),
    ],
)
def test_a_slip_in_a_catalogue_has_its_path(change, told):
    assert told in said("catalogue", [{**TYPE, **change}])


def test_a_catalogue_has_types_and_each_once():
    assert "at least one" in said("catalogue", [])
    assert 'catalogue[1].type: "a.large" is there twice.' in said("catalogue", [TYPE, TYPE])
    assert "catalogue[0].type: is missing." in said("catalogue", [{}])


# --- Spot ------------------------------------------------------------------------------------


def test_spot_adds_an_offering_or_replaces_it():
    market = spot({"type": "a.large", "zone": "z-1", "usd_per_hour": 0.5})
    assert [o.usd_per_hour_micro for o in market[0].offerings] == [2_000_000, 500_000]
    row = {"type": "a.large", "zone": "z-1", "interruptions_per_hour": 0, "available": False}
    again = overlay_spot(market, [row])
    sold = again[0].offerings[1]
    assert (sold.usd_per_hour_micro, sold.available) == (500_000, False)
    assert sold.interruptions_per_hour == 0


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"zone": "z-1", "usd_per_hour": 1}], "spot[0].type: is missing."),
        ([{"type": "a.lagre", "zone": "z-1"}], 'did you mean "a.large"?'),
        ([{"type": "qqq", "zone": "z-1"}], "the catalogue has none like it."),
        ([{"type": "a.large", "zone": "z-1"}], "spot[0].usd_per_hour: is missing."),
        (
            [{"type": "a.large", "zone": "z-1", "usd_per_hour": 1}] * 2,
            "spot[1]: this type and zone are there twice.",
        ),
    ],
)
def test_a_slip_in_a_spot_file_has_its_path(rows, told):
    assert told in said("spot", rows)


# --- nodes -----------------------------------------------------------------------------------


def test_a_live_node_has_the_room_its_sessions_leave():
    (node,) = nodes({**NODE, "ready": False, "sessions": [{"count": 2, "cpu": 1}]})
    seat = node.seat
    assert (seat.place, seat.ready, seat.usd_per_hour_micro) == ("n-1", False, 2_000_000)
    assert seat.residual == Resources(
        cpu_millicpu=2000, memory_bytes=6 * GIB, pods=108, volumes=UNTOLD
    )
    assert [(profile.slug, count) for profile, count in node.held] == [("session-1", 2)]


def test_a_live_node_may_be_of_another_price_and_size():
    row = {**NODE, "zone": "z-9", "capacity_type": "spot", "usd_per_hour": 0.25}
    (node,) = nodes({**row, "allocatable": {"cpu": 3}})
    assert node.seat.usd_per_hour_micro == 250_000
    assert node.seat.total == Resources(
        cpu_millicpu=3000, memory_bytes=8 * GIB, pods=110, volumes=UNTOLD
    )
    assert node.seat.capacity_type is CapacityType.SPOT


def test_a_live_node_may_have_its_gpus_in_parts():
    (kind_,) = catalogue({"gpus": 2, "gpu_model": "A100"})
    read = lambda layout: read_nodes([{**NODE, "layout": layout}], {"a.large": kind_})  # noqa: E731
    (node,) = read("mig-1g.5gb")
    assert (node.seat.layout, node.seat.total.gpus) == ("mig-1g.5gb", 14)
    with pytest.raises(
        UserError, match=r'nodes\[0\].layout: a.large has no layout "mig-1g.6gb"; did'
    ):
        read("mig-1g.6gb")


def test_a_catalogue_may_tell_of_network_driver_volumes_and_disk():
    size = {"cpu": 4, "memory": "8Gi", "volumes": 27, "local_disk": "100Gi"}
    change = {"allocatable": size, "efa_interfaces": 4, "driver_family": "nvidia-grid"}
    (found,) = catalogue(change)
    assert (found.efa_interfaces, found.driver_family) == (4, "nvidia-grid")
    assert (found.allocatable.volumes, found.allocatable.local_disk_bytes) == (27, 100 * GIB)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{}], "nodes[0].name: is missing. (and 2 more)"),
        ([{**NODE, "type": "a.lagre"}], 'nodes[0].type: there is no instance type "a.lagre"; did'),
        ([{**NODE, "type": 5}], "there is no instance type 5"),
        ([{**NODE, "zone": "z-9"}], "nodes[0].usd_per_hour: is missing, and the catalogue has no"),
        ([{**NODE, "sessions": [{"count": 5}]}], "nodes[0].sessions: take more than the node has."),
        ([{**NODE, "sessions": [{"cpuu": 5}]}], 'nodes[0].sessions[0].cpuu: did you mean "cpu"?'),
        ([NODE, NODE], 'nodes[1].name: "n-1" is there twice.'),
    ],
)
def test_a_slip_in_a_file_of_nodes_has_its_path(rows, told):
    assert told in said("nodes", rows)


# --- schemas, and input of any kind ----------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_the_schema_files_are_the_schemas_of_the_code(part):
    stored = json.loads((ROOT / f"docs/wire/plan-{part}.json").read_text())
    assert stored == plan_schema(part)
    jsonschema.Draft202012Validator.check_schema(stored)


def test_the_answers_schema_file_is_that_of_the_code():
    stored = json.loads((ROOT / "docs/wire/plan-answer.json").read_text())
    assert stored == answer_schema()
    jsonschema.Draft202012Validator.check_schema(stored)


def test_the_example_fits_its_schema():
    SCHEMAS["requests"].validate(json.loads((ROOT / "examples/ten-pods.json").read_text()))


_KEYS = st.sampled_from(
    (
        *(*PARTS, "type", "zone", "name", "count", "cpu", "memory", "gpus", "slug", "offerings"),
        *("allocatable", "capacity_type", "usd_per_hour", "sessions", "pods", "models"),
        "interruptions_per_hour",
    )
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.large", "z-1", "spot", "on-demand", "4Gi", 1, 2, 10**400])
)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("part", PARTS)
@given(data=_ANYTHING | st.lists(st.dictionaries(_KEYS, _ANYTHING, max_size=6), max_size=3))
def test_anything_is_read_or_refused_in_a_sentence(part, data):
    refused = None
    try:
        READERS[part](data)
    except UserError as error:
        refused = error
    if refused is not None:
        assert refused.user_message.isprintable()
    else:
        # What a reader takes, an editor with the schema takes.
        assert SCHEMAS[part].is_valid(data)
