"""``nesy-gedi evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from nesy_gedi.cli import options
from nesy_gedi.cli.output import print_json
from nesy_gedi.cli.results import print_result


@click.command(short_help="Measure a run on its test queries, or on other data.")
@click.argument("run", type=click.Path(path_type=Path))
@options.data_options
@options.encoder
@options.engine
@options.device
@options.trust
@options.as_json
def evaluate(
    run: Path,
    source: str | None,
    data_dir: Path | None,
    download: bool,
    encoders: tuple[str, ...],
    engine: str | None,
    device: str,
    trust: bool,
    as_json: bool,
) -> None:
    """Measure the best weights of RUN on the test queries of its data, or of another data set with --data."""
    from nesy_gedi.training import training

    trained = training.evaluate(
        run,
        source=source,
        data_dir=data_dir,
        download=download,
        device=device,
        encoders=options.read_encoders(encoders),
        engine=engine,
        trusted=trust,
    )
    if as_json:
        print_json(trained.document)
    else:
        print_result(trained.document, report=trained.run.report_file)
