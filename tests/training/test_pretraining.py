"""Pretraining as a whole: what it writes, what it depends on, what it refuses, and how it answers divergence."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_pretraining import (
    DIGITS,
    FEATURES,
    POINTS,
    REFINE,
    STEPS,
    copies,
    pretrain_small,
    with_objective,
    with_stage,
)
from small_runs import once, tensors, untimed
from torch import Tensor

from nesy_gedi.data import ImageSet, ImageSplits
from nesy_gedi.data.image_sets import Labels
from nesy_gedi.errors import DataError, Interrupted, NesyGediWarning, RecipeError, RunError, UsageError
from nesy_gedi.objectives import OBJECTIVES, Byol
from nesy_gedi.training import encoder_stage, loop, preparation
from nesy_gedi.training.encoder_stage import EncoderStage
from nesy_gedi.training.loop import Listener, cosine
from nesy_gedi.training.pretrain_recipe import EncoderRecipe, PretrainRecipe
from nesy_gedi.training.pretrained import load_perception
from nesy_gedi.training.pretraining import Pretrained
from nesy_gedi.training.runs import open_pretraining


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return pretrain_small(tmp_path_factory.mktemp("through") / "run")


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- what comes out ----------------------------------------------------------------------------------------------------

CONTRACT = {"version", "objective", "run", "seed", "data", "metrics", "collapse", "warnings", "stages", "time"}
METRICS = {"aligned_accuracy", "ami", "nmi", "nmi_random", "linear_probe"}
COLLAPSE = {"center", "effective_rank", "code_usage", "intracluster"}


def check_document(pretrained: Pretrained, recipe: PretrainRecipe) -> None:
    document = json.loads(json.dumps(pretrained.document))
    assert document.keys() >= CONTRACT
    assert (document["version"], document["objective"], document["seed"]) == (1, recipe.objective, recipe.seed)
    assert (document["data"], document["run"]) == (recipe.data.source, str(pretrained.run.path))
    assert document["metrics"].keys() >= METRICS
    assert document["collapse"].keys() >= COLLAPSE
    numbers = [*document["metrics"].values(), *document["collapse"].values()]
    assert all(math.isfinite(number) for number in numbers)
    assert 0.0 <= document["metrics"]["aligned_accuracy"] <= 1.0
    assert list(document["stages"]) == list(recipe.active_stages())
    assert pretrained.run.result() == pretrained.document


def test_nothing_that_takes_long_is_left_out_of_the_time(tmp_path: Path) -> None:
    began = time.perf_counter()
    spent = pretrain_small(tmp_path / "run").document["time"]
    wall = time.perf_counter() - began
    assert min(spent["preparation_s"], spent["measuring_s"], spent["network_s"], spent["validation_s"]) > 0
    assert 0.7 * wall < spent["total_s"] <= wall
    assert sum(spent.values()) - spent["total_s"] < spent["total_s"]  # the parts do not overlap


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective(tmp_path: Path, name: str) -> None:
    recipe = with_stage(with_objective(name), "features", epochs=4, learning_rate=0.001)
    pretrained = pretrain_small(tmp_path / "run", recipe)
    check_document(pretrained, recipe)
    lines = pretrained.run.read_metrics()
    losses = [line["train_loss"] for line in lines if line["stage"] == "features"]
    assert all(math.isfinite(loss) for loss in losses)
    for line in lines:
        assert line["train_loss"] == pytest.approx(sum(line["terms"].values()), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["falcon", "swav", "simsiam", "dissl", "cissl", "simclr", "byol", "barlow_twins"])
def test_the_loss_falls(tmp_path: Path, name: str) -> None:
    recipe = with_stage(with_objective(name), "features", epochs=16, learning_rate=0.01, hidden=32, output=32)
    losses = [line["train_loss"] for line in pretrain_small(tmp_path / "run", recipe).run.read_metrics()]
    assert sum(losses[12:16]) < sum(losses[:4])


def test_the_generative_term(tmp_path: Path) -> None:
    pretrained = pretrain_small(tmp_path / "run", POINTS)
    check_document(pretrained, POINTS)
    stage = pretrained.document["stages"]["features"]
    assert 0.0 <= stage["outlier_auroc"] <= 1.0
    assert load_file(pretrained.run.samples_file)["samples"].shape == (64, 2)
    assert all(line["terms"].keys() >= {"generative", "magnitude"} for line in pretrained.run.read_metrics())


def test_lines_are_one_an_epoch_with_stages_in_order(tmp_path: Path) -> None:
    class Recorder(Listener):
        def __init__(self) -> None:
            self.lines: list[dict[str, Any]] = []
            self.steps: list[tuple[int, int, int]] = []
            self.ends: list[str] = []

        def started(self, facts: dict[str, Any]) -> None:
            self.ends.append("started")
            assert facts["epochs"] == 5
            assert list(facts["stages"]) == ["features", "clusters", "refine"]

        def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
            self.steps.append((epoch, step, steps))

        def epoch(self, line: dict[str, Any]) -> None:
            self.lines.append(line)

        def finished(self) -> None:
            self.ends.append("finished")

    recipe = replace(DIGITS, stages={**DIGITS.stages, "refine": REFINE})
    recorder = Recorder()
    run = pretrain_small(tmp_path / "run", recipe, listener=recorder).run
    lines = run.read_metrics()
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["stage"] for line in lines] == ["features"] * 2 + ["clusters"] * 2 + ["refine"]
    assert [line["rollbacks"] for line in lines] == [0] * 5
    assert lines == recorder.lines
    assert recorder.steps == [(epoch, step, STEPS) for epoch in range(1, 6) for step in range(1, STEPS + 1)]
    assert recorder.ends == ["started", "finished"]
    # Each stage has its own schedule.
    last = (2 * STEPS - 1) / (2 * STEPS)
    rates = [cosine(0.003, last), cosine(0.03, last), cosine(0.001, (STEPS - 1) / STEPS)]
    assert [lines[k]["learning_rate"] for k in (1, 3, 4)] == pytest.approx(rates)


def test_every_image_once_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    views = EncoderStage.views

    def recording(stage: EncoderStage, rows: Tensor, neighbours: Tensor | None) -> tuple[Tensor, Tensor]:
        seen.append(rows)
        return views(stage, rows, neighbours)

    monkeypatch.setattr(EncoderStage, "views", recording)
    run = pretrain_small(tmp_path / "run", with_stage(DIGITS, "features", passes=3)).run
    assert len(seen) == 2 * 3 * STEPS
    for epoch in (seen[: 3 * STEPS], seen[3 * STEPS :]):
        images = torch.cat(epoch) % DIGITS.data.limit
        assert torch.bincount(images).tolist() == [3] * DIGITS.data.limit
    assert [line["stage"] for line in run.read_metrics()] == ["features"] * 2 + ["clusters"] * 2


def test_the_perception_is_what_was_measured(through: Pretrained) -> None:
    loaded = load_perception(through.run.path)
    assert equal(loaded.state_dict(), through.perception.state_dict())
    assert loaded.domain == tuple("0123456789")
    assert not loaded.training
    test = through.images.test
    with torch.no_grad():
        predicted = loaded(test.images).argmax(1)
    truth = test.labels["class"].index
    counts = torch.zeros(10, 10)
    counts.index_put_((truth, predicted), torch.ones(len(truth)), accumulate=True)
    assert through.document["metrics"]["majority_accuracy"] == pytest.approx(float(counts.amax(0).sum()) / len(truth))
    last = through.document["stages"]["clusters"]
    assert last["aligned_accuracy"] == pytest.approx(through.document["metrics"]["aligned_accuracy"], abs=0.01)


def test_clusters_of_another_number(tmp_path: Path) -> None:
    pretrained = pretrain_small(tmp_path / "run", with_stage(DIGITS, "clusters", clusters=15))
    assert pretrained.document["clusters"] == len(pretrained.perception.domain) == 15
    assert load_perception(pretrained.run.path)(pretrained.images.test.images[:3]).shape == (3, 15)


def test_a_stage_without_epochs_keeps_what_was_fitted(tmp_path: Path) -> None:
    pretrained = pretrain_small(tmp_path / "run", with_stage(DIGITS, "clusters", initial="kmeans", epochs=0))
    assert [line["stage"] for line in pretrained.run.read_metrics()] == ["features"] * 2
    assert list(pretrained.document["stages"]) == ["features", "clusters"]
    assert pretrained.document["metrics"]["aligned_accuracy"] > 0.2  # of ten digits, not of chance


def test_gedis_own_clusters_may_be_the_result(tmp_path: Path) -> None:
    recipe = replace(
        with_objective("gedi"),
        stages={"features": replace(FEATURES, clusters=10, constants={"temperature": 0.3})},
    )
    pretrained = pretrain_small(tmp_path / "run", recipe)
    own, final = pretrained.document["stages"]["features"], pretrained.document["metrics"]
    assert own["aligned_accuracy"] == pytest.approx(final["aligned_accuracy"], abs=0.01)
    assert own["ami"] == pytest.approx(final["ami"], abs=0.01)


# -- what it depends on ------------------------------------------------------------------------------------------------


def relabelled(images: ImageSet) -> ImageSet:
    labels = images.labels["class"]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    return ImageSet(images.images, {"class": Labels(labels.classes, labels.index[order])})


@pytest.mark.parametrize("recipe", [DIGITS, POINTS], ids=["digits", "points"])
def test_labels_are_only_measured_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: PretrainRecipe) -> None:
    one = pretrain_small(tmp_path / "one", recipe)
    load = preparation.load_images

    def other_labels(*arguments: Any, **named: Any) -> ImageSplits:
        found = load(*arguments, **named)
        return ImageSplits(found.name, relabelled(found.train), relabelled(found.test))

    monkeypatch.setattr(preparation, "load_images", other_labels)
    other = pretrain_small(tmp_path / "other", recipe)
    assert equal(load_file(one.run.perception_file), load_file(other.run.perception_file))
    assert equal(tensors(one.run, "last"), tensors(other.run, "last"))
    assert one.document["collapse"] == other.document["collapse"]
    assert one.document["metrics"]["linear_probe"] > other.document["metrics"]["linear_probe"] + 0.1
    lines = [[line["train_loss"] for line in each.run.read_metrics()] for each in (one, other)]
    assert lines[0] == lines[1]


def test_the_same_seed_is_the_same_run(tmp_path: Path, through: Pretrained) -> None:
    torch.rand(5)
    again = pretrain_small(tmp_path / "again")
    assert equal(load_file(again.run.perception_file), load_file(through.run.perception_file))
    assert untimed(again.document) == untimed(through.document)
    assert untimed(again.run.read_metrics()) == untimed(through.run.read_metrics())


def test_another_seed_is_another_run(tmp_path: Path, through: Pretrained) -> None:
    other = pretrain_small(tmp_path / "other", replace(DIGITS, seed=4))
    assert not torch.equal(other.images.train.images, through.images.train.images)
    name = next(iter(through.perception.encoder.state_dict()))
    assert not torch.equal(other.perception.encoder.state_dict()[name], through.perception.encoder.state_dict()[name])


@pytest.mark.parametrize("recipe", [DIGITS, POINTS], ids=["digits", "points"])
def test_the_largest_seed_trains(tmp_path: Path, recipe: PretrainRecipe) -> None:
    recipe = replace(recipe, seed=2**63 - 1)
    check_document(pretrain_small(tmp_path / "run", recipe), recipe)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("recipe", [with_objective("swav"), POINTS], ids=["digits", "points"])
def test_other_precisions(tmp_path: Path, recipe: PretrainRecipe, precision: str) -> None:
    recipe = replace(recipe, precision=precision)
    pretrained = pretrain_small(tmp_path / "run", recipe)
    check_document(pretrained, recipe)
    # What comes out is used at any precision, and saved as it is.
    assert all(parameter.dtype == torch.float32 for parameter in pretrained.perception.parameters())
    assert equal(load_perception(pretrained.run.path).state_dict(), pretrained.perception.state_dict())


# -- refused -----------------------------------------------------------------------------------------------------------


def network(**changes: Any) -> PretrainRecipe:
    return replace(DIGITS, network=EncoderRecipe(**changes))


def data(**changes: Any) -> PretrainRecipe:
    return replace(DIGITS, data=replace(DIGITS.data, **changes))


REFUSED: dict[str, tuple[PretrainRecipe, str, str | None, str]] = {
    "an attribute that is not there": (
        data(attribute="clas"),
        "digits has no attribute clas",
        "data.attribute",
        "did you mean class?",
    ),
    "more images than there are": (data(limit=10**6), "digits has 1437 training images", "data.limit", ""),
    "a batch of one": (
        with_stage(DIGITS, "features", batch_size=1),
        "falcon: batch_size cannot be 1",
        "stages.features",
        "",
    ),
    "a last batch of one": (
        with_stage(replace(with_objective("simclr"), data=replace(DIGITS.data, limit=33)), "features", batch_size=2),
        "simclr needs batches of at least 2",
        "stages.features.batch_size",
        "raise it",
    ),
    "too many neighbours": (
        with_stage(DIGITS, "clusters", neighbours=96),
        "96 images do not have 96 neighbours each",
        "stages.clusters.neighbours",
        "lower it",
    ),
    "more clusters than k-means has images": (
        with_stage(DIGITS, "clusters", initial="kmeans", clusters=97),
        "k-means cannot find 97 clusters in 96 images",
        "stages.clusters.clusters",
        "lower it, or use more images",
    ),
    "an unknown precision": (
        replace(DIGITS, precision="fp99"),
        "cannot compute with precision fp99",
        "precision",
        "32-true",
    ),
    "an unknown constant": (
        with_stage(DIGITS, "clusters", constants={"prior_weigth": 1.0}),
        "gedi has no constant prior_weigth",
        "stages.clusters.constants",
        "did you mean prior_weight?",
    ),
    "a constant of another type": (
        with_stage(DIGITS, "clusters", constants={"prior_weight": "high"}),
        "gedi's constant prior_weight is of type float, not 'high'",
        "stages.clusters.constants",
        "",
    ),
    "a part of a queue": (
        with_stage(with_objective("swav"), "features", constants={"queue": 40.0}),
        "swav's constant queue is of type int, not 40.0",
        "stages.features.constants",
        "",
    ),
    "a prior that is no distribution": (
        with_stage(DIGITS, "clusters", prior=(0.5,) * 10),
        "a prior that is not a distribution",
        "stages.clusters",
        "uniform prior",
    ),
    "a prior of an objective without": (
        with_stage(with_objective("simclr"), "features", prior=(0.5, 0.5)),
        "simclr has no prior",
        "stages.features.prior",
        "leave it out",
    ),
    "a head by another objective": (
        with_stage(DIGITS, "clusters", objective="simclr"),
        "simclr cannot train a linear clustering head",
        "stages.clusters.objective",
        "use gedi",
    ),
    "energies with batch statistics": (
        with_stage(with_objective("gedi"), "features", constants={"generative": 1.0}),
        "the generative term needs an encoder without batch normalisation",
        "network",
        'set network.normalisation = "none"',
    ),
    "points for a convolution": (
        replace(POINTS, network=EncoderRecipe()),
        "the encoder conv takes images",
        None,
        'encoder = "mlp"',
    ),
    "an encoder without features": (
        network(encoder="mlp", features=0),
        "the encoder mlp cannot have 0 features",
        None,
        "choose at least 1",
    ),
    "an encoder that returns a map": (
        network(encoder="small_pretraining:map_encoder"),
        r"the encoder returns features of shape \(2, 4, 6, 6\)",
        "encoder small_pretraining:map_encoder",
        "torch.nn.Flatten()",
    ),
    "a teacher in steps too small for it": (
        replace(with_objective("byol"), precision="bf16-true"),
        "the teacher of byol moves in steps too small for bf16-true",
        "precision",
        "bf16-mixed",
    ),
    "restarts that cannot be ranked": (
        with_stage(with_objective("byol"), "features", restarts=2),
        "restarts cannot be ranked by byol",
        "stages.features.restarts",
        "",
    ),
    "restarts from one head": (
        with_stage(DIGITS, "clusters", initial="previous"),
        "restarts from the same head would all be the same",
        "stages.clusters.restarts",
        "",
    ),
    "an unknown encoder": (network(encoder="konv"), "there is no encoder konv", None, "conv"),
    "no stages": (replace(DIGITS, stages={}), "the recipe has no stages", "stages", "add a table"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_made(tmp_path: Path, case: str) -> None:
    recipe, message, where, hint = REFUSED[case]
    with pytest.raises(UsageError, match=message) as caught:
        pretrain_small(tmp_path / "run", recipe, trusted=True)
    assert caught.value.where == where
    assert hint in str(caught.value.hint or "")
    assert not (tmp_path / "run").exists()


def test_an_encoder_in_python_needs_trust(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the recipe names Python code"):
        pretrain_small(tmp_path / "run", network(encoder="small_pretraining:constant_encoder"))


def test_data_with_one_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = preparation.load_images

    def one_class(*arguments: Any, **named: Any) -> ImageSplits:
        found = load(*arguments, **named)
        parts = (found.train, found.test)
        same = [ImageSet(p.images, {"class": Labels(("all",), torch.zeros(len(p)).long())}) for p in parts]
        return ImageSplits(found.name, *same)

    monkeypatch.setattr(preparation, "load_images", one_class)
    with pytest.raises(DataError, match="digits has one class of class: there is nothing to tell apart"):
        pretrain_small(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_clusters_of_nothing_before(tmp_path: Path) -> None:
    recipe = with_stage(replace(DIGITS, stages={"features": FEATURES, "refine": REFINE}), "features", epochs=1)
    with pytest.raises(RecipeError, match="cannot go on with the head of the stage before"):
        pretrain_small(tmp_path / "run", recipe)
    recipe = with_stage(with_objective("simclr"), "clusters", initial="previous", restarts=1)
    with pytest.raises(RecipeError, match="the stage before has no distribution over 10 clusters"):
        pretrain_small(tmp_path / "other", recipe)


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    run = pretrain_small(tmp_path / "run").run
    with pytest.raises(RunError, match="the folder exists"):
        pretrain_small(run.path)
    replaced = pretrain_small(run.path, replace(DIGITS, seed=4), force=True)
    assert replaced.run.recipe().seed == 4


def test_a_run_that_failed_at_once_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EncoderStage, "begin", fail)
    with pytest.raises(KeyboardInterrupt):
        pretrain_small(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_has_no_perception(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain_small(tmp_path / "run", stop=once(2))
    with pytest.raises(RunError, match="the pretraining is not finished") as caught:
        load_perception(tmp_path / "run")
    assert f"nesy-gedi pretrain --resume {tmp_path / 'run'}" in str(caught.value.hint)


# -- divergence --------------------------------------------------------------------------------------------------------


def whole(run: Any) -> bool:
    """Whether everything in the last checkpoint is finite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors(run, "last").values() if tensor.is_floating_point())


