"""MMSLF by its two recipes: contexts reach the teacher alone; dev contexts contain no label."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import save_file  # noqa: E402

from gen_msa.data import open_examples  # noqa: E402
from gen_msa.distillation import recipe  # noqa: E402
from gen_msa.distillation.dataset import RequiredInputs, build_dataset  # noqa: E402
from gen_msa.distillation.loop import distill  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models.inference.serialization import load_student  # noqa: E402
from gen_msa.predictors import PredictorSettings, make  # noqa: E402
from gen_msa.types import Example, Media, Opinion  # noqa: E402
from tests.fixtures.synthetic_frames import MODEL_CONFIG  # noqa: E402
from tests.fixtures.tiny_students import example, write_examples, write_tokenizer  # noqa: E402

MEDIA = ("audio", "video")


def example_with_features(i):
    labelled_example = example(i)
    path = "features.safetensors"
    media = tuple(
        Media(kind="features", path=path, key=f"{m}/{labelled_example.post.id}") for m in MEDIA
    )
    return labelled_example.model_copy(
        update={"post": labelled_example.post.model_copy(update={"media": media})}
    )


def context_example(example_, context):
    opinions = (
        Opinion(annotator="mllm", aspect=a, explanation=context) for a in example_.post.aspects
    )
    return Example(post=example_.post, opinions=tuple(opinions))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Files as the recipes name them, in the current folder."""
    monkeypatch.chdir(tmp_path)
    examples = [example_with_features(i) for i in range(24)]
    rng = torch.Generator().manual_seed(0)
    tensors = {m.key: torch.randn(3, 4, generator=rng) for e in examples for m in e.post.media}
    save_file(tensors, tmp_path / "features.safetensors")
    (tmp_path / "contexts").mkdir()
    for name, split_examples in (("train", examples[:18]), ("dev", examples[18:])):
        write_examples(tmp_path / f"{name}.jsonl", split_examples)
        context_examples = [
            context_example(e, "They smile and raise their voice.") for e in split_examples
        ]
        write_examples(tmp_path / "contexts" / f"mosi_{name}.jsonl", context_examples)
    return tmp_path


def tiny_recipe(name, **overrides):
    loaded = recipe.load_recipe(name)
    config = {**loaded.config, **MODEL_CONFIG, "steps": 96, "attn_target": "conditional"}
    if name == "mmslf":
        del config["attn_target"]
    tiny_settings = {
        "config": config,
        "pretrained": False,
        "num_train_epochs": 1,
        "data": (recipe.DistillData(source="train.jsonl"),),
        "dev": (recipe.DistillData(source="dev.jsonl"),),
    }
    return loaded.model_copy(update={**tiny_settings, **overrides})


def test_teacher_then_student_recipe_leaves_the_teacher_unchanged(corpus):
    tokenizer = write_tokenizer(corpus)
    teacher = distill(tiny_recipe("mmslf_teacher"), tokenizer=tokenizer)
    before = {p.name: p.read_bytes() for p in teacher.iterdir()}
    student = distill(tiny_recipe("mmslf"), tokenizer=tokenizer)
    assert {p.name: p.read_bytes() for p in teacher.iterdir()} == before
    feature_weights = recipe.load_recipe("mmslf").losses.feature_l1
    assert set(feature_weights) == {"fused", "attention.audio"}
    loaded = load_student(student)
    assert loaded.config.cues == {}
    assert "context" not in loaded.collator.widths
    untaught = distill(
        tiny_recipe("mmslf", teacher="", losses=recipe.DistillLossConfig(), output_dir="alone"),
        tokenizer=tokenizer,
    )
    weights = [(f / "model.safetensors").read_bytes() for f in (student, untaught)]
    assert weights[0] != weights[1]


def test_dev_contexts_with_labels_are_rejected(corpus):
    teacher_recipe = tiny_recipe("mmslf_teacher")
    required_inputs = RequiredInputs(("text", "audio", "video", "context"), teacher_recipe.cues)

    assert all(
        r.context
        for r in build_dataset(teacher_recipe.dev[0], teacher_recipe, required_inputs).rows
    )
    path = corpus / "contexts" / "mosi_dev.jsonl"
    leaking_examples = [
        context_example(example_with_features(i), "They smile. Label: positive")
        for i in range(18, 24)
    ]
    write_examples(path, leaking_examples)
    with pytest.raises(UserError, match="12 contexts contain a label, first dev"):
        build_dataset(teacher_recipe.dev[0], teacher_recipe, required_inputs)


def test_student_predicts_posts_without_contexts(corpus):
    tokenizer = write_tokenizer(corpus)
    distill(tiny_recipe("mmslf_teacher"), tokenizer=tokenizer)
    student = distill(tiny_recipe("mmslf"), tokenizer=tokenizer)
    for path in (corpus / "contexts").iterdir():
        path.unlink()
    predictor = make(PredictorSettings(model=f"student:{student}"), corpus)
    posts = [r.post for r in open_examples("dev.jsonl").rows() if isinstance(r, Example)]
    opinions = [o for prediction in predictor.predict(posts) for o in prediction.opinions]
    assert len(opinions) == sum(len(p.aspects) for p in posts)
    assert all(o.polarity is not None for o in opinions)
