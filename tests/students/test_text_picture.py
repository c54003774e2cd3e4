"""The student that may look: without a picture it is the text's own, and where the picture decides,
looking is what makes it right.
"""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.students import CLASSES, Batch, Row, Sizes, students  # noqa: E402
from gen_msa.students.common import encoder  # noqa: E402
from gen_msa.students.common.reading import probabilities  # noqa: E402
from gen_msa.types import WHOLE_POST  # noqa: E402
from tests.fixtures.posts import FEELINGS  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    FELT,
    TINY,
    WIDTH,
    rows,
    shown,
    student,
    words,
)

COLLATE = words(widths={"picture": WIDTH})


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _words_alone(made, batch: Batch) -> torch.Tensor:
    heard = encoder.hear(made.encoder, batch)
    return made.head(torch.cat([heard.text, heard.aspect], dim=1))


def test_without_a_picture_it_is_exactly_the_text_path():
    made = student("text_picture").eval()
    batch = COLLATE([*rows(3), *shown(rows(2, 3))])
    said = made(batch)
    assert batch.present["picture"].tolist() == [False] * 3 + [True] * 2
    same = (said.logits == _words_alone(made, batch)).all(1)
    assert same.tolist() == [True] * 3 + [False] * 2
    gate = said.features["gate"]
    assert gate[:3].tolist() == [0.0] * 3
    assert ((gate[3:] > 0) & (gate[3:] < 1)).all()


def test_what_a_picture_says_lies_in_its_steps_and_not_in_their_padding():
    made = student("text_picture").eval()
    short, long = shown(rows(1)), shown(rows(1, 1), steps=9)
    batch = COLLATE([*short, *long])
    filled = {**batch.x, "picture": batch.x["picture"].masked_fill(_padding(batch), 9.0)}
    assert torch.equal(made(batch).logits, made(replace(batch, x=filled)).logits)
    seen = {**batch.x, "picture": batch.x["picture"] + (~_padding(batch)).float()[..., :1]}
    seen["picture"][..., 0] += 1
    assert not torch.allclose(made(batch).logits, made(replace(batch, x=seen)).logits)


def _padding(batch: Batch) -> torch.Tensor:
    return ~batch.mask["picture"].unsqueeze(-1)


def test_pictures_are_hidden_in_training_alone_and_as_often_as_said():
    made = student("text_picture", hidden_pictures=0.5, picture_dropout=0.0)
    batch = COLLATE(shown(rows(1)) * 400)
    assert 120 < (made.train()(batch).features["gate"] == 0).sum() < 280
    assert (made.eval()(batch).features["gate"] > 0).all()


def test_data_without_pictures_is_refused_with_the_student_for_it():
    with pytest.raises(ValueError, match="use the student `text`"):
        students["text_picture"](Sizes(width={"text": 40}), **TINY)


def _made_up(n: int, start: int, *, picture_decides: bool) -> list[Row]:
    """Posts of a feeling in words and one in the picture: at one of its four steps, in one number.

    Which of the two is the label is the whole difference.
    """
    dice = torch.Generator().manual_seed(start)
    found = []
    for i in range(n):
        word = FEELINGS[int(torch.randint(6, (), generator=dice))]
        drawn, place = torch.randint(3, (2,), generator=dice).tolist()
        picture = 0.3 * torch.randn(4, WIDTH, generator=dice)
        picture[place, drawn] += 2.0
        target = CLASSES[drawn] if picture_decides else FELT[word]
        text, inputs = f"the soup is {word}", {"picture": picture}
        found.append(Row(f"{start + i}", text, WHOLE_POST, target, inputs=inputs))
    return found


def _learned(data: list[Row], *, steps: int = 250):
    torch.manual_seed(1)
    made = student("text_picture").train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    dice = torch.Generator().manual_seed(2)
    for _ in range(steps):
        batch = COLLATE([data[i] for i in torch.randint(len(data), (32,), generator=dice)])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(made(batch).logits, batch.target).backward()
        optimizer.step()
    return made


def _share(made, data: list[Row]) -> float:
    said = probabilities(made, COLLATE, data)
    right = [CLASSES[p.index(max(p))] is r.target for p, r in zip(said, data, strict=True)]
    return sum(right) / len(right)


def _swapped(data: list[Row]) -> list[Row]:
    """Each row with the picture of the next."""
    return [replace(r, inputs=n.inputs) for r, n in zip(data, [*data[1:], data[0]], strict=True)]


def _blind(data: list[Row]) -> list[Row]:
    return [replace(r, inputs={}) for r in data]


def test_where_the_picture_decides_looking_wins_by_far():
    made = _learned(_made_up(400, 0, picture_decides=True))
    held_out = _made_up(200, 9000, picture_decides=True)
    looking = _share(made, held_out)
    assert looking > 0.9
    assert looking > _share(made, _swapped(held_out)) + 0.4
    assert looking > _share(made, _blind(held_out)) + 0.4


def test_where_words_decide_the_picture_is_passed_over():
    made = _learned(_made_up(400, 0, picture_decides=False))
    held_out = _made_up(200, 9000, picture_decides=False)
    looking = _share(made, held_out)
    assert looking > 0.95
    assert abs(looking - _share(made, _swapped(held_out))) < 0.03
    assert abs(looking - _share(made, _blind(held_out))) < 0.03
