"""A student or adapter of somebody else names no file of this machine, and takes no memory."""

import json
import resource
import subprocess
import sys

import pytest

from gen_msa import manifest, predictors
from gen_msa.cues.objects import load_detector
from gen_msa.errors import UserError
from gen_msa.models.inference.serialization import load_student, save_student
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted import apply_training_settings
from tests.fixtures.tiny_students import make_collator, make_student


@pytest.fixture
def student(tmp_path):
    """Return a function that writes a sealed student with a changed config."""

    def write(**fields):
        folder = tmp_path / "student"
        folder.mkdir(exist_ok=True)
        (folder / "MANIFEST.json").unlink(missing_ok=True)
        collator = make_collator(max_length=64)
        save_student(folder, make_student(), collator, text="post", name="text")
        path = folder / "student.json"
        config = json.loads(path.read_text())
        for name, value in fields.items():
            if name in ("config", "width"):
                config[name] |= value
            else:
                config[name] = value
        path.write_text(json.dumps(config))
        manifest.seal(folder)
        return folder

    return write


@pytest.mark.parametrize(
    "fields",
    [
        {"config": {"layers": 10**7}},
        {"config": {"layers": 60}},
        {"config": {"width": 10**9}},
        {"config": {"width": 2**17, "heads": 2}},
        {"config": {"positions": 10**10}},
        {"config": {"inner": 2**17}},
        {"config": {"heads": 10**7}},
        {"width": {"text": 10**12}},
    ],
)
def test_sizes_beyond_the_weights_are_refused_without_memory(student, fields):
    folder = student(**fields)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"more than the weights have|weights that do not fit"):
        load_student(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes


def test_length_without_bound_is_refused(student):
    with pytest.raises(UserError, match="max_length"):
        load_student(student(max_length=10**30))


@pytest.mark.parametrize(
    "cues",
    [
        {"context": {"files": ["/etc/hostname"]}},
        {"context": {"files": [{"path": "../captions.json", "prefix": ""}]}},
        {"context": {"files": [{"path": "$HOME/captions.json"}]}},
        {"objects": {"file": "/etc/hostname"}},
        {"objects": {"model": "/srv/private-model"}},
        {"syntax": {"model": "./parser"}},
    ],
)
def test_cues_that_name_files_of_this_machine_are_refused(student, tmp_path, cues):
    folder = student(cues=cues)
    with pytest.raises(UserError, match="which is outside the folder") as e:
        predictors.make(PredictorSettings(model=f"student:{folder}"), tmp_path)
    assert "name them yourself" in e.value.hint


def test_cues_with_a_file_of_the_folder_or_named_by_the_user_are_used(student, tmp_path):
    folder = student()
    (folder / "captions.json").write_text("{}")
    inside = {"context": {"files": [f"{folder}/captions.json"]}}
    folder = student(cues=inside)
    predictors.make(PredictorSettings(model=f"student:{folder}"), tmp_path)
    (tmp_path / "mine.json").write_text("{}")
    mine = {"context": {"files": [f"{tmp_path}/mine.json"]}}
    folder = student(cues=mine)
    predictors.make(PredictorSettings(model=f"student:{folder}", cues=mine), tmp_path)


class Trained:
    """The record of an adapter of somebody else."""

    def __init__(self, prompts, **inference):
        self.prompts, self.inference = prompts, inference


def test_adapter_that_names_files_of_this_machine_is_refused():
    trained = Trained({}, cues={"context": {"files": ["/etc/hostname"]}})
    with pytest.raises(UserError, match="which is outside the folder"):
        apply_training_settings(PredictorSettings(), trained)


def test_prompt_of_an_adapter_is_no_other_file_of_that_name(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(
        "---\nabout: x\ntask: aspect\nkeys: {label: L}\nmax_new_tokens: 9\n"
        "labels: {negative: a, neutral: b, positive: c}\n---\n{{ post }}{{ aspect }}"
    )
    settings = PredictorSettings(adapter_settings="override")
    with pytest.raises(UserError, match="of the training is not here"):
        apply_training_settings(settings, Trained({str(path): "0" * 64}))


@pytest.mark.parametrize("file", ["detector.py", "pytorch_model.bin"])
def test_detector_with_code_or_pickles_is_refused_before_it_is_read(tmp_path, file):
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    (tmp_path / file).write_text("raise SystemExit('it ran')")
    with pytest.raises(UserError, match=file):
        load_detector(str(tmp_path))


def test_detector_whose_config_leads_to_code_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "x.Config"}}')
    with pytest.raises(UserError, match="auto_map"):
        load_detector(str(tmp_path))


def test_tokenizer_over_the_size_limit_is_refused(student, monkeypatch):
    folder = student()
    monkeypatch.setattr("gen_msa.models.inference.serialization.MAX_JSON_BYTES", 100)
    with pytest.raises(UserError, match="more than 100 bytes"):
        load_student(folder)


def test_text_that_makes_the_tokenizer_search_without_end_is_reported(student, tmp_path):
    folder = student()
    (folder / "MANIFEST.json").unlink()
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}}
    tokenizer["pre_tokenizer"] = {**split, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    manifest.seal(folder)
    text = f"food {'a' * 60}!"
    command = [sys.executable, "-m", "gen_msa", "explain", "--text", text, "--aspect", "food"]
    completed = subprocess.run(
        [*command, "-m", f"student:{folder}", "language=en"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert completed.returncode == 2
    assert "gen-msa: tokenizer.json cannot encode a text" in completed.stderr
    assert "Traceback" not in completed.stderr