class Broken:
    """BYOL's terms, multiplied at some training steps, with the weights before each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, factor: float, steps: set[int]) -> None:
        self.calls = 0
        self.weights: list[dict[str, Tensor]] = []
        self.rates: list[float] = []
        terms, step = Byol._terms, EncoderStage.step

        def broken(objective: Byol, *arguments: Any, **outputs: Any) -> dict[str, Tensor]:
            self.calls += 1
            found = terms(objective, *arguments, **outputs)
            return {n: term * factor for n, term in found.items()} if self.calls in steps else found

        def recording(stage: EncoderStage, rows: Tensor, optimizer: Any, *arguments: Any) -> dict[str, float]:
            self.weights.append(copies(stage.state))
            self.rates.append(optimizer.param_groups[0]["lr"])
            return step(stage, rows, optimizer, *arguments)

        monkeypatch.setattr(Byol, "_terms", broken)
        monkeypatch.setattr(EncoderStage, "step", recording)


@pytest.mark.parametrize(("factor", "told"), [(math.nan, "the loss became nan"), (1e12, r"the loss became .*e\+12")])
def test_a_diverged_loss_goes_back_with_half_the_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, told: str
) -> None:
    recipe = with_objective("byol")
    broken = Broken(monkeypatch, factor, {STEPS + 2})
    with pytest.warns(NesyGediWarning) as caught:
        run = pretrain_small(tmp_path / "run", recipe).run
    ending = r"back to the last good state, after epoch 1 and step 0, with half the learning rate \(1 of 3 times\)"
    (warning,) = (str(each.message) for each in caught if issubclass(each.category, NesyGediWarning))
    assert re.fullmatch(f"{told}: {ending}", warning)
    # Steps 1-3, then 4, the broken 5, and again from the weights before 4.
    assert broken.calls == 2 * STEPS + 2
    assert equal(broken.weights[STEPS + 2], broken.weights[STEPS])
    assert not equal(broken.weights[STEPS + 1], broken.weights[STEPS])
    rate = recipe.stages["features"].learning_rate
    shares = [0, 1, 2, 3, 4, 3, 4, 5]
    halves = [1.0] * 5 + [0.5] * 3
    expected = [half * cosine(rate, share / (2 * STEPS)) for share, half in zip(shares, halves, strict=True)]
    assert broken.rates == pytest.approx(expected)
    lines = run.read_metrics()
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["rollbacks"] for line in lines] == [0, 1, 0, 0]
    assert all(math.isfinite(line["train_loss"]) for line in lines)
    assert whole(run)


def test_new_views_are_drawn_after_going_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same views again would diverge again."""
    broken = Broken(monkeypatch, math.nan, {STEPS + 1})
    seen = []
    views = EncoderStage.views

    def recording(*arguments: Any) -> tuple[Tensor, Tensor]:
        found = views(*arguments)
        seen.append(found[0])
        return found

    monkeypatch.setattr(EncoderStage, "views", recording)
    with pytest.warns(NesyGediWarning):
        pretrain_small(tmp_path / "run", with_objective("byol"))
    assert equal(broken.weights[STEPS], broken.weights[STEPS + 1])
    assert not torch.equal(seen[STEPS], seen[STEPS + 1])


