"""What the processes beside the first do of a training: the same steps, and nothing that is written or said."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from nesy_gedi.data import load_images
from nesy_gedi.logic.cache import GroundingCache
from nesy_gedi.training.devices import make_fabric
from nesy_gedi.training.fitting import fit_task, place_on
from nesy_gedi.training.labels import read_labels
from nesy_gedi.training.loop import Listener
from nesy_gedi.training.perceptions import inputs_of, make_perceptions, shapes_of
from nesy_gedi.training.processes import Processes
from nesy_gedi.training.runs import ProgramRun, open_run
from nesy_gedi.training.splits import Splits
from nesy_gedi.training.task import Task


class Followed(NamedTuple):
    """A training that this process has taken part in."""

    run: ProgramRun
    task: Task
    networks: nn.ModuleDict
    splits: Splits
    document: dict[str, Any]


def lead(
    processes: Processes,
    run: ProgramRun,
    task: Task,
    *,
    data_dir: Path | None,
    device: str,
    trusted_encoders: tuple[str, ...],
) -> None:
    """Tell the other processes what is trained, now that the run folder and the circuit are there."""
    processes.told(
        {
            "run": str(run.path.resolve()),
            "trusted": task.program.trusted,
            "data_dir": None if data_dir is None else str(data_dir),
            "device": device,
            "trusted_encoders": trusted_encoders,
        }
    )


def follow(processes: Processes) -> Followed | None:
    """Take part in what the first process :func:`leads <lead>`; None where there is nothing to train.

    The circuit comes from the cache, where the first process has put it; a program that may load files is not cached and
    grounded again.

    Raises:
        Lost: the first process has ended.
        NesyGediError: as training.
    """
    told: dict[str, Any] | None = processes.told(None)
    if told is None:
        return None
    run = open_run(Path(told["run"]))
    task = Task(run.program(trusted=told["trusted"]), run.recipe(), cache=GroundingCache())
    folder = None if told["data_dir"] is None else Path(told["data_dir"])
    images = load_images(task.recipe.data.source, data_dir=folder, options=task.recipe.data.options())
    splits = task.queries(images)
    labelled = read_labels(task, splits.pool)
    # Their weights and statistics will be those of the first process.
    shapes = shapes_of(inputs_of(task, images.train, splits.train.index))
    networks = make_perceptions(task, shapes, trusted=tuple(told["trusted_encoders"]))
    fabric = make_fabric(told["device"], task.recipe.training.precision, processes)
    wrapped = place_on(fabric, task, networks)
    fit_task(task, wrapped, splits, labelled, fabric, run, Listener(), lambda: False)
    return Followed(run, task, networks, splits, processes.told(None))  # which is said when all is written
