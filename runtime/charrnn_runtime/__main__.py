"""`python -m charrnn_runtime`: see `charrnn_runtime.cli.main`."""

import sys

from charrnn_runtime.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
