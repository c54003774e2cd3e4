"""Every family trains on what inference sees: tokens, images, masks, scores."""

import copy

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa import prompting
from gen_msa.backends import BackendOptions
from gen_msa.backends.hf import model_traits
from gen_msa.backends.hf.engine import Prefiller
from gen_msa.backends.hf.image_inputs import stack_tensors
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.finetuning.batches import collate
from gen_msa.finetuning.dataset import TrainingExample
from gen_msa.finetuning.loss import FIELDS, AnswerOnlyLMHead, LossWeights, loss_from_logits
from gen_msa.finetuning.peft_model import wrap_with_peft
from gen_msa.finetuning.prepare import attention_inputs
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe, LossConfig
from gen_msa.finetuning.tokenization import ExampleTokenizer, unpacked
from gen_msa.predictors.prompted.build_requests import PostInputs, PromptRequest
from gen_msa.types import Opinion, Polarity
from tests.backends.sample_requests import image_input, load_noise_image
from tests.fixtures.posts import post
from tests.fixtures.tiny_models import VISION_FAMILIES, tiny_model

EXPLANATION = "the post says so"
RECIPE = FinetuneRecipe(
    model_name_or_path="tiny",
    output_dir="out",
    data=(FinetuneData(source="posts.jsonl"),),
    lora_rank=4,
    lora_dropout=0.0,
)


class FamilyModel:
    """A tiny model of one family, for training and for inference."""

    def __init__(self, name):
        tiny = tiny_model(name)
        self.model = copy.deepcopy(tiny.model)
        self.processor = tiny.processor
        self.generator = self.make_backend(self.model).generator
        self.chat_tokenizer = self.generator.chat_tokenizer
        self.image_token_ids = model_traits.image_token_ids(self.model, self.processor)
        self.example_tokenizer = ExampleTokenizer(
            self.chat_tokenizer, self.generator._image_expander, max_length=2048
        )
        self.loss_weights = LossWeights.from_rows(LossConfig(), ())
        self.answer_head = AnswerOnlyLMHead(self.model, enabled=True)

    def make_backend(self, model):
        options = BackendOptions(batch_size=4)
        return TransformersBackend.from_model(
            model, self.processor, options, "tiny", load_noise_image
        )

    def make_example(self, number, *, with_image=True, aspect=0, polarity=Polarity.POSITIVE):
        prompt = prompting.load_prompt("predict/brief")
        post_, images = post(number), (image_input(number + 1),) if with_image else ()
        aspect_ = post_.aspects[aspect]
        request = prompting.render(prompt, post_, aspect_, {}, images)
        opinion = Opinion(
            annotator="gold", aspect=aspect_, polarity=polarity, explanation=EXPLANATION
        )
        prompt_request = PromptRequest(
            PostInputs(0, post_, images), prompt, aspect_, {}, request, {}
        )
        return TrainingExample(
            f"row {number}", prompt_request, prompting.build_target(prompt, [opinion]), polarity
        )

    def make_batch(self, tokenized, model=None):
        positions, dtype = attention_inputs(model or self.model, RECIPE)
        return collate(
            [unpacked(e) for e in tokenized],
            stack_tensors([self.example_tokenizer.pixel_inputs(e) for e in tokenized]),
            self.loss_weights,
            self.loss_weights.step_totals(tokenized),
            pad=self.example_tokenizer.pad,
            positions=positions,
            dtype=dtype,
        )

    def logits(self, batch, model=None):
        self.answer_head.select(batch.sequences, batch.label_positions)
        return self.answer_head.answer_logits((model or self.model)(**batch.inputs).logits)

    def losses(self, tokenized):
        """Cross-entropy of each answer token of rows in one training batch, row after row."""
        batch = self.make_batch(tokenized)
        with torch.no_grad():
            logp = self.logits(batch).float().log_softmax(-1)
        token_losses = -logp[torch.arange(len(batch.targets)), batch.targets]
        return token_losses.split([len(e.fields) for e in tokenized])

    @torch.inference_mode()
    def inference_losses(self, tokenized):
        """The same, with the prompt prefilled by the backend and the answer fed token by token."""
        expander_row = self.chat_tokenizer.tokenize_request(
            0, tokenized.example.question.request.model_copy(update={"choice": None})
        )
        expanded = self.generator._image_expander.expand(expander_row)
        engine = self.generator.engine
        state = Prefiller(engine, self.image_token_ids, share=False).prefill(
            [[(expander_row, expanded)]], ()
        )
        answer = tokenized.ids[tokenized.prompt_length :]
        assert list(tokenized.ids[: tokenized.prompt_length]) == expanded.ids
        losses = []
        for token in answer:
            losses.append(float(-state.logits[0].float().log_softmax(-1)[token]))
            engine.append_tokens(state, [[token]])
        return torch.tensor(losses)


