"""Posts of several clients are read together, by one thread, and each answer finds its asker."""

import threading

import pytest

from gen_msa.readers import ReaderSettings, make
from gen_msa.types import Example
from tests.fixtures.posts import post
from tests.serving.doubles import Mirror, served, wait_for


def asking(service, bodies):
    """A thread for each body; the replies, in the order of the bodies, once they are joined."""
    replies = [None] * len(bodies)

    def ask(i, body):
        replies[i] = service.explain(body).json()["answers"]

    threads = [threading.Thread(target=ask, args=x) for x in enumerate(bodies)]
    for t in threads:
        t.start()
    return threads, replies


def held(*overrides):
    """A service whose reader waits for its gate."""
    gate = threading.Event()
    return gate, served(*overrides, reader=lambda root: Mirror(root, gate=gate))


def queued(service, rows):
    wait_for(lambda: service.running.service.desk._queued == rows, what=f"{rows} rows queued")


def test_what_waits_while_one_is_read_is_read_together_next():
    gate, it = held()
    with it as service:
        first, _ = asking(service, [{"text": "first"}])
        wait_for(lambda: service.reader.batches)
        others, replies = asking(service, [{"text": f"text {i}"} for i in range(6)])
        queued(service, 6)
        gate.set()
        for t in first + others:
            t.join()
        assert service.reader.batches[0] == ["first"]
        assert sorted(service.reader.batches[1]) == [f"text {i}" for i in range(6)]
        assert len(service.reader.batches) == 2
        assert service.reader.threads == {"reader"}
        for i, found in enumerate(replies):
            assert found[0]["example"]["opinions"][0]["explanation"] == f"text {i}"


def test_a_reading_has_at_most_so_many_rows_and_a_post_is_not_parted():
    gate, it = held("batching.rows=4")
    with it as service:
        first, _ = asking(service, [{"text": "first"}])
        wait_for(lambda: service.reader.batches)
        posts = [{"text": f"{i}", "aspects": ["a", "b", "c"]} for i in range(3)]
        posts.append({"text": "wide", "aspects": [str(n) for n in range(9)]})
        posts += [{"text": f"n{i}"} for i in range(5)]
        others, replies = asking(service, [posts])
        queued(service, 9 + 9 + 5)
        gate.set()
        for t in first + others:
            t.join()
        assert service.reader.batches[1:] == [
            ["0"],
            ["1"],
            ["2"],
            ["wide"],
            ["n0", "n1", "n2", "n3"],
            ["n4"],
        ]
        assert [e["row"] for e in replies[0]] == list(range(1, 10))


def test_a_long_request_holds_up_no_short_one():
    gate, it = held("batching.rows=4")
    with it as service:
        first, _ = asking(service, [{"text": "first"}])
        wait_for(lambda: service.reader.batches)
        long, _ = asking(service, [[{"text": f"long {i}"} for i in range(12)]])
        queued(service, 12)
        short, _ = asking(service, [{"text": "short"}])
        queued(service, 13)
        gate.set()
        for t in first + long + short:
            t.join()
        assert service.reader.batches[1] == ["long 0", "short", "long 1", "long 2"]
        assert [len(b) for b in service.reader.batches[1:]] == [4, 4, 4, 1]


def test_one_post_that_breaks_the_reader_fails_alone():
    gate, it = held()
    with it as service:
        first, _ = asking(service, [{"text": "first"}])
        wait_for(lambda: service.reader.batches)
        bodies = [{"text": f"good {i}"} for i in range(7)]
        bodies += [{"text": "POISON"}, {"text": "BROKEN"}]
        others, replies = asking(service, bodies)
        queued(service, 9)
        gate.set()
        for t in first + others:
            t.join()
        for i in range(7):
            assert replies[i][0]["example"]["opinions"][0]["explanation"] == f"good {i}"
        assert "failed on this post" in replies[7][0]["error"]["reason"]
        assert replies[8][0]["error"] == {"reason": "the picture is odd", "mend": "draw another"}


def test_a_client_that_leaves_is_not_read_and_stops_nobody():
    gate, it = held()
    with it as service:
        first, _ = asking(service, [{"text": "first"}])
        wait_for(lambda: service.reader.batches)
        body = b'{"text": "left"}'
        line = service.raw()
        line.sendall(
            b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        queued(service, 1)
        others, replies = asking(service, [{"text": "stays"}])
        queued(service, 2)
        line.close()
        wait_for(lambda: service.running.service._flying == 2)
        gate.set()
        for t in first + others:
            t.join()
        assert service.reader.batches == [["first"], ["stays"]]
        assert replies[0][0]["example"]["opinions"][0]["explanation"] == "stays"
        wait_for(lambda: 499 in [x["status"] for x in service.logged()])


@pytest.mark.parametrize(("wait", "together"), [("2000", True), ("0", False)])
def test_a_reading_waits_for_who_is_on_the_way_but_not_for_nobody(wait, together):
    head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with served(f"batching.wait_ms={wait}") as service:
        # Nobody else is on the way: no waiting, whatever `wait_ms` says.
        assert service.explain({"text": "alone"}).elapsed.total_seconds() < 1.5
        with service.raw() as line:
            line.sendall(head + b"content-length: 16\r\n\r\n" + b'{"text":')
            wait_for(lambda: service.running.service.desk._coming == 1)
            threads, _ = asking(service, [{"text": "waits"}])
            if together:
                queued(service, 1)
            else:
                wait_for(lambda: ["waits"] in service.reader.batches)
            line.sendall(b' "late"}')
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 200")
            threads[0].join()
        expected = [["waits", "late"]] if together else [["waits"], ["late"]]
        assert service.reader.batches[1:] == expected


def test_a_reader_that_ends_its_thread_ends_the_service_and_leaves_nobody_waiting():
    class Dying(Mirror):
        def read(self, posts):
            if any("END" in p.text for p in posts):
                raise SystemExit
            return super().read(posts)

    with served(reader=Dying) as service:
        found = service.explain({"text": "END"}).json()["answers"][0]
        assert found["error"]["reason"] == "the reader has ended"
        wait_for(lambda: service.ended, what="the end")
        assert isinstance(service.ended[0].__cause__, SystemExit)


def test_a_trained_students_answers_are_those_it_gives_alone(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    from gen_msa import manifest
    from gen_msa.students.common import keeping
    from tests.fixtures.tiny_students import student, words

    with manifest.staged(tmp_path / "s") as draft:
        keeping.write(draft, student(), words(), text="post", name="text")
    settings = ReaderSettings(reader=f"student:{tmp_path / 's'}", reasons=False)
    posts = [post(i) for i in range(12)]
    alone = [make(settings, tmp_path).read([p])[0].opinions for p in posts]
    asked = [p.model_dump(mode="json", include={"id", "text", "aspects"}) for p in posts]
    with served(reader=lambda root: make(settings, root)) as service:
        threads, replies = asking(service, [[a] for a in asked])
        for t in threads:
            t.join()
    for reply, about, said in zip(replies, posts, alone, strict=True):
        found = Example.model_validate(reply[0]["example"])
        assert found.post == about
        for got, wanted in zip(found.opinions, said, strict=True):
            assert got.model_copy(update={"probs": wanted.probs}) == wanted
            assert got.probs == pytest.approx(wanted.probs, abs=1e-6)
