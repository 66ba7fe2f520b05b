"""Predictors: what they answer, that they are saved whole, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import NOISY, SMALL, train_small
from torch import Tensor

import nesy_gedi as ng
from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import DataError, NesyGediError, NesyGediWarning, RunError, UsageError
from nesy_gedi.logic.program import Program
from nesy_gedi.networks.perception import Perception
from nesy_gedi.training import predictor as module
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.devices import make_fabric
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.predictor import Predictor
from nesy_gedi.training.recipe import EnsembleRecipe, load_recipe
from nesy_gedi.training.task import Task
from nesy_gedi.training.unusual import BRIGHTER, DARKER, EMPTY, OUTSIDE, SWAPPED, unusual, warning_about

SHAPE = (1, 8, 8)
COUNT = 30


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of addition that no test changes."""
    return train_small(tmp_path_factory.mktemp("predictor") / "run").run.path


@pytest.fixture(scope="module")
def saved(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a predictor's folder, that no test changes."""
    return Predictor.load(trained, device="cpu").save(tmp_path_factory.mktemp("saved") / "predictor")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "predictor"))


@pytest.fixture
def pairs(digits: ImageSplits) -> tuple[Tensor, Tensor]:
    return digits.test.images[:COUNT], digits.test.images[COUNT : 2 * COUNT]


def untrained(name: str, seed: int = 0, members: int = 1) -> Predictor:
    """A bundled program over small images whose networks are new, in double precision."""
    found = find_program(name)
    recipe = load_recipe(found.recipe, overrides={"seed": seed, "ensemble.members": members})
    task = Task(Program.load(found.path), replace(recipe, training=replace(recipe.training, precision="64-true")))
    return of_task(task, "64-true")


def of_task(task: Task, precision: str = "32-true") -> Predictor:
    networks = make_perceptions(task, SHAPE).eval()
    return Predictor(task, networks, make_fabric("cpu", precision))


def images_for(predictor: Predictor, digits: ImageSplits, count: int = 12) -> dict[str, Tensor]:
    return {slot: digits.test.images[k * count : (k + 1) * count] for k, slot in enumerate(predictor.slots)}


# -- answers -----------------------------------------------------------------------------------------------------------


