"""Builds the shards of a corpus, or reuses them: ``python -m data_prep.build --help``.

python -m data_prep.build --dataset=emodb --manual_dir=DIR --data_dir=DIR
"""

import contextlib
import difflib
import io
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import app, flags, logging

from data_prep import beam, corpus, digests
from data_prep.continuous import continuous_dataset_builder
from data_prep.crema_d import crema_d_dataset_builder
from data_prep.emodb import emodb_dataset_builder
from data_prep.iemocap import iemocap_dataset_builder
from data_prep.manifest import manifest_dataset_builder
from data_prep.msp_improv import msp_improv_dataset_builder
from data_prep.msp_podcast import msp_podcast_dataset_builder
from data_prep.ravdess import ravdess_dataset_builder
from data_prep.recola import recola_dataset_builder
from data_prep.savee import savee_dataset_builder
from data_prep.synthetic import synthetic_dataset_builder
from data_prep.tess import tess_dataset_builder
from diccoser_jax import lock

BUILDERS: Mapping[str, type[corpus.CorpusBuilder]] = {
    "continuous": continuous_dataset_builder.Builder,
    "crema_d": crema_d_dataset_builder.Builder,
    "emodb": emodb_dataset_builder.Builder,
    "iemocap": iemocap_dataset_builder.Builder,
    "manifest": manifest_dataset_builder.Builder,
    "msp_improv": msp_improv_dataset_builder.Builder,
    "msp_podcast": msp_podcast_dataset_builder.Builder,
    "ravdess": ravdess_dataset_builder.Builder,
    "recola": recola_dataset_builder.Builder,
    "savee": savee_dataset_builder.Builder,
    "synthetic": synthetic_dataset_builder.Builder,
    "tess": tess_dataset_builder.Builder,
}


# Beside the shards, on their file system.
_ASIDE = "incomplete"
_REPLACED = f"{_ASIDE}.replaced"


def build(
    dataset: str,
    manual_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    *,
    on_bad_file: str = "raise",
    allow_partial: bool = False,
    num_shards: int | None = None,
    progress: bool = True,
    beam_options: Sequence[str] = (),
    **options: Any,
) -> pathlib.Path:
    """Returns the folder of the shards of ``dataset``, which it builds if need be.

    Shards are reused if they were made from the same files with the same options, or if
    ``manual_dir`` is '' and they were made with the same options, and if not a byte of
    them has changed since. New ones are made beside old ones, which they replace when
    they are whole: a build that fails or is interrupted changes nothing. Of several
    processes that need the same shards one builds, and the others wait.

    Args:
      dataset: a key of ``BUILDERS``, with the name of a configuration after a slash
        where a builder has several: 'synthetic/regression'.
      manual_dir: the folder of the corpus; '' to reuse shards, or for 'synthetic'.
      data_dir: where shards go, into ``<dataset>/<version>``.
      on_bad_file: 'raise', or 'skip' to leave out and list files that cannot be used.
      allow_partial: whether a corpus is used whose counts are other than documented;
        the shards and all reports made from them say so.
      num_shards: files for each split; None for as many as hold 64 MiB each.
      progress: whether to draw progress bars.
      beam_options: of Apache Beam, which then reads the files and writes the shards:
        ['runner=FnApiRunner']. The records are the same.
      **options: further options of the builder; see ``corpus.CorpusBuilder``.

    Returns:
      a folder for ``tfds.builder_from_directory``.

    Raises:
      corpus.CorpusError: the dataset is unknown, or the corpus cannot be used; the
        message names the file, what was found and what was expected. Or Beam does not
        take its options, or is not installed.
      OSError: the shards cannot be written.
    """
    builder_class, config = _find(dataset)
    parallel_map = beam.Workers(beam_options).map if beam_options else None
    root = pathlib.Path(data_dir).expanduser().absolute() / builder_class.name
    shards = root / config / str(builder_class.VERSION)
    # Where nobody can write, nobody builds.
    read_only = shards.exists() and not os.access(shards.parent, os.W_OK)
    with contextlib.nullcontext() if read_only else lock.hold(shards.parent, wait=True):
        reuse_only = not os.fspath(manual_dir) and bool(builder_class.file_suffixes)
        reason = "they are missing or incomplete"
        if (shards / "dataset_info.json").exists():
            reason = digests.damage(shards)
            if reason and reuse_only:
                raise corpus.CorpusError(
                    f"{reason}; name manual_dir to rebuild the shards"
                )
        builder = create_builder(
            dataset,
            manual_dir,
            data_dir if reuse_only else shards.parent / _ASIDE,
            on_bad_file=on_bad_file,
            allow_partial=allow_partial,
            num_shards=num_shards,
            progress=progress,
            parallel_map=parallel_map,
            **options,
        )
        reason = reason or _reason_to_build(
            builder, shards, reuse_only, on_bad_file, allow_partial, num_shards
        )
        if not reason:
            logging.info("Reusing the shards in %s", shards)
            return shards
        if shards.exists():
            logging.warning("Rebuilding %s: %s.", shards, reason)
        _build(builder, shards)
    return shards


