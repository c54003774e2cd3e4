"""The real server with a text model and its adapter, asked through `http:`."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest

from gen_msa import manifest
from gen_msa.backends import BackendOptions
from gen_msa.backends._messages import messages
from gen_msa.chat import Chat, Choice, Request, Text, Turn
from tests.fixtures.benches import bench
from tests.vllm.servers import ROOT, serving, start

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


def posts(folder, n):
    path = folder / "posts.jsonl"
    rows = [
        {
            "post": {
                "id": f"p{i}",
                "text": f"The soup {i} was cold but the waiter kind",
                "aspects": [{"term": "soup", "start": 4}, {"term": "waiter"}],
            }
        }
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def explain(source, out, server, adapter):
    command = [sys.executable, "-m", "gen_msa", "explain", str(source), "-o", str(out)]
    given = [f"backend.adapter={adapter}", "backend.api_key_variable=", "backend.retries=1"]
    given += ["chunk=8", "aspects=given", "reask_prompt=", "max_bad=1.0"]
    return [*command, "--reader", f"http:{server.url}/v1#mabsa", *given]


def test_a_server_killed_in_the_middle_loses_no_row_and_doubles_none(
    text_model, text_adapter, tmp_path
):
    source, out = posts(tmp_path, 120), tmp_path / "out.jsonl"
    target, log = f"{text_model}@{text_adapter}", tmp_path / "server.log"
    server = start(target, log)
    server.wait("ready")
    job = subprocess.Popen(
        explain(source, out, server, text_adapter), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 120
        counted = f"{server.url}/metrics"
        done = 0
        while done < 40 and time.monotonic() < until:
            text = httpx.get(counted, trust_env=False).text
            lines = [x for x in text.splitlines() if x.startswith("vllm:request_success_total{")]
            done = sum(float(x.rpartition(" ")[2]) for x in lines)
            time.sleep(0.02)
        server.kill()
        assert server.process.returncode == 2
        said = job.communicate(timeout=300)[1]
    finally:
        job.kill()
    lost = re.search(r"(\d+) posts could not be asked; run again", said)
    assert lost, said
    assert 0 < int(lost[1]) < 120
    again = start(target, tmp_path / "again.log", port=server.port)
    try:
        again.wait("ready")
        ran = subprocess.run(
            explain(source, out, again, text_adapter), cwd=ROOT, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        assert f"{120 - int(lost[1])} posts answered from the ledger" in ran.stderr
    finally:
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(90) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(120)]
    assert {len(r["opinions"]) for r in rows} == {2}
    assert not [o for r in rows for o in r["opinions"] if o["status"] == "error"]


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
