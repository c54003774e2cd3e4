"""Data sets that are files in a known format, one entry each.

A data set that needs code has a module of its own in this package. SemEval-2014 and its tweets
include a dependency parse of every post, so no parser is needed. MELD is dialogue: earlier
utterances have the same `meta["Dialogue_ID"]` and a smaller `meta["Utterance_ID"]`. Images of
Twitter-2015 and 2017 have their published names and are in `images/`; captions may replace them.
The test split of Twitter-2017 is an error until its file is added.

    open_examples("mams:dev").rows()
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gen_msa.data.base import Dataset, require_file
from gen_msa.data.formats import formats
from gen_msa.data.formats.base import ExampleStream


@dataclass
class Corpus:
    """A data set whose splits are one file each, below `GEN_MSA_DATA`."""

    about: str
    format: str
    """A name in `formats`."""
    folder: str
    """The folder below the data root that `Media.path` is relative to."""
    files: Mapping[str, str]
    """The file of each split, below the data root."""
    splits: tuple[str, ...] = field(init=False)
    """In the order of `files`."""
    is_packaged: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.splits = tuple(self.files)

    def media_root(self, root: Path) -> Path:
        """Return the folder of the images, or of the data set if it has none."""
        return root / self.folder

    def read(self, root: Path, split: str) -> ExampleStream:
        """Read every row of one split, in the order of the file.

        Args:
            root: The data root.
            split: One of `splits`.

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        return formats[self.format].read(require_file(root, self.files[split]))


def _files(pattern: str, *splits: str) -> dict[str, str]:
    return {split: pattern.format(split) for split in splits}


PARTS: dict[str, Dataset] = {
    "mams": Corpus(
        about="MAMS, sentences with opposite sentiments (Jiang et al. 2019), "
        "11186/1332/1336 aspects.",
        format="semeval_xml",
        folder="mams_atsa",
        files={
            "train": "mams_atsa/train.xml",
            "dev": "mams_atsa/val.xml",
            "test": "mams_atsa/test.xml",
        },
    ),
    "meld": Corpus(
        about="MELD, dialogue utterances (Poria et al. 2019), 9989/1109/2610 utterances.",
        format="meld_csv",
        folder="meld",
        files=_files("meld/{}.csv", "train", "dev", "test"),
    ),
    "semeval14_laptops": Corpus(
        about="SemEval-2014 laptop reviews with parses (Pontiki et al. 2014), 2282/632 aspects.",
        format="stanza_json",
        folder="semeval14_dep",
        files=_files("semeval14_dep/Laptops_stanza/{}.json", "train", "test"),
    ),
    "semeval14_restaurants": Corpus(
        about="SemEval-2014 restaurant reviews with parses (Pontiki et al. 2014), "
        "3608/1119 aspects.",
        format="stanza_json",
        folder="semeval14_dep",
        files=_files("semeval14_dep/Restaurants_stanza/{}.json", "train", "test"),
    ),
    "semeval14_tweets": Corpus(
        about="Tweets with a target with parses (Dong et al. 2014), 677 aspects.",
        format="stanza_json",
        folder="semeval14_dep",
        files=_files("semeval14_dep/Tweets_stanza/{}.json", "test"),
    ),
    "twitter2015": Corpus(
        about="Twitter-2015, tweets with targets (Yu and Jiang 2019), 3179 / 1122 / 1037 aspects.",
        format="tombert_tsv",
        folder="twitter2015/images",
        files=_files("twitter2015/tombert/{}.tsv", "train", "dev", "test"),
    ),
    "twitter2017": Corpus(
        about="Twitter-2017, tweets with targets (Yu and Jiang 2019), 3562 / 1176 aspects.",
        format="tombert_tsv",
        folder="twitter2017/images",
        files=_files("twitter2017/tombert/{}.tsv", "train", "dev", "test"),
    ),
}
"""Data sets by name, for the registry `datasets`."""