@pytest.fixture(scope="module")
def make_family_model():
    models = {}
    return lambda name: models.setdefault(name, FamilyModel(name))


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_targets_are_exactly_the_answer_tokens(name, make_family_model):
    tiny = make_family_model(name)
    tokenized = [tiny.example_tokenizer.tokenize(tiny.make_example(i)) for i in (0, 1)]
    batch = tiny.make_batch(tokenized)
    ids = batch.inputs["input_ids"]
    for row_index, e in enumerate(tokenized):
        in_line = batch.sequences == row_index
        target_positions = batch.label_positions[in_line] + 1
        assert ids[row_index, target_positions].tolist() == batch.targets[in_line].tolist()
        assert target_positions.tolist() == list(range(e.prompt_length, len(e.ids)))
        *answer, last = batch.targets[in_line].tolist()
        answer_text = tiny.chat_tokenizer.tokenizer.decode(answer, skip_special_tokens=False)
        assert answer_text == f"Sentiment: positive\nWhy: {EXPLANATION}"
        assert last in tiny.generator.engine.end_ids
        assert not tiny.image_token_ids.intersection([*answer, last])
        assert bool((batch.weights[in_line] > 0).all())


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_each_field_covers_its_own_text(name, make_family_model):
    tiny = make_family_model(name)
    tokenized = tiny.example_tokenizer.tokenize(tiny.make_example(0, polarity=Polarity.NEGATIVE))
    answer = tokenized.ids[tokenized.prompt_length :]
    text_by_field = {
        field: tiny.chat_tokenizer.tokenizer.decode(
            [t for t, f in zip(answer, tokenized.fields, strict=True) if f == field]
        )
        for field in ("label", "explanation")
    }
    assert text_by_field == {"label": " negative", "explanation": f" {EXPLANATION}"}
    assert set(tokenized.fields) <= set(FIELDS)


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_prompt_and_image_equal_processor_output(name, make_family_model):
    tiny = make_family_model(name)
    row = tiny.make_example(2)
    tokenized = tiny.example_tokenizer.tokenize(row)
    prompt = tiny.chat_tokenizer.render_prompt(row.question.request.chat)
    processed = tiny.processor(
        text=[prompt.text],
        images=[[load_noise_image(p) for p in prompt.images]],
        return_tensors="pt",
        add_special_tokens=tiny.chat_tokenizer.adds_special(prompt.text),
    )
    assert list(tokenized.ids[: tokenized.prompt_length]) == processed["input_ids"][0].tolist()
    count = sum(t in tiny.image_token_ids for t in tokenized.ids)
    assert count == sum(t in tiny.image_token_ids for t in processed["input_ids"][0].tolist()) > 1
    for key, tensor in tiny.example_tokenizer.pixel_inputs(tokenized).items():
        assert torch.equal(tensor, processed[key])


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_training_loss_equals_inference_loss(name, make_family_model):
    tiny = make_family_model(name)
    tokenized = [
        tiny.example_tokenizer.tokenize(tiny.make_example(i, with_image=i != 1)) for i in range(3)
    ]
    for e, train_losses in zip(tokenized, tiny.losses(tokenized), strict=True):
        assert torch.allclose(train_losses, tiny.inference_losses(e), atol=1e-3)


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_label_loss_equals_inference_label_score(name, make_family_model):
    tiny = make_family_model(name)
    request = tiny.make_example(3).question.request
    completion = tiny.make_backend(tiny.model).complete([request])[0]
    assert completion.error == ""
    for polarity in Polarity:
        tokenized = tiny.example_tokenizer.tokenize(tiny.make_example(3, polarity=polarity))
        losses = tiny.losses([tokenized])[0]
        label = torch.tensor([f == "label" for f in tokenized.fields])
        score = completion.option_logprobs[f" {polarity.value}"]
        assert float(-losses[label].sum()) == pytest.approx(score, abs=2e-3)


@pytest.mark.parametrize("name", VISION_FAMILIES)
def test_lora_steps_merge_and_generate(name):
    tiny = FamilyModel(name)
    tokenized = [tiny.example_tokenizer.tokenize(tiny.make_example(i)) for i in (0, 1)]
    before = tiny.losses(tokenized)
    model = wrap_with_peft(tiny.model, RECIPE)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        batch = tiny.make_batch(tokenized, tiny.model)
        loss = loss_from_logits(
            tiny.logits(batch, model), batch.targets, batch.weights, batch.fields
        )
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        adapted_logits = tiny.logits(tiny.make_batch(tokenized, tiny.model), model)
        merged = model.merge_and_unload()
        merged_logits = tiny.logits(tiny.make_batch(tokenized, merged), merged)
    assert torch.allclose(adapted_logits, merged_logits, atol=1e-3)
    completion = tiny.make_backend(merged).complete([tiny.make_example(0).question.request])[0]
    assert (completion.error, completion.finish_reason in ("stop", "length")) == ("", True)
    assert completion.text.startswith("Sentiment:")
    assert sum(x.mean() for x in tiny.losses(tokenized)) < sum(x.mean() for x in before)
