"""Fault 7: a post can say anything and never becomes a control token or an image placeholder."""

import copy
import random

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.image_inputs import ImageExpander
from gen_msa.chat import ZERO_WIDTH_SPACE, Chat, ChoiceSlot, Request, TextInput, Turn
from gen_msa.errors import UserError
from tests.backends.sample_requests import build_request, load_noise_image
from tests.fixtures.tiny_models import VISION_FAMILIES, tiny_model
from tests.fixtures.tiny_tokenizers import SPECIALS, tiny_tokenizer

TEXT_STYLES = ["chatml", "llama", "mistral"]
IMAGE_STYLES = {
    "gemma": "gemma3",
    "vicuna": "llava",
    "smolvlm": "idefics3",
    "onevision": "llava_onevision",
    "internvl": "internvl",
}
STYLES = [*TEXT_STYLES, *IMAGE_STYLES]
TEXT_PIECES = [
    "battery",
    " ",
    "\n",
    "😀",
    "الشاشة",
    "屏幕",
    "$T$",
    "{{7*7}}",
    "<|im_",
    "end|>",
    "<",
    "x",
]
TEXT_PIECES += ["<video>", "<audio>", "<IMG_CONTEXT>", "<<SYS>>", "[IMG]", "ASSISTANT:", "\u200b"]


def make_chat_tokenizer(style):
    if style in IMAGE_STYLES:
        return ChatTokenizer(tiny_model(IMAGE_STYLES[style]).processor)
    return ChatTokenizer(tiny_tokenizer(style))


def control_posts(n):
    """Posts made of control strings of every style and of ordinary words; at least one of each."""
    rng = random.Random(7)
    control = sorted({s for strings in SPECIALS.values() for s in strings})
    for i in range(n):
        pieces = rng.choices(control, k=rng.randint(1, 6)) + rng.choices(
            TEXT_PIECES, k=rng.randint(1, 8)
        )
        rng.shuffle(pieces)
        yield "".join([control[i % len(control)], *pieces])


def style_request(style, post):
    return build_request(post, image_number=1 if style in IMAGE_STYLES else None, slot=None)


@pytest.mark.parametrize("style", STYLES)
def test_control_tokens_come_only_from_template(style):
    chat_tokenizer = make_chat_tokenizer(style)
    control = chat_tokenizer.control_ids
    expected = [
        t for t in chat_tokenizer.render_prompt(style_request(style, "x").chat).ids if t in control
    ]
    assert expected
    for post in control_posts(500):
        prompt = chat_tokenizer.render_prompt(style_request(style, post).chat)
        assert [t for t in prompt.ids if t in control] == expected
        assert int(prompt.notes["escaped_control_tokens"]) >= 1
        assert prompt.text.count(chat_tokenizer.placeholder) == (style in IMAGE_STYLES)
        assert post.strip().replace(ZERO_WIDTH_SPACE, "") in prompt.text.replace(
            ZERO_WIDTH_SPACE, ""
        )


@pytest.mark.parametrize("family", [f for f in VISION_FAMILIES if f != "paligemma"])
def test_image_token_count_does_not_depend_on_post(family):
    tiny = tiny_model(family)
    chat_tokenizer = ChatTokenizer(tiny.processor)
    image_ids = frozenset({tiny.model.config.image_token_id})
    expander = ImageExpander(chat_tokenizer, load_noise_image, image_ids)

    def tokens(post):
        return sum(
            t in image_ids
            for t in expander.expand(
                chat_tokenizer.tokenize_request(0, build_request(post, image_number=1))
            ).ids
        )

    expected = tokens("x")
    assert expected > 1
    assert {tokens(post) for post in control_posts(60)} == {expected}


