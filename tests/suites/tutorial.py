"""Executes the tutorial in a kernel of its own; tests/torch and tests/keras subclass it."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "notebook.ipynb"
SIZE = 300_000  # bytes that a clone and a page of the documentation can bear
VIEWED = (
    "data",
    "data.show(n=6)",
    "model.freeze()",
    "history",
    "evaluation",
    "evaluation.per_class()",
    "model.predict(worst)",
)


def outputs(cell):
    """Types of what the cell shows, and the text of it."""
    data = [each.get("data", {"text/plain": each.get("text", "")}) for each in cell.outputs]
    return [*data], "\n".join(each.get("text/plain", "") for each in data)


def last_line(cell):
    return cell.source.rstrip().rpartition("\n")[2]


class Tutorial:
    """Set `backend`."""

    backend: str

    @pytest.fixture(scope="class")
    def executed(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("tutorial")
        notebook = nbformat.read(TUTORIAL, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XFER_BACKEND", self.backend)
            patch.setenv("XFER_FEATURES", str(folder / "features"))
            NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
        return notebook

    def test_every_cell_runs_and_shows_what_it_should(self, executed):
        code = [cell for cell in executed.cells if cell.cell_type == "code"]
        assert len(code) > 12
        assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
        views = {last_line(cell): cell for cell in code}
        for line in VIEWED:
            shown, _ = outputs(views[line])
            assert any("text/html" in each for each in shown), line
        assert outputs(views["data.show(n=6)"])[0][-1]["text/html"].count("<img") == 6
        assert "<polyline" in outputs(views["history"])[0][-1]["text/html"]
        assert outputs(views["model.predict(worst)"])[0][-1]["text/html"].count("<img") == 4
        both = next(outputs(cell)[1] for cell in code if "subprocess" in cell.source).split("\n")
        assert len({line.split(maxsplit=1)[1] for line in both if line}) == 1, both  # the other framework agrees
        assert "greatest difference from the model" in outputs(code[-1])[1]

    def test_progress_is_one_output_that_is_updated(self, executed):
        """Eight epochs, one line; on stderr nothing but the line of the pass before them, which was erased."""
        cell = next(cell for cell in executed.cells if "epochs=8" in cell.source)
        for out in cell.outputs:
            if out.output_type == "stream":
                assert out.name == "stderr"
                assert not out.text.rpartition("\r")[2].strip(), out.text
        shown = [out for out in cell.outputs if out.output_type != "stream"]
        assert [out.output_type for out in shown] == ["display_data", "execute_result"]
        assert re.match(r"epoch 8/8  loss \d", shown[0]["data"]["text/plain"])

    def test_the_committed_outputs_are_those_of_this_code(self, executed):
        """Complete, small, without an error or a path of the machine; what is the same on any machine is the same."""
        assert TUTORIAL.stat().st_size < SIZE
        committed = nbformat.read(TUTORIAL, as_version=4)
        nbformat.validate(committed)
        code = [cell for cell in committed.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        text = TUTORIAL.read_text("utf-8")
        assert '"output_type": "error"' not in text
        assert not re.search(r"(?<![\w.])/(home|tmp|work|root|Users|usr)/", text)
        again = {cell.source: outputs(cell)[1] for cell in executed.cells if cell.cell_type == "code"}
        for cell in code:
            shown, said = outputs(cell)
            if last_line(cell) in ("data", "data.show(n=6)", "model.freeze()"):
                assert said == again[cell.source]
            if last_line(cell) in VIEWED:
                assert any("text/html" in each for each in shown)
