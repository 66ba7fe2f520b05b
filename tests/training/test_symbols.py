"""Networks that begin as clusters: pretrained, assigned by the answers, and trained on."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_runs import addition, once, tensors, untimed
from small_symbols import (
    CLUSTERED,
    FOUR,
    OVERRIDES,
    Told,
    train_symbols,
    with_cotraining,
    with_network,
    with_overrides,
)
from torch import Tensor, nn

from nesy_gedi.concepts.assignment import assign
from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import Interrupted, NesyGediError, NesyGediWarning, RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.metrics.clustering import matched_accuracy
from nesy_gedi.networks.heads import ClusterHead
from nesy_gedi.training import assigning
from nesy_gedi.training.bundled import find_program
from nesy_gedi.training.diagnosis import diagnose_encoder
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.runs import ProgramRun, open_pretraining, open_run
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import Trained, evaluate, train

QUICK = with_overrides(
    stages__features__passes=1, stages__clusters__passes=2, stages__clusters__restarts=1, network__width=4
)
"""Its clusters are worth little."""


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run that nothing happened to."""
    return train_symbols(tmp_path_factory.mktemp("through") / "run")


@pytest.fixture(scope="module")
def clusters(through: Trained) -> Path:
    """The folder of its pretraining, with which a run takes no time."""
    return through.run.pretraining_folder / "digit_net"


def from_clusters(clusters: Path, recipe: Recipe = CLUSTERED, **changes: Any) -> Recipe:
    """Assigned, not trained on."""
    return replace(with_network(recipe, encoder=str(clusters), **changes), method="assignment")


def true_symbols(trained: Trained) -> Tensor:
    """Of the images of the test queries."""
    queries = trained.queries
    return trained.task.symbols("digit_net", queries.images)[queries.index.flatten()]


def seen(trained: Trained) -> Tensor:
    """The same images."""
    return trained.queries.images.images[trained.queries.index.flatten()]


# -- what is left ------------------------------------------------------------------------------------------------------


def test_one_run_folder_holds_everything(through: Trained) -> None:
    folder = through.run.path
    assert sorted(path.name for path in folder.iterdir()) == [
        "assignment.json", "checkpoints", "environment.json", "metrics.jsonl", "pretraining", "program.pl",
        "recipe.toml", "result.json",
    ]  # fmt: skip
    assert [path.name for path in through.run.pretraining_folder.iterdir()] == ["digit_net"]
    assert not [path for path in folder.rglob("*") if ".part" in path.name]
    assert [line["epoch"] for line in through.run.read_metrics()] == [1, 2]
    assert str(folder) not in through.run.assignment_file.read_text(encoding="utf-8")
    nested = open_pretraining(through.run.pretraining_folder / "digit_net")
    assert nested.result() is not None
    assert nested.recipe().data.classes == ("0", "1", "2", "3")


def test_the_recipe_says_what_was_done(through: Trained) -> None:
    recipe = through.run.recipe()
    assert recipe.method == "clusters"
    assert recipe.cotraining.objective == "gedi"
    assert recipe.cotraining.views == "neighbours"
    assert recipe.networks["digit_net"].clusters == 4


def test_the_document(through: Trained) -> None:
    document = through.document
    found = json.loads(through.run.assignment_file.read_text(encoding="utf-8"))
    assert document["method"] == "clusters"
    assert document["pretraining"] == {"digit_net": "pretraining/digit_net"}
    assert document["assignment"]["networks"] == found["networks"]
    assert sorted(found["networks"]["digit_net"]["map"]) == ["0", "1", "2", "3"]
    assert document["assignment"]["sentences"] == found["sentences"]
    assert found["sentences"][0].startswith("40 answers settle the assignment: the next best is ")
    assert (found["exact"], found["near_ties"], found["unlikely"], found["attempts"]) == (True, 1, False, 1)
    assert (found["answers"], found["labels"]) == (40, 0)
    assert document["best_epoch"] == 2
    assert through.document["metrics"]["concept_accuracy"] > 0.85


