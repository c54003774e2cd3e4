"""The real server with a text model and its adapter, asked through `http:`."""

import json
import shutil

import httpx
import pytest

from gen_msa import manifest
from gen_msa.backends import BackendOptions
from gen_msa.chat import Chat, ChoiceSlot, Request, TextInput, Turn, build_messages
from tests.fixtures.benchmarks import load_benchmark
from tests.vllm.servers import running_server, start_server

shareable = load_benchmark("vllm_prefix").shareable

CHOICE = ChoiceSlot(
    prefix="Sentiment:", options=(" bad", " fine", " good"), suffix="\nExplanation:"
)
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
    with running_server(f"{text_model}@{text_adapter}", tmp_path_factory.mktemp("log")) as running:
        yield running


def ask(text, *, new=40, **more):
    turns = (
        Turn(role="system", parts=(TextInput(text="Be brief."),)),
        Turn(role="user", parts=(TextInput(text=text, untrusted=True), TextInput(text=" Why?"))),
    )
    return Request(chat=Chat(turns=turns), max_new_tokens=new, **more)


def client(server, name="mabsa", **options):
    from gen_msa.backends.http import HttpBackend

    options = BackendOptions(**{"api_key_variable": "", "retries": 0, **options})
    return HttpBackend(f"{server.url}/v1#{name}", options)


def test_server_is_ready_once_the_probe_matches_training(server):
    ready = server.event("ready")
    assert ready["probe"] == "the server answers as in training"
    assert ready["models"] == "mabsa, tiny-llama"


def test_adapter_changes_answers_deterministically(server):
    posts = [ask(f"post {i} was cold <|eot_id|>") for i in range(8)]
    adapted, repeated = client(server).complete(posts), client(server).complete(posts)
    base_answers = client(server, "tiny-llama").complete(posts)
    assert [c.finish_reason == "error" for c in adapted + base_answers] == [False] * 16
    assert [c.text for c in adapted] == [c.text for c in repeated]
    assert [c.text for c in adapted] != [c.text for c in base_answers]
    assert adapted[0].notes["escaped_control_tokens"] == "1"


def test_answers_match_the_hf_backend(server, text_model, text_adapter):
    from gen_msa.backends import backends

    hf_backend = backends["transformers"](
        f"{text_model}@{text_adapter}", BackendOptions(device="cpu")
    )
    posts = [ask(f"post {i}", new=12) for i in range(6)]
    expected, actual = hf_backend.complete(posts), client(server).complete(posts)
    assert [c.prompt_tokens for c in actual] == [c.prompt_tokens for c in expected]
    assert [c.text for c in actual] == [c.text for c in expected]


def test_slot_schema_and_free_text_keep_their_form(server):
    slot = client(server, slots=True).complete([ask("hi", choice=CHOICE, json_schema=SCHEMA)])[0]
    assert slot.notes["form"] == "slot"
    assert slot.text.startswith(tuple(CHOICE.prefix + o for o in CHOICE.options))
    json_answer, free = client(server).complete(
        [ask("hi", new=80, choice=CHOICE, json_schema=SCHEMA), ask("x")]
    )
    assert json_answer.notes["form"] == "schema"
    assert json.loads(json_answer.text, strict=False)["label"] in ("bad", "fine", "good")
    assert set(json_answer.option_logprobs or CHOICE.options) == set(CHOICE.options)
    assert free.notes["form"] == "free"
    assert not [n for c in (slot, json_answer, free) for n in c.notes if n == "server_without"]


def test_json_answer_has_no_extra_blanks(server):
    (json_answer,) = client(server).complete([ask("hi", new=80, json_schema=SCHEMA)])
    assert json_answer.text.startswith('{"label":"')


def test_truncated_answer_and_too_long_prompt_are_marked(server):
    truncated, too_long, normal = client(server).complete(
        [ask("hi", new=3), ask("word " * 9000), ask("hi")]
    )
    assert (truncated.finish_reason, truncated.new_tokens) == ("length", 3)
    assert too_long.finish_reason == "error"
    assert "4096" in too_long.error or "maximum" in too_long.error
    assert normal.finish_reason != "error"


def test_streamed_text_matches_the_complete_text(server):
    body = {"model": "mabsa", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 24}
    body |= {"temperature": 0, "seed": 0}
    endpoint = f"{server.url}/v1/chat/completions"
    complete = httpx.post(endpoint, json=body, timeout=60, trust_env=False).json()
    streamed = ""
    with httpx.stream(
        "POST", endpoint, json={**body, "stream": True}, timeout=60, trust_env=False
    ) as r:
        for line in r.iter_lines():
            if line.startswith("data: {"):
                streamed += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    assert streamed == complete["choices"][0]["message"]["content"]


def test_shared_prefix_is_computed_once(server, prefix_cache_counts):
    head = "Some rules that stand before every post and are the same for all of them. " * 4
    requests = [
        Request(
            chat=Chat(
                turns=(
                    Turn(role="system", parts=(TextInput(text=head),)),
                    Turn(
                        role="user",
                        parts=(
                            TextInput(
                                text=f"{i} {'the food was cold and slow ' * 12}", untrusted=True
                            ),
                            TextInput(text=f" What about {aspect}?"),
                        ),
                    ),
                )
            ),
            max_new_tokens=1,
        )
        for i in range(12)
        for aspect in ("food", "waiter", "service")
    ]
    before = prefix_cache_counts(server.url)
    completions = client(server, batch_size=8).complete(requests)
    queried, hit = (b - a for a, b in zip(before, prefix_cache_counts(server.url), strict=True))
    prompts = [prompt_token_ids(r) for r in requests]
    assert queried == sum(map(len, prompts)) == sum(c.prompt_tokens for c in completions)
    assert hit >= 0.95 * shareable(prompts, 128)


def prompt_token_ids(request):
    turns, _ = build_messages(request.chat, lambda image: {})
    from tests.fixtures.tiny_tokenizers import tiny_tokenizer

    tokenizer = tiny_tokenizer("llama")
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]


def test_adapter_with_other_scores_is_not_served(text_model, text_adapter, tmp_path):
    altered_adapter = tmp_path / "doctored"
    shutil.copytree(text_adapter, altered_adapter)
    metadata = json.loads((altered_adapter / "inference.json").read_text())
    metadata["probe"]["adapted"] = [x - 1.0 for x in metadata["probe"]["adapted"]]
    (altered_adapter / "inference.json").write_text(json.dumps(metadata))
    (altered_adapter / manifest.MANIFEST_NAME).unlink()
    manifest.seal(altered_adapter)
    failed_server = start_server(f"{text_model}@{altered_adapter}", tmp_path / "server.log")
    assert failed_server.process.wait(600) == 2
    log_text = failed_server.log.read_text()
    assert "differently than in training: off by 1 nats" in log_text
    assert "hint:" in log_text
    assert failed_server.event("ready") is None
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{failed_server.url}/health", trust_env=False)
