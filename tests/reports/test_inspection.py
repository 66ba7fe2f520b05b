"""What a run has learned: measured, written down, and shown in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from assignment_files import assignment, write_assignment
from inspected_runs import SHORTCUT, Reader, half, reading, with_pretraining

from nesy_gedi.concepts import shortcuts
from nesy_gedi.concepts.map_counting import ONE, Count
from nesy_gedi.data import ImageSet
from nesy_gedi.errors import DataError, RunError
from nesy_gedi.logic.program import Program
from nesy_gedi.reports import inspection as inspecting
from nesy_gedi.reports.html import render
from nesy_gedi.reports.inspection import MIXED, Inspection, document_of, inspect, inspect_run
from nesy_gedi.training import training
from nesy_gedi.training.evaluation import measure
from nesy_gedi.training.recipe import DataRecipe, NetworkRecipe, Recipe, TrainingRecipe
from nesy_gedi.training.runs import ProgramRun
from nesy_gedi.training.task import Task
from nesy_gedi.training.training import Trained, train

IDENTITY = (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return half(tmp_path_factory.mktemp("runs") / "half")


@pytest.fixture(scope="module")
def full(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """Of a run that began as clusters and has learned a shortcut."""
    folder = tmp_path_factory.mktemp("runs") / "clusters"
    shutil.copytree(trained.run.path, folder)
    with_pretraining(folder)
    write_assignment(folder, assignment())
    return inspect(reading(replace(trained, run=ProgramRun(folder)), SHORTCUT))


@pytest.fixture(scope="module")
def page(full: Inspection) -> str:
    return render(full)


def test_a_shortcut_is_recognised(full: Inspection) -> None:
    assert full.nearest_map.maps == {"digit_net": SHORTCUT}
    assert (full.nearest_map.identity, full.nearest_map.distance, full.tuples_answered_wrong) == (False, 0.0, 0)
    assert (full.optimal_maps.count, full.optimal_maps.one_to_one) == (Count(3, 3), Count(1, 1))
    said = " ".join(full.statements())
    assert "the reasoning shortcut 01323 (2->3, 3->2, 4->3)" in said
    assert "2 and 4 are both read as 3" in said
    assert "3 ways of reading the symbols" in said


@pytest.mark.parametrize(
    ("reads", "kind", "identity", "distance"),
    [
        (IDENTITY, "right", True, 0.0),
        ((0, 1, 4, 1, 2), "merged", False, 0.0),
        ((0, 1, 2, 4, 3), "renamed", True, 4 / 14),  # 3 and 4 have two of fourteen places each
        ((0, 1, 3, 3, 3), "merged", False, 2 / 14),
    ],
)
def test_other_maps_are_compared_by_images(
    trained: Trained, reads: tuple[int, ...], kind: str, identity: bool, distance: float
) -> None:
    found = inspect(reading(trained, reads))
    assert found.readings["digit_net"].learned.kind == kind
    assert (found.nearest_map.identity, found.nearest_map.distance) == (identity, pytest.approx(distance))
    assert (found.tuples_answered_wrong == 0) == (distance == 0.0)


def test_the_document_keeps_the_contract(full: Inspection) -> None:
    document = json.loads(json.dumps(document_of(full, Path("somewhere/inspect.html")), allow_nan=False))
    assert (document["version"], document["report"]) == (1, "somewhere/inspect.html")
    assert document["learned_map"] == {"digit_net": dict(zip("01234", "01323", strict=True))}
    assert document["metrics"]["networks"]["digit_net"]["learned_map"] == document["learned_map"]["digit_net"]
    nearest, optimal = document["nearest_map"], document["optimal_maps"]
    assert nearest["maps"] == document["learned_map"]
    assert (nearest["identity"], nearest["distance"], nearest["tuples_answered_wrong"]) == (False, 0.0, 0)
    assert document["nearest_shortcut"] == nearest  # the identity is none
    assert (optimal["count"], optimal["exact"], optimal["one_to_one"], optimal["tuples"]) == (3, True, 1, 7)
    assert document["confusion"]["digit_net"] == document["metrics"]["networks"]["digit_net"]["confusion"]
    concepts = {concept["symbol"]: concept for concept in document["concepts"]}
    assert [concepts[symbol]["clusters"] for symbol in "01234"] == [[0, 6], [1], [3], [2, 4], [5]]
    assert sum(concept["share"] for concept in concepts.values()) == pytest.approx(1.0)
    assert sum(concept["true_share"] for concept in concepts.values()) == pytest.approx(1.0)
    assert concepts["4"]["share"] < 0.1 < concepts["3"]["share"]
    assert 0.2 < concepts["3"]["confidence"] <= 1.0
    assert (concepts["2"]["read_as"], concepts["2"]["network"]) == ("3", "digit_net")
    assert document["assignment"]["near_ties"] == 2
    assert document["pretraining"].keys() == {"digit_net"}
    calibration = document["calibration"]["digit_net"]
    assert calibration["ece"] == pytest.approx(document["metrics"]["concept_ece"])
    assert sum(each["count"] for each in calibration["bins"]) == 2 * document["metrics"]["queries"]


def test_a_run_without_clusters_has_none(trained: Trained) -> None:
    found = inspect(reading(trained, IDENTITY))
    document = document_of(found, Path("inspect.html"))
    assert document["assignment"] is None
    assert document["nearest_map"]["identity"]
    assert document["nearest_shortcut"] is None
    assert document["pretraining"] == {}
    assert {concept["clusters"] for concept in document["concepts"]} == {None}
    page = render(found)
    assert "<h2>Assignment</h2>" not in page
    assert "Pretraining of" not in page
    assert "The symbols are right" in page


def test_inspecting_the_folder_measures_it_again(trained: Trained) -> None:
    found = inspect_run(trained.run.path, device="cpu")
    assert found.trained.document["metrics"] == trained.document["metrics"]
    assert found.nearest_map == inspect(trained).nearest_map


def test_images_are_read_and_drawn_once(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counter[str]()

    def count(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            counts[what] += 1
            return function(*arguments, **options)

        return counted

    monkeypatch.setattr(training, "load_images", count("read", training.load_images))
    monkeypatch.setattr(Task, "queries", count("drawn", Task.queries))
    inspect(trained)
    assert not counts  # training has done so
    again = training.evaluate(trained.run.path, device="cpu")
    assert counts == {"read": 1}  # what is only measured needs no training queries
    found = inspect(again)
    inspect(again)
    assert counts == {"read": 1, "drawn": 1}
    for own, other in ((again.splits.train, trained.splits.train), (again.splits.test, trained.splits.test)):
        assert own.index.tolist() == other.index.tolist()
    assert torch.equal(found.training_images.images, trained.splits.pool.images)


def test_a_symbol_that_is_never_read_has_no_confidence(trained: Trained) -> None:
    found = inspect(reading(trained, (0, 0, 0, 0, 0)))
    without_slips = replace(found.readings["digit_net"], probabilities=torch.eye(5)[torch.zeros(180, dtype=torch.long)])
    found = replace(found, readings={"digit_net": replace(without_slips, truth=without_slips.truth[:180])})
    concepts = document_of(found, Path("inspect.html"))["concepts"]
    assert [concept["confidence"] for concept in concepts] == [1.0, None, None, None, None]
    assert [concept["share"] for concept in concepts] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_an_optimal_map_need_not_be_listed_to_be_recognised(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(*arguments: Any) -> shortcuts.OptimalMaps:
        return shortcuts.list_optimal_maps(*arguments, limit=1)

    monkeypatch.setattr(inspecting, "list_optimal_maps", one)
    found = inspect(reading(trained, SHORTCUT))
    assert (len(found.optimal_maps.maps), found.optimal_maps.complete) == (1, False)
    assert (found.nearest_map.maps, found.nearest_map.distance) == ({"digit_net": SHORTCUT}, 0.0)
    assert "3 ways" in " ".join(found.statements())  # they are counted all the same


def test_clusters_are_advised_where_they_suit(full: Inspection, trained: Trained) -> None:
    def advised(found: Inspection) -> bool:
        return any("--method clusters" in sentence for sentence in found.statements())

    found = inspect(reading(trained, SHORTCUT))
    assert advised(found)
    assert not advised(full)  # it began as clusters
    assert not advised(inspect(reading(trained, IDENTITY)))
    points = replace(found.training_images, images=found.training_images.images.flatten(1).float())
    assert not advised(replace(found, training_images=points))
    assert not advised(replace(found, readings=found.readings | {"other_net": found.readings["digit_net"]}))


def test_the_keys_are_documented(full: Inspection) -> None:
    """As are those of the objects in it, as far as they are the document's own."""
    table = (Path(__file__).parents[2] / "docs/inspect.md").read_text(encoding="utf-8").split("## As JSON")[1]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    document = document_of(full, Path("inspect.html"))
    documented = {key: told for keys, told in rows for key in re.findall(r"`(\w+)(?:\[\])?`", keys)}
    assert documented.keys() == document.keys()
    for key, inside in [
        ("concepts", document["concepts"][0]),
        ("verdicts", document["verdicts"]["digit_net"]),
        ("nearest_map", document["nearest_map"]),
        ("optimal_maps", document["optimal_maps"]),
        ("calibration", document["calibration"]["digit_net"]),
    ]:
        assert inside.keys() <= set(re.findall(r"`(\w+)`", documented[key])), key