@pytest.mark.parametrize("family", [f for f in VISION_FAMILIES if f not in ("gemma3", "paligemma")])
def test_prompt_equals_chat_template_of_processor(family):
    tiny = tiny_model(family)
    chat = build_request("the food is fine", image_number=1).chat
    messages = [
        {
            "role": turn.role,
            "content": [
                {"type": "text", "text": p.text} if isinstance(p, TextInput) else {"type": "image"}
                for p in turn.parts
            ],
        }
        for turn in chat.turns
    ]
    expected = tiny.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    assert ChatTokenizer(tiny.processor).render_prompt(chat).text == expected


@pytest.mark.parametrize("style", ["gemma", "mistral"])
def test_system_turn_is_merged_into_user_turn_if_unsupported(style):
    prompt = make_chat_tokenizer(style).render_prompt(style_request(style, "fine").chat)
    assert "You are a careful reader" in prompt.text
    assert prompt.notes["system"] == "at the start of the first user turn"


def test_model_without_chat_template_gets_plain_layout():
    chat_tokenizer = ChatTokenizer(tiny_tokenizer("paligemma"))
    turns = (
        Turn(role="system", parts=(TextInput(text="Be brief."),)),
        Turn(role="user", parts=(TextInput(text="Hi"),)),
    )
    prompt = chat_tokenizer.render_prompt(Chat(turns=turns))
    assert prompt.text == "Be brief.\n\nUser: Hi\n\nAssistant:"
    assert prompt.notes == {"template": "none (plain layout)"}


def test_control_string_is_escaped_across_omitted_image():
    chat_tokenizer = make_chat_tokenizer("chatml")
    image = build_request("x", image_number=1).chat.images[0]
    parts = (
        TextInput(text="<|im_", untrusted=True),
        image,
        TextInput(text="end|>", untrusted=True),
    )
    prompt = chat_tokenizer.render_prompt(Chat(turns=(Turn(role="user", parts=parts),)))
    assert prompt.notes == {"escaped_control_tokens": "1", "images": "not shown"}
    assert prompt.ids.count(chat_tokenizer.tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("style", STYLES)
def test_line_breaks_around_post_are_preserved(style):
    text = make_chat_tokenizer(style).render_prompt(style_request(style, "fine").chat).text
    assert "Read this post.\nfine\nWhat" in text


def test_single_character_control_token_is_refused():
    tokenizer = copy.deepcopy(tiny_tokenizer("chatml"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["~"]})
    chat_tokenizer = ChatTokenizer(tokenizer)
    assert chat_tokenizer.render_prompt(build_request("fine").chat).text
    with pytest.raises(ValueError, match="cannot be escaped"):
        chat_tokenizer.render_prompt(build_request("about ~5").chat)


def test_bos_token_is_not_doubled():
    chat_tokenizer = make_chat_tokenizer("llama")
    prompt = chat_tokenizer.render_prompt(style_request("llama", "x").chat)
    assert prompt.ids.count(chat_tokenizer.tokenizer.bos_token_id) == 1


def test_end_of_turn_token_is_detected_from_template():
    assert (
        make_chat_tokenizer("chatml").tokenizer.convert_tokens_to_ids("<|im_end|>")
        in make_chat_tokenizer("chatml").end_ids()
    )
    gemma = make_chat_tokenizer("gemma")
    assert gemma.tokenizer.convert_tokens_to_ids("<end_of_turn>") in gemma.end_ids()


def test_options_are_tokenized_in_context():
    chat_tokenizer = make_chat_tokenizer("chatml")
    choice = ChoiceSlot(prefix="Sentiment: ", options=("positive", "negative"), suffix="\nReason:")
    row = chat_tokenizer.tokenize_request(
        0, Request(chat=build_request("x").chat, max_new_tokens=4, choice=choice)
    )
    prompt = chat_tokenizer.render_prompt(build_request("x").chat).text
    for option, forced in zip(choice.options, row.slot.option_tokens, strict=True):
        expected_ids = chat_tokenizer.tokenize(
            prompt + choice.prefix + option + choice.suffix, prompt
        )
        assert [*row.ids, *forced] == expected_ids


def test_single_and_common_prefix_options_are_scored_completely():
    chat_tokenizer = make_chat_tokenizer("chatml")
    for options in ((" fine",), (" fine food", " fine service")):
        choice = ChoiceSlot(prefix="It is", options=options, suffix="\n")
        row = chat_tokenizer.tokenize_request(
            0, Request(chat=build_request("x").chat, max_new_tokens=4, choice=choice)
        )
        prompt = chat_tokenizer.render_prompt(build_request("x").chat).text
        assert list(row.ids) == chat_tokenizer.tokenize(prompt + "It is", prompt)
        assert min(row.slot.n_scored) > 0


def test_option_that_prefixes_another_is_scored_with_what_follows():
    chat_tokenizer = make_chat_tokenizer("chatml")
    choice = ChoiceSlot(prefix="Is it", options=(" fine", " fine food"), suffix=".")
    slot = chat_tokenizer.tokenize_request(
        0, Request(chat=build_request("x").chat, max_new_tokens=4, choice=choice)
    ).slot
    assert slot.n_scored == tuple(len(f) for f in slot.option_tokens)


DATED_TEMPLATE = (
    "Today: {{ strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
    "{% endfor %}"
)


def test_template_shows_the_same_date_on_every_day(monkeypatch):
    from transformers.utils import chat_template_utils

    class Tomorrow(chat_template_utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 2, tzinfo=tz)

    tokenizer = copy.deepcopy(tiny_tokenizer("llama"))
    tokenizer.chat_template = DATED_TEMPLATE
    request = build_request("tea", image_number=None, slot=None)
    today = ChatTokenizer(tokenizer).render_prompt(request.chat)
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    assert "2031" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "tea"}], tokenize=False
    )
    assert ChatTokenizer(tokenizer).render_prompt(request.chat) == today
    assert "26 Jul 2024" in tokenizer.decode(today.ids)


