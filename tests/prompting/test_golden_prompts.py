"""Compare the rendering of every packaged prompt with its golden file.

After an intended change of a prompt, write the files and review the difference:

    GEN_MSA_WRITE_GOLDEN=1 pytest tests/prompting/test_golden_prompts.py
"""

import json
import os
from pathlib import Path

import pytest

from gen_msa.chat import ImageInput, TextInput
from gen_msa.prompting import load_prompt, prompt_names, render
from gen_msa.types import Aspect, Cue, Polarity, Post

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"
WRITE_ENV_VAR = "GEN_MSA_WRITE_GOLDEN"


def render_golden(name):
    """Return the request as text, with text from outside in ⟦ ⟧."""
    prompt = load_prompt(name)
    post = Post(id="1", text="Screen is great but the battery is awful #newphone")
    cues = {slot: Cue(text=f"what {slot} says", source="test") for slot in prompt.slots}
    without_aspect = prompt.task in ("aspects", "overall")
    aspect = None if without_aspect else Aspect(term="battery", start=24)
    image = ImageInput(path="/phone.png", sha256="0" * 64, max_pixels=50176)
    label = Polarity.NEGATIVE if prompt.takes_label else None
    request = render(prompt, post, aspect, cues, [image], label=label)
    lines = []
    for turn in request.chat.turns:
        parts = (
            (f"⟦{p.text}⟧" if p.untrusted else p.text) if isinstance(p, TextInput) else "[image]\n"
            for p in turn.parts
        )
        lines += [f"=== {turn.role}", "".join(parts)]
    answer_form = request.model_dump(
        mode="json", include={"max_new_tokens", "choice", "json_schema"}
    )
    return "\n".join(
        [*lines, "=== answer", json.dumps(answer_form, indent=1, ensure_ascii=False), ""]
    )


@pytest.mark.parametrize("name", prompt_names())
def test_rendering_matches_golden_file(name):
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(WRITE_ENV_VAR):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_golden(name), encoding="utf-8")
    assert path.is_file(), f"write it with {WRITE_ENV_VAR}=1"
    assert render_golden(name) == path.read_text(encoding="utf-8")


def test_every_golden_file_has_its_prompt():
    golden_names = [
        p.relative_to(GOLDEN).as_posix().removesuffix(".txt") for p in GOLDEN.rglob("*.txt")
    ]
    assert sorted(golden_names) == prompt_names()
