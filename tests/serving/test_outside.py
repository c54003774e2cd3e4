"""Fault 5 on the service: a picture's name never becomes a path, whatever it looks like."""

import io
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")

from PIL import Image

from gen_msa.readers import ReaderSettings, make
from tests.fixtures.paths import linked, opened, vectors
from tests.serving.doubles import served

ECHO = ReaderSettings(reader="echo", prompt="reader/full", cues={})
MOST = 64
"""Posts of a request."""


def red():
    out = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def reading():
    with served("bad_picture=text-only", reader=lambda root: make(ECHO, root)) as it:
        yield it


def post(name):
    return {"text": "look", "aspects": ["look"], "pictures": [name]}


def asked(service, names, **more):
    """The entry of every name, asked as many at a time as may be."""
    for i in range(0, len(names), MOST):
        posts = [post(n) for n in names[i : i + MOST]]
        if more:
            reply = service.client.post("/v1/explain", data={"posts": json.dumps(posts)}, **more)
        else:
            reply = service.explain(posts)
        assert reply.status_code == 200
        yield from reply.json()["answers"]


@pytest.mark.parametrize("more", [{}, {"files": {"f": ("good.png", red())}}], ids=["json", "parts"])
def test_200_vectors_open_nothing(reading, tmp_path, more):
    root, outside = linked(tmp_path, red())
    names = [*vectors(outside), *vectors(root), str(root / "img/good.png")]
    assert len(set(names)) >= 200
    list(asked(reading, names[:1], **more))
    with opened() as found:
        entries = list(asked(reading, names, **more))
    assert [e["row"] for e in entries[:MOST]] == list(range(1, MOST + 1))
    assert all(e["error"]["mend"] for e in entries)
    own = (str(reading.running.service._root), sys.prefix, sys.base_prefix)
    assert [p for p in found if not p.startswith(own)] == []


def test_a_vector_that_was_uploaded_is_the_upload_and_no_file(reading, tmp_path):
    _, outside = linked(tmp_path, red())
    seen = 0
    for name in vectors(outside)[::9]:
        if not name.isascii() or '"' in name or "\\" in name or "\0" in name or len(name) > 1000:
            continue  # not to be written as it is in a part's header
        blue = io.BytesIO()
        Image.new("RGB", (16, 12), "blue").save(blue, "PNG")
        file = ("f", (name, blue.getvalue()))
        with opened() as found:
            (entry,) = asked(reading, [name], files=[file])
        assert entry["example"]["post"]["media"][0]["path"] == name
        assert "picture" not in entry["example"]["opinions"][0]["how"]
        pictures = [p for p in found if p.endswith(".png") or "passwd" in p or "/dev/" in p]
        assert pictures == []
        assert found, "the hook must see that the upload is opened"
        inside = [p for p in found if Path(p).is_relative_to(reading.running.service._root)]
        assert inside
        seen += 1
    assert seen > 10
    assert list(reading.running.service._root.iterdir()) == []
