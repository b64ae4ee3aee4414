"""`python -m charrnn_runtime`: see `charrnn_runtime.cli.main`."""

import os
import sys

# When numpy is imported, OpenBLAS starts a thread for each core, which the matrices of a step do not need; on two cores
# that is 90 ms of processor time, a quarter of a first sample (measured: benchmarks/startup.py).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from charrnn_runtime.cli.main import main  # after the variable, which numpy reads

if __name__ == "__main__":
    sys.exit(main())
