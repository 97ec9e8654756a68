"""Imitations of published corpora: folders, names and formats, with short speech."""

import pathlib

import numpy as np
import soundfile
import speech

FRAMES_HZ = 25
AVEC_STEMS = [f"{part}_{i}" for part in ("train", "dev") for i in range(1, 10)]
RATERS = ("FM1", "FM2", "FM3", "FF1", "FF2", "FF3")


def place(path, number, seconds=0.05):
    """Puts one of 20 pieces of speech at ``path``: a link, for thousands are slow."""
    pool = path.parents[1] / f".pool/{number % 20}.wav"
    if not pool.exists():
        speech.write(pool, number % 20, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(pool)


def crema_d(folder):
    """7442 files and the table of the actors; 1076_MTI_SAD_XX is there, and silent."""
    sentences = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI")
    sentences += ("TAI", "TIE", "TSI", "WSI")
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    names = [
        f"{actor}_{sentence}_{emotion}_{level}"
        for actor in range(1001, 1092)
        for sentence in sentences
        for emotion in emotions
        for level in (
            ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
        )
    ]
    # Twenty takes do not exist: 5 neutral ones and 3 of each other emotion.
    for emotion in emotions:
        absent = [n for n in names if f"_TAI_{emotion}" in n]
        for name in absent[: 5 if emotion == "NEU" else 3]:
            names.remove(name)
    wavs = folder / "AudioWAV"
    for i, name in enumerate(names):
        place(wavs / f"{name}.wav", i)
    (wavs / "1076_MTI_SAD_XX.wav").unlink()
    soundfile.write(wavs / "1076_MTI_SAD_XX.wav", np.zeros(41_108), 16_000)
    (wavs / "1040_ITH_SAD_XX.wav").rename(wavs / "1040_ITH_SAD_X.wav")
    rows = [f'{a},51,"{_sex(a)}","Caucasian","Not Hispanic"' for a in range(1001, 1092)]
    header = '"ActorID","Age","Sex","Race","Ethnicity"'
    (folder / "VideoDemographics.csv").write_text("\r\n".join([header, *rows]) + "\r\n")
    (folder / "processedResults").mkdir()
    (folder / "processedResults/summaryTable.csv").write_text("fileName,VoiceVote\n")
    return folder


def _sex(actor):
    return "Male" if actor <= 1048 else "Female"


def savee(folder, flat=False, seconds=0.1):
    """480 files, in a folder for each speaker or, ``flat``, in one."""
    number = 0
    for speaker in ("DC", "JE", "JK", "KL"):
        for code in ("a", "d", "f", "h", "n", "sa", "su"):
            for sentence in range(1, 31 if code == "n" else 16):
                name = f"{code}{sentence:02d}.wav"
                path = f"{speaker}_{name}" if flat else f"AudioData/{speaker}/{name}"
                speech.write(folder / path, number, seconds)
                number += 1
    return folder


def tess(folder):
    """2800 files, with the odd prefix of one and the odd rate of another."""
    words = ["bite", "food", *(f"word{i:03d}" for i in range(198))]
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    number = 0
    for speaker in ("OAF", "YAF"):
        for emotion in emotions:
            for word in words:
                path = folder / f"{speaker}_{emotion}/{speaker}_{word}_{emotion}.wav"
                place(path, number)
                number += 1
    neutral = folder / "OAF_neutral"
    (neutral / "OAF_bite_neutral.wav").rename(neutral / "OA_bite_neutral.wav")
    (folder / "OAF_fear/OAF_food_fear.wav").unlink()
    odd = np.repeat(speech.cut(2801, 0.1), 6)
    soundfile.write(folder / "OAF_fear/OAF_food_fear.wav", odd, 96_000)
    return folder


def loudness(frames, rng):
    """Two tracks ``[frames, 2]`` in [-1, 1] that jump from each frame to the next."""
    return rng.choice([-0.9, -0.5, -0.1, 0.3, 0.7], size=(frames, 2))


def write_loud(path, track, sample_rate_hz=16_000, tail_samples=0):
    """Writes sound whose level follows ``track``: 20 dB louder for each 1.0."""
    size = sample_rate_hz // FRAMES_HZ
    # Whole periods in a frame, below 8 kHz: the same level at any rate.
    time = np.arange(size) / size
    carrier = sum(np.sin(2 * np.pi * k * time + k) for k in (7, 23, 61, 118)) / 2
    samples = 0.02 * np.outer(10**track, carrier).ravel()
    samples = np.append(samples, 0.02 * np.resize(carrier, tail_samples))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate_hz)


def heard(audio):
    """The level of each frame of int16 ``[samples]``, in units of the track."""
    frames = audio.reshape(-1, 640) / 32768
    return np.log10(np.sqrt(np.mean(frames**2, axis=1)) / 0.02 * np.sqrt(2))


def write_arff(path, track, ending="\n"):
    """Writes a gold standard as AVEC did; its first row, at 0 s, is no frame's."""
    rows = [
        f"'{path.stem}.wav',{row / FRAMES_HZ:.2f},{value:.6f}"
        for row, value in enumerate([0.111, *track])
    ]
    head = [
        "@relation GOLDSTANDARD",
        "",
        "@attribute Instance_name string",
        "@attribute frameTime numeric",
        "@attribute GoldStandard numeric",
        "",
        "",
        "@data",
        "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ending.join(head + rows) + ending, newline="")


def write_raters(path, ratings, ending="\r\n"):
    """Writes ratings ``[frames, raters]`` as the full release does."""
    names = [f"{name} " for name in RATERS[: ratings.shape[1] - 1]]
    names.append(RATERS[ratings.shape[1] - 1])
    rows = [
        ";".join([f"{row / FRAMES_HZ:g}", *(f"{value:g}" for value in values)])
        for row, values in enumerate([np.full(ratings.shape[1], 0.111), *ratings])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ending.join([";".join(["time", *names]), *rows, "", ""])
    path.write_text(text, newline="")


def recola_avec(folder, stems=AVEC_STEMS, frames=60, sample_rate_hz=44_100):
    """Recordings with gold standards, arousal their loudness; returns the tracks."""
    tracks = {}
    for i, stem in enumerate(stems):
        track = tracks[stem] = loudness(frames, np.random.default_rng(i))
        write_loud(
            folder / f"recordings_audio/{stem}.wav", track[:, 0], sample_rate_hz, 300
        )
        for column, dimension in enumerate(("arousal", "valence")):
            write_arff(
                folder / f"ratings_gold_standard/{dimension}/{stem}.arff",
                track[:, column],
            )
    (folder / "features_audio/arousal").mkdir(parents=True, exist_ok=True)
    (folder / "features_audio/arousal/train_1.arff").write_text("@relation features\n")
    return tracks


def recola_full(folder, stems=("P16", "P21"), frames=60, raters=6):
    """Recordings with raters who scatter about the loudness; returns their ratings."""
    given = {}
    for i, stem in enumerate(stems):
        rng = np.random.default_rng(i)
        track = loudness(frames, rng)
        write_loud(
            pathlib.Path(folder, f"RECOLA-Audio-recordings/{stem}.wav"), track[:, 0]
        )
        noise = rng.normal(0, 0.02, size=(raters, frames, 2))
        given[stem] = np.round(np.clip(track + noise, -1, 1), 2)
        for column, dimension in enumerate(("arousal", "valence")):
            write_raters(
                pathlib.Path(folder, "RECOLA-Annotation/emotional_behaviour")
                / f"{dimension}/{stem}.csv",
                given[stem][:, :, column].T,
            )
    return given
