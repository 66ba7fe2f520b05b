"""Every way to learn symbols on every task, as a user runs it: train, and read the figures off the command's JSON.

    python benchmarks/shortcuts.py --results build/shortcuts.jsonl              # everything: days on two cores
    python benchmarks/shortcuts.py --results build/shortcuts.jsonl --seeds 0    # no run: the tables of what is there
    python benchmarks/shortcuts.py --data mnist --tasks '10 sums,half' --methods 'answers alone' --seeds 2 --dry

Writes README.md, docs/performance.md, docs/generated-tasks.md, docs/few-sums.svg and docs/shortcuts.svg. With
``--results`` each finished run is added to that file at once and is not repeated, so that a long benchmark can be stopped
and continued; runs of a recipe that has changed since are left out, saying so. Pretrained networks are kept below
build/shortcuts. MNIST is looked for as the command does and left out, saying so, when it is not there. A run that fails
is shown as failed; remove its line from the file to try it again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from record import ROOT, markdown_table, write_section
from runs import Document, Outcome, Records, median, middle_and_worst, names, seeds_of, tell
from shortcut_figures import Curve, Dots, draw_curves, draw_dots
from shortcut_runs import (
    ANSWERS,
    ANSWERS_STEPS,
    ASKED,
    ASKING,
    ASSIGNED,
    FEW_VALIDATION,
    GEDI,
    LABELLED,
    MAIN_METRIC,
    MANY,
    METHODS,
    SUMS,
    WHOLE,
    Method,
    ShortcutJob,
    Task,
    suits,
    tasks_on,
    train,
)

from nesy_gedi.data import describe

DATA = ("mnist", "digits", "shapes", "traffic")
CURVES_DATA = "mnist"
CURVES, FIGURE = "docs/few-sums.svg", "docs/shortcuts.svg"
SHORT = (ANSWERS, GEDI, ASSIGNED, WHOLE, ASKING, ASKED, LABELLED)
"""Methods in README.md and in the curve."""

GENERATED = ("shapes", "traffic")
"""Data of the tasks whose tables stand in docs/generated-tasks.md as well."""

Done = dict[tuple[Task, Method], list[Outcome]]
Read = Callable[[Document], float | None]


def metric(name: str) -> Read:
    return lambda document: document["metrics"].get(name)


def outside(name: str) -> Read:
    return lambda document: document["metrics"].get("outside", {}).get(name)


ACCURACY = metric(MAIN_METRIC)


def values(read: Read, outcomes: Sequence[Outcome]) -> list[float]:
    """Of the runs that were finished and have such a number."""
    found = [read(each.document) for each in outcomes if each.document is not None]
    return [value for value in found if value is not None]


def medians(read: Read, outcomes: Sequence[Outcome], digits: int = 3) -> str:
    return median(values(read, outcomes), digits)


def accuracies(outcomes: Sequence[Outcome]) -> list[str]:
    """Of symbols, in the middle and of the worst seed."""
    return middle_and_worst(values(ACCURACY, outcomes), sum(each.document is None for each in outcomes), 3)


HEADER = (
    "method",
    "seeds",
    "answers",
    "symbols, median",
    "worst",
    "aligned",
    "answers outside",
    "symbols outside",
    "Cls",
    "ECE",
    "minutes, median",
    "slowest",
)


def row(method: Method, outcomes: Sequence[Outcome]) -> list[object]:
    minutes = [each.seconds / 60 for each in outcomes]
    return [
        method.name,
        seeds_of(outcomes),
        medians(metric("answer_accuracy"), outcomes),
        *accuracies(outcomes),
        medians(metric("aligned_concept_accuracy"), outcomes),
        medians(outside("answer_accuracy"), outcomes),
        medians(outside("concept_accuracy"), outcomes),
        medians(metric("concept_collapse"), outcomes, 2),
        medians(metric("concept_ece"), outcomes, 3),
        f"{statistics.median(minutes):.1f}",
        f"{max(minutes):.1f}",
    ]


EXPLANATION = (
    "Each row is `nesy-gedi train PROGRAM` over all seeds, in whole processes with one thread each, start-up included; none "
    "is left out, and a run that failed counts as the worst. *Answers* and *symbols* are accuracies on test images, where "
    "a symbol is right only if it is the one that was meant; *aligned* is that of the best renaming; *outside* is over the "
    "tuples of symbols that training never showed. *Cls* is the share of symbols that are hardly ever read, *ECE* the "
    "calibration error of symbols. Columns that do not say *worst* or *slowest* are medians. Networks are pretrained once "
    "for each seed, and the minutes count that in every row that begins from it. For answers alone and objectives "
    "co-trained without pretraining, the best epoch is chosen by the answers to validation queries, {validation} where "
    "sums are few, and answers alone take at least {steps} steps. *N sums* is addition.pl with N labelled sums; "
    "all other training images are unlabelled. A label is one image whose symbol is told, another one with each seed; the "
    "labels asked for are those of images that the assignment names, none where it names none. Where four answers are asked "
    "for, four of the N sums at most are those that tell most, and the others drawn at random as everywhere else."
)


def table_of(task: Task, done: Done) -> str:
    rows = [row(method, done[task, method]) for method in METHODS if (task, method) in done]
    return f"### {task.title}\n\n{markdown_table(HEADER, rows)}"


def short_table(tasks: Sequence[Task], done: Done) -> str:
    methods = [method for method in SHORT if any((task, method) in done for task in tasks)]
    rows: list[list[object]] = []
    for task in tasks:
        cells = []
        for method in methods:
            outcomes = done.get((task, method))
            middle, worst = accuracies(outcomes) if outcomes else ("-", "")
            cells.append(f"{middle} ({worst}; {len(outcomes)})" if outcomes else middle)
        rows.append([task.title, *cells])
    return markdown_table(("task", *(method.name for method in methods)), rows)


SHORT_EXPLANATION = (
    "Share of test images whose symbol is read as it was meant: median (worst; number of seeds). Nothing but answers is "
    "told unless the column says so; the first rows are addition.pl with as many labelled sums. Answers asked for are up to "
    "four of these sums, which the run chooses; labels asked for are told where it names some."
)


def write(done: Done, dry: bool) -> None:
    """Tables and figures of everything that was run."""
    where = sorted({each.machine for outcomes in done.values() for each in outcomes})
    on = f"On {'; and on '.join(where)}."
    tasks = [task for data in DATA for task in tasks_on(data) if any(other == task for other, _ in done)]
    explained = EXPLANATION.format(steps=ANSWERS_STEPS, validation=FEW_VALIDATION)
    full = "\n\n".join(
        [f"`python benchmarks/shortcuts.py`. {on} {explained}", *(table_of(task, done) for task in tasks)]
    )
    print(full)
    if dry:
        return
    few = [task for task in tasks_on(CURVES_DATA) if task.queries in SUMS and task in tasks]
    curves = []
    for style, method in enumerate(SHORT):
        points = {task.queries: values(ACCURACY, done[task, method]) for task in few if (task, method) in done}
        if len(points) > 1:
            curves.append(Curve(method.name, style, points))
    (ROOT / CURVES).write_text(draw_curves(curves, "labelled sums", "digit accuracy, MNIST test set"), encoding="utf-8")
    panels = {
        task.title: [Dots(m.name, values(ACCURACY, done[task, m])) for m in METHODS if (task, m) in done]
        for task in tasks
        if task.queries in (0, MANY)
    }
    (ROOT / FIGURE).write_text(draw_dots(panels, "accuracy of symbols, not aligned"), encoding="utf-8")
    short = f"{SHORT_EXPLANATION} {on}\n\n{short_table(tasks, done)}"
    write_section("README.md", "shortcuts", f"{short}\n\n{pictures('docs/')}")
    write_section("docs/performance.md", "shortcuts", f"{full}\n\n{pictures('')}")
    for task in tasks:
        if task.data in GENERATED:
            rows = [row(method, done[task, method]) for method in METHODS if (task, method) in done]
            write_section("docs/generated-tasks.md", task.name, f"{on}\n\n{markdown_table(HEADER, rows)}")


def pictures(folder: str) -> str:
    shown = {"Digit accuracy by number of sums": CURVES, "Accuracy of symbols, every seed": FIGURE}
    return "\n\n".join(f"![{title}]({folder}{Path(file).name})" for title, file in shown.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=names, default=list(DATA), metavar="A,B")
    parser.add_argument("--tasks", type=names, metavar="A,B", help="names as in the tables, such as '10 sums'")
    parser.add_argument("--methods", type=lambda text: text.split(";"), metavar="A;B", help="names as in the tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="add finished runs here, do not repeat them")
    parser.add_argument("--data-dir")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    folder = Path(options.data_dir) if options.data_dir else None
    found = [data for data in options.data if describe(data, folder).status != "missing"]
    for data in set(options.data) - set(found):
        tell(f"{data} was not measured: give --data-dir")
    chosen = [task for data in found for task in tasks_on(data) if options.tasks is None or task.name in options.tasks]
    methods = [method for method in METHODS if options.methods is None or method.name in options.methods]
    if not chosen or not methods:
        raise SystemExit("no task or no method has such a name")
    records = Records(options.results)
    # Seed by seed, so that a benchmark that is stopped has measured every method equally often.
    for seed in range(options.first, options.first + options.seeds):
        for task in chosen:
            for method in methods:
                job = ShortcutJob(task, method)
                if suits(method, task) and not records.has(job, seed):
                    train(job, seed, options.data_dir, records)
    done: Done = {}
    for task in (task for data in DATA for task in tasks_on(data)):
        for method in METHODS:
            if outcomes := records.of(ShortcutJob(task, method)):
                done[task, method] = outcomes
    if not done:
        raise SystemExit("nothing was measured")
    write(done, options.dry)


if __name__ == "__main__":
    main()
