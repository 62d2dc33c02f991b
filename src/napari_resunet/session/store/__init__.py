"""The session folder: what a user did, on disk. No Qt, no napari, no torch at import.

`folder` is the facade; each other module holds one part of the folder. The format is
told in ``docs/reference/session-format.md``.
"""
