"""The memory of a vision tower trusts no file unseen, and refuses a tower it cannot remember."""

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from gen_msa.errors import UserError
from gen_msa.finetuning import features
from gen_msa.finetuning.tower import Tower
from tests.finetuning.shown import Bench, one


@pytest.fixture
def llava():
    return Bench("llava")


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def renamed(data):
    return data.replace(b"last_hidden_state", b"lost_hidden_state")


@pytest.mark.parametrize("spoil", [cut, flipped, renamed, lambda _: b"", lambda _: b"\x80\x04."])
def test_a_spoilt_file_is_found_and_made_anew(llava, tmp_path, spoil):
    rows = llava.rows(one(1))
    first = llava.memory(tmp_path)
    path = first.path(llava.keep(first, rows)[0])
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    memory = llava.memory(tmp_path)
    llava.keep(memory, rows)
    assert (memory.found, memory.made, memory.mended) == (0, 0, 1)
    assert path.read_bytes() == whole
    assert "1 made anew" in memory.summary()


def test_a_file_altered_during_the_run_stops_it_by_name(llava, tmp_path):
    memory = llava.memory(tmp_path)
    keys = llava.keep(memory, llava.rows(one(1)))
    path = memory.path(keys[0])
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(UserError, match="gone or altered"):
        memory.load(keys)
    path.unlink()
    with pytest.raises(UserError, match="gone or altered"):
        memory.load(keys)


def test_a_tower_whose_rows_do_not_stand_end_to_end_is_refused(llava, tmp_path):
    tower = Tower.of(llava.model).module
    own = tower.forward

    def mixing(pixel_values, **more):
        said = own(pixel_values, **more)
        said.hidden_states = tuple(h if h is None else h * len(h) for h in said.hidden_states)
        said.last_hidden_state = said.last_hidden_state * len(said.last_hidden_state)
        return said

    tower.forward = mixing
    memory = llava.memory(tmp_path)
    with pytest.raises(UserError, match="does not score as what is seen"):
        llava.keep(memory, llava.rows(one(1)))
    assert list(features.files(tmp_path)) == []


def test_a_tower_called_twice_a_batch_is_refused(llava, tmp_path):
    memory = llava.memory(tmp_path)
    rows = llava.rows(one(1))
    recalled = memory.load(llava.keep(memory, rows))
    with memory.recalling(recalled):
        llava.logits(rows, recalled.tensors)
        with pytest.raises(UserError, match="more than once"):
            llava.logits(rows, recalled.tensors)


def test_after_recalling_the_tower_sees_again_and_modes_are_as_they_were(llava, tmp_path):
    rows = llava.rows(one(1))
    memory = llava.memory(tmp_path)
    llava.model.train()
    tower = Tower.of(llava.model).module
    tower.eval()
    keys = llava.keep(memory, rows)
    assert (llava.model.training, tower.training) == (True, False)
    with pytest.raises(ZeroDivisionError), memory.recalling(memory.load(keys)):
        raise ZeroDivisionError
    ran = llava.runs
    llava.logits(rows)
    assert llava.runs == ran + 1


WRITES = """
import sys, torch
from pathlib import Path
from gen_msa.finetuning import features
form, tensors = features.taken_apart((torch.full((200, 300), float(sys.argv[2])),))
told = features.Features(form, dict(enumerate(tensors)), {}, {})
for _ in range(150):
    features.write(Path(sys.argv[1]), told)
"""


def test_two_processes_write_one_file_and_it_is_whole_at_all_times(tmp_path):
    path = tmp_path / "aa" / "aa.safetensors"
    run = [sys.executable, "-c", WRITES, str(path)]
    both = [subprocess.Popen([*run, value]) for value in ("1", "2")]
    seen = set()
    while any(p.poll() is None for p in both):
        if path.exists():
            kept = features.read(path).tensors[0]
            seen.add(float(kept.mean()))
            assert kept.min() == kept.max()
    assert [p.returncode for p in both] == [0, 0]
    assert seen <= {1.0, 2.0} != set()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
