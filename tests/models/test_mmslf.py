"""MMSLF: the context conditions the teacher, and helps the student only through distillation."""

import inspect
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.distillation.dataset import FrozenTeacher  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.models import AspectExample, InputDims, models  # noqa: E402
from gen_msa.models.inference import serialization  # noqa: E402
from gen_msa.models.layers.attention import ConditionalAttention, attend  # noqa: E402
from tests.fixtures import synthetic_frames as frames  # noqa: E402

ATTENTION_WEIGHTS = {"attention.audio": 60.0, "attention.video": 60.0}
FUSED_WEIGHTS = {"fused": 8.0}
SEEDS = (0, 1)


def save_model(folder, model, name):
    with manifest.atomic_directory(folder) as staging:
        serialization.save_student(staging, model, frames.COLLATORS[name], text="post", name=name)
    return folder


# 1. Conditional attention.


def test_unit_context_leaves_attention_unchanged():
    torch.manual_seed(0)
    q, k, v = (torch.randn(4, 2, steps, 8) for steps in (6, 5, 5))
    mask = torch.rand(4, 5) < 0.7
    output = attend(q, k, v, mask, torch.ones(4, 2, 6, 5))
    assert (output.conditioned_weights - output.weights).abs().max() <= 1e-6
    assert (
        attend(q, k, v, mask, torch.full((4, 2, 6, 5), 2.0)).conditioned_weights - output.weights
    ).any()


def test_only_rows_with_context_are_conditioned():
    torch.manual_seed(0)
    attention = ConditionalAttention(16, heads=2, head_width=8)
    queries, source, context = torch.randn(2, 6, 16), torch.randn(2, 5, 16), torch.randn(2, 6, 16)
    mask, has_context = torch.ones(2, 5, dtype=torch.bool), torch.tensor([False, True])
    output = attention(queries, source, mask, context, has_context)
    assert (output.conditioned_weights[0] - output.weights[0]).abs().max() <= 1e-6
    assert (output.conditioned_weights[1] - output.weights[1]).abs().max() > 0.01


def test_context_shifts_attention_to_its_step():
    attention = ConditionalAttention(8, heads=1, head_width=8)
    # Steps 0..4 differ in one dimension each and share dimension 7, which every query matches.
    source = torch.eye(8)[:5] + torch.eye(8)[7]
    with torch.no_grad():
        attention.value.weight.copy_(torch.eye(8))
        attention.context_proj.weight.copy_(torch.eye(8))
        attention.query.weight.copy_(torch.eye(8))
        attention.key.weight.copy_(torch.diag(torch.eye(8)[7]))
        queries, mask = 3 * torch.eye(8)[7].expand(1, 1, 8), torch.ones(1, 5, dtype=torch.bool)
        for step in range(5):
            mass = []
            for strength in (0.0, 2.0, 4.0, 8.0):
                context = strength * torch.eye(8)[step].expand(1, 1, 8)
                output = attention(queries, source[None], mask, context)
                mass.append(float(output.conditioned_weights[0, 0, 0, step]))
            assert mass[0] == pytest.approx(0.2)
            assert float(output.weights[0, 0, 0, step]) == pytest.approx(0.2)
            assert mass == sorted(set(mass))
            assert mass[-1] > 0.5


@pytest.mark.parametrize("target", ["plain", "conditional"])
def test_attn_target_selects_the_exposed_map(target):
    model = frames.build_model("mmslf_teacher", attn_target=target).eval()
    rows = frames.rows(4, 0)
    collate = frames.COLLATORS["mmslf_teacher"]
    features, features_without_context = (
        model(collate(r)).features["attention.audio"] for r in (rows, frames.without_context(rows))
    )
    # One layer: its plain map is independent of the context, its conditioned one is not.
    assert torch.allclose(features, features_without_context, atol=1e-6) == (target == "plain")


# 2. The student never reads a context.


class UnreadableContextRow(AspectExample):
    """A row whose context must not be read."""

    def __getattribute__(self, name):
        if name == "context":
            raise AssertionError("the context was read")
        return super().__getattribute__(name)


def without_readable_context(rows):
    return [UnreadableContextRow(r.id, r.text, r.aspect, r.target, inputs=r.inputs) for r in rows]


