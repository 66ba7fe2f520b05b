"""Recipes: every mistake has a place and a next step; what is written reads back equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nesy_gedi.errors import RecipeError
from nesy_gedi.training.recipe import (
    DataRecipe,
    NetworkRecipe,
    Recipe,
    TrainingRecipe,
    check_recipe,
    load_recipe,
)
from nesy_gedi.training.recipe_files import read_override, write_recipe


def load(tmp_path: Path, text: str, **arguments: Any) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, **arguments)


def refuse(tmp_path: Path, text: str, **arguments: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text, **arguments)
    return caught.value


def line_of(error: RecipeError, tmp_path: Path) -> int:
    """The line an error points at, after checking that it shows that line."""
    name, _, number = str(error.where).rpartition(":")
    assert name == str(tmp_path / "recipe.toml")
    shown = (tmp_path / "recipe.toml").read_text(encoding="utf-8").split("\n")[int(number) - 1]
    assert error.excerpt == f"    {shown}"
    return int(number)


def test_everything_has_a_default(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load_recipe(None) == Recipe()


def test_all_keys_are_read(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        """
        query = "f(X, Y)"
        slots = ["X"]
        seed = 7
        engine = "klay"
        data.source = "shapes"
        data.train = 1
        data.validation = 2
        data.test = 3
        data.support = ["a", "b"]
        data.any_order = true
        data.outside = 4
        data.image_shape = [3, 8, 8]
        data.skip_unreadable = true
        networks.a_net.attribute = "colour"
        networks.a_net.classes = ["x", "y"]
        [networks.b_net]
        encoder = "m:f"
        head = "none"
        features = 5
        output = "probabilities"
        observed = true
        [training]
        epochs = 4
        batch_size = 5
        learning_rate = 1
        weight_decay = 0.5
        precision = "bf16-mixed"
        """,
    )
    assert recipe == Recipe(
        "f(X, Y)",
        ("X",),
        7,
        data=DataRecipe("shapes", 1, 2, 3, ("a", "b"), True, 4, (3, 8, 8), True),
        networks={
            "a_net": NetworkRecipe("colour", ("x", "y")),
            "b_net": NetworkRecipe(encoder="m:f", head="none", features=5, output="probabilities", observed=True),
        },
        training=TrainingRecipe(4, 5, 1.0, 0.5, "bf16-mixed"),
        engine="klay",
    )
    assert type(recipe.training.learning_rate) is float


UNKNOWN = [
    ("\nquerry = 'f'\n", 2, "unknown key querry", "did you mean query?"),
    ("[training]\nepochs = 1\n\nepoch = 3", 4, "unknown key epoch in [training]", "did you mean epochs?"),
    ("# a comment\n[trainig]\nepochs = 1", 2, "unknown key trainig", "did you mean training?"),
    ("seed = 1\n[trainig.deep]\nx = 1", 2, "unknown key trainig", "did you mean training?"),
    ("training.epoch = 3", 1, "unknown key epoch in [training]", "did you mean epochs?"),
    ("seed = 1\ntrainig.epochs = 3", 2, "unknown key trainig", "did you mean training?"),
    ("seed = 1\ntraining = { epoch = 3 }", 2, "unknown key epoch in [training]", "did you mean epochs?"),
    ("[networks.n]\n\nencodr = 'conv'", 3, "unknown key encodr in [networks.n]", "did you mean encoder?"),
    ('[networks."a.b"]\n"encodr" = 1', 2, "unknown key encodr in [networks.a.b]", "did you mean encoder?"),
    ("[ data ] # where\n sorce = 'x'", 2, "unknown key sorce in [data]", "did you mean source?"),
    (
        "[when.mnist.training]\nepoch = 1",
        2,
        "unknown key epoch in [when.mnist.training]",
        "valid: augmentation, batch_size, epochs, learning_rate, precision, weight_decay",
    ),
    ("query = 'f'\n[when.mnist]\ndatas = 1", 3, "unknown key datas in [when.mnist]", "did you mean data?"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), UNKNOWN)
def test_unknown_key(tmp_path: Path, text: str, line: int, message: str, hint: str) -> None:
    error = refuse(tmp_path, text)
    assert error.message == message
    assert line_of(error, tmp_path) == line
    assert hint in str(error.hint)


WRONG_TYPE = [
    ("query = 3", 1, "query is a string, not the number 3"),
    ("\nslots = 'X'", 2, "slots is a list of strings, not the string 'X'"),
    ("slots = ['X', 1]", 1, "slots is a list of strings, not a list"),
    ("data.support = '0 0'", 1, "data.support is a list of strings, not the string '0 0'"),
    ("data.support = [[0, 0]]", 1, "data.support is a list of strings, not a list"),
    ("data.any_order = 'yes'", 1, "data.any_order is true or false, not the string 'yes'"),
    ("seed = 1.0", 1, "seed is a whole number, not the number 1.0"),
    ("seed = true", 1, "seed is a whole number, not the truth value true"),
    ("[training]\nlearning_rate = 'fast'", 2, "training.learning_rate is a number, not the string 'fast'"),
    ("[training]\nlearning_rate = true", 2, "training.learning_rate is a number, not the truth value true"),
    ("[training]\nepochs = [1]", 2, "training.epochs is a whole number, not a list"),
    ("[training]\nepochs = { a = 1 }", 2, "training.epochs is a whole number, not a table"),
    ("[training]\nepochs = 2020-01-01", 2, "training.epochs is a whole number, not 2020-01-01"),
    ("[networks.n]\nobserved = 'yes'", 2, "networks.n.observed is true or false, not the string 'yes'"),
    ("training = 3", 1, "training is a table, not the number 3"),
    ("[data.source]\nname = 'digits'", 1, "data.source is a string, not a table"),
    ("seed = 1\nnetworks = ['n']", 2, "networks is a table, not a list"),
    ("[networks]\nn = 'conv'", 2, "networks.n is a table, not the string 'conv'"),
    ("[when.mnist.training]\nepochs = 'x'", 2, "when.mnist.training.epochs is a whole number, not the string 'x'"),
    ("[when]\nmnist = 3", 2, "when.mnist is a table, not the number 3"),
    ("when = 3", 1, "when is a table, not the number 3"),
]


@pytest.mark.parametrize(("text", "line", "message"), WRONG_TYPE)
def test_wrong_type(tmp_path: Path, text: str, line: int, message: str) -> None:
    error = refuse(tmp_path, text)
    assert error.message == message
    assert line_of(error, tmp_path) == line


IMPOSSIBLE = [
    ("training.epochs", "0", "positive, not 0"),
    ("training.batch_size", "-1", "positive, not -1"),
    ("training.learning_rate", "0.0", "positive, not 0.0"),
    ("training.learning_rate", "nan", "positive, not nan"),
    ("training.learning_rate", "inf", "positive, not inf"),
    ("training.weight_decay", "-0.1", "zero or more, not -0.1"),
    ("seed", "-1", "zero or more, not -1"),
    ("seed", str(2**63), f"less than {2**63}, not {2**63}"),
    ("data.train", "-5", "zero or more, not -5"),
    ("data.validation", "-5", "zero or more, not -5"),
    ("data.test", "-5", "zero or more, not -5"),
    ("data.outside", "-5", "zero or more, not -5"),
    ("networks.n.features", "-1", "zero or more, not -1"),
]


@pytest.mark.parametrize(("key", "value", "message"), IMPOSSIBLE)
def test_impossible_value(tmp_path: Path, key: str, value: str, message: str) -> None:
    error = refuse(tmp_path, f"query = 'f'\n{key} = {value}\n")
    assert error.message.endswith(message)
    assert key in error.message or key == "seed"
    assert line_of(error, tmp_path) == 2

    for source in (None, "mnist"):  # in a [when] table whether it applies or not
        error = refuse(tmp_path, f"{key} = 1\n[when.mnist]\n{key} = {value}", source=source)
        assert error.message.endswith(message)
        assert line_of(error, tmp_path) == 3

    with pytest.raises(RecipeError) as caught:
        load_recipe(None, overrides=dict([read_override(f"{key}={value}")]))
    assert caught.value.message.endswith(message)
    assert (caught.value.where, caught.value.excerpt) == ("--set", None)


def test_a_mistake_in_the_file_is_reported_there_beside_overrides(tmp_path: Path) -> None:
    error = refuse(tmp_path, "[training]\nepochs = 0", overrides={"seed": 3, "training.epochs": 2})
    assert error.message == "training.epochs must be positive, not 0"
    assert line_of(error, tmp_path) == 2


def test_a_recipe_made_by_hand_is_checked() -> None:
    check_recipe(Recipe())
    with pytest.raises(
        RecipeError, match=r"training\.batch_size: training\.batch_size must be positive, not 0"
    ) as caught:
        check_recipe(Recipe(training=TrainingRecipe(batch_size=0)))
    assert caught.value.hint == "leave it out for the default, 32"
    with pytest.raises(RecipeError, match=r"networks\.net\.width must be zero or more") as caught:
        check_recipe(Recipe(networks={"net": NetworkRecipe(width=-1)}))
    assert caught.value.hint == "leave it out for the default, 0"


NOT_TOML = [
    ("seed = 1\nquery = = 2", 2, 9, "    query = = 2\n            ^"),
    ("seed = 1\nseed = 2", 2, 9, "    seed = 2\n            ^"),
    ("[training\nepochs = 1", 1, 10, "    [training\n             ^"),
    ("query = ", 1, 9, "    query = \n            ^"),
    ("seed = 1\nquery = 'f", 2, 11, "    query = 'f\n              ^"),
    ("seed = 1\nslots = ['X',\n", 3, 1, "    \n    ^"),
    ("a = 'x\u2028y'\n\tb = ?", 2, 6, "    \tb = ?\n    \t    ^"),  # this separator ends no line of TOML
]


@pytest.mark.parametrize(("text", "line", "column", "excerpt"), NOT_TOML)
def test_not_toml(tmp_path: Path, text: str, line: int, column: int, excerpt: str) -> None:
    error = refuse(tmp_path, text)
    assert error.message.startswith("not valid TOML: ")
    assert "(at " not in error.message
    assert error.where == f"{tmp_path / 'recipe.toml'}:{line}:{column}"
    assert error.excerpt == excerpt


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the recipe: No such file") as caught:
        load_recipe(tmp_path / "absent.toml")
    assert caught.value.where == str(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"query = 'caf\xe9'")
    with pytest.raises(RecipeError, match="not UTF-8 text"):
        load_recipe(tmp_path / "latin.toml")


CONDITIONAL = """
query = "f(X)"
[data]
source = "digits"
train = 10
[networks.n]
features = 8
[training]
epochs = 4
[when.mnist]
seed = 9
[when.mnist.data]
train = 20
[when.mnist.networks.n]
head = "none"
[when.mnist.networks.m]
features = 3
[when.shapes.training]
epochs = 6
"""


def test_conditional_tables_apply_to_their_source_alone(tmp_path: Path) -> None:
    base = Recipe(
        "f(X)", data=DataRecipe(train=10), networks={"n": NetworkRecipe(features=8)}, training=TrainingRecipe(epochs=4)
    )
    assert load(tmp_path, CONDITIONAL) == base
    assert load(tmp_path, CONDITIONAL, source="shapes") == replace(
        base, data=DataRecipe("shapes", train=10), training=TrainingRecipe(epochs=6)
    )
    on_mnist = replace(
        base,
        seed=9,
        data=DataRecipe("mnist", train=20),
        networks={"n": NetworkRecipe(features=8, head="none"), "m": NetworkRecipe(features=3)},
    )
    assert load(tmp_path, CONDITIONAL, source="mnist") == on_mnist
    assert load(tmp_path, CONDITIONAL, overrides={"data.source": "mnist"}) == on_mnist
    assert load(tmp_path, CONDITIONAL.replace('"digits"', '"mnist"')) == on_mnist


def test_overrides_win_over_file_and_conditional_tables(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        CONDITIONAL,
        source="mnist",
        overrides={"seed": 1, "data.train": 5, "networks.n.head": "linear", "networks.k": {"features": 2}},
    )
    assert (recipe.seed, recipe.data) == (1, DataRecipe("mnist", train=5))
    assert recipe.networks == {
        "n": NetworkRecipe(features=8),
        "m": NetworkRecipe(features=3),
        "k": NetworkRecipe(features=2),
    }
    assert load(tmp_path, CONDITIONAL, source="digits", overrides={"data.source": "mnist"}).data.source == "digits"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.epoch": 3}, "unknown key epoch in [training]"),
        ({"training": 3}, "training is a table, not the number 3"),
        ({"training.epochs": "five"}, "training.epochs is a whole number, not the string 'five'"),
        ({"seed.x": 1}, "seed is a whole number, not a table"),
        ({"when.mnist.seed": 1}, "unknown key when"),
    ],
)
def test_wrong_override(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    error = refuse(tmp_path, CONDITIONAL, overrides=overrides)
    assert (error.where, error.message) == ("--set", message)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("training.epochs=5", ("training.epochs", 5)),
        (" seed = 7 ", ("seed", 7)),
        ("training.learning_rate=1e-3", ("training.learning_rate", 0.001)),
        ("networks.n.observed=true", ("networks.n.observed", True)),
        ('slots=["X", "Y"]', ("slots", ["X", "Y"])),
        ("data.source=mnist", ("data.source", "mnist")),
        ("query=f(X, Y)", ("query", "f(X, Y)")),
        ("query=a=b", ("query", "a=b")),
        ("data.source=", ("data.source", "")),
    ],
)
def test_read_override(assignment: str, expected: tuple[str, Any]) -> None:
    key, value = read_override(assignment)
    assert (key, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize("assignment", ["training.epochs", "", "=5", " =5"])
def test_override_without_key_or_value(assignment: str) -> None:
    with pytest.raises(RecipeError, match="expected key=value") as caught:
        read_override(assignment)
    assert "--set training.epochs=5" in str(caught.value.hint)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(0, 10**12)
networks = st.builds(
    NetworkRecipe,
    attribute=texts,
    classes=st.lists(texts, max_size=3).map(tuple),
    encoder=texts,
    head=texts,
    features=st.integers(1, 10**6),
    output=texts,
    observed=st.booleans(),
)
recipes = st.builds(
    Recipe,
    query=texts,
    slots=st.lists(texts, max_size=3).map(tuple),
    seed=st.integers(0, 2**63 - 1),
    data=st.builds(
        DataRecipe,
        source=texts,
        train=counts,
        validation=counts,
        test=counts,
        support=st.lists(texts, max_size=3).map(tuple),
        any_order=st.booleans(),
        outside=counts,
    ),
    networks=st.dictionaries(texts, networks, max_size=3),
    training=st.builds(
        TrainingRecipe,
        epochs=st.integers(1, 10**9),
        batch_size=st.integers(1, 10**9),
        learning_rate=st.floats(1e-30, 1e30),
        weight_decay=st.floats(0, 1e30),
        precision=texts,
    ),
)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(recipe=recipes)
def test_what_is_written_reads_back_equal(tmp_path: Path, recipe: Recipe) -> None:
    assert load(tmp_path, write_recipe(recipe)) == recipe


LAYOUTS = [
    "[training]\n{filler}epochs = 'x'",
    "{filler}training.epochs = 'x'",
    "{filler}training . 'epochs' = 'x'",
    "[ training ] # how\n\n{filler}\t\"epochs\"='x'",
    "[data]\ntrain = 3\n[networks.epochs]\nfeatures = 3\n{filler}[training]\nbatch_size = 3\nepochs = 'x'",
    "{filler}training = {{ batch_size = 3, epochs = 'x' }}",
]
fillers = st.lists(st.sampled_from(["", "# epochs = 'x'", "# [training]", "   ", "#"]), max_size=6)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(layout=st.sampled_from(LAYOUTS), lines=fillers, after=fillers)
def test_a_key_is_found_however_it_is_written(tmp_path: Path, layout: str, lines: list[str], after: list[str]) -> None:
    filler = "".join(f"{line}\n" for line in lines)
    text = layout.format(filler=filler)
    error = refuse(tmp_path, "\n".join([text, *after]))
    assert error.message == "training.epochs is a whole number, not the string 'x'"
    assert line_of(error, tmp_path) == len(text.split("\n"))
