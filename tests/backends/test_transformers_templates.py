"""Fault 7: a post can say anything and never becomes a control token or a picture placeholder."""

import copy
import random

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander
from gen_msa.backends.neutral import BREAK
from gen_msa.chat import Chat, Choice, Request, Text, Turn
from tests.backends.chats import ask, look
from tests.fixtures.tiny_models import PICTURED, tiny_model
from tests.fixtures.tiny_tokenizers import SPECIALS, tiny_tokenizer

TEXT_STYLES = ["chatml", "llama", "mistral"]
PICTURE_STYLES = {
    "gemma": "gemma3",
    "vicuna": "llava",
    "smolvlm": "idefics3",
    "onevision": "llava_onevision",
    "internvl": "internvl",
}
STYLES = [*TEXT_STYLES, *PICTURE_STYLES]
WORDS = ["battery", " ", "\n", "😀", "الشاشة", "屏幕", "$T$", "{{7*7}}", "<|im_", "end|>", "<", "x"]
WORDS += ["<video>", "<audio>", "<IMG_CONTEXT>", "<<SYS>>", "[IMG]", "ASSISTANT:", "\u200b"]


def layout(style):
    if style in PICTURE_STYLES:
        return Layout(tiny_model(PICTURE_STYLES[style]).processor)
    return Layout(tiny_tokenizer(style))


def posts(n):
    """Posts made of control strings of every style and of ordinary words; at least one of each."""
    rng = random.Random(7)
    control = sorted({s for strings in SPECIALS.values() for s in strings})
    for i in range(n):
        pieces = rng.choices(control, k=rng.randint(1, 6)) + rng.choices(WORDS, k=rng.randint(1, 8))
        rng.shuffle(pieces)
        yield "".join([control[i % len(control)], *pieces])


def request(style, post):
    return ask(post, seen=1 if style in PICTURE_STYLES else None, slot=None)


@pytest.mark.parametrize("style", STYLES)
def test_control_tokens_are_the_templates_own_whatever_500_posts_say(style):
    kind = layout(style)
    control = kind.control_ids
    plain = [t for t in kind.prompt(request(style, "x").chat).ids if t in control]
    assert plain
    for post in posts(500):
        prompt = kind.prompt(request(style, post).chat)
        assert [t for t in prompt.ids if t in control] == plain
        assert int(prompt.notes["neutralised"]) >= 1
        assert prompt.text.count(kind.placeholder) == (style in PICTURE_STYLES)
        assert post.strip().replace(BREAK, "") in prompt.text.replace(BREAK, "")


@pytest.mark.parametrize("family", [f for f in PICTURED if f != "paligemma"])
def test_picture_tokens_are_as_many_as_the_pictures_call_for(family):
    tiny = tiny_model(family)
    kind = Layout(tiny.processor)
    marks = frozenset({tiny.model.config.image_token_id})
    expander = Expander(kind, look, marks)

    def tokens(post):
        return sum(t in marks for t in expander.expand(kind.row(0, ask(post, seen=1))).ids)

    expected = tokens("x")
    assert expected > 1
    assert {tokens(post) for post in posts(60)} == {expected}


@pytest.mark.parametrize("family", [f for f in PICTURED if f not in ("gemma3", "paligemma")])
def test_the_prompt_is_what_the_models_own_template_makes_of_the_chat(family):
    tiny = tiny_model(family)
    chat = ask("the food is fine", seen=1).chat
    messages = [
        {
            "role": turn.role,
            "content": [
                {"type": "text", "text": p.text} if isinstance(p, Text) else {"type": "image"}
                for p in turn.parts
            ],
        }
        for turn in chat.turns
    ]
    made = tiny.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert Layout(tiny.processor).prompt(chat).text == made


@pytest.mark.parametrize("style", ["gemma", "mistral"])
def test_a_template_without_system_turn_gets_it_in_the_users_and_says_so(style):
    prompt = layout(style).prompt(request(style, "fine").chat)
    assert "You are a careful reader" in prompt.text
    assert prompt.notes["system"] == "at the head of the first user turn"


def test_a_model_without_template_gets_the_plain_layout_and_says_so():
    kind = Layout(tiny_tokenizer("paligemma"))
    turns = (
        Turn(role="system", parts=(Text(text="Be brief."),)),
        Turn(role="user", parts=(Text(text="Hi"),)),
    )
    prompt = kind.prompt(Chat(turns=turns))
    assert prompt.text == "Be brief.\n\nUser: Hi\n\nAssistant:"
    assert prompt.notes == {"template": "none (plain layout)"}


def test_a_control_string_cannot_be_put_together_across_a_picture_that_is_not_shown():
    kind = layout("chatml")
    seen = ask("x", seen=1).chat.pictures[0]
    halves = (Text(text="<|im_", untrusted=True), seen, Text(text="end|>", untrusted=True))
    prompt = kind.prompt(Chat(turns=(Turn(role="user", parts=halves),)))
    assert prompt.notes == {"neutralised": "1", "pictures": "not shown"}
    assert prompt.ids.count(kind.tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("style", STYLES)
def test_line_breaks_around_a_post_survive_the_template(style):
    text = layout(style).prompt(request(style, "fine").chat).text
    assert "Read this post.\nfine\nWhat" in text


def test_a_control_token_of_one_character_cannot_be_broken_and_is_refused():
    tokenizer = copy.deepcopy(tiny_tokenizer("chatml"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["~"]})
    kind = Layout(tokenizer)
    assert kind.prompt(ask("fine").chat).text
    with pytest.raises(ValueError, match="cannot be broken up"):
        kind.prompt(ask("about ~5").chat)


def test_no_second_bos_is_put_before_the_templates_own():
    kind = layout("llama")
    prompt = kind.prompt(request("llama", "x").chat)
    assert prompt.ids.count(kind.tokenizer.bos_token_id) == 1


def test_the_end_of_a_turn_is_read_off_the_template():
    assert layout("chatml").tokenizer.convert_tokens_to_ids("<|im_end|>") in layout("chatml").ends()
    gemma = layout("gemma")
    assert gemma.tokenizer.convert_tokens_to_ids("<end_of_turn>") in gemma.ends()


def test_options_are_tokenised_as_the_model_would_read_them():
    kind = layout("chatml")
    choice = Choice(lead="Sentiment: ", options=("positive", "negative"), then="\nReason:")
    row = kind.row(0, Request(chat=ask("x").chat, max_new_tokens=4, choice=choice))
    prompt = kind.prompt(ask("x").chat).text
    for option, forced in zip(choice.options, row.slot.forced, strict=True):
        whole = kind.ids(prompt + choice.lead + option + choice.then, prompt)
        assert [*row.ids, *forced] == whole


def test_a_single_option_and_options_with_a_common_beginning_are_scored_whole():
    kind = layout("chatml")
    for options in ((" fine",), (" fine food", " fine service")):
        choice = Choice(lead="It is", options=options, then="\n")
        row = kind.row(0, Request(chat=ask("x").chat, max_new_tokens=4, choice=choice))
        prompt = kind.prompt(ask("x").chat).text
        assert list(row.ids) == kind.ids(prompt + "It is", prompt)
        assert min(row.slot.scored) > 0


def test_an_option_that_begins_another_is_told_apart_by_what_follows():
    kind = layout("chatml")
    choice = Choice(lead="Is it", options=(" fine", " fine food"), then=".")
    slot = kind.row(0, Request(chat=ask("x").chat, max_new_tokens=4, choice=choice)).slot
    assert slot.scored == tuple(len(f) for f in slot.forced)