def test_student_has_no_context_input():
    model_class = models["mmslf"]
    assert list(inspect.signature(model_class.forward).parameters) == ["self", "batch"]
    assert "context" not in model_class.modalities
    student_params = {n for n, _ in frames.build_model("mmslf").named_parameters()}
    teacher_only = {
        n for n, _ in frames.build_model("mmslf_teacher").named_parameters()
    } - student_params
    assert {n.split(".")[0] for n in teacher_only} == {
        "context_proj",
        "context_pooling",
        "cross_modal_encoders",
    }
    assert {n.split(".")[-2] for n in teacher_only if n.startswith("cross_modal_encoders")} == {
        "context_proj"
    }


def test_student_never_reads_the_context(tmp_path):
    rows = frames.rows(6, 0)
    opened = serialization.load_student(
        save_model(tmp_path / "s", frames.build_model("mmslf"), "mmslf")
    )
    with torch.no_grad():
        logits = opened.student(opened.collator(rows)).logits
        assert torch.equal(
            opened.student(opened.collator(without_readable_context(rows))).logits, logits
        )
    with pytest.raises(AssertionError, match="was read"):
        frames.COLLATORS["mmslf_teacher"](without_readable_context(rows))


# 3. Benefit of the context for the teacher, and through it for the student.


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    config = {"min_keep": 1.0, "attn_target": "conditional"}
    model = frames.train_model("mmslf_teacher", frames.rows(512, 0), epochs=30, **config)
    return FrozenTeacher(
        save_model(tmp_path_factory.mktemp("teacher") / "t", model, "mmslf_teacher")
    )


HELD_OUT = frames.rows(600, 99)


def test_teacher_with_context_has_fewer_errors(teacher):
    rows_without_context = frames.without_context(frames.rows(512, 0))
    model_without_context = frames.train_model(
        "mmslf_teacher", rows_without_context, epochs=30, min_keep=1.0
    )
    errors = frames.error_rate_and_loss(teacher.loaded.student, "mmslf_teacher", HELD_OUT)
    errors_without_context = frames.error_rate_and_loss(
        model_without_context, "mmslf_teacher", frames.without_context(HELD_OUT)
    )
    assert errors[0] < errors_without_context[0] - 0.02
    assert errors[1] < errors_without_context[1] - 0.1


@pytest.fixture(scope="module")
def mean_errors(teacher):
    """Return loss -> mean (error rate, cross-entropy) of students trained on a few noisy rows."""
    before = teacher._digest()
    feature_weights = {
        "alone": {},
        "both": ATTENTION_WEIGHTS | FUSED_WEIGHTS,
        "no map": FUSED_WEIGHTS,
        "no tokens": ATTENTION_WEIGHTS,
    }
    errors_by_name = {name: [] for name in feature_weights}
    for seed in SEEDS:
        train_rows = frames.rows(128, seed, label_noise=0.2)
        for name, features in feature_weights.items():
            teacher_options = {"teacher": teacher, "features": features} if features else {}
            model = frames.train_model("mmslf", train_rows, seed=seed + 50, **teacher_options)
            errors_by_name[name].append(frames.error_rate_and_loss(model, "mmslf", HELD_OUT))
    assert teacher._digest() == before
    return {n: torch.tensor(e).mean(0).tolist() for n, e in errors_by_name.items()}


def test_distilled_student_has_fewer_errors(mean_errors):
    assert mean_errors["both"][0] < mean_errors["alone"][0] - 0.08
    assert mean_errors["both"][1] < mean_errors["alone"][1] - 0.2


@pytest.mark.parametrize("variant", ["no map", "no tokens"])
def test_each_loss_term_contributes_to_the_gain(mean_errors, variant):
    assert mean_errors["both"][0] < mean_errors[variant][0] - 0.01
    assert mean_errors["both"][1] < mean_errors[variant][1]
    assert mean_errors[variant][0] < mean_errors["alone"][0]


# 4. Distillation does not change the teacher.


