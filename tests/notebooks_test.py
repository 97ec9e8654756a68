"""Tests for `../colab/`: every notebook runs, on the CPU and shrunk."""

import base64
import io
import json
import os
import pathlib

import jax
import matplotlib.image
import pytest
import tiny
import weights

from diccoser_jax import model_file
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

nbformat = pytest.importorskip("nbformat", reason="needs the extra 'notebooks'")
nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks'")

ROOT = pathlib.Path(__file__).parents[1]
# Each, and how many pictures it draws.
NOTEBOOKS = {
    "quickstart": 2,
    "train_your_own": 2,
    "iemocap_recola": 3,
    "look_inside": 5,
    "streaming": 1,
}


def read(name):
    return nbformat.read(ROOT / f"colab/{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    """Stands in for the bundled model: small, untrained, of four emotions."""
    path = tmp_path_factory.mktemp("model") / model_file.NAME
    network = Diccoser(
        DiccoserConfig(
            features=8,
            local_stacks=1,
            local_dilations=(1, 2),
            window_frames=20,
            frontend="log_mel",
            dropout_rate=0.0,
        )
    )
    variables = weights.of(network, 6_400)
    names = ("anger", "happiness", "neutral", "sadness")
    about = {"task": "classification", "target_names": names, "window_seconds": 0.8}
    card = {"not_for": "Anything: it is untrained."}
    model_file.save(path, network, jax.device_get(variables), **about, card=card)
    return path


@pytest.fixture
def surroundings(tmp_path, monkeypatch, data_dir, model):
    """A folder, and an environment that a kernel inherits."""
    shrunk = tiny.SHRUNK | {"data.data_dir": str(data_dir)}
    monkeypatch.setenv("DICCOSER_FAST", json.dumps(shrunk))
    monkeypatch.setenv("DICCOSER_MODEL", str(model))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # nobody's profile
    return tmp_path


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_a_clean_kernel_and_draws(name, surroundings):
    notebook = read(name)
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(surroundings)}},
    ).execute()
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    if folder := os.environ.get("DICCOSER_KEEP_NOTEBOOKS"):
        nbformat.write(notebook, pathlib.Path(folder, f"{name}.ipynb"))
    pictures = [
        matplotlib.image.imread(io.BytesIO(base64.b64decode(output.data["image/png"])))
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == NOTEBOOKS[name]
    for picture in pictures:
        assert min(picture.shape[:2]) > 200
        # Axes are grey; what is drawn in them is not.
        colourful = picture[..., :3].max(axis=-1) - picture[..., :3].min(axis=-1) > 0.2
        assert colourful.mean() > 0.0005
    complaints = [o.text for o in outputs if o.get("name") == "stderr"]
    # tqdm.auto, which libraries use, misses ipywidgets.
    assert "Warning" not in "".join(complaints).replace("TqdmWarning", "")


def test_every_notebook_is_tested():
    found = {path.stem for path in (ROOT / "colab").glob("*.ipynb")}
    assert found == set(NOTEBOOKS)


def test_the_first_cell_is_the_same_everywhere():
    first = {name: code(read(name))[0].source for name in NOTEBOOKS}
    assert len(set(first.values())) == 1
    assert "pip" in first["quickstart"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs_and_defines_no_model(name):
    for cell in code(read(name)):
        assert cell.outputs == []
        assert cell.execution_count is None
        for word in ("class ", "nn.", "flax"):
            assert word not in cell.source
