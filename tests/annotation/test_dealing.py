"""Turns go to whoever is free; posts that kill their readers are found, and no others accused."""

import random
import threading
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.annotation import JobSettings
from gen_msa.annotation._dealing import HANDS, Chunk, Turn, Worker, deal, take_back
from gen_msa.annotation._desk import Desk
from gen_msa.annotation.workers import cache_key
from gen_msa.answer_cache import hash_key
from gen_msa.predictors import Prediction
from gen_msa.types import Example
from tests.fixtures.posts import post

FINE = Prediction()


def played(sizes, killers, workers, seed):
    """Chunks of posts read by workers of whom one, drawn at random, is done or dead at a time."""
    chance, number = random.Random(seed), iter(range(10_000))
    chunks = [Chunk([next(number) for _ in range(n)], []) for n in sizes]
    todo = deque(Turn(c, 0, len(c.examples)) for c in chunks)
    crew = [Worker(None, open=True) for _ in range(workers)]
    together = 0
    while todo or any(w.turns for w in crew):
        for worker, _ in deal(todo, crew):
            assert len(worker.turns) <= HANDS
        busy = [w for w in crew if w.turns]
        together = max(together, *(len(w.turns) for w in busy))
        worker = chance.choice(busy)
        # Whichever of its turns is the killer's: prepared or asked, all of them lose their reader.
        if any(c in killers for t in worker.turns for c in t.chunk.examples[t.first : t.last]):
            take_back(worker, todo)
            crew[crew.index(worker)] = Worker(None, open=True)
        else:
            turn = worker.turns.pop(0)
            turn.chunk.made |= dict.fromkeys(range(turn.first, turn.last), FINE)
    return chunks, together


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=12),
    st.sets(st.integers(0, 40), max_size=6),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_exactly_the_posts_that_kill_are_set_aside(sizes, killers, workers, seed):
    chunks, _ = played(sizes, killers, workers, seed)
    for chunk in chunks:
        assert chunk.whole
        for i, example in enumerate(chunk.examples):
            assert bool(chunk.made[i].rejection) == (example in killers)


def test_a_reader_has_one_chunk_in_work_and_one_it_makes_ready():
    assert played([2] * 9, set(), 2, 0)[1] == HANDS == 2


def test_a_reader_makes_its_next_posts_ready_while_its_model_is_asked(tmp_path):
    settings = JobSettings(model="echo", cues={}, chunk=1)
    desk = Desk(settings, tmp_path, tmp_path)
    reader = hash_key(desk.open())
    ready, asked = threading.Event(), []
    plain = desk._teacher.prepare

    def prepare(examples):
        finish = plain(examples)
        if examples[0].post.id == "p2":
            ready.set()
            return finish

        def waits():
            asked.append(ready.wait(10))
            return finish()

        return waits

    desk._teacher.prepare = prepare
    examples = [Example(post=post(i)) for i in (1, 2)]
    keys = [cache_key(reader, e, tmp_path, settings) for e in examples]
    said = {}

    def read(i):
        said[i] = desk.read([examples[i]], [keys[i]])

    first = threading.Thread(target=read, args=(0,))
    first.start()
    read(1)
    first.join(20)
    assert asked == [True]
    assert [len(said[i]) for i in (0, 1)] == [1, 1]
