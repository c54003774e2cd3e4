"""Test malformed and huge rows: none raises or is lost, and memory stays bounded."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gen_msa.data.formats import formats
from gen_msa.errors import UserError
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.types import Example, Rejected
from tests.data.builders import hard_examples, plain_example

N_ROWS = 10_000


def corrupt_line(line: bytes, rng: random.Random) -> bytes:
    """Return the line with one to three faults, still one line and not blank."""
    for _ in range(rng.randint(1, 3)):
        start, end = sorted(rng.randrange(len(line) + 1) for _ in range(2))
        junk = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
        line = rng.choice(
            [
                line[:start],
                line[start:],
                line[:start] + line[end:],
                line[:start] + junk + line[start:],
                line[:start] + junk + line[start + len(junk) :],
                line[:end] + line[start:],
                line[:start]
                + rng.choice([b"\t", b'"', b"$T$", b"[" * 300, b"}", b"9" * 500])
                + line[start:],
                line.replace(b'"', b"", 1),
                line.replace(b"\t", b" ", 1),
                line.swapcase(),
            ]
        )
    line = line.replace(b"\n", b" ").replace(b"\r", b" ")
    return line if line.strip() else b"x"


def corrupt_lines(lines: list[bytes], seed: int, fraction: float = 0.7) -> list[bytes]:
    rng = random.Random(seed)
    return [corrupt_line(x, rng) if rng.random() < fraction else x for x in lines]


def lines_of(name: str, folder: Path, examples: list[Example]) -> list[bytes]:
    path = folder / "good"
    formats[name].write(path, examples)
    return path.read_bytes().split(b"\n")


def json_lines(folder: Path) -> list[bytes]:
    short = [e for e in hard_examples() if len(e.post.text) < 1000]
    lines = lines_of("jsonl", folder, [*short, plain_example()])[:-1]
    simple_rows = [b'{"text": "tea, tea", "aspects": ["tea", "tea"], "image": "a.jpg", "likes": 3}']
    return (lines + simple_rows) * (N_ROWS // len(lines + simple_rows) + 1)


def tsv_lines(folder: Path) -> list[bytes]:
    examples = [plain_example(f"t-{i}", f"good tea , bad cake {i}") for i in range(N_ROWS // 2)]
    return lines_of("tombert_tsv", folder, examples)[1:-1]


@pytest.mark.parametrize("seed", [1, 2])
def test_each_corrupt_json_line_is_read_or_rejected(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join(corrupt_lines(json_lines(tmp_path)[:N_ROWS], seed)) + b"\n")
    rows = list(formats["jsonl"].read(path))
    rejected = [r for r in rows if isinstance(r, Rejected)]
    assert len(rows) == N_ROWS
    assert 2000 < len(rejected) < 8000
    assert all(r.line and r.reason and r.hint for r in rejected)


@pytest.mark.parametrize("seed", [1, 2])
def test_each_corrupt_tsv_row_is_an_aspect_or_rejected(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "posts.tsv"
    header = b"index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"
    path.write_bytes(b"\n".join([header, *corrupt_lines(tsv_lines(tmp_path), seed)]) + b"\n")
    rows = list(formats["tombert_tsv"].read(path))
    rejected = [r for r in rows if isinstance(r, Rejected)]
    aspects = sum(len(r.post.aspects) for r in rows if isinstance(r, Example))
    assert aspects + len(rejected) == N_ROWS
    assert 2000 < len(rejected) < 8000
    assert all(r.line and r.reason and r.hint for r in rejected)


def test_intact_txt_records_between_corrupt_ones_are_read(tmp_path: Path) -> None:
    rng = random.Random(3)
    path = tmp_path / "posts.txt"
    intact, lines = [], []
    for i in range(N_ROWS // 4):
        record = [f"tea {i} and $T$".encode(), b"cake", b"1", b"%d.jpg" % i]
        if rng.random() < 0.3:
            index = rng.randrange(4)
            record[index : index + 1] = rng.choice(
                [[], [corrupt_line(record[index], rng)], [b"x", record[index]]]
            )
        else:
            intact.append(f"tea {i} and cake")
        lines += record
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows = list(formats["tombert_txt"].read(path))
    texts_read = {r.post.text for r in rows if isinstance(r, Example)}
    assert [t for t in intact if t not in texts_read] == []
    assert any(isinstance(r, Rejected) for r in rows)


@pytest.mark.parametrize("name", formats.names())
def test_corrupt_file_does_not_raise(name: str, tmp_path: Path) -> None:
    build_lines = {
        "stanza_json": stanza_json_lines,
        "semeval_xml": semeval_xml_lines,
        "meld_csv": meld_csv_lines,
        "tombert_txt": tombert_txt_lines,
        **{n: partial(export_lines, n) for n in EXPORTS},
    }.get(name, lambda folder: lines_of(name, folder, make_examples()))
    intact_lines = build_lines(tmp_path)
    path = tmp_path / "spoiled.json"
    for seed in range(30):
        head = intact_lines[:1]
        path.write_bytes(b"\n".join([*head, *corrupt_lines(intact_lines[1:], seed, fraction=0.05)]))
        assert all(isinstance(r, Example | Rejected) for r in read_or_empty(name, path))
    assert len(intact_lines) > 1


def read_or_empty(name: str, path: Path) -> list[Example | Rejected]:
    """Return the rows; none for a Parquet file that is refused completely."""
    try:
        return list(formats[name].read(path))
    except UserError:
        assert name == "parquet"
        return []


def test_corrupt_parquet_raises_only_user_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    formats["parquet"].write(path, make_examples())
    intact = path.read_bytes()
    n_refused = 0
    for seed in range(300):
        rng = random.Random(seed)
        raw = bytearray(intact)
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        path.write_bytes(raw[: rng.randrange(len(raw))] if seed % 5 == 0 else raw)
        n_refused += not read_or_empty("parquet", path)
    assert 100 < n_refused < 300


def make_examples() -> list[Example]:
    return [plain_example(f"t-{i}", f"good tea , bad cake {i}") for i in range(40)]


def stanza_json_lines(folder: Path) -> list[bytes]:
    record = {"token": ["tea", "."], "pos": ["N", "."], "head": [0, 1], "deprel": ["root", "punct"]}
    aspects = [{"term": ["tea"], "from": 0, "to": 1, "polarity": "neutral"}]
    return json.dumps([record | {"aspects": aspects}] * 40, indent=1).encode().split(b"\n")


def semeval_xml_lines(folder: Path) -> list[bytes]:
    term = '<aspectTerm from="0" to="3" term="tea" polarity="neutral"/>'
    sentences = f"<sentence>\n<text>tea</text>\n<aspectTerms>{term}</aspectTerms></sentence>\n" * 40
    return f"<sentences>\n{sentences}</sentences>".encode().split(b"\n")


def meld_csv_lines(folder: Path) -> list[bytes]:
    return [b"Utterance,Sentiment,Dialogue_ID,Utterance_ID", *[b'"a, b",neutral,1,2'] * 40]


EXPORTS: dict[str, str] = {
    "acos": "good tea\t1,2 FOOD#QUALITY 2 0,1\n",
    "aste": "good tea####[([1], [0], 'POS')]\n",
    "asqp": "good tea####[['tea', 'food', 'positive', 'good']]\n",
    "instruct_absa": """7,good tea,"[{'term': 'tea', 'polarity': 'positive'}]"\n""",
    "label_studio": json.dumps(
        {
            "id": 7,
            "data": {"text": "good tea"},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "labels",
                            "value": {"start": 5, "end": 8, "text": "tea", "labels": ["positive"]},
                        }
                    ]
                }
            ],
        }
    )
    + "\n",
    "pyabsa": "good $T$\ntea\nPositive\n",
    "reddit": '{"id": "1", "subreddit": "tea", "body": "good tea"}\n',
    "twitter_archive": '{"tweet": {"id_str": "1", "full_text": "good tea", "entities": {}}}\n',
    "youtube_comments": '{"kind": "youtube#comment", "id": "1",'
    ' "snippet": {"textOriginal": "good tea"}}\n',
}
"""One record of each format that is only read, or that cannot hold every example."""
HEADS = {"instruct_absa": "sentenceId,raw_text,aspectTerms\n"}


def export_lines(name: str, folder: Path) -> list[bytes]:
    return (HEADS.get(name, "") + EXPORTS[name] * 40).encode().split(b"\n")


def tombert_txt_lines(folder: Path) -> list[bytes]:
    return [b"good $T$", b"tea", b"1", b"1.jpg"] * 40


MEASURE_SCRIPT = """
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


