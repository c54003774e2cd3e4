"""Pictures reach the reader as they were sent; nothing else on or off this machine is opened."""

import base64
import http.server
import io
import json
import struct
import threading
import zipfile
import zlib

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")

from PIL import Image

from gen_msa.readers import ReaderSettings, make
from tests.serving.doubles import served

ECHO = ReaderSettings(reader="echo", prompt="reader/full", cues={})
LOOK = {"id": "a", "text": "look", "aspects": ["look"]}


def png(colour="red", size=(16, 12)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def bomb(wide=60_000, high=60_000):
    """A PNG of a few bytes whose header promises gigabytes."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.png", b"\0" * (1 << 20))
    return out.getvalue()


def entry(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["answers"][0]


def left_over(service):
    return list(service.running.service._root.iterdir())


def test_a_data_url_reaches_the_reader_and_is_gone_after(service):
    data = png()
    said = entry(service.explain({"text": "one dot", "pictures": [url(data)]}))
    assert service.reader.seen["one dot"] == data
    told = said["example"]["post"]["media"][0]["path"]
    assert told.startswith("sha256:")
    assert said["example"]["opinions"][0]["how"]["picture"] == f"seen at {told}"
    assert left_over(service) == []


def test_the_shipped_reader_sees_a_data_url():
    with served(reader=lambda root: make(ECHO, root)) as it:
        said = [
            entry(it.explain({**LOOK, "pictures": p}))["example"]["opinions"]
            for p in ([], [url(png("red"))], [url(png("blue"))], [url(png("red"))])
        ]
    assert said[1] == said[3]
    assert said[0] != said[1] != said[2]


def test_a_bad_picture_is_left_to_the_reader_where_that_is_asked_for():
    with served("bad_picture=text-only", reader=lambda root: make(ECHO, root)) as it:
        found = entry(it.explain({**LOOK, "pictures": [url(bomb())]}))["example"]
    told = found["post"]["media"][0]["path"]
    assert told in found["opinions"][0]["how"]["picture"]
    assert "read from text" in found["opinions"][0]["how"]["picture"]


def test_uploads_reach_the_posts_that_name_them(service):
    red, blue = png("red"), png("blue")
    posts = [
        {"text": "red one", "pictures": ["a.png"]},
        {"text": "blue one", "pictures": ["../b.png"]},
    ]
    files = [("files", ("a.png", red)), ("files", ("../b.png", blue))]
    reply = service.client.post("/v1/explain", data={"posts": json.dumps(posts)}, files=files)
    assert [e["example"]["post"]["media"][0]["path"] for e in reply.json()["answers"]] == [
        "a.png",
        "../b.png",  # a name like any other: it never becomes a path
    ]
    assert service.reader.seen["red one"] == red
    assert service.reader.seen["blue one"] == blue
    assert left_over(service) == []


def test_posts_may_be_uploaded_as_a_file(service):
    files = {"posts": ("posts.json", b'{"text": "from a file"}', "application/json")}
    assert entry(service.client.post("/v1/explain", files=files))["example"]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"files": {"x": ("a.png", b"1")}}, "no part `posts`"),
        ({"data": {"posts": '{"text": "a"}'}, "files": {"x": ("a.png", b"1")}}, "no post names"),
        ({"data": {"posts": "{"}, "files": {"x": ("a.png", b"1")}}, "not JSON"),
        ({"data": {"posts": "{}", "y": "1"}, "files": {"x": ("a.png", b"")}}, "parts cannot"),
        (
            {"data": {"posts": "{}"}, "files": [("x", ("a", b"1")), ("y", ("a", b"2"))]},
            "second one",
        ),
    ],
)
def test_parts_that_make_no_sense_are_400(service, parts, why):
    reply = service.client.post("/v1/explain", **parts)
    assert reply.status_code == 400
    assert why in reply.json()["error"]["reason"]


def test_torn_parts_are_400(service):
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"--x\r\ncontent-disp",
        b"--y\r\n\r\n",
        b"--x\r\nx: y\r\n\r\n{}\r\n--x--\r\n",
        b"",
    ):
        reply = service.client.post("/v1/explain", content=body, headers=kind)
        assert reply.status_code == 400, body


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bomb(), "3600000000 pixels"),
        (bomb(9000, 9000), "over the limit of 40000000"),
        (zipped(), "no picture format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"", "empty"),
        (png(size=(4, 4)), "side under"),
    ],
)
def test_what_is_no_picture_by_its_header_is_refused_and_not_read(service, data, why):
    before = len(service.reader.batches)
    error = entry(service.explain({"text": "x", "pictures": [url(data)]}))["error"]
    assert why in error["reason"]
    assert error["mend"]
    assert len(service.reader.batches) == before
    assert left_over(service) == []


def test_broken_base64_and_other_data_are_refused(service):
    for odd in ("data:image/png;base64,@@@", "data:text/html;base64,AAAA", "data:,", "DATA:x"):
        assert entry(service.explain({"text": "x", "pictures": [odd]}))["error"]["mend"]


def test_a_picture_over_its_byte_limit_is_refused():
    with served("picture.max_bytes=100") as it:
        error = entry(it.explain({"text": "x", "pictures": [url(b"\x89PNG" + b"1" * 200)]}))[
            "error"
        ]
        assert "over the limit of 100 bytes" in error["reason"]
        many = entry(it.explain({"text": "x", "pictures": ["a"] * 5}))["error"]
        assert "5 pictures" in many["reason"]


class _Trap(http.server.BaseHTTPRequestHandler):
    """Counts whoever comes, and sends them on to another address of this machine."""

    hits = 0

    def do_GET(self):
        type(self).hits += 1
        self.send_response(302)
        self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/inner.png")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_no_address_and_no_file_of_the_server_is_ever_opened(service, tmp_path):
    inner = tmp_path / "inner.png"
    inner.write_bytes(png("green"))
    trap = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Trap)
    threading.Thread(target=trap.serve_forever, daemon=True).start()
    port = trap.server_port
    names = [
        f"http://127.0.0.1:{port}/a.png",
        f"http://localhost:{port}/redirect",
        f"http://[::1]:{port}/a.png",
        f"http://2130706433:{port}/a.png",
        f"http://0x7f.1:{port}/a.png",
        f"http://127.1:{port}/a.png",
        f"http://[::ffff:127.0.0.1]:{port}/a.png",
        f"HTTPS://127.0.0.1:{port}/a.png",
        f"http://user@127.0.0.1:{port}/a.png",
        f"//127.0.0.1:{port}/a.png",
        f"file://{inner}",
        str(inner),
        f"../../../../../../..{inner}",
        "..\\..\\inner.png",
        "\\\\127.0.0.1\\share\\a.png",
        ".fetched/../inner.png",
        "a\0.png",
    ]
    before = len(service.reader.batches)
    try:
        for name in names:
            error = entry(service.explain({"text": "x", "pictures": [name]}))["error"]
            assert "addresses are not fetched" in error["reason"] or "uploaded" in error["reason"]
            # The same in a multipart request, and next to a good upload.
            row = json.dumps([{"text": "x", "pictures": [name]}])
            reply = service.client.post(
                "/v1/explain", data={"posts": row}, files={"f": ("a.png", png())}
            )
            assert entry(reply)["error"]["mend"]
    finally:
        trap.shutdown()
    assert _Trap.hits == 0
    assert len(service.reader.batches) == before
    assert str(inner) not in json.dumps(service.logged())


@pytest.mark.parametrize("bad", ["drop", "text-only"])
def test_pictures_of_a_request_have_room_for_so_many_pixels_together(bad):
    def look(i, size):
        return {"id": str(i), "text": "look", "pictures": [url(png(size=size))]}

    posts = [look(0, (40, 20)), look(1, (40, 20)), look(2, (16, 12)), look(3, (16, 12))]
    with served("limits.pixels=1000", f"bad_picture={bad}") as it:
        for _ in range(2):  # what one request used is not missing to the next
            answers = it.client.post("/v1/explain", json=posts).json()["answers"]
            assert ["example" in a for a in answers] == [True, False, True, False]
            assert "too many pixels together" in answers[1]["error"]["reason"]
