"""Desks that fail as machines do, for tests on a cluster: importable by its workers."""

import os
import time

from gen_msa.annotation._desk import Desk


class Slow(Desk):
    """A reader that takes its time, so that a death falls into its work."""

    def read(self, examples, keys):
        time.sleep(0.05)
        return super().read(examples, keys)


class Mortal(Desk):
    """Dies of post 11, always, as of a picture that a decoder cannot stand."""

    def read(self, examples, keys):
        if any(e.post.id == "p11" for e in examples):
            os._exit(1)
        return super().read(examples, keys)
