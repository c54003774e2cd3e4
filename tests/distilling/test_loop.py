"""A run: the same bytes twice, the best on dev kept, and stopped before a NaN does harm."""

import json
from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.distilling.loop import Run, distil  # noqa: E402
from gen_msa.distilling.recipe import Data, Recipe  # noqa: E402
from gen_msa.distilling.rows import gather  # noqa: E402
from gen_msa.distilling.stepping import Stepper  # noqa: E402
from gen_msa.errors import Diverged, UserError  # noqa: E402
from gen_msa.settings import load  # noqa: E402
from gen_msa.students.common.keeping import open_student  # noqa: E402
from gen_msa.types import Example, Opinion, Polarity  # noqa: E402
from tests.fixtures.posts import post  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    TINY,
    example,
    rows,
    student,
    words,
    write_examples,
    write_tokenizer,
)


@pytest.fixture
def made(tmp_path):
    """A function: a recipe over our own posts."""
    write_examples(tmp_path / "train.jsonl", [example(i) for i in range(30)])
    write_examples(tmp_path / "dev.jsonl", [example(i) for i in range(30, 36)])

    def recipe(**changed):
        told = {
            "output_dir": str(tmp_path / "out"),
            "data": ({"source": str(tmp_path / "train.jsonl")},),
            "dev": ({"source": str(tmp_path / "dev.jsonl")},),
            "numbers": {**TINY, "dropout": 0.1},
            "warm": False,
            "max_length": 48,
            "per_device_train_batch_size": 8,
            "num_train_epochs": 3,
            "learning_rate": 1e-2,
        }
        return Recipe.model_validate({**told, **changed})

    return recipe


@pytest.fixture
def run(tmp_path):
    """A function: run a recipe with the tiny tokenizer."""
    return lambda recipe: distil(recipe, tokenizer=write_tokenizer(tmp_path))


