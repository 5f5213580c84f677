"""What a launch asks besides offerings: on claims, to the cluster and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import LaunchBatch, LaunchTerms, NodeClaim

SCHEMA = Path(__file__).parents[2] / "docs" / "wire" / "claim.json"
CLAIM = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
PLAIN = NodeClaim(
    name="gnc-1",
    uid="u",
    resource_version="1",
    created_at=0.0,
    cluster_id="k",
    hub_id="h",
    batch=LaunchBatch(id="b", claims=("gnc-1",)),
    offerings=(),
)


def stored(claim):
    body = wire.encode_claim(claim)
    times = {"creationTimestamp": "1970-01-01T00:00:00Z"}
    body["metadata"] |= {"uid": "u", "resourceVersion": "1", **times}
    return body


@pytest.mark.parametrize(
    "terms",
    [
        LaunchTerms(),
        LaunchTerms(placement_group="pg-1"),
        LaunchTerms(placement_group="pg-1", placement_strategy="partition"),
        LaunchTerms(efa=True),
        LaunchTerms(together="g"),
    ],
)
def test_the_terms_of_a_claim_survive_the_way_to_the_cluster(terms):
    claim = replace(PLAIN, terms=terms)
    CLAIM.validate(wire.encode_claim(claim))
    assert wire.read_claim(stored(claim)) == claim


def test_a_claim_written_before_there_were_terms_has_none():
    body = stored(PLAIN)
    del body["spec"]["terms"]
    assert wire.read_claim(body) == PLAIN


def test_all_are_needed_only_where_a_group_says_so():
    assert LaunchTerms().at_least(3) == 1
    assert LaunchTerms(together="g").at_least(3) == 3
