r"""Makes long recordings with arousal and valence of a corpus of acted utterances.

  python -m data_prep.continuous --dataset=ravdess --manual_dir=DIR --output=DIR
  python -m data_prep.build --dataset=continuous --manual_dir=OUTPUT --data_dir=DIR

Each recording holds utterances of one speaker in random order, with pauses. Labels are
at 25 Hz: where the acted emotion lies on the circumplex, smoothed and late as raters
are. data_prep/continuous/README.md says more.
"""

import csv
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile
import tqdm
from absl import app, flags, logging

from data_prep import build, corpus
from data_prep.continuous import composition
from data_prep.continuous.continuous_dataset_builder import DESCRIPTION
from diccoser_jax import audio
from diccoser_jax.audio import FRAME_RATE_HZ, SAMPLE_RATE_HZ

_DIMENSIONS = ("arousal", "valence")
_COLUMNS: tuple[str, ...] = (
    "recording",
    "start_seconds",
    "end_seconds",
    "utterance",
    "emotion",
)
_COLUMNS += ("intensity", *_DIMENSIONS)


def make(
    dataset: str,
    manual_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    settings: composition.Settings,
    *,
    on_bad_file: str = "raise",
    allow_partial: bool = False,
    progress: bool = True,
) -> pathlib.Path:
    """Writes ``recordings_audio``, ``ratings_gold_standard`` and two descriptions.

    ``utterances.csv`` says what is said when; ``corpus.json`` what the builder
    ``continuous`` needs to know. Nothing is left behind by an interruption.

    Args:
      dataset: a corpus of classes, as in `build.build`.
      manual_dir: its folder.
      output: a new folder.
      settings: how.
      on_bad_file: as in `build.build`.
      allow_partial: as in `build.build`.
      progress: whether to draw progress bars.

    Returns:
      ``output``.

    Raises:
      CorpusError: the corpus cannot be used, it has no classes, one of them has no
        place on the circumplex, or ``output`` is there.
    """
    output = pathlib.Path(output).expanduser()
    if output.exists():
        raise corpus.CorpusError(f"{output} is there; remove it or name another folder")
    with tempfile.TemporaryDirectory() as nowhere:
        source = build.create_builder(
            dataset,
            manual_dir,
            nowhere,
            on_bad_file=on_bad_file,
            allow_partial=allow_partial,
            progress=progress,
        )
        if source.dimension_names:
            raise corpus.CorpusError(
                f"{dataset} has labels over time; expected a corpus of classes"
            )
        _check_classes(source)
        source.check()
    recordings = [r for group in source.units.values() for r in group]
    speakers: dict[str, list[corpus.Recording]] = {}
    for name, recording in zip(_names(recordings), recordings):
        speakers.setdefault(name, []).append(recording)
    unfinished = output.with_name(output.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    table: list[Sequence[object]] = []
    for name in tqdm.tqdm(
        sorted(speakers), "composing", unit="speaker", disable=not progress
    ):
        waveforms = [source.waveform(recording) for recording in speakers[name]]
        room = composition.room(waveforms)
        utterances = [
            composition.Utterance(
                recording.id,
                str(recording.label),
                composition.intensity(source.name, recording.id),
                composition.speech(waveform),
            )
            for recording, waveform in zip(speakers[name], waveforms)
        ]
        for number in range(1, settings.recordings_per_speaker + 1):
            rng = np.random.default_rng([settings.seed, number, *name.encode()])
            try:
                made = composition.compose(utterances, room, settings.frames, rng)
            except ValueError as error:
                raise corpus.CorpusError(f"{name}: {error}") from error
            labels = composition.rate(made.acted, settings, rng)
            _write(unfinished, f"{name}_{number}", made, labels)
            table += _rows(f"{name}_{number}", made)
    _write_csv(unfinished / "utterances.csv", table)
    description = {
        "dataset": dataset,
        "utterances": len({row[3] for row in table}),
        "settings": dataclasses.asdict(settings),
        "speakers": {name: group[0].sex for name, group in sorted(speakers.items())},
        "warnings": source.info.metadata["warnings"],
        "fingerprint": source.info.metadata["fingerprint"],
    }
    (unfinished / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    unfinished.rename(output)
    return output


def heard_exactly(folder: pathlib.Path, moved_seconds: float) -> dict[str, np.ndarray]:
    """`composition.heard_exactly` of each recording that `make` wrote.

    Args:
      folder: its ``output``.
      moved_seconds: how far the labels were moved back.

    Returns:
      float32 ``[frames, 2]``, arousal and valence, for the id of each recording.
    """
    description = json.loads((folder / DESCRIPTION).read_text())
    settings = composition.Settings(**description["settings"])
    tracks: dict[str, np.ndarray] = {}
    with (folder / "utterances.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            track = tracks.setdefault(
                row["recording"], np.zeros((settings.frames, 2), np.float32)
            )
            start = round(float(row["start_seconds"]) * FRAME_RATE_HZ)
            track[start:] = [float(row[name]) for name in _DIMENSIONS]
    return {
        name: composition.heard_exactly(track, settings, moved_seconds)
        for name, track in tracks.items()
    }


def _check_classes(source: corpus.CorpusBuilder) -> None:
    for emotion in source.class_names:
        try:
            composition.point(emotion, 1.0)
        except ValueError as error:
            raise corpus.CorpusError(f"{source.name}: {error}") from error


def _names(recordings: Sequence[corpus.Recording]) -> list[str]:
    """Names of speakers that are names of splits, too."""
    names: list[str] = []
    known: dict[str, str] = {}
    for recording in recordings:
        name = "speaker" + re.sub(r"\W", "_", recording.speaker, flags=re.ASCII)
        if name.endswith(corpus.EVALUATION_SUFFIX):
            name += "_"
        if known.setdefault(name, recording.speaker) != recording.speaker:
            raise corpus.CorpusError(
                f"speakers {known[name]!r} and {recording.speaker!r} would both be "
                f"{name}; expected names that differ in letters or digits"
            )
        names.append(name)
    return names


def _write(
    folder: pathlib.Path,
    stem: str,
    made: composition.Composition,
    labels: np.ndarray,
) -> None:
    path = folder / f"recordings_audio/{stem}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.to_int16(made.waveform), SAMPLE_RATE_HZ)
    for dimension, track in zip(_DIMENSIONS, labels.T):
        path = folder / f"ratings_gold_standard/{dimension}/{stem}.arff"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The row at 0 s, of the time before the first frame, is as in AVEC.
        rows = [
            f"'{stem}.wav',{row / FRAME_RATE_HZ:.2f},{value:.6f}"
            for row, value in enumerate([0.0, *track])
        ]
        head = [
            "@relation GOLDSTANDARD",
            "",
            "@attribute Instance_name string",
            "@attribute frameTime numeric",
            "@attribute GoldStandard numeric",
            "",
            "@data",
        ]
        path.write_text("\n".join(head + rows) + "\n")


def _rows(stem: str, made: composition.Composition) -> list[Sequence[object]]:
    return [
        (
            stem,
            f"{start / FRAME_RATE_HZ:.2f}",
            f"{start / FRAME_RATE_HZ + len(utterance.speech) / SAMPLE_RATE_HZ:.2f}",
            utterance.id,
            utterance.emotion,
            utterance.intensity,
            *(f"{value:.4f}" for value in utterance.point),
        )
        for utterance, start in zip(made.utterances, made.starts)
    ]


def _write_csv(path: pathlib.Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    path.write_text(text.getvalue())


def main(argv: list[str]) -> None:
    """Makes the corpus and says where it lies."""
    args = flags.FLAGS
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.WARNING)
    try:
        settings = composition.Settings(
            **{f.name: args[f.name].value for f in _SETTINGS}
        )
        output = make(
            args.dataset,
            args.manual_dir,
            args.output,
            settings,
            on_bad_file=args.on_bad_file,
            allow_partial=args.allow_partial,
        )
    except ValueError as error:  # CorpusError is one
        sys.exit(f"Error: {error}")
    print(f"Recordings: {output}")


_SETTINGS = dataclasses.fields(composition.Settings)
_HELP = {
    "minutes": "Length of a recording.",
    "recordings_per_speaker": "Recordings of each speaker, of another order each.",
    "smoothing_seconds": "Width of the Hann window that smooths the labels.",
    "delay_seconds": "How late the labels are; give it to training as "
    "--config.data.delay_seconds, which moves them back.",
    "noise": "Standard deviation of what raters add to the labels.",
    "seed": "Of orders, pauses and noise.",
}

if __name__ == "__main__":
    flags.DEFINE_string(
        "dataset", None, "A corpus of classes, as for data_prep.build.", required=True
    )
    flags.DEFINE_string("manual_dir", "", "Its unpacked folder.")
    flags.DEFINE_string("output", None, "A new folder.", required=True)
    flags.DEFINE_enum(
        "on_bad_file", "raise", ["raise", "skip"], "What to do with a file of no use."
    )
    flags.DEFINE_bool(
        "allow_partial", False, "Use a corpus whose counts are other than documented."
    )
    for field in _SETTINGS:
        define: Any = flags.DEFINE_integer if field.type is int else flags.DEFINE_float
        define(field.name, field.default, _HELP[field.name])
    app.run(main)
