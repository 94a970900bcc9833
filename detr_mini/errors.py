"""What a user can mend: errors that the command tells in a sentence. All else is a bug and keeps its traceback.

Each kind is also Python's own error of that kind, so a program that uses the package need not know these names.
"""


class UserError(Exception):
    """What the user can mend; the text says what is wrong, with which value, and what to do."""


class ConfigError(UserError, ValueError):
    """A config, a recipe or an option has a value that cannot work; the text says which would."""


class DataError(UserError, ValueError):
    """Annotations, or a data set as a whole, cannot be used."""


class ImageError(UserError, ValueError):
    """An image cannot be read."""


class WeightsError(UserError, ValueError):
    """A file of weights is damaged, of a foreign kind, or does not fit the model."""


class UnknownWordError(UserError, ValueError):
    """A sentence has a word that the vocabulary does not."""


class NotFoundError(UserError, FileNotFoundError):
    """A file, a folder or a named model is not there."""


class FolderInUseError(UserError, FileExistsError):
    """A folder holds what must not be written over."""


class StorageError(UserError, OSError):
    """A file cannot be written, or batches can no longer be read."""


class MemoryFullError(UserError, MemoryError):
    """The memory of the device does not hold a training step."""


class DivergedError(UserError, FloatingPointError):
    """Training has run into values that are not finite."""
