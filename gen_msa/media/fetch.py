"""Read the bytes of images: files below a root, `data:` URLs, and URLs of allowed hosts.

Every redirect is checked anew: the host is on the list, and every address it resolves to is public.
The connection goes to the very address that was checked, so a name that changes its address (DNS
rebinding) gains nothing. Proxies of the environment are not used, because they would resolve the
name again. `resolver` and `transport` are parameters for tests.

    fetch("https://example.org/a.jpg", ImageLimits(allowed_hosts=("example.org",)))
"""

import base64
import binascii
import ipaddress
import os
import socket
import stat
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from gen_msa.media.errors import ImageError, ImageLimits

if TYPE_CHECKING:
    import httpx


# Resolve image paths: relative paths whose real location is below the media root.

_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def resolve_inside(path: str, root: Path) -> Path:
    """Return the absolute, resolved location of `path` below `root`; it need not exist yet.

    A name that is not there is looked for in the other Unicode composition as well (NFC, NFD): file
    systems and archives change it.

    Args:
        path: Path as the post gives it.
        root: Media root.

    Raises:
        ImageError: The path is absolute and not below `root`, a drive or UNC name, a `file:` URL,
            contains `..` or a NUL byte, or a symbolic link leads out of `root` (`outside_root`).
    """
    base = os.path.realpath(root)
    reason = _path_problem(path, (Path(base), root.absolute()))
    if reason:
        raise _outside_root(path, reason)
    try:
        resolved = os.path.realpath(os.path.join(base, path))  # noqa: PTH118  Path would drop a `.`
        for form in ("NFC", "NFD"):
            if path.isascii() or os.path.lexists(resolved):
                break
            other_name = unicodedata.normalize(form, path)
            resolved = os.path.realpath(os.path.join(base, other_name))  # noqa: PTH118
    except (OSError, ValueError) as e:
        raise _outside_root(path, f"the path cannot be resolved ({type(e).__name__})") from None
    if not Path(resolved).is_relative_to(base):
        raise _outside_root(path, "a symbolic link leads out of the media root")
    return Path(resolved)


def read_file(resolved: Path, path: str, max_bytes: int) -> bytes:
    """Read a regular file.

    Anything but a regular file (folder, pipe, device, socket) is rejected without being opened.

    Args:
        resolved: Location as `resolve_inside` returns it.
        path: Path for error messages.
        max_bytes: Largest file.

    Returns:
        The whole content, at most `max_bytes` bytes.

    Raises:
        ImageError: `missing`, `unreadable`, `not_an_image` (not a regular file) or `too_large`.
    """
    try:
        _refuse_special(resolved.lstat(), path)
        with open(os.open(resolved, _OPEN_FLAGS), "rb") as f:  # noqa: PTH123  a descriptor, not a path
            info = os.fstat(f.fileno())
            _refuse_special(info, path)
            data = f.read(max_bytes + 1) if info.st_size <= max_bytes else None
    except (FileNotFoundError, NotADirectoryError):
        raise missing_file_error(path) from None
    except OSError as e:
        hint = "check the file's name and permissions"
        reason = f"it cannot be read: {e.strerror}"
        raise ImageError("unreadable", path, reason, hint) from None
    if data is None or len(data) > max_bytes:
        reason = f"the file is over the limit of {max_bytes} bytes"
        raise ImageError("too_large", path, reason, "shrink it, or raise max_bytes")
    return data


def missing_file_error(path: str) -> ImageError:
    """Return the error of a file that does not exist."""
    return ImageError("missing", path, "there is no such file", "check the name and the media root")


