"""Every kind of image a post may have, in a complete job: used, or rejected by name."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.report import write_html
from gen_msa.types import Example
from tests.fixtures.path_traversal import make_media_root, record_opened_files, traversal_paths
from tests.fixtures.posts import post, write_image, write_posts


def save_sample_images(folder):
    """Save one image of each kind; `missing.png` is left out."""
    write_image(folder / "plain.png")
    Image.new("CMYK", (40, 30), (0, 90, 90, 0)).save(folder / "cmyk.jpg")
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30), "green").save(folder / "rotated.jpg", exif=exif)
    write_image(folder / "dot.png", size=(1, 1))
    Image.new("1", (9_000, 9_000)).save(folder / "huge.png")
    (folder / "corrupt.png").write_bytes((folder / "plain.png").read_bytes()[:60])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain.png", {}),
        ("cmyk.jpg", {"colour"}),
        ("animated.gif", {"frames"}),
        ("rotated.jpg", {"rotation"}),
        ("dot.png", "too_small: dot.png"),
        ("huge.png", "too_large: huge.png"),
        ("corrupt.png", "corrupt: corrupt.png"),
        ("missing.png", "missing: missing.png"),
        ("../outside.png", "outside_root: ../outside.png"),
        ("https://example.org/a.png", "url_refused: https://example.org/a.png"),
    ],
)
def test_image_is_used_or_its_problem_is_recorded(tmp_path, name, expected):
    save_sample_images(tmp_path)
    path = write_posts(tmp_path / "posts.jsonl", [post(0, images=[name])])
    out = tmp_path / "out.jsonl"
    settings = JobSettings(model="echo", cues={})
    counts = annotate(open_examples(str(path)), out, settings).counts
    assert counts.written == 1
    (row,) = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    provenance = row["opinions"][0]["provenance"]
    if isinstance(expected, str):
        assert provenance["image"] == f"{expected}; read from text"
    else:
        assert "image" not in provenance
        assert set(expected) <= set(provenance)


def run_job(path, names, root, **settings):
    """Run a cached job, one post per image name; return rows and image notes."""
    write_posts(path, [post(i, images=[name]) for i, name in enumerate(names)])
    settings = JobSettings(model="echo", cues={}, **settings)
    source = open_examples(str(path), media_root=root)
    out, cache_path = path.with_suffix(".out.jsonl"), path.with_suffix(".cache")
    result = annotate(source, out, settings, cache_path=cache_path)
    rows = [Example.model_validate_json(x) for x in out.read_text("utf-8").splitlines()]
    assert result.counts.written == len(rows) == len(names)
    return rows, [r.opinions[0].provenance.get("image", "") for r in rows]


def test_path_traversal_opens_nothing_outside_root(tmp_path):
    """Predictor, cache keys and report all open images through `media` (fault 5)."""
    write_image(tmp_path / "a.png")
    root, outside = make_media_root(tmp_path, (tmp_path / "a.png").read_bytes())
    names = traversal_paths(outside)
    assert len(names) >= 200
    page = tmp_path / "page.html"
    with record_opened_files() as opened_paths:
        rows, notes = run_job(tmp_path / "posts.jsonl", [*names, "img/good.png"], root)
        write_html(rows, page, title="posts", media_root=root, facts={})
    assert [
        n for n, note in zip(names, notes, strict=False) if not note.endswith("read from text")
    ] == []
    assert notes[-1] == ""
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") == 1
    resolved_paths = {
        str(Path(p).resolve()) for p in opened_paths if "\0" not in p and len(p) < 4000
    }
    assert str(root.resolve() / "img" / "good.png") in resolved_paths
    assert [p for p in resolved_paths if p.startswith(str(outside.resolve()))] == []
    assert [
        p for p in resolved_paths if p.startswith(("/etc/passwd", "/proc/self/environ", "/dev/"))
    ] == []


class _RedirectHandler(BaseHTTPRequestHandler):
    """Records every request."""

    def do_GET(self):
        self.server.hits.append(self.path)
        self.send_response(302)
        self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/again.png")
        self.end_headers()

    def log_message(self, *_):
        """Log nothing."""


HOSTS = """127.0.0.1 localhost [::1] 2130706433 0x7f.0.0.1 0177.0.0.1 127.1 [::ffff:127.0.0.1]
    0.0.0.0 127.0.0.2 LOCALHOST user@127.0.0.1"""


@pytest.mark.parametrize("allowed", [False, True])
def test_loopback_addresses_are_never_fetched(tmp_path, allowed):
    """Loopback addresses are refused even if listed as allowed hosts (fault 6)."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _RedirectHandler) as trap:
        trap.hits = []
        threading.Thread(target=trap.serve_forever, args=(0.01,), daemon=True).start()
        hosts = [f"{h}:{trap.server_port}" for h in HOSTS.split()]
        assert len(hosts) == 12
        names = [f"http://{h}/a.png" for h in hosts]
        image_settings = {"allowed_hosts": hosts} if allowed else {}
        _, notes = run_job(tmp_path / "posts.jsonl", names, tmp_path, image=image_settings)
        trap.shutdown()
        assert trap.hits == []
    assert all(note.endswith("read from text") for note in notes)
    assert not (tmp_path / ".fetched").exists()
