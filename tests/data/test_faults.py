"""Malformed rows and huge ones: none is raised or lost from the count, memory stays flat."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.jsonl import MAX_LINE
from gen_msa.types import Example, Rejected
from tests.data.making import hard, plain

ROWS = 10_000


def broken(line: bytes, rng: random.Random) -> bytes:
    """The line with one to three faults, still one line and not blank."""
    for _ in range(rng.randint(1, 3)):
        at, end = sorted(rng.randrange(len(line) + 1) for _ in range(2))
        junk = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
        line = rng.choice(
            [
                line[:at],
                line[at:],
                line[:at] + line[end:],
                line[:at] + junk + line[at:],
                line[:at] + junk + line[at + len(junk) :],
                line[:end] + line[at:],
                line[:at]
                + rng.choice([b"\t", b'"', b"$T$", b"[" * 300, b"}", b"9" * 500])
                + line[at:],
                line.replace(b'"', b"", 1),
                line.replace(b"\t", b" ", 1),
                line.swapcase(),
            ]
        )
    line = line.replace(b"\n", b" ").replace(b"\r", b" ")
    return line if line.strip() else b"x"


def spoiled(lines: list[bytes], seed: int, share: float = 0.7) -> list[bytes]:
    rng = random.Random(seed)
    return [broken(x, rng) if rng.random() < share else x for x in lines]


def lines_of(name: str, folder: Path, found: list[Example]) -> list[bytes]:
    path = folder / "good"
    formats[name].write(path, found)
    return path.read_bytes().split(b"\n")


def json_lines(folder: Path) -> list[bytes]:
    short = [e for e in hard() if len(e.post.text) < 1000]
    lines = lines_of("jsonl", folder, [*short, plain()])[:-1]
    own = [b'{"text": "tea, tea", "aspects": ["tea", "tea"], "image": "a.jpg", "likes": 3}']
    return (lines + own) * (ROWS // len(lines + own) + 1)


def tsv_lines(folder: Path) -> list[bytes]:
    found = [plain(f"t-{i}", f"good tea , bad cake {i}") for i in range(ROWS // 2)]
    return lines_of("tombert_tsv", folder, found)[1:-1]


@pytest.mark.parametrize("seed", [1, 2])
def test_of_ten_thousand_spoiled_json_lines_each_is_read_or_set_aside(
    seed: int, tmp_path: Path
) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join(spoiled(json_lines(tmp_path)[:ROWS], seed)) + b"\n")
    rows = list(formats["jsonl"].read(path))
    bad = [r for r in rows if isinstance(r, Rejected)]
    assert len(rows) == ROWS
    assert 2000 < len(bad) < 8000
    assert all(r.line and r.reason and r.mend for r in bad)


@pytest.mark.parametrize("seed", [1, 2])
def test_of_ten_thousand_spoiled_tsv_rows_each_is_an_aspect_or_set_aside(
    seed: int, tmp_path: Path
) -> None:
    path = tmp_path / "posts.tsv"
    header = b"index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"
    path.write_bytes(b"\n".join([header, *spoiled(tsv_lines(tmp_path), seed)]) + b"\n")
    rows = list(formats["tombert_tsv"].read(path))
    bad = [r for r in rows if isinstance(r, Rejected)]
    aspects = sum(len(r.post.aspects) for r in rows if isinstance(r, Example))
    assert aspects + len(bad) == ROWS
    assert 2000 < len(bad) < 8000
    assert all(r.line and r.reason and r.mend for r in bad)


def test_intact_text_records_are_all_read_between_spoiled_ones(tmp_path: Path) -> None:
    rng = random.Random(3)
    path = tmp_path / "posts.txt"
    intact, lines = [], []
    for i in range(ROWS // 4):
        record = [f"tea {i} and $T$".encode(), b"cake", b"1", b"%d.jpg" % i]
        if rng.random() < 0.3:
            at = rng.randrange(4)
            record[at : at + 1] = rng.choice([[], [broken(record[at], rng)], [b"x", record[at]]])
        else:
            intact.append(f"tea {i} and cake")
        lines += record
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows = list(formats["tombert_txt"].read(path))
    read = {r.post.text for r in rows if isinstance(r, Example)}
    assert [t for t in intact if t not in read] == []
    assert any(isinstance(r, Rejected) for r in rows)


@pytest.mark.parametrize("name", formats.names())
def test_no_spoiled_file_raises(name: str, tmp_path: Path) -> None:
    base = {
        "stanza_json": stanza,
        "semeval_xml": semeval,
        "meld_csv": meld,
        "tombert_txt": four_lines,
    }.get(name, lambda folder: lines_of(name, folder, many()))
    whole = base(tmp_path)
    path = tmp_path / "spoiled.json"
    for seed in range(30):
        head = whole[:1]
        path.write_bytes(b"\n".join([*head, *spoiled(whole[1:], seed, share=0.05)]))
        assert all(isinstance(r, Example | Rejected) for r in read_or_refused(name, path))
    assert len(whole) > 1


def read_or_refused(name: str, path: Path) -> list[Example | Rejected]:
    """The rows; none for a Parquet file so damaged that it is refused as a whole."""
    try:
        return list(formats[name].read(path))
    except UserError:
        assert name == "parquet"
        return []


def test_no_flipped_byte_in_parquet_raises_anything_but_a_clear_refusal(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    formats["parquet"].write(path, many())
    whole = path.read_bytes()
    refused = 0
    for seed in range(300):
        rng = random.Random(seed)
        raw = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        path.write_bytes(raw[: rng.randrange(len(raw))] if seed % 5 == 0 else raw)
        refused += not read_or_refused("parquet", path)
    assert 100 < refused < 300


def many() -> list[Example]:
    return [plain(f"t-{i}", f"good tea , bad cake {i}") for i in range(40)]


def stanza(folder: Path) -> list[bytes]:
    made = {"token": ["tea", "."], "pos": ["N", "."], "head": [0, 1], "deprel": ["root", "punct"]}
    aspects = [{"term": ["tea"], "from": 0, "to": 1, "polarity": "neutral"}]
    return json.dumps([made | {"aspects": aspects}] * 40, indent=1).encode().split(b"\n")


def semeval(folder: Path) -> list[bytes]:
    term = '<aspectTerm from="0" to="3" term="tea" polarity="neutral"/>'
    made = f"<sentence>\n<text>tea</text>\n<aspectTerms>{term}</aspectTerms></sentence>\n" * 40
    return f"<sentences>\n{made}</sentences>".encode().split(b"\n")


def meld(folder: Path) -> list[bytes]:
    return [b"Utterance,Sentiment,Dialogue_ID,Utterance_ID", *[b'"a, b",neutral,1,2'] * 40]


def four_lines(folder: Path) -> list[bytes]:
    return [b"good $T$", b"tea", b"1", b"1.jpg"] * 40


MEASURE = """
import sys
from pathlib import Path
from gen_msa.data.formats import formats
def peak():
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
def count(path):
    good = bad = 0
    for row in formats[sys.argv[1]].read(Path(path)):
        good, bad = good + hasattr(row, "post"), bad + hasattr(row, "reason")
    return good, bad