EITHER = """
nn(person_net, [X]) :: person(X).
nn(siren_net, [X]) :: siren(X).
nn(light_net, [Y], L, [red, amber, green]) :: light(Y, L).
either(X, Y, yes) :- person(X), \\+ siren(X), light(Y, _).
either(X, Y, yes) :- \\+ person(X), siren(X), light(Y, red).
either(X, Y, no) :- person(X), siren(X), light(Y, _).
either(X, Y, no) :- \\+ person(X), \\+ siren(X), light(Y, _).
either(X, Y, no) :- \\+ person(X), siren(X), light(Y, L), L \\= red.
"""


def test_networks_that_make_up_for_each_other_are_found_out(tmp_path: Path) -> None:
    """One reads whether just one of two is so, the other nothing: no map of either explains it, and all is answered right
    where the light is red."""
    networks = {
        f"{name}_net": NetworkRecipe(attribute=name, encoder="mlp", width=4) for name in ("person", "siren", "light")
    }
    data = DataRecipe(source="traffic", train=60, test=100, validation=20)
    recipe = Recipe(
        query="either(X, Y, A)", method="answers", data=data, networks=networks, training=TrainingRecipe(epochs=1)
    )
    trained = train(Program(EITHER, name="either.pl"), recipe, device="cpu", out=tmp_path / "run")
    task, images = trained.task, trained.queries.images
    true = {name: task.symbols(name, images) for name in task.networks}
    one = (true["person_net"] != true["siren_net"]).long()
    truth = {"person_net": one, "siren_net": torch.zeros_like(one), "light_net": true["light_net"]}
    readers = torch.nn.ModuleDict(
        {name: Reader(images.images, own, tuple(range(3 if name == "light_net" else 2)), slips=10**9)
         for name, own in truth.items()}
    )  # fmt: skip
    metrics = measure(task, readers, trained.queries, torch.device("cpu"))
    found = inspect(replace(trained, networks=readers, document=trained.document | {"metrics": metrics}))
    assert found.mixing_not_counted == (("person_net", "siren_net"),)
    # By hand: how often each pair of readings comes about if these depend on the own symbol alone.
    confusion = {
        name: torch.tensor(metrics["networks"][name]["confusion"]).double() for name in ("person_net", "siren_net")
    }
    reads = {name: table / table.sum(1, keepdim=True) for name, table in confusion.items()}
    right, seen = 0.0, trained.queries.index
    for x, y in seen.tolist():
        p, s = (float(reads[name][true[name][x], 1]) for name in ("person_net", "siren_net"))
        red = int(true["light_net"][y]) == 0
        yes = p * (1 - s) + (1 - p) * s * red
        expects = (int(true["person_net"][x]), int(true["siren_net"][x]))
        right += yes if expects == (1, 0) or (expects == (0, 1) and red) else 1 - yes
    assert found.answer_accuracy_unmixed == pytest.approx(right / len(seen))
    assert metrics["answer_accuracy"] - found.answer_accuracy_unmixed > MIXED
    said = " ".join(found.statements())
    assert (
        f"leave {found.answer_accuracy_unmixed:.1%} of the test answers right, but {metrics['answer_accuracy']:.1%} are"
        in said
    )
    assert "mix attributes are not counted, and there may be many: person_net and siren_net look at" in said
    optimal = document_of(found, Path("inspect.html"))["optimal_maps"]
    assert optimal["family"] == "shared"
    assert optimal["mixing_not_counted"] == [["person_net", "siren_net"]]
    assert optimal["answer_accuracy_unmixed"] == found.answer_accuracy_unmixed
    assert "person_net and siren_net look at the same images and may mix" in text_of(render(found), "Learned symbols")