def test_of_many_images_fewer_answers_are_looked_at(through: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assigning, "IMAGES", 25)
    task = through.task
    splits, perception = through.splits, load_perception(through.run.pretraining_folder / "digit_net")
    inputs = assigning.AssignmentInputs(task, splits, {}, None, "cpu", (), Listener(), lambda: False)
    assert assigning.assign_clusters(inputs, {"digit_net": perception})["answers"] == 12  # of two images each


def test_times_add_up(through: Trained) -> None:
    spent = through.document["time"]
    parts = [spent[key] for key in ("network_s", "logic_s", "pretraining_s", "assignment_s")]
    assert all(part > 0 for part in parts)
    assert sum(parts) < spent["total_s"]
    nested = open_pretraining(through.run.pretraining_folder / "digit_net").result()
    assert nested is not None
    assert spent["pretraining_s"] == nested["time"]["total_s"]
    assert (spent["grounding_s"] > 0) is not through.task.reasoner.circuit.cached


def test_evaluate_needs_nothing_of_the_pretraining(through: Trained, tmp_path: Path) -> None:
    run = tmp_path / "moved"
    shutil.copytree(through.run.path, run, ignore=shutil.ignore_patterns("pretraining", "assignment.json"))
    document = evaluate(run, device="cpu").document
    assert document["metrics"] == through.document["metrics"]
    assert document["best_epoch"] == 2
    assert "digit_net" in diagnose_encoder(run, device="cpu")["networks"]


# -- the assignment ----------------------------------------------------------------------------------------------------


def test_the_network_begins_as_the_assigned_clusters(clusters: Path, tmp_path: Path) -> None:
    trained = train_symbols(tmp_path / "run", from_clusters(clusters))
    pretrained = load_perception(clusters)
    named = [int(symbol) for symbol in trained.document["assignment"]["networks"]["digit_net"]["map"]]
    with torch.no_grad():
        log_q, log_p = pretrained(seen(trained)), trained.networks["digit_net"](seen(trained))
    torch.testing.assert_close(log_p[:, named], log_q)
    truth, found = true_symbols(trained), log_q.argmax(1)
    aligned = matched_accuracy(truth, found, 4, 4)
    metrics = trained.document["metrics"]
    assert metrics["concept_accuracy"] == pytest.approx(aligned)
    assert metrics["concept_accuracy"] == metrics["aligned_concept_accuracy"]
    assert trained.document["best_epoch"] == 0
    assert trained.run.read_metrics() == []
    assert not trained.run.pretraining_folder.exists()
    assert evaluate(trained.run.path, device="cpu").document["metrics"] == metrics
    again = train_symbols(None, trained.run.recipe(), resume=trained.run.path)
    assert again.document == trained.document


@pytest.mark.parametrize("named", [[1, 2, 3, 0], [2, 0, 1, 3]])
def test_the_map_of_the_file_is_followed(named: list[int], clusters: Path, tmp_path: Path) -> None:
    run = train_symbols(tmp_path / "run", from_clusters(clusters)).run
    shutil.rmtree(run.path / "checkpoints")
    run.result_file.unlink()
    edit(lambda found: found["networks"]["digit_net"].update(map=[str(k) for k in named]))(run.assignment_file)
    trained = train_symbols(None, run.recipe(), resume=run.path)
    with torch.no_grad():
        log_q, log_p = load_perception(clusters)(seen(trained)), trained.networks["digit_net"](seen(trained))
    torch.testing.assert_close(log_p[:, named], log_q)


def test_more_clusters_than_symbols(tmp_path: Path) -> None:
    recipe = with_overrides(stages__clusters__passes=8, stages__settle__clusters=7)
    trained = train_symbols(tmp_path / "run", replace(recipe, method="assignment"))
    head = trained.networks["digit_net"].head
    assert isinstance(head, ClusterHead)
    mapped = trained.document["assignment"]["networks"]["digit_net"]["map"]
    assert len(mapped) == 7
    assert set(mapped) == {"0", "1", "2", "3"}
    with torch.no_grad():
        q = load_perception(trained.run.pretraining_folder / "digit_net")(seen(trained)).exp()
        p = trained.networks["digit_net"](seen(trained)).exp()
    for symbol in range(4):
        own = [k for k, name in enumerate(mapped) if int(name) == symbol]
        torch.testing.assert_close(p[:, symbol], q[:, own].sum(1), atol=1e-5, rtol=0.0)
    assert trained.document["metrics"]["concept_accuracy"] > 0.8
    assert evaluate(trained.run.path, device="cpu").document["metrics"] == trained.document["metrics"]
    on = from_clusters(trained.run.pretraining_folder / "digit_net")
    learned = train_symbols(tmp_path / "on", with_cotraining(replace(on, method="clusters"), epochs=1))
    assert learned.networks["digit_net"].state_dict()["head.log_map"].shape == (7, 4)
    assert evaluate(learned.run.path, device="cpu").document["metrics"] == learned.document["metrics"]


