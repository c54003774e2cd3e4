import pytest

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings, differences, flatten, load, save


class Inner(Settings):
    max_pixels: int = 10


class Outer(Settings):
    learning_rate: float = 1e-3
    image: Inner = Inner()
    name: str = "x"


def test_overrides_win_over_yaml_and_reach_nested_keys(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("learning_rate: 0.5\nimage:\n  max_pixels: 20\n")
    settings = load(Outer, path, ["image.max_pixels=30", "name=a=b"])
    assert settings == Outer(learning_rate=0.5, image=Inner(max_pixels=30), name="a=b")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("image.max_pixel=1", "did you mean 'max_pixels'"),
        ("learning_rate=fast", "learning_rate: Input should be a valid number"),
        ("learning_rate", "is not key=value"),
        ("name.x.y=1", "name"),
    ],
)
def test_bad_setting_error_has_a_hint(override, message):
    with pytest.raises(UserError, match=message):
        load(Outer, None, [override])


def test_saved_settings_load_equal(tmp_path):
    settings = load(PredictorSettings, None, ["model=echo", "image.max_pixels=999"])
    save(settings, tmp_path / "s.yaml")
    assert load(PredictorSettings, tmp_path / "s.yaml") == settings


def test_yaml_that_is_no_mapping_is_an_error(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("- a\n")
    with pytest.raises(UserError, match="must hold a mapping"):
        load(Outer, path)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        load(Outer, path)


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Outer().name = "y"


class ItemSettings(Settings):
    source: str = "x"


class ContainerSettings(Settings):
    parts: tuple[ItemSettings, ...] = ()
    other: ItemSettings | None = None


def test_list_entries_are_set_by_index_and_appended(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [{source: a}, {source: b}]\n")
    loaded = load(ContainerSettings, path, ["parts.0.source=c", "parts.2.source=d"])
    assert [p.source for p in loaded.parts] == ["c", "b", "d"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("parts.2.source=c", "'parts' is a list of 1, which has no '2'"),
        ("parts.first.source=c", "which has no 'first'"),
        ("parts.0.source.x=c", "'parts.0.source' has no keys below it"),
        ("parts.0.sorce=c", "unknown key 'parts.0.sorce': did you mean 'source'"),
        ("other.sorce=c", "unknown key 'other.sorce': did you mean 'source'"),
    ],
)
def test_error_inside_a_list_is_named(tmp_path, override, message):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [{source: a}]\n")
    with pytest.raises(UserError, match=message):
        load(ContainerSettings, path, [override])


def test_flat_tree_has_the_keys_that_overrides_take(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [{source: a}, {source: b}]\n")
    loaded = flatten(load(ContainerSettings, path).model_dump(mode="json"))
    assert loaded["parts.0.source"] == "a"
    again = load(
        ContainerSettings, path, [f"{k}={v}" for k, v in loaded.items() if k.startswith("parts")]
    )
    assert flatten(again.model_dump(mode="json")) == loaded
    assert flatten({"none": [], "deep": {"none": {}, "x": [1, [2]]}}) == {
        "none": [], "deep.none": {}, "deep.x.0": 1, "deep.x.1.0": 2,
    }  # fmt: skip


def test_differences_name_each_key_with_both_values():
    then = {"a": 1, "b": "x", "c": None, "d": ""}
    now = {"a": 2, "b": "x", "d": "y", "e": 0.5}
    assert differences(then, now) == [
        "a: 1 then, 2 now",
        'd: "" then, y now',
        "e: not set then, 0.5 now",
        "c: null then, not set now",
    ]
    assert differences(then, dict(then)) == []


def test_override_changes_one_of_two_anchored_values(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [&a {source: a}, *a]\nother: *a\n")
    loaded = load(ContainerSettings, path, ["parts.1.source=b"])
    assert [p.source for p in loaded.parts] == ["a", "b"]
    assert loaded.other == ItemSettings(source="a")
