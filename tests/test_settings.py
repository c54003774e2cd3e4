import pytest

from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings
from gen_msa.settings import Settings, differences, flat, load, save


class Inner(Settings):
    max_pixels: int = 10


class Outer(Settings):
    learning_rate: float = 1e-3
    picture: Inner = Inner()
    name: str = "x"


def test_overrides_win_over_yaml_and_reach_nested_keys(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("learning_rate: 0.5\npicture:\n  max_pixels: 20\n")
    settings = load(Outer, path, ["picture.max_pixels=30", "name=a=b"])
    assert settings == Outer(learning_rate=0.5, picture=Inner(max_pixels=30), name="a=b")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        ("picture.max_pixel=1", "did you mean 'max_pixels'"),
        ("learning_rate=fast", "learning_rate: Input should be a valid number"),
        ("learning_rate", "is not key=value"),
        ("name.x.y=1", "name"),
    ],
)
def test_a_bad_setting_is_named_with_its_mend(override, said):
    with pytest.raises(UserError, match=said):
        load(Outer, None, [override])


def test_what_is_saved_is_loaded_equal(tmp_path):
    settings = load(ReaderSettings, None, ["reader=echo", "picture.max_pixels=999"])
    save(settings, tmp_path / "s.yaml")
    assert load(ReaderSettings, tmp_path / "s.yaml") == settings


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


class Part(Settings):
    source: str = "x"


class Whole(Settings):
    parts: tuple[Part, ...] = ()
    other: Part | None = None


def test_an_entry_of_a_list_is_named_by_its_number_and_the_next_one_is_added(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [{source: a}, {source: b}]\n")
    found = load(Whole, path, ["parts.0.source=c", "parts.2.source=d"])
    assert [p.source for p in found.parts] == ["c", "b", "d"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("parts.2.source=c", "'parts' is a list of 1, which has no '2'"),
        ("parts.first.source=c", "which has no 'first'"),
        ("parts.0.source.x=c", "'parts.0.source' has no keys below it"),
        ("parts.0.sorce=c", "unknown key 'parts.0.sorce': did you mean 'source'"),
        ("other.sorce=c", "unknown key 'other.sorce': did you mean 'source'"),
    ],
)
def test_what_is_wrong_inside_a_list_is_named(tmp_path, override, said):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [{source: a}]\n")
    with pytest.raises(UserError, match=said):
        load(Whole, path, [override])


def test_a_flat_tree_has_the_keys_that_overrides_take(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [{source: a}, {source: b}]\n")
    found = flat(load(Whole, path).model_dump(mode="json"))
    assert found["parts.0.source"] == "a"
    again = load(Whole, path, [f"{k}={v}" for k, v in found.items() if k.startswith("parts")])
    assert flat(again.model_dump(mode="json")) == found
    assert flat({"none": [], "deep": {"none": {}, "x": [1, [2]]}}) == {
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


def test_an_override_changes_only_one_of_two_places_that_share_an_anchor(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("parts: [&a {source: a}, *a]\nother: *a\n")
    found = load(Whole, path, ["parts.1.source=b"])
    assert [p.source for p in found.parts] == ["a", "b"]
    assert found.other == Part(source="a")
