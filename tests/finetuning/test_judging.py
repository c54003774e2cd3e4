"""Judging: generated and parsed by the house's own reader; the training is not disturbed."""

import json
import random

import numpy
import pytest
import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.echo import Echo
from gen_msa.chat import Completion
from gen_msa.errors import UserError
from gen_msa.finetuning.devs import dev_posts
from gen_msa.finetuning.judging import judge, judge_model, undisturbed
from gen_msa.finetuning.recipe import Data, Recipe
from gen_msa.readers import ReaderSettings
from gen_msa.types import WHOLE_POST, Aspect, Example, Media, Opinion, Polarity, Post
from tests.fixtures.posts import write_picture
from tests.fixtures.tiny_models import tiny_model

NEG, NEU, POS = Polarity
READING = ReaderSettings(bad_picture="text-only", cues={}, reask_prompt="")


def example(i, labels, **changes):
    """A post with a soup and a waiter."""
    post = Post(
        id=f"p{i}",
        text=f"The soup was cold but the waiter kind #{i}",
        aspects=(Aspect(term="soup", start=4), Aspect(term="waiter", start=26)),
    )
    post = post.model_copy(update=changes)
    said = (
        Opinion(by="gold", aspect=a, polarity=p) for a, p in zip(post.aspects, labels, strict=True)
    )
    return Example(post=post, opinions=tuple(o for o in said if o.polarity))


def whole(i, label):
    post = Post(id=f"w{i}", text=f"What a day #{i}")
    return Example(post=post, opinions=(Opinion(by="gold", aspect=WHOLE_POST, polarity=label),))


def devs_of(tmp_path, examples, name="dev", **changes):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(e.model_dump_json() + "\n" for e in examples))
    data = {"source": str(path), **{k: v for k, v in changes.items() if k in Data.model_fields}}
    rest = {k: v for k, v in changes.items() if k not in Data.model_fields}
    told = {"model_name_or_path": "x", "output_dir": "y", "reading": READING, **rest}
    return dev_posts(Recipe(**told, data=(Data(source="tiny:all"),), dev=(Data(**data),)))


def echo(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Echo("", BackendOptions(script=str(path)))


def about(aspect, text, **more):
    return {"regex": f'"{aspect}"[^"]*$', "text": text, **more}


def answer(label, reason):
    return f"Sentiment: {label}\nExplanation: {reason}"


def test_labels_and_reasons_are_judged_as_they_were_generated(tmp_path):
    (dev,) = devs = devs_of(tmp_path, [example(1, [NEG, POS]), example(2, [NEG, NEU])])
    backend = echo(
        tmp_path,
        about("soup", answer("negative", 'The soup is bad: "was cold" and "stale".')),
        about("waiter", answer("positive", 'He was "kind".')),
    )
    found = judge(backend, devs, seed=4, step=7)
    (source,) = found.sources
    assert (source.scores.n, source.scores.accuracy, source.scores.read_rate) == (4, 0.75, 1.0)
    assert source.scores.confusion[NEU][POS] == 1
    e = source.explained
    assert (e.n, e.read, e.of_aspect, e.named) == (4, 4, 4, 2)
    assert (e.quoting, e.quotes, e.verbatim) == (4, 6, 4)
    assert source.prompt == dev.prompt.identity
    assert (found.seed, found.step, len(source.data_sha256)) == (4, 7, 64)
    assert found.score == source.scores.macro_f1


def test_what_cannot_be_read_is_wrong_and_stays_in_the_count(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, POS])])
    backend = echo(
        tmp_path, about("soup", "who can say"), about("waiter", answer("positive", "It is kind."))
    )
    (source,) = judge(backend, devs).sources
    assert (source.scores.n, source.scores.read, source.scores.right) == (2, 1, 1)
    assert source.explained.read_rate == 0.5


def test_a_reason_cut_at_the_limit_is_not_read_whole(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, None])])
    cut = about("soup", answer("negative", "The soup is"), finish_reason="length", form="slot")
    ok = about("waiter", answer("positive", "The waiter is kind."))
    (source,) = judge(echo(tmp_path, cut, ok), devs).sources
    assert (source.scores.right, source.explained.n, source.explained.read) == (1, 1, 0)


def test_a_post_refused_for_its_picture_counts_as_wrong(tmp_path):
    write_picture(tmp_path / "good.png")
    pictures = ["good.png", "missing.png"]
    media = [(Media(kind="image", path=p),) for p in pictures]
    rows = [example(i, [NEG, POS], media=m) for i, m in enumerate(media)]
    reading = READING.model_copy(update={"bad_picture": "drop"})
    devs = devs_of(tmp_path, rows, reading=reading)
    (source,) = judge(echo(tmp_path, {"text": answer("negative", "So.")}), devs).sources
    assert (source.refused, source.scores.n, source.scores.read) == (1, 4, 2)


