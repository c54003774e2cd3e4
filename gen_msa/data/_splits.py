"""Which sources are test splits: what tunes, trains or chooses never reads them.

is_test("twitter2015:test"), is_test("mine/x_test.jsonl"), is_test("test/posts.jsonl")   # all True
"""

import re


def is_test(source: str) -> bool:
    """Whether `DATASET:SPLIT`, a file's name or one of its folders says that it is a test split.

    A name says so by the word `test` between marks (`x-test.tsv`), not within one (`latest`).
    """
    *folders, name = source.rpartition(":")[2].lower().replace("\\", "/").split("/")
    return "test" in folders or "test" in re.split(r"[^a-z0-9]+", name)
