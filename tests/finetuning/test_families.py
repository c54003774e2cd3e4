"""Every family learns exactly what it is asked when it is read: tokens, pictures, masks, scores."""

import copy

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch

from gen_msa import prompting
from gen_msa.backends import BackendOptions
from gen_msa.backends.local import family as facts
from gen_msa.backends.local.pictures import stacked
from gen_msa.backends.local.reading import Reader
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.finetuning.adapting import adapt
from gen_msa.finetuning.batches import collate
from gen_msa.finetuning.branches import alone
from gen_msa.finetuning.encode import Encoder
from gen_msa.finetuning.loss import FIELDS, LabelledHead, Weigher, of_logits
from gen_msa.finetuning.preparing import asked_for
from gen_msa.finetuning.recipe import Data, Loss, Recipe
from gen_msa.finetuning.rows import Row
from gen_msa.readers.prompted.asking import Question
from gen_msa.readers.prompted.seeing import Seen
from gen_msa.types import Opinion, Polarity
from tests.backends.chats import look, picture
from tests.fixtures.posts import post
from tests.fixtures.tiny_models import PICTURED, tiny_model

REASON = "the post says so"
RECIPE = Recipe(
    model_name_or_path="tiny",
    output_dir="out",
    data=(Data(source="posts.jsonl"),),
    lora_rank=4,
    lora_dropout=0.0,
)


class Learner:
    """A tiny model with the training side of one family, and the reading side of the same."""

    def __init__(self, name):
        tiny = tiny_model(name)
        self.model = copy.deepcopy(tiny.model)
        self.processor = tiny.processor
        self.session = self.reading(self.model).session
        self.layout = self.session.layout
        self.marks = facts.picture_ids(self.model, self.processor)
        self.encoder = Encoder(self.layout, self.session._expander, max_length=2048)
        self.weigher = Weigher.of(Loss(), ())
        self.head = LabelledHead(self.model, on=True)

    def reading(self, model):
        options = BackendOptions(batch_size=4)
        return TransformersBackend.of(model, self.processor, options, "tiny", look)

    def row(self, number, *, seen=True, aspect=0, polarity=Polarity.POSITIVE):
        prompt = prompting.load("reader/brief")
        told, pictures = post(number), (picture(number + 1),) if seen else ()
        about = told.aspects[aspect]
        request = prompting.render(prompt, told, about, {}, pictures)
        said = Opinion(by="gold", aspect=about, polarity=polarity, explanation=REASON)
        question = Question(Seen(0, told, pictures), prompt, about, {}, request, {})
        return Row(f"row {number}", question, prompting.target(prompt, [said]), polarity)

    def batch(self, encoded, model=None):
        positions, dtype = asked_for(model or self.model, RECIPE)
        return collate(
            [alone(e) for e in encoded],
            stacked([self.encoder.tensors(e) for e in encoded]),
            self.weigher,
            self.weigher.totals(encoded),
            pad=self.encoder.pad,
            positions=positions,
            dtype=dtype,
        )

    def logits(self, batch, model=None):
        self.head.at(batch.lines, batch.places)
        return self.head.taken((model or self.model)(**batch.inputs).logits)

    def losses(self, encoded):
        """Cross-entropy of each answer token of rows in one training batch, row after row."""
        batch = self.batch(encoded)
        with torch.no_grad():
            logp = self.logits(batch).float().log_softmax(-1)
        each = -logp[torch.arange(len(batch.targets)), batch.targets]
        return each.split([len(e.fields) for e in encoded])

    @torch.inference_mode()
    def losses_in_reading(self, encoded):
        """The same, the prompt read as the backend does and the answer fed a token at a time."""
        asked = self.layout.row(0, encoded.row.question.request.model_copy(update={"choice": None}))
        shown = self.session._expander.expand(asked)
        engine = self.session.engine
        state = Reader(engine, self.marks, share=False).read([[(asked, shown)]], ())
        answer = encoded.ids[encoded.prompt_length :]
        assert list(encoded.ids[: encoded.prompt_length]) == shown.ids
        out = []
        for token in answer:
            out.append(float(-state.logits[0].float().log_softmax(-1)[token]))
            engine.feed(state, [[token]])
        return torch.tensor(out)


@pytest.fixture(scope="module")
def learner():
    made = {}
    return lambda name: made.setdefault(name, Learner(name))


