"""Fault 5 on the service: an image's name never becomes a path, whatever it looks like."""

import io
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")

from PIL import Image

from gen_msa.predictors import PredictorSettings, make
from tests.fixtures.path_traversal import make_media_root, record_opened_files, traversal_paths
from tests.serving.doubles import run_service

ECHO = PredictorSettings(model="echo", prompt="predict/full", cues={})
MAX_POSTS = 64
"""Posts of a request."""


def red_png():
    out = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def echo_service():
    with run_service(
        "bad_image=text-only", make_predictor=lambda root: make(ECHO, root)
    ) as service:
        yield service


def make_post(name):
    return {"text": "look", "aspects": ["look"], "images": [name]}


def post_image_names(service, names, **options):
    """The entry of every name, asked as many at a time as may be."""
    for i in range(0, len(names), MAX_POSTS):
        posts = [make_post(n) for n in names[i : i + MAX_POSTS]]
        if options:
            reply = service.client.post("/v1/explain", data={"posts": json.dumps(posts)}, **options)
        else:
            reply = service.explain(posts)
        assert reply.status_code == 200
        yield from reply.json()["answers"]


@pytest.mark.parametrize(
    "options", [{}, {"files": {"f": ("good.png", red_png())}}], ids=["json", "parts"]
)
def test_200_path_traversal_names_open_no_file(echo_service, tmp_path, options):
    root, outside = make_media_root(tmp_path, red_png())
    names = [*traversal_paths(outside), *traversal_paths(root), str(root / "img/good.png")]
    assert len(set(names)) >= 200
    list(post_image_names(echo_service, names[:1], **options))
    with record_opened_files() as opened_paths:
        entries = list(post_image_names(echo_service, names, **options))
    assert [e["row"] for e in entries[:MAX_POSTS]] == list(range(1, MAX_POSTS + 1))
    assert all(e.get("unseen_images") or e["error"]["hint"] for e in entries)
    assert sum("error" in e for e in entries) > 0.9 * len(entries)
    allowed = (str(echo_service.server.service._root), sys.prefix, sys.base_prefix)
    assert [p for p in opened_paths if not p.startswith(allowed)] == []


def test_uploaded_file_with_traversal_name_is_used_from_upload(echo_service, tmp_path):
    _, outside = make_media_root(tmp_path, red_png())
    n_checked = 0
    for name in traversal_paths(outside)[::9]:
        if not name.isascii() or '"' in name or "\\" in name or "\0" in name or len(name) > 1000:
            continue  # not to be written as it is in a part's header
        blue = io.BytesIO()
        Image.new("RGB", (16, 12), "blue").save(blue, "PNG")
        file = ("f", (name, blue.getvalue()))
        with record_opened_files() as opened_paths:
            (entry,) = post_image_names(echo_service, [name], files=[file])
        assert entry["example"]["post"]["media"][0]["path"] == name
        assert "image" not in entry["example"]["opinions"][0]["provenance"]
        image_paths = [
            p for p in opened_paths if p.endswith(".png") or "passwd" in p or "/dev/" in p
        ]
        assert image_paths == []
        assert opened_paths, "the hook must see that the upload is opened"
        inside = [
            p for p in opened_paths if Path(p).is_relative_to(echo_service.server.service._root)
        ]
        assert inside
        n_checked += 1
    assert n_checked > 10
    assert list(echo_service.server.service._root.iterdir()) == []