def test_it_learns_and_keeps_the_best_student_sealed(made, run, tmp_path):
    folder = run(made(num_train_epochs=5))
    manifest.check(folder)
    told = json.loads((folder / "figures.json").read_text("utf-8"))
    (dev,) = told["dev"]["sources"]
    assert dev["n"] == 12
    assert dev["accuracy"] > 0.6
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    judged = {r["step"]: r["dev"]["score"] for r in log if "dev" in r}
    assert len(judged) == 5
    assert told["dev"]["score"] == max(judged.values()) == judged[told["step"]]
    assert next(s for s, v in judged.items() if v == max(judged.values())) == told["step"]
    assert open_student(folder).kept.text == "post"


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(made, run, tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        folder = run(made(seed=seed, output_dir=str(tmp_path / name / "out")))
        found.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert found[0] == found[1]
    assert found[0]["model.safetensors"] != found[2]["model.safetensors"]


def test_nothing_of_this_machine_and_no_post_is_written(made, run, tmp_path):
    folder = run(made())
    for name in ("recipe.yaml", "figures.json", "README.md", "student.json"):
        text = (folder / name).read_text("utf-8")
        assert str(tmp_path) not in text
        assert "The screen is" not in text
    again = load(Recipe, folder / "recipe.yaml")
    assert again.data[0].source == "train.jsonl"


def test_the_callers_random_state_is_left_alone(made, run):
    before = torch.get_rng_state()
    run(made(num_train_epochs=1))
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_that_diverges_stops_and_names_its_rows(made, run, tmp_path):
    with pytest.raises(Diverged, match=r"not a finite number; rows of the batch: .*train\.jsonl/p"):
        run(made(learning_rate=1e30, warmup_ratio=0.0))
    assert Diverged.exit_code == 4
    assert not (tmp_path / "out" / "student").exists()


def test_a_student_gone_wild_at_the_last_step_is_not_kept(made, run, tmp_path):
    (tmp_path / "one.jsonl").write_text(example(0).model_dump_json() + "\n", encoding="utf-8")
    source = {"source": str(tmp_path / "one.jsonl")}
    wild = {"learning_rate": 1e30, "warmup_ratio": 0.0, "weight_decay": 1e10, "num_train_epochs": 1}
    with pytest.raises(Diverged, match="is not finite any more"):
        run(made(data=(source,), dev=(), **wild))
    assert not (tmp_path / "out" / "student").exists()


def test_a_nan_moves_nothing(made):
    one = student()
    stepper = Stepper(one, made(), steps=9, rows=rows(8), fresh=set())
    batch = words()(rows(4))
    stepper.step(batch)
    with torch.no_grad():
        one.head.bias[0] = float("nan")
    before = {n: p.detach().clone() for n, p in one.named_parameters()}
    with pytest.raises(Diverged, match="the loss is not a finite number; rows of the batch: p0, "):
        stepper.step(batch)
    for n, p in one.named_parameters():
        assert torch.equal(torch.nan_to_num(before[n]), torch.nan_to_num(p)), n


def test_a_tensor_that_gets_no_gradient_is_named(made):
    one = student()
    one.idle = torch.nn.Parameter(torch.zeros(2))
    stepper = Stepper(one, made(), steps=9, rows=rows(8), fresh=set())
    with pytest.raises(UserError, match="no gradient reaches idle"):
        stepper.step(words()(rows(4)))


def test_every_epoch_has_each_row_once_in_another_order(made, tmp_path):
    run = Run(made(num_train_epochs=2), write_tokenizer(tmp_path))
    ids = [tuple(r.id for r in batch) for _, batch in run._batches()]
    half = len(ids) // 2
    assert run.steps == len(ids) == 2 * half
    every = Counter(r.id for r in run.rows)
    assert Counter(i for b in ids[:half] for i in b) == Counter(i for b in ids[half:] for i in b)
    assert Counter(i for b in ids[:half] for i in b) == every
    assert ids[:half] != ids[half:]


def test_the_rate_rises_and_falls_to_nothing(made):
    stepper = Stepper(student(), made(warmup_ratio=0.5), steps=8, rows=rows(8), fresh=set())
    rates = []
    for _ in range(8):
        rates.append(stepper.rate)
        stepper.step(words()(rows(4)))
    assert rates[3] == max(rates) == pytest.approx(1e-2)
    assert rates[:4] == sorted(rates[:4])
    assert stepper.rate == 0


def test_balanced_weights_make_the_classes_count_alike(made):
    some = [r for r in rows(12) if r.target is not Polarity.NEUTRAL][:5]
    stepper = Stepper(student(), made(class_weights="balanced"), steps=9, rows=some, fresh=set())
    weights = dict(zip(Polarity, stepper._weights.tolist(), strict=True))
    counts = Counter(r.target for r in some)
    assert weights[Polarity.NEUTRAL] == 1
    assert len({round(weights[c] * n, 5) for c, n in counts.items()}) == 1


def test_only_new_layers_take_the_rate_of_the_head(made):
    recipe = made(head_learning_rate=0.5)
    stepper = Stepper(student(), recipe, steps=9, rows=rows(2), fresh={"head.weight", "head.bias"})
    groups = stepper._updates[0].optimizer.param_groups
    assert sorted({(g["initial_lr"], len(g["params"])) for g in groups})[-1] == (0.5, 1)
    assert {g["initial_lr"] for g in groups} == {0.5, 1e-2}
    assert all(g["weight_decay"] == 0 for g in groups for p in g["params"] if p.ndim == 1)


def test_a_reader_of_reasons_is_shown_reasons_and_neither_post_nor_label(made):
    recipe = made(text="reason", mask_labels=True)
    found = gather(recipe.data[0], recipe)
    assert all(r.text.startswith("It is ") for r in found.rows)
    shown = words(mask_labels=True)(found.rows).raw_text
    assert not any(str(p) in text for p in Polarity for text in shown)


def test_what_cannot_be_learned_is_counted_by_its_reason(made, tmp_path):
    silent = Opinion(by="gold", aspect=post(1).aspects[0], polarity=Polarity.NEUTRAL)
    unread = Opinion(by="gold", aspect=post(1).aspects[1], explanation="hm", raw="hm")
    path = write_examples(
        tmp_path / "odd.jsonl",
        [example(0), Example(post=post(1), opinions=(silent, unread)), Example(post=post(2))],
    )
    path.write_text(path.read_text("utf-8") + "{broken\n", encoding="utf-8")
    found = gather(Data(source=str(path)), made(text="reason"))
    assert len(found.rows) == 2
    assert found.left_out == {
        "opinion without a reason to read": 1,
        "opinion without a polarity": 1,
        "post without an opinion by gold": 1,
        "line could not be read": 1,
    }


def test_a_source_without_the_reader_asked_for_is_an_error(made, tmp_path):
    with pytest.raises(UserError, match="30 post without an opinion by teacher"):
        gather(Data(source=str(tmp_path / "train.jsonl"), labels="teacher"), made())


def test_a_limit_takes_the_same_rows_again(made, tmp_path):
    data = Data(source=str(tmp_path / "train.jsonl"), limit=7)
    one, two, other = (gather(data, made(seed=s)) for s in (0, 0, 1))
    assert len(one.rows) == 7
    assert one.sha256 == two.sha256 != other.sha256


def test_numbers_that_no_student_takes_are_an_error(made, run):
    with pytest.raises(UserError, match=r"numbers: .*lairs"):
        run(made(numbers={"lairs": 2}))


@pytest.mark.models
def test_minilm_is_warm_but_for_its_head(made, tmp_path):
    from gen_msa.students.common import minilm

    run = Run(made(numbers={}, warm=True, head_learning_rate=0.5), minilm.tokenizer())
    groups = {
        g["initial_lr"]: len(g["params"]) for g in run.stepper._updates[0].optimizer.param_groups
    }
    assert run.warm
    assert run.parameters == 22_567_683
    assert groups[0.5] == 1
