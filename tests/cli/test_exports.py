"""Exports of ten platforms and tools, made by hand: nothing is lost, and the last lines add up.

Each has at most one `--map`, and what such files really have: lines before the header, marks of
encodings, a second header, empty cells, deleted texts, images within the file.
"""

import csv
import datetime
import io
import json
import re

import pytest

from gen_msa.data import open_examples
from tests.fixtures.posts import write_image

TEXTS = ["The new terrace is lovely, the soup was cold", "Queue too long &amp; no seats", ""]


def twitter_archive(folder):
    tweets = [
        {"tweet": {"id_str": str(i), "full_text": text or "RT", "created_at": "Mon Jan 01 2024"}}
        for i, text in enumerate(TEXTS)
    ]
    path = folder / "tweets.js"
    path.write_text(f"window.YTD.tweets.part0 = {json.dumps(tweets)}", "utf-8")
    return path, (), 3


def reddit_dump(folder):
    rows = [
        {"id": "a", "body": TEXTS[0], "author": "u", "subreddit": "food", "created_utc": 1},
        {"id": "b", "body": "[deleted]", "author": "[deleted]", "subreddit": "food"},
        {"id": "c", "title": "Queues", "selftext": TEXTS[1], "subreddit": "food", "score": 3},
    ]
    zstandard = pytest.importorskip("zstandard")
    path = folder / "RC_2024-01.zst"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(zstandard.compress(lines.encode()))
    return path, ("--format", "reddit"), 3


def youtube_comments(folder):
    def comment(i, text):
        snippet = {"textDisplay": text, "textOriginal": text, "likeCount": i, "videoId": "v"}
        return {"id": f"c{i}", "kind": "youtube#comment", "snippet": snippet}

    items = [
        {
            "id": f"t{i}",
            "kind": "youtube#commentThread",
            "snippet": {"topLevelComment": comment(i, text or "👍"), "totalReplyCount": 0},
        }
        for i, text in enumerate(TEXTS)
    ]
    path = folder / "comments.json"
    path.write_text(
        json.dumps({"kind": "youtube#commentThreadListResponse", "items": items}), "utf-8"
    )
    return path, (), 3


def brandwatch_csv(folder):
    out = io.StringIO()
    out.write("Report:,Bulk Mentions Download\nBrand:,Cafe\nFrom:,2024-01-01\nLabel:,\n\n")
    writer = csv.writer(out)
    writer.writerow(["Query Id", "Date", "Title", "Full Text", "Sentiment", "Reach (new)"])
    for i, text in enumerate(TEXTS):
        writer.writerow([i, "2024-01-01 10:00:00.0", "A title", text, "neutral", "1,204"])
    path = folder / "mentions.csv"
    path.write_text("\ufeff" + out.getvalue(), "utf-8")
    return path, ("--map", "text=Full Text"), 3


def google_play_reviews(folder):
    rows = [["Package Name", "Reviewer Language", "Star Rating", "Review Text"]]
    rows += [["com.cafe", "en", str(i + 1), text] for i, text in enumerate(TEXTS)]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    path = folder / "reviews_com.cafe_202401.csv"
    path.write_bytes(out.getvalue().encode("utf-16"))
    return path, ("--map", "text=Review Text"), 3


def survey_monkey_xlsx(folder):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Respondent ID", "Start Date", "How was your visit?", None])
    sheet.append([None, None, "Open-Ended Response", None])
    for i, text in enumerate(TEXTS):
        sheet.append([118000000 + i, datetime.datetime(2024, 1, 1, 10, i), text or None])
    path = folder / "survey.xlsx"
    book.save(path)
    return path, ("--map", "text=How was your visit?"), 3


