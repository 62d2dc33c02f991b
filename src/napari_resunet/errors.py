"""Every error that a user can meet, each one plain sentence with what to do next.

Errors from libraries are wrapped here at the engine's boundary. All of them
derive from `Exception` and none from `RuntimeError`: napari's generator workers
swallow a `RuntimeError` without emitting anything.
"""


class ResunetError(Exception):
    """Base of all errors raised on purpose by napari-resunet."""


class ArgumentError(ResunetError):
    """An argument of a public function is of the wrong type or out of its range."""


class ImageError(ResunetError):
    """The image cannot be used as it is (shape, dtype, axes, channels)."""


class ModelFileError(ResunetError):
    """A model file is missing, damaged, foreign or not safe to read."""


class WeightsUnavailableError(ResunetError):
    """Pretrained encoder weights could not be had (offline, for instance)."""


class TorchUnavailableError(ResunetError):
    """PyTorch or torchvision cannot be imported on this computer."""


class DeviceError(ResunetError):
    """The chosen compute device is not there, or failed."""


class OutOfMemoryError(ResunetError):
    """Neither the device nor the CPU had memory for the smallest piece of work."""


class CorrectionError(ResunetError):
    """There is nothing to learn from, or labels and image do not fit together."""


class TrainingError(ResunetError):
    """Training from folders did not end in a model."""


class FileError(ResunetError):
    """An image, a labels file or a folder cannot be read or written."""


class SessionError(FileError):
    """A session folder is damaged, foreign, in use, or not safe to open."""


class Cancelled(ResunetError):
    """The user took the work back: nothing to report."""