def test_each_network_of_several_is_assigned(shapes: ImageSplits, tmp_path: Path) -> None:
    """Of three shapes two are the same to the program, of three colours each is its own: one network has a cluster more
    than symbols, the other none."""
    found = find_program("crossing")
    small = {
        "data.limit": 400, "network.width": 4, "stages.features.epochs": 1, "stages.features.clusters": 32,
        "stages.features.output": 32, "stages.clusters.epochs": 1, "stages.clusters.restarts": 1,
        "stages.clusters.batch_size": 200, "stages.refine.epochs": 0, "stages.settle.epochs": 0,
    }  # fmt: skip
    overrides = {"method": "assignment", "data.train": 60, "data.validation": 8, "data.test": 40}
    recipe = load_recipe(
        found.recipe, overrides=overrides | {"pretraining.overrides": small, "pretraining.attempts": 1}
    )
    trained = train(Program.load(found.path), recipe, out=tmp_path / "run", device="cpu")
    maps = {name: each["map"] for name, each in trained.document["assignment"]["networks"].items()}
    assert sorted(maps["light_net"]) == ["amber", "green", "red"]
    assert len(maps["sign_net"]) == 3
    assert set(maps["sign_net"]) <= {"true", "false"}
    for name, slot in (("light_net", 0), ("sign_net", 1)):
        images = trained.queries.images.images[trained.queries.index[:, slot]]
        domain = trained.task.program.networks[name]
        with torch.no_grad():
            clusters = load_perception(trained.run.pretraining_folder / name)(images).argmax(1)
            symbols = trained.networks[name](images).argmax(1)
        expected = [domain.index(maps[name][k]) for k in clusters.tolist()]
        if name == "light_net":  # of several clusters of a symbol, the likeliest need not be in the likeliest symbol
            assert symbols.tolist() == expected
    assert evaluate(trained.run.path, device="cpu").document["metrics"] == trained.document["metrics"]


def test_values_that_are_given_are_taken_as_they_are(through: Trained, clusters: Path, tmp_path: Path) -> None:
    text = (
        "nn(digit_net, [X], D, [0..3]) :: digit(X, D).\nnn(target_net, [T], D, [0..6]) :: target(T, D).\n"
        "right(X, Y, T) :- digit(X, A), digit(Y, B), target(T, S), S is A + B.\n"
    )
    networks = {"digit_net": NetworkRecipe(encoder=str(clusters)), "target_net": NetworkRecipe(observed=True)}
    recipe = replace(CLUSTERED, query="right(X, Y, T)", networks=networks, method="assignment")
    document = train_symbols(tmp_path / "run", recipe, text).document
    assert (
        document["assignment"]["networks"]["digit_net"]["map"]
        == through.document["assignment"]["networks"]["digit_net"]["map"]
    )
    assert document["assignment"]["gap"] == pytest.approx(through.document["assignment"]["gap"], rel=1e-6)


# -- interrupted -------------------------------------------------------------------------------------------------------


