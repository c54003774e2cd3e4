"""The page in a real browser: nothing refused, filters work, and it never scrolls sideways."""

import re
import shutil
import subprocess

import pytest

from tests.report.evaluation.making import Seen, examples, result, shown
from tests.report.test_browser import QUIET

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


def dump(tmp_path, address: str) -> tuple[Seen, str]:
    where = [f"--user-data-dir={tmp_path / 'user'}", "--virtual-time-budget=10000"]
    command = [BROWSER, *QUIET, *where, "--enable-logging=stderr", "--dump-dom", address]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Seen(ran.stdout), ran.stderr


def test_the_policy_refuses_nothing_and_pictures_come_in_picked_rows_too(tmp_path):
    shown(tmp_path, result(), examples(12))
    seen, log = dump(tmp_path, (tmp_path / "evaluation.html").as_uri())
    assert re.findall(r"CONSOLE.*", log) == []
    assert any("src" in a for a in seen.of("img"))


@pytest.mark.parametrize(
    ("hash", "count"),
    [("t=negative", "of 12 posts"), ("r=majority&p=neutral", "12 of 12 posts, 24")],
)
def test_the_filters_of_the_rows_work_and_leave_picked_rows_alone(tmp_path, hash, count):
    shown(tmp_path, result(), examples(12))
    seen, _ = dump(tmp_path, f"{(tmp_path / 'evaluation.html').as_uri()}#{hash}")
    assert count in seen.text("aside")
    assert not [a for a in seen.of("article") if a["id"].startswith("p-") and "hidden" in a]


def test_filtering_by_golds_label_keeps_the_posts_that_have_it(tmp_path):
    shown(tmp_path, result(), examples(12))
    seen, _ = dump(tmp_path, f"{(tmp_path / 'evaluation.html').as_uri()}#t=negative")
    kept = {a["id"] for a in seen.of("article") if "hidden" not in a and a["id"][1] != "-"}
    wanted = {
        f"p{at}"
        for at, e in enumerate(examples(12), start=1)
        if any(o.polarity == "negative" for o in e.said_by("gold"))
    }
    assert kept == wanted
    assert 0 < len(kept) < 12


def test_cards_that_wait_come_when_the_page_is_idle_or_a_filter_asks(tmp_path):
    shown(tmp_path, result(), examples(230))
    address = (tmp_path / "evaluation.html").as_uri()
    for place in ("", "#p220", "#r=builtin"):
        seen, log = dump(tmp_path, address + place)
        assert seen.of("template") == []
        ids = [a["id"] for a in seen.of("article")]
        assert [i for i in ids if i[1] != "-"] == [f"p{n}" for n in range(1, 231)]
        assert re.findall(r"CONSOLE.*", log) == []


def test_the_page_never_scrolls_sideways(tmp_path):
    shown(tmp_path, result(title="W" * 300, data="d" * 300), examples(6))
    page = (tmp_path / "evaluation.html").read_text("utf-8")
    # Only a copy without its policy lets a script in that can measure it.
    free = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", MEASURE)
    (tmp_path / "free.html").write_text(free, "utf-8")
    frames = "".join(
        f'<iframe src="free.html" width="{width}" height="900"></iframe>'
        for width in (320, 375, 1440)
    )
    (tmp_path / "frames.html").write_text(FRAMES + frames, "utf-8")
    seen, _ = dump(tmp_path, (tmp_path / "frames.html").as_uri())
    found = sorted(tuple(map(int, pair.split())) for pair in seen.text("title").split(";") if pair)
    assert [inner for inner, _ in found] == [320, 375, 1440]
    assert all(wide <= inner for inner, wide in found)
