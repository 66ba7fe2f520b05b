"""The loop: what a step computes, when a checkpoint is the best, and what ends a run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from small_runs import NOISY, SLIPPING, SMALL, STEPS, addition, tensors, train_small, with_training
from torch import Tensor, nn

from nesy_gedi.data import Augmentation, ImageSplits, augment
from nesy_gedi.errors import RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.training import answers, loop
from nesy_gedi.training.answers import AnswerWork, train_step
from nesy_gedi.training.clock import Clock
from nesy_gedi.training.evaluation import perceive
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.loop import Listener, cosine, fit
from nesy_gedi.training.perceptions import make_perceptions
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.runs import RunFolder, create_run
from nesy_gedi.training.task import Splits, Task

# -- a step ------------------------------------------------------------------------------------------------------------


def set_up(program: Program, recipe: Recipe, images: ImageSplits) -> tuple[Task, nn.ModuleDict, Splits]:
    task = Task(program, recipe)
    return (
        task,
        make_perceptions(task, images.train.shape, images.train.images, trusted=["digit_net"]),
        task.queries(images),
    )


def gradients(task: Task, networks: nn.ModuleDict) -> list[Tensor]:
    parameters = [*networks.parameters(), *task.reasoner.parameters()]
    assert all(parameter.grad is not None for parameter in parameters)
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


@pytest.mark.parametrize("rows", [torch.arange(8), torch.tensor([5]), torch.arange(40).flip(0)])
def test_a_step_has_the_gradient_of_the_whole(digits: ImageSplits, fabric: Fabric, rows: Tensor) -> None:
    task, networks, splits = set_up(addition(SLIPPING), SMALL, digits)
    networks.eval()  # batch statistics stay as they are, so that both ways see the same networks
    log_p = perceive(task, networks, splits.train, rows, torch.device("cpu"))
    expected = task.reasoner.nll(task.observe(log_p, splits.train.observed[rows]), splits.train.answers[rows])
    expected.backward()
    whole = gradients(task, networks)

    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    parameters = [*wrapped.parameters(), *task.reasoner.parameters()]
    optimizer = fabric.setup_optimizers(torch.optim.SGD(parameters, lr=0.0))
    loss = train_step(task, wrapped, splits.train, rows, optimizer, fabric, Clock())
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    for one, other in zip(gradients(task, networks), whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


STRONG = Augmentation(shift=0.3, rotation=40.0)


@pytest.mark.parametrize("labels", [(), ("3=2", "7=1")])
def test_a_step_on_views(labels: tuple[str, ...], digits: ImageSplits, fabric: Fabric) -> None:
    """The loss and the gradient of a step are those of one random view of each image, labelled images included."""
    recipe = with_training(replace(SMALL, networks={"digit_net": NetworkRecipe(features=16, labels=labels)}))
    task, networks, splits = set_up(addition(), with_training(recipe, augmentation=STRONG), digits)
    labelled = read_labels(task, splits.pool)
    rows = torch.tensor([0, 3, 4, 9, 11])
    index = splits.train.index[rows]
    images = splits.train.images.images[index.flatten()]
    told = labelled.get("digit_net")
    shown = images if told is None else torch.cat([images, told.images])
    torch.manual_seed(5)
    log_p = networks["digit_net"](augment(shown, STRONG))
    seen = {"digit_net": log_p[: len(images)].view(*index.shape, -1)}
    expected = task.reasoner.nll(task.observe(seen, splits.train.observed[rows]), splits.train.answers[rows])
    if told is not None:
        expected = expected - log_p[len(images) :].gather(1, told.symbols[:, None]).mean()
    expected.backward()
    whole = gradients(task, networks)

    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    work = AnswerWork(task, wrapped, splits, fabric.device, labelled)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(list(work.parameters()), lr=0.0))
    torch.manual_seed(5)
    assert work.step(rows, optimizer, fabric, Clock(), 0.0)["loss"] == pytest.approx(float(expected.detach()), rel=1e-6)
    for one, other in zip(gradients(task, networks), whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)
    assert work.step(rows, optimizer, fabric, Clock(), 0.0)["loss"] != pytest.approx(float(expected.detach()), rel=1e-3)


def test_images_are_shown_as_they_are_by_default(digits: ImageSplits, fabric: Fabric) -> None:
    task, networks, splits = set_up(addition(), SMALL, digits)
    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    work = AnswerWork(task, wrapped, splits, fabric.device)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(list(work.parameters()), lr=0.0))
    state = torch.get_rng_state()
    losses = [work.step(torch.arange(8), optimizer, fabric, Clock(), 0.0)["loss"] for _ in range(2)]
    assert losses[0] == losses[1]
    assert torch.equal(torch.get_rng_state(), state)  # runs of recipes without augmentation stay what they were


class Certain(nn.Module):
    """Probabilities with exact zeros: only the three best symbols are possible."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.layer(images.flatten(1))
        worst = scores < scores.topk(3).values[:, -1:]
        return torch.softmax(scores.masked_fill(worst, -torch.inf), 1)


