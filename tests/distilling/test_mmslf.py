"""MMSLF by its two recipes: contexts reach the teacher alone, and dev contexts carry no label."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import save_file  # noqa: E402

from gen_msa.data import open_source  # noqa: E402
from gen_msa.distilling import recipe  # noqa: E402
from gen_msa.distilling.filling import Asked  # noqa: E402
from gen_msa.distilling.loop import distil  # noqa: E402
from gen_msa.distilling.rows import gather  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from gen_msa.readers import ReaderSettings, make  # noqa: E402
from gen_msa.students.common.keeping import open_student  # noqa: E402
from gen_msa.types import Example, Media, Opinion  # noqa: E402
from tests.fixtures.frames import NUMBERS  # noqa: E402
from tests.fixtures.tiny_students import example, write_examples, write_tokenizer  # noqa: E402

MEDIA = ("audio", "video")


def heard(i):
    one = example(i)
    path = "seen.safetensors"
    media = tuple(Media(kind="features", path=path, key=f"{m}/{one.post.id}") for m in MEDIA)
    return one.model_copy(update={"post": one.post.model_copy(update={"media": media})})


def told(one, says):
    said = (Opinion(by="mllm", aspect=a, explanation=says) for a in one.post.aspects)
    return Example(post=one.post, opinions=tuple(said))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Files as the recipes name them, in the folder that one stands in."""
    monkeypatch.chdir(tmp_path)
    found = [heard(i) for i in range(24)]
    dice = torch.Generator().manual_seed(0)
    tensors = {m.key: torch.randn(3, 4, generator=dice) for e in found for m in e.post.media}
    save_file(tensors, tmp_path / "seen.safetensors")
    (tmp_path / "contexts").mkdir()
    for name, some in (("train", found[:18]), ("dev", found[18:])):
        write_examples(tmp_path / f"{name}.jsonl", some)
        written = [told(e, "They smile and raise their voice.") for e in some]
        write_examples(tmp_path / "contexts" / f"mosi_{name}.jsonl", written)
    return tmp_path


def shipped(name, **changed):
    found = recipe.load(name)
    numbers = {**found.numbers, **NUMBERS, "steps": 96, "attn_target": "conditional"}
    if name == "mmslf":
        del numbers["attn_target"]
    tiny = {
        "numbers": numbers,
        "warm": False,
        "num_train_epochs": 1,
        "data": (recipe.Data(source="train.jsonl"),),
        "dev": (recipe.Data(source="dev.jsonl"),),
    }
    return found.model_copy(update={**tiny, **changed})


def test_the_recipes_run_one_after_the_other_and_the_teacher_stays_as_it_was(corpus):
    words = write_tokenizer(corpus)
    teacher = distil(shipped("mmslf_teacher"), tokenizer=words)
    before = {p.name: p.read_bytes() for p in teacher.iterdir()}
    student = distil(shipped("mmslf"), tokenizer=words)
    assert {p.name: p.read_bytes() for p in teacher.iterdir()} == before
    taught = recipe.load("mmslf").losses.features
    assert set(taught) == {"fused", "attention.audio"}
    opened = open_student(student)
    assert opened.kept.cues == {}
    assert "context" not in opened.collate.widths
    alone = distil(
        shipped("mmslf", teacher="", losses=recipe.Losses(), output_dir="alone"), tokenizer=words
    )
    weights = [(f / "model.safetensors").read_bytes() for f in (student, alone)]
    assert weights[0] != weights[1]


def test_what_the_teacher_is_shown_of_dev_posts_carries_no_label(corpus):
    found = shipped("mmslf_teacher")
    asked = Asked(("text", "audio", "video", "context"), found.cues)

    assert all(r.context for r in gather(found.dev[0], found, asked).rows)
    path = corpus / "contexts" / "mosi_dev.jsonl"
    leaking = [told(heard(i), "They smile. Label: positive") for i in range(18, 24)]
    write_examples(path, leaking)
    with pytest.raises(UserError, match="12 contexts carry a label, first dev"):
        gather(found.dev[0], found, asked)


def test_the_student_reads_posts_for_which_no_context_was_ever_made(corpus):
    words = write_tokenizer(corpus)
    distil(shipped("mmslf_teacher"), tokenizer=words)
    student = distil(shipped("mmslf"), tokenizer=words)
    for path in (corpus / "contexts").iterdir():
        path.unlink()
    reader = make(ReaderSettings(reader=f"student:{student}"), corpus)
    posts = [r.post for r in open_source("dev.jsonl").rows() if isinstance(r, Example)]
    said = [o for reading in reader.read(posts) for o in reading.opinions]
    assert len(said) == sum(len(p.aspects) for p in posts)
    assert all(o.polarity is not None for o in said)
