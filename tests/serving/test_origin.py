"""Without a token no page of another site uses the service through a browser; a program does."""

import pytest

from tests.serving.doubles import run_service

FORM = {"files": {"posts": (None, '{"text": "fine"}')}}
FOREIGN = [
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
    {"sec-fetch-site": "cross-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("body", [{"json": {"text": "fine"}}, FORM], ids=["json", "form"])
def test_page_of_another_site_gets_403(service, headers, body):
    before = len(service.predictor.batches)
    reply = service.client.post("/v1/explain", headers=headers, **body)
    assert reply.status_code == 403
    assert reply.json()["error"]["reason"] == "the request comes from the page of another site"
    assert len(service.predictor.batches) == before
    assert service.client.get("/metrics", headers=headers).status_code == 403


@pytest.mark.parametrize("body", [{"json": {"text": "fine"}}, FORM], ids=["json", "form"])
@pytest.mark.parametrize("site", [None, "same-origin", "none"])
def test_program_and_own_page_are_answered(service, site, body):
    headers = {"sec-fetch-site": site} if site else {}
    if site == "same-origin":
        headers["origin"] = service.url
    assert service.client.post("/v1/explain", headers=headers, **body).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/openapi.json"])
def test_link_from_another_site_may_be_followed(service, path):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert service.client.get(path, headers=headers).status_code == 200


def test_token_is_proof_enough():
    with run_service(token="0123456789abcdef") as service:
        headers = {**FOREIGN[0], "authorization": "Bearer 0123456789abcdef"}
        assert service.explain({"text": "fine"}, headers=headers).status_code == 200