def test_exact_zeros_leave_the_gradient_finite(digits: ImageSplits, fabric: Fabric) -> None:
    recipe = replace(
        SMALL, networks={"digit_net": NetworkRecipe(encoder="test_loop:Certain", head="none", output="probabilities")}
    )
    task, networks, splits = set_up(addition(SLIPPING), recipe, digits)
    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    optimizer = fabric.setup_optimizers(torch.optim.SGD(wrapped.parameters(), lr=0.0))
    loss = train_step(task, wrapped, splits.train, torch.arange(40), optimizer, fabric, Clock())
    log_p = perceive(task, networks, splits.train, torch.arange(40), torch.device("cpu"))
    answers = task.reasoner(task.observe(log_p, splits.train.observed))
    observed = answers.gather(1, splits.train.answers[:, None])
    assert bool((observed == -torch.inf).any())  # some observed answers were impossible, and some were not
    assert bool((observed > -torch.inf).any())
    assert math.isfinite(loss)
    found = gradients(task, networks)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found)
    assert any(bool((gradient != 0).any()) for gradient in found)


def test_scaled_gradients_are_unscaled_for_networks_and_learned_probabilities_alike(digits: ImageSplits) -> None:
    def step(fabric: Fabric) -> list[Tensor]:
        task, networks, splits = set_up(addition(SLIPPING), SMALL, digits)
        wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
        parameters = [*wrapped.parameters(), *task.reasoner.parameters()]
        before = [parameter.detach().clone() for parameter in parameters]
        optimizer = fabric.setup_optimizers(torch.optim.SGD(parameters, lr=1.0))
        train_step(task, wrapped, splits.train, torch.arange(32), optimizer, fabric, Clock())
        return [a - b.detach() for a, b in zip(before, parameters, strict=True)]

    scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
    scaled = step(Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler)))
    exact = step(Fabric(accelerator="cpu", devices=1))
    assert len(scaled) == len(exact)
    for one, other in zip(scaled, exact, strict=True):
        assert float((one - other).norm()) <= 0.2 * float(other.norm()) + 1e-6  # float16 rounds; the scale is 4096


# -- an epoch ----------------------------------------------------------------------------------------------------------


class Recorder(Listener):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def started(self, facts: dict[str, Any]) -> None:
        self.calls.append(("started", facts))

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.calls.append(("step", epoch, step, steps, loss))

    def epoch(self, line: dict[str, Any]) -> None:
        self.calls.append(("epoch", line))

    def finished(self) -> None:
        self.calls.append(("finished",))


def test_every_query_once_an_epoch_in_nearly_equal_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[Tensor] = []

    def recording(*arguments: Any, **options: Any) -> Tensor:
        batches.append(arguments[3])
        return train_step(*arguments, **options)

    monkeypatch.setattr(answers, "train_step", recording)
    recipe = replace(with_training(epochs=2, batch_size=8), data=DataRecipe(train=33, validation=8, test=8))
    train_small(tmp_path / "run", recipe)
    assert [len(rows) for rows in batches] == [7, 7, 7, 6, 6] * 2  # never a last batch of one
    epochs = [torch.cat(batches[:5]), torch.cat(batches[5:])]
    assert all(sorted(order.tolist()) == list(range(33)) for order in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    train_small(tmp_path / "other", replace(recipe, seed=4))
    assert not torch.equal(torch.cat(batches[10:15]), epochs[0])


def test_the_largest_seed_trains(tmp_path: Path) -> None:
    train_small(tmp_path / "run", replace(with_training(epochs=2), seed=2**63 - 1))


def test_listener_and_metrics(tmp_path: Path) -> None:
    recorder = Recorder()
    trained = train_small(tmp_path / "run", listener=recorder)
    kinds = [call[0] for call in recorder.calls]
    assert kinds == ["started", *(["step"] * STEPS + ["epoch"]) * 3, "finished"]
    facts = recorder.calls[0][1]
    assert (facts["train"], facts["validation"], facts["test"], facts["epochs"]) == (40, 16, 16, 3)
    assert (facts["device"], facts["answers"], facts["circuit"]) == ("cpu", 19, "direct")
    steps = [call[1:4] for call in recorder.calls if call[0] == "step"]
    assert steps == [(epoch, step, STEPS) for epoch in (1, 2, 3) for step in range(1, STEPS + 1)]
    lines = [call[1] for call in recorder.calls if call[0] == "epoch"]
    assert lines == trained.run.read_metrics()
    for line, last_step in zip(lines, recorder.calls[STEPS :: STEPS + 1], strict=True):
        assert line["train_loss"] == last_step[4]  # the mean over the whole epoch


def test_the_listener_is_told_the_end_of_a_failure(tmp_path: Path) -> None:
    recorder = Recorder()

    def fail() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path / "run", listener=recorder, stop=fail)
    assert recorder.calls[-1] == ("finished",)


