"""Pictures named by an address: `data:` URLs, and http(s) from hosts the user has allowed.

Knows nothing of pictures: it returns bytes. Every hop of a redirect is judged anew: host on the
list, every address it resolves to public. The connection goes to the very address that was judged,
so a name that changes its mind (DNS rebinding) gains nothing. Proxies of the environment are not
used, for they would resolve the name again. `resolve` and `transport` are there for tests.

    fetch("https://example.org/a.jpg", PictureLimits(allowed_hosts=("example.org",)))
"""

import base64
import binascii
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from gen_msa.media._problem import PictureLimits, PictureProblem

if TYPE_CHECKING:
    import httpx

Resolve = Callable[[str, int], list[str]]
"""Host and port in, IP addresses out."""

_REDIRECTS = 3
_SECONDS = 30.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_address(path: str) -> bool:
    """Whether a media path is a URL and no file name; `file:` is left to `paths` to refuse."""
    scheme, colon, _ = path.lower().partition(":")
    return bool(colon) and scheme != "file" and (scheme == "data" or "://" in path)


def fetch(
    url: str,
    limits: PictureLimits,
    *,
    resolve: Resolve | None = None,
    transport: "httpx.BaseTransport | None" = None,
) -> bytes:
    """The bytes behind a `data:`, `http:` or `https:` URL, at most `limits.max_bytes`.

    Raises `PictureProblem`: `url_refused` for what policy forbids, `too_large` over the cap,
    `unreadable` when an allowed server could not be reached or gave no file.
    """
    if _is_data(url):
        return _inline(url, limits.max_bytes)
    permit(url, limits)
    import httpx

    # The connector is made here, not by the client: no proxy of the environment can slip in.
    with httpx.Client(
        transport=transport or httpx.HTTPTransport(),
        follow_redirects=False,
        trust_env=False,
        timeout=10.0,
    ) as client:
        try:
            return _follow(client, url, limits, resolve or _addresses)
        except (httpx.HTTPError, httpx.StreamError) as e:
            raise _failed(url, f"it could not be fetched: {type(e).__name__}: {e}") from None


def permit(url: str, limits: PictureLimits) -> None:
    """Raise `PictureProblem("url_refused")` for a URL that policy forbids; asks no network."""
    if not _is_data(url):
        _host(url, url, limits)


def is_public(address: str) -> bool:
    """Whether an IP address lies on the open internet, also when wrapped in an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.sixtofour or ip.teredo or ip in _NAT64 or ip.is_site_local:
            return False
        ip = ip.ipv4_mapped or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _follow(client: "httpx.Client", url: str, limits: PictureLimits, resolve: Resolve) -> bytes:
    """Walk at most three redirects, judging each hop before anything is sent to it."""
    here, until = url, time.monotonic() + _SECONDS
    for _ in range(_REDIRECTS + 1):
        request = _pinned(client, url, here, limits, resolve)
        reply = client.send(request, stream=True)
        try:
            if not reply.has_redirect_location:
                return _body(reply, url, limits.max_bytes, until)
            here = urljoin(here, reply.headers["location"])
        finally:
            reply.close()
    raise _refused(url, f"more than {_REDIRECTS} redirects")


def _pinned(
    client: "httpx.Client", url: str, here: str, limits: PictureLimits, resolve: Resolve
) -> "httpx.Request":
    """A request that goes to the judged IP address and still names the host (Host, SNI)."""
    parsed, name, port = _host(here, url, limits)
    host = parsed.raw_host.decode("ascii")
    found = resolve(host, port)
    if not found:
        raise _failed(url, f"{host} has no address")
    private = [a for a in found if not is_public(a)]
    if private:
        raise _refused(url, f"{host} leads to {private[0]}, which is not a public address")
    headers = {"Host": name, "Accept": "image/*", "Accept-Encoding": "identity"}
    return client.build_request(
        "GET", parsed.copy_with(host=found[0]), headers=headers, extensions={"sni_hostname": host}
    )


def _host(here: str, url: str, limits: PictureLimits) -> "tuple[httpx.URL, str, int]":
    """One hop (`here`) of `url` parsed, its allowed name and port; refuses what is not allowed.

    httpx parses, judges and connects by the same object, so no two parsers can disagree.
    """
    if not limits.allowed_hosts:
        raise _refused(url, "pictures are not fetched from the network")
    import httpx

    try:
        parsed = httpx.URL(here)
    except (httpx.InvalidURL, ValueError) as e:
        raise _refused(url, f"the address cannot be read: {e}") from None
    default = _DEFAULT_PORTS.get(parsed.scheme)
    if default is None:
        raise _refused(url, f"the scheme {parsed.scheme!r} is not http or https")
    if parsed.userinfo:
        raise _refused(url, "the address carries a user name")
    port = parsed.port or default
    host = parsed.raw_host.decode("ascii").lower()
    name = host if port == default else f"{host}:{port}"
    if name not in {h.lower() for h in limits.allowed_hosts}:
        raise _refused(url, f"{name} is not among the allowed hosts")
    return parsed, name, port


def _body(reply: "httpx.Response", url: str, most: int, until: float) -> bytes:
    if reply.status_code != 200:
        raise _failed(url, f"the server answered {reply.status_code}")
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise _failed(url, "the server sent a compressed body that was not asked for")
    data = bytearray()
    for chunk in reply.iter_raw(1 << 16):
        data += chunk
        if len(data) > most:
            raise _too_large(url, most)
        if time.monotonic() > until:
            raise _failed(url, f"it took longer than {_SECONDS:.0f} seconds")
    return bytes(data)


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _inline(url: str, most: int) -> bytes:
    """The payload of `data:image/…;base64,…`."""
    head, _, payload = url.partition(",")
    words = head[5:].lower().split(";")
    if not words[0].startswith("image/") or words[-1] != "base64":
        raise _refused(url, "only data:image/…;base64,… addresses are read")
    if len(payload) * 3 // 4 > most + 3:
        raise _too_large(url, most)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        mend = "encode the picture again, or save it as a file"
        raise PictureProblem("corrupt", url, "its base64 is broken", mend) from None


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(info[4][0]) for info in found]


def _refused(url: str, reason: str) -> PictureProblem:
    mend = "save the picture below the media root, or name its host in allowed_hosts"
    return PictureProblem("url_refused", url, reason, mend)


def _failed(url: str, reason: str) -> PictureProblem:
    return PictureProblem("unreadable", url, reason, "try again, or save the picture as a file")


def _too_large(url: str, most: int) -> PictureProblem:
    reason = f"it is over the limit of {most} bytes"
    return PictureProblem("too_large", url, reason, "shrink it, or raise max_bytes")
