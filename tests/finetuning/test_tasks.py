"""Step by step: a label task and a reason task over one model, in one sequence a post."""

import functools
import itertools

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.errors import UserError
from gen_msa.finetuning import recipe as recipes
from gen_msa.finetuning.branches import alone, joined
from gen_msa.finetuning.loss import Weigher
from gen_msa.finetuning.recipe import Loss
from gen_msa.finetuning.rows import gather, weight_of
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.finetuning.adapted import recipe
from tests.finetuning.lessons import LONG, Lesson, apart, norm

REASON = {
    "prompt": "reader/reason_first",
    "task": 1,
    "learn": frozenset({"explanation", "form"}),
}
ALSO = {"prompt": "reader/reason_first", "learn": ["explanation", "form"]}
POLARITIES = (Polarity.POSITIVE, Polarity.NEGATIVE, Polarity.NEUTRAL, Polarity.POSITIVE)


@functools.cache
def lesson(family, attention="sdpa"):
    return Lesson(family, attention=attention)


def both(one, *, factor=1.0, terms=(0, 1, 2), told=(0, 1), **more):
    """One post's label rows, and reason rows for the aspects that were `told` a reason."""
    rows = []
    for i in terms:
        given = {"polarity": POLARITIES[i], "reason": LONG[: 9 + 13 * i], **more}
        rows.append(one.row(i, prompt="reader/brief_label", **given))
        if i in told:
            rows.append(one.row(i, factor=factor, **REASON, **given))
    return [one.encoder.encode(r) for r in rows]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "llava", "idefics3"])
def test_both_tasks_in_one_sequence_learn_what_separate_sequences_learn(family, attention):
    one = lesson(family, attention)
    rows = both(one, factor=0.5, **({"picture": 2} if one.layout.sees_pictures else {}))
    (line,) = joined(rows)
    assert len(line.rows) == 5
    loss, gradients = one.gradients(one.batch([line]))
    plain_loss, plain = one.gradients(one.batch([alone(r) for r in rows]))
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    assert apart(gradients, plain) <= 1e-4 * norm(plain)
    assert norm(plain) > 0.1
    # The post, its pictures included, is fed once for both tasks.
    marks = one.expander.placeholders
    alike = [sum(t in marks for t in r.ids) for r in rows]
    assert sum(t in marks for t in line.ids) == alike[0]
    assert len(line.ids) < 0.7 * sum(len(r.ids) for r in rows)


@pytest.mark.parametrize("reduction", ["field", "token"])
@pytest.mark.parametrize("factor", [0.0, 0.3, 2.0])
def test_the_loss_is_the_label_tasks_and_lambda_times_the_reason_tasks(factor, reduction):
    one, loss = lesson("llama"), Loss(reduction=reduction)
    rows = both(one, factor=factor)
    labels = [r for r in rows if not r.row.task]
    reasons = [r for r in both(one) if r.row.task]
    joint = one.gradients(one.batch(joined(rows), loss))
    first, second = (one.gradients(one.batch(joined(r), loss)) for r in (labels, reasons))
    assert joint[0] == pytest.approx(first[0] + factor * second[0], rel=1e-5)
    summed = {n: g + factor * second[1][n] for n, g in first[1].items()}
    assert apart(joint[1], summed) <= 1e-4 * norm(first[1])
    assert second[0] > 0.1


def test_a_field_that_a_task_does_not_learn_weighs_nothing():
    one = lesson("llama")
    row = one.encoder.encode(one.row(1, **REASON))
    weigher = Weigher.of(Loss(), ())
    weights = weigher.weights(row, weigher.totals([row]))
    found = {
        f: sum(w for w, g in zip(weights, row.fields, strict=True) if f == g) for f in row.fields
    }
    assert found["label"] == 0
    assert found["explanation"] == pytest.approx(1)
    assert found["form"] == pytest.approx(0.2)


def test_balanced_classes_are_counted_over_the_first_task_alone():
    one = lesson("llama")
    with_reasons = [r.row for r in both(one, told=(0,))]
    labels = [r for r in with_reasons if not r.task]
    balanced = Loss(class_weights="balanced")
    assert len(with_reasons) == 4
    assert Weigher.of(balanced, with_reasons).classes == Weigher.of(balanced, labels).classes


def file(tmp_path, *examples):
    path = tmp_path / "teacher.jsonl"
    path.write_text("".join(e.model_dump_json() + "\n" for e in examples), "utf-8")
    return str(path)


def taught(number, *said):
    """One post about a screen with its gold label and a teacher's (polarity, reason, probs)."""
    text = f"The screen of my phone is great, number {number}"
    aspect = Aspect(term="screen", start=4)
    opinions = [Opinion(by="gold", aspect=aspect, polarity=Polarity.POSITIVE)]
    for polarity, reason, probs in said:
        made = {"polarity": polarity, "explanation": reason, "probs": probs}
        opinions.append(Opinion(by="teacher", aspect=aspect, **made))
    return Example(post=Post(id=str(number), text=text, aspects=(aspect,)), opinions=opinions)


