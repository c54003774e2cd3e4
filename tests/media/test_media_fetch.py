"""Fault 6: no address leads into the machine or its network; 12 cases, 0 fetched."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from gen_msa.media import PictureLimits, PictureProblem, admit
from gen_msa.media.fetch import fetch, is_public
from gen_msa.types import Media

PUBLIC = "93.184.215.14"
OWN = """127.0.0.1 localhost [::1] 2130706433 0x7f.0.0.1 0177.0.0.1 127.1
    [::ffff:127.0.0.1] 0.0.0.0"""
PRIVATE = """127.0.0.1 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 0.0.0.0 ::1 ::
    ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: fe80::1%eth0 fc00::1 fec0::1 224.0.0.1 240.0.0.1
    255.255.255.255 100.64.0.1 2001:0:1::1 2130706433 x"""


@pytest.fixture
def server():
    """A loopback server that counts who comes by."""
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, *args):
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield httpd.server_port, hits
        httpd.shutdown()
        thread.join()


class Outside(httpx.BaseTransport):
    """The internet in small: answers for PUBLIC, and really connects for any other address."""

    def __init__(self, *replies: httpx.Response) -> None:
        self.replies = list(replies)
        self.asked: list[httpx.Request] = []
        self.real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.host != PUBLIC:
            return self.real.handle_request(request)
        return self.replies.pop(0)


def _public(host: str, port: int) -> list[str]:
    return [PUBLIC]


def _to(location: str) -> httpx.Response:
    return httpx.Response(302, headers={"location": location})


def _limits(*hosts: str, **more) -> PictureLimits:
    return PictureLimits(allowed_hosts=hosts, **more)


@pytest.mark.parametrize(
    "host",
    OWN.split(),
)
def test_an_allowed_name_that_means_this_machine_is_refused(server, tmp_path, host):
    port, hits = server
    url = f"http://{host}:{port}/a.png"
    with pytest.raises(PictureProblem) as caught:
        admit(Media(kind="image", path=url), tmp_path, _limits(f"{host}:{port}", host))
    assert caught.value.kind in (
        "url_refused",
        "unreadable",
    )  # some systems resolve 0x7f to nothing
    assert hits == []
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_into_this_machine_is_refused(server):
    port, hits = server
    net = Outside(_to(f"http://127.0.0.1:{port}/a.png"))
    allowed = _limits("pictures.example", f"127.0.0.1:{port}")
    resolve = {"pictures.example": [PUBLIC], "127.0.0.1": ["127.0.0.1"]}
    url = "http://pictures.example/a.png"
    with pytest.raises(PictureProblem, match="not a public address"):
        fetch(url, allowed, resolve=lambda h, p: resolve[h], transport=net)
    assert (len(net.asked), hits) == (1, [])


def test_a_redirect_to_a_host_that_is_not_allowed_is_refused(server):
    port, hits = server
    net = Outside(_to(f"//127.0.0.1:{port}/a.png"))
    with pytest.raises(PictureProblem, match="not among the allowed hosts"):
        fetch("http://a.example/x", _limits("a.example"), resolve=_public, transport=net)
    assert (len(net.asked), hits) == (1, [])


def test_a_name_that_changes_its_mind_is_asked_once_and_the_judged_address_is_used(server, make):
    port, hits = server
    answers = [[PUBLIC], ["127.0.0.1"]]
    net = Outside(httpx.Response(200, stream=httpx.ByteStream(make())))
    name = f"a.example:{port}"
    fetch(
        f"http://{name}/x.png",
        _limits(name),
        resolve=lambda host, port: answers.pop(0),
        transport=net,
    )
    assert [r.url.host for r in net.asked] == [PUBLIC]
    assert net.asked[0].headers["host"] == name
    assert net.asked[0].extensions["sni_hostname"] == "a.example"
    assert (len(answers), hits) == (1, [])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a.example/x.png", "not fetched from the network"),
        ("http://user:pw@a.example/x.png", "user name"),
        ("http://a.example@127.0.0.1/x.png", "user name"),
        ("http://a.example.evil.test/x.png", "not among"),
        ("http://a.example:6379/x.png", "not among"),
        ("ftp://a.example/x.png", "not http"),
        ("http://a.ex\x01ample/", "cannot be read"),
    ],
)
def test_policy_refuses_before_the_network_is_asked(url, why):
    hosts = () if "network" in why else ("a.example",)
    net = Outside()
    with pytest.raises(PictureProblem, match=why) as caught:
        fetch(url, _limits(*hosts), resolve=_public, transport=net)
    assert caught.value.kind == "url_refused"
    assert net.asked == []


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(PictureProblem, match=r"169\.254\.169\.254"):
        fetch(
            "http://a.example/",
            _limits("a.example"),
            resolve=lambda h, p: [PUBLIC, "169.254.169.254"],
            transport=Outside(),
        )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.Response(404), "unreadable"),
        (httpx.Response(200, stream=httpx.ByteStream(b"x" * 5000)), "too_large"),
        (httpx.Response(200, headers={"content-encoding": "br"}, content=b""), "unreadable"),
    ],
)
def test_a_bad_answer_is_a_problem_of_its_kind(reply, kind):
    with pytest.raises(PictureProblem) as caught:
        fetch(
            "http://a.example/",
            _limits("a.example", max_bytes=1000),
            resolve=_public,
            transport=Outside(reply),
        )
    assert caught.value.kind == kind


def test_redirects_end_after_three():
    net = Outside(*[_to("/again") for _ in range(9)])
    with pytest.raises(PictureProblem, match="more than 3 redirects"):
        fetch("http://a.example/", _limits("a.example"), resolve=_public, transport=net)
    assert len(net.asked) == 4


@pytest.mark.parametrize(
    "address",
    PRIVATE.split(),
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


def test_addresses_that_are_public():
    assert is_public(PUBLIC)
    assert is_public("2606:4700:4700::1111")


def test_the_loopback_server_does_count_who_comes_by(server):
    port, hits = server
    assert httpx.get(f"http://127.0.0.1:{port}/a.png", trust_env=False).content == b"secret"
    assert hits == ["/a.png"]