def measure_read(name: str, small: Path, big: Path) -> tuple[int, int, int]:
    """Return examples, rejected rows, and the growth of the peak resident set in MiB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of the resident set is read from /proc")
    command = [sys.executable, "-c", MEASURE_SCRIPT, name, str(small), str(big)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    accepted, rejected, growth = map(int, out.split())
    return accepted, rejected, growth


def line_sizes() -> Iterator[int]:
    """Return a thousand sizes from 100 bytes to 100 MB, about 350 MB in total."""
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
def test_huge_lines_are_read_in_bounded_memory(
    name: str, head: str, row: Callable[[int], tuple[str, int, str]], tail: str, tmp_path: Path
) -> None:
    """Write long lines as holes in a sparse file: they need no disk and are read as zero bytes."""
    small, big = tmp_path / "small.json", tmp_path / "big.json"
    small.write_text(head + '{"text": "tea"}\n' + tail)
    with big.open("wb") as f:
        f.write(head.encode())
        for size in line_sizes():
            before, hole, after = row(size)
            f.write(before.encode())
            f.seek(hole, 1)
            f.write(after.encode())
        f.write(tail.encode())
    accepted, rejected, growth = measure_read(name, small, big)
    big.unlink()
    assert growth < 50
    assert rejected >= sum(size > MAX_LINE_BYTES for size in line_sizes())
    assert accepted + rejected in (1000, 1001)


def test_deeply_nested_json_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    deep = b'{"text": "tea", "x": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    path.write_bytes(b"\n".join([deep, b'{"text": "tea"}', b"[" * 900_000, b'{"a":' * 150_000]))
    for name in ("jsonl", "messages", "joint_json", "stanza_json", "tombert_tsv"):
        rows = list(formats[name].read(path))
        rows_read = [i for i, r in enumerate(rows) if isinstance(r, Example)]
        assert (len(rows), rows_read) == (4, [1] if name == "jsonl" else [])


def test_endless_quote_is_rejected_in_bounded_memory(tmp_path: Path) -> None:
    small, big = tmp_path / "small.csv", tmp_path / "big.csv"
    small.write_text("text,note\ntea,1\n")
    with big.open("w") as f:
        f.write('text,note\ntea,"open\n')
        f.writelines(f"tea {i},{'x' * 90}\n" for i in range(30_000))
    accepted, rejected, growth = measure_read("csv", small, big)
    assert (accepted, rejected) == (30_000, 1)
    assert growth < 50
