"""Perceptions and runs in deepproblog, and its models, queries and data sets here."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from deepproblog.dataset import DataLoader, QueryDataset
from deepproblog.engines import ExactEngine
from deepproblog.model import Model
from deepproblog.network import Network
from deepproblog.query import Query
from deepproblog.train import train_model
from deepproblog_examples import ROOT, Source, ask, ask_named, classifier, image, make_model
from problog.logic import Constant, Term, Var, list2term
from small_runs import SLIPPING, SMALL, train_small
from torch import Tensor, nn

import nesy_gedi as ng
from nesy_gedi.data import ImageSplits
from nesy_gedi.errors import (
    DataError,
    DistributionError,
    EngineError,
    NesyGediWarning,
    ProgramError,
    UsageError,
)
from nesy_gedi.networks.perception import Perception, pixel_statistics
from nesy_gedi.training.from_deepproblog import TENSOR_PREDICATES, _registered
from nesy_gedi.training.recipe import EnsembleRecipe, NetworkRecipe
from nesy_gedi.training.training import Trained

SINGLE = 1e-6
"""Both in single precision."""

WET = "nn(rain, [X]) :: rain(X).\nwet(X) :- rain(X).\nwet(X) :- sprinkler.\n0.3 :: sprinkler."
"""Asks a Bernoulli network."""


def make(text: str, *networks: Network, engine: bool = True, **sources: Tensor) -> Model:
    model = Model(text, list(networks), load=False)
    if engine:
        with contextlib.redirect_stdout(io.StringIO()):
            model.set_engine(ExactEngine(model))
        model.eval()
    for name, tensors in sources.items():
        model.add_tensor_source(name, Source(tensors))
    return model


def from_file(name: str, *networks: Network, cache: bool = False, **sources: Tensor) -> Model:
    """A model of an example; its data sets alone are looked at where it has no network."""
    model = Model(str(ROOT / name), list(networks))
    if networks:
        with contextlib.redirect_stdout(io.StringIO()):
            model.set_engine(ExactEngine(model), cache=cache)
    for source, tensors in sources.items():
        model.add_tensor_source(source, Source(tensors))
    return model


def probability(model: Model, query: Query) -> Tensor:
    (result,) = model.solve([query])
    (p,) = result.result.values()
    assert isinstance(p, Tensor)
    return p


def perception(domain: tuple[str, ...], images: Tensor) -> Perception:
    mean, std = pixel_statistics(images)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, len(domain)))
    return Perception(encoder, None, domain, image_shape=(1, 8, 8), mean=mean, std=std)


DIGITS = tuple(map(str, range(10)))


class TestAsNetwork:
    def test_a_perception_answers_the_unchanged_example(self, digits: ImageSplits) -> None:
        seen = perception(DIGITS, digits.train.images)
        model = from_file(
            "MNIST/models/addition.pl", ng.as_deepproblog_network(seen, "mnist_net"), images=digits.train.images
        )
        reasoner = ng.Reasoner(ng.Program.load(ROOT / "MNIST/models/addition.pl"), "addition(X, Y, Z)")
        own = reasoner({"X": seen(digits.train.images[:3]), "Y": seen(digits.train.images[3:6])}).exp()
        for k, total in enumerate((4, 9, 17)):
            p = probability(model, ask_named("addition", image(k), image(3 + k), total))
            torch.testing.assert_close(p, own[k, total], rtol=0.0, atol=SINGLE)
            (theirs,) = torch.autograd.grad(p.log(), seen.encoder[1].weight)
            (ours,) = torch.autograd.grad(own[k, total].log(), seen.encoder[1].weight, retain_graph=True)
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=SINGLE)

    def test_deepproblog_trains_it(self, digits: ImageSplits) -> None:
        seen = perception(DIGITS, digits.train.images)
        network = ng.as_deepproblog_network(seen, "mnist_net", optimizer=torch.optim.Adam(seen.parameters(), 0.02))
        model = from_file("minimal/addition.pl", network, cache=True, images=digits.train.images)
        labels = digits.train.labels["class"].index
        queries = [
            ask_named("addition", image(2 * k), image(2 * k + 1), int(labels[2 * k] + labels[2 * k + 1]))
            for k in range(24)
        ]

        def loss() -> float:
            with torch.no_grad():
                found = ng.DeepProbLogReasoner(model)(queries)
            return -sum(float(p.log()) for each in found for p in each.values()) / len(queries)

        before = loss()
        with contextlib.redirect_stdout(io.StringIO()):
            train_model(model, DataLoader(QueryDataset(queries), 8, False), 3, verbose=0)
        assert loss() < 0.7 * before

    def test_a_bernoulli_network_returns_one_probability(self, digits: ImageSplits) -> None:
        seen = perception(("false", "true"), digits.train.images)
        network = ng.as_deepproblog_network(seen, "rain")
        assert network.network_module(digits.train.images[:5]).shape == (5, 1)
        model = make(WET, network, images=digits.train.images)
        own = ng.Reasoner(ng.Program(WET), "wet(X)")({"X": seen(digits.train.images[:1])}).exp()
        torch.testing.assert_close(probability(model, ask("wet", image(0))), own[0, 0], rtol=0.0, atol=SINGLE)

    def test_a_network_over_false_and_true_that_is_no_bernoulli_network(self, digits: ImageSplits) -> None:
        seen = perception(("false", "true"), digits.train.images)
        text = "nn(net, [X], Y, [false, true]) :: p(X, Y)."
        model = make(text, ng.as_deepproblog_network(seen, "net", bernoulli=False), images=digits.train.images)
        p = probability(model, ask("p", image(3), "false"))
        torch.testing.assert_close(p, seen(digits.train.images[3:4]).exp()[0, 0], rtol=0.0, atol=SINGLE)

    def test_another_domain_cannot_be_bernoulli(self, digits: ImageSplits) -> None:
        with pytest.raises(UsageError, match=r"a Bernoulli network has \[false, true\]"):
            ng.as_deepproblog_network(perception(DIGITS, digits.train.images), "net", bernoulli=True)


@pytest.fixture(scope="module")
def slipping(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run whose program learns a probability."""
    return train_small(tmp_path_factory.mktemp("slipping") / "run", text=SLIPPING)


