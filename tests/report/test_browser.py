"""The page in a real browser: filters from the URL, and nothing that the policy refuses."""

import re
import shutil
import subprocess

import pytest

from gen_msa.report import write_html
from tests.report.builders import ParsedPage, bus_example, fake_thumbnail, phone_example

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

BROWSER_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture
def load_page(tmp_path):
    """Return a function that loads the page with a URL fragment and gives its DOM and log."""
    path = tmp_path / "r.html"
    write_html(
        [phone_example(), bus_example()],
        path,
        title="t",
        media_root=tmp_path,
        facts={},
        draw=fake_thumbnail,
    )

    def load(hash: str = ""):
        options = [f"--user-data-dir={tmp_path / 'user'}", f"{path.as_uri()}#{hash}"]
        command = [BROWSER, *BROWSER_FLAGS, "--enable-logging=stderr", "--dump-dom", *options]
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return ParsedPage(process.stdout), process.stderr

    return load


def visible_ids(parsed: ParsedPage) -> list[str]:
    return [a["id"] for a in parsed.attributes_of("article") if "hidden" not in a]


def test_page_without_filters_shows_all_and_logs_no_errors(load_page):
    parsed, log = load_page()
    assert visible_ids(parsed) == ["p1", "p2"]
    assert re.findall(r"CONSOLE.*", log) == []
    assert parsed.attributes_of("img")[0]["src"].startswith("data:image/gif")


@pytest.mark.parametrize(
    ("hash", "cards", "summary"),
    [
        ("q=PLAIN+fact", ["p2"], "1 of 2 posts, 1 opinion"),
        ("p=positive", ["p1"], "1 of 2 posts, 3 opinions"),
        ("p=neutral,none", ["p1", "p2"], "2 of 2 posts, 2 opinions"),
        ("from=0.5&to=0.8", ["p1"], "1 of 2 posts, 1 opinion"),
        ("s=unparsed", ["p1"], "1 of 2 posts, 1 opinion"),
        ("a=b&g=agrees", ["p1"], "1 of 2 posts, 1 opinion"),
        ("a=b&p=neutral", [], "0 of 2 posts, 0 opinions"),
        ("o=high", ["p1", "p2"], "2 posts, 5 opinions"),
        ("o=low&p=neutral,positive", ["p2", "p1"], "2 of 2 posts, 4 opinions"),
    ],
)
def test_page_applies_filters_from_the_address(load_page, hash, cards, summary):
    parsed, _ = load_page(hash)
    assert visible_ids(parsed) == cards
    assert summary in parsed.text("aside")


def test_page_dims_opinions_outside_the_filter(load_page):
    parsed, _ = load_page("a=a&from=0.8")
    list_items = [
        a
        for a in parsed.attributes_of("li")
        if "data-annotator" in a and "dim" not in a.get("class", "")
    ]
    assert [(a["data-annotator"], a["data-p"]) for a in list_items] == [("a", "0.9000")]