def test_whole_posts_are_asked_about_as_a_whole(tmp_path):
    devs = devs_of(tmp_path, [whole(1, POS), whole(2, NEG)], prompt="reader/overall")
    backend = echo(tmp_path, {"text": answer("positive", 'It says "What a day".')})
    (source,) = judge(backend, devs).sources
    assert (source.scores.n, source.scores.right) == (2, 1)
    assert (source.explained.of_aspect, source.explained.named_rate) == (0, None)
    assert source.explained.verbatim_rate == 1.0


def test_a_prompt_for_the_label_alone_is_judged_without_reasons(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, POS])], prompt="reader/label")
    (source,) = judge(echo(tmp_path, {"text": "Sentiment: negative"}), devs).sources
    assert (source.scores.right, source.explained) == (1, None)


def test_aspects_that_had_to_be_found_are_judged_by_their_joint_f1(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, POS])], prompt="reader/aspects")
    said = [("soup", "negative"), ("waiter", "neutral"), ("spoon", "positive")]
    rows = [{"aspect": a, "sentiment": p, "explanation": "So."} for a, p in said]
    found = judge(echo(tmp_path, {"text": json.dumps({"aspects": rows})}), devs)
    (source,) = found.sources
    assert source.scores.accuracy == 0.5
    assert found.score == source.joint_f1 == pytest.approx(2 * 1 / (3 + 2))


def test_an_answer_without_any_aspect_finds_none(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, POS])], prompt="reader/aspects")
    (source,) = judge(echo(tmp_path, {"text": '{"aspects": []}'}), devs).sources
    assert (source.scores.n, source.scores.read, source.joint_f1) == (2, 0, 0.0)


def test_the_limit_picks_the_same_posts_every_time(tmp_path):
    rows = [example(i, [NEG, POS]) for i in range(30)]
    picked = [devs_of(tmp_path, rows, dev_limit=5) for _ in range(2)]
    ids = [[e.post.id for e in dev.examples] for (dev,) in picked]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 5
    assert picked[0][0].sha256 == picked[1][0].sha256
    (other,) = devs_of(tmp_path, rows, dev_limit=5, seed=1)
    assert [e.post.id for e in other.examples] != ids[0]
    (both,) = devs_of(tmp_path, rows, dev_limit=5, limit=3)
    assert len(both.examples) == 3


def test_the_data_hash_changes_with_a_label(tmp_path):
    (one,) = devs_of(tmp_path, [example(1, [NEG, POS])])
    (other,) = devs_of(tmp_path, [example(1, [NEG, NEU])])
    assert one.sha256 != other.sha256


def test_twenty_samples_from_all_over_stand_beside_gold(tmp_path):
    devs = devs_of(tmp_path, [example(i, [NEG, POS]) for i in range(25)])
    samples = judge(echo(tmp_path, {"text": answer("negative", "So.")}), devs).samples
    assert len(samples) == 20
    assert len({s.post for s in samples}) > 15
    assert {(s.aspect, s.gold, s.said) for s in samples} == {
        ("soup", NEG, NEG),
        ("waiter", POS, NEG),
    }
    assert (
        len(
            judge(
                echo(tmp_path, {"text": "x"}),
                devs_of(tmp_path, [whole(1, POS)], prompt="reader/overall"),
            ).samples
        )
        == 1
    )


def test_figures_hold_no_word_of_a_post(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, POS])])
    told = json.dumps(judge(echo(tmp_path, {"text": answer("negative", "So.")}), devs).as_json())
    assert "waiter" not in told


def test_sources_weigh_the_same(tmp_path):
    one = devs_of(tmp_path, [example(i, [NEG, NEG]) for i in range(9)], "one")
    other = devs_of(tmp_path, [whole(1, POS)], "other", prompt="reader/overall")
    found = judge(echo(tmp_path, {"text": answer("negative", "So.")}), (*one, *other))
    assert found.score == pytest.approx((1 / 3 + 0) / 2)
    assert set(found.flat()) >= {"dev/score", f"dev/{other[0].data.source}/accuracy"}


def test_progress_counts_the_posts(tmp_path):
    devs = devs_of(tmp_path, [example(i, [NEG, POS]) for i in range(70)])
    seen = []
    judge(echo(tmp_path, {"text": "x"}), devs, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(64, 70), (70, 70)]