def test_the_loss_falls(tmp_path: Path) -> None:
    recipe = replace(with_training(epochs=8), data=DataRecipe(train=400, validation=50, test=50))
    recorder = Recorder()
    trained = train_small(tmp_path / "run", recipe, listener=recorder)
    assert recorder.calls[1][4] == pytest.approx(math.log(19), abs=0.6)  # at first about as good as guessing
    losses = [line["train_loss"] for line in trained.run.read_metrics()]
    assert losses[-1] < 0.6 * losses[0]
    assert trained.document["metrics"]["answer_accuracy"] > 3 / 19


def test_cosine() -> None:
    assert cosine(0.4, 0) == 0.4
    assert cosine(0.4, 0.5) == pytest.approx(0.2)
    assert cosine(0.4, 1.0) == pytest.approx(0.0)
    rates = [cosine(0.4, step / 10) for step in range(11)]
    assert rates == sorted(rates, reverse=True)


def test_the_learning_rate_follows_the_cosine(tmp_path: Path) -> None:
    lines = train_small(tmp_path / "run").run.read_metrics()
    expected = [cosine(0.003, (epoch * STEPS - 1) / (3 * STEPS)) for epoch in (1, 2, 3)]
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected)


# -- the best checkpoint -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validations", "best"),
    [
        ([(0.5, 1.0), (0.6, 2.0), (0.4, 0.1)], 2),  # accuracy counts
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 2),  # among equals the likelihood
        ([(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)], 1),  # among equals in both the first
        ([(0.0, 99.0), (0.0, 100.0), (0.0, 100.0)], 1),  # even the worst is better than nothing
    ],
)
def test_the_best_is_chosen_by_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validations: list[tuple[float, float]], best: int
) -> None:
    told: Iterator[tuple[float, float]] = iter(validations)
    weights: list[dict[str, Tensor]] = []

    def validate(task: Task, networks: nn.ModuleDict, *_: Any) -> dict[str, float]:
        weights.append({name: tensor.clone() for name, tensor in networks["digit_net"].state_dict().items()})
        accuracy, loss = next(told)
        return {"answer_accuracy": accuracy, "loss": loss}

    monkeypatch.setattr(answers, "validate", validate)
    trained = train_small(tmp_path / "run")
    assert trained.document["best_epoch"] == best
    saved = {which: tensors(trained.run, which) for which in ("best", "last")}
    final = trained.networks["digit_net"].state_dict()
    for name in weights[0]:
        assert torch.equal(saved["best"][f"model.digit_net.{name}"], weights[best - 1][name])
        assert torch.equal(saved["last"][f"model.digit_net.{name}"], weights[-1][name])
        assert torch.equal(final[name], weights[best - 1][name])  # and it is the best that was measured


# -- divergence --------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(RunError, match="the loss became nan in epoch 1") as caught:
        train_small(tmp_path / "run", with_training(learning_rate=1e30), listener=recorder)
    assert caught.value.where == str(tmp_path / "run")
    assert caught.value.hint == "lower training.learning_rate"
    assert not RunFolder(tmp_path / "run").checkpoints.has("last")
    assert recorder.calls[-1] == ("finished",)


def test_weights_broken_by_the_last_step_are_not_saved(tmp_path: Path) -> None:
    recipe = with_training(learning_rate=1e30, batch_size=40, epochs=1)  # the only step has a finite loss
    with pytest.raises(RunError, match="the validation loss became nan in epoch 1"):
        train_small(tmp_path / "run", recipe)
    run = RunFolder(tmp_path / "run")
    assert not run.checkpoints.has("last")
    assert (run.read_metrics(), run.result()) == ([], None)


def test_the_checkpoint_before_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "cosine", lambda initial, share: initial if share * 3 * STEPS < STEPS + 2 else 1e30)
    with pytest.raises(RunError, match="the loss became nan in epoch 2") as caught:
        train_small(tmp_path / "run")
    assert "the last checkpoint is whole" in str(caught.value.hint)
    found = tensors(RunFolder(tmp_path / "run"), "last")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.values())
    assert [line["epoch"] for line in RunFolder(tmp_path / "run").read_metrics()] == [1]


# -- learned probabilities ---------------------------------------------------------------------------------------------

