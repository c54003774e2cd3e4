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

from gen_msa.serving.app import OPENAPI_EXAMPLES
from tests.serving.doubles import run_service

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/explain"), ("GET", "/healthz"), ("GET", "/metrics")]
)
def test_generated_requests_never_cause_server_error(service, method, path, mode):
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        assert "parameters" not in schema.raw_schema["paths"][path]["get"]  # nothing to get wrong
        return
    cases = schema[path][method].as_strategy(generation_mode=mode)
    examples = 60 if method == "POST" else 3

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(case=cases)
    def check_case(case):
        case.call_and_validate(checks=CHECKS, timeout=10)

    check_case()


@pytest.mark.parametrize("name", OPENAPI_EXAMPLES)
def test_openapi_examples_are_answered(service, name):
    reply = service.explain(OPENAPI_EXAMPLES[name]["value"])
    assert reply.status_code == 200
    assert all("example" in e for e in reply.json()["answers"])


def test_openapi_states_limits_and_token():
    with run_service("limits.posts=7", "limits.characters=90", token="0123456789abcdef") as service:
        document = service.client.get("/openapi.json").json()
        page = service.client.get("/docs")
    schemas = document["components"]["schemas"]
    assert schemas["PostList"]["maxItems"] == 7
    assert schemas["PostRequest"]["properties"]["text"]["maxLength"] == 90
    assert document["paths"]["/v1/explain"]["post"]["security"]
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "openapi.json" in page.text
    refs = {w for w in json.dumps(document).split('"') if w.startswith("#/components/schemas/")}
    assert {r.rpartition("/")[2] for r in refs} <= set(schemas)
