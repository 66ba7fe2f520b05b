"""Programs whose encoders come from libraries, files and modules of one's own: frozen, slower, adapted, restored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_pretraining import pretrain_small
from small_runs import ADDITION, SMALL, STEPS, addition, once, tensors, train_small, untimed
from torch import Tensor, nn

from nesy_gedi import jobs
from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import Interrupted, NesyGediWarning, RecipeError, RunError, UsageError
from nesy_gedi.networks.adapters import Adapted
from nesy_gedi.networks.building import build_encoder
from nesy_gedi.networks.cards import Architecture, EncoderCard, InputCard, card_of, write_card
from nesy_gedi.networks.encoders import make_encoder
from nesy_gedi.networks.libraries import make_library_encoder
from nesy_gedi.training.adoption import adopt_pretrained, names_python
from nesy_gedi.training.exporting import export_run
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.planning import pretraining_of
from nesy_gedi.training.predictor import load_predictor
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.recipe import NetworkRecipe, Recipe, check_recipe
from nesy_gedi.training.task import Task
from nesy_gedi.training.to_deepproblog import deepproblog_model
from nesy_gedi.training.training import dry_run, evaluate, train

SQUEEZE = "torchvision:squeezenet1_1"


class Heard(Listener):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


def with_network(epochs: int = 1, **changes: Any) -> Recipe:
    """One short epoch, with a network as said."""
    training = replace(SMALL.training, epochs=epochs)
    return replace(SMALL, networks={"digit_net": NetworkRecipe(**changes)}, training=training)


def encoder_tensors(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in network.state_dict().items() if key.startswith("encoder.")}


def first(recipe: Recipe, digits: ImageSplits) -> Any:
    task = Task(addition(), adopt_pretrained(recipe))
    return make_perceptions(task, digits.train.shape, digits.train.images, trusted=["digit_net"])["digit_net"]


def save(module: nn.Module, file: Path) -> Path:
    save_file({key: tensor.contiguous().clone() for key, tensor in module.state_dict().items()}, file)
    return file


def colour_encoder() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


COLOUR = "test_any_encoder:colour_encoder"

# -- libraries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [SQUEEZE, "timm:test_resnet", "timm:test_vit.r160_in1k"])
def test_a_model_of_a_library_trains_from_a_file_and_is_restored_without_it(encoder: str, workplace: Path) -> None:
    if encoder.startswith("timm"):
        pytest.importorskip("timm")
    source = make_library_encoder(encoder, (3, 32, 32)).module
    file = save(source, workplace / "weights.safetensors")
    recipe = with_network(encoder=encoder, input_shape=(3, 32, 32), weights_file=file.name, rate=0.1)
    heard = Heard()
    trained = train_small(workplace / "run", recipe, trusted_encoders=(), listener=heard)
    assert "resized from 8x8 to 32x32, repeated to colour" in heard.sentences[0]
    assert "100.0% of the encoder's parameters come from" in heard.sentences[0]
    own = trained.networks["digit_net"].encoder
    assert isinstance(own, Adapted)
    moved = max(
        float((a - b).detach().abs().max()) for a, b in zip(own.encoder.parameters(), source.parameters(), strict=True)
    )
    assert 0.0 < moved < 0.01  # it began with the weights, and learned a little

    file.unlink()
    measured = evaluate(trained.run.path, device="cpu")
    assert measured.document["metrics"] == trained.document["metrics"]
    assert untimed(train_small(None, recipe, resume=trained.run.path, trusted_encoders=()).document) == untimed(
        trained.document
    )


def test_a_dry_run_tells_how_images_are_adapted(digits: ImageSplits) -> None:
    document = dry_run(addition(), with_network(encoder=SQUEEZE, input_shape=(3, 32, 32), rate=0.0), device="cpu")
    (said, random) = document["encoders"]["digit_net"]
    assert "resized from 8x8 to 32x32" in said
    assert "random" in random
    assert "encoders" not in dry_run(addition(), SMALL, device="cpu")


# -- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["answers", "cotraining"])
def test_a_frozen_encoder_is_bit_equal_after_training(method: str, digits: ImageSplits, workplace: Path) -> None:
    recipe = with_network(encoder="test_any_encoder:colour_encoder", input_shape=(3, 8, 8), rate=0.0)
    recipe = replace(recipe, method=method, training=replace(recipe.training, weight_decay=0.1))
    small = replace(recipe.cotraining, epochs=1, steps=2, batch_size=16)
    if method == "cotraining":
        recipe = replace(recipe, cotraining=replace(small, objective="simclr", learning_rate=0.01))
    network = first(recipe, digits)
    before, head = encoder_tensors(network), network.head.weight.clone()
    after = train_small(workplace / "run", recipe).networks["digit_net"]
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder_tensors(after).items())
    assert not torch.equal(after.head.weight, head)


def test_clusters_keep_a_frozen_encoder_too(workplace: Path, pretrained: Pretrained) -> None:
    weights = {key.removeprefix("encoder."): tensor for key, tensor in encoder_tensors(pretrained.perception).items()}
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, workplace / "w.safetensors")
    own = pretrained.recipe.network
    recipe = pretrained.recipe
    network = replace(own, weights_file=str(workplace / "w.safetensors"), rate=0.0)
    again = pretrain_small(workplace / "again", replace(recipe, network=network)).perception
    for key, tensor in encoder_tensors(again).items():
        assert torch.equal(tensor, weights[key.removeprefix("encoder.")])
    assert again.rate == 0.0


def test_the_rate_scales_the_steps(digits: ImageSplits, workplace: Path) -> None:
    """Adam's first step is the learning rate, whatever the gradient."""
    moved = {}
    for rate in (1.0, 0.25):
        recipe = with_network(encoder="mlp", rate=rate)
        recipe = replace(recipe, data=replace(recipe.data, train=8))  # one step
        before = dict(first(recipe, digits).named_parameters())
        after = train_small(workplace / f"run-{rate}", recipe).networks["digit_net"].named_parameters()
        moved[rate] = {name: float((tensor - before[name]).abs().max()) for name, tensor in after}
    for name, whole in moved[1.0].items():
        share = 0.25 if name.startswith("encoder.") else 1.0
        assert moved[0.25][name] == pytest.approx(share * whole, rel=1e-3), name


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_run_with_a_rate_of_its_own_is_continued_exactly(rate: float, workplace: Path) -> None:
    recipe = with_network(2, encoder=COLOUR, input_shape=(3, 8, 8), rate=rate)
    whole = train_small(workplace / "whole", recipe)
    with pytest.raises(Interrupted):
        train_small(workplace / "parts", recipe, stop=once(STEPS - 2))
    parts = train_small(None, recipe, resume=workplace / "parts")
    expected, found = tensors(whole.run, "last"), tensors(parts.run, "last")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert whole.run.read_metrics()[-1]["learning_rate"] == parts.run.read_metrics()[-1]["learning_rate"]


