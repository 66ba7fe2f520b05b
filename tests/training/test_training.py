"""Training, evaluating and dry runs as a whole: documents, folders, data and trust."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import ADDITION, NOISY, SLIPPING, SMALL, addition, tensors, train_small, untimed, with_training

from nesy_gedi.data import ImageSplits, Labels
from nesy_gedi.errors import DataError, NesyGediError, RecipeError, RunError, UsageError
from nesy_gedi.training import training
from nesy_gedi.training.recipe import NetworkRecipe, load_recipe
from nesy_gedi.training.runs import open_run
from nesy_gedi.training.training import Trained, dry_run, evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_small(tmp_path_factory.mktemp("trained") / "run")


def test_the_document_is_what_scripts_rely_on(trained: Trained) -> None:
    document = trained.document
    assert document.keys() >= {"program", "run", "seed", "data", "metrics", "time", "version"}
    assert document["metrics"].keys() >= {
        "answer_accuracy", "concept_accuracy", "aligned_concept_accuracy", "ami", "concept_ece"
    }  # fmt: skip
    assert document["time"].keys() >= {"total_s", "network_s", "logic_s", "grounding_s"}
    assert (document["version"], document["program"]) == (1, "somewhere/addition.pl")
    assert (document["run"], document["seed"], document["data"]) == (str(trained.run.path), 3, "digits")
    assert document["metrics"]["queries"] == 16
    assert json.loads(trained.run.result_file.read_text(encoding="utf-8")) == document


def test_the_run_folder_is_complete(trained: Trained) -> None:
    assert sorted(path.name for path in trained.run.path.iterdir()) == [
        "checkpoints", "environment.json", "metrics.jsonl", "program.pl", "recipe.toml", "result.json"
    ]  # fmt: skip
    assert trained.run.recipe() == SMALL
    assert trained.run.program().source.text == ADDITION
    for path in trained.run.path.rglob("*"):
        assert ".part" not in path.name


def test_the_same_recipe_gives_the_same_run(trained: Trained, tmp_path: Path) -> None:
    torch.rand(7)  # whatever was drawn before
    again = train_small(tmp_path / "again")
    assert untimed(again.document) == untimed(trained.document)
    one, other = tensors(again.run, "last"), tensors(trained.run, "last")
    assert all(torch.equal(one[name], other[name]) for name in one)
    changed = train_small(tmp_path / "other", replace(SMALL, seed=4))
    assert untimed(changed.document)["metrics"] != untimed(trained.document)["metrics"]


def test_a_run_gets_a_name_of_its_own() -> None:
    found = train_small(None, with_training(epochs=1))
    assert found.run.path.parent == Path("runs")
    assert found.run.path.name.startswith("addition-")
    assert found.run.path.is_dir()


@pytest.mark.parametrize(
    ("recipe", "arguments", "error"),
    [
        (SMALL, {"device": "cuda:99"}, UsageError),
        (replace(SMALL, query="nothing(X)"), {}, UsageError),
        (replace(SMALL, networks={"digit_net": NetworkRecipe(attribute="size")}), {}, RecipeError),
        (NOISY, {"trusted_encoders": ()}, UsageError),
        (replace(SMALL, networks={"digit_net": NetworkRecipe(head="none")}), {}, NesyGediError),
        (with_training(precision="8-bit"), {}, UsageError),
        (with_training(batch_size=0), {}, RecipeError),
    ],
)
def test_nothing_is_left_of_a_run_that_cannot_start(
    tmp_path: Path, recipe: Any, arguments: dict[str, Any], error: type[NesyGediError]
) -> None:
    with pytest.raises(error):
        train_small(tmp_path / "run", recipe, **arguments)
    assert {path.name for path in tmp_path.iterdir()} <= {"circuit-cache"}


def test_an_existing_run_is_kept_unless_forced(tmp_path: Path) -> None:
    recipe = with_training(epochs=1)
    first = train_small(tmp_path / "run", recipe)
    with pytest.raises(RunError, match="the folder exists"):
        train_small(tmp_path / "run", recipe)
    assert first.run.result() == first.document
    second = train_small(tmp_path / "run", replace(recipe, seed=9), force=True)
    assert second.document["seed"] == 9
    assert [line["epoch"] for line in second.run.read_metrics()] == [1]


# -- evaluate ----------------------------------------------------------------------------------------------------------


def test_evaluating_a_run_repeats_its_figures(trained: Trained) -> None:
    found = evaluate(trained.run.path, device="cpu")
    for key in ("version", "program", "run", "seed", "data", "metrics"):
        assert found.document[key] == trained.document[key], key
    assert found.document["time"].keys() == trained.document["time"].keys()
    assert torch.equal(found.queries.index, trained.queries.index)
    assert not found.networks.training


def test_evaluating_takes_the_best_weights_and_learned_probabilities(tmp_path: Path) -> None:
    own = {"digit_net": "small_runs:noisy_encoder"}
    first = train_small(tmp_path / "run", NOISY, SLIPPING)
    found = evaluate(first.run.path, device="cpu", encoders=own)
    best = tensors(first.run, "best")
    assert torch.equal(found.task.reasoner.learned.logits[0], best["model.t.logits.0"])
    for name, tensor in found.networks.state_dict().items():
        assert torch.equal(tensor, best[f"model.{name}"])
    assert found.document["metrics"] == first.document["metrics"]


@pytest.fixture
def elsewhere(digits: ImageSplits, monkeypatch: pytest.MonkeyPatch) -> ImageSplits:
    """Another data set with the same kind of images: the digits, all of them turned into negatives."""
    test = replace(digits.test, images=255 - digits.test.images)
    other = ImageSplits("negatives", digits.train, test)
    monkeypatch.setattr(training, "load_images", lambda name, **_: other if name == "negatives" else digits)
    return other


def test_evaluating_on_other_data(trained: Trained, elsewhere: ImageSplits) -> None:
    found = evaluate(trained.run.path, source="negatives", device="cpu")
    assert found.document["data"] == "negatives"
    assert found.document["metrics"]["queries"] == 180  # all the test images that there are
    assert found.document["metrics"]["concept_accuracy"] < trained.document["metrics"]["concept_accuracy"]
    assert open_run(trained.run.path).recipe() == SMALL
    assert evaluate(trained.run.path, source="digits", device="cpu").document["metrics"]["queries"] == 16


def test_evaluating_on_images_of_another_shape(
    trained: Trained, digits: ImageSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = replace(digits.test, images=digits.test.images.repeat(1, 1, 1, 2))
    monkeypatch.setattr(training, "load_images", lambda *_, **__: ImageSplits("wide", digits.train, wide))
    with pytest.raises(DataError, match=r"images of shape \(1, 8, 16\), the network expects \(1, 8, 8\)"):
        evaluate(trained.run.path, source="wide", device="cpu")


def test_evaluating_on_data_about_something_else(
    trained: Trained, digits: ImageSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = replace(digits.test, labels={"class": Labels(tuple("abcdefghij"), digits.test.labels["class"].index)})
    monkeypatch.setattr(training, "load_images", lambda *_, **__: ImageSplits("letters", digits.train, letters))
    with pytest.raises(RecipeError, match="no class of class is the symbol 0"):
        evaluate(trained.run.path, source="letters", device="cpu")


def test_evaluating_what_cannot_be(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        evaluate(tmp_path)
    with pytest.raises(UsageError, match="the program has no network digits_net"):
        evaluate(trained.run.path, encoders={"digits_net": "conv"}, device="cpu")
    with pytest.raises(RunError, match="the checkpoint does not fit the networks"):
        evaluate(trained.run.path, encoders={"digit_net": "small_runs:noisy_encoder"}, device="cpu")


def test_an_encoder_may_be_named_for_a_network_without_a_recipe(tmp_path: Path) -> None:
    first = train_small(tmp_path / "run", replace(with_training(epochs=1), networks={}))
    found = evaluate(first.run.path, encoders={"digit_net": "conv"}, device="cpu")
    assert found.document["metrics"] == first.document["metrics"]


# -- trust -------------------------------------------------------------------------------------------------------------


def test_python_of_a_run_must_be_named_again(tmp_path: Path) -> None:
    recipe = with_training(NOISY, epochs=1)
    first = train_small(tmp_path / "run", recipe)  # its encoder was named by the user, its program was not trusted
    with pytest.raises(UsageError, match="the recipe names Python code as an encoder"):
        evaluate(tmp_path / "run", device="cpu")
    found = evaluate(tmp_path / "run", device="cpu", encoders={"digit_net": "small_runs:noisy_encoder"})
    assert found.document["metrics"] == first.document["metrics"]


# -- dry run -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_everything_and_writes_nothing(tmp_path: Path) -> None:
    told = dry_run(addition(), SMALL, device="cpu")
    assert {path.name for path in tmp_path.iterdir()} <= {"circuit-cache"}
    assert told["first_loss"] == pytest.approx(2.9, abs=1.0)
    expected = {
        "version": 1,
        "device": "cpu",
        "query": SMALL.query,
        "answers": 19,
        "method": "answers",
        "circuit": "direct",
    }
    expected |= {"train": 40, "validation": 16, "test": 16, "epochs": 3}
    assert expected.items() <= told.items()
    assert told["edges"] > told["nodes"] > 19
    (tmp_path / "told.toml").write_text(told["recipe"], encoding="utf-8")
    assert load_recipe(tmp_path / "told.toml") == SMALL
    json.dumps(told)


def test_a_dry_run_with_few_queries_and_a_learned_probability() -> None:
    recipe = replace(NOISY, data=replace(NOISY.data, train=3))
    told = dry_run(addition(SLIPPING), recipe, device="cpu", trusted_encoders=("digit_net",))
    assert (told["train"], told["answers"]) == (3, 20)


def test_a_dry_run_meets_the_errors_of_training() -> None:
    with pytest.raises(UsageError, match="the recipe names Python code"):
        dry_run(addition(), NOISY, device="cpu")
    with pytest.raises(RecipeError, match="epochs must be positive"):
        dry_run(addition(), with_training(epochs=0), device="cpu")
