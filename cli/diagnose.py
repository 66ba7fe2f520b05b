"""``nesy-gedi diagnose``."""

from __future__ import annotations

from pathlib import Path

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json
from nesy_gedi.cli.results import print_diagnosis


@click.command(short_help="Has an encoder collapsed, and what are its features worth?")
@click.argument("target")
@options.data_options
@options.device
@options.trust
@options.as_json
def diagnose(
    target: str, source: str | None, data_dir: Path | None, download: bool, device: str, trust: bool, as_json: bool
) -> None:
    """Measure the collapse of an encoder, and what a linear classifier and nearest neighbours make of its features.

    TARGET is the run folder of `pretrain` or `train`, or an encoder as --encoder names it: package.module:factory.

    \b
      nesy-gedi diagnose runs/falcon-digits-20260101-abcdef
      nesy-gedi diagnose my_package.networks:resnet --data cifar10
    """
    from nesy_gedi.training.diagnosis import diagnose_encoder

    document = diagnose_encoder(
        target, source=source, data_dir=data_dir, download=download, device=device, trusted=trust
    )
    if as_json:
        print_json(document)
    else:
        print_diagnosis(document)
