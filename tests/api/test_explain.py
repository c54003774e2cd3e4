"""The Python API gives what the command line gives, from anything that holds posts."""

import asyncio
import warnings
from pathlib import Path

import pandas
import pytest

import gen_msa as gm
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Post
from tests.fixtures.commands import run
from tests.fixtures.posts import post, write_image, write_posts

TEXT = "Great screen, awful battery"


def explain(posts, **options):
    return gm.explain(posts, model="echo", **options)


def test_explain_file_equals_the_command_line(tmp_path, monkeypatch, capfd):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(12)))
    monkeypatch.chdir(tmp_path)
    run("explain posts.jsonl --model echo -o cli.jsonl", monkeypatch, capfd)

    opinions = explain(path)

    assert len(opinions) == 24
    assert (
        opinions.to_jsonl(tmp_path / "api.jsonl").read_bytes()
        == (tmp_path / "cli.jsonl").read_bytes()
    )


@pytest.mark.models
def test_builtin_text_equals_the_command_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    command = f"explain --text '{TEXT}' --aspect screen --aspect battery -o cli.jsonl"
    run(command, monkeypatch, capfd)
    model = gm.load("builtin")

    by_term = model.explain(TEXT, aspects=["screen", "battery"])
    by_aspect = model.explain(
        Post(id="post", text=TEXT, aspects=(Aspect(term="screen"), Aspect(term="battery")))
    )

    expected = Example.model_validate_json((tmp_path / "cli.jsonl").read_text("utf-8"))
    assert tuple(by_term) == expected.opinions
    # An aspect without an offset is located, so that the model sees the same question.
    assert tuple(by_aspect) == expected.opinions


@pytest.mark.parametrize(
    "posts",
    [
        TEXT,
        [TEXT],
        {"text": TEXT},
        [{"text": TEXT}],
        Post(id="post", text=TEXT),
        Example(post=Post(id="post", text=TEXT)),
        pandas.DataFrame({"text": [TEXT]}),
        (row for row in [TEXT]),
    ],
    ids=["text", "texts", "row", "rows", "post", "example", "frame", "generator"],
)
def test_explain_takes_texts_rows_posts_and_frames(posts):
    opinions = explain(posts, aspects=["screen", Aspect(term="battery")])

    assert [(o.aspect.term, o.aspect.start) for o in opinions] == [("screen", 6), ("battery", 20)]


def test_explain_takes_named_columns_and_keeps_the_others(tmp_path):
    write_image(tmp_path / "a.png")
    frame = pandas.DataFrame(
        {
            "caption": [TEXT, "Slow train"],
            "picture_path": [str(tmp_path / "a.png"), None],
            "things": [["screen"], ["train"]],
            "brand": ["A", "B"],
            "likes": [3, 4],
            "key": ["x", "y"],
            "date": pandas.to_datetime(["2026-01-02", None]),
        }
    )

    opinions = explain(
        frame, text="caption", image="picture_path", aspects="things", id="key", media_root=tmp_path
    )

    first, second = (e.post for e in opinions.examples)
    assert (first.id, second.id) == ("x", "y")
    assert [m.path for m in first.media] == ["a.png"]
    assert second.media == ()
    assert first.meta == {"brand": "A", "likes": 3, "date": "2026-01-02T00:00:00"}
    assert second.meta == {"brand": "B", "likes": 4}
    assert [o.aspect.term for o in opinions] == ["screen", "train"]


def test_explain_keeps_offsets_that_are_given():
    text = "a screen and a screen"
    opinions = explain(Post(id="1", text=text, aspects=(Aspect(term="screen", start=15),)))

    assert [o.aspect.start for o in opinions] == [15]


def test_explain_names_a_missing_column():
    with pytest.raises(UserError, match="no column 'body'") as e:
        explain([{"text": TEXT}], text="body")

    assert "text" in e.value.hint


def test_explain_refuses_a_column_of_aspects_for_a_text():
    with pytest.raises(UserError, match="names a column") as e:
        explain(TEXT, aspects="screen")

    assert e.value.hint == "give a list: aspects=['screen']"


@pytest.mark.parametrize("posts", [7, [7], [["a"]]])
def test_explain_refuses_what_holds_no_posts(posts):
    with pytest.raises(UserError):
        explain(posts)


def test_explain_refuses_unknown_settings_by_name():
    with pytest.raises(UserError, match="promt"):
        explain(TEXT, promt="x")


def test_explain_of_a_missing_file_says_so():
    with pytest.raises(UserError, match=r"posts\.jsonl"):
        explain("posts.jsonl")


def test_explain_warns_about_rejected_rows_and_returns_them(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "good food"}\n{"txt": 1}\n', "utf-8")

    with pytest.warns(UserWarning, match="1 rows could not be read"):
        opinions = explain(path)

    assert [r.line for r in opinions.rejected] == [2]
    assert len(opinions.examples) == 1


def test_model_is_loaded_once_and_used_many_times():
    model = gm.load("echo", prompt="predict/plain")
    first, again = (model.explain(TEXT, aspects=["screen"]) for _ in range(2))

    assert list(first) == list(again)
    assert first[0].provenance["prompt"].startswith("predict/plain@")
    assert list(gm.explain(TEXT, model=model, aspects=["screen"])) == list(first)
    assert model.preview(TEXT, aspects=["screen"])[0].aspect == "screen"
    with pytest.raises(UserError, match="has its settings"):
        gm.explain(TEXT, model=model, prompt="predict/full")


def test_explain_works_inside_a_running_event_loop():
    async def main():
        return explain(TEXT, aspects=["screen"])

    assert len(asyncio.run(main())) == 1


def test_cache_keeps_answers_for_the_next_run(tmp_path):
    explain([TEXT], aspects=["screen"], cache=tmp_path / "answers.cache")
    opinions = explain([TEXT], aspects=["screen"], cache=tmp_path / "answers.cache")

    assert (tmp_path / "answers.cache").is_file()
    assert len(opinions) == 1


def test_annotate_returns_accepted_and_rejected_answers():
    posts = [f"The soup number {i} is fine" for i in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opinions = gm.annotate(
            [{"text": t, "aspects": ["soup"]} for t in posts],
            model="echo",
            prompt="teacher/rationale",
            filters={"length": {"min_words": 100, "max_words": 200}},
            retries=0,
        )

    assert len(opinions.examples) == 6
    assert len(opinions) == 0
    assert len(opinions.rejected) == 6
    assert all("length" in r.reason for r in opinions.rejected)


def test_read_posts_gives_a_sequence_of_posts(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(5)))
    posts = gm.read_posts(path, limit=4)

    assert len(posts) == 4
    assert posts[0] == post(0)
    assert list(posts[1:3]) == [post(1), post(2)]
    assert posts.media_root == Path(tmp_path)
    assert len(explain(posts[:2])) == 4