def _refuse_special(info: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        description = "a folder" if stat.S_ISDIR(info.st_mode) else "a pipe, device, link or socket"
        raise ImageError("not_an_image", path, f"it is {description}", "name an image file")


def _path_problem(path: str, roots: tuple[Path, ...]) -> str:
    """Return why the text of a path is rejected on every system; `""` when it is not."""
    windows = PureWindowsPath(path)  # rejects Windows paths on every system
    if "\0" in path:
        return "the path holds a NUL byte"
    if path.lstrip().lower().startswith("file:"):
        return "file: URLs are not read"
    # By its text alone: a path elsewhere, perhaps on another machine, is not even looked up.
    is_below = Path(path).is_absolute() and any(Path(path).is_relative_to(r) for r in roots)
    if (windows.drive or windows.root) and not is_below:
        return "the path is absolute and not below the media root"
    if ".." in windows.parts:
        return "the path holds '..'"
    return ""


def _outside_root(path: str, reason: str) -> ImageError:
    hint = "give the path relative to the media root and keep the file below it"
    return ImageError("outside_root", path, reason, hint)


Resolve = Callable[[str, int], list[str]]
"""Host and port in, IP addresses out."""

_MAX_REDIRECTS = 3
_TOTAL_TIMEOUT_S = 30.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_url(path: str) -> bool:
    """Return whether a media path is a URL; `file:` is left to `paths` to reject."""
    scheme, colon, _ = path.lower().partition(":")
    return bool(colon) and scheme != "file" and (scheme == "data" or "://" in path)


def fetch(
    url: str,
    limits: ImageLimits,
    *,
    resolver: Resolve | None = None,
    transport: "httpx.BaseTransport | None" = None,
) -> bytes:
    """Return the bytes behind a `data:`, `http:` or `https:` URL.

    Args:
        url: URL to fetch.
        limits: Allowed hosts, and the size limit `max_bytes`.
        resolver: Replacement for DNS.
        transport: Replacement for the network.

    Raises:
        ImageError: `url_refused` for what policy forbids, `too_large` over the limit, `unreadable`
            when an allowed server cannot be reached or returns no file.
    """
    if _is_data_url(url):
        return _decode_data_url(url, limits.max_bytes)
    check_url_allowed(url, limits)
    import httpx

    # The transport is built here, not by the client, so that no proxy of the environment is used.
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
        except (httpx.InvalidURL, ValueError) as e:
            # httpx parses the target of a redirect, also of one that is not followed.
            raise _url_refused(url, f"it redirects to no web address: {e}") from None


def check_url_allowed(url: str, limits: ImageLimits) -> None:
    """Check a URL against the policy, without any network access.

    Args:
        url: URL to check.
        limits: Limits with the allowed hosts.

    Raises:
        ImageError: Policy forbids the URL (`url_refused`).
    """
    if not _is_data_url(url):
        _parse_allowed_host(url, url, limits)


def is_public(address: str) -> bool:
    """Return whether an IP address is public, also when it is embedded in an IPv6 address."""
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
    """Follow at most three redirects; check each one before anything is sent to it."""
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
    """Build a request to the checked IP address that still names the host (Host, SNI)."""
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
    """Parse one redirect (`hop_url`) of `url`; return its URL, allowed name and port.

    httpx parses, checks and connects by the same object, so no two parsers can disagree.
    """
    if not limits.allowed_hosts:
        raise _url_refused(url, "images are not fetched from the network")
    import httpx

    try:
        parsed = httpx.URL(hop_url)
    except (httpx.InvalidURL, ValueError) as e:
        raise _url_refused(url, f"the address cannot be parsed: {e}") from None
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
        raise _unreadable(url, "the server sent a compressed body that was not requested")
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
    """Decode the payload of `data:image/…;base64,…`."""
    head, _, payload = url.partition(",")
    fields = head[5:].lower().split(";")
    if not fields[0].startswith("image/") or fields[-1] != "base64":
        raise _url_refused(url, "only data:image/…;base64,… URLs are read")
    if len(payload) * 3 // 4 > max_bytes + 3:
        raise _too_large(url, max_bytes)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        hint = "encode the image again, or save it as a file"
        raise ImageError("corrupt", url, "its base64 is broken", hint) from None


def _resolve_host(host: str, port: int) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(info[4][0]) for info in infos]


def _url_refused(url: str, reason: str) -> ImageError:
    hint = "save the image below the media root, or name its host in allowed_hosts"
    return ImageError("url_refused", url, reason, hint)


def _unreadable(url: str, reason: str) -> ImageError:
    return ImageError("unreadable", url, reason, "try again, or save the image as a file")


def _too_large(url: str, max_bytes: int) -> ImageError:
    reason = f"it is over the limit of {max_bytes} bytes"
    return ImageError("too_large", url, reason, "shrink it, or raise max_bytes")