def test_teacher_is_deterministic_and_unchanged_by_distillation(teacher):
    rows = HELD_OUT[:16]
    folder = teacher._folder
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    module = teacher.loaded.student.train()
    output, repeated_output = teacher(rows)[1], teacher(rows)[1]
    assert not module.training
    frames.train_model(
        "mmslf", rows, epochs=2, teacher=teacher, features=ATTENTION_WEIGHTS | FUSED_WEIGHTS
    )
    later_output = teacher(rows)[1]
    for other_output in (repeated_output, later_output):
        assert torch.equal(output.logits, other_output.logits)
        for name in ATTENTION_WEIGHTS | FUSED_WEIGHTS:
            assert torch.equal(output.features[name], other_output.features[name])
    teacher.check()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_random_masking_only_in_training_and_keeps_first_token():
    model, rows = frames.build_model("mmslf_teacher", min_keep=0.0), frames.rows(64, 0)
    batch = frames.COLLATORS["mmslf_teacher"](rows)
    masked = model._random_mask(batch)
    is_dropped = (masked.inputs["audio"] == 0) & (batch.inputs["audio"] != 0)
    assert 0.3 < float(is_dropped.float().sum() / (batch.inputs["audio"] != 0).sum()) < 0.7
    is_masked = masked.inputs["text"] != batch.inputs["text"]
    assert is_masked.any()
    assert not (is_masked & (~batch.mask["text"] | batch.mask["aspect"])).any()
    assert not is_masked[:, 0].any()
    assert torch.equal(masked.inputs["context"], batch.inputs["context"])
    assert torch.equal(model.eval()(batch).logits, model(batch).logits)


# 5. Shapes, limits and configuration.


def test_student_and_teacher_features_have_equal_shapes():
    rows = frames.rows(3, 0)
    features, teacher_features = (
        frames.build_model(name).eval()(frames.COLLATORS[name](rows)).features
        for name in frames.MODEL_WIDTHS
    )
    assert {n: f.shape for n, f in features.items()} == {
        n: f.shape for n, f in teacher_features.items()
    }
    assert features["fused"].shape == (3, 4, frames.MODEL_CONFIG["dim"])
    assert features["attention.audio"].shape[2:] == (
        frames.COLLATORS["mmslf"](rows).inputs["text"].shape[1],
        3,
    )


def test_attention_maps_are_zero_at_padding():
    short, long = frames.rows(2, 0)
    rows = [short, AspectExample("long", "soup " * 5, long.aspect, inputs=long.inputs)]
    batch = frames.COLLATORS["mmslf"](rows)
    attention_map = frames.build_model("mmslf").eval()(batch).features["attention.audio"]
    assert not (attention_map * ~batch.mask["text"][:, None, :, None]).any()
    assert attention_map[0, :, 0].sum(-1).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": 4}, "(?s)text has 8 steps.*max_length"),
        ({"source_steps": 2}, "audio has 3 steps"),
    ],
)
def test_too_long_input_error_names_the_setting(overrides, message):
    rows = [AspectExample("1", "soup " * 5, r.aspect, inputs=r.inputs) for r in frames.rows(1, 0)]
    with pytest.raises(UserError, match=message):
        frames.build_model("mmslf", **overrides)(frames.COLLATORS["mmslf"](rows))


def test_invalid_config_and_data_are_errors():
    with pytest.raises(ValueError, match="attn_target is plain or conditional"):
        frames.build_model("mmslf_teacher", attn_target="both")
    with pytest.raises(ValueError, match="one or both of audio, video"):
        frames.build_model("mmslf", sources=["smell"])
    with pytest.raises(TypeError, match="lairs"):
        frames.build_model("mmslf", lairs=2)
    with pytest.raises(ValueError, match="no post of the data has audio or video"):
        models["mmslf"](InputDims(width={"text": 9}))


@pytest.mark.parametrize("name", frames.MODEL_WIDTHS)
def test_excluded_source_is_ignored(name):
    model, rows = frames.build_model(name, sources=["audio"]).eval(), frames.rows(4, 0)
    batch = frames.COLLATORS[name](rows)
    changed_video = replace(batch, inputs={**batch.inputs, "video": batch.inputs["video"] + 9})
    assert "attention.video" not in model(batch).features
    assert torch.equal(model(batch).logits, model(changed_video).logits)
    changed_audio = replace(batch, inputs={**batch.inputs, "audio": batch.inputs["audio"] * -1})
    assert not torch.equal(model(batch).logits, model(changed_audio).logits)
    full_model = frames.build_model(name).eval()
    assert not torch.equal(full_model(batch).logits, full_model(changed_video).logits)


def test_frozen_encoder_is_not_updated():
    for frozen in (True, False):
        before = frames.build_model("mmslf", frozen_text=frozen).encoder.state_dict()
        before = {k: v.clone() for k, v in before.items()}
        model = frames.train_model("mmslf", frames.rows(8, 0), epochs=1, frozen_text=frozen)
        is_unchanged = all(torch.equal(before[k], v) for k, v in model.encoder.state_dict().items())
        assert is_unchanged == frozen
        assert model.train().encoder.training != frozen