@pytest.mark.parametrize(
    ("reads", "changes", "title"),
    [
        (IDENTITY, {"near_ties": 1}, "The symbols are right"),
        (IDENTITY, {}, "The symbols are right, but training does not settle them"),
        (IDENTITY, {"near_ties": 1, "exact": False}, "The symbols are right, but training does not settle them"),
        (SHORTCUT, {"near_ties": 1}, "The symbols are not what they should be"),
    ],
)
def test_right_symbols_may_be_luck(
    trained: Trained, tmp_path: Path, reads: tuple[int, ...], changes: dict[str, Any], title: str
) -> None:
    shutil.copytree(trained.run.path, tmp_path / "run")
    write_assignment(tmp_path / "run", assignment(**changes))
    page = render(inspect(reading(replace(trained, run=ProgramRun(tmp_path / "run")), reads)))
    box = page[page.index('<div class="box') :].split("</div>")[0]
    assert f"<strong>{title}</strong>" in box
    assert "One label settles it: that of an image of cluster 2 of digit_net: is it 3 or 2?" in box
    assert "The other one: cluster 2" not in box


def test_few_images_read_right_are_not_right(trained: Trained) -> None:
    """Every third image is read as another symbol."""
    images: ImageSet = trained.queries.images
    reader = Reader(images.images, trained.task.symbols("digit_net", images), IDENTITY, slips=3)
    metrics = measure(trained.task, torch.nn.ModuleDict({"digit_net": reader}), trained.queries, torch.device("cpu"))
    networks = torch.nn.ModuleDict({"digit_net": reader})
    found = inspect(replace(trained, networks=networks, document=trained.document | {"metrics": metrics}))
    assert found.readings["digit_net"].learned.kind == "blurred"
    assert metrics["concept_accuracy"] == pytest.approx(found.follows)
    said = " ".join(found.statements())
    assert f"only {found.follows:.1%} of the images are read as the symbol they are" in said
    assert f"The learned map, which {found.follows:.1%} of the images follow, is the identity" in said
    page = render(found)
    assert "The symbols are right in part" in page
    assert '<div class="box good">' not in page


