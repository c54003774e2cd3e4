"""A sealed folder is checked to the last bit, and a staged one appears whole or not at all."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gen_msa import manifest
from gen_msa.errors import UserError


def files(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def sealed(tmp_path):
    folder = files(tmp_path / "a", w_safetensors=b"x" * 999, c_json=b"{}", sub__b_txt=b"words")
    manifest.seal(folder)
    return folder


def test_what_was_sealed_passes_and_sealing_again_gives_the_same(sealed):
    manifest.check(sealed)
    assert manifest.whole(sealed)
    before = (sealed / manifest.NAME).read_bytes()
    manifest.seal(sealed)
    assert (sealed / manifest.NAME).read_bytes() == before
    assert set(json.loads(before)) == {"w.safetensors", "c.json", "sub/b.txt"}


def test_every_one_of_100_flipped_bits_is_found_and_its_file_named(sealed):
    rng = random.Random(0)
    paths = sorted(p for p in sealed.rglob("*") if p.is_file() and p.name != manifest.NAME)
    refused = 0
    for _ in range(100):
        path = rng.choice(paths)
        good = path.read_bytes()
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(UserError, match=path.name):
            manifest.check(sealed)
        refused += not manifest.whole(sealed)
        path.write_bytes(good)
    assert refused == 100
    assert manifest.whole(sealed)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "c.json").unlink(), "c.json is missing"),
        (lambda f: (f / "w.safetensors").write_bytes(b"x" * 10), "has 10 bytes, not the 999"),
        (lambda f: (f / "new.py").write_text("x"), "new.py was added"),
        (lambda f: (f / "sub" / "more.json").write_text("{}"), "more.json was added"),
        (lambda f: (f / manifest.NAME).unlink(), "holds no MANIFEST.json"),
        (lambda f: (f / manifest.NAME).write_text("{"), "cannot be read"),
        (lambda f: (f / manifest.NAME).write_text("{}"), "lists nothing"),
        (lambda f: (f / manifest.NAME).write_text("[" * 100_000), "cannot be read"),
        (lambda f: (f / manifest.NAME).write_text('{"../x": {}}'), "outside the folder"),
        (lambda f: (f / manifest.NAME).write_text('{"/x": {}}'), "outside the folder"),
        (lambda f: (f / manifest.NAME).write_text('{"x": {"size": "1"}}'), "no size or hash"),
    ],
)
def test_a_spoilt_folder_is_refused_with_what_is_wrong(sealed, spoil, said):
    spoil(sealed)
    with pytest.raises(UserError, match=said):
        manifest.check(sealed)
    assert not manifest.whole(sealed)


def test_notes_may_be_put_beside_a_sealed_folders_files(sealed):
    (sealed / "NOTES.md").write_text("mine")
    manifest.check(sealed)


def test_a_staged_folder_appears_sealed_and_nothing_is_left_beside_it(tmp_path):
    with manifest.staged(tmp_path / "deep" / "a") as draft:
        files(draft, c_json=b"1")
        assert not (tmp_path / "deep" / "a").exists()
    manifest.check(tmp_path / "deep" / "a")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a"]


def test_a_failed_replacement_leaves_the_old_folder_as_it_was(sealed):
    def failing():
        with manifest.staged(sealed) as draft:
            files(draft, c_json=b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        failing()
    manifest.check(sealed)
    assert [p.name for p in sealed.parent.iterdir()] == ["a"]


def test_a_disk_that_is_full_at_any_write_leaves_the_old_folder_whole(sealed):
    """The limit on a file's size is the nearest thing to a full disk that a test can have."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from gen_msa import manifest\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))\n"
        "try:\n"
        "    with manifest.staged(Path(sys.argv[1])) as d:\n"
        "        for i in range(4): (d / f'{i}.json').write_bytes(b'x' * 50 * (i + 1))\n"
        "except OSError as e: print('OSError', e.errno)\n"
    )
    for limit in (0, 40, 120, 199, 300):
        command = [sys.executable, "-c", code, str(sealed), str(limit)]
        out = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "OSError 27" in out.stdout
        manifest.check(sealed)
        assert [p.name for p in sealed.parent.iterdir()] == ["a"]


def test_replacing_keeps_only_the_new_folder(sealed):
    with manifest.staged(sealed) as draft:
        files(draft, new_json=b"2")
    manifest.check(sealed)
    assert sorted(p.name for p in sealed.iterdir()) == [manifest.NAME, "new.json"]
    assert [p.name for p in sealed.parent.iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_cleared_and_the_last_whole_folder_stays(sealed):
    code = (
        "import sys, time; from pathlib import Path; from gen_msa import manifest\n"
        "with manifest.staged(Path(sys.argv[1])) as d:\n"
        "    (d / 'half.json').write_text('1'); print('in', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(sealed)]
    for _ in range(3):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "in\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        manifest.check(sealed)
    with manifest.staged(sealed) as draft:
        files(draft, new_json=b"2")
    assert [p.name for p in sealed.parent.iterdir()] == ["a"]


def test_a_kill_between_the_two_renames_loses_nothing(sealed):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    sealed.rename(sealed.with_name(f".a.{int(gone.stdout)}.old"))
    manifest.restore(sealed)
    manifest.check(sealed)
