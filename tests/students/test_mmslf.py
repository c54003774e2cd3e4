"""MMSLF: the context steers the teacher, reaches the student through it alone, and pays."""

import inspect
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.distilling.teaching import Teacher  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.students import Row, Sizes, students  # noqa: E402
from gen_msa.students.common import keeping  # noqa: E402
from gen_msa.students.common.attending import ConditionalAttention, attend  # noqa: E402
from tests.fixtures import frames  # noqa: E402

ATTENTION = {"attention.audio": 60.0, "attention.video": 60.0}
FUSED = {"fused": 8.0}
SEEDS = (0, 1)


def kept(folder, made, name):
    with manifest.staged(folder) as draft:
        keeping.write(draft, made, frames.COLLATE[name], text="post", name=name)
    return folder


# 1. The context's hold on attention.


def test_with_ones_in_place_of_a_context_the_steered_map_is_the_plain_one():
    torch.manual_seed(0)
    q, k, v = (torch.randn(4, 2, steps, 8) for steps in (6, 5, 5))
    mask = torch.rand(4, 5) < 0.7
    steered = attend(q, k, v, mask, torch.ones(4, 2, 6, 5))
    assert (steered.used - steered.plain).abs().max() <= 1e-6
    assert (attend(q, k, v, mask, torch.full((4, 2, 6, 5), 2.0)).used - steered.plain).any()


def test_a_row_without_a_context_is_not_steered_and_its_neighbour_is():
    torch.manual_seed(0)
    made = ConditionalAttention(16, heads=2, head_width=8)
    asks, source, context = torch.randn(2, 6, 16), torch.randn(2, 5, 16), torch.randn(2, 6, 16)
    mask, told = torch.ones(2, 5, dtype=torch.bool), torch.tensor([False, True])
    seen = made(asks, source, mask, context, told)
    assert (seen.used[0] - seen.plain[0]).abs().max() <= 1e-6
    assert (seen.used[1] - seen.plain[1]).abs().max() > 0.01


def test_a_context_that_singles_out_a_step_draws_attention_there():
    made = ConditionalAttention(8, heads=1, head_width=8)
    # Steps 0..4 differ in a place each and share place 7, by which every query finds all alike.
    source = torch.eye(8)[:5] + torch.eye(8)[7]
    with torch.no_grad():
        made.value.weight.copy_(torch.eye(8))
        made.steer.weight.copy_(torch.eye(8))
        made.query.weight.copy_(torch.eye(8))
        made.key.weight.copy_(torch.diag(torch.eye(8)[7]))
        asks, mask = 3 * torch.eye(8)[7].expand(1, 1, 8), torch.ones(1, 5, dtype=torch.bool)
        for step in range(5):
            mass = []
            for strength in (0.0, 2.0, 4.0, 8.0):
                context = strength * torch.eye(8)[step].expand(1, 1, 8)
                seen = made(asks, source[None], mask, context)
                mass.append(float(seen.used[0, 0, 0, step]))
            assert mass[0] == pytest.approx(0.2)
            assert float(seen.plain[0, 0, 0, step]) == pytest.approx(0.2)
            assert mass == sorted(set(mass))
            assert mass[-1] > 0.5


@pytest.mark.parametrize("target", ["plain", "conditional"])
def test_the_teacher_shows_the_map_that_it_is_told_to_show(target):
    made = frames.new("mmslf_teacher", attn_target=target).eval()
    some = frames.rows(4, 0)
    collate = frames.COLLATE["mmslf_teacher"]
    shown, bare = (
        made(collate(r)).features["attention.audio"] for r in (some, frames.without_context(some))
    )
    # One layer: its plain map cannot know of the context, its steered one must.
    assert torch.allclose(shown, bare, atol=1e-6) == (target == "plain")


# 2. The student and contexts.


class Sealed(Row):
    """A row whose context nobody may touch."""

    def __getattribute__(self, name):
        if name == "context":
            raise AssertionError("the context was asked for")
        return super().__getattribute__(name)


def sealed(some):
    return [Sealed(r.id, r.text, r.aspect, r.target, inputs=r.inputs) for r in some]


