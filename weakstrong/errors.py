"""Every error the package raises on purpose.

One base class; each child also inherits the builtin it refines, so ``except ValueError`` keeps working.
A message names the thing, says what was found, what was wanted and what to do.
"""

from weakstrong.redact import without_secrets


class WeakStrongError(Exception):
    """Base of every error raised on purpose by this package. Its words hold no credentials of URLs and no secrets."""

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class ConfigError(WeakStrongError, ValueError):
    """A spec, an experiment file or an option is wrong."""


class UnknownNameError(ConfigError, LookupError):
    """A task, model, method or other registered name does not exist."""


class DataError(WeakStrongError, ValueError):
    """The rows are not usable: missing column, empty text, bad labels, too few rows."""


class SourceError(WeakStrongError, OSError):
    """A download or a file it should have produced is missing, truncated or not what was pinned."""


class HashMismatchError(SourceError):
    """Bytes do not have the SHA-256 that was pinned."""


class OfflineError(SourceError):
    """Something is not cached and the network is off or out of reach."""


class ModelError(WeakStrongError, ValueError):
    """A model cannot do what was asked of it, e.g. a rung deeper than the checkpoint."""


class StoreError(WeakStrongError, OSError):
    """The store cannot be read or written."""


class RecipeMismatchError(StoreError):
    """A stored result was made by another recipe than the one that asks for it."""


class CorruptResultError(StoreError):
    """A stored file does not have the size or digest its record names, or the record not its own.

    Attributes:
        name: kind of the step whose result is damaged.
        key: that step's key; `Store.set_aside` takes both.
    """

    def __init__(self, message: str, name: str = "", key: str = "") -> None:
        super().__init__(message)
        self.name, self.key = name, key


class TrainingError(WeakStrongError, ArithmeticError):
    """Training left the numbers, e.g. a loss that is not finite."""


class Stopped(KeyboardInterrupt):
    """A step was asked to stop (SIGTERM, Ctrl-C) and saved its state if it has one; the same command continues there.

    Attributes:
        signal: number of the signal that asked.
        saved: whether it did; what was not training, or was asked twice, ended at once.
    """

    signal = 2
    saved = True
