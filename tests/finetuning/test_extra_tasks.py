"""Distilling step by step: a label task and a rationale task in one sequence per post."""

import functools
import itertools

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.errors import UserError
from gen_msa.finetuning import recipe as recipes
from gen_msa.finetuning.dataset import build_dataset, opinion_weight
from gen_msa.finetuning.loss import LossWeights
from gen_msa.finetuning.recipe import LossConfig
from gen_msa.finetuning.tokenization import pack, unpacked
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.finetuning.tiny_peft import build_recipe
from tests.finetuning.tiny_trainer import (
    LONG_EXPLANATION,
    TinyTrainer,
    gradient_norm,
    max_gradient_difference,
)

EXPLANATION_TASK = {
    "prompt": "predict/reason_first",
    "task": 1,
    "learn": frozenset({"explanation", "form"}),
}
EXTRA_TASK = {"prompt": "predict/reason_first", "learn": ["explanation", "form"]}
POLARITIES = (Polarity.POSITIVE, Polarity.NEGATIVE, Polarity.NEUTRAL, Polarity.POSITIVE)


@functools.cache
def get_trainer(family, attention="sdpa"):
    return TinyTrainer(family, attention=attention)


def both_task_rows(
    trainer, *, task_weight=1.0, terms=(0, 1, 2), explained_terms=(0, 1), **overrides
):
    """One post's label rows, and rationale rows for the aspects in `explained_terms`."""
    rows = []
    for i in terms:
        fields = {
            "polarity": POLARITIES[i],
            "explanation": LONG_EXPLANATION[: 9 + 13 * i],
            **overrides,
        }
        rows.append(trainer.make_example(i, prompt="predict/brief_label", **fields))
        if i in explained_terms:
            rows.append(
                trainer.make_example(i, task_weight=task_weight, **EXPLANATION_TASK, **fields)
            )
    return [trainer.example_tokenizer.tokenize(r) for r in rows]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "llava", "idefics3"])
def test_packed_tasks_equal_separate_sequences(family, attention):
    trainer = get_trainer(family, attention)
    rows = both_task_rows(
        trainer, task_weight=0.5, **({"image": 2} if trainer.chat_tokenizer.supports_images else {})
    )
    (sequence,) = pack(rows)
    assert len(sequence.rows) == 5
    loss, gradients = trainer.gradients(trainer.make_batch([sequence]))
    separate_loss, separate_gradients = trainer.gradients(
        trainer.make_batch([unpacked(r) for r in rows])
    )
    assert loss == pytest.approx(separate_loss, rel=1e-5)
    assert max_gradient_difference(gradients, separate_gradients) <= 1e-4 * gradient_norm(
        separate_gradients
    )
    assert gradient_norm(separate_gradients) > 0.1
    # The post, with its images, is fed once for both tasks.
    image_token_ids = trainer.expander.placeholders
    image_token_counts = [sum(t in image_token_ids for t in r.ids) for r in rows]
    assert sum(t in image_token_ids for t in sequence.ids) == image_token_counts[0]
    assert len(sequence.ids) < 0.7 * sum(len(r.ids) for r in rows)


@pytest.mark.parametrize("reduction", ["field", "token"])
@pytest.mark.parametrize("task_weight", [0.0, 0.3, 2.0])
def test_loss_is_label_loss_plus_weighted_rationale_loss(task_weight, reduction):
    trainer, loss = get_trainer("llama"), LossConfig(reduction=reduction)
    rows = both_task_rows(trainer, task_weight=task_weight)
    labels = [r for r in rows if not r.example.task]
    explanation_rows = [r for r in both_task_rows(trainer) if r.example.task]
    packed_result = trainer.gradients(trainer.make_batch(pack(rows), loss))
    label_result, explanation_result = (
        trainer.gradients(trainer.make_batch(pack(r), loss)) for r in (labels, explanation_rows)
    )
    assert packed_result[0] == pytest.approx(
        label_result[0] + task_weight * explanation_result[0], rel=1e-5
    )
    summed = {n: g + task_weight * explanation_result[1][n] for n, g in label_result[1].items()}
    assert max_gradient_difference(packed_result[1], summed) <= 1e-4 * gradient_norm(
        label_result[1]
    )
    assert explanation_result[0] > 0.1


