"""The real engine in this process: adapter verified, slots, schemas, images, truncated answers."""

import hashlib
import json

import pytest
from PIL import Image

from gen_msa.backends import BackendOptions
from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn

CHOICE = ChoiceSlot(prefix="Sentiment:", options=(" bad", " good"), suffix="\nExplanation:")
SCHEMA = {
    "type": "object",
    "properties": {"why": {"type": "string", "maxLength": 12}},
    "required": ["why"],
    "additionalProperties": False,
}


def ask(*parts, new=64, **more):
    parts = tuple(TextInput(text=p) if isinstance(p, str) else p for p in parts)
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=new, **more)


def open_backend(target):
    from gen_msa.backends.vllm import VllmBackend

    return VllmBackend(target, BackendOptions(dtype="float32"))


def test_text_model_with_an_adapter(text_model, text_adapter):
    backend = open_backend(f"{text_model}@{text_adapter}")
    assert backend.training_metadata.prompts
    slot, json_answer, truncated = backend.complete(
        [ask("hi", choice=CHOICE), ask("hi", json_schema=SCHEMA), ask("hi", new=3)]
    )
    assert "adapter" not in slot.notes
    assert slot.text.startswith(("Sentiment: bad", "Sentiment: good"))
    assert set(json.loads(json_answer.text, strict=False)) == {"why"}
    assert (truncated.finish_reason, truncated.new_tokens) == ("length", 3)


def test_vision_model_with_an_adapter(vision_model, vision_adapter, tmp_path):
    images = []
    for colour in ("red", "blue"):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (64, 48), colour).save(path)
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        images.append(ImageInput(path=str(path), sha256=sha, max_pixels=2000))
    backend = open_backend(f"{vision_model}@{vision_adapter}")
    assert backend.supports_images
    red, blue, slot = backend.complete(
        [ask("see ", images[0]), ask("see ", images[1]), ask(images[0], "x", choice=CHOICE)]
    )
    assert red.text != blue.text
    assert slot.notes["form"] == "slot"


def test_ineffective_adapter_is_rejected(text_model, tmp_path):
    from gen_msa.errors import UserError
    from tests.backends import tiny_adapters

    adapter = tiny_adapters.train(
        text_model, tmp_path / "noop", with_metadata=False, init_lora_weights=True
    )
    with pytest.raises(UserError, match="has no effect"):
        open_backend(f"{text_model}@{adapter}")
