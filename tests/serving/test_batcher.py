"""Posts of several clients are read together, by one thread, and each answer finds its asker."""

import threading

import pytest

from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Example
from tests.fixtures.posts import post
from tests.serving.doubles import FakePredictor, run_service, wait_for


def start_requests(service, bodies):
    """A thread for each body; the replies, in the order of the bodies, once they are joined."""
    replies = [None] * len(bodies)

    def ask(index, body):
        replies[index] = service.explain(body).json()["answers"]

    threads = [threading.Thread(target=ask, args=x) for x in enumerate(bodies)]
    for t in threads:
        t.start()
    return threads, replies


def blocked_service(*overrides):
    """A service whose model waits for an event."""
    release = threading.Event()
    return release, run_service(
        *overrides, make_predictor=lambda root: FakePredictor(root, release=release)
    )


def wait_until_queued(service, rows):
    wait_for(
        lambda: service.server.service.batcher._queued_rows == rows,
        description=f"{rows} rows queued",
    )


def test_queued_posts_are_predicted_in_one_batch():
    release, service_context = blocked_service()
    with service_context as service:
        first_threads, _ = start_requests(service, [{"text": "first"}])
        wait_for(lambda: service.predictor.batches)
        other_threads, replies = start_requests(service, [{"text": f"text {i}"} for i in range(6)])
        wait_until_queued(service, 6)
        release.set()
        for t in first_threads + other_threads:
            t.join()
        assert service.predictor.batches[0] == ["first"]
        assert sorted(service.predictor.batches[1]) == [f"text {i}" for i in range(6)]
        assert len(service.predictor.batches) == 2
        assert service.predictor.threads == {"predictor"}
        for i, answers in enumerate(replies):
            assert answers[0]["example"]["opinions"][0]["explanation"] == f"text {i}"


def test_batch_size_is_limited_and_posts_are_not_split():
    release, service_context = blocked_service("batching.rows=4")
    with service_context as service:
        first_threads, _ = start_requests(service, [{"text": "first"}])
        wait_for(lambda: service.predictor.batches)
        posts = [{"text": f"{i}", "aspects": ["a", "b", "c"]} for i in range(3)]
        posts.append({"text": "wide", "aspects": [str(n) for n in range(9)]})
        posts += [{"text": f"n{i}"} for i in range(5)]
        other_threads, replies = start_requests(service, [posts])
        wait_until_queued(service, 9 + 9 + 5)
        release.set()
        for t in first_threads + other_threads:
            t.join()
        assert service.predictor.batches[1:] == [
            ["0"],
            ["1"],
            ["2"],
            ["wide"],
            ["n0", "n1", "n2", "n3"],
            ["n4"],
        ]
        assert [e["row"] for e in replies[0]] == list(range(1, 10))


def test_long_request_does_not_delay_short_one():
    release, service_context = blocked_service("batching.rows=4")
    with service_context as service:
        first_threads, _ = start_requests(service, [{"text": "first"}])
        wait_for(lambda: service.predictor.batches)
        long_threads, _ = start_requests(service, [[{"text": f"long {i}"} for i in range(12)]])
        wait_until_queued(service, 12)
        short_threads, _ = start_requests(service, [{"text": "short"}])
        wait_until_queued(service, 13)
        release.set()
        for t in first_threads + long_threads + short_threads:
            t.join()
        assert service.predictor.batches[1] == ["long 0", "short", "long 1", "long 2"]
        assert [len(b) for b in service.predictor.batches[1:]] == [4, 4, 4, 1]


def test_post_that_breaks_predictor_fails_alone():
    release, service_context = blocked_service()
    with service_context as service:
        first_threads, _ = start_requests(service, [{"text": "first"}])
        wait_for(lambda: service.predictor.batches)
        bodies = [{"text": f"good {i}"} for i in range(7)]
        bodies += [{"text": "POISON"}, {"text": "BROKEN"}]
        other_threads, replies = start_requests(service, bodies)
        wait_until_queued(service, 9)
        release.set()
        for t in first_threads + other_threads:
            t.join()
        for i in range(7):
            assert replies[i][0]["example"]["opinions"][0]["explanation"] == f"good {i}"
        assert "failed on this post" in replies[7][0]["error"]["reason"]
        assert replies[8][0]["error"] == {"reason": "the image is odd", "hint": "draw another"}


