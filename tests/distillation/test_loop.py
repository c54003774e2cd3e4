"""A run: identical bytes twice, the best dev student is saved, a NaN stops it in time."""

import json
from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.distillation.dataset import build_dataset  # noqa: E402
from gen_msa.distillation.loop import DistillRun, distill  # noqa: E402
from gen_msa.distillation.recipe import DistillData, DistillRecipe  # noqa: E402
from gen_msa.distillation.train_step import StudentTrainStep  # noqa: E402
from gen_msa.errors import Diverged, UserError  # noqa: E402
from gen_msa.models.inference.serialization import load_student  # noqa: E402
from gen_msa.settings import load  # noqa: E402
from gen_msa.types import Example, Opinion, Polarity  # noqa: E402
from tests.fixtures.posts import post  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    TINY,
    example,
    make_collator,
    make_student,
    rows,
    write_examples,
    write_tokenizer,
)


@pytest.fixture
def make_recipe(tmp_path):
    """A function: build a recipe over posts of the fixture."""
    write_examples(tmp_path / "train.jsonl", [example(i) for i in range(30)])
    write_examples(tmp_path / "dev.jsonl", [example(i) for i in range(30, 36)])

    def build(**overrides):
        defaults = {
            "output_dir": str(tmp_path / "out"),
            "data": ({"source": str(tmp_path / "train.jsonl")},),
            "dev": ({"source": str(tmp_path / "dev.jsonl")},),
            "config": {**TINY, "dropout": 0.1},
            "pretrained": False,
            "max_length": 48,
            "per_device_train_batch_size": 8,
            "num_train_epochs": 3,
            "learning_rate": 1e-2,
        }
        return DistillRecipe.model_validate({**defaults, **overrides})

    return build


@pytest.fixture
def run_recipe(tmp_path):
    """A function: run a recipe with the tiny tokenizer."""
    return lambda recipe: distill(recipe, tokenizer=write_tokenizer(tmp_path))


def test_run_learns_and_saves_the_best_student(make_recipe, run_recipe, tmp_path):
    folder = run_recipe(make_recipe(num_train_epochs=5))
    manifest.verify(folder)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    (dev_metrics,) = metrics["dev"]["sources"]
    assert dev_metrics["n"] == 12
    assert dev_metrics["accuracy"] > 0.6
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    scores = {r["step"]: r["dev"]["score"] for r in log if "dev" in r}
    assert len(scores) == 5
    assert metrics["dev"]["score"] == max(scores.values()) == scores[metrics["step"]]
    assert next(s for s, v in scores.items() if v == max(scores.values())) == metrics["step"]
    assert load_student(folder).config.text == "post"


def test_same_seed_gives_identical_files(make_recipe, run_recipe, tmp_path):
    file_contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        folder = run_recipe(make_recipe(seed=seed, output_dir=str(tmp_path / name / "out")))
        file_contents.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert file_contents[0] == file_contents[1]
    assert file_contents[0]["model.safetensors"] != file_contents[2]["model.safetensors"]


def test_saved_files_contain_no_path_and_no_post(make_recipe, run_recipe, tmp_path):
    folder = run_recipe(make_recipe())
    for name in ("recipe.yaml", "metrics.json", "README.md", "student.json"):
        text = (folder / name).read_text("utf-8")
        assert str(tmp_path) not in text
        assert "The screen is" not in text
    reloaded = load(DistillRecipe, folder / "recipe.yaml")
    assert reloaded.data[0].source == "train.jsonl"


def test_run_preserves_the_callers_random_state(make_recipe, run_recipe):
    before = torch.get_rng_state()
    run_recipe(make_recipe(num_train_epochs=1))
    assert torch.equal(before, torch.get_rng_state())


def test_diverged_run_stops_and_names_its_rows(make_recipe, run_recipe, tmp_path):
    with pytest.raises(Diverged, match=r"not a finite number; rows of the batch: .*train\.jsonl/p"):
        run_recipe(make_recipe(learning_rate=1e30, warmup_ratio=0.0))
    assert Diverged.exit_code == 4
    assert not (tmp_path / "out" / "student").exists()


def test_non_finite_weights_at_the_last_step_are_not_saved(make_recipe, run_recipe, tmp_path):
    (tmp_path / "one.jsonl").write_text(example(0).model_dump_json() + "\n", encoding="utf-8")
    source = {"source": str(tmp_path / "one.jsonl")}
    overrides = {
        "learning_rate": 1e30,
        "warmup_ratio": 0.0,
        "weight_decay": 1e10,
        "num_train_epochs": 1,
    }
    with pytest.raises(Diverged, match="is not finite any more"):
        run_recipe(make_recipe(data=(source,), dev=(), **overrides))
    assert not (tmp_path / "out" / "student").exists()


def test_nan_loss_changes_no_weight(make_recipe):
    model = make_student()
    train_step = StudentTrainStep(model, make_recipe(), steps=9, rows=rows(8), new_params=set())
    batch = make_collator()(rows(4))
    train_step.run(batch)
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with pytest.raises(Diverged, match="the loss is not a finite number; rows of the batch: p0, "):
        train_step.run(batch)
    for n, p in model.named_parameters():
        assert torch.equal(torch.nan_to_num(before[n]), torch.nan_to_num(p)), n


def test_param_without_gradient_is_named(make_recipe):
    model = make_student()
    model.idle = torch.nn.Parameter(torch.zeros(2))
    train_step = StudentTrainStep(model, make_recipe(), steps=9, rows=rows(8), new_params=set())
    with pytest.raises(UserError, match="no gradient reaches idle"):
        train_step.run(make_collator()(rows(4)))