def when(place: Callable[[], bool], number: int = 1) -> Callable[[], bool]:
    """A ``stop`` that says yes the ``number``-th time it is asked while ``place()`` holds, and never again."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += place()
        return asked == number and place()

    return stop


def places(run: Path) -> dict[str, tuple[Callable[[], bool], int, str]]:
    nested = run / "pretraining" / "digit_net"
    assigned = (run / "assignment.json").exists
    return {
        "in the first stage": (lambda: True, 3, "in epoch 1 after step 3"),
        "in the second stage": ((nested / "stages.json").exists, 5, "in epoch 2 after step 5"),
        "after the pretraining": ((nested / "result.json").exists, 1, "after the pretraining of digit_net"),
        "after the assignment": (assigned, 1, "after the assignment"),
        "in the co-training": (assigned, 3, "in epoch 1 after step 2"),
        "between its epochs": (assigned, 5, "after epoch 1"),
    }


@pytest.mark.parametrize("place", places(Path()))
def test_an_interrupted_run_ends_as_it_would_have(place: str, through: Trained, tmp_path: Path) -> None:
    begun, moved = tmp_path / "begun", tmp_path / "elsewhere" / "moved"
    holds, number, said = places(begun)[place]
    with pytest.raises(Interrupted) as caught:
        train_symbols(begun, stop=when(holds, number))
    assert caught.value.message == f"stopped {said}; everything is saved"
    assert caught.value.where == str(begun)
    assert caught.value.hint == f"nesy-gedi train --resume {begun}"
    assert not (begun / "result.json").exists()
    moved.parent.mkdir()
    begun.rename(moved)
    resumed = train_symbols(None, open_run(moved).recipe(), resume=moved)
    one, other = tensors(resumed.run, "last"), tensors(through.run, "last")
    assert one.keys() == other.keys()
    assert [name for name in other if not torch.equal(one[name], other[name])] == []
    assert untimed(resumed.run.read_metrics()) == untimed(through.run.read_metrics())
    assert untimed(resumed.document) == untimed(through.document)
    files = [json.loads(each.run.assignment_file.read_text(encoding="utf-8")) for each in (resumed, through)]
    assert untimed(files[0]) == untimed(files[1])
    nested = [open_pretraining(each.run.pretraining_folder / "digit_net") for each in (resumed, through)]
    assert untimed(nested[0].read_metrics()) == untimed(nested[1].read_metrics())
    spent = nested[0].result()
    assert spent is not None
    assert resumed.document["time"]["pretraining_s"] == spent["time"]["total_s"]


def test_stopping_after_all_is_done_just_finishes(clusters: Path, tmp_path: Path) -> None:
    assigned = tmp_path / "run" / "assignment.json"
    trained = train_symbols(tmp_path / "run", from_clusters(clusters), stop=when(assigned.exists))
    assert trained.run.result() == trained.document


def test_the_recipe_that_a_pretraining_was_made_from_may_change(tmp_path: Path) -> None:
    """Once begun, a pretraining goes by its own."""
    own = tmp_path / "own.toml"
    own.write_text(
        '[network]\nwidth = 4\n[stages.only]\nobjective = "gedi"\nepochs = 2\nbatch_size = 128\n', encoding="utf-8"
    )
    recipe = replace(CLUSTERED, method="assignment")
    recipe = replace(recipe, pretraining=replace(recipe.pretraining, recipe="own.toml", overrides={}))
    through = train_symbols(tmp_path / "through", recipe)
    with pytest.raises(Interrupted):
        train_symbols(tmp_path / "run", recipe, stop=once(3))
    own.unlink()
    resumed = train_symbols(None, open_run(tmp_path / "run").recipe(), resume=tmp_path / "run")
    one, other = tensors(resumed.run, "last"), tensors(through.run, "last")
    assert [name for name in other if not torch.equal(one[name], other[name])] == []


def flat_encoder() -> nn.Module:
    """A network of the user's own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU())


def test_an_encoder_of_ones_own_is_pretrained_where_it_is_trusted(tmp_path: Path) -> None:
    recipe = replace(with_network(QUICK, encoder="test_symbols:flat_encoder"), method="assignment")
    with pytest.raises(NesyGediError, match="names Python code as an encoder"):
        train_symbols(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()
    with pytest.raises(Interrupted) as caught:
        train_symbols(tmp_path / "run", recipe, stop=once(2), trusted_encoders=("digit_net",))
    assert str(caught.value.hint).endswith("--encoder digit_net=test_symbols:flat_encoder")
    resumed = train_symbols(
        None, open_run(tmp_path / "run").recipe(), resume=tmp_path / "run", trusted_encoders=("digit_net",)
    )
    assert resumed.networks["digit_net"].encoder[1].weight.shape == (24, 64)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_pretraining_that_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NesyGediError), pytest.warns(NesyGediWarning, match="back to the last good state"):
        train_symbols(tmp_path / "run", with_overrides(stages__features__learning_rate=1e30))
    assert not (tmp_path / "run").exists()


