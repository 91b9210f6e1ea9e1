"""The command line: parse, call the library, print. Errors are one line that says what to do."""

import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from torchfinch import __version__
from torchfinch.console import err
from torchfinch.errors import TorchfinchError

_COMMANDS = {  # in the order of the way from a script to production
    "init": "init:init",
    "doctor": "doctor:doctor",
    "train": "train:train",
    "crossval": "crossval:crossval",
    "evaluate": "evaluate:evaluate",
    "compare": "compare:compare",
    "diff": "diff:diff",
    "tune": "tune:tune",
    "runs": "runs:app",
    "pack": "pack:pack",
    "inspect": "pack:inspect",
    "verify": "pack:verify",
    "push": "pull:push",
    "pull": "pull:pull",
    "dev": "dev:dev",
    "serve": "serve:serve",
    "ready": "ready:ready",
    "models": "models:app",
    "predict": "predict:predict",
    "explain": "predict:explain",
    "loadtest": "loadtest:loadtest",
    "canary": "canary:app",
    "controller": "controller:controller",
    "abtest": "abtest:app",
    "report": "report:report",
}
_NOT_WRITTEN = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "name another place",
    errno.EACCES: "name another place, or have somebody give you the right",
    errno.EPERM: "name another place, or have somebody give you the right",
    errno.EEXIST: "name another place",
    errno.ENOTDIR: "name another place",
}


def build() -> typer.Typer:
    """The whole application; modules import what is heavy only when their command runs."""
    app = typer.Typer(
        name="torchfinch",
        help="Take an image classifier from a training script to safe production traffic on TorchServe.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_version)
    for name, place in _COMMANDS.items():
        module, attribute = place.split(":")
        command = getattr(import_module(f"torchfinch.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main(app: Callable[[], object] | None = None) -> None:
    """Run the command line, or another `app`; an expected error is one line on stderr and exit code 1."""
    # Before torch is loaded: with two busy processes on two cores, waiting threads that spin made training 20 times
    # slower; with one, not spinning costs about a third.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        (app or build())()
    except TorchfinchError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        place = f"{error.filename}: " if error.filename else ""  # a disk may be full where no file is named
        _fail(TorchfinchError(f"{place}{error.strerror}", _NOT_WRITTEN[error.errno]))


def _fail(error: TorchfinchError) -> NoReturn:
    hint = f"\n  [dim]{escape(error.hint)}[/dim]" if error.hint else ""
    err.print(f"[bold red]error:[/bold red] {escape(error.message)}{hint}", soft_wrap=True)
    sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _version(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
