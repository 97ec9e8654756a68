"""What the networks are compared with: functionals of utterances, and an SVM.

Feature sets: GeMAPS (62 functionals) and eGeMAPS (88) of Eyben et al. 2016 (The Geneva
minimalistic acoustic parameter set for voice research and affective computing), ComParE
2016 (6373) of Schuller et al. 2016, all by openSMILE, whose licence permits research
and no product; and statistics of mel-frequency cepstral coefficients (240) by librosa.

    pip install 'diccoser-jax[traditional]'

Features are scaled to mean 0 and variance 1 on the training recordings. Kernel and C
of the SVM, with classes weighted inversely to their frequency, are those of the highest
UA on the validation recordings; of equals, linear before RBF, then the smaller C. That
SVM, which has heard the training recordings only, is tested once. It is deterministic.
"""

import importlib
import importlib.metadata
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import librosa
import numpy as np
import tqdm

from diccoser_jax import data, files, metrics
from diccoser_jax.audio import SAMPLE_RATE_HZ
from diccoser_jax.config import ConfigError
from diccoser_jax.folds import Fold
from diccoser_jax.predictions import Predictions

_OPENSMILE_SETS = {
    "egemaps": "eGeMAPSv02",
    "gemaps": "GeMAPSv01b",
    "compare": "ComParE_2016",
}
FEATURES = (*_OPENSMILE_SETS, "mfcc")

KERNELS = ("linear", "rbf")
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

_MFCC_COEFFICIENTS = 20
_MFCC_WINDOW_SAMPLES = SAMPLE_RATE_HZ // 40  # 25 ms
_MFCC_HOP_SAMPLES = SAMPLE_RATE_HZ // 100  # 10 ms
_MFCC_FFT_SAMPLES = 512
_MFCC_BANDS = 40


def features(
    corpus: data.Corpus, name: str, cache_dir: pathlib.Path, *, progress: bool = True
) -> dict[str, np.ndarray]:
    """The features of every recording of a corpus, computed once for each content.

    Args:
      corpus: of classes.
      name: one of ``FEATURES``.
      cache_dir: where they are kept, in an ``.npz`` file named for the features, the
        version of their library and the fingerprint of the corpus.
      progress: whether to draw a progress bar.

    Returns:
      float32 ``[features]`` for the id of each recording. NaN where one is not defined,
      as for recordings shorter than an analysis window.

    Raises:
      ConfigError: unknown features, a corpus without classes, or a package that is not
        installed.
    """
    if name not in FEATURES:
        raise ConfigError(f"features {name!r}; expected one of {', '.join(FEATURES)}")
    _check_classes(corpus)
    library = "opensmile" if name in _OPENSMILE_SETS else "librosa"
    _require(library, name)
    version = importlib.metadata.version(library)
    fingerprint = corpus.metadata["fingerprint"][:16]
    path = cache_dir / f"{name}-{library}-{version}-{fingerprint}.npz"
    if path.exists():
        with np.load(path) as stored:
            return dict(zip(stored["ids"].tolist(), stored["vectors"]))
    extract = _extractor(name)
    records = corpus.source(list(corpus.metadata["units"]), evaluation=True)
    bar = tqdm.tqdm(records, name, unit="recording", disable=not progress)
    vectors = {r["id"].decode(): extract(_waveform(r)) for r in bar}
    content = io.BytesIO()
    np.savez_compressed(
        content, ids=np.array(list(vectors)), vectors=np.stack(list(vectors.values()))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, content.getvalue())
    return vectors


def evaluate_fold(
    corpus: data.Corpus,
    fold: Fold,
    vectors: Mapping[str, np.ndarray],
    *,
    kernels: Sequence[str] = KERNELS,
    number: int = 0,
    seed: int = 0,
) -> tuple[Predictions, dict[str, Any]]:
    """Trains, chooses by the validation units, and tests once.

    Args:
      corpus: of classes.
      fold: units of each side.
      vectors: float ``[features]`` for the id of each recording, as of `features`.
      kernels: of ``KERNELS``, to choose from.
      number: of the fold, for the rows.
      seed: of what the vectors come from, for the rows.

    Returns:
      Decision values for each test recording, the highest of which is the answer; and
      how they came about, JSON-able: ``validation_score``, ``kernel``, ``penalty`` and
      ``features`` (their number).

    Raises:
      ConfigError: no classes, no scikit-learn, or fewer than two classes in the
        training recordings.
    """
    _check_classes(corpus)
    names = corpus.target_names
    train, validation, test = (
        _Side(corpus, units, vectors)
        for units in (fold.train, fold.validation, fold.test)
    )
    if len(np.unique(train.targets)) < 2:
        raise ConfigError(
            f"the training units {', '.join(fold.train)} hold one class; an SVM takes "
            "two at least. Choose other folds"
        )
    best = (-1.0, "", 0.0, None)
    for kernel in kernels:
        for penalty in PENALTIES:
            machine = _machine(kernel, penalty).fit(train.vectors, train.targets)
            answers = _decide(machine, validation.vectors, len(names)).argmax(axis=1)
            confusion = metrics.confusion_matrix(
                validation.targets, answers, len(names)
            )
            score = float(metrics.unweighted_accuracy(confusion))
            if score > best[0]:
                best = (score, kernel, penalty, machine)
    score, kernel, penalty, machine = best
    same = np.ones(len(test.targets), np.int32)
    rows = Predictions(
        recordings=test.recordings,
        speakers=test.speakers,
        folds=number * same,
        seeds=seed * same,
        targets=test.targets,
        outputs=_decide(machine, test.vectors, len(names)),
    )
    return rows, {
        "validation_score": score,
        "kernel": kernel,
        "penalty": penalty,
        "features": train.vectors.shape[1],
    }


