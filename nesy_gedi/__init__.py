"""nesy-gedi: train the networks of DeepProbLog programs on images; exact, batch-wide inference."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nesy_gedi.concepts.assignment import Assignment, assign
    from nesy_gedi.concepts.soft_assignment import SoftAssignment, assign_softly
    from nesy_gedi.data.arrays import from_arrays
    from nesy_gedi.data.datasets import from_dataset
    from nesy_gedi.data.images import load_images
    from nesy_gedi.errors import (
        AnswerError,
        BudgetError,
        DataError,
        DistributionError,
        EngineError,
        Interrupted,
        NesyGediError,
        NesyGediWarning,
        ProgramError,
        RecipeError,
        RunError,
        UsageError,
    )
    from nesy_gedi.jobs import evaluate, pretrain, train
    from nesy_gedi.logic.budget import Budget
    from nesy_gedi.logic.explanations import Explanation
    from nesy_gedi.logic.marginals import Marginals
    from nesy_gedi.logic.program import Program
    from nesy_gedi.logic.queries import PlainQueries, answer_queries
    from nesy_gedi.logic.reasoner import Reasoner
    from nesy_gedi.logic.topk import TopK
    from nesy_gedi.logic.world_sampling import Sampler
    from nesy_gedi.networks.perception import Perception
    from nesy_gedi.objectives import find_objective
    from nesy_gedi.reports.html import write_report
    from nesy_gedi.reports.inspection import Inspection, inspect_run
    from nesy_gedi.reports.pretraining_report import write_pretraining_report
    from nesy_gedi.reports.shortcut_report import ShortcutReport, count_shortcuts
    from nesy_gedi.reports.training_result import TrainingResult
    from nesy_gedi.training.deepproblog_queries import DeepProbLogReasoner, deepproblog_images
    from nesy_gedi.training.diagnosis import diagnose_encoder
    from nesy_gedi.training.exporting import Exported, export_run
    from nesy_gedi.training.from_deepproblog import from_deepproblog
    from nesy_gedi.training.predictions import Predictions
    from nesy_gedi.training.predictor import Predictor, load_predictor
    from nesy_gedi.training.pretrain_recipe import PretrainRecipe, load_pretrain_recipe
    from nesy_gedi.training.pretrained import load_perception
    from nesy_gedi.training.recipe import Recipe, load_recipe
    from nesy_gedi.training.tensorboard import TensorBoard
    from nesy_gedi.training.to_deepproblog import as_deepproblog_network, deepproblog_model

# The public names and where they live. Imported on first use: torch alone takes over a second.
_PUBLIC = {
    "AnswerError": "nesy_gedi.errors",
    "Assignment": "nesy_gedi.concepts.assignment",
    "Budget": "nesy_gedi.logic.budget",
    "BudgetError": "nesy_gedi.errors",
    "DataError": "nesy_gedi.errors",
    "DeepProbLogReasoner": "nesy_gedi.training.deepproblog_queries",
    "DistributionError": "nesy_gedi.errors",
    "EngineError": "nesy_gedi.errors",
    "Explanation": "nesy_gedi.logic.explanations",
    "Exported": "nesy_gedi.training.exporting",
    "Inspection": "nesy_gedi.reports.inspection",
    "Interrupted": "nesy_gedi.errors",
    "Marginals": "nesy_gedi.logic.marginals",
    "NesyGediError": "nesy_gedi.errors",
    "NesyGediWarning": "nesy_gedi.errors",
    "Perception": "nesy_gedi.networks.perception",
    "PlainQueries": "nesy_gedi.logic.queries",
    "Predictions": "nesy_gedi.training.predictions",
    "Predictor": "nesy_gedi.training.predictor",
    "PretrainRecipe": "nesy_gedi.training.pretrain_recipe",
    "Program": "nesy_gedi.logic.program",
    "ProgramError": "nesy_gedi.errors",
    "Reasoner": "nesy_gedi.logic.reasoner",
    "Recipe": "nesy_gedi.training.recipe",
    "RecipeError": "nesy_gedi.errors",
    "RunError": "nesy_gedi.errors",
    "Sampler": "nesy_gedi.logic.world_sampling",
    "ShortcutReport": "nesy_gedi.reports.shortcut_report",
    "SoftAssignment": "nesy_gedi.concepts.soft_assignment",
    "TensorBoard": "nesy_gedi.training.tensorboard",
    "TopK": "nesy_gedi.logic.topk",
    "TrainingResult": "nesy_gedi.reports.training_result",
    "UsageError": "nesy_gedi.errors",
    "answer_queries": "nesy_gedi.logic.queries",
    "as_deepproblog_network": "nesy_gedi.training.to_deepproblog",
    "assign": "nesy_gedi.concepts.assignment",
    "assign_softly": "nesy_gedi.concepts.soft_assignment",
    "count_shortcuts": "nesy_gedi.reports.shortcut_report",
    "deepproblog_images": "nesy_gedi.training.deepproblog_queries",
    "deepproblog_model": "nesy_gedi.training.to_deepproblog",
    "diagnose_encoder": "nesy_gedi.training.diagnosis",
    "export_run": "nesy_gedi.training.exporting",
    "evaluate": "nesy_gedi.jobs",
    "find_objective": "nesy_gedi.objectives",
    "from_arrays": "nesy_gedi.data.arrays",
    "from_dataset": "nesy_gedi.data.datasets",
    "from_deepproblog": "nesy_gedi.training.from_deepproblog",
    "inspect_run": "nesy_gedi.reports.inspection",
    "load_images": "nesy_gedi.data.images",
    "load_perception": "nesy_gedi.training.pretrained",
    "load_predictor": "nesy_gedi.training.predictor",
    "load_pretrain_recipe": "nesy_gedi.training.pretrain_recipe",
    "load_recipe": "nesy_gedi.training.recipe",
    "pretrain": "nesy_gedi.jobs",
    "train": "nesy_gedi.jobs",
    "write_pretraining_report": "nesy_gedi.reports.pretraining_report",
    "write_report": "nesy_gedi.reports.html",
}

__all__ = [
    "AnswerError",
    "Assignment",
    "Budget",
    "BudgetError",
    "DataError",
    "DeepProbLogReasoner",
    "DistributionError",
    "EngineError",
    "Explanation",
    "Exported",
    "Inspection",
    "Interrupted",
    "Marginals",
    "NesyGediError",
    "NesyGediWarning",
    "Perception",
    "PlainQueries",
    "Predictions",
    "Predictor",
    "PretrainRecipe",
    "Program",
    "ProgramError",
    "Reasoner",
    "Recipe",
    "RecipeError",
    "RunError",
    "Sampler",
    "ShortcutReport",
    "SoftAssignment",
    "TensorBoard",
    "TopK",
    "TrainingResult",
    "UsageError",
    "answer_queries",
    "as_deepproblog_network",
    "assign",
    "assign_softly",
    "count_shortcuts",
    "deepproblog_images",
    "deepproblog_model",
    "diagnose_encoder",
    "evaluate",
    "export_run",
    "find_objective",
    "from_arrays",
    "from_dataset",
    "from_deepproblog",
    "inspect_run",
    "load_images",
    "load_perception",
    "load_predictor",
    "load_pretrain_recipe",
    "load_recipe",
    "pretrain",
    "train",
    "write_pretraining_report",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
