"""Images reach the model as they were sent; nothing else on or off this machine is opened."""

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

from gen_msa.predictors import PredictorSettings, make
from tests.serving.doubles import run_service

ECHO = PredictorSettings(model="echo", prompt="predict/full", cues={})
POST = {"id": "a", "text": "look", "aspects": ["look"]}


def png(color="red", size=(16, 12)):
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


def data_url(data, media_type="image/png"):
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image_bomb(width=60_000, height=60_000):
    """A PNG of a few bytes whose header promises gigabytes."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def zip_archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.png", b"\0" * (1 << 20))
    return out.getvalue()


def entry(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["answers"][0]


def stored_files(service):
    return list(service.server.service._root.iterdir())


def test_data_url_image_reaches_predictor_and_is_deleted(service):
    data = png()
    answer = entry(service.explain({"text": "one dot", "images": [data_url(data)]}))
    assert service.predictor.images["one dot"] == data
    public_name = answer["example"]["post"]["media"][0]["path"]
    assert public_name.startswith("sha256:")
    assert answer["example"]["opinions"][0]["provenance"]["image"] == f"seen at {public_name}"
    assert stored_files(service) == []


def test_packaged_predictor_uses_data_url_image():
    with run_service(make_predictor=lambda root: make(ECHO, root)) as service:
        opinions = [
            entry(service.explain({**POST, "images": p}))["example"]["opinions"]
            for p in ([], [data_url(png("red"))], [data_url(png("blue"))], [data_url(png("red"))])
        ]
    assert opinions[1] == opinions[3]
    assert opinions[0] != opinions[1] != opinions[2]


def test_bad_image_is_left_to_predictor_with_text_only_policy():
    with run_service(
        "bad_image=text-only", make_predictor=lambda root: make(ECHO, root)
    ) as service:
        example = entry(service.explain({**POST, "images": [data_url(image_bomb())]}))["example"]
    public_name = example["post"]["media"][0]["path"]
    assert public_name in example["opinions"][0]["provenance"]["image"]
    assert "read from text" in example["opinions"][0]["provenance"]["image"]


def test_answer_names_the_images_that_were_not_seen():
    images = {"ok.png": png(), "bomb.png": image_bomb(), "cut.png": png()[:45]}
    files = [("files", (name, data)) for name, data in images.items()]
    posts = json.dumps([{**POST, "images": list(images)}])
    with run_service(
        "bad_image=text-only", make_predictor=lambda root: make(ECHO, root)
    ) as service:
        answer = entry(service.client.post("/v1/explain", data={"posts": posts}, files=files))
        complete = entry(service.explain({**POST, "images": [data_url(png())]}))
    assert answer["unseen_images"] == [
        {"image": "bomb.png", "reason": "too_large"},
        {"image": "cut.png", "reason": "corrupt"},
    ]
    assert "unseen_images" not in complete


@pytest.mark.parametrize(
    ("keys", "colours"),
    [
        ({"image": "a.png"}, ["red"]),
        ({"images": "a.png"}, ["red"]),
        ({"image": "b.png", "images": ["a.png"]}, ["blue", "red"]),
        ({"image": "", "images": ["a.png"]}, ["red"]),
    ],
)
def test_image_and_images_are_taken_as_in_a_row_of_a_file(service, keys, colours):
    uploads = {"a.png": png("red"), "b.png": png("blue")}
    files = [("files", (name, uploads[name])) for name in uploads if name in str(keys)]
    reply = service.client.post(
        "/v1/explain", data={"posts": json.dumps({"text": "look", **keys})}, files=files
    )
    names = [m["path"] for m in entry(reply)["example"]["post"]["media"]]
    assert [uploads[name] for name in names] == [png(colour) for colour in colours]
    assert service.predictor.images["look"] == png(colours[-1])


def test_image_counts_towards_the_limit_of_images():
    with run_service("limits.images=1") as service:
        both = {"image": data_url(png()), "images": data_url(png("blue"))}
        error = entry(service.explain({"text": "x", **both}))["error"]
        assert error["reason"] == "2 images, over the limit of 1"
        assert "example" in entry(service.explain({"text": "x", "image": data_url(png())}))


def test_uploads_reach_the_posts_that_name_them(service):
    red, blue = png("red"), png("blue")
    posts = [
        {"text": "red one", "images": ["a.png"]},
        {"text": "blue one", "images": ["../b.png"]},
    ]
    files = [("files", ("a.png", red)), ("files", ("../b.png", blue))]
    reply = service.client.post("/v1/explain", data={"posts": json.dumps(posts)}, files=files)
    assert [e["example"]["post"]["media"][0]["path"] for e in reply.json()["answers"]] == [
        "a.png",
        "../b.png",  # a name like any other: it never becomes a path
    ]
    assert service.predictor.images["red one"] == red
    assert service.predictor.images["blue one"] == blue
    assert stored_files(service) == []


def test_posts_may_be_uploaded_as_file(service):
    files = {"posts": ("posts.json", b'{"text": "from a file"}', "application/json")}
    assert entry(service.client.post("/v1/explain", files=files))["example"]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"files": {"x": ("a.png", b"1")}}, "no part `posts`"),
        ({"data": {"posts": '{"text": "a"}'}, "files": {"x": ("a.png", b"1")}}, "no post names"),
        ({"data": {"posts": "{"}, "files": {"x": ("a.png", b"1")}}, "not JSON"),
        ({"data": {"posts": "{}", "y": "1"}, "files": {"x": ("a.png", b"")}}, "parts cannot"),
        (
            {"data": {"posts": "{}"}, "files": [("x", ("a", b"1")), ("y", ("a", b"2"))]},
            "occurs twice",
        ),
    ],
)
def test_invalid_multipart_gives_400(service, parts, reason):
    reply = service.client.post("/v1/explain", **parts)
    assert reply.status_code == 400
    assert reason in reply.json()["error"]["reason"]


def test_truncated_multipart_gives_400(service):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"--x\r\ncontent-disp",
        b"--y\r\n\r\n",
        b"--x\r\nx: y\r\n\r\n{}\r\n--x--\r\n",
        b"",
    ):
        reply = service.client.post("/v1/explain", content=body, headers=headers)
        assert reply.status_code == 400, body


BAD_IMAGES = [
    (image_bomb(), "3600000000 pixels"),
    (image_bomb(9000, 9000), "over the limit of 40000000"),
    (zip_archive(), "ZIP archive"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    (b"", "empty"),
    (png(size=(4, 4)), "side under"),
]


@pytest.fixture(scope="module")
def strict_service():
    with run_service("bad_image=drop") as running_service:
        yield running_service


@pytest.mark.parametrize("data", [data for data, _ in BAD_IMAGES], ids=[r for _, r in BAD_IMAGES])
def test_post_with_a_bad_image_is_answered_from_its_text_as_in_explain(data):
    with run_service(make_predictor=lambda root: make(ECHO, root)) as service:
        request = {"text": "x", "aspects": ["x"], "images": [data_url(data)]}
        answer = entry(service.explain(request))
        (unseen,) = answer["unseen_images"]
        assert answer["example"]["opinions"][0]["status"] == "ok"
        assert unseen["image"] == answer["example"]["post"]["media"][0]["path"]
        assert unseen["reason"]
        error = entry(service.explain({**request, "text": " "}))["error"]
        assert error["reason"] == "the post has no text, and no image of it was seen"


@pytest.mark.parametrize(("data", "reason"), BAD_IMAGES)
def test_non_image_is_refused_without_prediction(strict_service, data, reason):
    service = strict_service
    before = len(service.predictor.batches)
    error = entry(service.explain({"text": "x", "images": [data_url(data)]}))["error"]
    assert reason in error["reason"]
    assert error["hint"]
    assert len(service.predictor.batches) == before
    assert stored_files(service) == []


def test_invalid_data_urls_are_refused(service):
    for invalid in ("data:image/png;base64,@@@", "data:text/html;base64,AAAA", "data:,", "DATA:x"):
        assert entry(service.explain({"text": "x", "images": [invalid]}))["error"]["hint"]


def test_image_over_byte_limit_is_refused():
    with run_service("image.max_bytes=100", "bad_image=drop") as service:
        error = entry(
            service.explain({"text": "x", "images": [data_url(b"\x89PNG" + b"1" * 200)]})
        )["error"]
        assert "over the limit of 100 bytes" in error["reason"]
        many = entry(service.explain({"text": "x", "images": ["a"] * 5}))["error"]
        assert "5 images" in many["reason"]


class _RedirectHandler(http.server.BaseHTTPRequestHandler):
    """Counts whoever comes, and sends them on to another address of this machine."""

    hits = 0

    def do_GET(self):
        type(self).hits += 1
        self.send_response(302)
        self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/inner.png")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_urls_and_server_files_are_never_opened(service, tmp_path):
    secret_image = tmp_path / "inner.png"
    secret_image.write_bytes(png("green"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _RedirectHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
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
        f"file://{secret_image}",
        str(secret_image),
        f"../../../../../../..{secret_image}",
        "..\\..\\inner.png",
        "\\\\127.0.0.1\\share\\a.png",
        ".fetched/../inner.png",
        "a\0.png",
    ]
    before = len(service.predictor.batches)
    try:
        for name in names:
            error = entry(service.explain({"text": "x", "images": [name]}))["error"]
            assert "URLs are not fetched" in error["reason"] or "uploaded" in error["reason"]
            # The same in a multipart request, and next to a good upload.
            row = json.dumps([{"text": "x", "images": [name]}])
            reply = service.client.post(
                "/v1/explain", data={"posts": row}, files={"f": ("a.png", png())}
            )
            assert entry(reply)["error"]["hint"]
    finally:
        server.shutdown()
    assert _RedirectHandler.hits == 0
    assert len(service.predictor.batches) == before
    assert str(secret_image) not in json.dumps(service.log_events())


@pytest.mark.parametrize("policy", ["drop", "text-only"])
def test_pixel_limit_applies_to_all_images_of_a_request(policy):
    def make_post(i, size):
        return {"id": str(i), "text": "look", "images": [data_url(png(size=size))]}

    posts = [
        make_post(0, (40, 20)),
        make_post(1, (40, 20)),
        make_post(2, (16, 12)),
        make_post(3, (16, 12)),
    ]
    with run_service("limits.pixels=1000", f"bad_image={policy}") as service:
        for _ in range(2):  # what one request used is not missing to the next
            answers = service.client.post("/v1/explain", json=posts).json()["answers"]
            assert ["example" in a for a in answers] == [True, False, True, False]
            assert "too many pixels together" in answers[1]["error"]["reason"]
