"""Errors that a user can mend: the command line prints their text and nothing else."""

_LONGEST = 450  # characters of a message


class UserError(Exception):
    """Base of all errors whose message says which file or option, what is wrong, and what to do.

    The message is one line that can be printed, whatever the name or content of a file that it quotes.
    """

    def __init__(self, message: str) -> None:
        line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(message.split()))
        half = _LONGEST // 2
        super().__init__(line if len(line) <= _LONGEST else f"{line[:half]} … {line[-half:]}")


class DataError(UserError):
    """A data file or folder is absent, damaged, or not what the task expects."""


class ConfigError(UserError):
    """An option has a value that cannot work."""


class CheckpointError(UserError):
    """A checkpoint is absent, damaged, or belongs to another task or network."""


class OutputError(UserError):
    """A result cannot be written."""


class TrainingError(UserError):
    """A training cannot go on."""
