"""The real engine in this process: adapter proven, slots, schemas, pictures, answers cut short."""

import hashlib
import json

import pytest
from PIL import Image

from gen_msa.backends import BackendOptions
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn

CHOICE = Choice(lead="Sentiment:", options=(" bad", " good"), then="\nExplanation:")
SCHEMA = {
    "type": "object",
    "properties": {"why": {"type": "string", "maxLength": 12}},
    "required": ["why"],
    "additionalProperties": False,
}


def ask(*parts, new=64, **more):
    parts = tuple(Text(text=p) if isinstance(p, str) else p for p in parts)
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=new, **more)


def opened(target):
    from gen_msa.backends.vllm import Vllm

    return Vllm(target, BackendOptions(dtype="float32"))


def test_text_with_an_adapter(text_model, text_adapter):
    backend = opened(f"{text_model}@{text_adapter}")
    assert backend.trained.prompts
    slot, made, cut = backend.complete(
        [ask("hi", choice=CHOICE), ask("hi", json_schema=SCHEMA), ask("hi", new=3)]
    )
    assert "adapter" not in slot.notes
    assert slot.text.startswith(("Sentiment: bad", "Sentiment: good"))
    assert set(json.loads(made.text, strict=False)) == {"why"}
    assert (cut.finish_reason, cut.new_tokens) == ("length", 3)


def test_pictures_with_an_adapter(seeing_model, seeing_adapter, tmp_path):
    seen = []
    for colour in ("red", "blue"):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (64, 48), colour).save(path)
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        seen.append(Picture(path=str(path), sha256=sha, max_pixels=2000))
    backend = opened(f"{seeing_model}@{seeing_adapter}")
    assert backend.sees_pictures
    red, blue, slot = backend.complete(
        [ask("see ", seen[0]), ask("see ", seen[1]), ask(seen[0], "x", choice=CHOICE)]
    )
    assert red.text != blue.text
    assert slot.notes["form"] == "slot"


def test_an_adapter_of_nothing_is_refused(text_model, tmp_path):
    from gen_msa.errors import UserError
    from tests.backends import trained

    nothing = trained.train(text_model, tmp_path / "noop", facts=False, init_lora_weights=True)
    with pytest.raises(UserError, match="changes nothing"):
        opened(f"{text_model}@{nothing}")
