"""Every shipped prompt has a golden rendering, and every golden rendering has its prompt.

After changing a prompt on purpose, and look at the difference before it is kept:

    GEN_MSA_WRITE_GOLDEN=1 pytest tests/prompting/test_golden_prompts.py
"""

import json
import os
from pathlib import Path

import pytest

from gen_msa.chat import Picture, Text
from gen_msa.prompting import load, names, render
from gen_msa.types import Aspect, Cue, Polarity, Post

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"
WRITE = "GEN_MSA_WRITE_GOLDEN"


def rendering(name):
    """The request as text: what came from outside stands in ⟦ ⟧."""
    prompt = load(name)
    post = Post(id="1", text="Screen is great but the battery is awful #newphone")
    cues = {slot: Cue(text=f"what {slot} says", source="test") for slot in prompt.slots}
    whole = prompt.task in ("aspects", "overall")
    aspect = None if whole else Aspect(term="battery", start=24)
    picture = Picture(path="/phone.png", sha256="0" * 64, max_pixels=50176)
    label = Polarity.NEGATIVE if prompt.takes_label else None
    request = render(prompt, post, aspect, cues, [picture], label=label)
    lines = []
    for turn in request.chat.turns:
        parts = (
            (f"⟦{p.text}⟧" if p.untrusted else p.text) if isinstance(p, Text) else "[picture]\n"
            for p in turn.parts
        )
        lines += [f"=== {turn.role}", "".join(parts)]
    form = request.model_dump(mode="json", include={"max_new_tokens", "choice", "json_schema"})
    return "\n".join([*lines, "=== answer", json.dumps(form, indent=1, ensure_ascii=False), ""])


@pytest.mark.parametrize("name", names())
def test_the_rendering_is_the_golden_one(name):
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(WRITE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendering(name), encoding="utf-8")
    assert path.is_file(), f"write it with {WRITE}=1"
    assert rendering(name) == path.read_text(encoding="utf-8")


def test_no_golden_rendering_is_left_without_its_prompt():
    kept = [p.relative_to(GOLDEN).as_posix().removesuffix(".txt") for p in GOLDEN.rglob("*.txt")]
    assert sorted(kept) == names()
