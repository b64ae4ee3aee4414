"""Run the notebook from its start and keep its outputs: `python docs/run_notebook.py`, or `make notebook`."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from charrnn_runtime.core.files import write_atomically

NOTEBOOK = Path(__file__).with_name("how_it_works.ipynb")


def executed() -> nbformat.NotebookNode:
    """Return the notebook after a fresh kernel has run all of it; a cell that fails is an error."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    # Without times, which would change with every run.
    NotebookClient(notebook, kernel_name="python3", timeout=1200, record_timing=False, resources=where).execute()
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    write_atomically(NOTEBOOK, (nbformat.writes(executed()) + "\n").encode())
