"""No URL reaches the machine or its private network; only allowed public hosts are fetched."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from gen_msa.media import ImageError, ImageLimits, open_image
from gen_msa.media.fetch import fetch, is_public
from gen_msa.types import Media

PUBLIC_ADDRESS = "93.184.215.14"
LOOPBACK_HOSTS = """127.0.0.1 localhost [::1] 2130706433 0x7f.0.0.1 0177.0.0.1 127.1
    [::ffff:127.0.0.1] 0.0.0.0"""
PRIVATE_ADDRESSES = """127.0.0.1 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 0.0.0.0 ::1 ::
    ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: fe80::1%eth0 fc00::1 fec0::1 224.0.0.1 240.0.0.1
    255.255.255.255 100.64.0.1 2001:0:1::1 2130706433 x"""


@pytest.fixture
def server():
    """Run a loopback server that records requests."""
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


class FakeInternet(httpx.BaseTransport):
    """A small internet: answers for PUBLIC_ADDRESS, and really connects to any other address."""

    def __init__(self, *replies: httpx.Response) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.real_transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host != PUBLIC_ADDRESS:
            return self.real_transport.handle_request(request)
        return self.replies.pop(0)


def _resolve_public(host: str, port: int) -> list[str]:
    return [PUBLIC_ADDRESS]


def _redirect_to(location: str) -> httpx.Response:
    return httpx.Response(302, headers={"location": location})


def _limits(*hosts: str, **more) -> ImageLimits:
    return ImageLimits(allowed_hosts=hosts, **more)


@pytest.mark.parametrize(
    "host",
    LOOPBACK_HOSTS.split(),
)
def test_allowed_host_on_loopback_is_rejected(server, tmp_path, host):
    port, hits = server
    url = f"http://{host}:{port}/a.png"
    with pytest.raises(ImageError) as error:
        open_image(Media(kind="image", path=url), tmp_path, _limits(f"{host}:{port}", host))
    assert error.value.kind in (
        "url_refused",
        "unreadable",
    )  # some systems resolve 0x7f to nothing
    assert hits == []
    assert list(tmp_path.iterdir()) == []


def test_redirect_to_loopback_is_rejected(server):
    port, hits = server
    net = FakeInternet(_redirect_to(f"http://127.0.0.1:{port}/a.png"))
    allowed = _limits("images.example", f"127.0.0.1:{port}")
    resolve = {"images.example": [PUBLIC_ADDRESS], "127.0.0.1": ["127.0.0.1"]}
    url = "http://images.example/a.png"
    with pytest.raises(ImageError, match="not a public address"):
        fetch(url, allowed, resolver=lambda h, p: resolve[h], transport=net)
    assert (len(net.requests), hits) == (1, [])


def test_redirect_to_a_host_that_is_not_allowed_is_rejected(server):
    port, hits = server
    net = FakeInternet(_redirect_to(f"//127.0.0.1:{port}/a.png"))
    with pytest.raises(ImageError, match="not among the allowed hosts"):
        fetch("http://a.example/x", _limits("a.example"), resolver=_resolve_public, transport=net)
    assert (len(net.requests), hits) == (1, [])


def test_host_is_resolved_once_and_checked_address_is_used(server, make):
    port, hits = server
    answers = [[PUBLIC_ADDRESS], ["127.0.0.1"]]
    net = FakeInternet(httpx.Response(200, stream=httpx.ByteStream(make())))
    name = f"a.example:{port}"
    fetch(
        f"http://{name}/x.png",
        _limits(name),
        resolver=lambda host, port: answers.pop(0),
        transport=net,
    )
    assert [r.url.host for r in net.requests] == [PUBLIC_ADDRESS]
    assert net.requests[0].headers["host"] == name
    assert net.requests[0].extensions["sni_hostname"] == "a.example"
    assert (len(answers), hits) == (1, [])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://a.example/x.png", "not fetched from the network"),
        ("http://user:pw@a.example/x.png", "user name"),
        ("http://a.example@127.0.0.1/x.png", "user name"),
        ("http://a.example.evil.test/x.png", "not among"),
        ("http://a.example:6379/x.png", "not among"),
        ("ftp://a.example/x.png", "not http"),
        ("http://a.ex\x01ample/", "cannot be parsed"),
    ],
)
def test_policy_rejects_before_any_request(url, message):
    hosts = () if "network" in message else ("a.example",)
    net = FakeInternet()
    with pytest.raises(ImageError, match=message) as error:
        fetch(url, _limits(*hosts), resolver=_resolve_public, transport=net)
    assert error.value.kind == "url_refused"
    assert net.requests == []


def test_one_private_address_is_enough_to_reject():
    with pytest.raises(ImageError, match=r"169\.254\.169\.254"):
        fetch(
            "http://a.example/",
            _limits("a.example"),
            resolver=lambda h, p: [PUBLIC_ADDRESS, "169.254.169.254"],
            transport=FakeInternet(),
        )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.Response(404), "unreadable"),
        (httpx.Response(200, stream=httpx.ByteStream(b"x" * 5000)), "too_large"),
        (httpx.Response(200, headers={"content-encoding": "br"}, content=b""), "unreadable"),
    ],
)
def test_bad_response_is_an_error_of_its_kind(reply, kind):
    with pytest.raises(ImageError) as error:
        fetch(
            "http://a.example/",
            _limits("a.example", max_bytes=1000),
            resolver=_resolve_public,
            transport=FakeInternet(reply),
        )
    assert error.value.kind == kind


def test_redirects_stop_after_three():
    net = FakeInternet(*[_redirect_to("/again") for _ in range(9)])
    with pytest.raises(ImageError, match="more than 3 redirects"):
        fetch("http://a.example/", _limits("a.example"), resolver=_resolve_public, transport=net)
    assert len(net.requests) == 4


@pytest.mark.parametrize(
    "address",
    PRIVATE_ADDRESSES.split(),
)
def test_is_public_rejects_private_addresses(address):
    assert not is_public(address)


def test_is_public_accepts_public_addresses():
    assert is_public(PUBLIC_ADDRESS)
    assert is_public("2606:4700:4700::1111")


def test_loopback_server_counts_requests(server):
    port, hits = server
    assert httpx.get(f"http://127.0.0.1:{port}/a.png", trust_env=False).content == b"secret"
    assert hits == ["/a.png"]


@pytest.mark.parametrize(
    "location",
    ["data:image/png;base64,AAAA", "mailto:x", "http://[", "http:///x", "http://a:99999/"],
)
def test_redirect_to_no_web_address_is_a_problem_of_the_image(location):
    net = FakeInternet(*[_redirect_to(location)] * 5)
    with pytest.raises(ImageError) as error:
        fetch("http://a.example/", _limits("a.example"), resolver=_resolve_public, transport=net)
    assert error.value.kind in ("url_refused", "unreadable")