def test_a_loss_that_always_diverges_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = with_objective("byol")
    with monkeypatch.context() as patch:
        broken = Broken(patch, math.inf, set(range(STEPS + 2, 100)))
        with (
            pytest.raises(RunError, match="the loss became inf") as caught,
            pytest.warns(NesyGediWarning, match="3 of 3 times"),
        ):
            pretrain_small(tmp_path / "run", recipe)
        assert broken.calls == STEPS + 2 + 3
    assert "lower stages.features.learning_rate" in str(caught.value.hint)
    run = open_pretraining(tmp_path / "run")
    assert whole(run)
    assert run.checkpoints.load("last").state["rollbacks"] == 3
    assert [line["epoch"] for line in run.read_metrics()] == [1]
    assert run.result() is None
    resumed = pretrain_small(None, recipe, resume=run.path)  # once the cause is gone
    assert [line["rollbacks"] for line in resumed.run.read_metrics()] == [0, 3, 0, 0]


FAST = 0.00123
"""Learning rate of a stage that is much too fast in the second half of its steps."""

TOO_FAST: dict[str, PretrainRecipe] = {
    "outputs": with_stage(DIGITS, "features", learning_rate=FAST),
    "a head": with_stage(DIGITS, "clusters", learning_rate=FAST),
    "samples": with_stage(POINTS, "features", learning_rate=FAST),
    "the last step": with_stage(DIGITS, "features", learning_rate=FAST, batch_size=96),
}