SURE = {Polarity.POSITIVE: 0.8, Polarity.NEUTRAL: 0.2, Polarity.NEGATIVE: 0.0}
UNSURE = {Polarity.POSITIVE: 0.5, Polarity.NEUTRAL: 0.25, Polarity.NEGATIVE: 0.25}
FOUR = (
    taught(1, (Polarity.POSITIVE, "The writer calls the screen great.", SURE)),
    taught(2, (Polarity.NEGATIVE, "The screen is blamed.", None)),
    taught(3),
    taught(4, (Polarity.POSITIVE, None, UNSURE)),
)


def gathered(tmp_path, loss=None, **data):
    given = {"source": file(tmp_path, *FOUR), "prompt": "reader/brief_label", **data}
    said = recipe().model_dump() | {"data": [given], "reading": {"cues": {}}, "loss": loss or {}}
    return gather(recipes.Recipe.model_validate(said), sees_pictures=False)


def test_a_reason_is_learned_where_the_teacher_says_the_same_label_and_counts_are_told(tmp_path):
    found = gathered(tmp_path, reasons="by:teacher", also=[ALSO])
    rows = [[r.task for r in s.rows] for s in found.samples]
    assert rows == [[0, 1], [0], [0], [0]]
    reason = found.samples[0].rows[1]
    assert "calls the screen great" in reason.target.text
    assert reason.name.endswith("/screen (reader/reason_first)")
    assert not found.refused
    (note,) = found.notes()
    assert note.startswith("reader/reason_first: 1 rows")
    assert "3 without a reason" in note


def test_neither_question_holds_the_label_and_only_one_answer_holds_the_reason(tmp_path):
    (label, reason), *_ = [
        s.rows for s in gathered(tmp_path, reasons="by:teacher", also=[ALSO]).samples
    ]
    asked = [
        "".join(getattr(p, "text", "") for t in r.question.request.chat.turns for p in t.parts)
        for r in (label, reason)
    ]
    assert not any("positive" in a or "calls" in a for a in asked)
    assert label.target.text == "Sentiment: positive"
    before = reason.target.text.partition("Sentiment")[0]
    assert "positive" not in before
    assert before.startswith("Why: The writer")


@pytest.mark.parametrize(
    ("prompt", "also", "why"),
    [
        ("reader/brief_label", "reader/brief_reason", "is given the label"),
        ("reader/brief_label", "reader/brief_overall", "of task 'overall'"),
        ("reader/aspects", "reader/aspects", "of task 'aspects'"),
        ("reader/brief_overall", "reader/overall", "shows"),
    ],
)
def test_a_further_task_that_tells_the_label_or_shows_more_is_refused(tmp_path, prompt, also, why):
    if why == "shows":
        also = str(tmp_path / "more.jinja")
        front = "about: x\ntask: overall\nslots: [syntax]\n"
        front += "labels: {negative: a, neutral: b, positive: c}"
        body = '---\n{{ turn("user") }}{{ post.text }} {{ syntax }}'
        (tmp_path / "more.jinja").write_text(
            f"---\n{front}\nkeys: {{label: L}}\nmax_new_tokens: 4\n{body}"
        )
    with pytest.raises(UserError, match=why):
        gathered(tmp_path, prompt=prompt, also=[{"prompt": also}])


def test_a_dev_source_is_read_by_its_prompt_alone():
    one = "[{source: tiny, prompt: reader/brief_label, also: [{prompt: reader/reason_first}]}]"
    with pytest.raises(UserError, match="read by its prompt alone"):
        recipes.load("tiny_cpu", [f"dev={one}"])


def test_a_teachers_own_labels_weigh_by_its_confidence(tmp_path):
    found = gathered(tmp_path, labels="teacher", confidence=2.0, also=[ALSO])
    weights = {s.rows[0].name: [r.weight for r in s.rows] for s in found.samples}
    first, last = weights.values()
    assert first == pytest.approx([0.64, 0.64])
    assert last == pytest.approx([0.25])
    reasons = dict(itertools.chain(found.refused)).values()
    assert any("no probability of the label" in r for r in reasons)
    assert weight_of(FOUR[0].opinions, 0.0) == 1.0


def test_probabilities_of_a_teacher_go_beside_the_gold_label_only_where_they_are_learned(tmp_path):
    found = gathered(
        tmp_path, soft="teacher", loss={"soft": 1.0}, reasons="by:teacher", also=[ALSO]
    )
    assert [s.rows[0].probs for s in found.samples] == [SURE, None, None, UNSURE]
    assert found.samples[0].rows[1].probs is None
    assert found.notes(softly=True)[-1] == "loss.soft: 2 of 4 labels have probabilities"
    off = gathered(tmp_path, soft="teacher")
    assert all(r.probs is None for s in off.samples for r in s.rows)