def test_the_student_has_no_way_to_be_told_a_context():
    kind = students["mmslf"]
    assert list(inspect.signature(kind.forward).parameters) == ["self", "batch"]
    assert "context" not in kind.reads
    own = {n for n, _ in frames.new("mmslf").named_parameters()}
    extra = {n for n, _ in frames.new("mmslf_teacher").named_parameters()} - own
    assert {n.split(".")[0] for n in extra} == {"notes", "reducer", "aligners"}
    assert {n.split(".")[-2] for n in extra if n.startswith("aligners")} == {"steer"}


def test_a_context_store_that_raises_does_not_disturb_the_student(tmp_path):
    some = frames.rows(6, 0)
    opened = keeping.open_student(kept(tmp_path / "s", frames.new("mmslf"), "mmslf"))
    with torch.no_grad():
        undisturbed = opened.student(opened.collate(some)).logits
        assert torch.equal(opened.student(opened.collate(sealed(some))).logits, undisturbed)
    with pytest.raises(AssertionError, match="was asked for"):
        frames.COLLATE["mmslf_teacher"](sealed(some))


# 3. What the context is worth, to the teacher and through it to the student.


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    numbers = {"least_kept": 1.0, "attn_target": "conditional"}
    made = frames.trained("mmslf_teacher", frames.rows(512, 0), epochs=30, **numbers)
    return Teacher(kept(tmp_path_factory.mktemp("teacher") / "t", made, "mmslf_teacher"))


UNSEEN = frames.rows(600, 99)


def test_a_teacher_that_is_told_errs_less_than_one_that_is_not(teacher):
    blind = frames.without_context(frames.rows(512, 0))
    untold = frames.trained("mmslf_teacher", blind, epochs=30, least_kept=1.0)
    known = frames.errors(teacher.opened.student, "mmslf_teacher", UNSEEN)
    guessed = frames.errors(untold, "mmslf_teacher", frames.without_context(UNSEEN))
    assert known[0] < guessed[0] - 0.02
    assert known[1] < guessed[1] - 0.1


@pytest.fixture(scope="module")
def learned(teacher):
    """Loss -> (share of errors, nats) of students of few rows, a fifth of them wrong; mean."""
    before = teacher._digest()
    asked = {"alone": {}, "whole": ATTENTION | FUSED, "no map": FUSED, "no tokens": ATTENTION}
    found = {name: [] for name in asked}
    for seed in SEEDS:
        few = frames.rows(128, seed, wrong=0.2)
        for name, features in asked.items():
            one = {"teacher": teacher, "features": features} if features else {}
            made = frames.trained("mmslf", few, seed=seed + 50, **one)
            found[name].append(frames.errors(made, "mmslf", UNSEEN))
    assert teacher._digest() == before
    return {n: torch.tensor(e).mean(0).tolist() for n, e in found.items()}


def test_a_student_that_is_taught_errs_less_than_the_same_alone(learned):
    assert learned["whole"][0] < learned["alone"][0] - 0.08
    assert learned["whole"][1] < learned["alone"][1] - 0.2


@pytest.mark.parametrize("without", ["no map", "no tokens"])
def test_without_one_of_the_two_terms_part_of_the_gain_is_lost(learned, without):
    assert learned["whole"][0] < learned[without][0] - 0.01
    assert learned["whole"][1] < learned[without][1]
    assert learned[without][0] < learned["alone"][0]


# 4. The teacher stays what it is.


