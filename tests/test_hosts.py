"""Which hosts are this machine, and which are not."""

import socket

import pytest

from gen_msa import hosts
from gen_msa.hosts import is_permitted, is_this_machine


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.8.8", "[::1]", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST.", "::"],
)
def test_loopback_is_this_machine(host):
    assert is_this_machine(host)


def test_own_addresses_and_own_name_are_this_machine():
    name = socket.gethostname()
    for entry in socket.getaddrinfo(name, None):
        assert is_this_machine(str(entry[4][0]))
    assert is_this_machine(name)


@pytest.mark.parametrize(
    "host",
    [
        "api.example.com",
        "203.0.113.7",
        "10.255.254.253",
        "[2001:db8::1]",
        "::ffff:203.0.113.7",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "127.1",
        "2130706433",
        "host.docker.internal",
        "224.0.0.1",
        "",
    ],
)
def test_any_other_host_is_not(host, monkeypatch):
    # No name is looked up: what it stands for is decided by others.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a lookup"))
    assert not is_this_machine(host)


def test_own_name_that_stands_for_another_address_is_another_machine(monkeypatch):
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.113.7", 0))
    monkeypatch.setattr(socket, "gethostname", lambda: "Laptop")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [entry])
    assert not is_this_machine("laptop")


def test_host_is_permitted_by_its_name_in_any_spelling():
    assert is_permitted("API.example.com", ["api.example.com."])
    assert is_permitted("[2001:db8::1]", ["2001:db8::1"])
    assert not is_permitted("api.example.com", ["example.com", "evil.api.example.com"])
    assert not is_permitted("api.example.com", [])
    assert hosts.normalize_host("[2001:DB8::1]") == "2001:db8::1"