def test_unlearned_fields_have_zero_weight():
    trainer = get_trainer("llama")
    row = trainer.example_tokenizer.tokenize(trainer.make_example(1, **EXPLANATION_TASK))
    loss_weights = LossWeights.from_rows(LossConfig(), ())
    weights = loss_weights.token_weights(row, loss_weights.step_totals([row]))
    weight_by_field = {
        f: sum(w for w, g in zip(weights, row.fields, strict=True) if f == g) for f in row.fields
    }
    assert weight_by_field["label"] == 0
    assert weight_by_field["explanation"] == pytest.approx(1)
    assert weight_by_field["form"] == pytest.approx(0.2)


def test_balanced_classes_count_only_the_main_task():
    trainer = get_trainer("llama")
    all_rows = [r.example for r in both_task_rows(trainer, explained_terms=(0,))]
    labels = [r for r in all_rows if not r.task]
    balanced = LossConfig(class_weights="balanced")
    assert len(all_rows) == 4
    assert (
        LossWeights.from_rows(balanced, all_rows).classes
        == LossWeights.from_rows(balanced, labels).classes
    )


def write_examples(tmp_path, *examples):
    path = tmp_path / "teacher.jsonl"
    path.write_text("".join(e.model_dump_json() + "\n" for e in examples), "utf-8")
    return str(path)


def teacher_example(number, *teacher_answers):
    """One post about a screen with its gold label and a teacher's (polarity, rationale, probs)."""
    text = f"The screen of my phone is great, number {number}"
    aspect = Aspect(term="screen", start=4)
    opinions = [Opinion(annotator="gold", aspect=aspect, polarity=Polarity.POSITIVE)]
    for polarity, rationale, probs in teacher_answers:
        fields = {"polarity": polarity, "explanation": rationale, "probs": probs}
        opinions.append(Opinion(annotator="teacher", aspect=aspect, **fields))
    return Example(post=Post(id=str(number), text=text, aspects=(aspect,)), opinions=opinions)


CONFIDENT_PROBS = {Polarity.POSITIVE: 0.8, Polarity.NEUTRAL: 0.2, Polarity.NEGATIVE: 0.0}
UNCERTAIN_PROBS = {Polarity.POSITIVE: 0.5, Polarity.NEUTRAL: 0.25, Polarity.NEGATIVE: 0.25}
TEACHER_EXAMPLES = (
    teacher_example(1, (Polarity.POSITIVE, "The writer calls the screen great.", CONFIDENT_PROBS)),
    teacher_example(2, (Polarity.NEGATIVE, "The screen is blamed.", None)),
    teacher_example(3),
    teacher_example(4, (Polarity.POSITIVE, None, UNCERTAIN_PROBS)),
)


def build_training_set(tmp_path, loss=None, **data):
    source_fields = {
        "source": write_examples(tmp_path, *TEACHER_EXAMPLES),
        "prompt": "predict/brief_label",
        **data,
    }
    recipe_fields = build_recipe().model_dump() | {
        "data": [source_fields],
        "inference": {"cues": {}},
        "loss": loss or {},
    }
    return build_dataset(
        recipes.FinetuneRecipe.model_validate(recipe_fields), supports_images=False
    )


def test_rationale_is_learned_only_when_teacher_label_agrees(tmp_path):
    training_set = build_training_set(
        tmp_path, rationales="from_annotator:teacher", extra_tasks=[EXTRA_TASK]
    )
    rows = [[r.task for r in s.rows] for s in training_set.samples]
    assert rows == [[0, 1], [0], [0], [0]]
    explanation_row = training_set.samples[0].rows[1]
    assert "calls the screen great" in explanation_row.target.text
    assert explanation_row.name.endswith("/screen (predict/reason_first)")
    assert not training_set.skipped
    (note,) = training_set.notes()
    assert note.startswith("predict/reason_first: 1 rows")
    assert "3 without a rationale" in note


