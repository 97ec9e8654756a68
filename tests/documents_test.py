"""Tests for `../README.md`, `../docs/` and the examples in docstrings."""

import doctest
import importlib.util
import pathlib
import pkgutil
import re
import shlex
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import speech

import diccoser_jax
from configs import default
from diccoser_jax import config as config_lib
from diccoser_jax import model_file
from diccoser_jax.diccoser import Diccoser, DiccoserConfig
from diccoser_jax.predictions import Predictions

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands():
    """Each command of each page, as words; pipes and chains taken apart."""
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh")).replace("\\\n", "").splitlines():
            for command in re.split(r"&&|\|", line):
                yield page.name, shlex.split(command)


def flags_of(module):
    """What the file of a command, and those of which it borrows flags, define."""
    origins = [importlib.util.find_spec(module).origin]
    if origins[0].endswith("__init__.py"):
        origins = [importlib.util.find_spec(f"{module}.__main__").origin]
    origins += [ROOT / f"diccoser_jax/{name}.py" for name in _SHARED]
    code = "".join(pathlib.Path(origin).read_text() for origin in origins)
    return set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', code))


_SHARED = ("main", "compilation_cache")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        pytest.param(page, words, id=f"{page}-{i}")
        for i, (page, words) in enumerate(commands())
        if words[:2] == ["python", "-m"]
    ],
)
def test_a_command_has_its_flags_and_its_configuration(page, words):
    known, keys = flags_of(words[2]), config_lib.flatten(default.get_config())
    for word in words[3:]:
        if not word.startswith("--"):
            continue
        name, _, value = word[2:].partition("=")
        if name.startswith("config."):
            assert name.removeprefix("config.") in keys
        else:
            assert name in known or name.removeprefix("no") in known
        if name == "config":
            path, *recipe = value.split(":")
            stem = pathlib.Path(path).stem
            assert (ROOT / path).exists()
            importlib.import_module(f"configs.{stem}").get_config(*recipe)


def test_what_is_installed_exists():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    found = [
        re.fullmatch(r"\.(?:\[(.*)\])?", words[-1])[1]
        for _, words in commands()
        if words[:2] == ["pip", "install"]
    ]
    assert len(found) > 4
    named = {extra for text in found if text for extra in text.split(",")}
    assert named <= set(extras)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A folder, and names, as the pages suppose them."""
    monkeypatch.chdir(tmp_path)
    network = Diccoser(
        DiccoserConfig(features=4, local_stacks=1, window_frames=5, dropout_rate=0.0)
    )
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 3_200)))
    path = tmp_path / "runs/emodb" / model_file.NAME
    path.parent.mkdir(parents=True)
    about = {"task": "classification", "window_seconds": 0.2}
    names = ("anger", "calm", "joy", "fear")
    model_file.save(path, network, variables, target_names=names, **about)
    sound = speech.cut(0, 1.0)
    for suffix in ("wav", "mp3"):
        soundfile.write(f"speech.{suffix}", sound, speech.SAMPLE_RATE_HZ)
    rows = np.arange(6)
    answers = Predictions(
        recordings=rows.astype(str),
        speakers=np.array(["a", "b", "c"] * 2),
        folds=np.zeros(6, np.int32),
        seeds=np.zeros(6, np.int32),
        targets=(rows % 2).astype(np.int32),
        outputs=np.eye(2, dtype=np.float32)[rows % 2],
    )
    for name in ("emodb-all", "emodb-other"):
        (tmp_path / "runs" / name).mkdir()
        answers.save(tmp_path / "runs" / name / "predictions.npz")
    waveform = jnp.asarray(sound[:12_800], jnp.float32)[None] / 32768
    return {
        "model": network,
        "variables": variables,
        "waveform": waveform,
        "chunks": [sound[:3_000], sound[3_000:]],
    }


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.stem
)
def test_python_on_a_page_runs_from_top_to_bottom(page, surroundings):
    with jax.numpy_rank_promotion("allow"):
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), surroundings)


def modules():
    return [
        info.name
        for info in pkgutil.iter_modules(diccoser_jax.__path__, "diccoser_jax.")
    ]


def test_the_api_has_every_module():
    text = "".join(page.read_text() for page in ROOT.glob("docs/api/*.md"))
    assert set(re.findall(r"^::: (diccoser_jax\..*)$", text, re.M)) == set(modules())


def test_examples_in_docstrings_are_right():
    attempted = 0
    for name in [*modules(), "data_prep.corpus"]:
        result = doctest.testmod(importlib.import_module(name))
        assert not result.failed, name
        attempted += result.attempted
    assert attempted >= 10


def test_the_picture_of_the_network_is_of_the_network():
    path = ROOT / "docs/architecture.py"
    spec = importlib.util.spec_from_file_location("architecture", path)
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    drawn = architecture.draw(DiccoserConfig())
    assert drawn == architecture.PATH.read_text(), "run python docs/architecture.py"


def test_corpora_have_a_section_each():
    text = (ROOT / "docs/corpora.md").read_text()
    included = set(re.findall(r'^--8<-- "data_prep/(\w+)/README.md"$', text, re.M))
    assert included == {path.parent.name for path in ROOT.glob("data_prep/*/README.md")}