def _build(builder: corpus.CorpusBuilder, shards: pathlib.Path) -> None:
    """Builds aside, then swaps; the next build removes what a kill leaves."""
    _clean_up(shards)
    try:
        builder.check()
        with _quiet_tfds():
            builder.download_and_prepare(
                download_dir=shards.parent / f"{_ASIDE}.downloads",  # there are none
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
        built = pathlib.Path(builder.data_path)
        _check_complete(built)
        digests.write(built)
        if shards.exists():
            shards.rename(shards.parent / _REPLACED)
        built.rename(shards)
    except RuntimeError as error:  # of ArrayRecord's writer
        left = "what was there is as it was" if shards.exists() else "nothing is left"
        raise OSError(f"{shards} cannot be written, and {left}: {error}") from error
    finally:
        _clean_up(shards, ignore_errors=True)


def _clean_up(shards: pathlib.Path, *, ignore_errors: bool = False) -> None:
    """Removes what a build leaves; in the middle of the swap, the old ones return."""
    if (shards.parent / _REPLACED).exists() and not shards.exists():
        (shards.parent / _REPLACED).rename(shards)
    for leftover in shards.parent.glob(f"{_ASIDE}*"):
        shutil.rmtree(leftover, ignore_errors=ignore_errors)


def _check_complete(shards: pathlib.Path) -> None:
    """Reads the last record of each split: a writer that failed may not have said so.

    Raises:
      OSError: it is not there.
    """
    built = tfds.builder_from_directory(shards)
    for split, count in built.info.metadata["counts"]["split"].items():
        source = built.as_data_source(split)
        if len(source) != count:
            raise OSError(f"{shards}: {split} has {len(source)} of {count} records.")
        source[count - 1]


def create_builder(
    dataset: str,
    manual_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    **options: Any,
) -> corpus.CorpusBuilder:
    """Returns the builder of ``dataset``, which has read no file yet.

    Args:
      dataset: as in `build`.
      manual_dir: as in `build`.
      data_dir: as in `build`.
      **options: of the builder; see ``corpus.CorpusBuilder``.

    Raises:
      corpus.CorpusError: the dataset is unknown; the message lists those that are not.
    """
    builder, config = _find(dataset)
    # An absolute path, for folders change between notebooks and worker processes.
    return builder(
        config=config or None,
        data_dir=pathlib.Path(data_dir).expanduser().absolute(),
        manual_dir=os.path.expanduser(manual_dir),
        **options,
    )


def _find(dataset: str) -> tuple[type[corpus.CorpusBuilder], str]:
    """The builder of a dataset, and the name of its configuration or ''."""
    name, _, config = dataset.partition("/")
    if name not in BUILDERS:
        nearest = difflib.get_close_matches(name, BUILDERS, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise corpus.CorpusError(
            f"unknown dataset {name!r}{hint} Known: {', '.join(BUILDERS)}"
        )
    configs = BUILDERS[name].builder_configs
    if config and config not in configs:
        raise corpus.CorpusError(
            f"{name} has no configuration {config!r}; expected one of "
            f"{', '.join(configs) or 'none'}"
        )
    return BUILDERS[name], config or next(iter(configs), "")


def describe(metadata: Mapping[str, Any]) -> str:
    """Returns the count report for ``builder.info.metadata``, several lines."""
    counts = metadata["counts"]
    lines = [
        f"{sum(counts['speaker'].values())} recordings, {metadata['hours']:.2f} h, "
        f"{len(counts['speaker'])} speakers, {len(metadata['units'])} units"
    ]
    for title, table in counts.items():
        if table:
            cells = ", ".join(f"{name} {count}" for name, count in table.items())
            lines.append(f"by {title}: {cells}")
    lines += [f"Warning: {warning}" for warning in metadata["warnings"]]
    if metadata["skipped"]:
        lines.append(f"{len(metadata['skipped'])} files skipped:")
        lines += [f"  {bad['file']}: {bad['reason']}" for bad in metadata["skipped"]]
    return "\n".join(lines)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Hides TFDS's bars, logs and prints for each split: the builder has its own."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _reason_to_build(
    builder: corpus.CorpusBuilder,
    shards: pathlib.Path,
    reuse_only: bool,
    on_bad_file: str,
    allow_partial: bool,
    num_shards: int | None,
) -> str:
    """Says why the shards that are there will not do; '' if they will."""
    stored = tfds.builder_from_directory(shards).info
    if reuse_only:
        if stored.metadata["options"] != builder.options:
            raise corpus.CorpusError(
                f"the shards in {shards} were made with {stored.metadata['options']}, "
                f"not {builder.options}; name manual_dir to rebuild them"
            )
        return ""
    if stored.metadata["fingerprint"] != builder.fingerprint():
        return "the files of the corpus or the options have changed"
    if stored.metadata["skipped"] and on_bad_file == "raise":
        return "files were skipped in them, which on_bad_file=raise does not allow"
    if stored.metadata["partial"] and not allow_partial:
        return "they hold other counts than documented, which takes allow_partial"
    if num_shards and any(s.num_shards != num_shards for s in stored.splits.values()):
        return f"num_shards is now {num_shards}"
    return ""


def main(argv: list[str]) -> None:
    """Builds and reports."""
    args = flags.FLAGS
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.WARNING)
    try:
        shards = build(
            args.dataset,
            args.manual_dir,
            args.data_dir,
            on_bad_file=args.on_bad_file,
            allow_partial=args.allow_partial,
            num_shards=args.num_shards,
            beam_options=args.beam_options,
        )
    except (corpus.CorpusError, OSError) as error:
        sys.exit(f"Error: {error}")
    print(describe(tfds.builder_from_directory(shards).info.metadata))
    print(f"Shards: {shards}")


if __name__ == "__main__":
    # Here, for other programs import this module and have flags of their own.
    flags.DEFINE_string(
        "dataset", None, f"Corpus, one of {', '.join(BUILDERS)}.", required=True
    )
    flags.DEFINE_string("manual_dir", "", "Folder of the unpacked corpus.")
    flags.DEFINE_string("data_dir", None, "Folder for the shards.", required=True)
    flags.DEFINE_enum(
        "on_bad_file", "raise", ["raise", "skip"], "What to do with a file of no use."
    )
    flags.DEFINE_bool(
        "allow_partial", False, "Use a corpus whose counts are other than documented."
    )
    flags.DEFINE_integer("num_shards", None, "Files for each split.")
    flags.DEFINE_list(
        "beam_options",
        [],
        "Options of Apache Beam's pipelines, separated by commas, with which its "
        "workers check the files and write the shards. On this machine: "
        "runner=FnApiRunner,direct_running_mode=multi_processing,"
        "direct_num_workers=0. Workers on others must see both folders under the same "
        "names, and have this package.",
    )
    app.run(main)