SAY = """
nn(digit_net, [X], D, [0..9]) :: digit(X, D).
{weight} :: silent.
say(X, D) :- digit(X, D), \\+ silent.
say(X, nothing) :- digit(X, _), silent.
"""


def test_learned_probabilities_are_trained(tmp_path: Path, digits: ImageSplits, fabric: Fabric) -> None:
    """Answers of a program that is silent one time in ten teach that number to a program that has to learn it."""
    recipe = Recipe(
        query="say(X, W)",
        data=DataRecipe(train=1000, validation=100),
        networks={"digit_net": NetworkRecipe(features=8)},
        training=TrainingRecipe(epochs=6, learning_rate=0.05),
    )
    teacher = Task(Program(SAY.format(weight="0.1")), recipe)
    program = Program(SAY.format(weight="t(_)"))
    task = Task(program, recipe)
    assert task.reasoner.answers == teacher.reasoner.answers
    splits = teacher.queries(digits)
    networks = make_perceptions(task, (1, 8, 8), digits.train.images)
    wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
    run = create_run(tmp_path / "run", program, recipe, data_dir=None, device="cpu", shape=(1, 8, 8))
    (before,) = task.reasoner.learned.probabilities().values()
    fit(AnswerWork(task, wrapped, splits, fabric.device), run, fabric, Listener(), lambda: False)
    (after,) = task.reasoner.learned.probabilities().values()
    frequency = float((splits.train.answers == task.reasoner.index("nothing")).double().mean())
    assert before == pytest.approx([0.5, 0.5])
    assert after == pytest.approx([frequency, 1 - frequency], abs=0.02)


def test_learned_probabilities_are_recorded(tmp_path: Path) -> None:
    trained = train_small(tmp_path / "run", NOISY, SLIPPING)
    (learned,) = trained.document["learned"].values()
    assert learned != [0.5, 0.5]
    assert sum(learned) == pytest.approx(1.0)
    assert trained.document["learned"] == trained.task.reasoner.learned.probabilities()
    saved = tensors(trained.run, "best")["model.t.logits.0"]
    assert torch.softmax(saved, 0).tolist() == pytest.approx(learned)
    assert train_small(tmp_path / "other").document["learned"] == {}


# -- precision and time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_train_and_resume(tmp_path: Path, precision: str) -> None:
    recipe = with_training(precision=precision)
    through = train_small(tmp_path / "run", recipe)
    asked = iter([False] * 7 + [True])
    with pytest.raises(loop.Interrupted):
        train_small(tmp_path / "other", recipe, stop=lambda: next(asked))
    resumed = train_small(None, recipe, resume=tmp_path / "other")
    one, other = tensors(through.run, "last"), tensors(resumed.run, "last")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_scale_of_gradients_is_kept(tmp_path: Path, digits: ImageSplits) -> None:
    """Half precision finds a scale as it goes; a resumed run goes on with it."""
    program = addition()
    run = create_run(tmp_path / "run", program, SMALL, data_dir=None, device="cpu", shape=(1, 8, 8))

    def session(stop: Callable[[], bool]) -> dict[str, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=2)
        fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))
        task, networks, splits = set_up(program, SMALL, digits)
        wrapped = nn.ModuleDict({name: fabric.setup_module(network) for name, network in networks.items()})
        fit(AnswerWork(task, wrapped, splits, fabric.device), run, fabric, Listener(), stop)
        return run.checkpoints.load("last").state["scaling"]

    asked = iter([False] * 3 + [True])
    with pytest.raises(loop.Interrupted):
        session(lambda: next(asked))
    assert run.checkpoints.load("last").state["scaling"]["scale"] == 2.0 * 2 ** (4 // 2)
    assert session(lambda: False)["scale"] == 2.0 * 2 ** (15 // 2)


def test_time_is_split(tmp_path: Path) -> None:
    began = time.perf_counter()
    trained = train_small(tmp_path / "run", with_training(epochs=10))
    wall = time.perf_counter() - began
    spent = trained.document["time"]
    assert spent.keys() >= {"total_s", "network_s", "logic_s", "grounding_s"}
    assert min(spent.values()) > 0
    assert spent["network_s"] + spent["logic_s"] + spent["grounding_s"] < spent["total_s"] <= wall
    assert spent["total_s"] > 0.7 * wall  # nothing that takes long is left out
    last = trained.run.read_metrics()[-1]["seconds"]
    assert last.keys() == {"network", "logic", "validation", "other"}


def test_a_circuit_from_the_cache_took_no_time(tmp_path: Path) -> None:
    first, second = (train_small(tmp_path / name).document["time"]["grounding_s"] for name in ("one", "two"))
    assert first > 0
    assert second == 0
