"""The one family of errors of charrnn: every error a user can cause or meet is a `CharrnnError`.

A message says, in one line, what happened, what was expected, what was received and what to do. The command line prints
it to stderr and ends with the error's `exit_code`; nothing else in the project decides on exit codes.
"""


class CharrnnError(Exception):
    """Base of all errors that charrnn raises on purpose.

    Attributes:
        exit_code: What the command line ends with: 1 the operation failed, 2 bad usage or input.
    """

    exit_code = 1


class InputError(CharrnnError):
    """An option, a file or a text that was passed in cannot be used as it is."""

    exit_code = 2


class UnknownCharacterError(InputError):
    """A text holds a character that the model's vocabulary does not."""


class ModelFileError(InputError):
    """A run, a bundle or an exported file is missing, damaged, or not one of ours."""


class OperationError(CharrnnError):
    """What was asked for is sound, but doing it failed (a full disk, a loss that is not finite)."""


class EngineMissingError(OperationError):
    """The engine that runs this kind of file is not installed here."""


class ParityError(OperationError):
    """A model does not behave like the one it was made from, or like its own golden transcript."""
