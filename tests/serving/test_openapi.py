"""The description is true: its examples are answered, and what it generates breaks nothing."""

import json

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gen_msa.serving.describing import EXAMPLES
from tests.serving.doubles import served

TRUE = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/explain"), ("GET", "/healthz"), ("GET", "/metrics")]
)
def test_nothing_that_the_description_allows_or_forbids_is_a_server_error(
    service, method, path, mode
):
    described = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        assert (
            "parameters" not in described.raw_schema["paths"][path]["get"]
        )  # nothing to get wrong
        return
    cases = described[path][method].as_strategy(generation_mode=mode)
    examples = 60 if method == "POST" else 3

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(case=cases)
    def each(case):
        case.call_and_validate(checks=TRUE, timeout=10)

    each()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_answered_whole(service, name):
    reply = service.explain(EXAMPLES[name]["value"])
    assert reply.status_code == 200
    assert all("example" in e for e in reply.json()["answers"])


def test_the_description_tells_the_limits_and_the_token_in_force():
    with served("limits.posts=7", "limits.characters=90", token="0123456789abcdef") as it:
        told = it.client.get("/openapi.json").json()
        page = it.client.get("/docs")
    schemas = told["components"]["schemas"]
    assert schemas["PostList"]["maxItems"] == 7
    assert schemas["AskedPost"]["properties"]["text"]["maxLength"] == 90
    assert told["paths"]["/v1/explain"]["post"]["security"]
    assert "security" not in told["paths"]["/healthz"]["get"]
    assert "openapi.json" in page.text
    refs = {w for w in json.dumps(told).split('"') if w.startswith("#/components/schemas/")}
    assert {r.rpartition("/")[2] for r in refs} <= set(schemas)
