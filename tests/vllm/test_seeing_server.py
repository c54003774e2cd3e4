"""The real server with a model that sees, its adapter, a key, and a media root."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from PIL import Image

from gen_msa.backends import BackendOptions
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn
from tests.vllm.servers import serving

KEY = "a-key-for-tests-only"
CHOICE = Choice(lead="Sentiment:", options=(" bad", " good"), then="\nExplanation:")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    (root / "pictures").mkdir()
    for name, colour in (("red", "red"), ("blue", "blue")):
        Image.new("RGB", (64, 48), colour).save(root / "pictures" / f"{name}.png")
    Image.new("RGB", (64, 48), "green").save(root / "secret.png")
    (root / "pictures" / "leak.png").symlink_to(root / "secret.png")
    return root


@pytest.fixture(scope="module")
def server(seeing_model, seeing_adapter, media, tmp_path_factory):
    settings = [f"media_root={media / 'pictures'}", "pictures_per_prompt=2"]
    target = f"{seeing_model}@{seeing_adapter}"
    with serving(target, tmp_path_factory.mktemp("log"), *settings, GEN_MSA_TOKEN=KEY) as it:
        yield it


def picture(path):
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return Picture(path=str(path), sha256=sha, max_pixels=2000)


def ask(*parts, **more):
    parts = tuple(Text(text=p) if isinstance(p, str) else p for p in parts)
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=16, **more)


def post(server, url, key=KEY):
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    body = {"model": "mabsa", "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    door = f"{server.url}/v1/chat/completions"
    return httpx.post(
        door, json={**body, "temperature": 0}, headers=headers, timeout=60, trust_env=False
    )


def test_the_drawn_picture_of_training_gives_the_scores_of_training(server):
    assert server.event("ready")["probe"] == "the server answers as training did"


def test_what_is_seen_decides_the_answer_and_slots_hold(server, media, monkeypatch):
    from gen_msa.backends.http import Http

    monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
    options = BackendOptions(api_key_variable="GEN_MSA_TOKEN", retries=0, slots=True)
    backend = Http(f"{server.url}/v1#mabsa", options)
    red, blue = (picture(media / "pictures" / f"{n}.png") for n in ("red", "blue"))
    done = backend.complete(
        [ask("see ", red, "now"), ask("see ", blue, "now"), ask(red, "x", choice=CHOICE)]
    )
    assert [c.error for c in done] == ["", "", ""]
    assert done[0].text != done[1].text
    assert done[2].notes["form"] == "slot"
    (many,) = backend.complete([ask(red, red, blue, "x")])
    assert many.finish_reason == "error"


def test_without_the_key_nobody_is_answered(server):
    assert post(server, "data:image/png;base64,AAAA", key="").status_code == 401
    assert post(server, "data:image/png;base64,AAAA", key="wrong-key-of-sixteen").status_code == 401


def test_a_file_below_the_media_root_is_seen_and_no_other(server, media):
    inside = post(server, (media / "pictures" / "red.png").as_uri())
    assert inside.status_code == 200, inside.text
    outside = [media / "secret.png", media / "pictures" / "leak.png"]
    outside += [media / "pictures" / ".." / "secret.png"]
    for path in outside:
        refused = post(server, f"file://{path}")
        assert refused.status_code >= 400, path
    assert post(server, "file:///etc/hostname").status_code >= 400


def test_of_twelve_addresses_of_this_machine_none_is_fetched(server):
    asked = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        port = door.server_address[1]
        hosts = ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "2130706433", "0x7f000001"]
        hosts += ["[::1]", "[::ffff:127.0.0.1]", "017700000001", "127.0.0.1.", "LOCALHOST"]
        urls = [f"http://{host}:{port}/x.png" for host in hosts]
        urls.append(f"http://none.invalid@127.0.0.1:{port}/x.png")
        answers = [post(server, url).status_code for url in urls]
        door.shutdown()
    assert len(answers) == 12
    assert min(answers) >= 400
    assert asked == []
