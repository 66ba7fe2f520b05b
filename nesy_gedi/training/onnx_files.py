"""ONNX files of modules, checked in ONNX Runtime against PyTorch before anyone gets them."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from nesy_gedi.errors import RunError, UsageError

TOLERANCE = 1e-5
"""Most that a value in ONNX Runtime may differ from PyTorch's, as a share of the largest of them where that is above one."""

BATCH = "n"
"""Name of the dimension that may have any size."""

FEW = 3
"""Rows of black images that a module is followed with; of one, an exporter would take the number for fixed."""

SKIPPED = "leave ONNX out: --no-onnx"
"""What to do where it cannot be had."""


def need_onnx() -> None:
    """Refuse what follows where the packages are missing.

    Raises:
        UsageError: one is.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"ONNX needs packages that are not there: {error}",
            hint=f'install them: pip install "nesy-gedi[onnx]", or {SKIPPED}',
        ) from error


def capture(module: nn.Module, inputs: Sequence[Tensor], what: str) -> ExportedProgram:
    """The module's operations, for batches of any size.

    Args:
        module: in evaluation mode; its ``forward`` takes ``*inputs``.
        inputs: (n, ...) each; their shapes and types are looked at alone.
        what: it is, for errors.

    Raises:
        RunError: it does something that cannot be followed.
    """
    rows = torch.export.Dim(BATCH, min=1)
    try:
        with _quiet(), _out_of_place(module), torch.no_grad():
            examples = tuple(each.new_zeros(FEW, *each.shape[1:]) for each in inputs)
            shapes = {"inputs": tuple({0: rows} for _ in inputs)}
            found = torch.export.export(module, examples, dynamic_shapes=shapes)
    except Exception as error:  # whatever an encoder of the user's own does
        raise RunError(
            f"{what} cannot be followed by torch.export: {_first_line(error)}",
            hint="let its forward() do the same for every image and any number of them, or export with --no-onnx",
        ) from error
    for graph_module in found.graph_module.modules():
        for node in graph_module.graph.nodes if isinstance(graph_module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # files of the machine that exported
    found.example_inputs = None  # nothing but operations and weights is kept
    return found


def save_program(program: ExportedProgram, file: Path) -> None:
    """Write a captured program as ``torch.export.load`` reads it."""
    with _quiet():
        torch.export.save(program, file)


def write_onnx(
    program: ExportedProgram,
    file: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    about: Mapping[str, str],
    what: str,
) -> None:
    """Write a captured program as one ONNX file.

    Args:
        inputs, outputs: their names, in order.
        about: kept in the file's metadata.

    Raises:
        RunError: an operation that ONNX does not have.
    """
    import onnx

    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, input_names=list(inputs), output_names=list(outputs), verbose=False
            )
        assert made is not None
        model = made.model_proto
    except Exception as error:  # whatever the exporter raises
        raise RunError(f"{what} cannot be written as ONNX: {_first_line(error)}", hint=SKIPPED) from error
    _forget_places(model)
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())


def compare_onnx(
    file: Path, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str
) -> dict[str, float]:
    """How far ONNX Runtime is from PyTorch, by output; tried with all rows and with a single one.

    Args:
        inputs, expected: by name, (n, ...) each.

    Raises:
        RunError: further than :data:`TOLERANCE`, or not a number where PyTorch has one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = {each.name for each in session.get_inputs()}  # an input that nothing depends on is left out
    found = dict.fromkeys(expected, 0.0)
    rows = len(next(iter(inputs.values())))
    for part in (slice(0, rows), slice(0, 1)):
        fed = {name: each[part].numpy() for name, each in inputs.items() if name in names}
        returned = session.run(list(expected), fed)
        for (name, wanted), own in zip(expected.items(), returned, strict=True):
            found[name] = max(found[name], difference(torch.from_numpy(own), wanted[part]))
    for name, apart in found.items():
        scale = _scale(expected[name])
        if not apart <= TOLERANCE * scale:
            raise RunError(
                f"ONNX Runtime computes other {name.replace('_', ' ')} of {what} than PyTorch: they differ by {apart:.3g}, "
                f"values go up to {scale:.3g}, and {TOLERANCE:g} of that was expected at most",
                hint=f"please report the encoder, and until then {SKIPPED}",
            )
    return found


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest absolute difference; infinite where one is finite or a number and the other is not."""
    same = found == expected  # equal infinities
    apart = (found.double() - expected.double()).abs().masked_fill(same, 0.0)
    return float(apart.nan_to_num(nan=torch.inf, posinf=torch.inf).max()) if apart.numel() else 0.0


def _scale(values: Tensor) -> float:
    finite = values[values.isfinite()].abs()
    return max(1.0, float(finite.max())) if finite.numel() else 1.0


def _forget_places(model: Any) -> None:
    """Leave out the names of files and modules of the machine that exported."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
        for values in (getattr(graph, key, ()) for key in ("value_info", "input", "output", "initializer")):
            for value in values:
                if hasattr(value, "metadata_props"):  # inputs of functions are names alone
                    del value.metadata_props[:]
        del graph.metadata_props[:]


@contextlib.contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """Layers such as ``nn.Hardswish(inplace=True)`` compute the same without writing into what they are given. Only then
    does ONNX know their operation: else each is taken apart, which for mobilenet_v3_small takes longer than all the rest."""
    changed = [each for each in module.modules() if getattr(each, "inplace", None) is True]
    try:
        for each in changed:
            setattr(each, "inplace", False)  # noqa: B010
        yield
    finally:
        for each in changed:
            setattr(each, "inplace", True)  # noqa: B010


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell what they do on every stream there is."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
