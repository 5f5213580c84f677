"""Labels, taints and capacity: who may go where, as kube-scheduler decides it."""

import pytest

from jupyter_gpu_jit.core.requirements import (
    CapacityPolicy,
    CapacityType,
    LabelRequirement,
    Requirements,
    Taint,
    Toleration,
    untolerated,
)


@pytest.mark.parametrize(
    ("policy", "spot", "on_demand"),
    [
        (CapacityPolicy.SPOT, True, False),
        (CapacityPolicy.SPOT_THEN_ON_DEMAND, True, True),
        (CapacityPolicy.ON_DEMAND, False, True),
    ],
)
def test_a_policy_allows_its_capacity_types(policy, spot, on_demand):
    assert policy.allows(CapacityType.SPOT) is spot
    assert policy.allows(CapacityType.ON_DEMAND) is on_demand


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        ("In", ("a", "b"), {"k": "b"}, True),
        ("In", ("a",), {"k": "b"}, False),
        ("In", ("a",), {}, False),
        ("NotIn", ("a",), {"k": "b"}, True),
        ("NotIn", ("a",), {"k": "a"}, False),
        ("NotIn", ("a",), {}, True),
        ("Exists", (), {"k": ""}, True),
        ("Exists", (), {}, False),
        ("DoesNotExist", (), {}, True),
        ("DoesNotExist", (), {"k": "a"}, False),
        ("Gt", ("5",), {"k": "6"}, True),
        ("Gt", ("5",), {"k": "5"}, False),
        ("Gt", ("5",), {"k": "40"}, True),
        ("Lt", ("5",), {"k": "4"}, True),
        ("Lt", ("5",), {"k": "5"}, False),
        ("Lt", ("-1",), {"k": "-2"}, True),
        ("Gt", ("5",), {}, False),
        ("Lt", ("5",), {}, False),
        ("Gt", ("5",), {"k": "six"}, False),
        ("Gt", ("5",), {"k": "1_0"}, False),
        ("Gt", ("5",), {"k": " 6"}, False),
        ("Gt", ("5",), {"k": "٦"}, False),
        ("Gt", ("five",), {"k": "6"}, False),
        ("Gt", (), {"k": "6"}, False),
        ("Gt", ("5", "6"), {"k": "7"}, False),
        ("Near", ("a",), {"k": "a"}, False),
    ],
)
def test_a_row_matches_labels_as_the_scheduler_does(operator, values, labels, matches):
    row = LabelRequirement(key="k", operator=operator, values=values)
    assert row.matches(labels) is matches


TAINT = Taint(key="gpu", value="yes", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration(key="gpu", value="yes"), True),
        (Toleration(key="gpu", value="yes", effect="NoSchedule"), True),
        (Toleration(key="gpu", value="yes", effect="NoExecute"), False),
        (Toleration(key="gpu", value="no"), False),
        (Toleration(key="gpu"), False),
        (Toleration(key="cpu", value="yes"), False),
        (Toleration(key="gpu", operator="", value="yes"), True),
        (Toleration(key="gpu", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(operator="Exists", effect="NoExecute"), False),
        (Toleration(key="cpu", operator="Exists"), False),
        (Toleration(key="gpu", operator="Gt", value="yes"), False),
    ],
)
def test_a_toleration_covers_a_taint_as_in_kubernetes(toleration, tolerates):
    assert toleration.tolerates(TAINT) is tolerates


def test_only_taints_that_keep_pods_away_must_be_tolerated():
    soft = Taint(key="soft", effect="PreferNoSchedule")
    hard = Taint(key="hard", effect="NoExecute")
    assert untolerated((soft,), ()) is None
    assert untolerated((soft, TAINT, hard), (Toleration(key="gpu", value="yes"),)) == hard
    assert untolerated((TAINT,), (Toleration(key="x"), Toleration(operator="Exists"))) is None


def test_every_own_label_and_one_term_must_match():
    a = LabelRequirement(key="a", operator="Exists")
    b = LabelRequirement(key="b", operator="Exists")
    needs = Requirements(node_labels=(("zone", "1"),), node_terms=((a, b), (b,)))
    assert needs.labels_match({"zone": "1", "b": ""})
    assert not needs.labels_match({"zone": "1", "a": ""})
    assert not needs.labels_match({"zone": "2", "b": ""})
    assert not needs.labels_match({"b": ""})
    assert Requirements().labels_match({})


def test_an_empty_term_matches_nothing():
    assert not Requirements(node_terms=((),)).labels_match({"a": "b"})
