"""Which sources are test splits, which tuning never reads, and which are train splits.

is_test("twitter2015:test"), is_test("mine/x_test.jsonl"), is_test("test/posts.jsonl")   # all True
"""

import re

_EVALUATION_SPLIT_NAMES = {
    "dev",
    "devel",
    "development",
    "val",
    "valid",
    "validation",
    "eval",
    "heldout",
}


def is_test_split(source: str) -> bool:
    """Whether `DATASET:SPLIT`, a file's name or one of its folders says that it is a test split.

    A name says so by the word `test` between marks (`x-test.tsv`), not within one (`latest`).
    """
    *folders, name = source.rpartition(":")[2].lower().replace("\\", "/").split("/")
    return "test" in folders or "test" in re.split(r"[^a-z0-9]+", name)


def is_train_split(source: str) -> bool:
    """Whether `DATASET:SPLIT` or a file's name says that it is a train split, and no other one."""
    name = source.rpartition(":")[2].lower().replace("\\", "/").rpartition("/")[2]
    name_parts = set(re.split(r"[^a-z0-9]+", name))
    return (
        bool(name_parts & {"train", "training"})
        and not name_parts & _EVALUATION_SPLIT_NAMES
        and not is_test_split(source)
    )
