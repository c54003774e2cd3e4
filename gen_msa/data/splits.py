"""Tell test splits, which tuning never reads, and train splits by the name of a source.

is_test_split("twitter2015:test"), is_test_split("mine/x_test.jsonl")   # True, True
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
    """Return whether `DATASET:SPLIT`, a file name or one of its folders names a test split.

    `test` must be a word between punctuation (`x-test.tsv`), not a part of one (`latest`).
    """
    *folders, name = source.rpartition(":")[2].lower().replace("\\", "/").split("/")
    return "test" in folders or "test" in re.split(r"[^a-z0-9]+", name)


def is_train_split(source: str) -> bool:
    """Return whether `DATASET:SPLIT` or a file name names a train split, and no other one."""
    name = source.rpartition(":")[2].lower().replace("\\", "/").rpartition("/")[2]
    name_parts = set(re.split(r"[^a-z0-9]+", name))
    return (
        bool(name_parts & {"train", "training"})
        and not name_parts & _EVALUATION_SPLIT_NAMES
        and not is_test_split(source)
    )
