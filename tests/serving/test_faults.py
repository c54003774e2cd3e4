"""A thousand requests, a fifth of them at fault: none lost, none doubled, none swapped."""

import json
import random
import threading
from collections import Counter

import httpx

from gen_msa.types import Aspect, Opinion
from tests.serving.doubles import Mirror, opinion, served, wait_for

REQUESTS, CLIENTS = 1000, 8
FAULTS = ("json", "torn", "left", "poison", "slow")
JSON = {"content-type": "application/json"}


def request(i):
    """What request `i` asks, and its fault or ""."""
    dice = random.Random(i)
    fault = FAULTS[i // 5 % len(FAULTS)] if i % 5 == 0 else ""
    mark = {"poison": "POISON", "slow": "SLOW"}.get(fault, "fine")
    posts = [
        {
            "id": "same for all",
            "text": f"{mark} text {i}",
            "aspects": ["text", "thing"][: 1 + i % 2],
        },
        *({"text": f"more {i} of {n}"} for n in range(dice.randrange(3))),
    ]
    return posts, fault


def asked_whole(i):
    """The posts of request `i` that must be answered."""
    posts, fault = request(i)
    good = [] if fault in ("json", "torn", "left") else posts
    return [p for p in good if "POISON" not in p["text"]]


def send(service, client, i):
    """The fault that was sent, and the reply if one came."""
    posts, fault = request(i)
    body = json.dumps(posts).encode()
    if fault == "json":
        return fault, client.post("/v1/explain", content=body[:-2], headers=JSON)
    if fault in ("torn", "left"):
        head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        with service.raw() as line:
            cut = len(body) // 2 if fault == "torn" else len(body)
            line.sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body[:cut]))
        return fault, None
    return fault, client.post("/v1/explain", content=body, headers=JSON)


def check(i, fault, reply):
    posts, _ = request(i)
    if fault == "json":
        assert reply.status_code == 400
        return
    assert reply.status_code == 200
    found = reply.json()["answers"]
    assert [e["row"] for e in found] == list(range(1, len(posts) + 1))
    for post, entry in zip(posts, found, strict=True):
        if "POISON" in post["text"]:
            assert "failed" in entry["error"]["reason"]
            continue
        said = entry["example"]
        assert said["post"]["text"] == post["text"]
        about = post.get("aspects") or [""]
        assert len(said["opinions"]) == len(about)
        for term, got in zip(about, said["opinions"], strict=True):
            at = post["text"].find(term) if term else -1
            aspect = Aspect(term=term, start=at if at >= 0 else None)
            assert Opinion.model_validate(got) == opinion(post["text"], aspect)


def test_a_thousand_requests_with_faults():
    numbers = iter(range(REQUESTS))
    lock, done, wrong = threading.Lock(), [], []

    def work(service):
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            while True:
                with lock:
                    i = next(numbers, None)
                if i is None:
                    return
                fault, reply = send(service, client, i)
                try:
                    if reply is not None:
                        check(i, fault, reply)
                    done.append((i, fault))
                except AssertionError as e:
                    wrong.append((i, fault, e))

    with served(reader=lambda root: Mirror(root, slow=0.02)) as service:
        threads = [threading.Thread(target=work, args=(service,)) for _ in range(CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wait_for(lambda: len(service.logged()) == REQUESTS, what="a line for every request")
        logged = service.logged()
        held = service.running.service._room._held, service.running.service._flying
    assert wrong == []
    assert sorted(i for i, _ in done) == list(range(REQUESTS))
    assert sum(bool(f) for _, f in done) == REQUESTS // 5
    assert len({x["request"] for x in logged}) == REQUESTS
    statuses = Counter(x["status"] for x in logged)
    assert statuses.keys() <= {200, 400, 499}
    assert statuses[400] == REQUESTS // 25
    assert held == (0, 0)
    assert max(len(b) for b in service.reader.batches) > 1, "nothing was read together"
    whole = [p["text"] for i in range(REQUESTS) for p in asked_whole(i)]
    answered = service.reader.answered
    assert set(answered.values()) == {1}, "something was read twice"
    assert set(whole) <= set(answered)
