"""Tests for `../pyproject.toml`: the package works where the checkout is not."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import jax
import pytest
import soundfile
import speech
import weights

from diccoser_jax import model_file
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("diccoser_jax", "data_prep", "configs")


def run(*command, cwd, **options):
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """Built from a copy, for builds leave files behind."""
    pytest.importorskip("setuptools", "77", reason="builds take setuptools 77")
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "-w.", ".", cwd=source)
    (path,) = source.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel) -> pathlib.Path:
    """A fresh environment with the wheel; dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    run(*pip, "--no-index", "--no-compile", wheel, cwd=folder)
    # A path in a .pth file adds packages, but nothing that is installed as editable.
    (site,) = folder.glob("lib/python*/site-packages")
    installed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(installed))
    return python


def test_a_wheel_holds_all_that_the_checkout_has(wheel):
    kinds = {".py", ".md", ".bib", ".txt", ".safetensors"}
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in kinds
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == expected
    assert any(name.endswith("LICENSE") for name in names)


def test_an_installed_package_predicts(tmp_path, python):
    model = Diccoser(
        DiccoserConfig(features=4, local_stacks=1, window_frames=5, dropout_rate=0.0)
    )
    variables = weights.of(model, 3_200)
    model_file.save(
        tmp_path / "small.safetensors",
        model,
        jax.device_get(variables),
        task="classification",
        target_names=("anger", "joy", "fear", "calm"),
        window_seconds=0.2,
    )
    soundfile.write(tmp_path / "speech.wav", speech.cut(0, 1.0), speech.SAMPLE_RATE_HZ)
    code = "import diccoser_jax; print(diccoser_jax.__file__, diccoser_jax.__version__)"
    where = run(python, "-c", code, cwd=tmp_path)
    assert where.startswith(str(python.parents[1]))
    run(
        *(python, "-m", "diccoser_jax.predict", "--checkpoint=small.safetensors"),
        *("speech.wav", "--output=answers.csv"),
        cwd=tmp_path,
    )
    header, row = (tmp_path / "answers.csv").read_text().splitlines()
    assert header == "file,seconds,label,anger,joy,fear,calm,error"
    assert row.startswith("speech.wav,1.0,")


def test_an_installed_package_describes_its_corpora(tmp_path, python):
    code = (
        "from configs import emodb\n"
        "from data_prep import build\n"
        "name = emodb.get_config().data.dataset\n"
        "info = build.create_builder(name, '.', '.').info\n"
        "print(info.description[:21], bool(info.citation))\n"
    )
    assert run(python, "-c", code, cwd=tmp_path) == "The Berlin Database o True\n"
