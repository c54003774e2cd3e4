"""Where examples come from: corpora by name, and the user's own files.

A corpus is a row of `catalog`, or a file here where it needs code of its own (`data/mosi.py`); both
say where its files lie below `GEN_MSA_DATA` and in which format. Knows nothing of readers, prompts
or metrics.

    open_source("twitter2015:dev").rows()      # a corpus and its split
    open_source("posts.jsonl").rows()          # a file; its pictures lie beside it
"""

from gen_msa.data.base import Dataset, ExampleSource, Rows, datasets
from gen_msa.data.sources import DATA_ROOT_ENV_VAR, convert, data_root, open_examples

__all__ = [
    "DATA_ROOT_ENV_VAR",
    "Dataset",
    "ExampleSource",
    "Rows",
    "convert",
    "data_root",
    "datasets",
    "open_examples",
]