def test_the_teacher_says_the_same_twice_and_is_not_changed_by_teaching(teacher):
    some = UNSEEN[:16]
    folder = teacher._folder
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    module = teacher.opened.student.train()
    first, second = teacher(some)[1], teacher(some)[1]
    assert not module.training
    frames.trained("mmslf", some, epochs=2, teacher=teacher, features=ATTENTION | FUSED)
    third = teacher(some)[1]
    for again in (second, third):
        assert torch.equal(first.logits, again.logits)
        for name in ATTENTION | FUSED:
            assert torch.equal(first.features[name], again.features[name])
    teacher.check()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_inputs_are_left_out_in_training_alone_and_never_the_first_word():
    made, some = frames.new("mmslf_teacher", least_kept=0.0), frames.rows(64, 0)
    batch = frames.COLLATE["mmslf_teacher"](some)
    thin = made._thinned(batch)
    gone = (thin.x["audio"] == 0) & (batch.x["audio"] != 0)
    assert 0.3 < float(gone.float().sum() / (batch.x["audio"] != 0).sum()) < 0.7
    hidden = thin.x["text"] != batch.x["text"]
    assert hidden.any()
    assert not (hidden & (~batch.mask["text"] | batch.mask["aspect"])).any()
    assert not hidden[:, 0].any()
    assert torch.equal(thin.x["context"], batch.x["context"])
    assert torch.equal(made.eval()(batch).logits, made(batch).logits)


# 5. What fits, and what does not.


def test_student_and_teacher_show_features_of_one_shape():
    some = frames.rows(3, 0)
    one, other = (
        frames.new(name).eval()(frames.COLLATE[name](some)).features for name in frames.WIDTHS
    )
    assert {n: f.shape for n, f in one.items()} == {n: f.shape for n, f in other.items()}
    assert one["fused"].shape == (3, 4, frames.NUMBERS["d"])
    assert one["attention.audio"].shape[2:] == (frames.COLLATE["mmslf"](some).x["text"].shape[1], 3)


def test_maps_are_nothing_at_padding():
    short, long = frames.rows(2, 0)
    some = [short, Row("long", "soup " * 5, long.aspect, inputs=long.inputs)]
    batch = frames.COLLATE["mmslf"](some)
    found = frames.new("mmslf").eval()(batch).features["attention.audio"]
    assert not (found * ~batch.mask["text"][:, None, :, None]).any()
    assert found[0, :, 0].sum(-1).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"steps": 4}, "(?s)text of 8 steps.*max_length"), ({"source_steps": 2}, "audio of 3 steps")],
)
def test_what_is_too_long_is_an_error_that_says_what_to_set(changed, why):
    some = [Row("1", "soup " * 5, r.aspect, inputs=r.inputs) for r in frames.rows(1, 0)]
    with pytest.raises(UserError, match=why):
        frames.new("mmslf", **changed)(frames.COLLATE["mmslf"](some))


def test_numbers_and_data_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="attn_target is plain or conditional"):
        frames.new("mmslf_teacher", attn_target="both")
    with pytest.raises(ValueError, match="one or both of audio, video"):
        frames.new("mmslf", sources=["smell"])
    with pytest.raises(TypeError, match="lairs"):
        frames.new("mmslf", lairs=2)
    with pytest.raises(ValueError, match="no post of the data has audio or video"):
        students["mmslf"](Sizes(width={"text": 9}))


@pytest.mark.parametrize("name", frames.WIDTHS)
def test_a_source_that_is_left_out_is_not_looked_at(name):
    made, some = frames.new(name, sources=["audio"]).eval(), frames.rows(4, 0)
    batch = frames.COLLATE[name](some)
    other = replace(batch, x={**batch.x, "video": batch.x["video"] + 9})
    assert "attention.video" not in made(batch).features
    assert torch.equal(made(batch).logits, made(other).logits)
    louder = replace(batch, x={**batch.x, "audio": batch.x["audio"] * -1})
    assert not torch.equal(made(batch).logits, made(louder).logits)
    both = frames.new(name).eval()
    assert not torch.equal(both(batch).logits, both(other).logits)


def test_a_frozen_encoder_learns_nothing_and_a_free_one_does():
    for frozen in (True, False):
        before = frames.new("mmslf", frozen_text=frozen).encoder.state_dict()
        before = {k: v.clone() for k, v in before.items()}
        made = frames.trained("mmslf", frames.rows(8, 0), epochs=1, frozen_text=frozen)
        same = all(torch.equal(before[k], v) for k, v in made.encoder.state_dict().items())
        assert same == frozen
        assert made.train().encoder.training != frozen
