"""``python -m napari_resunet.cli``."""

import sys

from napari_resunet.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
