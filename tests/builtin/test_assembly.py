"""Language model and tower as one: the same words as before, pictures of the right size."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers as hf

from gen_msa.backends import BackendOptions
from gen_msa.backends.local import family
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn
from tests.builtin.tiny_parts import picture, tiny_builtin, tiny_language


@pytest.fixture(scope="module")
def built():
    return tiny_builtin()


def _inputs(processor, count=1):
    pictures = [picture(i) for i in range(count)]
    text = "<image>" * count + "the battery is fine"
    return processor(text=[text], images=[pictures], return_tensors="pt")


def test_the_same_parts_give_the_same_weights_and_leave_the_random_state_alone(built):
    torch.manual_seed(1)
    model, _ = tiny_builtin()
    drawn = torch.rand(1)
    torch.manual_seed(99)
    again, _ = tiny_builtin()
    assert all(torch.equal(w, again.state_dict()[n]) for n, w in model.state_dict().items())
    torch.manual_seed(1)
    tiny_builtin()
    assert torch.equal(torch.rand(1), drawn)


def test_auto_classes_read_back_exactly_what_was_saved(built, tmp_path):
    model, processor = built
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = hf.AutoModelForImageTextToText.from_pretrained(tmp_path, local_files_only=True)
    words = hf.AutoProcessor.from_pretrained(tmp_path, local_files_only=True)
    inputs, read = _inputs(processor), _inputs(words)
    assert all(torch.equal(inputs[k], read[k]) for k in inputs)
    with torch.inference_mode():
        assert torch.equal(again.eval()(**read).logits, model(**inputs).logits)
    assert words.chat_template == processor.chat_template == words.tokenizer.chat_template


def test_without_a_picture_it_writes_what_the_language_model_writes(built):
    model, processor = built
    language, tokenizer = tiny_language()
    text = "the food was cold"
    ids = processor.tokenizer(text, return_tensors="pt").input_ids
    assert torch.equal(ids, tokenizer(text, return_tensors="pt").input_ids)
    with torch.inference_mode():
        whole, plain = model(input_ids=ids).logits, language(input_ids=ids).logits
    assert torch.allclose(whole[..., :-1], plain, atol=1e-5)
    assert (whole[..., -1] < whole[..., :-1].max(-1).values).all()


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 5, 6, 7])
def test_a_picture_has_as_many_tokens_as_placeholders(grid):
    model, processor = tiny_builtin(grid)
    inputs = _inputs(processor, count=2)
    marks = int((inputs["input_ids"] == model.config.image_token_id).sum())
    seen = model.model.get_image_features(inputs["pixel_values"]).pooler_output
    assert marks == 2 * grid**2 == sum(len(s) for s in seen)
    assert torch.isfinite(model(**inputs).logits).all()


def test_a_grid_that_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="grid of 10"):
        tiny_builtin(10)


def test_projected_pictures_are_as_large_as_words(built):
    model, processor = built
    with torch.inference_mode():
        out = model.model.get_image_features(_inputs(processor, 4)["pixel_values"])
    seen, words = torch.cat(out.pooler_output), model.get_input_embeddings().weight.detach()
    assert 0.5 < float(seen.norm(dim=-1).mean() / words.norm(dim=-1).mean()) < 2


def test_every_weight_of_the_projector_learns_from_a_picture(built):
    model, processor = tiny_builtin()
    inputs = _inputs(processor)
    model.train()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    for name, weight in model.model.multi_modal_projector.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_gradients_reach_the_projector_through_checkpointing_with_all_else_frozen():
    model, processor = tiny_builtin()
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.train()
    inputs = _inputs(processor)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0


def test_the_template_takes_plain_and_typed_turns_and_adds_no_system_turn(built):
    def shown(*turns):
        return built[1].apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)

    typed = [{"type": "image"}, {"type": "text", "text": "hi"}]
    wanted = "<|im_start|>user\n<image>hi<|im_end|>\n<|im_start|>assistant\n"
    assert shown({"role": "user", "content": typed}) == wanted
    assert shown({"role": "user", "content": "<image>hi"}) == wanted
    both = shown({"role": "system", "content": "be brief"}, {"role": "user", "content": typed})
    assert both == "<|im_start|>system\nbe brief<|im_end|>\n" + wanted


def test_it_answers_with_and_without_a_picture_and_shares_what_is_common(built):
    model, processor = built
    assert family.why_plain(model) == ""
    backend = TransformersBackend.of(model, processor, BackendOptions(), "r", lambda p: picture())
    assert backend.sees_pictures
    shot = Picture(path="/p.png", sha256="0" * 64, max_pixels=4096)
    slot = Choice(lead="Sentiment:", options=(" positive", " negative"), then="\n")

    def ask(*parts):
        chat = Chat(turns=(Turn(role="user", parts=parts),))
        return Request(chat=chat, max_new_tokens=4, choice=slot)

    words = Text(text="the battery is <image> fine", untrusted=True)
    blind, seeing, again = backend.complete([ask(words), ask(shot, words), ask(shot, words)])
    assert [c.error for c in (blind, seeing, again)] == ["", "", ""]
    assert seeing.prompt_tokens - blind.prompt_tokens == 4
    assert seeing.option_logprobs == pytest.approx(again.option_logprobs, abs=1e-4)
    assert seeing.option_logprobs != pytest.approx(blind.option_logprobs, abs=1e-4)
    assert seeing.notes["prefix"] == "shared"
    assert seeing.notes["neutralised"] == "1"
