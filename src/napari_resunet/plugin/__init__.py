"""The napari face: the only room that knows napari and Qt."""
