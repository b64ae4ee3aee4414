"""`python -m charrnn_runtime`: see `charrnn_runtime.command_line`."""

import sys

from charrnn_runtime.command_line import main

if __name__ == "__main__":
    sys.exit(main())
