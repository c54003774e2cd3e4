"""Validation generates and parses answers as inference does, and does not disturb training."""

import json
import random

import numpy
import pytest
import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.echo import EchoBackend
from gen_msa.chat import Completion
from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.finetuning.validation import (
    load_dev_sets,
    preserve_rng_and_mode,
    validate,
    validate_model,
)
from gen_msa.predictors import PredictorSettings
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Media, Opinion, Polarity, Post
from tests.fixtures.posts import write_image
from tests.fixtures.tiny_models import tiny_model

NEG, NEU, POS = Polarity
INFERENCE = PredictorSettings(bad_image="text-only", cues={}, reask_prompt="")


def example(i, labels, **changes):
    """A post with a soup and a waiter."""
    post = Post(
        id=f"p{i}",
        text=f"The soup was cold but the waiter kind #{i}",
        aspects=(Aspect(term="soup", start=4), Aspect(term="waiter", start=26)),
    )
    post = post.model_copy(update=changes)
    opinions = (
        Opinion(annotator="gold", aspect=a, polarity=p)
        for a, p in zip(post.aspects, labels, strict=True)
    )
    return Example(post=post, opinions=tuple(o for o in opinions if o.polarity))


def overall_example(i, label):
    post = Post(id=f"w{i}", text=f"What a day #{i}")
    return Example(
        post=post, opinions=(Opinion(annotator="gold", aspect=OVERALL_ASPECT, polarity=label),)
    )


def make_dev_sets(tmp_path, examples, name="dev", **changes):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(e.model_dump_json() + "\n" for e in examples))
    source_fields = {
        "source": str(path),
        **{k: v for k, v in changes.items() if k in FinetuneData.model_fields},
    }
    recipe_fields = {k: v for k, v in changes.items() if k not in FinetuneData.model_fields}
    fields = {"model_name_or_path": "x", "output_dir": "y", "inference": INFERENCE, **recipe_fields}
    return load_dev_sets(
        FinetuneRecipe(
            **fields, data=(FinetuneData(source="tiny:all"),), dev=(FinetuneData(**source_fields),)
        )
    )


def echo_backend(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return EchoBackend("", BackendOptions(script=str(path)))


def scripted_answer(aspect, text, **overrides):
    return {"regex": f'"{aspect}"[^"]*$', "text": text, **overrides}


def answer_text(label, explanation):
    return f"Sentiment: {label}\nExplanation: {explanation}"


def test_generated_labels_and_explanations_are_scored(tmp_path):
    (dev_set,) = dev_sets = make_dev_sets(
        tmp_path, [example(1, [NEG, POS]), example(2, [NEG, NEU])]
    )
    backend = echo_backend(
        tmp_path,
        scripted_answer(
            "soup", answer_text("negative", 'The soup is bad: "was cold" and "stale".')
        ),
        scripted_answer("waiter", answer_text("positive", 'He was "kind".')),
    )
    result = validate(backend, dev_sets, seed=4, step=7)
    (source,) = result.sources
    assert (source.scores.n, source.scores.accuracy, source.scores.read_rate) == (4, 0.75, 1.0)
    assert source.scores.confusion[NEU][POS] == 1
    explanations = source.explanations
    assert (
        explanations.n,
        explanations.read,
        explanations.of_aspect,
        explanations.naming_aspect,
    ) == (4, 4, 4, 2)
    assert (explanations.with_quotes, explanations.quotes, explanations.verbatim_quotes) == (
        4,
        6,
        4,
    )
    assert source.prompt == dev_set.prompt.identity
    assert (result.seed, result.step, len(source.data_sha256)) == (4, 7, 64)
    assert result.score == source.scores.macro_f1


def test_unparsed_answer_counts_as_wrong(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])])
    backend = echo_backend(
        tmp_path,
        scripted_answer("soup", "who can say"),
        scripted_answer("waiter", answer_text("positive", "It is kind.")),
    )
    (source,) = validate(backend, dev_sets).sources
    assert (source.scores.n, source.scores.n_read, source.scores.n_correct) == (2, 1, 1)
    assert source.explanations.read_rate == 0.5


