"""The notebook is executed as it lies in the repository, but with one epoch a phase, on the demo data."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples/walkthrough.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_the_notebook_lies_there_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 15
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert NOTEBOOK.stat().st_size < 40_000


@pytest.mark.notebook
def test_the_notebook_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import read as read_run

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own
    notebook = read()
    (settings,) = (cell for cell in notebook.cells if cell.id == "settings")
    assert "EPOCHS = 3 " in settings.source
    settings.source = settings.source.replace("EPOCHS = 3 ", "EPOCHS = 1 ")
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    printed = "".join(one.get("text", "") for found in outputs.values() for one in found)
    assert "precision" in printed and "recall" in printed, "the classification report"
    kinds = {name: [kind for one in found for kind in one.get("data", {})] for name, found in outputs.items()}
    for name in ("show", "augmentation", "plot", "scores"):
        assert "image/png" in kinds[name], f"the figure of {name}"
    assert "text/html" in kinds["run"] and all("text/html" in kinds[name] for name in ("trials", "predictions"))
    assert (tmp_path / "walkthrough/model.h5").is_file()
    (folder,) = (tmp_path / "walkthrough/reports").glob("*/run.json")
    result = read_run(folder.parent)
    assert len(result.trials) == 2 and len(result.predictions_test) == 36
    if result.record.weights.kind == "random":
        assert "ATTENTION: the pretrained weights cannot be had" in printed