def test_what_was_pretrained_is_kept_when_co_training_fails(clusters: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        train_symbols(tmp_path / "run", replace(with_cotraining(QUICK, learning_rate=1e30)))
    assert "cotraining.learning_rate" in str(caught.value.hint)
    assert load_perception(tmp_path / "run" / "pretraining" / "digit_net").domain == tuple("0123")
    quick = replace(from_clusters(clusters, with_cotraining(learning_rate=1e30)), method="clusters")
    with pytest.raises(RunError):
        train_symbols(tmp_path / "other", quick)
    assert not (tmp_path / "other").exists()  # nothing in it took any time


def edit(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        found = json.loads(file.read_text(encoding="utf-8"))
        change(found)
        file.write_text(json.dumps(found), encoding="utf-8")

    return damage


def write(text: str) -> Callable[[Path], None]:
    return lambda file: Path(file).write_text(text, encoding="utf-8") and None


@pytest.mark.parametrize(
    "damage",
    [
        write("{"),
        write("[1]"),
        write("{}"),
        edit(lambda found: found.pop("networks")),
        edit(lambda found: found.pop("time")),
        edit(lambda found: found.update(time=3)),
        edit(lambda found: found.pop("pretraining")),
        edit(lambda found: found["networks"]["digit_net"].pop("map")),
        edit(lambda found: found["networks"]["digit_net"].update(map=[])),
        edit(lambda found: found["networks"]["digit_net"].update(map=["0", "1", "2", "7"])),
        edit(lambda found: found["networks"]["digit_net"].update(map=["0", "1", "2", "2"])),
        edit(lambda found: found["networks"]["digit_net"].update(map=3)),
        edit(lambda found: found["pretraining"].update(digit_net=3)),
    ],
)
def test_a_damaged_assignment(damage: Callable[[Path], None], through: Trained, tmp_path: Path) -> None:
    run = begun_copy(through, tmp_path)
    damage(run.assignment_file)
    before = run.assignment_file.read_bytes()
    with pytest.raises(RunError, match=r"assignment\.json is damaged") as caught:
        train_symbols(None, run.recipe(), resume=run.path)
    assert caught.value.where == str(run.path)
    assert "move it away" in str(caught.value.hint)
    assert run.assignment_file.read_bytes() == before


def begun_copy(through: Trained, tmp_path: Path) -> ProgramRun:
    """The run as it was before its first step on answers."""
    run = ProgramRun(tmp_path / "run")
    shutil.copytree(through.run.path, run.path, ignore=shutil.ignore_patterns("result.json", "metrics.jsonl"))
    shutil.rmtree(run.path / "checkpoints")
    shutil.copytree(through.run.pretraining_folder, run.pretraining_folder, dirs_exist_ok=True)  # with its result
    return run


def test_an_assignment_that_is_removed_is_found_again(through: Trained, tmp_path: Path) -> None:
    run = begun_copy(through, tmp_path)
    before = json.loads(run.assignment_file.read_text(encoding="utf-8"))
    run.assignment_file.unlink()
    resumed = train_symbols(None, run.recipe(), resume=run.path)
    assert untimed(json.loads(run.assignment_file.read_text(encoding="utf-8"))) == untimed(before)
    assert untimed(resumed.document) == untimed(through.document)


def test_clusters_that_are_gone_or_of_another_kind(through: Trained, clusters: Path, tmp_path: Path) -> None:
    run = begun_copy(through, tmp_path)
    shutil.rmtree(run.pretraining_folder)
    with pytest.raises(RunError, match="not a pretraining run") as caught:
        train_symbols(None, run.recipe(), resume=run.path)
    assert str(caught.value.where).endswith("pretraining/digit_net")
    for network in (
        NetworkRecipe(weights=str(clusters), head="clusters", clusters=5),
        NetworkRecipe(weights=str(clusters), head="clusters", clusters=4, features=0, width=16),
    ):
        recipe = replace(CLUSTERED, networks={"digit_net": network})
        with pytest.raises(RunError, match="fit the"):
            train_symbols(tmp_path / "other", recipe)
        assert not (tmp_path / "other").exists()


def test_a_run_does_not_replace_what_it_begins_from(through: Trained, tmp_path: Path) -> None:
    run = begun_copy(through, tmp_path)
    inside = from_clusters(run.pretraining_folder / "digit_net")
    with pytest.raises(RunError, match="lies in the folder that the run would replace") as caught:
        train_symbols(run.path, inside, force=True)
    assert caught.value.hint == "choose another --out"
    assert load_perception(run.pretraining_folder / "digit_net").domain == tuple("0123")
    train_symbols(tmp_path / "other", inside)


# -- more than one attempt ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "attempts"), [(-1.0, 2), (float("inf"), 1)])
def test_another_attempt_where_answers_are_unlikely(
    limit: float, attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "UNLIKELY", limit)
    recipe = replace(QUICK, method="assignment", pretraining=replace(QUICK.pretraining, attempts=2))
    told = Told()
    trained = train_symbols(tmp_path / "run", recipe, listener=told)
    found = json.loads(trained.run.assignment_file.read_text(encoding="utf-8"))
    folders = sorted(path.name for path in trained.run.pretraining_folder.iterdir())
    assert folders == ["digit_net", "digit_net-2"][:attempts]
    assert found["attempts"] == attempts
    assert found["unlikely"] == (attempts == 2)
    again = [sentence for sentence in told.sentences if "pretraining again" in sentence]
    assert len(again) == attempts - 1
    assert told.sentences[attempts:] == found["sentences"]  # those of the one that is kept, and said once
    seeds = {open_pretraining(trained.run.pretraining_folder / name).recipe().seed for name in folders}
    assert len(seeds) == attempts
    values = {
        name: train_symbols(None, from_clusters(trained.run.pretraining_folder / name)).document["assignment"]
        for name in folders
    }
    likelihood = {
        name: json.loads(Path(run).read_text(encoding="utf-8"))["log_likelihood"]
        for name, run in zip(
            values, sorted(Path("runs").glob("*/assignment.json"), key=lambda p: p.stat().st_mtime), strict=True
        )
    }
    assert found["pretraining"]["digit_net"] == f"pretraining/{max(likelihood, key=lambda name: likelihood[name])}"
    assert found["log_likelihood"] == pytest.approx(max(likelihood.values()))


def test_weights_that_are_given_are_not_made_again(
    clusters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "UNLIKELY", -1.0)
    recipe = replace(CLUSTERED, pretraining=replace(CLUSTERED.pretraining, attempts=3))
    trained = train_symbols(tmp_path / "run", from_clusters(clusters, recipe))
    found = json.loads(trained.run.assignment_file.read_text(encoding="utf-8"))
    assert (found["attempts"], found["time"]["pretraining_s"]) == (1, 0.0)
    assert found["pretraining"] == {"digit_net": str(clusters.resolve())}
    assert "The answers are unlikely under every assignment: clusters mix symbols" in " ".join(found["sentences"])


def test_what_answers_cost(clusters: Path, tmp_path: Path) -> None:
    trained = train_symbols(tmp_path / "run", from_clusters(clusters))
    found = json.loads(trained.run.assignment_file.read_text(encoding="utf-8"))
    splits = trained.task.queries(ImageSplits("digits", *both(trained)))
    pairs = torch.tensor([a + b for a, b in product(range(4), repeat=2)])
    chance = torch.tensor([(pairs == s).double().mean().log() for s in range(7)])
    sums = torch.tensor([int(trained.task.reasoner.answers[k]) for k in splits.train.answers])
    assert found["nats_an_answer"]["chance"] == pytest.approx(-float(chance[sums].mean()))
    assert found["nats_an_answer"]["certain"] == pytest.approx(0.0, abs=1e-9)
    # An answer that meets a misread image costs no more than by chance.
    assert 0.0 < found["nats_an_answer"]["best"] <= -found["log_likelihood"] / 40 + 1e-9


def both(trained: Trained) -> tuple[Any, Any]:
    from nesy_gedi.data import load_images

    images = load_images("digits")
    return images.train, images.test


def test_a_random_program_costs_its_own_randomness() -> None:
    text = (
        FOUR
        + "0.3 :: slip.\nnoisy(X, Y, S) :- addition(X, Y, S), \\+ slip.\nnoisy(X, Y, 9) :- addition(X, Y, _), slip.\n"
    )
    task = Task(addition(text), Recipe(query="noisy(X, Y, S)", networks={"digit_net": NetworkRecipe()}))
    sure = torch.nn.functional.one_hot(torch.arange(8) % 4, 4).double().log()
    log_q = {("digit_net", "X"): sure, ("digit_net", "Y"): sure.flip(0)}
    found = assign(task.reasoner, log_q, torch.zeros(8, dtype=torch.long))

    def observed(log_q: dict[tuple[str, ...], Tensor], answers: Tensor) -> assigning.Observed:
        return assigning.Observed(task, log_q, {}, answers)

    entropy = -(0.3 * torch.tensor(0.3).log() + 0.7 * torch.tensor(0.7).log())
    costs = assigning._costs(observed(log_q, torch.zeros(8, dtype=torch.long)), found)
    assert costs["certain"].tolist() == pytest.approx([float(entropy)] * 8)
    # Answers as they would be drawn, of clusters that are right and of some that say nothing about four images in ten.
    sums = torch.tensor([a + b for a, b in zip(range(4), reversed(range(4)), strict=True)]).repeat(25)
    slips = torch.arange(100) % 10 < 3
    drawn = torch.where(slips, task.reasoner.index(9), torch.tensor([task.reasoner.index(int(k)) for k in sums]))
    right = {("digit_net", "X"): sure[:4].repeat(25, 1), ("digit_net", "Y"): sure[:4].flip(0).repeat(25, 1)}
    blurred = {
        key: torch.where((torch.arange(100) % 5 < 2)[:, None], math.log(0.25), value) for key, value in right.items()
    }
    assert not assigning._unlikely(**assigning._costs(observed(right, drawn), found))
    assert assigning._unlikely(**assigning._costs(observed(blurred, drawn), found))


def test_a_few_images_misread_with_confidence_do_not_make_answers_unlikely() -> None:
    chance, certain = torch.full((30,), 2.8), torch.zeros(30)
    few, many = torch.full((30,), 0.05), torch.full((30,), 0.05)
    few[:3] = 2.8  # no answer costs more than chance
    many[:12] = 2.8
    assert not assigning._unlikely(few, certain, chance)
    assert assigning._unlikely(many, certain, chance)
    assert not assigning._unlikely(many[:3], certain[:3], chance[:3] * 0.0)  # answers say nothing
    # Two of five say little: that many are misread now and then by clusters that are right.
    assert not assigning._unlikely(torch.tensor([2.8, 2.8, 0.0, 0.0, 0.0]), torch.zeros(5), torch.full((5,), 2.8))
    assert assigning._unlikely(torch.full((5,), 2.8), torch.zeros(5), torch.full((5,), 2.8))


# -- few answers, and labels -------------------------------------------------------------------------------------------


def few(clusters: Path, count: int, *labels: str) -> Recipe:
    recipe = from_clusters(clusters, labels=labels)
    return replace(recipe, data=replace(recipe.data, train=count))


def test_what_answers_leave_open_is_said_and_labels_settle_it(clusters: Path, tmp_path: Path) -> None:
    told = Told()
    trained = train_symbols(tmp_path / "open", few(clusters, 2), listener=told)
    found = json.loads(trained.run.assignment_file.read_text(encoding="utf-8"))
    assert found["near_ties"] > 1
    assert "groundings fit the training answers" in told.sentences[0]
    assert "2 answers do not settle what every cluster is" in told.sentences[1]
    assert told.sentences[1:] == found["sentences"]
    asked = found["labels_to_ask"]
    assert asked
    pool = trained.task.queries(ImageSplits("digits", *both(trained))).pool
    with torch.no_grad():
        q = load_perception(clusters)(pool.images).exp()
    mapping = found["networks"]["digit_net"]["map"]
    for label in asked:
        own = q[:, label["cluster"]]
        assert own[label["typical"]].tolist() == pytest.approx(own.topk(assigning.TYPICAL).values.tolist())
        assert label["symbols"][0] == mapping[label["cluster"]]
        assert len(set(label["symbols"])) == len(label["symbols"]) > 1
    query = found["query_to_ask"]
    assert set(query) == {"query", "inputs", "answers", "settles", "sentence"}
    assert len(query["answers"]) == found["near_ties"]
    symbols = [each["symbol"] for each in query["inputs"]]
    assert symbols == [mapping[each["cluster"]] for each in query["inputs"]]
    assert query["answers"][0] == str(sum(map(int, symbols)))  # what the assignment itself expects
    assert set(found["alternatives"]) < set(found["sentences"])
    settled = train_symbols(tmp_path / "settled", few(clusters, 2, "0=2", "1=2", "2=2", "3=2"))
    document = settled.document["assignment"]
    assert document["near_ties"] == 1
    assert document["sentences"][0].startswith("2 answers and 8 labels settle the assignment")
    assert settled.document["metrics"]["concept_accuracy"] > 0.85


def sure_images(trained: Trained, symbol: int, count: int) -> list[str]:
    """Files of test images that the network is most certain of."""
    images = trained.queries.images.images
    with torch.no_grad():
        best = trained.networks["digit_net"](images)[:, symbol].argsort(descending=True)[:count].tolist()
    names = []
    for k in best:
        names.append(f"{symbol}-{k}.png")
        Image.fromarray(images[k, 0].numpy()).save(names[-1])
    return names


def test_a_label_that_contradicts_many_answers_is_named(through: Trained, clusters: Path, tmp_path: Path) -> None:
    labels = [f"3={name}" for name in sure_images(through, 2, 2)] + ["0=1"]
    told = Told()
    document = train_symbols(tmp_path / "run", from_clusters(clusters, labels=tuple(labels)), listener=told).document
    assert document["assignment"]["networks"] == {
        "digit_net": {
            **through.document["assignment"]["networks"]["digit_net"],
            "runner_up": document["assignment"]["networks"]["digit_net"]["runner_up"],
        }
    }
    assert (
        "2 of 3 labels disagree with the assignment, whose clusters say: 2 (told to be 3). Check the labels and the program."
        in told.sentences
    )


def test_labels_that_outweigh_the_answers_contradict_them(through: Trained, clusters: Path, tmp_path: Path) -> None:
    swapped = [f"{5 - symbol}={name}" for symbol in (2, 3) for name in sure_images(through, symbol, 12)]
    document = train_symbols(tmp_path / "run", few(clusters, 8, *swapped)).document["assignment"]
    said = [sentence for sentence in document["sentences"] if sentence.startswith("The labels contradict the answers")]
    assert len(said) == 1
    assert "Check the labels and the program" in said[0]
    mapped = dict(
        zip(
            through.document["assignment"]["networks"]["digit_net"]["map"],
            document["networks"]["digit_net"]["map"],
            strict=True,
        )
    )
    assert (mapped["2"], mapped["3"]) == ("3", "2")


def test_labels_that_agree_are_not_mentioned(clusters: Path, tmp_path: Path) -> None:
    document = train_symbols(tmp_path / "run", from_clusters(clusters, labels=("0=1", "1=1"))).document["assignment"]
    assert len(document["sentences"]) == 1
    assert document["sentences"][0].startswith("40 answers and 2 labels settle the assignment")


def test_several_networks_names_are_folders_inside_the_run(tmp_path: Path) -> None:
    text = FOUR.replace("digit_net", f"'{tmp_path}/x y'")
    recipe = replace(QUICK, networks={}, method="assignment", data=DataRecipe(train=10, validation=4, test=4))
    recipe = replace(
        recipe, pretraining=replace(recipe.pretraining, overrides={**OVERRIDES, **recipe.pretraining.overrides})
    )
    trained = train_symbols(tmp_path / "run", recipe, text)
    (folder,) = trained.run.pretraining_folder.iterdir()
    assert folder.name.endswith("x%20y%27")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "circuit-cache"}