def test_disconnected_client_is_not_predicted():
    release, service_context = blocked_service()
    with service_context as service:
        first_threads, _ = start_requests(service, [{"text": "first"}])
        wait_for(lambda: service.predictor.batches)
        body = b'{"text": "left"}'
        connection = service.connect()
        connection.sendall(
            b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        wait_until_queued(service, 1)
        other_threads, replies = start_requests(service, [{"text": "stays"}])
        wait_until_queued(service, 2)
        connection.close()
        wait_for(lambda: service.server.service._in_flight == 2)
        release.set()
        for t in first_threads + other_threads:
            t.join()
        assert service.predictor.batches == [["first"], ["stays"]]
        assert replies[0][0]["example"]["opinions"][0]["explanation"] == "stays"
        wait_for(lambda: 499 in [x["status"] for x in service.log_events()])


@pytest.mark.parametrize(("wait_ms", "batched"), [("2000", True), ("0", False)])
def test_batch_waits_only_for_requests_being_received(wait_ms, batched):
    head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with run_service(f"batching.wait_ms={wait_ms}") as service:
        # Nobody else is on the way: no waiting, whatever `wait_ms` says.
        assert service.explain({"text": "alone"}).elapsed.total_seconds() < 1.5
        with service.connect() as connection:
            connection.sendall(head + b"content-length: 16\r\n\r\n" + b'{"text":')
            wait_for(lambda: service.server.service.batcher._n_expected == 1)
            threads, _ = start_requests(service, [{"text": "waits"}])
            if batched:
                wait_until_queued(service, 1)
            else:
                wait_for(lambda: ["waits"] in service.predictor.batches)
            connection.sendall(b' "late"}')
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            threads[0].join()
        expected = [["waits", "late"]] if batched else [["waits"], ["late"]]
        assert service.predictor.batches[1:] == expected


def test_dying_predictor_thread_ends_service():
    class Dying(FakePredictor):
        def predict(self, posts):
            if any("END" in p.text for p in posts):
                raise SystemExit
            return super().predict(posts)

    with run_service(make_predictor=Dying) as service:
        answer = service.explain({"text": "END"}).json()["answers"][0]
        assert answer["error"]["reason"] == "the model has stopped"
        wait_for(lambda: service.errors, description="the end")
        assert isinstance(service.errors[0].__cause__, SystemExit)


def test_student_answers_the_same_as_without_service(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    from gen_msa import manifest
    from gen_msa.models.inference import serialization
    from tests.fixtures.tiny_students import make_collator, make_student

    with manifest.atomic_directory(tmp_path / "s") as staging:
        serialization.save_student(
            staging, make_student(), make_collator(), text="post", name="text"
        )
    settings = PredictorSettings(model=f"student:{tmp_path / 's'}", explanations=False)
    posts = [post(i) for i in range(12)]
    direct = [make(settings, tmp_path).predict([p])[0].opinions for p in posts]
    bodies = [p.model_dump(mode="json", include={"id", "text", "aspects"}) for p in posts]
    with run_service(make_predictor=lambda root: make(settings, root)) as service:
        threads, replies = start_requests(service, [[a] for a in bodies])
        for t in threads:
            t.join()
    for reply, expected_post, expected_opinions in zip(replies, posts, direct, strict=True):
        example = Example.model_validate(reply[0]["example"])
        assert example.post == expected_post
        for actual, expected in zip(example.opinions, expected_opinions, strict=True):
            assert actual.model_copy(update={"probs": expected.probs}) == expected
            assert actual.probs == pytest.approx(expected.probs, abs=1e-6)
