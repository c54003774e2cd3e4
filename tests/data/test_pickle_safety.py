"""Test that no pickle is ever loaded, whatever its name and its way in.

There is no reader of pickles, so there is nothing to restrict: a pickle is a file of no format.
"""

import base64
import builtins
import os
import pickle
import runpy
import subprocess
import sys
from contextlib import suppress
from itertools import product

import pytest

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.types import Rejected

SUFFIXES = (".pkl", ".pickle", ".npy", ".pt", ".bin")
_audit_events: list[str] | None = None


def _on_audit(event, args):
    if _audit_events is not None and event in (
        "pickle.find_class",
        "os.system",
        "subprocess.Popen",
    ):
        _audit_events.append(f"{event} {args}")


sys.addaudithook(_on_audit)


class Gadget:
    """Become a call when unpickled."""

    def __init__(self, call, *args):
        self._call = call, args

    def __reduce__(self):
        return self._call


def payloads(canary):
    """Return 50 pickles that would write `canary` or run a program when loaded."""
    write = f"open({str(canary)!r}, 'w').write('x')"
    calls = [
        Gadget(os.system, f"touch {canary}"),
        Gadget(subprocess.getoutput, f"touch {canary}"),
        Gadget(eval, write),
        Gadget(exec, write),
        Gadget(builtins.open, str(canary), "w"),
        Gadget(os.mkdir, str(canary)),
        Gadget(runpy.run_path, str(canary)),
        Gadget(getattr(builtins, "__import__"), "antigravity"),  # noqa: B009
    ]
    rows = {"train": {"raw_text": ["tea"], "regression_labels": [1.0], "id": [calls[0]]}}
    for protocol, call in product(range(6), calls):
        yield pickle.dumps(call, protocol)
    yield from (pickle.dumps(rows, p) for p in (2, 5))


@pytest.fixture
def audit_events():
    global _audit_events
    _audit_events = []
    yield _audit_events
    _audit_events = None


def test_payloads_execute_when_unpickled(tmp_path, audit_events):
    pickles = list(payloads(tmp_path / "canary"))
    assert len(pickles) == 50
    pickle.loads(pickles[2])
    assert (tmp_path / "canary").read_text() == "x"
    assert audit_events


def test_pickle_payloads_are_refused_under_any_name_and_format(tmp_path, audit_events):
    canary = tmp_path / "canary"
    for i, data in enumerate(payloads(canary)):
        path = tmp_path / f"{i}{SUFFIXES[i % len(SUFFIXES)]}"
        path.write_bytes(data)
        with pytest.raises(UserError, match="cannot tell the format"):
            open_examples(str(path))
        for name in formats.names():
            with suppress(UserError):  # a file without the columns of its format, or a torn Parquet
                rows = list(open_examples(str(path), format=name).rows())
                assert all(isinstance(r, Rejected) for r in rows), name
    assert audit_events == []
    assert not canary.exists()


def test_annotate_rejects_pickle_payloads_without_running_them(tmp_path, audit_events):
    path = tmp_path / "posts.jsonl"
    pickles = list(payloads(tmp_path / "canary"))
    lines = [*pickles, *(base64.b64encode(x) for x in pickles), b'{"text": "tea"}']
    path.write_bytes(b"\n".join(lines))
    settings = JobSettings(model="echo", cues={}, max_error_rate=1.0)
    counts = annotate(open_examples(str(path)), tmp_path / "out.jsonl", settings).counts
    assert counts.written == 1
    assert counts.rejected >= 100
    assert audit_events == []
    assert not (tmp_path / "canary").exists()
