"""The real server with a text model and its adapter, asked through `http:`."""

import json
import shutil

import httpx
import pytest

from gen_msa import manifest
from gen_msa.backends import BackendOptions
from gen_msa.backends._messages import messages
from gen_msa.chat import Chat, Choice, Request, Text, Turn
from tests.fixtures.benches import bench
from tests.vllm.servers import serving, start

shareable = bench("vllm_prefix").shareable

CHOICE = Choice(lead="Sentiment:", options=(" bad", " fine", " good"), then="\nExplanation:")
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["bad", "fine", "good"]},
        "why": {"type": "string", "maxLength": 12},
    },
    "required": ["label", "why"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(text_model, text_adapter, tmp_path_factory):
    with serving(f"{text_model}@{text_adapter}", tmp_path_factory.mktemp("log")) as it:
        yield it


def ask(words, *, new=40, **more):
    turns = (
        Turn(role="system", parts=(Text(text="Be brief."),)),
        Turn(role="user", parts=(Text(text=words, untrusted=True), Text(text=" Why?"))),
    )
    return Request(chat=Chat(turns=turns), max_new_tokens=new, **more)


def client(server, name="mabsa", **options):
    from gen_msa.backends.http import Http

    options = BackendOptions(**{"api_key_variable": "", "retries": 0, **options})
    return Http(f"{server.url}/v1#{name}", options)


def test_it_is_ready_once_it_answers_as_training_did(server):
    ready = server.event("ready")
    assert ready["probe"] == "the server answers as training did"
    assert ready["models"] == "mabsa, tiny-llama"


def test_the_adapter_s_answers_are_not_the_base_s_and_the_same_twice(server):
    posts = [ask(f"post {i} was cold <|eot_id|>") for i in range(8)]
    worn, again = client(server).complete(posts), client(server).complete(posts)
    bare = client(server, "tiny-llama").complete(posts)
    assert [c.finish_reason == "error" for c in worn + bare] == [False] * 16
    assert [c.text for c in worn] == [c.text for c in again]
    assert [c.text for c in worn] != [c.text for c in bare]
    assert worn[0].notes["neutralised"] == "1"


def test_answers_are_those_of_the_same_model_in_this_process(server, text_model, text_adapter):
    from gen_msa.backends import backends

    here = backends["transformers"](f"{text_model}@{text_adapter}", BackendOptions(device="cpu"))
    posts = [ask(f"post {i}", new=12) for i in range(6)]
    expected, found = here.complete(posts), client(server).complete(posts)
    assert [c.prompt_tokens for c in found] == [c.prompt_tokens for c in expected]
    assert [c.text for c in found] == [c.text for c in expected]


def test_a_slot_a_schema_and_free_words_each_keep_their_form(server):
    slot = client(server, slots=True).complete([ask("hi", choice=CHOICE, json_schema=SCHEMA)])[0]
    assert slot.notes["form"] == "slot"
    assert slot.text.startswith(tuple(CHOICE.lead + o for o in CHOICE.options))
    made, free = client(server).complete(
        [ask("hi", new=80, choice=CHOICE, json_schema=SCHEMA), ask("x")]
    )
    assert made.notes["form"] == "schema"
    assert json.loads(made.text, strict=False)["label"] in ("bad", "fine", "good")
    assert set(made.option_logprobs or CHOICE.options) == set(CHOICE.options)
    assert free.notes["form"] == "free"
    assert not [n for c in (slot, made, free) for n in c.notes if n == "server_without"]


def test_json_has_no_blanks_of_its_own(server):
    (made,) = client(server).complete([ask("hi", new=80, json_schema=SCHEMA)])
    assert made.text.startswith('{"label":"')


def test_an_answer_that_is_cut_says_so_and_too_long_a_prompt_is_that_row_s_error(server):
    cut, long, well = client(server).complete([ask("hi", new=3), ask("word " * 9000), ask("hi")])
    assert (cut.finish_reason, cut.new_tokens) == ("length", 3)
    assert long.finish_reason == "error"
    assert "4096" in long.error or "maximum" in long.error
    assert well.finish_reason != "error"


def test_streamed_words_are_the_words_that_are_not(server):
    body = {"model": "mabsa", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 24}
    body |= {"temperature": 0, "seed": 0}
    door = f"{server.url}/v1/chat/completions"
    whole = httpx.post(door, json=body, timeout=60, trust_env=False).json()
    said = ""
    with httpx.stream(
        "POST", door, json={**body, "stream": True}, timeout=60, trust_env=False
    ) as r:
        for line in r.iter_lines():
            if line.startswith("data: {"):
                said += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    assert said == whole["choices"][0]["message"]["content"]


def test_what_a_post_s_questions_share_is_read_once(server, counted):
    head = "Some rules that stand before every post and are the same for all of them. " * 4
    asked = [
        Request(
            chat=Chat(
                turns=(
                    Turn(role="system", parts=(Text(text=head),)),
                    Turn(
                        role="user",
                        parts=(
                            Text(text=f"{i} {'the food was cold and slow ' * 12}", untrusted=True),
                            Text(text=f" What about {aspect}?"),
                        ),
                    ),
                )
            ),
            max_new_tokens=1,
        )
        for i in range(12)
        for aspect in ("food", "waiter", "service")
    ]
    before = counted(server.url)
    done = client(server, batch_size=8).complete(asked)
    queried, hit = (b - a for a, b in zip(before, counted(server.url), strict=True))
    prompts = [tokens_of(r) for r in asked]
    assert queried == sum(map(len, prompts)) == sum(c.prompt_tokens for c in done)
    assert hit >= 0.95 * shareable(prompts, 128)


def tokens_of(request):
    turns, _ = messages(request.chat, lambda p: {})
    from tests.fixtures.tiny_tokenizers import tiny_tokenizer

    tokenizer = tiny_tokenizer("llama")
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]


def test_an_adapter_that_answers_otherwise_than_in_training_is_not_served(
    text_model, text_adapter, tmp_path
):
    other = tmp_path / "doctored"
    shutil.copytree(text_adapter, other)
    facts = json.loads((other / "reading.json").read_text())
    facts["probe"]["adapted"] = [x - 1.0 for x in facts["probe"]["adapted"]]
    (other / "reading.json").write_text(json.dumps(facts))
    (other / manifest.NAME).unlink()
    manifest.seal(other)
    served = start(f"{text_model}@{other}", tmp_path / "server.log")
    assert served.process.wait(600) == 2
    said = served.log.read_text()
    assert "otherwise than in training: off by 1 nats" in said
    assert "mend:" in said
    assert served.event("ready") is None
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{served.url}/health", trust_env=False)
