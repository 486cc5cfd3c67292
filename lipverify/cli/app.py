"""The commands, gathered; and what becomes of errors."""

from collections.abc import Sequence

import typer

from lipverify import __version__
from lipverify.cli import audit, check, explain, graph, inspect, lipschitz, supports, verify
from lipverify.cli.console import stderr
from lipverify.cli.exits import ExitCode
from lipverify.errors import InputError

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""Click's exception for arguments that cannot be used; typer has no public name for it."""

TYPER_INTERRUPTED = 130
"""What newer releases of typer return after Ctrl-C; older ones raise `Abort`."""

app = typer.Typer(
    name="lipverify",
    help="Proofs about neural networks: local Lipschitz constants, monotonicity, robustness.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in boxes takes twice as long to come
)
app.command("verify", short_help="Decide the properties of spec files.")(verify.command)
app.command("explain", short_help="Decide them, and show what each stage gained.")(explain.command)
app.command("audit", short_help="Audit a model on a table of records.")(audit.command)
app.command("lipschitz", short_help="Bound one Lipschitz constant.")(lipschitz.command)
app.command("graph", short_help="Show forward and backward graph.")(graph.command)
app.command("inspect", short_help="List operators, unsupported ones too.")(inspect.command)
app.command("check", short_help="Check a certificate.")(check.command)
app.command("supports", short_help="List what lipverify offers.")(supports.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lipverify {__version__}")
        raise typer.Exit


@app.callback()
def _lipverify(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Click's own code for wrong arguments is 2, which here means "unknown"; it becomes 3.
    """
    given = None if arguments is None else list(arguments)
    try:
        code = app(args=given, prog_name="lipverify", standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()  # type: ignore[attr-defined]
        return ExitCode.ERROR
    except InputError as error:
        stderr().print(f"lipverify: {error}", soft_wrap=True)
        return ExitCode.ERROR
    except (KeyboardInterrupt, typer.Abort):
        code = TYPER_INTERRUPTED
    if code == TYPER_INTERRUPTED:
        stderr().print("lipverify: stopped by Ctrl-C, before there was any answer")
        return ExitCode.UNKNOWN
    return int(code or 0)
