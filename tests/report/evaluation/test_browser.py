"""The page in a real browser: nothing is refused, filters work, and it never scrolls sideways."""

import re
import shutil
import subprocess

import pytest

from tests.report.evaluation.builders import ParsedPage, evaluation_result, examples, render_result
from tests.report.test_browser import BROWSER_FLAGS

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

MEASURE = """<script>
addEventListener("load", () => {
  const wide = document.documentElement;
  parent.postMessage(`${innerWidth} ${wide.scrollWidth}`, "*");
});
</script></body>"""
FRAMES = """<!doctype html><title></title><script>
addEventListener("message", (e) => { document.title += e.data + ";"; });
</script>"""


def dump_dom(tmp_path, address: str) -> tuple[ParsedPage, str]:
    options = [f"--user-data-dir={tmp_path / 'user'}", "--virtual-time-budget=10000"]
    command = [BROWSER, *BROWSER_FLAGS, *options, "--enable-logging=stderr", "--dump-dom", address]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ParsedPage(process.stdout), process.stderr


def test_page_logs_no_errors_and_shows_images(tmp_path):
    render_result(tmp_path, evaluation_result(), examples(12))
    parsed, log = dump_dom(tmp_path, (tmp_path / "evaluation.html").as_uri())
    assert re.findall(r"CONSOLE.*", log) == []
    assert any("src" in a for a in parsed.attributes_of("img"))


@pytest.mark.parametrize(
    ("hash", "count"),
    [("t=negative", "of 12 posts"), ("a=majority&p=neutral", "12 of 12 posts, 24")],
)
def test_filters_apply_to_rows_but_not_to_selected_rows(tmp_path, hash, count):
    render_result(tmp_path, evaluation_result(), examples(12))
    parsed, _ = dump_dom(tmp_path, f"{(tmp_path / 'evaluation.html').as_uri()}#{hash}")
    assert count in parsed.text("aside")
    assert not [
        a for a in parsed.attributes_of("article") if a["id"].startswith("p-") and "hidden" in a
    ]


def test_filter_by_gold_label_keeps_matching_posts(tmp_path):
    render_result(tmp_path, evaluation_result(), examples(12))
    parsed, _ = dump_dom(tmp_path, f"{(tmp_path / 'evaluation.html').as_uri()}#t=negative")
    visible_ids = {
        a["id"] for a in parsed.attributes_of("article") if "hidden" not in a and a["id"][1] != "-"
    }
    expected_ids = {
        f"p{index}"
        for index, e in enumerate(examples(12), start=1)
        if any(o.polarity == "negative" for o in e.opinions_by("gold"))
    }
    assert visible_ids == expected_ids
    assert 0 < len(visible_ids) < 12


def test_deferred_cards_load_when_idle_or_filtered(tmp_path):
    render_result(tmp_path, evaluation_result(), examples(230))
    address = (tmp_path / "evaluation.html").as_uri()
    for fragment in ("", "#p220", "#a=builtin"):
        parsed, log = dump_dom(tmp_path, address + fragment)
        assert parsed.attributes_of("template") == []
        ids = [a["id"] for a in parsed.attributes_of("article")]
        assert [i for i in ids if i[1] != "-"] == [f"p{n}" for n in range(1, 231)]
        assert re.findall(r"CONSOLE.*", log) == []


def test_page_never_scrolls_sideways(tmp_path):
    render_result(tmp_path, evaluation_result(title="W" * 300, data="d" * 300), examples(6))
    page = (tmp_path / "evaluation.html").read_text("utf-8")
    # Only a copy without its policy lets a script in that can measure it.
    page_without_policy = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", MEASURE)
    (tmp_path / "free.html").write_text(page_without_policy, "utf-8")
    frames = "".join(
        f'<iframe src="free.html" width="{width}" height="900"></iframe>'
        for width in (320, 375, 1440)
    )
    (tmp_path / "frames.html").write_text(FRAMES + frames, "utf-8")
    parsed, _ = dump_dom(tmp_path, (tmp_path / "frames.html").as_uri())
    widths = sorted(
        tuple(map(int, pair.split())) for pair in parsed.text("title").split(";") if pair
    )
    assert [inner_width for inner_width, _ in widths] == [320, 375, 1440]
    assert all(scroll_width <= inner_width for inner_width, scroll_width in widths)
