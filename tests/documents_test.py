"""Tests for `../README.md`, `../docs/` and the examples in docstrings."""

import doctest
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import shlex
import tomllib

import commands as commands_lib
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
import speech
import tiny
import weights

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


def commands(pages=PAGES):
    """Each command of each page, as words; pipes and chains taken apart."""
    for page in pages:
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


def test_a_network_that_the_readme_asks_was_trained_by_it():
    """By a command for one fold: a cross-validation leaves several."""
    trained = {
        words[-1].removeprefix("--workdir=")
        for _, words in commands(PAGES[:1])
        if "diccoser_jax.main" in words and "--config.fold=all" not in words
    }
    pattern = r'(?:--checkpoint=|load\(")(runs/[\w/-]+)'
    asked = re.findall(pattern, PAGES[0].read_text())
    assert len(asked) == 3
    assert set(asked) <= trained


def test_results_of_a_user_go_beside_those_that_are_there():
    """Of another configuration, in a section of the same name, they are an error."""
    folders = [
        word
        for _, words in commands()
        if words[:3] == ["python", "-m", "diccoser_jax.results"]
        for word in words[3:]
    ]
    assert folders
    taken = {path.name for path in (ROOT / "results").iterdir()}
    for folder in folders:
        name, _, workdir = folder.partition("=")
        assert workdir
        assert name not in taken


def save_model(path):
    """Writes a small network of four classes."""
    network = Diccoser(
        DiccoserConfig(features=4, local_stacks=1, window_frames=5, dropout_rate=0.0)
    )
    variables = weights.of(network, 3_200)
    path.parent.mkdir(parents=True)
    about = {"task": "classification", "window_seconds": 0.2}
    names = ("anger", "calm", "joy", "fear")
    model_file.save(path, network, variables, target_names=names, **about)
    return network, variables


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A folder, and names, as the pages suppose them."""
    monkeypatch.chdir(tmp_path)
    network, variables = save_model(tmp_path / "runs/emodb" / model_file.NAME)
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
    for name in ("emodb-seeds", "emodb-other"):
        (tmp_path / "runs" / name).mkdir()
        answers.save(tmp_path / "runs" / name / "predictions.npz")
    waveform = jnp.asarray(sound[:12_800], jnp.float32)[None] / 32768
    return {
        "S": {
            "features": 4,
            "local_stacks": 1,
            "local_dilations": (1,),
            "global_blocks": 1,
        },
        "model": network,
        "variables": variables,
        "waveform": waveform,
        "chunks": [sound[:3_000], sound[3_000:]],
    }


# What a command of the README is given besides, so that it takes seconds.
_HERE = {"fold": 0, "data.data_dir": "shards", "data.allow_partial": True}
SHRUNK = [f"--config.{key}={value}" for key, value in (tiny.SHRUNK | _HERE).items()]
README_COMMANDS = [
    words[2:]
    for _, words in commands(PAGES[:1])
    if words[:2] == ["python", "-m"]
    # Four networks, and what becomes of them: reproduce_test and results_test.
    and "--experiment=fig5" not in words
    and words[2] != "diccoser_jax.results"
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands of the README suppose; they share it, as their user would."""
    folder = tmp_path_factory.mktemp("readme")
    save_model(folder / "runs/emodb" / model_file.NAME)
    number = 0
    for speaker in ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"):
        for emotion in "WLEAFTN":
            name = f"{speaker}a01{emotion}a.wav"
            speech.write(folder / "DIR/wav" / name, number, seconds=0.4)
            number += 1
    rows = ["path,label,speaker"]
    for path in sorted((folder / "DIR/wav").glob("*a01?a.wav")):
        rows.append(f"DIR/wav/{path.name},{path.stem[5]},{path.stem[:2]}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    speech.write(folder / "speech.wav", 0, seconds=0.5)
    speech.write(folder / "recordings/a.wav", 1, seconds=0.5)
    (folder / "more").mkdir()
    sound = speech.cut(2, 0.5)
    soundfile.write(folder / "more/b.mp3", sound, speech.SAMPLE_RATE_HZ)
    (folder / "microphone").write_bytes(sound.tobytes())
    return folder


@pytest.mark.parametrize("words", README_COMMANDS, ids=" ".join)
def test_a_command_of_the_readme_runs(words, folder):
    module, *arguments = words
    arguments = [word.replace("=configs/", f"={ROOT}/configs/") for word in arguments]
    if "--config" in {word.partition("=")[0] for word in words} or len(words) == 1:
        arguments += SHRUNK
    if module.endswith(".predict") and not any("--checkpoint" in w for w in words):
        arguments.append("--checkpoint=runs/emodb")  # smaller than the bundled one
    stdin = {"stdin": folder / "microphone"} if "-" in words else {}
    done = commands_lib.run(module, *arguments, cwd=folder, **stdin)
    assert done.returncode == 0, done.stderr[-2_000:]
    written = [w.partition("=")[2] for w in words if w.startswith("--output=")]
    assert done.stdout or all((folder / name).stat().st_size for name in written)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.stem
)
def test_python_on_a_page_runs_from_top_to_bottom(page, surroundings):
    with jax.numpy_rank_promotion("allow"):
        for block in blocks(page, "python"):
            # The same network, with fewer channels and blocks.
            block = block.replace(
                "DiccoserConfig(outputs", "DiccoserConfig(**S, outputs"
            )
            exec(compile(block, page.name, "exec"), surroundings)


def modules():
    return [
        info.name
        for info in pkgutil.iter_modules(diccoser_jax.__path__, "diccoser_jax.")
    ]


def test_the_api_has_every_module():
    text = "".join(page.read_text() for page in ROOT.glob("docs/api/*.md"))
    assert set(re.findall(r"^::: (diccoser_jax\..*)$", text, re.M)) == set(modules())


class _Finder(doctest.DocTestFinder):
    """Finds the examples of functions that are wrapped to be checked, too."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object))


def test_examples_in_docstrings_are_right():
    attempted = 0
    for name in [*modules(), "data_prep.corpus"]:
        runner = doctest.DocTestRunner()
        for test in _Finder().find(importlib.import_module(name)):
            runner.run(test)
        assert not runner.failures, name
        attempted += runner.tries
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
