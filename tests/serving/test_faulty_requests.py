"""A thousand requests, a fifth of them at fault: none lost, none doubled, none swapped."""

import json
import random
import threading
from collections import Counter

import httpx

from gen_msa.types import Aspect, Opinion
from tests.serving.doubles import FakePredictor, fake_opinion, run_service, wait_for

N_REQUESTS, N_CLIENTS = 1000, 8
FAULTS = ("json", "torn", "left", "poison", "slow")
JSON_HEADERS = {"content-type": "application/json"}


def request(i):
    """What request `i` asks, and its fault or ""."""
    rng = random.Random(i)
    fault = FAULTS[i // 5 % len(FAULTS)] if i % 5 == 0 else ""
    marker = {"poison": "POISON", "slow": "SLOW"}.get(fault, "fine")
    posts = [
        {
            "id": "same for all",
            "text": f"{marker} text {i}",
            "aspects": ["text", "thing"][: 1 + i % 2],
        },
        *({"text": f"more {i} of {n}"} for n in range(rng.randrange(3))),
    ]
    return posts, fault


def answerable_posts(i):
    """The posts of request `i` that must be answered."""
    posts, fault = request(i)
    received = [] if fault in ("json", "torn", "left") else posts
    return [p for p in received if "POISON" not in p["text"]]


def send(service, client, i):
    """The fault that was sent, and the reply if one came."""
    posts, fault = request(i)
    body = json.dumps(posts).encode()
    if fault == "json":
        return fault, client.post("/v1/explain", content=body[:-2], headers=JSON_HEADERS)
    if fault in ("torn", "left"):
        head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        with service.connect() as connection:
            n_sent = len(body) // 2 if fault == "torn" else len(body)
            connection.sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body[:n_sent]))
        return fault, None
    return fault, client.post("/v1/explain", content=body, headers=JSON_HEADERS)


def check(i, fault, reply):
    posts, _ = request(i)
    if fault == "json":
        assert reply.status_code == 400
        return
    assert reply.status_code == 200
    answers = reply.json()["answers"]
    assert [e["row"] for e in answers] == list(range(1, len(posts) + 1))
    for post, entry in zip(posts, answers, strict=True):
        if "POISON" in post["text"]:
            assert "failed" in entry["error"]["reason"]
            continue
        example = entry["example"]
        assert example["post"]["text"] == post["text"]
        terms = post.get("aspects") or [""]
        assert len(example["opinions"]) == len(terms)
        for term, actual in zip(terms, example["opinions"], strict=True):
            start = post["text"].find(term) if term else -1
            aspect = Aspect(term=term, start=start if start >= 0 else None)
            assert Opinion.model_validate(actual) == fake_opinion(post["text"], aspect)


def test_service_survives_1000_requests_with_faults():
    indices = iter(range(N_REQUESTS))
    lock, done, failures = threading.Lock(), [], []

    def work(service):
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            while True:
                with lock:
                    i = next(indices, None)
                if i is None:
                    return
                fault, reply = send(service, client, i)
                try:
                    if reply is not None:
                        check(i, fault, reply)
                    done.append((i, fault))
                except AssertionError as e:
                    failures.append((i, fault, e))

    with run_service(make_predictor=lambda root: FakePredictor(root, delay=0.02)) as service:
        threads = [threading.Thread(target=work, args=(service,)) for _ in range(N_CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wait_for(
            lambda: len(service.log_events()) == N_REQUESTS, description="a line for every request"
        )
        logged = service.log_events()
        in_use = service.server.service._body_budget._held_bytes, service.server.service._in_flight
    assert failures == []
    assert sorted(i for i, _ in done) == list(range(N_REQUESTS))
    assert sum(bool(f) for _, f in done) == N_REQUESTS // 5
    assert len({x["request"] for x in logged}) == N_REQUESTS
    statuses = Counter(x["status"] for x in logged)
    assert statuses.keys() <= {200, 400, 499}
    assert statuses[400] == N_REQUESTS // 25
    assert in_use == (0, 0)
    assert max(len(b) for b in service.predictor.batches) > 1, "nothing was read together"
    expected_texts = [p["text"] for i in range(N_REQUESTS) for p in answerable_posts(i)]
    answered = service.predictor.answer_counts
    assert set(answered.values()) == {1}, "something was read twice"
    assert set(expected_texts) <= set(answered)