class TestModelOfARun:
    def test_it_answers_as_the_run_does(self, slipping: Trained) -> None:
        model = ng.deepproblog_model(slipping)
        test = slipping.queries.images.images
        model.add_tensor_source("images", Source(test))
        net = slipping.networks["digit_net"]
        with torch.no_grad():
            own = slipping.task.reasoner({"X": net(test[:2]), "Y": net(test[2:4])}).exp()
        assert model.parameters == [pytest.approx(0.5, abs=0.2)]
        assert model.parameters != [0.5]
        for k, total in enumerate((7, 12)):
            p = probability(model, ask_named("addition", image(k), image(2 + k), total))
            torch.testing.assert_close(p, own[k, slipping.task.reasoner.index(total)], rtol=0.0, atol=SINGLE)

    def test_its_folder_is_as_good(self, slipping: Trained) -> None:
        loaded, given = ng.deepproblog_model(slipping.run.path), ng.deepproblog_model(slipping)
        images = slipping.queries.images.images[:4]
        assert loaded.parameters == given.parameters
        theirs, own = (model.networks["digit_net"].network_module(images) for model in (loaded, given))
        assert torch.equal(theirs, own)

    def test_what_is_observed_is_given_as_a_symbol(self, tmp_path: Path) -> None:
        text = """
        nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).
        nn(last_net, [X], Y, [0..9]) :: last(X, Y).
        addition(X, Y, L, Carry) :- digit(X, A), digit(Y, B), S is A + B, D is S mod 10, last(L, D), Carry is S // 10.
        """
        recipe = replace(
            SMALL,
            query="addition(X, Y, L, Carry)",
            networks={**SMALL.networks, "last_net": NetworkRecipe(observed=True)},
        )
        trained = train_small(tmp_path / "run", recipe, text)
        model = ng.deepproblog_model(trained)
        images = trained.queries.images.images
        model.add_tensor_source("images", Source(images))
        net = trained.networks["digit_net"]
        certain = torch.full((1, 10), -torch.inf)
        certain[0, 3] = 0.0
        with torch.no_grad():
            given = {
                ("digit_net", "X"): net(images[:1]),
                ("digit_net", "Y"): net(images[1:2]),
                ("last_net", "L"): certain,
            }
            own = trained.task.reasoner(given).exp()[0]
        for carry in (0, 1):
            p = probability(model, ask("addition", image(0), image(1), 3, carry))
            torch.testing.assert_close(p, own[trained.task.reasoner.index(carry)], rtol=0.0, atol=SINGLE)
        with pytest.raises(UsageError, match="no symbol"):
            model.solve([ask("addition", image(0), image(1), 12, 0)])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("evidence(a).\n0.5 :: a.", "ignores evidence/1"),
            ("t(0.3) :: a; t(0.2) :: b :- c.\n0.5 :: c.", "misreads learned probabilities"),
        ],
        ids=["evidence", "disjunction with a body"],
    )
    def test_what_deepproblog_would_answer_wrongly_is_refused(self, slipping: Trained, text: str, said: str) -> None:
        other = ng.Program(f"{slipping.task.program.source.text}\n{text}")
        task = slipping.task.with_recipe(slipping.task.recipe)
        task.program = other
        with pytest.raises(UsageError, match=said):
            ng.deepproblog_model(replace(slipping, task=task))

    def test_so_is_an_ensemble(self, slipping: Trained) -> None:
        recipe = replace(slipping.task.recipe, ensemble=EnsembleRecipe(members=3))
        with pytest.raises(UsageError, match="3 members of an ensemble"):
            ng.deepproblog_model(replace(slipping, task=slipping.task.with_recipe(recipe)))


