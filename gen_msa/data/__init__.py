"""Load examples: data sets by name, and the user's own files.

A data set is a row of `catalog`, or a module here if it needs code of its own (`data/mosi.py`);
both say where its files are below `GEN_MSA_DATA` and in which format.

    open_examples("twitter2015:dev").rows()      # a data set and its split
    open_examples("posts.jsonl").rows()          # a file; media paths are relative to its folder
"""

from gen_msa.data.base import Dataset, ExampleSource, datasets
from gen_msa.data.formats.base import ExampleStream
from gen_msa.data.sources import DATA_ROOT_ENV_VAR, convert, data_root, open_examples

__all__ = [
    "DATA_ROOT_ENV_VAR",
    "Dataset",
    "ExampleSource",
    "ExampleStream",
    "convert",
    "data_root",
    "datasets",
    "open_examples",
]