def test_each_epoch_has_every_row_once_in_new_order(make_recipe, tmp_path):
    distill_run = DistillRun(make_recipe(num_train_epochs=2), write_tokenizer(tmp_path))
    ids = [tuple(r.id for r in batch) for _, batch in distill_run._batches()]
    half = len(ids) // 2
    assert distill_run.steps == len(ids) == 2 * half
    row_counts = Counter(r.id for r in distill_run.rows)
    assert Counter(i for b in ids[:half] for i in b) == Counter(i for b in ids[half:] for i in b)
    assert Counter(i for b in ids[:half] for i in b) == row_counts
    assert ids[:half] != ids[half:]


def test_learning_rate_warms_up_and_decays_to_zero(make_recipe):
    train_step = StudentTrainStep(
        make_student(), make_recipe(warmup_ratio=0.5), steps=8, rows=rows(8), new_params=set()
    )
    learning_rates = []
    for _ in range(8):
        learning_rates.append(train_step.learning_rate)
        train_step.run(make_collator()(rows(4)))
    assert learning_rates[3] == max(learning_rates) == pytest.approx(1e-2)
    assert learning_rates[:4] == sorted(learning_rates[:4])
    assert train_step.learning_rate == 0


def test_balanced_class_weights_equalize_classes(make_recipe):
    imbalanced = [r for r in rows(12) if r.target is not Polarity.NEUTRAL][:5]
    train_step = StudentTrainStep(
        make_student(),
        make_recipe(class_weights="balanced"),
        steps=9,
        rows=imbalanced,
        new_params=set(),
    )
    weights = dict(zip(Polarity, train_step._weights.tolist(), strict=True))
    counts = Counter(r.target for r in imbalanced)
    assert weights[Polarity.NEUTRAL] == 1
    assert len({round(weights[c] * n, 5) for c, n in counts.items()}) == 1


def test_head_learning_rate_applies_to_new_layers_only(make_recipe):
    recipe = make_recipe(head_learning_rate=0.5)
    train_step = StudentTrainStep(
        make_student(), recipe, steps=9, rows=rows(2), new_params={"head.weight", "head.bias"}
    )
    groups = train_step._updates[0].optimizer.param_groups
    assert sorted({(g["initial_lr"], len(g["params"])) for g in groups})[-1] == (0.5, 1)
    assert {g["initial_lr"] for g in groups} == {0.5, 1e-2}
    assert all(g["weight_decay"] == 0 for g in groups for p in g["params"] if p.ndim == 1)


def test_explanation_model_sees_neither_post_nor_label(make_recipe):
    recipe = make_recipe(text="explanation", mask_labels=True)
    dataset = build_dataset(recipe.data[0], recipe)
    assert all(r.text.startswith("It is ") for r in dataset.rows)
    visible_texts = make_collator(mask_labels=True)(dataset.rows).texts
    assert not any(str(p) in text for p in Polarity for text in visible_texts)


def test_left_out_rows_are_counted_by_reason(make_recipe, tmp_path):
    without_explanation = Opinion(
        annotator="gold", aspect=post(1).aspects[0], polarity=Polarity.NEUTRAL
    )
    unread = Opinion(annotator="gold", aspect=post(1).aspects[1], explanation="hm", raw="hm")
    path = write_examples(
        tmp_path / "odd.jsonl",
        [
            example(0),
            Example(post=post(1), opinions=(without_explanation, unread)),
            Example(post=post(2)),
        ],
    )
    path.write_text(path.read_text("utf-8") + "{broken\n", encoding="utf-8")
    dataset = build_dataset(DistillData(source=str(path)), make_recipe(text="explanation"))
    assert len(dataset.rows) == 2
    assert dataset.left_out == {
        "opinion without an explanation to read": 1,
        "opinion without a polarity": 1,
        "post without an opinion by gold": 1,
        "line could not be read": 1,
    }


def test_source_without_the_requested_annotator_is_an_error(make_recipe, tmp_path):
    with pytest.raises(UserError, match="post without an opinion by teacher: 30"):
        build_dataset(
            DistillData(source=str(tmp_path / "train.jsonl"), labels="teacher"), make_recipe()
        )


def test_limit_selects_the_same_rows_per_seed(make_recipe, tmp_path):
    data = DistillData(source=str(tmp_path / "train.jsonl"), limit=7)
    first, repeated, other_seed = (build_dataset(data, make_recipe(seed=s)) for s in (0, 0, 1))
    assert len(first.rows) == 7
    assert first.sha256 == repeated.sha256 != other_seed.sha256


def test_unknown_model_config_is_an_error(make_recipe, run_recipe):
    with pytest.raises(UserError, match=r"config: .*lairs"):
        run_recipe(make_recipe(config={"lairs": 2}))


@pytest.mark.models
def test_minilm_is_pretrained_except_for_its_head(make_recipe, tmp_path):
    from gen_msa.encoders.text import minilm

    distill_run = DistillRun(
        make_recipe(config={}, pretrained=True, head_learning_rate=0.5), minilm.tokenizer_path()
    )
    groups = {
        g["initial_lr"]: len(g["params"])
        for g in distill_run.train_step._updates[0].optimizer.param_groups
    }
    assert distill_run.pretrained_from
    assert distill_run.num_params == 22_567_683
    assert groups[0.5] == 1
