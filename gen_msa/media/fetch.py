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

from gen_msa.media.errors import ImageError, ImageLimits

if TYPE_CHECKING:
    import httpx

Resolve = Callable[[str, int], list[str]]
"""Host and port in, IP addresses out."""

_MAX_REDIRECTS = 3
_TOTAL_TIMEOUT_S = 30.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_url(path: str) -> bool:
    """Whether a media path is a URL and no file name; `file:` is left to `paths` to refuse."""
    scheme, colon, _ = path.lower().partition(":")
    return bool(colon) and scheme != "file" and (scheme == "data" or "://" in path)


def fetch(
    url: str,
    limits: ImageLimits,
    *,
    resolver: Resolve | None = None,
    transport: "httpx.BaseTransport | None" = None,
) -> bytes:
    """The bytes behind a `data:`, `http:` or `https:` URL, at most `limits.max_bytes`.

    Raises `PictureProblem`: `url_refused` for what policy forbids, `too_large` over the cap,
    `unreadable` when an allowed server could not be reached or gave no file.
    """
    if _is_data_url(url):
        return _decode_data_url(url, limits.max_bytes)
    check_url_allowed(url, limits)
    import httpx

    # The connector is made here, not by the client: no proxy of the environment can slip in.
    with httpx.Client(
        transport=transport or httpx.HTTPTransport(),
        follow_redirects=False,
        trust_env=False,
        timeout=10.0,
    ) as client:
        try:
            return _follow_redirects(client, url, limits, resolver or _resolve_host)
        except (httpx.HTTPError, httpx.StreamError) as e:
            raise _unreadable(url, f"it could not be fetched: {type(e).__name__}: {e}") from None


def check_url_allowed(url: str, limits: ImageLimits) -> None:
    """Raise `PictureProblem("url_refused")` for a URL that policy forbids; asks no network."""
    if not _is_data_url(url):
        _parse_allowed_host(url, url, limits)


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


def _follow_redirects(
    client: "httpx.Client", url: str, limits: ImageLimits, resolver: Resolve
) -> bytes:
    """Walk at most three redirects, judging each hop before anything is sent to it."""
    hop_url, deadline = url, time.monotonic() + _TOTAL_TIMEOUT_S
    for _ in range(_MAX_REDIRECTS + 1):
        request = _pinned_request(client, url, hop_url, limits, resolver)
        response = client.send(request, stream=True)
        try:
            if not response.has_redirect_location:
                return _read_body(response, url, limits.max_bytes, deadline)
            hop_url = urljoin(hop_url, response.headers["location"])
        finally:
            response.close()
    raise _url_refused(url, f"more than {_MAX_REDIRECTS} redirects")


def _pinned_request(
    client: "httpx.Client", url: str, hop_url: str, limits: ImageLimits, resolver: Resolve
) -> "httpx.Request":
    """A request that goes to the judged IP address and still names the host (Host, SNI)."""
    parsed, name, port = _parse_allowed_host(hop_url, url, limits)
    host = parsed.raw_host.decode("ascii")
    addresses = resolver(host, port)
    if not addresses:
        raise _unreadable(url, f"{host} has no address")
    private = [a for a in addresses if not is_public(a)]
    if private:
        raise _url_refused(url, f"{host} leads to {private[0]}, which is not a public address")
    headers = {"Host": name, "Accept": "image/*", "Accept-Encoding": "identity"}
    return client.build_request(
        "GET",
        parsed.copy_with(host=addresses[0]),
        headers=headers,
        extensions={"sni_hostname": host},
    )


def _parse_allowed_host(
    hop_url: str, url: str, limits: ImageLimits
) -> "tuple[httpx.URL, str, int]":
    """One hop (`here`) of `url` parsed, its allowed name and port; refuses what is not allowed.

    httpx parses, judges and connects by the same object, so no two parsers can disagree.
    """
    if not limits.allowed_hosts:
        raise _url_refused(url, "pictures are not fetched from the network")
    import httpx

    try:
        parsed = httpx.URL(hop_url)
    except (httpx.InvalidURL, ValueError) as e:
        raise _url_refused(url, f"the address cannot be read: {e}") from None
    default = _DEFAULT_PORTS.get(parsed.scheme)
    if default is None:
        raise _url_refused(url, f"the scheme {parsed.scheme!r} is not http or https")
    if parsed.userinfo:
        raise _url_refused(url, "the address carries a user name")
    port = parsed.port or default
    host = parsed.raw_host.decode("ascii").lower()
    name = host if port == default else f"{host}:{port}"
    if name not in {h.lower() for h in limits.allowed_hosts}:
        raise _url_refused(url, f"{name} is not among the allowed hosts")
    return parsed, name, port


def _read_body(response: "httpx.Response", url: str, max_bytes: int, deadline: float) -> bytes:
    if response.status_code != 200:
        raise _unreadable(url, f"the server answered {response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _unreadable(url, "the server sent a compressed body that was not asked for")
    data = bytearray()
    for chunk in response.iter_raw(1 << 16):
        data += chunk
        if len(data) > max_bytes:
            raise _too_large(url, max_bytes)
        if time.monotonic() > deadline:
            raise _unreadable(url, f"it took longer than {_TOTAL_TIMEOUT_S:.0f} seconds")
    return bytes(data)


def _is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def _decode_data_url(url: str, max_bytes: int) -> bytes:
    """The payload of `data:image/…;base64,…`."""
    head, _, payload = url.partition(",")
    fields = head[5:].lower().split(";")
    if not fields[0].startswith("image/") or fields[-1] != "base64":
        raise _url_refused(url, "only data:image/…;base64,… addresses are read")
    if len(payload) * 3 // 4 > max_bytes + 3:
        raise _too_large(url, max_bytes)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        hint = "encode the picture again, or save it as a file"
        raise ImageError("corrupt", url, "its base64 is broken", hint) from None


def _resolve_host(host: str, port: int) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(info[4][0]) for info in infos]


def _url_refused(url: str, reason: str) -> ImageError:
    hint = "save the picture below the media root, or name its host in allowed_hosts"
    return ImageError("url_refused", url, reason, hint)


def _unreadable(url: str, reason: str) -> ImageError:
    return ImageError("unreadable", url, reason, "try again, or save the picture as a file")


def _too_large(url: str, max_bytes: int) -> ImageError:
    reason = f"it is over the limit of {max_bytes} bytes"
    return ImageError("too_large", url, reason, "shrink it, or raise max_bytes")