def test_prompts_leak_neither_label_nor_rationale(tmp_path):
    (label_row, explanation_row), *_ = [
        s.rows
        for s in build_training_set(
            tmp_path, rationales="from_annotator:teacher", extra_tasks=[EXTRA_TASK]
        ).samples
    ]
    prompts = [
        "".join(getattr(p, "text", "") for t in r.question.request.chat.turns for p in t.parts)
        for r in (label_row, explanation_row)
    ]
    assert not any("positive" in a or "calls" in a for a in prompts)
    assert label_row.target.text == "Sentiment: positive"
    text_before_label = explanation_row.target.text.partition("Sentiment")[0]
    assert "positive" not in text_before_label
    assert text_before_label.startswith("Why: The writer")


@pytest.mark.parametrize(
    ("prompt", "extra_prompt", "message"),
    [
        ("predict/brief_label", "predict/brief_reason", "contains the label"),
        ("predict/brief_label", "predict/brief_overall", "of task 'overall'"),
        ("predict/aspects", "predict/aspects", "of task 'aspects'"),
        ("predict/brief_overall", "predict/overall", "shows"),
    ],
)
def test_invalid_extra_task_is_rejected(tmp_path, prompt, extra_prompt, message):
    if message == "shows":
        extra_prompt = str(tmp_path / "more.jinja")
        front = "about: x\ntask: overall\nslots: [syntax]\n"
        front += "labels: {negative: a, neutral: b, positive: c}"
        body = '---\n{{ turn("user") }}{{ post.text }} {{ syntax }}'
        (tmp_path / "more.jinja").write_text(
            f"---\n{front}\nkeys: {{label: L}}\nmax_new_tokens: 4\n{body}"
        )
    with pytest.raises(UserError, match=message):
        build_training_set(tmp_path, prompt=prompt, extra_tasks=[{"prompt": extra_prompt}])


def test_dev_source_with_extra_tasks_is_rejected():
    extra_tasks = "[{prompt: predict/reason_first}]"
    dev_yaml = f"[{{source: tiny, prompt: predict/brief_label, extra_tasks: {extra_tasks}}}]"
    with pytest.raises(UserError, match="not for dev sources"):
        recipes.load_recipe("tiny_cpu", [f"dev={dev_yaml}"])


def test_teacher_labels_are_weighted_by_confidence(tmp_path):
    training_set = build_training_set(
        tmp_path, labels="teacher", confidence=2.0, extra_tasks=[EXTRA_TASK]
    )
    weights = {s.rows[0].name: [r.weight for r in s.rows] for s in training_set.samples}
    first_weights, last_weights = weights.values()
    assert first_weights == pytest.approx([0.64, 0.64])
    assert last_weights == pytest.approx([0.25])
    skip_reasons = dict(itertools.chain(training_set.skipped)).values()
    assert any("no probability of the label" in r for r in skip_reasons)
    assert opinion_weight(TEACHER_EXAMPLES[0].opinions, 0.0) == 1.0


def test_teacher_probs_are_attached_only_with_soft_loss(tmp_path):
    training_set = build_training_set(
        tmp_path,
        soft_labels="teacher",
        loss={"soft": 1.0},
        rationales="from_annotator:teacher",
        extra_tasks=[EXTRA_TASK],
    )
    assert [s.rows[0].probs for s in training_set.samples] == [
        CONFIDENT_PROBS,
        None,
        None,
        UNCERTAIN_PROBS,
    ]
    assert training_set.samples[0].rows[1].probs is None
    assert training_set.notes(soft_labels=True)[-1] == "loss.soft: 2 of 4 labels have probabilities"
    without_soft_loss = build_training_set(tmp_path, soft_labels="teacher")
    assert all(r.probs is None for s in without_soft_loss.samples for r in s.rows)
