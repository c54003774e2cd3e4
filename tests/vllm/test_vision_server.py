"""The real server with a vision model, its adapter, a key, and a media root."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from PIL import Image

from gen_msa.backends import BackendOptions
from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn
from tests.vllm.servers import running_server

KEY = "a-key-for-tests-only"
CHOICE = ChoiceSlot(prefix="Sentiment:", options=(" bad", " good"), suffix="\nExplanation:")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    (root / "images").mkdir()
    for name, colour in (("red", "red"), ("blue", "blue")):
        Image.new("RGB", (64, 48), colour).save(root / "images" / f"{name}.png")
    Image.new("RGB", (64, 48), "green").save(root / "secret.png")
    (root / "images" / "leak.png").symlink_to(root / "secret.png")
    return root


@pytest.fixture(scope="module")
def server(vision_model, vision_adapter, media, tmp_path_factory):
    settings = [f"media_root={media / 'images'}", "images_per_prompt=2"]
    target = f"{vision_model}@{vision_adapter}"
    with running_server(
        target, tmp_path_factory.mktemp("log"), *settings, GEN_MSA_TOKEN=KEY
    ) as running:
        yield running


def image_input(path):
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageInput(path=str(path), sha256=sha, max_pixels=2000)


def ask(*parts, **more):
    parts = tuple(TextInput(text=p) if isinstance(p, str) else p for p in parts)
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=16, **more)


def post(server, url, key=KEY):
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
    body = {"model": "mabsa", "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    endpoint = f"{server.url}/v1/chat/completions"
    return httpx.post(
        endpoint, json={**body, "temperature": 0}, headers=headers, timeout=60, trust_env=False
    )


def test_probe_scores_match_training(server):
    assert server.event("ready")["probe"] == "the server answers as in training"


def test_image_decides_the_answer_and_slots_hold(server, media, monkeypatch):
    from gen_msa.backends.http import HttpBackend

    monkeypatch.setenv("GEN_MSA_TOKEN", KEY)
    options = BackendOptions(api_key_variable="GEN_MSA_TOKEN", retries=0, slots=True)
    backend = HttpBackend(f"{server.url}/v1#mabsa", options)
    red, blue = (image_input(media / "images" / f"{n}.png") for n in ("red", "blue"))
    completions = backend.complete(
        [ask("see ", red, "now"), ask("see ", blue, "now"), ask(red, "x", choice=CHOICE)]
    )
    assert [c.error for c in completions] == ["", "", ""]
    assert completions[0].text != completions[1].text
    assert completions[2].notes["form"] == "slot"
    (too_many,) = backend.complete([ask(red, red, blue, "x")])
    assert too_many.finish_reason == "error"


def test_requests_without_the_key_are_rejected(server):
    assert post(server, "data:image/png;base64,AAAA", key="").status_code == 401
    assert post(server, "data:image/png;base64,AAAA", key="wrong-key-of-sixteen").status_code == 401


def test_only_files_below_the_media_root_are_read(server, media):
    inside = post(server, (media / "images" / "red.png").as_uri())
    assert inside.status_code == 200, inside.text
    outside = [media / "secret.png", media / "images" / "leak.png"]
    outside += [media / "images" / ".." / "secret.png"]
    for path in outside:
        response = post(server, f"file://{path}")
        assert response.status_code >= 400, path
    assert post(server, "file:///etc/hostname").status_code >= 400


def test_loopback_addresses_are_never_fetched(server):
    requested_paths = []

    class RecordingHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested_paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), RecordingHandler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        port = listener.server_address[1]
        hosts = ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "2130706433", "0x7f000001"]
        hosts += ["[::1]", "[::ffff:127.0.0.1]", "017700000001", "127.0.0.1.", "LOCALHOST"]
        urls = [f"http://{host}:{port}/x.png" for host in hosts]
        urls.append(f"http://none.invalid@127.0.0.1:{port}/x.png")
        statuses = [post(server, url).status_code for url in urls]
        listener.shutdown()
    assert len(statuses) == 12
    assert min(statuses) >= 400
    assert requested_paths == []
