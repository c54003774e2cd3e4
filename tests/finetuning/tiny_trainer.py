"""Training rows for one tiny model, and their batches, losses and gradients."""

import copy

import torch

from gen_msa import prompting
from gen_msa.backends.hf import model_traits
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.image_inputs import ImageExpander, stack_tensors
from gen_msa.finetuning.batches import collate, rows_in
from gen_msa.finetuning.dataset import TrainingExample
from gen_msa.finetuning.loss import AnswerOnlyLMHead, LossWeights, loss_from_logits
from gen_msa.finetuning.recipe import LossConfig
from gen_msa.finetuning.tokenization import ExampleTokenizer, pack, unpacked
from gen_msa.predictors.prompted.build_requests import PostInputs, PromptRequest
from gen_msa.types import Aspect, Opinion, Polarity, Post
from tests.backends.sample_requests import image_input, load_noise_image
from tests.fixtures.tiny_models import tiny_model

POST_TEXT = "The screen is great, the battery awful, the waiter fine and the soup so slow"
ASPECT_TERMS = ("screen", "battery", "waiter", "soup")
LONG_EXPLANATION = (
    "it is said of it that the screen is great and that the service is slow, which is not good"
)


class TinyTrainer:
    """A copy of a tiny model with its tokenizer and loss."""

    def __init__(self, family, *, attention="sdpa", max_length=2048, head=True):
        tiny = tiny_model(family)
        self.model = copy.deepcopy(tiny.model)
        self.model.set_attn_implementation(attention)
        self.chat_tokenizer = ChatTokenizer(tiny.processor)
        self.image_token_ids = model_traits.image_token_ids(self.model, tiny.processor)
        self.expander = ImageExpander(self.chat_tokenizer, load_noise_image, self.image_token_ids)
        self.example_tokenizer = ExampleTokenizer(self.chat_tokenizer, self.expander, max_length)
        self.answer_head = AnswerOnlyLMHead(self.model, enabled=head)

    def make_example(
        self, term=0, polarity=Polarity.POSITIVE, explanation="it is fine", **overrides
    ):
        """A row about the `term`-th aspect of the text; `image` selects a noise image."""
        prompt = prompting.load_prompt(overrides.get("prompt", "predict/brief"))
        image_number, text = overrides.get("image"), overrides.get("text", POST_TEXT)
        aspects = tuple(Aspect(term=t, start=text.index(t)) for t in ASPECT_TERMS if t in text)
        post = Post(id="1", text=text, aspects=aspects)
        images = () if image_number is None else (image_input(image_number),)
        label = polarity if prompt.takes_label else None
        request = prompting.render(prompt, post, aspects[term], {}, images, label=label)
        opinion = Opinion(
            annotator="gold", aspect=aspects[term], polarity=polarity, explanation=explanation
        )
        prompt_request = PromptRequest(
            PostInputs(0, post, images), prompt, aspects[term], {}, request, {}
        )
        answer = prompting.build_target(prompt, [opinion])
        weight = overrides.get("weight", 1.0)
        fields = {
            k: overrides[k] for k in ("task", "task_weight", "learn", "probs") if k in overrides
        }
        return TrainingExample(
            f"here/{aspects[term].term}", prompt_request, answer, polarity, weight, **fields
        )

    def make_post(self, terms=(0, 1, 2), **overrides):
        """The tokenized rows of one post, with explanations of different lengths."""
        polarities = list(Polarity)
        return [
            self.example_tokenizer.tokenize(
                self.make_example(i, polarities[i % 3], LONG_EXPLANATION[: 4 + 11 * i], **overrides)
            )
            for i in terms
        ]

    def make_sequences(self, *posts, packed=True):
        """The sequences of some posts: packed, or one per row."""
        return [s for p in posts for s in (pack(p) if packed else [unpacked(r) for r in p])]

    def make_batch(self, sequences, loss=None, classes=()):
        loss_weights = LossWeights.from_rows(loss or LossConfig(), classes)
        image_rows = [sequence.rows[0] for sequence in sequences if sequence.rows[0].expander_row]
        return collate(
            sequences,
            stack_tensors([self.example_tokenizer.pixel_inputs(r) for r in image_rows]),
            loss_weights,
            loss_weights.step_totals(rows_in(sequences)),
            pad=self.example_tokenizer.pad,
            positions="position_ids" in model_traits.forward_params(self.model),
        )

    def losses(self, batch):
        """The loss of a batch as the loop computes it."""
        self.answer_head.select(batch.sequences, batch.label_positions)
        logits = self.answer_head.answer_logits(self.model(**batch.inputs, use_cache=False).logits)
        soft_labels = batch.soft_ids, batch.soft_weights
        return loss_from_logits(logits, batch.targets, batch.weights, batch.fields, soft_labels)

    def logits(self, batch):
        """The logits of every answer token."""
        with torch.no_grad():
            self.answer_head.select(batch.sequences, batch.label_positions)
            return self.answer_head.answer_logits(
                self.model(**batch.inputs, use_cache=False).logits
            )

    def gradients(self, *batches):
        """Total loss of some batches and the gradient of every weight."""
        self.model.zero_grad()
        total = 0.0
        for batch in batches:
            loss = self.losses(batch).total
            loss.backward()
            total += float(loss.detach())
        return total, {
            n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None
        }


def gradient_norm(gradients):
    return float(torch.stack([g.norm() for g in gradients.values()]).norm())


def max_gradient_difference(a, b):
    """The largest difference of two sets of gradients."""
    assert a.keys() == b.keys()
    return max(float((a[n] - b[n]).abs().max()) for n in a)
