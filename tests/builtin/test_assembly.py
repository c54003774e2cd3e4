"""The assembled model keeps the logits of its language model and sizes image tokens correctly."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers as hf

from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import model_traits
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn
from tests.builtin.builders import random_image, tiny_builtin, tiny_language


@pytest.fixture(scope="module")
def tiny_model_and_processor():
    return tiny_builtin()


def _inputs(processor, count=1):
    images = [random_image(i) for i in range(count)]
    text = "<image>" * count + "the battery is fine"
    return processor(text=[text], images=[images], return_tensors="pt")


def test_assembly_is_deterministic_and_keeps_random_state(tiny_model_and_processor):
    torch.manual_seed(1)
    model, _ = tiny_builtin()
    random_value = torch.rand(1)
    torch.manual_seed(99)
    second_model, _ = tiny_builtin()
    assert all(torch.equal(w, second_model.state_dict()[n]) for n, w in model.state_dict().items())
    torch.manual_seed(1)
    tiny_builtin()
    assert torch.equal(torch.rand(1), random_value)


def test_auto_classes_reload_saved_model_exactly(tiny_model_and_processor, tmp_path):
    model, processor = tiny_model_and_processor
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded_model = hf.AutoModelForImageTextToText.from_pretrained(tmp_path, local_files_only=True)
    loaded_processor = hf.AutoProcessor.from_pretrained(tmp_path, local_files_only=True)
    inputs, loaded_inputs = _inputs(processor), _inputs(loaded_processor)
    assert all(torch.equal(inputs[k], loaded_inputs[k]) for k in inputs)
    with torch.inference_mode():
        assert torch.equal(loaded_model.eval()(**loaded_inputs).logits, model(**inputs).logits)
    assert (
        loaded_processor.chat_template
        == processor.chat_template
        == loaded_processor.tokenizer.chat_template
    )


def test_text_only_logits_match_the_language_model(tiny_model_and_processor):
    model, processor = tiny_model_and_processor
    language, tokenizer = tiny_language()
    text = "the food was cold"
    ids = processor.tokenizer(text, return_tensors="pt").input_ids
    assert torch.equal(ids, tokenizer(text, return_tensors="pt").input_ids)
    with torch.inference_mode():
        logits, expected = model(input_ids=ids).logits, language(input_ids=ids).logits
    assert torch.allclose(logits[..., :-1], expected, atol=1e-5)
    assert (logits[..., -1] < logits[..., :-1].max(-1).values).all()


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 5, 6, 7])
def test_image_has_as_many_features_as_placeholders(grid):
    model, processor = tiny_builtin(grid)
    inputs = _inputs(processor, count=2)
    n_placeholders = int((inputs["input_ids"] == model.config.image_token_id).sum())
    features = model.model.get_image_features(inputs["pixel_values"]).pooler_output
    assert n_placeholders == 2 * grid**2 == sum(len(s) for s in features)
    assert torch.isfinite(model(**inputs).logits).all()


def test_unsupported_grid_is_rejected():
    with pytest.raises(ValueError, match="grid of 10"):
        tiny_builtin(10)


def test_image_embeddings_have_norm_of_text_embeddings(tiny_model_and_processor):
    model, processor = tiny_model_and_processor
    with torch.inference_mode():
        out = model.model.get_image_features(_inputs(processor, 4)["pixel_values"])
    image_embeddings, text_embeddings = (
        torch.cat(out.pooler_output),
        model.get_input_embeddings().weight.detach(),
    )
    assert (
        0.5 < float(image_embeddings.norm(dim=-1).mean() / text_embeddings.norm(dim=-1).mean()) < 2
    )


def test_every_projector_weight_gets_a_gradient(tiny_model_and_processor):
    model, processor = tiny_builtin()
    inputs = _inputs(processor)
    model.train()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    for name, weight in model.model.multi_modal_projector.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_projector_gets_gradients_through_checkpointing():
    model, processor = tiny_builtin()
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.train()
    inputs = _inputs(processor)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0


def test_chat_template_takes_plain_and_typed_content(tiny_model_and_processor):
    def render(*turns):
        return tiny_model_and_processor[1].apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=True
        )

    content_parts = [{"type": "image"}, {"type": "text", "text": "hi"}]
    expected = "<|im_start|>user\n<image>hi<|im_end|>\n<|im_start|>assistant\n"
    assert render({"role": "user", "content": content_parts}) == expected
    assert render({"role": "user", "content": "<image>hi"}) == expected
    with_system = render(
        {"role": "system", "content": "be brief"}, {"role": "user", "content": content_parts}
    )
    assert with_system == "<|im_start|>system\nbe brief<|im_end|>\n" + expected


def test_backend_answers_with_and_without_image(tiny_model_and_processor):
    model, processor = tiny_model_and_processor
    assert model_traits.prefix_sharing_unsupported_reason(model) == ""
    backend = TransformersBackend.from_model(
        model, processor, BackendOptions(), "r", lambda p: random_image()
    )
    assert backend.supports_images
    image = ImageInput(path="/p.png", sha256="0" * 64, max_pixels=4096)
    slot = ChoiceSlot(prefix="Sentiment:", options=(" positive", " negative"), suffix="\n")

    def ask(*parts):
        chat = Chat(turns=(Turn(role="user", parts=parts),))
        return Request(chat=chat, max_new_tokens=4, choice=slot)

    text = TextInput(text="the battery is <image> fine", untrusted=True)
    text_only, with_image, repeated = backend.complete(
        [ask(text), ask(image, text), ask(image, text)]
    )
    assert [c.error for c in (text_only, with_image, repeated)] == ["", "", ""]
    assert with_image.prompt_tokens - text_only.prompt_tokens == 4
    assert with_image.option_logprobs == pytest.approx(repeated.option_logprobs, abs=1e-4)
    assert with_image.option_logprobs != pytest.approx(text_only.option_logprobs, abs=1e-4)
    assert with_image.notes["prefix"] == "shared"
    assert with_image.notes["escaped_control_tokens"] == "1"
