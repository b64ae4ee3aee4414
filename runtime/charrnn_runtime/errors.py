"""The errors of charrnn: every error that a user can cause or meet is a `CharrnnError`.

A message says, in one line, what happened, what was expected, what was received and what to do. The command line prints
it to stderr and ends with the error's `exit_code`; exit codes are defined nowhere else.
"""


class CharrnnError(Exception):
    """Base of all errors that charrnn raises on purpose.

    Attributes:
        exit_code: The exit code of the command line: 1 the operation failed, 2 bad usage or input.
    """

    exit_code = 1


class InputError(CharrnnError):
    """An option, a file or a text cannot be used as it is."""

    exit_code = 2


class UnknownCharacterError(InputError):
    """A text holds a character that is not in the vocabulary of the model."""


class ModelFileError(InputError):
    """A run, a bundle or an exported file is missing, damaged, or not one of ours."""


class OperationError(CharrnnError):
    """An operation with valid input failed (a full disk, a loss that is not finite)."""


class EngineMissingError(OperationError):
    """The engine that runs a file of this format is not installed."""


class ParityError(OperationError):
    """A model does not reproduce the model it was made from, or its own golden transcript."""