class _Side:
    """Vectors, targets, ids and speakers of some units, in the order of the shards."""

    def __init__(
        self,
        corpus: data.Corpus,
        units: Sequence[str],
        vectors: Mapping[str, np.ndarray],
    ):
        records = list(corpus.source(units, evaluation=True))
        self.recordings = np.array([r["id"].decode() for r in records])
        self.speakers = np.array([r["speaker"].decode() for r in records])
        self.targets = np.array([r["label"] for r in records], np.int32)
        self.vectors = np.stack([vectors[id_] for id_ in self.recordings])


def _check_classes(corpus: data.Corpus) -> None:
    if corpus.task != "classification":
        raise ConfigError(
            f"{corpus.name} has labels over time; traditional features are those of "
            "whole utterances: expected a corpus of classes (classification)"
        )


def _require(package: str, wanted_by: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{wanted_by!r} needs {package}, which cannot be imported ({error}): "
            "pip install 'diccoser-jax[traditional]'"
        ) from error


def _waveform(record: dict[str, Any]) -> np.ndarray:
    return record["audio"].astype(np.float32) / 32768


def _extractor(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 ``[samples]`` to float32 ``[features]``."""
    if name == "mfcc":
        return mfcc_statistics
    opensmile = _require("opensmile", name)
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[_OPENSMILE_SETS[name]],
        feature_level=opensmile.FeatureLevel.Functionals,
    )

    def extract(waveform: np.ndarray) -> np.ndarray:
        vector = smile.process_signal(waveform, SAMPLE_RATE_HZ).to_numpy(np.float32)[0]
        return np.where(np.isfinite(vector), vector, np.nan)

    return extract


def mfcc_statistics(waveform: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, minimum and maximum over time of 20 MFCC.

    And of their first and second differences. Windows of 25 ms every 10 ms, 40 bands.

    Args:
      waveform: float32 ``[samples]``.

    Returns:
      float32 ``[240]``: the four statistics, each of 20 coefficients, 20 first and 20
      second differences.
    """
    coefficients = librosa.feature.mfcc(
        y=waveform,
        sr=SAMPLE_RATE_HZ,
        n_mfcc=_MFCC_COEFFICIENTS,
        n_fft=_MFCC_FFT_SAMPLES,
        win_length=_MFCC_WINDOW_SAMPLES,
        hop_length=_MFCC_HOP_SAMPLES,
        n_mels=_MFCC_BANDS,
    )
    # Ends are repeated, for utterances may be shorter than nine frames.
    tracks = np.concatenate(
        [coefficients]
        + [
            librosa.feature.delta(coefficients, order=order, mode="nearest")
            for order in (1, 2)
        ]
    )
    statistics = [f(tracks, axis=1) for f in (np.mean, np.std, np.min, np.max)]
    return np.concatenate(statistics).astype(np.float32)


def _machine(kernel: str, penalty: float) -> Any:
    """Imputes what is not defined, scales, and classifies."""
    _require("sklearn", "traditional")
    from sklearn import impute, pipeline, preprocessing, svm

    return pipeline.make_pipeline(
        impute.SimpleImputer(keep_empty_features=True),
        preprocessing.StandardScaler(),
        svm.SVC(kernel=kernel, C=penalty, class_weight="balanced"),
    )


def _decide(machine: Any, vectors: np.ndarray, classes: int) -> np.ndarray:
    """Decision values, float32 ``[recordings, classes]``.

    Classes that were not among the training recordings come last.
    """
    decided = machine.decision_function(vectors)
    if decided.ndim == 1:  # Of two classes, the value of the second.
        decided = np.stack([-decided, decided], axis=1)
    outputs = np.repeat(decided.min(axis=1, keepdims=True) - 1, classes, axis=1)
    outputs[:, machine.classes_] = decided
    return outputs.astype(np.float32)