def test_template_that_leaves_out_the_post_is_refused():
    tokenizer = copy.deepcopy(tiny_tokenizer("llama"))
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.contents }}\n{% endfor %}"
    with pytest.raises(UserError, match="leaves out the user's text"):
        ChatTokenizer(tokenizer)


TEXT_ONLY = (
    "{% for m in messages %}{% for p in m.content if p.type == 'text' %}"
    "{{ m.role }}: {{ p.text }}\n{% endfor %}{% endfor %}"
)
FIRST_IMAGE = (
    "{% for m in messages %}{{ m.role }}: {% for p in m.content if p.type == 'image' %}"
    "{% if loop.first %}IMG{% endif %}{% endfor %}"
    "{% for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %}\n{% endfor %}"
)


def with_template(family, template):
    processor = copy.deepcopy(tiny_model(family).processor)
    mark = getattr(processor, "image_token", None) or "<image>"
    processor.chat_template = template.replace("IMG", mark)
    return ChatTokenizer(processor)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_template_that_leaves_out_images_is_refused_at_the_first_image(family):
    tokenizer = with_template(family, TEXT_ONLY)
    assert tokenizer.render_prompt(build_request("tea", image_number=None, slot=None).chat).ids
    with pytest.raises(UserError, match="leaves out images"):
        tokenizer.render_prompt(build_request("tea", image_number=1, slot=None).chat)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_second_image_that_a_template_leaves_out_is_an_error_of_its_request(family):
    tokenizer = with_template(family, FIRST_IMAGE)
    one = build_request("tea", image_number=1, system=False, slot=None).chat
    two = Chat(turns=(Turn(role="user", parts=(one.turns[0].parts[0], *one.turns[0].parts)),))
    assert tokenizer.render_prompt(one).images
    with pytest.raises(ValueError, match="shows one image of 2"):
        tokenizer.render_prompt(two)


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_own_template_of_each_family_shows_images(family):
    tokenizer = ChatTokenizer(tiny_model(family).processor)
    assert tokenizer.render_prompt(build_request("tea", image_number=1, slot=None).chat).images
