"""What the documentation says is so; that its commands and its Python run is in test_documented.py."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib

import pytest
import tomli_w
import torch
from documented import PAGES, ROOT, blocks, blocks_of, commands_of

from nesy_gedi.concepts import shortcuts
from nesy_gedi.concepts.assignment import NEAR_TIE
from nesy_gedi.concepts.repairs import fewest_labels
from nesy_gedi.data import decoded_cache, load_images
from nesy_gedi.data.decoding import LONGEST_SIDE
from nesy_gedi.data.image_sets import TEST_SHARE
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.world_sampling import CONFIDENCE, estimate_share
from nesy_gedi.reports.learned_map import ABOVE_CHANCE, RELIABLE
from nesy_gedi.training.assigning import ACCIDENTS, DOUBTFUL, UNLIKELY
from nesy_gedi.training.bundled import bundled_programs, find_program
from nesy_gedi.training.labels import LABELLED_BATCH
from nesy_gedi.training.planning import FEW
from nesy_gedi.training.recipe import NetworkRecipe, Recipe, load_recipe
from nesy_gedi.training.shown import shown_by_queries, shown_by_recipe
from nesy_gedi.training.task import Task


def test_linked_pages_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("part", ["logic", "networks", "concepts", "training", "reports"])
def test_the_architecture_page_names_every_module(part: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = [path.name for path in sorted((ROOT / "nesy_gedi" / part).glob("*.py")) if path.name != "__init__.py"]
    assert not [name for name in modules if f"`{name}`" not in page]


def test_documented_recipe_keys_are_the_defaults() -> None:
    """All tables, each with all keys: a key that is new fails here until recipes.md says what it is."""
    (text, *_) = [block.text for block in blocks("toml") if block.page == "recipes.md"]
    documented = {name: table for name, table in tomllib.loads(text).items() if name != "when"}
    recipe = dataclasses.asdict(Recipe(networks={"NAME": NetworkRecipe()}))
    assert documented == tomllib.loads(tomli_w.dumps(recipe))


def test_readme_begins_with_the_two_commands() -> None:
    first = blocks_of(ROOT / "README.md")[0]
    assert [command.arguments for command in commands_of(first)] == [["make", "train"], ["make", "test"]]


@pytest.mark.parametrize(
    ("page", "said", "value", "told"),
    [
        ("few-labels.md", "the training queries show fewer than half as many images", FEW, 0.5),
        ("data.md", "up to 64 pixels a side", LONGEST_SIDE, 64),
        ("data.md", "at most 4 GiB", decoded_cache.LIMIT, 4 * 2**30),
        ("data.md", "a fifth is for the test", TEST_SHARE, 0.2),
        ("few-labels.md", "over 20 times less likely", math.exp(NEAR_TIE), 20.0),
        ("few-labels.md", "at most 128 labelled images a step", LABELLED_BATCH, 128),
        ("few-labels.md", "more than a fifth of the way", UNLIKELY, 0.2),
        ("approximation.md", "at least 99 % of the time", CONFIDENCE, 0.99),
        ("approximation.md", "0.53 % for 1000 worlds", estimate_share(0, 1000).upper, pytest.approx(0.0053, abs=5e-5)),
        ("inspect.md", "at least 90% of the images", RELIABLE, 0.9),
        ("inspect.md", "less than two fifths of the way from chance", ABOVE_CHANCE, 0.4),
        ("few-labels.md", "less than 10,000 times less likely", math.exp(DOUBTFUL), pytest.approx(10_000)),
        ("few-labels.md", "but for one in a thousand", ACCIDENTS, 1e-3),
        ("inspect.md", "among 1,000 maps at most", shortcuts.MAX_MAPS, 1000),
        ("inspect.md", "where five seconds are not enough", shortcuts.SECONDS, 5.0),
    ],
)
def test_thresholds_in_words_are_those_of_the_code(page: str, said: str, value: float, told: float) -> None:
    assert said in (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert value == pytest.approx(told)


def test_what_benchmarks_write_is_there() -> None:
    found = [
        (page.name, name, text)
        for page in PAGES
        for name, text in re.findall(
            r"<!-- ([\w-]+): begin -->(.*?)<!-- \1: end -->", page.read_text(encoding="utf-8"), re.DOTALL
        )
    ]
    assert len(found) == sum(page.read_text(encoding="utf-8").count(": begin -->") for page in PAGES)
    assert [(page, name) for page, name, text in found if not text.strip()] == []


PROGRAMS = re.findall(
    r"^\| \[(\w+)\]\(programs/\1\.md\) \|.*?\| (all|[\d,]+ of) ([\d,]+) (\w+) \| (.*?) \| (.*?) \| (.*?) \|$",
    (ROOT / "docs" / "programs.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_table_of_programs_is_read() -> None:
    assert sorted(name for name, *_ in PROGRAMS) == [program.name for program in bundled_programs()]


@pytest.mark.parametrize(("name", "shown", "tuples", "what", "count", "one_to_one", "labels"), PROGRAMS)
def test_the_table_of_programs_is_right(
    name: str, shown: str, tuples: str, what: str, count: str, one_to_one: str, labels: str
) -> None:
    found = find_program(name)
    task = Task(Program.load(found.path), load_recipe(found.recipe))
    support = shown_by_recipe(task)
    if name == "traffic":  # whose scenes leave combinations out
        support = shown_by_queries(task, task.queries(load_images("traffic")).train)
    seen = torch.stack(list(support.symbols.values()), 1).unique(dim=0)
    assert (len(seen), math.prod(len(each.domain) for each in task.concepts)) == (
        number(tuples if shown == "all" else shown.removesuffix(" of")),
        number(tuples),
    )
    with task.answering():
        seen_by_program = support.tuples(task)
        found_maps = shortcuts.list_optimal_maps(seen_by_program, seconds=600.0, limit=1)
        repairs = [fewest_labels(seen_by_program, one_to_one=pure, seconds=600.0) for pure in (False, True)]
    assert found_maps.exact
    assert (found_maps.count.lower, found_maps.one_to_one.lower) == (number(count), number(one_to_one))
    assert all(repair.proven for repair in repairs)
    needed = [len(repair.labels or ()) for repair in repairs]
    assert needed[0] == number(labels)
    # The program's page says the same.
    page = (ROOT / "docs" / "programs" / f"{name}.md").read_text(encoding="utf-8")
    told = f"Training shows {shown} {tuples} {what}. Optimal maps: {number(count)}; one to one: {number(one_to_one)}. "
    assert f"{told}Labels that settle it: {needed[0]}; with pure clusters: {needed[1]}." in page


def number(text: str) -> int:
    return int(text.strip("*").replace(",", ""))
