"""The command line: LightningCLI's fit, validate, test and predict, and beside them show and simulate."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lit_hep import task_names
from lit_hep.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import Namespace


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        args: Words after ``python -m lit_hep``; None takes them from the command line.

    Raises:
        SystemExit: With a message, and code 2 if the user can mend what went wrong.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        if words[:1] == ["simulate"]:
            simulate(words[1:])
        else:
            from lit_hep.lightning_cli import run

            run(None if args is None else words)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


def simulate(words: Sequence[str]) -> None:
    """Write a simulated data set in the experiment's file format.

    Args:
        words: Task and options, such as ``crater --root DIR --size 5000 --seed 1``.
    """
    from lit_hep.data.files import fill
    from lit_hep.parser import Parser

    parser = Parser(prog="python -m lit_hep simulate", description="Write a data set in the experiment's file format.")
    commands = parser.add_subcommands(dest="task")
    for task in task_names():
        simulator = import_module(f"lit_hep.tasks.{task}.simulation").simulate
        command = Parser()
        command.add_argument("--root", type=Path, required=True, help="Folder to write into; absent or empty.")
        command.add_function_arguments(simulator, skip={"root"})
        commands.add_subcommand(task, command, help=simulator.__doc__.splitlines()[0])
    chosen: Namespace = parser.parse_args(list(words))
    options = parser.instantiate_classes(chosen)[chosen.task]
    root = options.pop("root")
    simulator = import_module(f"lit_hep.tasks.{chosen.task}.simulation").simulate
    try:
        fill(root, lambda folder: simulator(folder, **options))
    except ValueError as error:
        raise UserError(f"simulate {chosen.task}: {error}") from error
    print(f"simulated into {root}")