count(sys.argv[2])
before = peak()
print(*count(sys.argv[3]), peak() - before)
"""


def measured(name: str, small: Path, big: Path) -> tuple[int, int, int]:
    """Examples, rejected rows, and growth of the peak resident set in MiB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of the resident set is read from /proc")
    command = [sys.executable, "-c", MEASURE, name, str(small), str(big)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    good, bad, growth = map(int, out.split())
    return good, bad, growth


def sizes() -> Iterator[int]:
    """A thousand sizes from 100 bytes to 100 MB, about 350 MB together."""
    yield 100_000_000
    for i in range(999):
        yield {7: 20_000_000, 1: 400_000, 2: 1_200_000}.get(i % 100, 100 if i % 2 else 50_000)


@pytest.mark.parametrize(
    ("name", "head", "row", "tail"),
    [
        ("jsonl", "", lambda hole: ('{"text": "tea', hole, '"}\n'), ""),
        ("csv", "text,note\n", lambda hole: ("tea,", hole, "\n"), ""),
        ("csv", "text,note\n", lambda hole: ('tea,"', hole, '"\n'), ""),
        ("llava", "[", lambda hole: ('{"a": [["', hole, '"]]},'), "{}]"),
        ("tombert_tsv", "index\n", lambda hole: ("1\t1\ta.jpg\t$T$\ttea", hole, "\n"), ""),
    ],
)
def test_a_thousand_lines_up_to_100_mb_cost_less_than_50_mb(
    name: str, head: str, row: Callable[[int], tuple[str, int, str]], tail: str, tmp_path: Path
) -> None:
    """The long lines are holes in a sparse file: they cost no disk and are read as zero bytes."""
    small, big = tmp_path / "small.json", tmp_path / "big.json"
    small.write_text(head + '{"text": "tea"}\n' + tail)
    with big.open("wb") as f:
        f.write(head.encode())
        for size in sizes():
            before, hole, after = row(size)
            f.write(before.encode())
            f.seek(hole, 1)
            f.write(after.encode())
        f.write(tail.encode())
    good, bad, growth = measured(name, small, big)
    big.unlink()
    assert growth < 50
    assert bad >= sum(size > MAX_LINE for size in sizes())
    assert good + bad in (1000, 1001)


def test_deep_nesting_within_the_limit_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    deep = b'{"text": "tea", "x": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    path.write_bytes(b"\n".join([deep, b'{"text": "tea"}', b"[" * 900_000, b'{"a":' * 150_000]))
    for name in ("jsonl", "messages", "joint_json", "stanza_json", "tombert_tsv"):
        rows = list(formats[name].read(path))
        read = [i for i, r in enumerate(rows) if isinstance(r, Example)]
        assert (len(rows), read) == (4, [1] if name == "jsonl" else [])


def test_an_endless_quote_is_given_up_in_bounded_memory(tmp_path: Path) -> None:
    small, big = tmp_path / "small.csv", tmp_path / "big.csv"
    small.write_text("text,note\ntea,1\n")
    with big.open("w") as f:
        f.write('text,note\ntea,"open\n')
        f.writelines(f"tea {i},{'x' * 90}\n" for i in range(30_000))
    good, bad, growth = measured("csv", small, big)
    assert (good, bad) == (30_000, 1)
    assert growth < 50
