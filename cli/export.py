"""``nesy-gedi export``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json, print_table


@click.command(short_help="Write a run's encoders and answers as files that work anywhere.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write.")
@click.option("--network", metavar="NAME", help="Only this network's encoder, without answers.")
@click.option("--no-onnx", is_flag=True, help="No ONNX files.")
@click.option("--force", is_flag=True, help="Replace an export that is there.")
@options.data_dir
@options.download
@options.encoder
@options.trust
@options.as_json
def export(
    run: Path,
    to: Path,
    network: str | None,
    no_onnx: bool,
    force: bool,
    data_dir: Path | None,
    download: bool,
    encoders: tuple[str, ...],
    trust: bool,
    as_json: bool,
) -> None:
    """Write what RUN, of `train` or `pretrain`, has learned into the folder DIR, and try every file.

    Each network's encoder comes as safetensors with a definition in plain PyTorch that needs nothing of nesy-gedi, as ONNX,
    and with a card; the program's answers come with networks and circuit in one file, for torch.export and ONNX Runtime.

    \b
      nesy-gedi export runs/addition-20260101-abcdef --to addition-encoder
    """
    from nesy_gedi.training.exporting import export_run

    exported = export_run(
        run,
        to,
        network=network,
        force=force,
        onnx=not no_onnx,
        data_dir=data_dir,
        download=download,
        encoders=options.read_encoders(encoders),
        trusted=trust,
    )
    if as_json:
        print_json(exported.document)
        return
    networks, answers = exported.document["networks"], exported.document["answers"]
    rows = [
        [
            folder,
            "x".join(map(str, what["image_shape"])),
            what["features"],
            len(what["domain"]),
            _of_features(what["checks"]),
        ]
        for folder, what in networks.items()
    ]
    print_table(rows, ["encoder", "takes", "features", "symbols", "ONNX differs by"])
    if answers is not None:
        differs = answers["differences"]
        click.echo(
            f"answers: {answers['query']}, {len(answers['answers'])} answers; from the reasoner they differ by "
            f"{_difference(differs['reasoner'])}"
            + (f", in ONNX by {_difference(differs['onnx'])}" if "onnx" in differs else "")
        )
    click.echo(str(exported.path))


def _of_features(checks: Mapping[str, float]) -> str:
    """Rounding grows with the features themselves, so that one says little without the other."""
    if (apart := checks.get("onnx_features_difference")) is None:
        return ""
    return f"{_difference(apart)} of {checks['onnx_features_largest']:.2g}"


def _difference(value: float | None) -> str:
    return "" if value is None else f"{value:.1g}"
