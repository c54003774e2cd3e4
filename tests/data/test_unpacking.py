"""Compressed files, workbooks, standard input and old encodings are read like plain files."""

import bz2
import datetime
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest

from gen_msa.data import open_examples
from gen_msa.data.unpacking import plain_file
from gen_msa.errors import UserError
from gen_msa.types import Example

CSV = 'id,text,aspect,polarity\n1,"Good tea, bad cup",tea,positive\n2,Fine tea,,\n'
JSONL = '{"id": "1", "text": "Good tea, bad cup"}\n{"id": "2", "text": "Fine tea"}\n'


def texts(ref: object, **options: str) -> list[str]:
    rows = list(open_examples(str(ref), **options).rows())
    assert all(isinstance(row, Example) for row in rows), rows
    return [row.post.text for row in rows if isinstance(row, Example)]


def pack(data: bytes, suffix: str) -> bytes:
    if suffix == ".zst":
        return pytest.importorskip("zstandard").compress(data)
    return {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix](data)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize(("name", "content"), [("a.csv", CSV), ("a.jsonl", JSONL)])
def test_compressed_file_is_read_whatever_its_name(tmp_path, suffix, name, content):
    for path in (tmp_path / (name + suffix), tmp_path / name):
        path.write_bytes(pack(content.encode(), suffix))
        assert texts(path) == ["Good tea, bad cup", "Fine tea"]


def test_ids_and_messages_have_the_name_of_the_original(tmp_path):
    path = tmp_path / "posts.csv.gz"
    path.write_bytes(gzip.compress(b"text\ngood tea\n"))
    (row,) = open_examples(str(path)).rows()
    assert row.post.id == "posts-2"
    path.write_bytes(gzip.compress(b"caption\ngood tea\n"))
    with pytest.raises(UserError, match=rf"{tmp_path}/posts\.csv has no column 'text'"):
        list(open_examples(str(path)).rows())


def test_copy_is_removed_with_its_path(tmp_path):
    path = tmp_path / "posts.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    copy = plain_file(str(path))
    file = Path(copy.__fspath__())
    assert file.read_text() == CSV
    del copy
    assert not file.exists()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_cut_archive_is_one_clear_error(tmp_path, suffix):
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(pack(CSV.encode() * 500, suffix)[:-12])
    with pytest.raises(UserError, match=r"a\.csv\.\w+ cannot be unpacked"):
        texts(path)


def test_archive_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gen_msa.data.unpacking._FREE_BYTES", 1 << 20)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"a" * (1 << 21)))
    monkeypatch.setattr("gen_msa.data.unpacking.MAX_RATIO", 10)
    with pytest.raises(UserError, match="unpacks to over 10 times its size"):
        texts(path)


def write_workbook(path: Path, **sheets: list[list[object]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_workbook_is_read_as_its_first_or_named_sheet(tmp_path):
    day = datetime.datetime(2024, 1, 2)
    path = write_workbook(
        tmp_path / "w.xlsx",
        posts=[["id", "text", "day", "likes", None], [1, "Good tea", day, 4.0], [], [2, "=1", day]],
        other=[["text"], ["other"]],
    )
    rows = [row for row in open_examples(str(path)).rows() if isinstance(row, Example)]
    assert rows[0].post.meta == {"day": "2024-01-02", "likes": "4"}
    assert [row.post.id for row in rows] == ["1", "2"]
    assert texts(path, sheet="other") == ["other"]
    with pytest.raises(UserError, match="no sheet 'nope'"):
        texts(path, sheet="nope")
    with pytest.raises(UserError, match="is no workbook"):
        texts(write_file(tmp_path / "a.csv", CSV.encode()), sheet="posts")


def write_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_workbook_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gen_msa.data.unpacking._FREE_BYTES", 1 << 16)
    path = tmp_path / "w.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(1 << 22))
    monkeypatch.setattr("gen_msa.data.unpacking.MAX_RATIO", 10)
    with pytest.raises(UserError, match="unpacks to"):
        texts(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7\n", "is a PDF"),
        (b"PK\x03\x04" + bytes(60), "is a ZIP archive"),
        (b"\xd0\xcf\x11\xe0" + bytes(60), "is an old Excel"),
        (b"<!doctype html><p>Log in", "is a web page"),
        (b"\x89PNG\r\n", "is an image"),
        (b"PAR1" + bytes(20), "is a Parquet file"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_file_that_is_no_table_is_named_as_what_it_is(tmp_path, suffix, data, reason):
    with pytest.raises(UserError, match=reason):
        texts(write_file(tmp_path / f"a{suffix}", data))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "这家餐厅的服务很好"),
        ("shift_jis", "この店はとても良い"),
        ("cp1251", "Хороший ресторан"),
        ("utf-16", "Gute Suppe"),
    ],
)
def test_encoding_is_named_where_it_is_not_detected(tmp_path, encoding, text):
    path = write_file(tmp_path / "a.csv", f"id,text\n1,{text}\n".encode(encoding))
    assert texts(path, encoding=encoding) == [text]
    if encoding not in ("utf-16",):
        (rejected,) = open_examples(str(path)).rows()
        assert "--encoding" in rejected.hint
    with pytest.raises(UserError, match="no encoding 'nope'"):
        texts(path, encoding="nope")
    with pytest.raises(UserError, match="is not ascii"):
        texts(path, encoding="ascii")


def test_lines_that_end_in_a_carriage_return_are_lines(tmp_path):
    assert texts(write_file(tmp_path / "a.csv", b"id,text\r1,a b\r2,c d\r")) == ["a b", "c d"]
    assert texts(write_file(tmp_path / "a.jsonl", JSONL.replace("\n", "\r").encode())) == [
        "Good tea, bad cup",
        "Fine tea",
    ]


@pytest.mark.parametrize(("sep", "character"), [("#", "#"), ("tab", "\t"), ("\\t", "\t")])
def test_sep_names_the_character_between_cells(tmp_path, sep, character):
    path = write_file(tmp_path / "a.csv", f"id{character}text\n1{character}a, b\n".encode())
    assert texts(path, sep=sep) == ["a, b"]
    with pytest.raises(UserError, match="no separator"):
        texts(path, sep="::")
    with pytest.raises(UserError, match="no table of cells"):
        texts(write_file(tmp_path / "a.jsonl", JSONL.encode()), sep=";")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (CSV, ["Good tea, bad cup", "Fine tea"]),
        (JSONL, ["Good tea, bad cup", "Fine tea"]),
        ('[{"text": "Good tea"}]', ["Good tea"]),
        (gzip.compress(CSV.encode()), ["Good tea, bad cup", "Fine tea"]),
    ],
    ids=["csv", "jsonl", "json", "gz"],
)
def test_standard_input_is_recognized(monkeypatch, content, expected):
    data = content if isinstance(content, bytes) else content.encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert texts("-") == expected


def test_options_of_files_are_refused_for_a_data_set():
    with pytest.raises(UserError, match="whose files are known"):
        open_examples("tiny", sep=";")
