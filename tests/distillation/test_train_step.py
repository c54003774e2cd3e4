"""Students that train in stages, with two optimisers, or with a memory; and what goes wrong."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from torch.nn import functional  # noqa: E402

from gen_msa.distillation.recipe import DistillRecipe  # noqa: E402
from gen_msa.distillation.train_step import StudentTrainStep  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models import HasRowMemory, InputDims, MultiPhase, Phase  # noqa: E402
from tests.distillation.fake_models.two_optimizers import TwoOptimizers  # noqa: E402
from tests.distillation.fake_models.two_stage import TwoStage  # noqa: E402
from tests.fixtures.tiny_students import make_collator, make_student, rows  # noqa: E402

INPUT_DIMS = InputDims(width={"text": make_collator().vocab_size})
BATCHES = [make_collator()(rows(4, i)) for i in range(0, 24, 4)]


def build_recipe(student, **overrides):
    fields = {"output_dir": "nowhere", "data": ({"source": "nothing"},), "student": student}
    fields |= {"learning_rate": 1e-2, "num_train_epochs": 2, "max_grad_norm": 1e9}
    return DistillRecipe.model_validate({**fields, **overrides})


def build_model(model_class, **config):
    torch.manual_seed(0)
    return model_class(INPUT_DIMS, **config)


def build_train_step(model, name, **overrides):
    steps = 2 * len(BATCHES)
    return StudentTrainStep(
        model, build_recipe(name, **overrides), steps=steps, rows=rows(8), new_params=set()
    )


def changed_params(model, before):
    return {n for n, p in model.state_dict().items() if not torch.equal(p, before[n])}


def snapshot(model):
    return {n: p.detach().clone() for n, p in model.state_dict().items()}


def train_by_hand():
    """MMIM's two optimisers, written out."""
    model = build_model(TwoOptimizers)
    estimator_optimizer = torch.optim.AdamW(model.estimator.parameters(), lr=0.05, weight_decay=0.0)
    main_params = [p for n, p in model.named_parameters() if not n.startswith("estimator")]
    main_optimizer = torch.optim.AdamW(main_params, lr=1e-2, weight_decay=0.0)
    for step, batch in enumerate(2 * BATCHES):
        for optimizer, rate in ((estimator_optimizer, 0.05), (main_optimizer, 1e-2)):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / (2 * len(BATCHES)))
            output = model(batch)
            loss = output.losses["likelihood"]
            if optimizer is main_optimizer:
                label_loss = functional.cross_entropy(output.logits, batch.target)
                loss = output.losses["information"] + label_loss
            optimizer.zero_grad()
            model.estimator.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def test_two_optimizers_alternate_as_in_manual_loop():
    model = build_model(TwoOptimizers)
    rates = {"estimator": 0.05}
    train_step = build_train_step(
        model, "two_optimizers", phase_learning_rates=rates, weight_decay=0.0, warmup_ratio=0.0
    )
    for epoch in (0, 1):
        train_step.set_epoch(epoch)
        for batch in BATCHES:
            train_step.run(batch)
    expected_params = dict(train_by_hand().named_parameters())
    for name, p in model.named_parameters():
        assert torch.allclose(p, expected_params[name], atol=1e-6), name


def test_phases_run_in_order_and_update_only_their_params():
    model = build_model(TwoOptimizers)
    before = snapshot(model)
    build_train_step(model, "two_optimizers").run(BATCHES[0])
    first_weight, second_weight = model.estimator_weights
    assert torch.equal(first_weight, before["estimator.weight"])
    assert not torch.equal(first_weight, second_weight)
    assert torch.equal(second_weight, model.estimator.weight)
    assert changed_params(model, before) == set(before)


def test_each_stage_updates_only_its_own_params():
    model = build_model(TwoStage)
    train_step = build_train_step(model, "two_stage")
    initial = snapshot(model)
    for batch in BATCHES:
        train_step.run(batch)
    after_first_stage = snapshot(model)
    assert changed_params(model, initial) == {"embedding.weight", "body.weight", "body.bias"}
    assert train_step.learning_rate == 0
    train_step.set_epoch(1)
    assert train_step.learning_rate > 0
    for batch in BATCHES:
        train_step.run(batch)
    assert changed_params(model, after_first_stage) == {"head.weight", "head.bias"}


def test_loss_of_one_phase_is_in_no_other():
    model = build_model(TwoStage)
    batch = BATCHES[0]
    loss = build_train_step(model, "two_stage").compute_loss(
        batch, None, Phase("head", ("head.",))
    )[0]
    label_loss = functional.cross_entropy(model.train()(batch).logits, batch.target)
    assert loss.item() == pytest.approx(label_loss.item())


def test_plain_models_have_one_phase_and_no_row_memory():
    model = make_student()
    assert not isinstance(model, MultiPhase | HasRowMemory)
    assert len(build_train_step(model, "text").optimizers) == 1
    assert isinstance(make_student("self_mm"), HasRowMemory)


def two_stage_with_phases(*phases):
    class TwoStageWithPhases(TwoStage):
        def phases(self, epoch):
            return phases

    return build_model(TwoStageWithPhases)


@pytest.mark.parametrize(
    ("phases", "overrides", "message"),
    [
        (
            (Phase("head", ("head.",)),),
            {},
            r"no phase of this run updates embedding\.weight, body\.weight",
        ),
        ((), {}, "has no phase in epoch 0"),
        ((Phase("a"), Phase("a", ("head.",))), {}, "different phases named a"),
        ((Phase("a"), Phase("b", ("haed.",))), {}, "phase b of two_stage updates no parameter"),
        ((Phase("a"),), {"phase_learning_rates": {"b": 1.0}}, "no phase 'b'; there are a"),
    ],
)
def test_incomplete_phase_plan_is_an_error(phases, overrides, message):
    with pytest.raises(UserError, match=message):
        build_train_step(two_stage_with_phases(*phases), "two_stage", **overrides)


def test_probe_reports_unknown_losses_and_missing_gradients():
    with pytest.raises(UserError, match="phase a: no loss rebilt; there are rebuilt"):
        build_train_step(two_stage_with_phases(Phase("a", loss="rebilt")), "two_stage").probe(
            BATCHES[0]
        )
    late_model = two_stage_with_phases(Phase("a"), Phase("b", ("head.",), loss="rebuilt"))
    with pytest.raises(UserError, match=r"no gradient reaches head\.weight"):
        build_train_step(late_model, "two_stage").probe(BATCHES[0])
