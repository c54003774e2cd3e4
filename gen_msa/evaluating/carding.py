"""A model card's evaluation: a Markdown section and Hugging Face's `model-index`, from a `Result`.

Both are put in place of what an earlier run put there, and nothing else of the card is touched: the
section stands between two comments that name its data, and of the front matter only the block
`model-index` is written anew, with the entries of other data kept. Knows nothing of readers.

    put(Path("README.md"), result, "builtin")
    print(section(result, "builtin"))
"""

import re
from pathlib import Path
from typing import Any

import yaml

from gen_msa.errors import UserError, did_you_mean
from gen_msa.jsonl import whole
from gen_msa.results import Definition, ReaderResult, Result, Value

TASKS = {"type": "text-classification", "name": "Aspect-based sentiment"}
_FRONT = re.compile(r"\A---\r?\n(.*?)^---\r?$\n?", re.S | re.M)
_INDEX = re.compile(r"^model-index:.*?(?=(?:^#.*\n)*^[^\s#-]|\Z)", re.S | re.M)


def put(card: Path, result: Result, reader: str) -> None:
    """Write or replace the evaluation of one reader on one data set in a card, made if not there.

    Raises `UserError` for an unknown reader, and a card whose front matter or marks are broken.
    """
    said = section(result, reader)
    entry = model_index(result, reader)
    text = card.read_text(encoding="utf-8") if card.exists() else f"# {reader}\n"
    text = _with_section(text, said, result.data, card)
    text = _with_index(text, entry, card)
    with whole(card) as f:
        f.write(text.encode())


def section(result: Result, reader: str) -> str:
    """The section in Markdown, without its marks; ends with a line break.

    Raises `UserError` for an unknown reader.
    """
    one = _reader(result, reader)
    prompt = one.facts.get("prompt")
    clusters = f"{result.clusters:,} clusters by {result.clustered_by}"
    rows = f"{one.rows:,} aspects of {one.posts:,} posts ({clusters}), against {result.against}"
    facts = [
        rows,
        f"data sha256 `{result.data_sha256}`",
        f"seed {result.seed}, {result.replicates:,} replicates, gen_msa {result.version}",
        *([f"prompt `{prompt}`"] if isinstance(prompt, str) else []),
        *([f"{one.silent:,} aspects without a word; each is wrong"] if one.silent else []),
    ]
    lines = [f"### Evaluation on {_cell(result.data)}", ""]
    lines += [f"- {f}" for f in facts] + [""]
    lines += ["| figure | value | 95 % interval | n |", "|---|---:|---:|---:|"]
    lines += [_line(d, v) for d, v in _figures(result, one)]
    hows = dict.fromkeys(v.how for _, v in _figures(result, one) if v.how)
    notes = [*(f"Intervals: {how}." for how in hows), *one.notes, *result.notes]
    lines += ["", *(f"- {_cell(n)}" for n in notes)]
    return "\n".join(lines).rstrip() + "\n"


def model_index(result: Result, reader: str) -> dict[str, Any]:
    """One entry of `results` in a `model-index`, as `huggingface_hub` reads it.

    Shares are given as percentages, as is usual there. Raises `UserError` for an unknown reader.
    """
    one = _reader(result, reader)
    name, _, split = result.data.partition(":")
    data = {"type": name, "name": result.title or name, "revision": result.data_sha256}
    metrics = [
        {
            "type": d.name,
            "value": round(_printed(d, v.value), 4),
            "name": f"{d.family}.{d.name}",
            "verified": False,
        }
        for d, v in _figures(result, one)
        if v.value is not None
    ]
    return {
        "task": dict(TASKS),
        "dataset": data | ({"split": split} if split else {}),
        "metrics": metrics,
    }


def _reader(result: Result, name: str) -> ReaderResult:
    found = {r.name: r for r in result.readers}
    if name not in found:
        raise UserError(f"no reader called {name!r}", mend=did_you_mean(name, found))
    return found[name]


def _figures(result: Result, reader: ReaderResult) -> list[tuple[Definition, Value]]:
    """In the order printed; those that this reader has."""
    had = reader.figures
    return [
        (d, had[d.family][d.name]) for d in result.definitions if d.name in had.get(d.family, {})
    ]


def _line(d: Definition, v: Value) -> str:
    name = f"`{d.family}.{d.name}`" + (" (%)" if d.unit == "share" else "")
    if v.value is None:
        return f"| {name} | – | {_cell(v.note)} | {v.n:,} |"
    digits = 1 if d.unit in ("share", "points", "words") else 3
    ends = [_printed(d, x) for x in (v.low, v.high) if x is not None]
    interval = " – ".join(f"{x:.{digits}f}" for x in ends)
    return f"| {name} | {_printed(d, v.value):.{digits}f} | {interval} | {v.n:,} |"


def _printed(d: Definition, value: float) -> float:
    return 100 * value if d.unit == "share" else value


def _cell(text: str) -> str:
    """Foreign text that can neither end a cell nor begin a tag."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _with_section(text: str, said: str, data: str, card: Path) -> str:
    mark = re.sub(r"-{2,}|[<>\s]", "_", data)
    begin, end = f"<!-- gen_msa evaluation: {mark} -->", f"<!-- /gen_msa evaluation: {mark} -->"
    block = f"{begin}\n{said}{end}"
    if begin not in text and end not in text:
        return f"{text.rstrip()}\n\n{block}\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found or text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"{card}: the marks {begin} and {end} do not stand there once each")
    return before + block + after


def _with_index(text: str, entry: dict[str, Any], card: Path) -> str:
    match = _FRONT.match(text)
    front = match[1] if match else ""
    try:
        known = yaml.safe_load(front) or {}
        [index] = known.get("model-index") or [{"name": card.resolve().parent.name, "results": []}]
        kept = [r for r in index["results"] if not _same(r, entry)]
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, KeyError) as e:
        raise UserError(f"{card}: its front matter cannot be read: {e}") from None
    tree = {"model-index": [{**index, "results": [*kept, entry]}]}
    block = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    if _INDEX.search(front):
        front = _INDEX.sub(lambda _: block, front, count=1)
    else:
        front = f"{front.rstrip()}\n{block}".lstrip()
    return f"---\n{front}---\n" + (text[match.end() :] if match else "\n" + text)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two entries are about the same task on the same split."""
    keys = [
        (e["task"]["type"], e["dataset"]["type"], e["dataset"].get("split")) for e in (one, other)
    ]
    return bool(keys[0] == keys[1])
