"""The session folder: the user's work on disk. No Qt, no napari, no torch at import.

`folder` is the facade; each other module holds one part. The format is described in
``docs/reference/session-format.md``.
"""