def label_studio(folder):
    def span(start, end, label):
        value = {"start": start, "end": end, "text": TEXTS[0][start:end], "labels": [label]}
        return {"value": value, "from_name": "label", "to_name": "text", "type": "labels"}

    tasks = [
        {
            "id": i,
            "data": {"text": text or "Fine."},
            "annotations": [{"result": [span(8, 15, "Positive")] if i == 0 else []}],
        }
        for i, text in enumerate(TEXTS)
    ]
    path = folder / "project-1.json"
    path.write_text(json.dumps(tasks), "utf-8")
    return path, (), 3


def doccano(folder):
    rows = [
        {"id": 1, "text": TEXTS[0], "label": [[8, 15, "positive"], [31, 35, "negative"]]},
        {"id": 2, "text": TEXTS[1], "label": [[0, 5, "NEG"]]},
        {"id": 3, "text": "Fine.", "label": []},
    ]
    path = folder / "all.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return path, (), 3


def hugging_face_parquet(folder):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_image(folder / "x.png")
    image = {"bytes": (folder / "x.png").read_bytes(), "path": None}
    table = pa.table(
        {
            "image": [image, image, None],
            "caption": [TEXTS[0], TEXTS[1], "Fine."],
            "label": pa.array([2, 0, 1], pa.int64()),
        }
    )
    features = {
        "image": {"_type": "Image"},
        "caption": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["negative", "neutral", "positive"], "_type": "ClassLabel"},
    }
    info = json.dumps({"info": {"features": features}})
    path = folder / "train-00000-of-00001.parquet"
    parquet.write_table(table.replace_schema_metadata({"huggingface": info}), path)
    return path, ("--map", "text=caption"), 3


def kaggle_csv(folder):
    rows = [["", "Unnamed: 0", "reviewText", "rating", "sentiment"]]
    rows += [[str(i), str(i), text, "4.0", "positive"] for i, text in enumerate(TEXTS)]
    path = folder / "train.csv"
    with path.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file).writerows([[c.replace("soup", "crêpe") for c in row] for row in rows])
    return path, ("--map", "text=reviewText"), 3


EXPORTS = [
    twitter_archive,
    reddit_dump,
    youtube_comments,
    brandwatch_csv,
    google_play_reviews,
    survey_monkey_xlsx,
    label_studio,
    doccano,
    hugging_face_parquet,
    kaggle_csv,
]


@pytest.mark.parametrize("make_export", EXPORTS, ids=lambda f: f.__name__)
def test_export_becomes_tables_and_a_page_and_nothing_is_lost(gen_msa, tmp_path, make_export):
    folder = tmp_path / "in"
    folder.mkdir()
    path, options, n_rows = make_export(folder)
    out = {suffix: tmp_path / f"o.{suffix}" for suffix in ("jsonl", "csv", "xlsx", "html")}
    files = ("-o", out["jsonl"], "--csv", out["csv"], "--xlsx", out["xlsx"], "--html", out["html"])
    completed = gen_msa("explain", path, *options, "-m", "echo", *files)

    written, total = map(int, re.search(r"^(\d+) of (\d+) posts?,", completed.err, re.M).groups())
    rejected_file = tmp_path / "o.rejected.jsonl"
    rejected = rejected_file.read_text("utf-8").splitlines() if rejected_file.exists() else []
    assert total == n_rows
    assert written + len(rejected) == total
    assert completed.code == (3 if rejected else 0), completed.err
    not_used = completed.err.rstrip().splitlines()[-1]
    assert not_used.startswith("not used: ")
    assert ("row" in not_used) == bool(rejected)

    posts = [json.loads(line)["post"] for line in out["jsonl"].read_text("utf-8").splitlines()]
    assert len(posts) == written
    assert posts[0]["text"].startswith("The new terrace is lovely")
    for table in (out["csv"], out["xlsx"]):
        read_back = [row.post for row in open_examples(str(table)).rows()]
        assert [(p.id, p.text) for p in read_back] == [(p["id"], p["text"]) for p in posts]
        assert [set(p.meta) for p in read_back] == [
            {k for k, v in p["meta"].items() if v is not None and v != ""} for p in posts
        ]
    assert all(p["id"] in out["html"].read_text("utf-8") for p in posts)
