"""A finished run as a notebook looks at it: metrics, figures, what its symbols mean."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nesy_gedi.errors import UsageError
from nesy_gedi.files import write_text
from nesy_gedi.logic.reasoner import Reasoner
from nesy_gedi.training.exporting import Exported, export_run
from nesy_gedi.training.image_files import predict_files
from nesy_gedi.training.predictions import Predictions
from nesy_gedi.training.predictor import Predictor
from nesy_gedi.training.predictor_inputs import Given
from nesy_gedi.training.query_files import single_query
from nesy_gedi.training.training import Trained

if TYPE_CHECKING:  # matplotlib and what finds shortcuts are imported when they are asked for
    from nesy_gedi.reports.figures import Figures
    from nesy_gedi.reports.inspection import Inspection


class TrainingResult(Trained):
    """A finished run in memory; in a notebook it shows what was learned.

    Attributes:
        run: its folder, ``run.path``.
        task: program, circuit and slots.
        networks: name -> :class:`~nesy_gedi.networks.perception.Perception`, with the weights that were kept: images
            (n, channels, height, width) uint8 in, log-probabilities (n, K) out.
        queries: the test queries that it was measured on.
        document: metrics and times, as ``--json`` prints them.
    """

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured on the test queries: ``answer_accuracy``, ``concept_accuracy`` and so on, all shares in [0, 1]."""
        found: dict[str, Any] = self.document["metrics"]
        return found

    @property
    def reasoner(self) -> Reasoner:
        """The circuit: log-probabilities (batch, K) of each image in, those of the answers (batch, answers) out."""
        return self.task.reasoner

    @cached_property
    def _inspection(self) -> Inspection:
        from nesy_gedi.reports.inspection import inspect

        return inspect(self)

    def inspect(self) -> Inspection:
        """What the networks' symbols mean, and which other readings would have fitted; found once, and then kept."""
        return self._inspection

    @cached_property
    def figures(self) -> Figures:
        """The report's figures by name, as matplotlib figures; each is drawn when it is first asked for."""
        from nesy_gedi.reports.figures import figures_of

        return figures_of(self.inspect())

    def report(self) -> Path:
        """Write the report, one page that needs nothing else.

        Returns:
            The path of ``report.html`` in the run folder.
        """
        from nesy_gedi.reports.html import render

        write_text(self.run.report_file, render(self.inspect()))
        return self.run.report_file

    @cached_property
    def predictor(self) -> Predictor:
        """Answers about new images, as :func:`nesy_gedi.load_predictor` gives them of the run's folder; loaded once."""
        return Predictor.load(self.run.path, trusted=True)  # whoever trained it has named its Python

    def predict(self, *images: str | Path | Tensor, given: Given | None = None) -> Predictions:
        """Answers about new images, the symbols behind them, and what is in doubt.

        Args:
            images: one for each slot, in the order of the query form: files, for one query; or tensors, for n of them,
                (n, channels, height, width) uint8 in 0..255 or float in [0, 1], points (n, d) float.
            given: values of observed slots that are known, by slot.

        Raises:
            UsageError: another number of images than of slots, or a value outside its domain.
            DataError: an image that cannot be read, or of another shape.
        """
        tensors = [image for image in images if isinstance(image, Tensor)]
        if tensors:
            files = [image for image in images if not isinstance(image, Tensor)]
            if files:
                raise UsageError(f"{files[0]} is a file, others are tensors", hint="give either for all slots")
            return self.predictor(tensors, given=given)
        queries = single_query(self.predictor, [Path(str(image)) for image in images])
        stated = {slot: str(value) for slot, value in (given or {}).items()}
        (found,) = predict_files(self.predictor, queries, given=stated)
        assert found.predictions is not None  # what cannot be read is an error
        return found.predictions

    def export(self, to: str | Path, *, force: bool = False, onnx: bool = True) -> Exported:
        """Write what was learned as files that work without this package; see :func:`nesy_gedi.export_run`.

        Args:
            to: the folder to write.
            force: replace an export that is there.
            onnx: whether to write ONNX files, which needs the packages of the extra ``onnx``.
        """
        images = self.queries.images
        return export_run(self.run.path, to, force=force, onnx=onnx, images=images, trusted=True)

    def _repr_html_(self) -> str:
        from nesy_gedi.reports.summary import summary

        return summary(self.inspect())

    def __repr__(self) -> str:
        right = f"{self.metrics['answer_accuracy']:.2%} of {self.metrics['queries']} test answers right"
        return f"TrainingResult({Path(self.document['program']).stem} on {self.document['data']}: {right}; {self.run.path})"
