"""Training as a notebook asks for it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import nesy_gedi as ng
from nesy_gedi.data import load_images
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, TrainingRecipe
from nesy_gedi.training.training import Trained

RULES = """
nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
total(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
"""
SHORT: dict[str, Any] = {"epochs": 1, "limit": 40, "method": "answers", "device": "cpu"}
SMALL = ng.Recipe(
    query="addition(X, Y, Sum)",
    method="answers",
    data=DataRecipe(train=40, validation=16, test=16),
    networks={"digit_net": NetworkRecipe(features=16)},
    training=TrainingRecipe(epochs=1, batch_size=8),
)


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU())


@pytest.fixture(autouse=True)
def _workplace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ng.TrainingResult:
    """Long enough that some symbols are read; read only."""
    out = tmp_path_factory.mktemp("jobs") / "run"
    return ng.train("addition", epochs=3, limit=600, method="answers", seed=1, device="cpu", out=out)


def test_a_bundled_name_is_enough(finished: ng.TrainingResult) -> None:
    assert isinstance(finished, Trained)
    assert finished.metrics is finished.document["metrics"]
    assert finished.metrics["answer_accuracy"] > 0.5
    assert finished.document["seed"] == 1
    assert finished.run.recipe().training.epochs == 3
    images = finished.queries.images.images[:3]
    assert finished.networks["digit_net"](images).shape == (3, 10)
    assert len(finished.reasoner.answers) == 19


def test_a_program_and_a_recipe_as_before() -> None:
    program = ng.Program.load(Path(ng.__file__).parents[1] / "programs" / "addition.pl")
    trained = ng.train(program, SMALL, device="cpu", out="run")
    assert trained.run.recipe() == SMALL
    assert ng.write_report(trained) == trained.run.report_file


def test_a_recipe_alone_stands_for_the_bundled_program() -> None:
    trained = ng.train(SMALL, device="cpu")
    assert Path(trained.document["program"]).stem == "addition"
    with pytest.raises(ng.UsageError, match="which program is the recipe of the query form 'sum"):
        ng.train(ng.Recipe(query="sum(X, Y)"))
    with pytest.raises(ng.UsageError, match="two recipes"):
        ng.train(SMALL, SMALL)


def test_a_file_of_ones_own_with_a_query() -> None:
    Path("sums.pl").write_text(RULES, encoding="utf-8")
    settings = {"training.batch_size": 64, "networks.digit_net.features": 16}
    trained = ng.train("sums.pl", query="total(X, Y, Sum)", settings=settings, **SHORT)
    recipe = trained.run.recipe()
    assert (recipe.query, recipe.training.batch_size, recipe.data.train) == ("total(X, Y, Sum)", 64, 40)
    assert recipe.networks["digit_net"].features == 16
    assert trained.run.path.parent == Path("runs")


def test_the_recipe_beside_a_file_is_read_with_its_conditions() -> None:
    Path("sums.pl").write_text(RULES, encoding="utf-8")
    text = 'query = "total(X, Y, Sum)"\n[training]\nbatch_size = 16\n[when.digits.training]\nbatch_size = 20\n'
    Path("sums.toml").write_text(text, encoding="utf-8")
    trained = ng.train("sums.pl", data="digits", **SHORT)
    assert trained.run.recipe().training.batch_size == 20
    Path("other.toml").write_text(text.replace("20", "10"), encoding="utf-8")
    assert ng.train(ng.Program.load("sums.pl"), "other.toml", **SHORT).run.recipe().training.batch_size == 10


def test_overrides_of_a_recipe_object_are_checked() -> None:
    settings = {"training.epochs": 3, "seed": 4}
    recipe = ng.train("addition", SMALL, seed=5, settings=settings, device="cpu").run.recipe()
    assert (recipe.training.epochs, recipe.seed, recipe.training.batch_size) == (3, 5, 8)
    with pytest.raises(ng.RecipeError, match="unknown key epoch in"):
        ng.train("addition", SMALL, settings={"training.epoch": 2})
    with pytest.raises(ng.RecipeError, match="must be positive"):
        ng.train("addition", epochs=0)
    assert not list(Path("runs").glob("*-*-*"))[1:]


@pytest.mark.parametrize("encoder", [flat(), lambda: flat(), {"digit_net": flat()}], ids=["module", "lambda", "named"])
def test_an_encoder_that_is_an_object(encoder: Any) -> None:
    trained = ng.train("addition", encoder=encoder, out="run", **SHORT)
    assert trained.run.recipe().networks["digit_net"].encoder == "given:digit_net"
    again = ng.evaluate("run", encoder=encoder, device="cpu")
    assert again.metrics["concept_accuracy"] == trained.metrics["concept_accuracy"]


def test_a_module_that_is_given_stays_as_it_was() -> None:
    module = flat()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trained = ng.train("addition", encoder=module, **SHORT)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    learned = trained.networks["digit_net"].encoder[1].weight
    assert not torch.equal(learned, before["1.weight"])


def test_an_object_must_be_named_again() -> None:
    module = flat()
    trained = ng.train("addition", encoder=module, out="run", **SHORT)
    for again in (ng.evaluate, ng.inspect_run, lambda path: ng.train(resume=path)):
        with pytest.raises(ng.UsageError, match=r"handed over in Python.*\n.*name it again: ng.evaluate") as caught:
            again("run")
        assert caught.value.where == "network digit_net"
    assert ng.train(resume="run", encoder=module).metrics == trained.metrics
    with pytest.raises(ng.UsageError, match="an object of this process, and 2 processes"):
        ng.train("addition", encoder=module, devices=2, **SHORT)


def test_a_function_that_can_be_imported_is_kept_by_its_name() -> None:
    trained = ng.train("addition", encoder={"digit_net": flat}, out="run", **SHORT)
    assert trained.run.recipe().networks["digit_net"].encoder == f"{__name__}:flat"
    assert ng.evaluate("run", trusted=True).metrics["concept_accuracy"] == trained.metrics["concept_accuracy"]


def test_which_network_an_encoder_is_for() -> None:
    with pytest.raises(ng.UsageError, match="The program has light_net, sign_net") as caught:
        ng.train("crossing", encoder="conv")
    assert caught.value.hint == "encoder={'light_net': ...}"
    with pytest.raises(ng.NesyGediError, match="digit_nt"):
        ng.train("addition", encoder={"digit_nt": "conv"}, **SHORT)


def test_a_run_is_continued_with_its_own_recipe() -> None:
    with pytest.raises(ng.Interrupted):
        ng.train("addition", out="run", stop=lambda: True, **SHORT)
    with pytest.raises(ng.UsageError, match="continues with its own recipe, but seed, training"):
        ng.train(resume="run", seed=3, settings={"training.batch_size": 2})
    whole = ng.train("addition", out="whole", **SHORT)
    assert ng.train(resume="run").metrics == whole.metrics


def test_no_program() -> None:
    with pytest.raises(ng.UsageError, match=r"no program\n.*a bundled name \(addition, "):
        ng.train()
    with pytest.raises(ng.UsageError, match="did you mean addition"):
        ng.train("additon")


def test_figures_are_drawn_when_they_are_looked_at(finished: ng.TrainingResult) -> None:
    assert list(finished.figures) == [
        *("learning_curves", "confusion_digit_net", "reliability_digit_net", "typical_digit_net")
    ]
    assert finished.figures._drawn == {}
    for figure in finished.figures.values():
        assert isinstance(figure, Figure)
        shown = Image.open(io.BytesIO(figure._repr_png_()))
        assert shown.convert("L").getextrema() != (255, 255)
    assert finished.figures["learning_curves"] is finished.figures["learning_curves"]
    with pytest.raises(KeyError, match="learning_curves"):
        finished.figures["confusion"]


def test_the_confusion_figure_shows_the_counts(finished: ng.TrainingResult) -> None:
    (axes,) = finished.figures["confusion_digit_net"].axes
    counts = finished.metrics["networks"]["digit_net"]["confusion"]
    shown = {(int(text.get_position()[1]), int(text.get_position()[0])): int(text.get_text()) for text in axes.texts}
    assert shown == {(i, j): count for i, row in enumerate(counts) for j, count in enumerate(row) if count}


def test_typical_images_are_the_surest(finished: ng.TrainingResult) -> None:
    panel = finished.figures["typical_digit_net"].axes[0]
    images = finished.queries.images.images
    log_p = finished.networks["digit_net"](images)
    zeros = (log_p.argmax(1) == 0).nonzero()[:, 0]
    surest = images[zeros[log_p[zeros, 0].argmax()], 0]
    strip = torch.from_numpy(numpy.array(panel.images[0].get_array()))
    assert torch.equal(strip[:, : surest.shape[1]], surest)


def test_a_notebook_shows_the_summary(finished: ng.TrainingResult) -> None:
    shown = finished._repr_html_()
    assert "addition on digits" in shown
    assert finished.inspect().headline in shown
    assert f"{finished.metrics['networks']['digit_net']['concept_accuracy']:.4f}" in shown
    assert str(finished.run.path) in shown
    assert repr(finished).startswith("TrainingResult(addition on digits: ")
    assert len(repr(finished)) < 300


def test_the_report_is_written_where_it_belongs(finished: ng.TrainingResult) -> None:
    assert finished.report() == finished.run.path / "report.html"
    assert finished.inspect().headline in finished.report().read_text(encoding="utf-8")
    assert finished.inspect() is finished.inspect()


def test_evaluate_returns_the_same_kind_of_result(finished: ng.TrainingResult) -> None:
    again = ng.evaluate(finished.run.path, device="cpu")
    assert again.metrics == finished.metrics
    assert list(again.figures) == list(finished.figures)


def test_data_in_memory() -> None:
    trained = ng.train("addition", data=load_images("digits"), **SHORT)
    assert trained.metrics == ng.train("addition", data="digits", **SHORT).metrics


SHORT_STAGES = {f"stages.{name}.epochs": 1 for name in ("features", "clusters", "refine", "settle")}


def test_pretraining_and_on_from_there() -> None:
    settings = {**SHORT_STAGES, "network.width": 4}
    pretrained = ng.pretrain(data="digits", objective="simclr", seed=2, limit=120, settings=settings, device="cpu")
    recipe = pretrained.run.recipe()
    assert (recipe.data.source, recipe.objective, recipe.seed, recipe.data.limit) == ("digits", "simclr", 2, 120)
    assert (recipe.network.width, recipe.stages["features"].epochs) == (4, 1)
    trained = ng.train("addition", encoder=pretrained.run.path, out="run", **SHORT)
    assert trained.run.recipe().networks["digit_net"].weights
    assert ng.pretrain(resume=pretrained.run.path).document["metrics"] == pretrained.document["metrics"]


def test_a_pretraining_recipe_as_before() -> None:
    recipe = ng.load_pretrain_recipe(overrides={**SHORT_STAGES, "data.source": "digits", "data.limit": 120})
    assert ng.pretrain(recipe, device="cpu", out="run").run.recipe() == recipe
    with pytest.raises(ng.UsageError, match="a whole recipe was given, and seed beside it"):
        ng.pretrain(recipe, seed=3)
    with pytest.raises(ng.UsageError, match="continues with its own recipe, but objective was given"):
        ng.pretrain(resume="run", objective="gedi")


def test_numbers_of_numpy_are_numbers() -> None:
    settings = {"training.batch_size": numpy.int64(8), "training.learning_rate": numpy.float32(0.25)}
    result = ng.train(SMALL, settings=settings, seed=numpy.int64(3), limit=20, device="cpu")  # type: ignore[arg-type]
    recipe = result.run.recipe()
    assert (recipe.training.batch_size, recipe.training.learning_rate, recipe.seed) == (8, 0.25, 3)


@pytest.mark.parametrize(
    ("arguments", "where", "hint"),
    [
        ({"settings": ["training.batch_size"]}, "settings", "for example settings={"),
        ({"settings": {"seed": "x"}}, "settings", "leave it out"),
        ({"seed": "x"}, "settings", "leave it out"),
        ({"data": torch.rand(4, 1, 8, 8)}, "data", r"ng.from_arrays\("),
        ({"data": [(torch.rand(1, 8, 8), 3)]}, "data", r"ng.from_dataset\("),
        ({"data": 5}, "data", "ng.from_"),
    ],
)
def test_arguments_of_a_wrong_kind(arguments: dict[str, Any], where: str, hint: str) -> None:
    for job in (lambda: ng.train("addition", **arguments), lambda: ng.pretrain(**arguments)):
        with pytest.raises(ng.UsageError, match=hint) as caught:
            job()
        assert caught.value.where == where


def test_a_result_is_measured_again_as_its_folder_is(finished: ng.TrainingResult) -> None:
    again = ng.evaluate(finished, device="cpu")
    assert again.run.path == finished.run.path
    assert again.metrics["answer_accuracy"] == finished.metrics["answer_accuracy"]