@pytest.mark.parametrize("case", TOO_FAST)
def test_steps_that_break_weights_never_reach_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    rates = {FAST * 0.5**taken for taken in range(4)}
    monkeypatch.setattr(
        loop, "cosine", lambda initial, share: 1e30 if initial in rates and share >= 0.5 else cosine(initial, share)
    )
    with pytest.raises(RunError) as caught, pytest.warns(NesyGediWarning, match="3 of 3 times"):
        pretrain_small(tmp_path / "run", TOO_FAST[case])
    assert "learning" in str(caught.value.hint)
    run = open_pretraining(tmp_path / "run")
    assert whole(run)
    assert len(run.read_metrics()) == (3 if case == "a head" else 1)


def test_a_run_that_diverges_before_its_first_epoch_is_over_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError), pytest.warns(NesyGediWarning, match="3 of 3 times"):
        pretrain_small(tmp_path / "run", with_stage(DIGITS, "features", learning_rate=1e30))
    assert not (tmp_path / "run").exists()


def test_a_sampler_that_diverged_goes_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, energy = 0, encoder_stage.energy

    def broken(logits: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return energy(logits) * (math.nan if calls == 9 else 1.0)

    monkeypatch.setattr(encoder_stage, "energy", broken)
    recipe = with_stage(POINTS, "features", restarts=1)
    with pytest.warns(NesyGediWarning, match=r"the sampler diverged: .*: back to the last good state, after epoch 1"):
        run = pretrain_small(tmp_path / "run", recipe).run
    assert [line["rollbacks"] for line in run.read_metrics()] == [0, 1]
    assert whole(run)


# -- collapse ----------------------------------------------------------------------------------------------------------


def test_features_that_see_nothing_are_told(tmp_path: Path) -> None:
    recipe = with_stage(network(encoder="small_pretraining:constant_encoder"), "clusters", views="augmentation")
    pretrained = pretrain_small(tmp_path / "run", recipe, trusted=True)
    for warnings in (pretrained.document["warnings"], *(line["warnings"] for line in pretrained.run.read_metrics())):
        assert any(warning.startswith("complete collapse") for warning in warnings)
    assert pretrained.document["collapse"]["center"] == pytest.approx(1.0)
    assert pretrained.document["collapse"]["effective_rank"] == 0.0


def test_clusters_that_fall_together_are_told(tmp_path: Path) -> None:
    """Without its prior GEDI is content with one cluster for all."""
    recipe = with_stage(DIGITS, "clusters", epochs=12, learning_rate=0.3, restarts=1, constants={"prior_weight": 0.0})
    pretrained = pretrain_small(tmp_path / "run", recipe)
    said = ("cluster collapse", "dead clusters")
    assert any(warning.startswith(said) for warning in pretrained.document["warnings"])
    assert any(warning.startswith(said) for warning in pretrained.run.read_metrics()[-1]["warnings"])
    assert any(warning.startswith(said) for warning in pretrained.document["stages"]["clusters"]["warnings"])
    assert pretrained.document["collapse"]["code_usage"] < 1.0


def test_every_warning_stands_for_the_numbers_beside_it(through: Pretrained) -> None:
    for line in through.run.read_metrics():
        dead = line["collapse"].get("code_usage", 1.0) < 0.95
        told = any(warning.startswith(("dead", "cluster collapse", "uniform")) for warning in line["warnings"])
        assert told or not dead
