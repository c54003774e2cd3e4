"""Hostile text in every field changes neither the page's elements nor a spreadsheet."""

import csv

from gen_msa.report import write_csv
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Post, Status
from tests.report.builders import NEU, bus_example, opinion, phone_example, render_page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<SCRIPT SRC=//x></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<!--<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "`><script>alert(1)</script>",
    "<script\x00>alert(1)</script>",
    "<script\n>alert(1)</script\n>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)//",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "x onfocus=alert(1) autofocus",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    '<math><mi//xlink:href="javascript:alert(1)">',
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<base href=//x/>",
    "<meta http-equiv=refresh content=0;url=//x>",
    "<link rel=stylesheet href=//x>",
    "<style>@import '//x'</style>",
    "<form action=//x><button>x</button></form>",
    "<input onfocus=alert(1) autofocus>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<template><script>alert(1)</script></template>",
    '<noscript><p title="</noscript><script>alert(1)</script>">',
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\\u003cscript\\u003ealert(1)",
    "{{ ''.__class__.__mro__ }}",
    "{% for c in cards %}{{ c|safe }}{% endfor %}",
    "{{ '<script>'|safe }}",
    "＜script＞alert(1)＜/script＞",
    "</article></main></body></html><script>alert(1)</script>",
]

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "＝1+1",
    "=cmd|' /C x'!A0",
]


def hostile_example(bad: str) -> Example:
    """Put the same hostile string into every field that comes from outside."""
    located, unlocated = Aspect(term=bad, start=5), Aspect(term=bad + "!")
    evidence = (
        Evidence(quote=bad, start=5),
        Evidence(quote=bad),
        Evidence(quote=bad, source="image"),
    )
    fields = {"explanation": bad, "evidence": evidence, "raw": bad, "provenance": {bad: bad}}
    media = (
        Media(kind="image", path=bad),
        Media(kind="image", path=bad + "missing"),
        Media(kind="audio", path=bad),
    )
    return Example(
        post=Post(id=bad, text=f"tea: {bad} {bad}", aspects=(located,), media=media),
        opinions=(
            opinion(bad, located, NEU, 0.5, **fields),
            Opinion(annotator=bad, aspect=unlocated, status=Status.ERROR, **fields),
            Opinion(annotator="gold", aspect=located),
        ),
    )


def test_page_adds_no_element_for_hostile_strings(tmp_path):
    assert len(HOSTILE) == 50
    plain = render_page(
        tmp_path, phone_example(), bus_example(), hostile_example("plain"), facts={"a": "b"}
    )
    for bad in HOSTILE:
        parsed = render_page(tmp_path, hostile_example(bad), title=bad, facts={bad: bad})
        assert parsed.shape() <= plain.shape(), bad
        assert len(parsed.attributes_of("script")) == 1
        assert (tmp_path / "report.html").read_text("utf-8").lower().count("<script") == 1, bad
        assert all(a["href"].startswith("#") for a in parsed.attributes_of("a"))
        assert bad.replace("\0", "\ufffd") in parsed.text("text").replace("\0", "\ufffd")


def test_hostile_post_has_as_many_elements_as_a_plain_one(tmp_path):
    plain = len(render_page(tmp_path, hostile_example("plain")).elements)
    counts = {len(render_page(tmp_path, hostile_example(bad)).elements) for bad in HOSTILE}
    assert counts == {plain}


def test_csv_cells_start_no_formula(tmp_path):
    path = tmp_path / "o.csv"
    write_csv([hostile_example(bad) for bad in (*HOSTILE, *FORMULAS)], path)
    with path.open(encoding="utf-8-sig", newline="") as f:
        cells = [cell for row in list(csv.reader(f))[1:] for cell in row]
    risky = [c for c in cells if c.lstrip()[:1] in set("=+-@＝＋－＠") or c[:1] in ("\t", "\r")]
    assert risky == []
    assert sum(c == "'" + bad for c in cells for bad in FORMULAS) >= 3 * len(FORMULAS)