def test_where_nothing_would_learn_it_is_said(workplace: Path) -> None:
    recipe = with_network(encoder="mlp", features=10, head="none", rate=0.0)
    with pytest.raises(UsageError, match="nothing would learn"):
        train_small(workplace / "run", recipe)
    assert not (workplace / "run").exists()
    with pytest.raises(UsageError, match="nothing would learn"):
        dry_run(addition(), recipe, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": -0.5}, "networks.digit_net.rate must be zero"),
        ({"rate": float("inf")}, "networks.digit_net.rate must be zero"),
        ({"input_shape": (3, 0, 8)}, r"networks.digit_net.input_shape must be \[channels, height, width\]"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_recipe(with_network(**changes))


# -- weights and cards -------------------------------------------------------------------------------------------------


def exported(folder: Path, digits: ImageSplits, **changes: Any) -> tuple[Any, Path]:
    """A network, and its encoder in a file with its card."""
    network = first(with_network(features=16, width=4), digits)
    folder.mkdir(parents=True, exist_ok=True)
    file = save(network.encoder, folder / "encoder.safetensors")
    arguments = {"features": 16, "width": 4, "normalisation": "batch"}
    mean, std = (tuple(each.tolist()) for each in (network.mean + 0.125, network.std))
    card = EncoderCard(Architecture("conv", arguments=arguments), InputCard((1, 8, 8), mean, std), 16)
    write_card(replace(card, **changes), file)
    return network, file


@pytest.mark.parametrize("where", ["file", "folder", "network", "only"])
def test_an_exported_encoder_is_begun_with(where: str, digits: ImageSplits, workplace: Path) -> None:
    folder = workplace / "export"
    below = {"network": folder / "digit_net", "only": folder / "other_net"}
    network, file = exported(below.get(where, folder), digits)
    recipe = with_network(encoder=str(file) if where == "file" else "export")
    made = first(replace(recipe, seed=99), digits)
    expected = encoder_tensors(network)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in encoder_tensors(made).items())
    assert torch.equal(made.mean, network.mean + 0.125)
    adopted = adopt_pretrained(recipe).networks["digit_net"]
    assert (adopted.encoder, adopted.features, adopted.width, adopted.input_shape) == ("conv", 16, 4, (1, 8, 8))
    assert adopted.weights_file == str(file.resolve())
    assert adopt_pretrained(with_network(**vars(adopted))).networks["digit_net"] == adopted


def test_an_exported_encoder_is_adapted_to_other_images(
    digits: ImageSplits, shapes: ImageSplits, workplace: Path
) -> None:
    network, file = exported(workplace, digits)
    task = Task(addition(), adopt_pretrained(with_network(encoder=str(file))))
    made: Any = make_perceptions(task, shapes.train.shape, shapes.train.images)["digit_net"]
    assert torch.equal(made.encoder.mean, network.mean + 0.125)
    size = shapes.train.shape[1]
    assert f"resized from {size}x{size} to 8x8, turned grey" in made.notes[0]
    assert made(shapes.train.images[:3]).shape == (3, 10)


def test_weights_of_another_card_are_refused(digits: ImageSplits, workplace: Path) -> None:
    _, file = exported(workplace, digits)
    save_file({key: tensor + 1 for key, tensor in load_file(file).items()}, file)
    with pytest.raises(RunError, match="not those of their card"):
        train_small(workplace / "run", with_network(encoder=str(file)))
    assert not (workplace / "run").exists()
    card_of(file).unlink()
    with pytest.raises(UsageError, match=r"no card\.json beside the weights"):
        train_small(workplace / "run", with_network(encoder=str(file)))


def test_python_that_a_card_names_needs_trust(digits: ImageSplits, workplace: Path) -> None:
    _, file = exported(workplace, digits, architecture=Architecture("python", COLOUR))
    assert not names_python(str(file))
    assert names_python(COLOUR)
    assert not names_python(SQUEEZE)
    with pytest.raises(UsageError, match="names Python code as an encoder"):
        train_small(workplace / "run", with_network(encoder=str(file)), trusted_encoders=())
    run = train_small(workplace / "run", with_network(encoder=COLOUR, input_shape=(3, 8, 8))).run.path
    named = {"digit_net": str(file)}
    doors = (
        lambda: evaluate(run, device="cpu", encoders=named),
        lambda: load_predictor(run, device="cpu", encoders=named),
        lambda: export_run(run, workplace / "out", onnx=False, encoders=named),
        lambda: deepproblog_model(run, encoders=named),
        lambda: jobs.train(addition(), recipe=SMALL, device="cpu", encoder=named),
    )
    for door in doors:  # a file is no Python that somebody has typed
        with pytest.raises(UsageError, match="names Python code as an encoder"):
            door()


def test_partial_weights_are_told_and_refused_unless_asked(digits: ImageSplits, workplace: Path) -> None:
    _, file = exported(workplace / "export", digits)
    weights = {key: tensor for key, tensor in load_file(file).items() if not key.startswith("project")}
    save_file(weights, workplace / "part.safetensors")
    said = {"features": 16, "width": 4, "weights_file": "part.safetensors"}
    with pytest.raises(UsageError, match=r"2 missing \(project\.1\.weight, project\.1\.bias\)") as caught:
        train_small(workplace / "run", with_network(**said))
    assert caught.value.hint is not None
    assert "networks.digit_net.partial=true" in caught.value.hint
    with pytest.warns(NesyGediWarning, match="network digit_net: .* in part: 2 missing"):
        made = first(with_network(**said, partial=True), digits)
    assert torch.equal(made.state_dict()["encoder.stages.0.weight"], weights["stages.0.weight"])


def test_two_beginnings_are_refused(digits: ImageSplits, folder: Path, workplace: Path) -> None:
    _, file = exported(workplace / "export", digits)
    (workplace / "other.safetensors").write_bytes(b"")
    for encoder in (str(folder), str(file)):
        with pytest.raises(UsageError, match="for one encoder"):
            adopt_pretrained(with_network(encoder=encoder, weights_file="other.safetensors"))


# -- one's own ---------------------------------------------------------------------------------------------------------


def test_grey_images_for_a_colour_encoder_of_ones_own(workplace: Path) -> None:
    with pytest.raises(UsageError, match="takes colour images, those of the data are grey") as caught:
        train_small(workplace / "run", with_network(encoder=COLOUR))
    assert caught.value.hint == "have them adapted: --set networks.digit_net.input_shape=[3, 8, 8]"
    assert not (workplace / "run").exists()
    trained = train_small(workplace / "run", with_network(encoder=COLOUR, input_shape=(3, 8, 8)))
    with pytest.raises(UsageError, match="names Python code"):
        evaluate(trained.run.path, device="cpu")
    assert evaluate(trained.run.path, device="cpu", trusted=True).networks["digit_net"].notes


def test_members_of_an_ensemble_are_adapted_each(workplace: Path) -> None:
    recipe = with_network(encoder=COLOUR, input_shape=(3, 8, 8), rate=0.0)
    recipe = replace(recipe, ensemble=replace(recipe.ensemble, members=2))
    network = train(addition(ADDITION), recipe, out=workplace / "run", device="cpu", trusted_encoders=("digit_net",))
    members: Any = network.networks["digit_net"].encoder
    assert [type(member) for member in members.members] == [Adapted, Adapted]


def test_a_network_that_says_no_width_of_the_domain_is_told(workplace: Path) -> None:
    from nesy_gedi.errors import DistributionError

    recipe = with_network(encoder=COLOUR, input_shape=(3, 8, 8), head="none")
    with pytest.raises(
        DistributionError, match=r"returns \(36,\) values an image, its domain has 10 symbols"
    ) as caught:
        train_small(workplace / "run", recipe)
    assert caught.value.where == "network digit_net"
    assert 'head = "linear"' in str(caught.value.hint)


class NotANumber(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * float("nan")


def test_an_encoder_that_makes_no_numbers_is_warned_of(digits: ImageSplits) -> None:
    with pytest.warns(NesyGediWarning, match="of a black image is not a number"):
        first(with_network(encoder="test_any_encoder:NotANumber"), digits)


def test_weights_of_a_bundled_encoder_keep_its_layers_where_clusters_come_first(
    digits: ImageSplits, tmp_path: Path
) -> None:
    file = save(
        make_encoder("conv", digits.train.shape, NetworkRecipe.features, trusted=False), tmp_path / "w.safetensors"
    )
    task = Task(addition(), with_network(encoder="conv", weights_file=str(file)))
    found = pretraining_of(task, "digit_net", digits.train).network
    assert (found.encoder, found.features, found.weights_file) == ("conv", NetworkRecipe.features, str(file))
    assert build_encoder(found, [digits.train.shape], trusted=False).notes == (
        f"100.0% of the encoder's parameters come from {file}.",
    )
