"""Errors that a user can mend: the command line prints their text and nothing else."""


class UserError(Exception):
    """Base of all errors whose message says which file or option, what is wrong, and what to do."""


class DataError(UserError):
    """A data file or folder is absent, damaged, or not what the task expects."""


class ConfigError(UserError):
    """An option has a value that cannot work."""


class CheckpointError(UserError):
    """A checkpoint is absent, damaged, or belongs to another task or network."""


class OutputError(UserError):
    """A result cannot be written."""
