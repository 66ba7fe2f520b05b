"""What is said of a program's training, as ``--json`` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nesy_gedi.data import ImageSplits
from nesy_gedi.training.data_in_memory import name_of
from nesy_gedi.training.recipe import SECTIONS
from nesy_gedi.training.runs import VERSION, ProgramRun
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task


def result_of(
    task: Task, run: ProgramRun, images: ImageSplits, device: str, metrics: dict[str, Any], best_epoch: int
) -> dict[str, Any]:
    """The final document, but for its times."""
    return {
        "version": VERSION,
        # As it was named when training began, not the copy in the run folder.
        "program": run.environment().get("program", task.program.source.name),
        "run": str(run.path),
        "seed": task.recipe.seed,
        "method": task.recipe.method,
        "data": name_of(task.recipe, images),
        "metrics": metrics,
        "device": device,
        "best_epoch": best_epoch,
        "learned": task.reasoner.learned.probabilities(),
    }


def times_of(task: Task, total: float, seconds: Mapping[str, float]) -> dict[str, float]:
    """Where the time went, in seconds."""
    circuit = task.reasoner.circuit
    return {
        "total_s": total,
        "network_s": seconds.get("network", 0.0),
        "logic_s": seconds.get("logic", 0.0),
        "grounding_s": 0.0 if circuit.cached else circuit.ground_s + circuit.compile_s,
    }


def facts_of(task: Task, splits: Splits, device: str) -> dict[str, Any]:
    """What a listener is told before the first step, and a dry run says."""
    nodes, edges = task.reasoner.circuit.size()
    recipe = task.recipe
    section = SECTIONS.get(recipe.method)
    return {
        "device": device,
        "method": recipe.method,
        "query": task.reasoner.form.text,
        "answers": len(task.reasoner.answers),
        "nodes": nodes,
        "edges": edges,
        "circuit": task.reasoner.circuit.method,
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        "epochs": getattr(recipe, section).epochs if section else 0,
    }
