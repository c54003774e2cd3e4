"""`gen-msa serve`: its address is an option or a setting, not both."""

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from gen_msa.serving import server


@pytest.fixture
def served(monkeypatch):
    """The settings with which a service would start."""
    settings = []
    monkeypatch.setattr(server, "serve", lambda given, token: settings.append(given))
    return settings


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ((), ("127.0.0.1", 8080)),
        (("--port", "0"), ("127.0.0.1", 0)),
        (("--port", "9000", "--host", "localhost"), ("localhost", 9000)),
        (("port=9000", "--host", "::1"), ("::1", 9000)),
    ],
)
def test_port_and_host_are_options(gen_msa, served, options, address):
    assert gen_msa("serve", "echo", *options).code == 0
    assert [(s.host, s.port) for s in served] == [address]


def test_address_given_twice_is_an_error(gen_msa, served):
    completed = gen_msa("serve", "echo", "port=9000", "--port", "9001")
    assert (completed.code, served) == (2, [])
    assert "port is given twice: --port and port=9000" in completed.err


def test_port_of_the_vllm_server_is_an_option_too(gen_msa, tmp_path):
    completed = gen_msa("serve", f"vllm:{tmp_path}", "--port", "70000", "--print")
    assert completed.code == 2
    assert "port" in completed.err