def test_truncated_explanation_is_not_counted_as_read(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, None])])
    truncated = scripted_answer(
        "soup", answer_text("negative", "The soup is"), finish_reason="length", form="slot"
    )
    complete = scripted_answer("waiter", answer_text("positive", "The waiter is kind."))
    (source,) = validate(echo_backend(tmp_path, truncated, complete), dev_sets).sources
    assert (source.scores.n_correct, source.explanations.n, source.explanations.read) == (1, 1, 0)


def test_post_rejected_for_its_image_counts_as_wrong(tmp_path):
    write_image(tmp_path / "good.png")
    image_names = ["good.png", "missing.png"]
    media = [(Media(kind="image", path=p),) for p in image_names]
    rows = [example(i, [NEG, POS], media=m) for i, m in enumerate(media)]
    inference = INFERENCE.model_copy(update={"bad_image": "drop"})
    dev_sets = make_dev_sets(tmp_path, rows, inference=inference)
    (source,) = validate(
        echo_backend(tmp_path, {"text": answer_text("negative", "So.")}), dev_sets
    ).sources
    assert (source.refused_posts, source.scores.n, source.scores.n_read) == (1, 4, 2)


def test_overall_opinions_are_validated(tmp_path):
    dev_sets = make_dev_sets(
        tmp_path, [overall_example(1, POS), overall_example(2, NEG)], prompt="predict/overall"
    )
    backend = echo_backend(tmp_path, {"text": answer_text("positive", 'It says "What a day".')})
    (source,) = validate(backend, dev_sets).sources
    assert (source.scores.n, source.scores.n_correct) == (2, 1)
    assert (source.explanations.of_aspect, source.explanations.named_rate) == (0, None)
    assert source.explanations.verbatim_rate == 1.0


def test_label_prompt_has_no_explanation_scores(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])], prompt="predict/label")
    (source,) = validate(echo_backend(tmp_path, {"text": "Sentiment: negative"}), dev_sets).sources
    assert (source.scores.n_correct, source.explanations) == (1, None)


def test_predicted_aspects_are_scored_by_joint_f1(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])], prompt="predict/aspects")
    predicted = [("soup", "negative"), ("waiter", "neutral"), ("spoon", "positive")]
    rows = [{"aspect": a, "sentiment": p, "explanation": "So."} for a, p in predicted]
    result = validate(echo_backend(tmp_path, {"text": json.dumps({"aspects": rows})}), dev_sets)
    (source,) = result.sources
    assert source.scores.accuracy == 0.5
    assert result.score == source.joint_f1 == pytest.approx(2 * 1 / (3 + 2))


def test_contradictory_aspects_follow_the_set_definition(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])], prompt="predict/aspects")
    predicted = [("soup", "negative"), ("soup", "positive"), ("waiter", "positive")]
    rows = [{"aspect": a, "sentiment": p, "explanation": "So."} for a, p in predicted]
    result = validate(echo_backend(tmp_path, {"text": json.dumps({"aspects": rows})}), dev_sets)
    (source,) = result.sources
    # Of the elements (soup, -), (soup, +) and (waiter, +), two are among the two of gold.
    assert source.joint_f1 == pytest.approx(2 * 2 / (3 + 2))
    # As a label of the soup, the contradiction is no answer.
    assert (source.scores.n, source.scores.n_read, source.scores.n_correct) == (2, 1, 1)


def test_answer_without_aspects_scores_zero(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])], prompt="predict/aspects")
    (source,) = validate(echo_backend(tmp_path, {"text": '{"aspects": []}'}), dev_sets).sources
    assert (source.scores.n, source.scores.n_read, source.joint_f1) == (2, 0, 0.0)


