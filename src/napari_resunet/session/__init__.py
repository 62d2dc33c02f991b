"""One facade over the engine for all faces: API, command line and plugin. No GUI."""