def test_a_label_settles_the_symbols(trained: Trained) -> None:
    recipe = trained.task.recipe
    labelled = replace(recipe.networks["digit_net"], labels=("4=1", "3 = 00"))
    told = reading(trained, IDENTITY)
    task = told.task
    before = task.recipe
    try:
        task.recipe = replace(recipe, networks={"digit_net": labelled})
        assert inspect(told).optimal_maps.count == ONE
    finally:
        task.recipe = before


def test_a_pretraining_that_is_gone_is_left_out(full: Inspection, tmp_path: Path) -> None:
    shutil.copytree(full.trained.run.path, tmp_path / "run", ignore=shutil.ignore_patterns("pretraining"))
    found = inspect(replace(full.trained, run=ProgramRun(tmp_path / "run")))
    assert found.pretrainings == {}
    assert found.assignment is not None


def test_a_pretraining_that_is_damaged_is_not(full: Inspection, tmp_path: Path) -> None:
    shutil.copytree(full.trained.run.path, tmp_path / "run")
    (tmp_path / "run/pretraining/digit_net/environment.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"environment\.json cannot be read"):
        inspect(replace(full.trained, run=ProgramRun(tmp_path / "run")))


@pytest.mark.parametrize(
    "content", ['{"metrics": 3, "collapse": [], "warnings": 7}', "[]", '{"collapse": {"center": "x"}}']
)
def test_what_a_pretraining_says_of_itself_may_be_damaged(full: Inspection, tmp_path: Path, content: str) -> None:
    shutil.copytree(full.trained.run.path, tmp_path / "run")
    (tmp_path / "run/pretraining/digit_net/result.json").write_text(content, encoding="utf-8")
    page = render(inspect(replace(full.trained, run=ProgramRun(tmp_path / "run"))))
    assert "<h2>Pretraining of digit_net</h2>" in page
    assert "after the best one-to-one naming" not in page


def test_other_runs_are_refused(full: Inspection, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a pretraining") as caught:
        inspect_run(full.trained.run.path / "pretraining/digit_net")
    assert "nesy-gedi diagnose" in str(caught.value.hint)
    with pytest.raises(RunError, match="not a run folder"):
        inspect_run(tmp_path)
    copy = Path(shutil.copytree(trained.run.path, tmp_path / "run"))
    (copy / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"result\.json is damaged"):
        inspect_run(copy)
    (copy / "result.json").unlink()
    with pytest.raises(RunError, match="not finished") as caught:
        inspect_run(copy)
    assert "train --resume" in str(caught.value.hint)


def test_a_damaged_assignment_is_found_before_the_data_is_read(trained: Trained, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained.run.path, tmp_path / "run"))
    recipe = copy / "recipe.toml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace('"digits"', '"mnist"'), encoding="utf-8")
    with pytest.raises(DataError, match="MNIST handwritten digits not found") as caught:
        inspect_run(copy, data_dir=tmp_path)
    assert "--data-dir" in str(caught.value.hint)
    write_assignment(copy, [])
    with pytest.raises(RunError, match=r"assignment\.json is damaged"):
        inspect_run(copy, data_dir=tmp_path)


def text_of(page: str, heading: str) -> str:
    """What can be read below a heading of the second order."""
    found = re.search(rf"<h2>{re.escape(heading)}</h2>(.*?)(<h2>|</body>)", page, re.DOTALL)
    assert found is not None, heading
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", re.sub(r"<svg.*?</svg>", " ", found[1], flags=re.DOTALL)))


def test_the_report_needs_nothing_from_outside(page: str) -> None:
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


def test_the_report_says_what_was_learned(page: str) -> None:
    assert '<div class="box bad"><p><strong>The symbols are not what they should be</strong>' in page
    learned = text_of(page, "Learned symbols")
    assert "true symbol read as of its images nearest optimal map" in learned
    assert "3 &ne; 2" in learned
    for spelled in (
        "01234 (all as they are)",
        "01323 (2-&gt;3, 3-&gt;2, 4-&gt;3)",
        "01412 (2-&gt;4, 3-&gt;1, 4-&gt;2)",
    ):
        assert spelled in learned


def test_the_report_says_what_the_assignment_leaves_open(page: str) -> None:
    section = text_of(page, "Assignment")
    assert "2 assignments fit about equally well" in section
    assert "The other one: cluster 2 is 2 instead of 3" in section
    assert "the runner-up is 0.4 nats less likely; proven to be the best" in section
    assert "2 3 2 differs 3 60%, 2 40%" in section  # cluster, symbol, runner-up, posterior
    assert "hardly seen in the answers" in section
    assert "2 or 3" in section
    assert 'alt="typical images of cluster 2"' in page


def test_the_report_shows_every_symbol_with_its_clusters(page: str) -> None:
    section = page[page.index("<h2>digit_net</h2>") :]
    for symbol, clusters in zip("01234", ("0, 6", "1", "3", "2, 4", "5"), strict=True):
        assert f"<td><strong>{symbol}</strong></td><td>{clusters}</td>" in section
        assert f'alt="typical images of {symbol}"' in section
        assert f'alt="uncertain images of {symbol}"' in section
    assert "truly 2" in section
    assert 'aria-label="reliability diagram of digit_net"' in section
    assert "Expected calibration error <strong>0." in section


def test_the_report_has_the_curves(page: str) -> None:
    assert 'aria-label="learning curves"' in page
    section = page[page.index("<h2>Pretraining of digit_net</h2>") :]
    assert "over epochs" in section
    assert section.count("<figure>") > 5
    assert "after the best one-to-one naming" in text_of(page, "Pretraining of digit_net")


def test_outside_the_support_is_reported(page: str, full: Inspection) -> None:
    outside = full.trained.document["metrics"]["outside"]
    section = text_of(page, "Concepts")
    assert f"Outside: {outside['tuples']} combinations of symbols that training never shows" in section
    assert "digit_net, outside" in section


def test_a_run_without_epochs_is_reported(full: Inspection, tmp_path: Path) -> None:
    shutil.copytree(full.trained.run.path, tmp_path / "run")
    (tmp_path / "run/metrics.jsonl").unlink()
    (tmp_path / "run/pretraining/digit_net/metrics.jsonl").write_text("{}", encoding="utf-8")
    (tmp_path / "run/pretraining/digit_net/result.json").write_text("{", encoding="utf-8")
    found = render(inspect(replace(full.trained, run=ProgramRun(tmp_path / "run"))))
    assert "No epoch of training" in found
    assert "Pretraining of digit_net" in found


def test_terms_of_an_objective_have_curves_of_their_own(full: Inspection, tmp_path: Path) -> None:
    shutil.copytree(full.trained.run.path, tmp_path / "run")
    file = tmp_path / "run/metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [line | {"train_loss": -3.0, "terms": {"answers": 0.5, "invariance": -1.0}} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = render(inspect(replace(full.trained, run=ProgramRun(tmp_path / "run"))))
    assert "Terms of the loss" in found
    assert "answers and objective and its terms" in found


def test_a_browser_shows_the_report(full: Inspection, page: str, tmp_path: Path, browse: Callable[[Path], Any]) -> None:
    file = tmp_path / "inspect.html"
    file.write_text(page, encoding="utf-8")
    shown = browse(file)
    assert shown.console == []
    assert shown.images == shown.loaded == page.count("<img") >= 2 * 5 + 1
    assert shown.cut == 0
    assert shown.picture.size[0] == 1200
    colours = shown.colours()
    assert (255, 255, 255) in colours
    # The box of the verdict is red, the bars of the reliability diagram are blue.
    assert {(178, 24, 43), (158, 202, 225)} <= colours
