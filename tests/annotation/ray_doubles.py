"""Workers that fail as machines do, for tests on a cluster: importable by its processes."""

import os
import threading

from gen_msa.annotation.ray_worker import RayWorker


class DyingWorker(RayWorker):
    """Dies of post 11, always, as of an image that a decoder cannot stand."""

    def _ask(self, examples):
        if any(e.post.id == "p11" for e in examples):
            os._exit(1)
        return super()._ask(examples)


class WaitingWorker(RayWorker):
    """Answers its first batch when the second has been made ready; says so in a file."""

    def __init__(self, settings, root, folder, state):
        super().__init__(settings, root, folder, state)
        self._ready = threading.Event()
        self._prepare_batch = self._teacher.prepare
        self._teacher.prepare = self._prepare

    def _prepare(self, examples):
        continuation = self._prepare_batch(examples)
        if examples[0].post.id != "p0":
            self._ready.set()
            return continuation

        def answer():
            (self._root / "waited").write_text(str(self._ready.wait(20)))
            return continuation()

        return answer


class DyingStep:
    """A step of Ray Data's own, without the job's state, that dies of row 5."""

    def __call__(self, batch):
        if 5 in batch["row"]:
            os._exit(1)
        return batch
