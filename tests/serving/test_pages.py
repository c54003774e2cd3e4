"""`/` and `/docs` are complete without a script, another host or the network."""

import re

import pytest

from tests.serving.doubles import run_service


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_page_loads_nothing(service, path):
    reply = service.client.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not re.search(r"<script|<img|<iframe|@import|(?:src|href)=\W?(?:https?:)?//", reply.text)


def test_links_of_the_start_page_are_answered(service):
    links = re.findall(r'href="([^"]+)"', service.client.get("/").text)
    assert {"/docs", "/openapi.json", "/healthz", "/metrics"} <= set(links)
    assert {service.client.get(link).status_code for link in links} == {200}


def test_documentation_names_every_path_status_and_field(service):
    page = service.client.get("/docs").text
    document = service.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        assert path in page
        assert all(f"<td>{s}</td>" in page for o in operations.values() for s in o["responses"])
    assert all(f'id="{name}"' in page for name in document["components"]["schemas"])


def test_pages_need_no_token_and_show_none():
    with run_service(token="0123456789abcdef") as service:
        for path in ("/", "/docs"):
            page = service.client.get(path)
            assert page.status_code == 200
            assert "Bearer TOKEN" in page.text
            assert "0123456789abcdef" not in page.text