def test_limit_selects_the_same_posts_per_seed(tmp_path):
    rows = [example(i, [NEG, POS]) for i in range(30)]
    dev_set_pairs = [make_dev_sets(tmp_path, rows, dev_limit=5) for _ in range(2)]
    ids = [[e.post.id for e in dev_set.examples] for (dev_set,) in dev_set_pairs]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 5
    assert dev_set_pairs[0][0].sha256 == dev_set_pairs[1][0].sha256
    (other_seed,) = make_dev_sets(tmp_path, rows, dev_limit=5, seed=1)
    assert [e.post.id for e in other_seed.examples] != ids[0]
    (both_limits,) = make_dev_sets(tmp_path, rows, dev_limit=5, limit=3)
    assert len(both_limits.examples) == 3


def test_data_sha256_depends_on_labels(tmp_path):
    (dev_set,) = make_dev_sets(tmp_path, [example(1, [NEG, POS])])
    (relabelled,) = make_dev_sets(tmp_path, [example(1, [NEG, NEU])])
    assert dev_set.sha256 != relabelled.sha256


def test_samples_are_spread_and_paired_with_gold(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(i, [NEG, POS]) for i in range(25)])
    samples = validate(
        echo_backend(tmp_path, {"text": answer_text("negative", "So.")}), dev_sets
    ).samples
    assert len(samples) == 20
    assert len({s.post for s in samples}) > 15
    assert {(s.aspect, s.gold, s.predicted) for s in samples} == {
        ("soup", NEG, NEG),
        ("waiter", POS, NEG),
    }
    assert (
        len(
            validate(
                echo_backend(tmp_path, {"text": "x"}),
                make_dev_sets(tmp_path, [overall_example(1, POS)], prompt="predict/overall"),
            ).samples
        )
        == 1
    )


def test_metrics_contain_no_post_text(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])])
    metrics_text = json.dumps(
        validate(
            echo_backend(tmp_path, {"text": answer_text("negative", "So.")}), dev_sets
        ).as_json()
    )
    assert "waiter" not in metrics_text


def test_sources_have_equal_weight(tmp_path):
    aspect_dev_sets = make_dev_sets(tmp_path, [example(i, [NEG, NEG]) for i in range(9)], "one")
    overall_dev_sets = make_dev_sets(
        tmp_path, [overall_example(1, POS)], "other", prompt="predict/overall"
    )
    result = validate(
        echo_backend(tmp_path, {"text": answer_text("negative", "So.")}),
        (*aspect_dev_sets, *overall_dev_sets),
    )
    assert result.score == pytest.approx((1 / 3 + 0) / 2)
    assert set(result.tracker_metrics()) >= {
        "dev/score",
        f"dev/{overall_dev_sets[0].data.source}/accuracy",
    }


def test_progress_counts_posts(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(i, [NEG, POS]) for i in range(70)])
    progress_calls = []
    validate(
        echo_backend(tmp_path, {"text": "x"}),
        dev_sets,
        progress=lambda done, of: progress_calls.append((done, of)),
    )
    assert progress_calls == [(64, 70), (70, 70)]


class FailingBackend(EchoBackend):
    """A backend that fails for every request."""

    def complete(self, requests):
        return [Completion(text="", finish_reason="error", error="no memory") for _ in requests]


def test_backend_that_always_fails_is_an_error(tmp_path):
    dev_sets = make_dev_sets(tmp_path, [example(1, [NEG, POS])])
    with pytest.raises(UserError, match=r"none of the dev posts .* no memory"):
        validate(FailingBackend("", BackendOptions()), dev_sets)


def test_test_split_is_rejected_by_load_dev_sets(tmp_path):
    data = FinetuneData.model_construct(
        **FinetuneData(source="mams:dev").model_dump() | {"source": "mams:test"}
    )
    recipe = FinetuneRecipe(
        model_name_or_path="x", output_dir="y", data=(FinetuneData(source="tiny:all"),)
    )
    with pytest.raises(UserError, match="never read while tuning"):
        load_dev_sets(recipe.model_copy(update={"dev": (data,)}))


