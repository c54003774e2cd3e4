"""A sealed folder is verified to the last bit; an atomic one appears complete or not at all."""

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


def write_files(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def sealed_folder(tmp_path):
    folder = write_files(
        tmp_path / "a", w_safetensors=b"x" * 999, c_json=b"{}", sub__b_txt=b"words"
    )
    manifest.seal(folder)
    return folder


def test_sealed_folder_verifies_and_sealing_is_idempotent(sealed_folder):
    manifest.verify(sealed_folder)
    assert manifest.is_intact(sealed_folder)
    before = (sealed_folder / manifest.MANIFEST_NAME).read_bytes()
    manifest.seal(sealed_folder)
    assert (sealed_folder / manifest.MANIFEST_NAME).read_bytes() == before
    assert set(json.loads(before)) == {"w.safetensors", "c.json", "sub/b.txt"}


def test_every_flipped_bit_is_detected(sealed_folder):
    rng = random.Random(0)
    paths = sorted(
        p for p in sealed_folder.rglob("*") if p.is_file() and p.name != manifest.MANIFEST_NAME
    )
    n_detected = 0
    for _ in range(100):
        path = rng.choice(paths)
        original = path.read_bytes()
        flipped = bytearray(original)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=path.name):
            manifest.verify(sealed_folder)
        n_detected += not manifest.is_intact(sealed_folder)
        path.write_bytes(original)
    assert n_detected == 100
    assert manifest.is_intact(sealed_folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "c.json").unlink(), "c.json is missing"),
        (lambda f: (f / "w.safetensors").write_bytes(b"x" * 10), "has 10 bytes, not the 999"),
        (lambda f: (f / "new.py").write_text("x"), "new.py was added"),
        (lambda f: (f / "sub" / "more.json").write_text("{}"), "more.json was added"),
        (lambda f: (f / manifest.MANIFEST_NAME).unlink(), "has no MANIFEST.json"),
        (lambda f: (f / manifest.MANIFEST_NAME).write_text("{"), "cannot be read"),
        (lambda f: (f / manifest.MANIFEST_NAME).write_text("{}"), "lists nothing"),
        (lambda f: (f / manifest.MANIFEST_NAME).write_text("[" * 100_000), "cannot be read"),
        (lambda f: (f / manifest.MANIFEST_NAME).write_text('{"../x": {}}'), "outside the folder"),
        (lambda f: (f / manifest.MANIFEST_NAME).write_text('{"/x": {}}'), "outside the folder"),
        (
            lambda f: (f / manifest.MANIFEST_NAME).write_text('{"x": {"size": "1"}}'),
            "no size or hash",
        ),
    ],
)
def test_damaged_folder_is_rejected_with_reason(sealed_folder, damage, message):
    damage(sealed_folder)
    with pytest.raises(UserError, match=message):
        manifest.verify(sealed_folder)
    assert not manifest.is_intact(sealed_folder)


def test_notes_may_be_added_to_a_sealed_folder(sealed_folder):
    (sealed_folder / "NOTES.md").write_text("mine")
    manifest.verify(sealed_folder)
    assert manifest.is_intact(sealed_folder)


def test_atomic_directory_appears_sealed_without_leftovers(tmp_path):
    with manifest.atomic_directory(tmp_path / "deep" / "a") as draft:
        write_files(draft, c_json=b"1")
        assert not (tmp_path / "deep" / "a").exists()
    manifest.verify(tmp_path / "deep" / "a")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a"]


def test_failed_replacement_keeps_the_old_folder(sealed_folder):
    def fail_midway():
        with manifest.atomic_directory(sealed_folder) as draft:
            write_files(draft, c_json=b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail_midway()
    manifest.verify(sealed_folder)
    assert [p.name for p in sealed_folder.parent.iterdir()] == ["a"]


def test_full_disk_keeps_the_old_folder(sealed_folder):
    """A limit on the file size stands for a full disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from gen_msa import manifest\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))\n"
        "try:\n"
        "    with manifest.atomic_directory(Path(sys.argv[1])) as d:\n"
        "        for i in range(4): (d / f'{i}.json').write_bytes(b'x' * 50 * (i + 1))\n"
        "except OSError as e: print('OSError', e.errno)\n"
    )
    for limit in (0, 40, 120, 199, 300):
        command = [sys.executable, "-c", code, str(sealed_folder), str(limit)]
        out = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "OSError 27" in out.stdout
        manifest.verify(sealed_folder)
        assert [p.name for p in sealed_folder.parent.iterdir()] == ["a"]


def test_replacement_keeps_only_the_new_folder(sealed_folder):
    with manifest.atomic_directory(sealed_folder) as draft:
        write_files(draft, new_json=b"2")
    manifest.verify(sealed_folder)
    assert sorted(p.name for p in sealed_folder.iterdir()) == [manifest.MANIFEST_NAME, "new.json"]
    assert [p.name for p in sealed_folder.parent.iterdir()] == ["a"]


def test_leftovers_of_a_killed_writer_are_removed(sealed_folder):
    code = (
        "import sys, time; from pathlib import Path; from gen_msa import manifest\n"
        "with manifest.atomic_directory(Path(sys.argv[1])) as d:\n"
        "    (d / 'half.json').write_text('1'); print('in', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(sealed_folder)]
    for _ in range(3):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "in\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        manifest.verify(sealed_folder)
    with manifest.atomic_directory(sealed_folder) as draft:
        write_files(draft, new_json=b"2")
    assert [p.name for p in sealed_folder.parent.iterdir()] == ["a"]


def test_kill_between_renames_is_recovered(sealed_folder):
    dead_process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    sealed_folder.rename(sealed_folder.with_name(f".a.{int(dead_process.stdout)}.old"))
    manifest.recover(sealed_folder)
    manifest.verify(sealed_folder)
    assert manifest.is_intact(sealed_folder)


def test_files_of_a_sealed_folder_have_the_mode_of_new_files(tmp_path):
    with manifest.atomic_directory(tmp_path / "model") as draft:
        (draft / "a.safetensors").write_bytes(b"x")
        (draft / "a.safetensors").chmod(0o600)
    (tmp_path / "new").write_bytes(b"")
    mode = (tmp_path / "new").stat().st_mode & 0o777
    assert (tmp_path / "model" / "a.safetensors").stat().st_mode & 0o777 == mode
