"""The dock in Qt widgets: signals out, setters in. They decide nothing."""