def test_prompt_that_takes_the_label_is_rejected(tmp_path):
    with pytest.raises(UserError, match="contains the label"):
        make_dev_sets(tmp_path, [example(1, [NEG, POS])], prompt="predict/explain")


def test_posts_without_matching_gold_label_are_reported(tmp_path):
    with pytest.raises(UserError, match="no label by gold") as error:
        make_dev_sets(tmp_path, [overall_example(1, POS)])
    assert "predict/overall" in error.value.hint


def train_step_result(model, ids):
    """A step's loss and gradients."""
    model.zero_grad(set_to_none=True)
    output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    return float(output.loss.detach()), [
        p.grad.clone() for p in model.parameters() if p.grad is not None
    ]


def copy_tiny_model(family):
    """A model of its own, not the shared read-only one."""
    import copy

    return copy.deepcopy(tiny_model(family))


@pytest.mark.parametrize("family", ["llama", "idefics3", "qwen2_5_vl"])
def test_validation_does_not_change_the_next_train_step(family, tmp_path):
    write_image(tmp_path / "a.png", size=(28, 28))
    media = (Media(kind="image", path="a.png"),)
    rows = [example(i, [NEG, POS], media=media) for i in range(2)]
    dev_sets = make_dev_sets(
        tmp_path, rows, inference=INFERENCE.model_copy(update={"max_new_tokens": 4})
    )
    results = []
    for with_validation in (False, True):
        model, processor = copy_tiny_model(family)
        model.train()
        next(model.children()).eval()  # a part that was frozen in evaluation mode
        modes = [m.training for m in model.modules()]
        torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
        if with_validation:
            result = validate_model(model, processor, dev_sets, step=3)
            assert result.revision == "step-3"
            assert result.sources[0].scores.n == 4
        assert [m.training for m in model.modules()] == modes
        random_values = (torch.rand(1).item(), random.random(), numpy.random.rand())
        results.append((random_values, train_step_result(model, torch.tensor([[5, 6, 7, 8]]))))
    (random_values, (loss, grads)), (random_values_after, (loss_again, grads_again)) = results
    assert random_values == random_values_after
    assert loss == loss_again
    assert all(torch.equal(a, b) for a, b in zip(grads, grads_again, strict=True))


def test_lora_model_is_validated_with_its_adapter(tmp_path):
    from peft import LoraConfig, get_peft_model

    dev_sets = make_dev_sets(
        tmp_path, [example(i, [NEG, POS]) for i in range(4)], prompt="predict/label"
    )
    tiny = copy_tiny_model("llama")
    before = validate_model(tiny.model, tiny.processor, dev_sets)
    model = get_peft_model(tiny.model, LoraConfig(target_modules=["q_proj", "v_proj", "down_proj"]))
    untrained = validate_model(model, tiny.processor, dev_sets)
    assert [s.predicted for s in untrained.samples] == [s.predicted for s in before.samples]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=2.0)
    after = validate_model(model, tiny.processor, dev_sets)
    assert [s.raw for s in after.samples] != [s.raw for s in before.samples]


def _fail_while_preserving(model):
    with preserve_rng_and_mode(model):
        model.eval()
        torch.rand(9), random.random(), numpy.random.rand()
        raise RuntimeError("boom")


def test_rng_and_mode_are_restored_when_validation_fails():
    model = copy_tiny_model("llama").model
    model.train()
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    expected = torch.rand(1).item(), random.random(), numpy.random.rand()
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    with pytest.raises(RuntimeError, match="boom"):
        _fail_while_preserving(model)
    assert (torch.rand(1).item(), random.random(), numpy.random.rand()) == expected
    assert all(m.training for m in model.modules())
