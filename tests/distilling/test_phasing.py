"""Students that train in stages, with two optimisers, or with a memory; and what goes wrong."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from torch.nn import functional  # noqa: E402

from gen_msa.distilling.recipe import Recipe  # noqa: E402
from gen_msa.distilling.stepping import Stepper  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.students import Phase, Phased, Remembering, Sizes  # noqa: E402
from tests.distilling.doubles.estimating import Estimating  # noqa: E402
from tests.distilling.doubles.staging import Staging  # noqa: E402
from tests.fixtures.tiny_students import rows, student, words  # noqa: E402

SIZES = Sizes(width={"text": words().vocabulary})
BATCHES = [words()(rows(4, i)) for i in range(0, 24, 4)]


def recipe(student, **changed):
    told = {"output_dir": "nowhere", "data": ({"source": "nothing"},), "student": student}
    told |= {"learning_rate": 1e-2, "num_train_epochs": 2, "max_grad_norm": 1e9}
    return Recipe.model_validate({**told, **changed})


def made(kind, **numbers):
    torch.manual_seed(0)
    return kind(SIZES, **numbers)


def stepper(one, name, **changed):
    steps = 2 * len(BATCHES)
    return Stepper(one, recipe(name, **changed), steps=steps, rows=rows(8), fresh=set())


def moved(one, before):
    return {n for n, p in one.state_dict().items() if not torch.equal(p, before[n])}


def snapshot(one):
    return {n: p.detach().clone() for n, p in one.state_dict().items()}


def by_hand():
    """MMIM's two optimisers, written out."""
    one = made(Estimating)
    estimator = torch.optim.AdamW(one.estimator.parameters(), lr=0.05, weight_decay=0.0)
    rest = [p for n, p in one.named_parameters() if not n.startswith("estimator")]
    main = torch.optim.AdamW(rest, lr=1e-2, weight_decay=0.0)
    for done, batch in enumerate(2 * BATCHES):
        for optimizer, rate in ((estimator, 0.05), (main, 1e-2)):
            optimizer.param_groups[0]["lr"] = rate * (1 - done / (2 * len(BATCHES)))
            said = one(batch)
            loss = said.losses["likelihood"]
            if optimizer is main:
                hard = functional.cross_entropy(said.logits, batch.target)
                loss = said.losses["information"] + hard
            optimizer.zero_grad()
            one.estimator.zero_grad()
            loss.backward()
            optimizer.step()
    return one


def test_two_optimisers_take_turns_within_a_step_as_if_written_by_hand():
    one = made(Estimating)
    rates = {"estimator": 0.05}
    own = stepper(one, "estimating", phase_learning_rates=rates, weight_decay=0.0, warmup_ratio=0.0)
    for epoch in (0, 1):
        own.begin(epoch)
        for batch in BATCHES:
            own.step(batch)
    theirs = dict(by_hand().named_parameters())
    for name, p in one.named_parameters():
        assert torch.allclose(p, theirs[name], atol=1e-6), name


def test_the_estimator_has_moved_before_the_rest_looks_at_it_and_the_rest_moves_it_not():
    one = made(Estimating)
    before = snapshot(one)
    stepper(one, "estimating").step(BATCHES[0])
    first, second = one.seen
    assert torch.equal(first, before["estimator.weight"])
    assert not torch.equal(first, second)
    assert torch.equal(second, one.estimator.weight)
    assert moved(one, before) == set(before)


def test_each_stage_moves_its_own_and_the_other_stands_still_to_the_bit():
    one = made(Staging)
    own = stepper(one, "staging")
    begun = snapshot(one)
    for batch in BATCHES:
        own.step(batch)
    middle = snapshot(one)
    assert moved(one, begun) == {"words.weight", "body.weight", "body.bias"}
    assert own.rate == 0
    own.begin(1)
    assert own.rate > 0
    for batch in BATCHES:
        own.step(batch)
    assert moved(one, middle) == {"head.weight", "head.bias"}


def test_a_loss_of_one_phase_is_in_no_other():
    one = made(Staging)
    batch = BATCHES[0]
    loss = stepper(one, "staging").loss(batch, None, Phase("head", ("head.",)))[0]
    hard = functional.cross_entropy(one.train()(batch).logits, batch.target)
    assert loss.item() == pytest.approx(hard.item())


def test_plain_students_have_one_phase_and_no_memory():
    one = student()
    assert not isinstance(one, Phased | Remembering)
    assert len(stepper(one, "text").state) == 1
    assert isinstance(student("self_mm"), Remembering)


def told(*phases):
    class Told(Staging):
        def phases(self, epoch):
            return phases

    return made(Told)


@pytest.mark.parametrize(
    ("phases", "changed", "why"),
    [
        (
            (Phase("head", ("head.",)),),
            {},
            r"no phase of this run moves words\.weight, body\.weight",
        ),
        ((), {}, "has no phase in epoch 0"),
        ((Phase("a"), Phase("a", ("head.",))), {}, "different phases named a"),
        ((Phase("a"), Phase("b", ("haed.",))), {}, "phase b of staging moves no tensor"),
        ((Phase("a"),), {"phase_learning_rates": {"b": 1.0}}, "no phase 'b'; there are a"),
    ],
)
def test_a_plan_that_would_leave_something_out_is_an_error(phases, changed, why):
    with pytest.raises(UserError, match=why):
        stepper(told(*phases), "staging", **changed)


def test_a_loss_that_is_not_there_and_one_that_moves_nothing_are_seen_by_the_probe():
    with pytest.raises(UserError, match="phase a: no loss rebilt; there are rebuilt"):
        stepper(told(Phase("a", loss="rebilt")), "staging").probe(BATCHES[0])
    late = told(Phase("a"), Phase("b", ("head.",), loss="rebuilt"))
    with pytest.raises(UserError, match=r"no gradient reaches head\.weight"):
        stepper(late, "staging").probe(BATCHES[0])
