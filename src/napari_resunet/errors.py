"""Every error that a user can meet: one plain sentence that says what to do next.

Errors of libraries are converted to these where the engine is called. None derives from
`RuntimeError`, which napari's thread workers swallow without emitting anything.
"""


class ResunetError(Exception):
    """Base class of all errors that napari-resunet raises on purpose."""


class ArgumentError(ResunetError):
    """An argument of a public function has the wrong type or is out of range."""


class ImageError(ResunetError):
    """The image cannot be used because of its shape, dtype, axes, or channels."""


class ModelFileError(ResunetError):
    """A model file is missing, damaged, foreign, or unsafe to read."""


class WeightsUnavailableError(ResunetError):
    """Pretrained encoder weights are not available, for instance offline."""


class TorchUnavailableError(ResunetError):
    """PyTorch or torchvision cannot be imported on this computer."""


class DeviceError(ResunetError):
    """The chosen compute device is missing or failed."""


class ClusterError(ResunetError):
    """The scheduler of a cluster is not there, or its workers cannot do the work."""


class RemoteError(ResunetError):
    """The server that computes is not there, refuses, or sends something unexpected."""


class OutOfMemoryError(ResunetError):
    """Neither the device nor the CPU had enough memory for the smallest tile or batch."""


class CorrectionError(ResunetError):
    """There is nothing to learn from, or labels and image do not match."""


class TrainingError(ResunetError):
    """Training from folders did not produce a model."""


class FileError(ResunetError):
    """An image, a labels file, or a folder cannot be read or written."""


class DiskFullError(FileError):
    """The disk has no room for a file, or the user may not use more of it."""


class SessionError(FileError):
    """A session folder is damaged, foreign, in use, or unsafe to open."""


class Cancelled(ResunetError):
    """The user cancelled the work."""
