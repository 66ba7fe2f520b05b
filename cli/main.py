"""Entry point: the group of commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import click

from nesy_gedi.cli.data import data
from nesy_gedi.cli.diagnose import diagnose
from nesy_gedi.cli.doctor import doctor
from nesy_gedi.cli.evaluate import evaluate
from nesy_gedi.cli.export import export
from nesy_gedi.cli.ground import ground
from nesy_gedi.cli.inspect import inspect
from nesy_gedi.cli.listings import programs
from nesy_gedi.cli.output import exit_code, print_status, render_error, show_warning
from nesy_gedi.cli.predict import predict
from nesy_gedi.cli.pretrain import pretrain
from nesy_gedi.cli.query import query
from nesy_gedi.cli.shortcuts import shortcuts
from nesy_gedi.cli.train import train
from nesy_gedi.errors import NesyGediError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nesy-gedi")
def commands() -> None:
    """Train the networks of DeepProbLog programs on images, exactly and batch-wide.

    \b
    First steps:
      nesy-gedi train addition         train the first bundled program
      nesy-gedi pretrain               learn clusters of digits without a label
      nesy-gedi programs               what else is bundled
      nesy-gedi inspect RUN            what the symbols of a run mean, with pictures
      nesy-gedi export RUN --to DIR    its encoders and answers, as files that work anywhere
      nesy-gedi shortcuts mnist_half   what a perfect score on its answers may hide
    """


for command in (
    *(train, pretrain, evaluate, predict, inspect, export),
    *(shortcuts, diagnose, ground, query, programs, data, doctor),
):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 wrong usage, 3 a check found a disagreement, 130 interrupted."""
    # Before torch starts its threads: they would spin at every barrier, and where another process has one of two cores,
    # waiting in turns makes training several times slower than sleeping does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    warnings.showwarning = show_warning
    try:
        sys.exit(commands.main(given, prog_name="nesy-gedi", standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print_status("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
    except NesyGediError as error:
        if debug:
            raise
        render_error(error)
        sys.exit(exit_code(error))
    except OSError as error:
        if debug:
            raise
        render_error(NesyGediError(f"the system refused: {error}", hint="check free space and permissions"))
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        render_error(
            NesyGediError(
                f"internal error: {type(error).__name__}: {error}",
                hint="run it again with --debug and report the traceback",
            )
        )
        sys.exit(1)