class Broken(Echo):
    """A backend that fails for every request."""

    def complete(self, requests):
        return [Completion(text="", finish_reason="error", error="no memory") for _ in requests]


def test_a_model_that_cannot_be_asked_at_all_is_an_error(tmp_path):
    devs = devs_of(tmp_path, [example(1, [NEG, POS])])
    with pytest.raises(UserError, match=r"none of the dev posts .* no memory"):
        judge(Broken("", BackendOptions()), devs)


def test_a_test_split_is_refused_even_past_the_recipe(tmp_path):
    data = Data.model_construct(**Data(source="mams:dev").model_dump() | {"source": "mams:test"})
    recipe = Recipe(model_name_or_path="x", output_dir="y", data=(Data(source="tiny:all"),))
    with pytest.raises(UserError, match="never read while tuning"):
        dev_posts(recipe.model_copy(update={"dev": (data,)}))


def test_a_prompt_that_gives_the_label_away_cannot_be_judged(tmp_path):
    with pytest.raises(UserError, match="is given the label"):
        devs_of(tmp_path, [example(1, [NEG, POS])], prompt="reader/explain")


def test_posts_without_a_fitting_label_are_named_at_the_start(tmp_path):
    with pytest.raises(UserError, match="no label by gold") as e:
        devs_of(tmp_path, [whole(1, POS)])
    assert "reader/overall" in e.value.mend


def trained_on(model, ids):
    """A step's loss and gradients."""
    model.zero_grad(set_to_none=True)
    out = model(input_ids=ids, labels=ids)
    out.loss.backward()
    return float(out.loss.detach()), [
        p.grad.clone() for p in model.parameters() if p.grad is not None
    ]


def fresh(family):
    """A model of its own, not the shared read-only one."""
    import copy

    return copy.deepcopy(tiny_model(family))


@pytest.mark.parametrize("family", ["llama", "idefics3", "qwen2_5_vl"])
def test_a_training_step_is_the_same_with_and_without_a_judgement_before_it(family, tmp_path):
    write_picture(tmp_path / "a.png", size=(28, 28))
    media = (Media(kind="image", path="a.png"),)
    rows = [example(i, [NEG, POS], media=media) for i in range(2)]
    devs = devs_of(tmp_path, rows, reading=READING.model_copy(update={"max_new_tokens": 4}))
    results = []
    for judged in (False, True):
        model, processor = fresh(family)
        model.train()
        next(model.children()).eval()  # a part that was frozen in evaluation mode
        modes = [m.training for m in model.modules()]
        torch.manual_seed(5), random.seed(5), numpy.random.seed(5)
        if judged:
            found = judge_model(model, processor, devs, step=3)
            assert found.revision == "step-3"
            assert found.sources[0].scores.n == 4
        assert [m.training for m in model.modules()] == modes
        drawn = (torch.rand(1).item(), random.random(), numpy.random.rand())
        results.append((drawn, trained_on(model, torch.tensor([[5, 6, 7, 8]]))))
    (drawn, (loss, grads)), (drawn_again, (loss_again, grads_again)) = results
    assert drawn == drawn_again
    assert loss == loss_again
    assert all(torch.equal(a, b) for a, b in zip(grads, grads_again, strict=True))


def test_a_lora_model_is_judged_with_its_adapter(tmp_path):
    from peft import LoraConfig, get_peft_model

    devs = devs_of(tmp_path, [example(i, [NEG, POS]) for i in range(4)], prompt="reader/label")
    tiny = fresh("llama")
    before = judge_model(tiny.model, tiny.processor, devs)
    model = get_peft_model(tiny.model, LoraConfig(target_modules=["q_proj", "v_proj", "down_proj"]))
    probs = judge_model(model, tiny.processor, devs)
    assert [s.said for s in probs.samples] == [s.said for s in before.samples]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=2.0)
    after = judge_model(model, tiny.processor, devs)
    assert [s.raw for s in after.samples] != [s.raw for s in before.samples]


def _fail_within(model):
    with undisturbed(model):
        model.eval()
        torch.rand(9), random.random(), numpy.random.rand()
        raise RuntimeError("boom")


def test_states_are_restored_when_judging_fails():
    model = fresh("llama").model
    model.train()
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    expected = torch.rand(1).item(), random.random(), numpy.random.rand()
    torch.manual_seed(1), random.seed(1), numpy.random.seed(1)
    with pytest.raises(RuntimeError, match="boom"):
        _fail_within(model)
    assert (torch.rand(1).item(), random.random(), numpy.random.rand()) == expected
    assert all(m.training for m in model.modules())
