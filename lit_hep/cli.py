"""The command line: LightningCLI's fit, validate, test and predict, and show, simulate, prepare, export, report."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lit_hep import task_names
from lit_hep.errors import ConfigError, UserError
from lit_hep.signals import Stopped, signals


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        args: Words after ``python -m lit_hep``; None takes them from the command line.

    Raises:
        SystemExit: With a message, and code 2 if the user can mend what went wrong; 130 or 143 after Ctrl-C or kill.
    """
    words = list(sys.argv[1:] if args is None else args)
    own = {"simulate": simulate, "prepare": prepare, "export": export}
    own["report"] = lambda words: import_module("lit_hep.report").run(words)
    try:
        with signals.handled():
            if words and words[0] in own:
                own[words[0]](words[1:])
            else:
                import_module("lit_hep.lightning_cli").run(None if args is None else words)
    except Stopped as stopped:
        sys.stderr.write(f"\n{stopped.words}\n")
        raise SystemExit(stopped.code) from None
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


def simulate(words: Sequence[str]) -> None:
    """Write a simulated data set in the experiment's file format.

    Args:
        words: Task and options, such as ``crater --root DIR --size 5000 --seed 1``.
    """
    from lit_hep.data.files import fill

    task, simulator, options = _choose("simulate", "simulation", "Write a data set in the experiment's format.", words)
    root = options.pop("root")
    try:
        fill(root, lambda folder: simulator(folder, **options))
    except ValueError as error:
        raise ConfigError(f"simulate {task}: {error}") from error
    print(f"simulated into {root}")


def prepare(words: Sequence[str]) -> None:
    """Turn raw files of the experiment into training files.

    Args:
        words: Task and options, such as ``drift_chamber --source DIR --output FILE``.
    """
    _, preparation, options = _choose("prepare", "preparation", "Turn raw files into training files.", words)
    preparation(**options)


def export(words: Sequence[str]) -> None:
    """Write the network of a checkpoint for C++ or any other program.

    Args:
        words: Options, such as ``--ckpt_path FILE --output model.onnx``.
    """
    from lit_hep.export import export as write
    from lit_hep.parser import Parser

    parser = Parser(prog="python -m lit_hep export", description="Write the network of a checkpoint to a file.")
    parser.add_function_arguments(write, skip={"size"})
    parser.add_argument("--size", type=int, nargs=2, help="Rows and columns, where the checkpoint does not tell.")
    write(**parser.parse_args(list(words)).as_dict())


def _choose(command: str, module: str, about: str, words: Sequence[str]) -> tuple[str, Callable[..., None], Any]:
    """Task, its function named like the command, and the options given, which are the function's arguments."""
    from lit_hep.parser import Parser

    parser = Parser(prog=f"python -m lit_hep {command}", description=about)
    tasks = parser.add_subcommands(dest="task")
    functions: dict[str, Callable[..., None]] = {}
    for task in task_names():
        if find_spec(f"lit_hep.tasks.{task}.{module}"):
            functions[task] = getattr(import_module(f"lit_hep.tasks.{task}.{module}"), command)
            options = Parser()
            options.add_function_arguments(functions[task])
            tasks.add_subcommand(task, options, help=str(functions[task].__doc__).splitlines()[0])
    chosen = parser.parse_args(list(words))
    try:
        return chosen.task, functions[chosen.task], dict(parser.instantiate_classes(chosen)[chosen.task])
    except ValueError as error:
        raise ConfigError(f"{command} {chosen.task}: {error.__cause__ or error}") from error