class Alone(nn.Module):
    """A module that takes one image, not a batch, and returns one probability."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3))

    def forward(self, picture: Tensor) -> Tensor:
        assert picture.shape == (1, 2, 2)
        return torch.sigmoid(self.weight * picture.sum())[None]


class Wrong(nn.Module):
    """Returns the same, whatever it is asked."""

    def __init__(self, returned: Any) -> None:
        super().__init__()
        self.returned = returned

    def forward(self, *_: Any) -> Any:
        return self.returned


class TestFromModel:
    def test_program_and_networks_go_into_a_reasoner(self) -> None:
        model = make_model("MNIST/models/addition.pl")
        program, networks = ng.from_deepproblog(model)
        images = torch.stack([model.get_tensor(image(k)) for k in range(6)])
        seen = networks["mnist_net"](images)
        assert isinstance(networks["mnist_net"], Perception)
        assert networks["mnist_net"].output == "probabilities"
        p = ng.Reasoner(program, "multi_addition([A, B], [C], Z)")(
            {s: seen[2 * k : 2 * k + 2] for k, s in enumerate("ABC")}
        )
        assert float(p.exp().sum(1).min()) == pytest.approx(1.0)
        query = ask("multi_addition", list2term([image(0), image(2)]), list2term([image(4)]), 33)
        torch.testing.assert_close(p[0, 33].exp(), probability(model, query), rtol=0.0, atol=1e-12)

    def test_grey_levels_are_scaled_for_it(self) -> None:
        model = make_model("minimal/addition.pl")
        net = ng.from_deepproblog(model).networks["mnist_net"]
        grey = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
        torch.testing.assert_close(net(grey), net(grey.double() / 255.0), rtol=0.0, atol=1e-6)

    def test_a_bernoulli_network_that_does_not_batch(self) -> None:
        pictures = torch.rand(4, 1, 2, 2)
        model = make(WET, Network(Alone(), "rain"), images=pictures)
        queries = [ask("wet", image(k)) for k in range(4)]
        own = torch.stack([p for each in ng.DeepProbLogReasoner(model)(queries) for p in each.values()])
        theirs = torch.stack([probability(model, query) for query in queries])
        torch.testing.assert_close(own, theirs, rtol=0.0, atol=SINGLE)
        module = model.networks["rain"].network_module
        slopes = [torch.autograd.grad(p.log().sum(), module.weight)[0] for p in (own, theirs)]
        torch.testing.assert_close(*slopes, rtol=1e-5, atol=SINGLE)

    def test_learned_probabilities_have_the_values_of_the_model(self) -> None:
        text = "t(0.1) :: a; t(0.4) :: b; 0.2 :: c.\nt(_) :: d.\nq(1) :- a.\nq(2) :- b, \\+ d.\nq(3) :- c.\nq(4) :- d."
        model = make(text)
        model.parameters = [0.25, 0.3, 0.875]
        own = ng.DeepProbLogReasoner(model)([Query(Term("q", Var("X")))])[0]
        theirs = model.solve([Query(Term("q", Var("X")))])[0].result
        assert {str(term): float(p) for term, p in own.items()} == pytest.approx(
            {str(term): float(p) for term, p in theirs.items()}, abs=SINGLE
        )
        assert float(own[Term("q", Constant(4))]) == pytest.approx(0.875, abs=SINGLE)

    def test_weights_and_mode_are_those_of_the_model(self) -> None:
        model = make_model("minimal/addition.pl")
        model.train()
        net = ng.from_deepproblog(model).networks["mnist_net"]
        assert {*net.parameters()} == {*model.networks["mnist_net"].parameters()}
        assert model.networks["mnist_net"].network_module.training

    def test_top_k_is_refused(self) -> None:
        model = make(WET, Network(Alone(), "rain", k=1), engine=False)
        with pytest.raises(UsageError, match="likeliest symbols") as caught:
            ng.from_deepproblog(model)
        assert caught.value.where == "network rain"
        assert "without k" in str(caught.value.hint)

    def test_a_missing_network_is_named(self) -> None:
        with pytest.raises(UsageError, match="no network rain"):
            ng.from_deepproblog(make(WET, engine=False))

    def test_a_network_whose_output_is_a_tensor_is_refused_with_its_place(self) -> None:
        text = "nn(enc, [X], E) :: enc(X, E).\nnn(net, [E], Y, [a, b]) :: net(E, Y).\nq(X, Y) :- enc(X, E), net(E, Y)."
        with pytest.raises(ProgramError, match="output is a tensor") as caught:
            ng.from_deepproblog(make(text, Network(Alone(), "enc"), Network(Alone(), "net"), engine=False))
        assert caught.value.where == "<deepproblog model>:1:16"

    @pytest.mark.parametrize("engine", [True, False])
    def test_what_computes_with_tensors_is_refused_with_its_place(self, engine: bool) -> None:
        text = "nn(net, [E]) :: same(E).\nq(X, Y) :- mul(X, Y, Z), \\+ same(Z)."
        with pytest.raises(ProgramError, match="mul/3 computes with tensors") as caught:
            ng.from_deepproblog(make(text, Network(Alone(), "net"), engine=engine))
        assert caught.value.where == "<deepproblog model>:2:11"

    def test_a_predicate_of_its_own_with_such_a_name_is_not(self) -> None:
        text = "mul(X, Y, Z) :- Z is X * Y.\nq(Z) :- mul(2, 3, Z)."
        assert ng.Reasoner(ng.from_deepproblog(make(text, engine=False)).program, "q(Z)").answers == ("6",)

    def test_a_registered_function_is_refused(self) -> None:
        model = make("q(Y) :- brightness(1, Y).")
        model.register_foreign(lambda x: x, "brightness", 1, 1)
        with pytest.raises(ProgramError, match="brightness/2 is a Python function"):
            ng.from_deepproblog(model)

    def test_the_names_of_tensor_predicates_are_those_that_deepproblog_registers(self) -> None:
        assert {name for name in _registered(make("q.")) if not name.startswith("_lists_")} == TENSOR_PREDICATES

    def test_misread_probabilities_are_refused(self) -> None:
        with pytest.raises(UsageError, match="misreads"):
            ng.from_deepproblog(make("t(0.3) :: a; t(0.2) :: b :- c.\n0.5 :: c.", engine=False))

    def test_evidence_is_warned_of(self) -> None:
        with pytest.warns(NesyGediWarning, match="deepproblog ignores"):
            ng.from_deepproblog(make("0.5 :: a.\nevidence(a).", engine=False))

    @pytest.mark.parametrize(
        ("returned", "kind", "said"),
        [
            (torch.full((1, 3), 1 / 3), DistributionError, "its domain has 2 symbols"),
            (torch.tensor([[0.5, 0.2]]), DistributionError, "sums to 0.7"),
            (torch.full((4, 2), 0.5), DistributionError, "4 rows for 1 inputs"),
            (None, DistributionError, "returns NoneType"),
            (lambda: 1, DistributionError, "returns function"),
        ],
        ids=["width", "no distribution", "rows", "nothing", "function"],
    )
    def test_what_is_no_distribution_is_named(self, returned: Any, kind: type[Exception], said: str) -> None:
        model = make(
            "nn(net, [X], Y, [a, b]) :: p(X, Y).",
            Network(Wrong(returned), "net", batching=True),
            images=torch.rand(1, 3),
        )
        with pytest.raises(kind, match=said) as caught:
            ng.DeepProbLogReasoner(model)([ask("p", image(0), "a")])
        assert caught.value.where == "network net"

    def test_a_module_that_fails_is_named(self) -> None:
        model = make(WET, Network(Alone(), "rain"), images=torch.rand(1, 1, 3, 3))
        with pytest.raises(EngineError, match="AssertionError") as caught:
            ng.DeepProbLogReasoner(model)([ask("wet", image(0))])
        assert caught.value.where == "network rain"


class TestQueries:
    def test_what_cannot_be_derived_is_impossible(self) -> None:
        own = ng.DeepProbLogReasoner(make_model("minimal/addition.pl"))([ask("addition", image(0), image(1), 40)])
        assert [float(p) for p in own[0].values()] == [0.0]

    def test_each_network_is_asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = make_model("MNIST/models/addition.pl")
        batches = []
        model.networks["mnist_net"].network_module.register_forward_hook(
            lambda _, given, __: batches.append(len(given[0]))
        )
        queries = [ask("addition", image(k % 4), image(k // 4), k) for k in range(8)]
        assert len(ng.DeepProbLogReasoner(model)(queries)) == 8
        assert batches == [4]

    def test_open_answers_and_anonymous_variables(self) -> None:
        model = make_model("Coins/model.pl")
        (own,) = ng.DeepProbLogReasoner(model)([ask("game", image(0), Var("_"))])
        theirs = model.solve([ask("game", image(0), Var("X"))])[0].result
        assert {str(k): float(p.detach()) for k, p in own.items()} == pytest.approx(
            {str(k): float(p.detach()) for k, p in theirs.items()}
        )

    def test_no_query(self) -> None:
        assert ng.DeepProbLogReasoner(make_model("minimal/addition.pl"))([]) == []

    def test_a_missing_tensor_source_is_named(self) -> None:
        query = ask("addition", Term("tensor", Term("elsewhere", Constant(1))), image(0), 3)
        with pytest.raises(UsageError, match=r"no tensor source for tensor\(elsewhere\(1\)\)"):
            ng.DeepProbLogReasoner(make_model("minimal/addition.pl"))([query])


class TestDataSets:
    def data(self, *queries: Query) -> QueryDataset:
        return QueryDataset(list(queries))

    def test_it_becomes_observed_tuples(self, digits: ImageSplits) -> None:
        grey = digits.train.images[:6]
        model = from_file("MNIST/models/addition.pl", images=(grey / 255.0 - 0.5) / 0.5)
        train = self.data(*(ask_named("addition", image(a), image(b), a + b) for a, b in ((4, 2), (2, 2), (0, 4))))
        form, images = ng.deepproblog_images(model, train, self.data(ask("addition", image(5), image(1), 11)))
        assert form == "addition(Image0,Image1,Answer0)"
        given = images.given
        assert given is not None
        assert (given.inputs, given.outputs, given.validation) == (("Image0", "Image1"), ("Answer0",), None)
        assert torch.equal(images.train.images, grey[[4, 2, 0]])
        assert torch.equal(images.test.images, grey[[5, 1]])
        assert given.train.index.tolist() == [[0, 1], [1, 1], [2, 0]]
        assert given.train.values == (("6",), ("4",), ("4",))
        assert given.test.values == (("11",),)

    def test_floats_in_the_unit_range_and_ones_own_normalisation(self, digits: ImageSplits) -> None:
        grey, query = digits.train.images[:2], ask("addition", image(0), image(1), 3)
        for scaled, pixels in ((grey / 255.0, None), (grey / 10.0, lambda x: (x * 10).round().to(torch.uint8))):
            model = from_file("minimal/addition.pl", images=scaled)
            found = ng.deepproblog_images(model, self.data(query), self.data(query), pixels=pixels)
            assert torch.equal(found.images.train.images, grey)

    def test_points_stay_points(self) -> None:
        points = torch.rand(2, 5)
        model = from_file("minimal/addition.pl", images=points)
        query = ask("addition", image(0), image(1), 3)
        found = ng.deepproblog_images(model, self.data(query), self.data(query), self.data(query))
        assert torch.equal(found.images.train.images, points)
        assert found.images.given is not None
        assert found.images.given.validation is not None

    def test_images_alone_may_be_asked(self) -> None:
        query = ask("addition", image(0), image(1), image(2))
        model = from_file("MNIST/models/all_digit_addition.pl", images=torch.rand(3, 5))
        form, images = ng.deepproblog_images(model, self.data(query), self.data(query))
        assert form == "addition(Image0,Image1,Image2)"
        assert images.given is not None
        assert images.given.train.values == ((),)

    @pytest.mark.parametrize(
        ("queries", "said"),
        [
            ([ask("addition", image(0), image(1), 3), ask("sum", image(0), image(1), 3)], "query 1 asks"),
            ([Query(ask("addition", image(0), image(1), 3).query, p=0.4)], "target probability 0.4"),
            ([ask("addition", image(0), image(1), Var("Z"))], "leaves open"),
            ([], "no query"),
        ],
        ids=["forms", "probability", "open", "empty"],
    )
    def test_what_training_does_not_take(self, queries: list[Query], said: str) -> None:
        model = from_file("minimal/addition.pl", images=torch.rand(2, 5))
        with pytest.raises(DataError, match=said):
            ng.deepproblog_images(model, self.data(*queries), self.data())

    def test_pixels_that_are_no_grey_levels(self) -> None:
        model = from_file("minimal/addition.pl", images=torch.rand(2, 1, 3, 3) * 3)
        query = ask("addition", image(0), image(1), 3)
        with pytest.raises(DataError, match="no grey levels") as caught:
            ng.deepproblog_images(model, self.data(query), self.data(query))
        assert "pixels=" in str(caught.value.hint)

    def test_tensors_of_two_shapes(self) -> None:
        model = make("p.", images=torch.rand(2, 5), others=torch.rand(2, 6))
        query = Query(Term("p", image(0), Term("tensor", Term("others", Constant(1))), Constant(1)))
        with pytest.raises(DataError, match=r"shape \(6,\), the first has \(5,\)"):
            ng.deepproblog_images(model, self.data(query), self.data(query))


def test_classifiers_of_the_examples_are_distributions() -> None:
    assert torch.allclose(classifier(3)(torch.rand(2, 1, 8, 8)).sum(1), torch.ones(2))
