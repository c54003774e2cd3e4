"""The page in a real browser: filters from the address, and nothing that the policy refuses."""

import re
import shutil
import subprocess

import pytest

from gen_msa.report import write_html
from tests.report.making import Seen, bus, draw, phone

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture
def look(tmp_path):
    """look("q=bus"): the page as the browser has it, and what it logged."""
    path = tmp_path / "r.html"
    write_html([phone(), bus()], path, title="t", media_root=tmp_path, facts={}, draw=draw)

    def _look(hash: str = ""):
        where = [f"--user-data-dir={tmp_path / 'user'}", f"{path.as_uri()}#{hash}"]
        command = [BROWSER, *QUIET, "--enable-logging=stderr", "--dump-dom", *where]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return Seen(ran.stdout), ran.stderr

    return _look


def shown(seen: Seen) -> list[str]:
    return [a["id"] for a in seen.of("article") if "hidden" not in a]


def test_without_filters_all_is_shown_and_the_policy_refuses_nothing(look):
    seen, log = look()
    assert shown(seen) == ["p1", "p2"]
    assert re.findall(r"CONSOLE.*", log) == []
    assert seen.of("img")[0]["src"].startswith("data:image/gif")


@pytest.mark.parametrize(
    ("hash", "cards", "said"),
    [
        ("q=PLAIN+fact", ["p2"], "1 of 2 posts, 1 opinion"),
        ("p=positive", ["p1"], "1 of 2 posts, 3 opinions"),
        ("p=neutral,none", ["p1", "p2"], "2 of 2 posts, 2 opinions"),
        ("from=0.5&to=0.8", ["p1"], "1 of 2 posts, 1 opinion"),
        ("s=unparsed", ["p1"], "1 of 2 posts, 1 opinion"),
        ("r=b&g=agrees", ["p1"], "1 of 2 posts, 1 opinion"),
        ("r=b&p=neutral", [], "0 of 2 posts, 0 opinions"),
        ("o=high", ["p1", "p2"], "2 posts, 5 opinions"),
        ("o=low&p=neutral,positive", ["p2", "p1"], "2 of 2 posts, 4 opinions"),
    ],
)
def test_the_address_keeps_the_filters(look, hash, cards, said):
    seen, _ = look(hash)
    assert shown(seen) == cards
    assert said in seen.text("aside")


def test_opinions_that_do_not_fit_are_dimmed(look):
    seen, _ = look("r=a&from=0.8")
    lines = [a for a in seen.of("li") if "data-by" in a and "dim" not in a.get("class", "")]
    assert [(a["data-by"], a["data-p"]) for a in lines] == [("a", "0.9000")]
