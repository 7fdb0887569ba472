"""The notebook of the quick start runs from its first cell to its last, with smaller numbers."""

import pathlib

import nbformat
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs/guides/quick_start.ipynb"
SMALLER = {"30_000": "256", "20_000": "200", "3_000": "2", "n_eval_episodes=10": "n_eval_episodes=1"}


def test_the_notebook_of_the_quick_start_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    source = "".join(cell.source for cell in notebook.cells)
    assert all(number in source for number in SMALLER)
    for cell in notebook.cells:
        for number, smaller in SMALLER.items():
            cell.source = cell.source.replace(number, smaller)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    ]
    assert any(text.startswith("return ") for text in outputs)
    assert any(text.startswith("(4,)") for text in outputs)