def test_answers_of_sums_are_those_of_all_pairs(trained: Path, pairs: tuple[Tensor, Tensor]) -> None:
    predictor = ng.load_predictor(trained, device="cpu")
    found = predictor(pairs)
    network = predictor.networks["digit_net"]
    with torch.no_grad():
        x, y = (network(each).exp() for each in pairs)
    joint = x[:, :, None] * y[:, None, :]
    sums = torch.arange(10)[:, None] + torch.arange(10)
    expected = torch.stack([joint[:, sums == int(answer)].sum(1) for answer in found.answers], 1)
    assert torch.allclose(found.log_p.exp(), expected, atol=1e-5)
    assert torch.equal(found.best, expected.argmax(1))
    assert torch.allclose(found.probability, expected.amax(1), atol=1e-5)
    assert torch.allclose(found.concepts["digit_net", "X"], x, atol=1e-6)
    assert torch.allclose(found.concepts["digit_net", "Y"], y, atol=1e-6)
    for row, best in enumerate(found.best.tolist()):
        likeliest = (joint[row] * (sums == int(found.answers[best]))).flatten().argmax()
        assert found.symbols[row].tolist() == [int(likeliest) // 10, int(likeliest) % 10]
        share = joint[row].flatten()[likeliest] / expected[row, best]
        assert float(found.share[row]) == pytest.approx(float(share), abs=1e-4)
    assert torch.equal(found.unsure, found.probability < 0.9)


def test_batches_and_names_of_slots_change_nothing(trained: Path, pairs: tuple[Tensor, Tensor]) -> None:
    predictor = Predictor.load(trained, device="cpu")
    whole = predictor(pairs)
    for batch_size in (1, 7, 1000):
        parts = predictor({"Y": pairs[1], "X": pairs[0]}, batch_size=batch_size)
        assert torch.allclose(parts.log_p, whole.log_p, atol=1e-5)
        assert torch.equal(parts.symbols, whole.symbols)


def test_circuits_are_asked_in_parts(
    trained: Path, pairs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.load(trained, device="cpu")
    whole = predictor(pairs)
    monkeypatch.setattr(module, "CELLS_AT_ONCE", 1)
    parts = predictor(pairs, batch_size=4)
    assert torch.allclose(parts.log_p, whole.log_p, atol=1e-6)
    assert torch.equal(parts.values, whole.values)
    assert {slot: len(codes) for slot, codes in parts.unusual.items()} == {"X": COUNT, "Y": COUNT}


def test_no_queries(trained: Path) -> None:
    found = Predictor.load(trained, device="cpu")((torch.zeros(0, *SHAPE, dtype=torch.uint8),) * 2)
    assert found.log_p.shape == (0, 19)
    assert found.symbols.shape == (0, 2)
    assert len(found) == 0


def test_without_explanations(trained: Path, pairs: tuple[Tensor, Tensor]) -> None:
    found = Predictor.load(trained, device="cpu")(pairs, explain=False)
    assert bool((found.symbols == -1).all())
    assert not bool(found.share.any())


def test_loading_draws_nothing_from_the_global_generator(trained: Path) -> None:
    before = torch.get_rng_state()
    Predictor.load(trained, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["multi_addition", "naming"])
def test_answers_are_those_that_training_measures(name: str, digits: ImageSplits) -> None:
    predictor = untrained(name)
    images = images_for(predictor, digits)
    found = predictor(images)
    with torch.no_grad():
        log_p = {
            network: torch.stack([predictor.networks[network](images[slot].double() / 255) for slot in slots], 1)
            for network in predictor.networks
            if (slots := [item.slots[0] for item in predictor.task.seen if item.network == network])
        }
    best, values = predictor.task.predict(log_p)
    assert torch.equal(found.best, best)
    assert torch.equal(found.values, values)
    with torch.no_grad():
        assert torch.allclose(found.log_p, predictor.reasoner(predictor.task.observe(log_p, values)), atol=1e-6)


def test_given_values(digits: ImageSplits) -> None:
    predictor = untrained("multi_addition")
    images = images_for(predictor, digits)
    predicted = predictor(images)
    assert predicted.stated == (False, False, False)
    texts = {item.slots[0]: [item.domain[k] for k in column] for item, column in _columns(predicted)}
    told = predictor(images, given=texts)
    assert torch.equal(told.values, predicted.values)
    assert torch.allclose(told.log_p, predicted.log_p)
    assert told.answer(0) == "true"
    assert predicted.answer(0).startswith("Z0 = ")
    partly = predictor(images, given={"Z2": "0"})
    assert partly.stated == (False, False, True)
    assert not bool(partly.values[:, 2].any())
    impossible = predictor(images, given={"Z2": "7"})  # no carry is larger than one
    assert not bool(impossible.probability.any())
    assert bool(impossible.unsure.all())
    assert bool((impossible.symbols == -1).all())
    assert "no answer" in impossible.doubts(0)[0]
    json.dumps(impossible.document(0), allow_nan=False)


def _columns(found: ng.Predictions) -> list[tuple[object, list[int]]]:
    return list(zip(found.observed, found.values.T.tolist(), strict=True))


def test_an_ensemble_answers_with_the_average_of_its_members(digits: ImageSplits) -> None:
    predictor = untrained("addition", members=3)
    images = images_for(predictor, digits)
    found = predictor(images)
    encoder, head = predictor.networks["digit_net"].encoder, predictor.networks["digit_net"].head
    answers, singles = [], []
    for k in range(3):
        one = Perception(encoder.members[k], head.members[k], [str(d) for d in range(10)], image_shape=SHAPE).double()
        with torch.no_grad():
            x, y = (one.eval()(images[slot]) for slot in "XY")
        answers.append(predictor.reasoner({"X": x, "Y": y}).exp())
        singles.append(x.exp())
    assert torch.allclose(found.log_p.exp(), torch.stack(answers).mean(0), atol=1e-9)
    assert torch.allclose(found.concepts["digit_net", "X"], torch.stack(singles).mean(0), atol=1e-9)
    sums = found.symbols.sum(1)
    assert sums.tolist() == [int(found.answers[k]) for k in found.best.tolist()]


# -- doubt -------------------------------------------------------------------------------------------------------------


def certain(predictor: Predictor, pairs: tuple[Tensor, Tensor], **changes: object) -> ng.Predictions:
    """Answers whose probabilities are made up: 7 or 12, from a 4 or a 9 and a 3."""
    x, y = torch.zeros(1, 10), torch.zeros(1, 10)
    x[0, 4], x[0, 9], y[0, 3] = 0.51, 0.49, 1.0
    log_p = torch.full((1, 19), -math.inf)
    log_p[0, 7], log_p[0, 12] = math.log(0.51), math.log(0.49)
    found = predictor((pairs[0][:1], pairs[1][:1]))
    concepts = {("digit_net", "X"): x, ("digit_net", "Y"): y}
    told = {"log_p": log_p, "best": torch.tensor([7]), "concepts": concepts, "symbols": torch.tensor([[4, 3]])}
    return replace(found, **{**told, **changes})  # type: ignore[arg-type]


def test_doubt_names_the_image_and_its_symbols(trained: Path, pairs: tuple[Tensor, Tensor]) -> None:
    predictor = Predictor.load(trained, device="cpu")
    found = certain(predictor, pairs)
    assert found.doubts(0, ["a.png", "b.png"]) == [
        "7 has probability 0.51, 12 0.49",
        "image a.png is 4 (0.51) or 9 (0.49)",
    ]
    assert certain(predictor, pairs, sure=0.5).doubts(0) == []
    document = found.document(0, ["a.png", "b.png"], top=2)
    assert document["answers"] == {"7": pytest.approx(0.51), "12": pytest.approx(0.49)}
    assert document["concepts"][0]["networks"]["digit_net"]["probabilities"] == {
        "4": pytest.approx(0.51),
        "9": pytest.approx(0.49),
    }
    assert document["unsure"] is True
    assert len(found.document(0)["answers"]) == 19


def test_doubt_names_symbols_that_the_explanation_reads_otherwise(trained: Path, pairs: tuple[Tensor, Tensor]) -> None:
    found = certain(Predictor.load(trained, device="cpu"), pairs, symbols=torch.tensor([[5, 2]]), sure=0.95)
    assert found.doubts(0)[-1] == "image Y is 3 (1.00), but 2 in the explanation"


def test_where_there_may_be_no_answer_at_all(digits: ImageSplits) -> None:
    text = "nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).\nsmall(X, Y) :- digit(X, Y), Y < 2.\n"
    found = of_task(Task(Program(text), replace(SMALL, query="small(X, Y)")))(digits.test.images[:5])
    missing = 1 - found.log_p.exp().sum(1)
    assert bool((missing > 0.5).all())
    assert bool(found.unsure.all())
    assert f"no answer at all {float(missing[0]):.2f}" in found.doubts(0)[0]


# -- images unlike those of training -----------------------------------------------------------------------------------


def looking(mean: float, std: float) -> Perception:
    return Perception(
        torch.nn.Identity(), None, "ab", image_shape=SHAPE, mean=torch.tensor([mean]), std=torch.tensor([std])
    )


def test_digits_are_usual_and_swapped_ones_are_not(digits: ImageSplits) -> None:
    pixels = digits.train.images.float() / 255
    network = looking(float(pixels.mean()), float(pixels.std()))
    assert int((unusual(digits.test.images, network) > 0).sum()) <= 1
    assert bool((unusual(255 - digits.test.images, network) == SWAPPED).float().mean() > 0.99)
    floats = 1 - digits.test.images.float() / 255
    assert torch.equal(unusual(floats, network), unusual(255 - digits.test.images, network))


def test_blank_bright_and_dark_images() -> None:
    noise = torch.randint(0, 20, (1, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = torch.cat([torch.full((1, *SHAPE), 255, dtype=torch.uint8), 235 + noise, noise, 118 + noise])
    assert unusual(images, looking(0.5, 0.2)).tolist() == [EMPTY, BRIGHTER, DARKER, 0]


def test_points_outside_the_data() -> None:
    network = Perception(torch.nn.Identity(), None, "ab", mean=torch.zeros(2), std=torch.ones(2))
    points = torch.tensor([[0.0, 3.0], [0.0, 30.0], [float("nan"), 0.0]])
    assert unusual(points, network).tolist() == [0, OUTSIDE, OUTSIDE]


def test_calls_warn_of_swapped_images(trained: Path, pairs: tuple[Tensor, Tensor]) -> None:
    predictor = Predictor.load(trained, device="cpu")
    with pytest.warns(NesyGediWarning, match="30 of 60 images seem to have dark and bright swapped"):
        found = predictor((255 - pairs[0], pairs[1]))
    assert bool(found.odd.all())
    assert bool(found.unsure.all())
    assert "image X: dark and bright are swapped" in found.doubts(0)[-1]
    assert warning_about([torch.zeros(3, dtype=torch.uint8)]) is None


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_saved_predictor_needs_nothing_else(pairs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    run = train_small(tmp_path / "run").run.path
    predictor = Predictor.load(run, device="cpu")
    expected = predictor(pairs)
    folder = predictor.save(tmp_path / "shipped" / "predictor")
    shutil.rmtree(run)
    found = Predictor.load(folder, device="cpu")(pairs)
    assert torch.equal(found.log_p, expected.log_p)
    assert torch.equal(found.symbols, expected.symbols)
    assert sorted(file.name for file in folder.iterdir()) == [
        *("predictor.json", "program.pl", "recipe.toml", "weights.safetensors"),
    ]
    assert [each.name for each in folder.parent.iterdir()] == ["predictor"]
    for file in folder.glob("*.*o*"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8", errors="replace")
    again = Predictor.load(folder, device="cpu").save(tmp_path / "again")
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_a_saved_predictor_says_what_it_is(saved: Path) -> None:
    about = json.loads((saved / "predictor.json").read_text(encoding="utf-8"))
    assert about["version"] == 1
    assert about["query"] == "addition(X, Y, Sum)"
    assert about["slots"] == ["X", "Y"]
    assert about["image_shapes"] == {"digit_net": [[1, 8, 8]]}
    assert about["answers"] == [str(k) for k in range(19)]
    assert about["networks"]["digit_net"]["domain"] == [str(k) for k in range(10)]
    assert about["trained"]["program"] == "addition.pl"
    assert 0 <= about["trained"]["metrics"]["answer_accuracy"] <= 1


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def change(path: Path, key: str, value: object) -> None:
    about = json.loads((path / "predictor.json").read_text(encoding="utf-8"))
    about[key] = value
    (path / "predictor.json").write_text(json.dumps(about), encoding="utf-8")


def other_weights(path: Path) -> None:
    """Weights of another network, whose checksum is right."""
    tensors = {f"{name}.old": tensor for name, tensor in load_file(path / "weights.safetensors").items()}
    save_file(tensors, path / "weights.safetensors")
    content = (path / "weights.safetensors").read_bytes()
    change(path, "weights_sha256", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: flip(path / "weights.safetensors"), "weights.safetensors is damaged: its checksum"),
        (lambda path: (path / "weights.safetensors").unlink(), "not complete: weights.safetensors is missing"),
        (lambda path: (path / "recipe.toml").unlink(), "not complete: recipe.toml is missing"),
        (other_weights, "does not fit the networks"),
        (lambda path: (path / "program.pl").write_text("p :- q.\nq."), "is not the program"),
        (lambda path: (path / "recipe.toml").write_text("seed = 1"), "recipe.toml has changed"),
        (lambda path: (path / "predictor.json").write_text("{"), "predictor.json is damaged"),
        (lambda path: (path / "predictor.json").write_text("[]"), "predictor.json is damaged"),
        (lambda path: (path / "predictor.json").write_text('{"version": 1}'), "it has no 'image_shapes'"),
        (lambda path: change(path, "version", 2), "is of version 2, this package reads version 1"),
        (lambda path: change(path, "image_shapes", {"digit_net": [[0]]}), "predictor.json is damaged"),
        (lambda path: change(path, "answers", ["1"]), "does not name the answers"),
    ],
    ids=[
        *("weights", "no-weights", "no-recipe", "other-weights", "program", "recipe", "json", "no-object", "key"),
        *("version", "shape", "answers"),
    ],
)
def test_damaged_folders(copy: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(copy)
    with pytest.raises(RunError) as caught:
        Predictor.load(copy, device="cpu")
    assert said in caught.value.message
    assert caught.value.where == str(copy)
    assert caught.value.hint


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        Predictor.load(tmp_path / "nothing")
    with pytest.raises(RunError, match="not a run folder"):
        Predictor.load(tmp_path)


def test_nothing_but_a_predictor_is_replaced(saved: Path, copy: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(saved, device="cpu")
    with pytest.raises(RunError, match="there is a predictor already"):
        predictor.save(copy)
    (copy / "old").touch()
    predictor.save(copy, force=True)
    assert not (copy / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(RunError, match="no predictor that could be replaced"):
        predictor.save(tmp_path / "mine", force=True)
    with pytest.raises(RunError, match="a file in the predictor's place"):
        predictor.save(tmp_path / "mine" / "file")
    (tmp_path / "empty").mkdir()
    assert predictor.save(tmp_path / "empty") == tmp_path / "empty"


def test_a_folder_that_cannot_be_written_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot save the predictor"):
        Predictor.load(saved, device="cpu").save(tmp_path / "file" / "below")
    assert not list(tmp_path.rglob("*.part"))


def test_an_encoder_of_ones_own_must_be_trusted(tmp_path: Path, digits: ImageSplits) -> None:
    run = train_small(tmp_path / "run", NOISY).run.path
    trusted = Predictor.load(run, trusted=True, device="cpu")
    folder = trusted.save(tmp_path / "predictor")
    for path in (run, folder):
        with pytest.raises(NesyGediError, match="trust"):
            Predictor.load(path, device="cpu")
        named = Predictor.load(path, device="cpu", encoders={"digit_net": "small_runs:noisy_encoder"})
        images = images_for(named, digits)
        assert torch.equal(named(images).log_p, trusted(images).log_p)
    with pytest.raises(UsageError, match="no network digit"):
        Predictor.load(folder, device="cpu", encoders={"digit": "conv"})


def test_an_ensemble_is_saved_with_all_members(tmp_path: Path, pairs: tuple[Tensor, Tensor]) -> None:
    run = train_small(tmp_path / "run", replace(SMALL, ensemble=EnsembleRecipe(2))).run.path
    predictor = Predictor.load(run, device="cpu")
    folder = predictor.save(tmp_path / "predictor")
    assert torch.equal(Predictor.load(folder, device="cpu")(pairs).log_p, predictor(pairs).log_p)


# -- what is asked -----------------------------------------------------------------------------------------------------

IMAGES = torch.zeros(2, *SHAPE, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "options", "kind", "said"),
    [
        ((IMAGES,), {}, UsageError, "takes images for X, Y; 1 given"),
        (IMAGES, {}, UsageError, "takes images for X, Y; 1 given"),
        ({"X": IMAGES}, {}, UsageError, "none given for Y"),
        ({"X": IMAGES, "Y": IMAGES, "Sum": IMAGES}, {}, UsageError, "Sum takes no image"),
        ((IMAGES, IMAGES[:1]), {}, UsageError, "not 2 for X, 1 for Y"),
        ((IMAGES, torch.zeros(2, 3, 8, 8)), {}, DataError, r"images of shape \(3, 8, 8\)"),
        ((IMAGES, IMAGES.long()), {}, DataError, "of type int64"),
        ((IMAGES, IMAGES), {"given": {"Sum": "3"}}, UsageError, "Sum is found by the program"),
        ((IMAGES, IMAGES), {"given": {"Z": "3"}}, UsageError, "Z is not given"),
        ((IMAGES, IMAGES), {"sure": 2.0}, UsageError, "a probability lies in 0..1"),
        ((IMAGES, IMAGES), {"batch_size": -1}, UsageError, "-1 queries at once"),
    ],
    ids=[*("one", "tensor", "missing", "unknown", "counts", "shape", "type"), *("answer", "given", "sure", "batch")],
)
def test_what_cannot_be_asked(saved: Path, images: object, options: dict, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Predictor.load(saved, device="cpu")(images, **options)  # type: ignore[arg-type]


def test_values_that_cannot_be_given(digits: ImageSplits) -> None:
    predictor = untrained("multi_addition")
    images = images_for(predictor, digits)
    with pytest.raises(UsageError, match="Z0 cannot be 11"):
        predictor(images, given={"Z0": "11"})
    with pytest.raises(UsageError, match="1 values of Z0 for 12 queries"):
        predictor(images, given={"Z0": ["1"]})
