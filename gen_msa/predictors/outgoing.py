"""What a job would send to other machines, and whether its settings allow that.

Posts are sent to a host other than this machine only where `backend.send_to` names it.

    remote_hosts(settings)                      # {"api.example.com": False}: not allowed yet
    allow_hosts(settings, ["api.example.com"])  # settings under which it is
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from gen_msa.backends import backends
from gen_msa.data import ExampleSource
from gen_msa.errors import UserError
from gen_msa.hosts import is_permitted, is_this_machine
from gen_msa.settings import Settings, build
from gen_msa.types import Example

S = TypeVar("S", bound=Settings)


def remote_hosts(settings: Settings) -> dict[str, bool]:
    """Return every host, other than this machine, that the models of the settings send posts to.

    Args:
        settings: Any settings with a `model`; models named further inside count too (filters,
            judges, probes), and the machines of a Ray cluster.

    Returns:
        Host -> whether `backend.send_to` beside the model names it.
    """
    hosts: dict[str, bool] = {}
    for node in _nodes(settings.model_dump(mode="json")):
        backend = node.get("backend")
        send_to = backend.get("send_to", ()) if isinstance(backend, Mapping) else ()
        for host in _hosts_of(node):
            if not is_this_machine(host):
                hosts[host] = hosts.get(host, True) and is_permitted(host, send_to)
    return hosts


def allow_hosts(settings: S, hosts: Iterable[str]) -> S:
    """Return settings under which every model may send posts to these hosts.

    Args:
        settings: As for `remote_hosts`.
        hosts: The hosts.
    """
    allowed = list(hosts)
    if not allowed:
        return settings
    tree = settings.model_dump(mode="json", exclude_unset=True)
    for node in _nodes(tree):
        if _hosts_of(node):
            backend = node.get("backend") or {}
            send_to = [*backend.get("send_to", ()), *allowed]
            node["backend"] = {**backend, "send_to": list(dict.fromkeys(send_to))}
    return build(type(settings), tree, "the settings")


@dataclass(frozen=True)
class Outgoing:
    """What a job would send at most; requests about other aspects, and retries, repeat it."""

    posts: int = 0
    text_bytes: int = 0
    """Of the posts' texts and aspects; prompts and cues are added to them."""
    images: int = 0
    image_bytes: int = 0
    """Of the image files; images are made smaller before they are sent."""

    def describe(self) -> str:
        """Return e.g. `up to 120 posts: 120 texts (34.1 kB), 40 images (5.2 MB)`."""
        images = f"{_count(self.images, 'image')} ({_size(self.image_bytes)})"
        parts = [f"{_count(self.posts, 'text')} ({_size(self.text_bytes)})"]
        parts.append(images if self.images else "no images")
        return f"up to {_count(self.posts, 'post')}: {', '.join(parts)}"


def count_outgoing(
    source: ExampleSource, *, limit: int | None = None, images: bool = True
) -> Outgoing:
    """Count what a job over a source would send.

    Args:
        source: The posts.
        limit: Rows that the job reads at most.
        images: Whether the job shows images.

    Returns:
        Posts, images and bytes. An image at an address, or one that does not exist, has 0 bytes.
    """
    posts = text_bytes = n_images = image_bytes = 0
    for row in islice(source.rows(), limit):
        if not isinstance(row, Example):
            continue
        posts += 1
        text_bytes += sum(len(t.encode()) for t in (row.post.text, *_terms(row)))
        if images:
            paths = [m.path for m in row.post.media if m.kind == "image"]
            n_images += len(paths)
            image_bytes += sum(_file_size(source.media_root, p) for p in paths)
    return Outgoing(posts, text_bytes, n_images, image_bytes)


def require_permission(source: ExampleSource, settings: Settings) -> None:
    """Check before a job starts that it may send its posts where its models are.

    Args:
        source: The posts.
        settings: The job.

    Raises:
        UserError: A host is not this machine, and `backend.send_to` does not name it.
    """
    refused = [host for host, allowed in remote_hosts(settings).items() if not allowed]
    if refused:
        raise not_permitted(refused, describe_job(source, settings))


def describe_job(source: ExampleSource, settings: Settings) -> str:
    """Return what a job would send, and what of it is pseudonymized.

    Args:
        source: The posts.
        settings: The job.
    """
    limit, images = getattr(settings, "limit", None), bool(getattr(settings, "images", True))
    kinds = getattr(settings, "pseudonymize", ())
    counts = count_outgoing(source, limit=limit, images=images)
    hidden = f"; pseudonymized: {', '.join(kinds)}" if kinds else ""
    unchanged = ", images unchanged" if kinds and counts.images else ""
    return counts.describe() + hidden + unchanged


def not_permitted(hosts: Iterable[str], what: str) -> UserError:
    """Return the error of a job that may not send its posts.

    Args:
        hosts: The hosts that are not allowed.
        what: What would be sent.
    """
    names = ", ".join(sorted(hosts))
    return UserError(
        f"nothing was sent: {names} is not this machine, and would get {what}",
        hint=f"allow it: --yes, the setting backend.send_to=[{names}], or send_to= in Python",
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a tree that names a model or the machines of a cluster."""
    if isinstance(tree, dict):
        if isinstance(tree.get("model"), str) or isinstance(tree.get("address"), str):
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _nodes(value)


def _hosts_of(node: Mapping[str, Any]) -> list[str]:
    """Return the hosts that get posts from the model of a mapping and its Ray cluster."""
    name, _, target = str(node.get("model") or "").partition(":")
    host_of = getattr(backends[name], "remote_host", None) if name in backends else None
    hosts = [host_of(target)] if host_of is not None else []
    if node.get("engine") == "ray" and (address := node.get("address")):
        hosts.append(str(address).rpartition("://")[2].rpartition(":")[0])
    return [host for host in hosts if host]


def _terms(row: Example) -> list[str]:
    return [aspect.term for aspect in row.post.aspects]


def _file_size(root: Path, path: str) -> int:
    try:
        return (root / path).stat().st_size
    except (OSError, ValueError):
        return 0


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