@pytest.mark.parametrize("name", PICTURED)
def test_the_answer_is_learned_whole_and_nothing_else(name, learner):
    one = learner(name)
    encoded = [one.encoder.encode(one.row(i)) for i in (0, 1)]
    batch = one.batch(encoded)
    ids = batch.inputs["input_ids"]
    for line, e in enumerate(encoded):
        mine = batch.lines == line
        at = batch.places[mine] + 1
        assert ids[line, at].tolist() == batch.targets[mine].tolist()
        assert at.tolist() == list(range(e.prompt_length, len(e.ids)))
        *answer, last = batch.targets[mine].tolist()
        said = one.layout.tokenizer.decode(answer, skip_special_tokens=False)
        assert said == f"Sentiment: positive\nWhy: {REASON}"
        assert last in one.session.engine.ends
        assert not one.marks.intersection([*answer, last])
        assert bool((batch.weights[mine] > 0).all())


@pytest.mark.parametrize("name", PICTURED)
def test_each_field_holds_its_own_words(name, learner):
    one = learner(name)
    encoded = one.encoder.encode(one.row(0, polarity=Polarity.NEGATIVE))
    answer = encoded.ids[encoded.prompt_length :]
    words = {
        field: one.layout.tokenizer.decode(
            [t for t, f in zip(answer, encoded.fields, strict=True) if f == field]
        )
        for field in ("label", "explanation")
    }
    assert words == {"label": " negative", "explanation": f" {REASON}"}
    assert set(encoded.fields) <= set(FIELDS)


@pytest.mark.parametrize("name", PICTURED)
def test_the_prompt_and_its_picture_are_what_the_processor_makes(name, learner):
    one = learner(name)
    row = one.row(2)
    encoded = one.encoder.encode(row)
    prompt = one.layout.prompt(row.question.request.chat)
    made = one.processor(
        text=[prompt.text],
        images=[[look(p) for p in prompt.pictures]],
        return_tensors="pt",
        add_special_tokens=one.layout.adds_special(prompt.text),
    )
    assert list(encoded.ids[: encoded.prompt_length]) == made["input_ids"][0].tolist()
    count = sum(t in one.marks for t in encoded.ids)
    assert count == sum(t in one.marks for t in made["input_ids"][0].tolist()) > 1
    for key, tensor in one.encoder.tensors(encoded).items():
        assert torch.equal(tensor, made[key])


@pytest.mark.parametrize("name", PICTURED)
def test_the_loss_is_that_of_reading_the_prompt_and_feeding_the_answer(name, learner):
    one = learner(name)
    encoded = [one.encoder.encode(one.row(i, seen=i != 1)) for i in range(3)]
    for e, learned in zip(encoded, one.losses(encoded), strict=True):
        assert torch.allclose(learned, one.losses_in_reading(e), atol=1e-3)


@pytest.mark.parametrize("name", PICTURED)
def test_a_labels_loss_is_the_score_that_reading_gives_it(name, learner):
    one = learner(name)
    request = one.row(3).question.request
    read = one.reading(one.model).complete([request])[0]
    assert read.error == ""
    for polarity in Polarity:
        encoded = one.encoder.encode(one.row(3, polarity=polarity))
        losses = one.losses([encoded])[0]
        label = torch.tensor([f == "label" for f in encoded.fields])
        score = read.option_logprobs[f" {polarity.value}"]
        assert float(-losses[label].sum()) == pytest.approx(score, abs=2e-3)


@pytest.mark.parametrize("name", PICTURED)
def test_a_step_of_lora_merges_and_generates(name):
    one = Learner(name)
    encoded = [one.encoder.encode(one.row(i)) for i in (0, 1)]
    before = one.losses(encoded)
    model = adapt(one.model, RECIPE)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        batch = one.batch(encoded, one.model)
        parts = of_logits(one.logits(batch, model), batch.targets, batch.weights, batch.fields)
        parts.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        adapted = one.logits(one.batch(encoded, one.model), model)
        merged = model.merge_and_unload()
        plain = one.logits(one.batch(encoded, merged), merged)
    assert torch.allclose(adapted, plain, atol=1e-3)
    said = one.reading(merged).complete([one.row(0).question.request])[0]
    assert (said.error, said.finish_reason in ("stop", "length")) == ("", True)
    assert said.text.startswith("Sentiment:")
    assert sum(x.mean() for x in one.losses(encoded)) < sum(x.mean() for x in before)
