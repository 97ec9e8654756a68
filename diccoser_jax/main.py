r"""Trains, evaluates and reports: one command from a corpus to a score and a picture.

The demo, on a synthetic corpus:
  python -m diccoser_jax.main

A corpus, with a file of configs/ and any key of configs/default.py as a flag:
  python -m diccoser_jax.main --config=configs/emodb.py \
      --config.data.manual_dir=DIR --workdir=DIR [--config.section.key=value ...]

Cross-validation, and three runs of each fold that differ in nothing but the seed:
  python -m diccoser_jax.main --config=configs/emodb.py \
      --config.data.manual_dir=DIR --config.fold=all --config.repeats=3 --workdir=DIR

Networks, --config.model.network=                 parameters, 3 s and 4 classes
                                                      raw     log_mel
  diccoser        one sequential network          358,660     365,828
  diccoser_cs     context stacking                424,772     431,940
  diccoser_cs_v2  context stacking, exchanged     424,772     431,940
  cnn_lstm        Tzirakis et al. 2018          1,298,372   1,318,340

--config.model.frontend=raw or log_mel; --config.model.aggregation=rms or max (context
stacking); --config.model.block=relu or gated (WaveNet's). Recipes: the paper's by
--config=configs/emodb.py:paper, the default by :tuned.

The same command again goes on where it stopped, after whatever stopped it.
Exit codes: 0 finished; 1 an error, named by the last line; 75 ended by Ctrl-C or
SIGTERM after saving (a second Ctrl-C ends at once, by the signal: 130 in a shell).
"""

import contextlib
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator

import jax
from absl import app, flags, logging
from ml_collections import config_flags

import configs.demo
from data_prep.corpus import CorpusError
from diccoser_jax import (
    compilation_cache,
    distributed,
    experiment,
    huge_pages,
    interrupt,
    report,
)
from diccoser_jax.audio import AudioError
from diccoser_jax.checkpoint import CheckpointError
from diccoser_jax.config import ConfigError
from diccoser_jax.lock import InUseError


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}: flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    command = shlex.join(["python", "-m", "diccoser_jax.main", *sys.argv[1:]])
    config = flags.FLAGS.config
    with exit_codes():
        distributed.start(config.distributed)
        prepare_machine()
        name = f"{config.data.dataset}-fold{config.fold}".replace("/", "-")
        workdir = pathlib.Path(flags.FLAGS.workdir or f"runs/{name}")
        results = experiment.run(config, workdir, command)
    for measure, value, compare in report.headline(results):
        print(f"test {measure}: {value} ({compare})")
    print(f"Report: {workdir / 'report.html'}")


_EXPECTED = (
    AudioError,
    CorpusError,
    ConfigError,
    CheckpointError,
    InUseError,
    distributed.PeerError,
    FloatingPointError,
    OSError,
)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the program by the codes of ``--help``, on errors with one line."""
    interrupt.raise_on_signals()
    try:
        yield
    except KeyboardInterrupt as error:
        print(f"Interrupted. {error} The same command goes on.", file=sys.stderr)
        sys.exit(interrupt.EXIT_CODE)
    except Exception as error:
        error = distributed.as_peer_error(error)
        if not isinstance(error, _EXPECTED):
            raise
        text = f"{type(error).__name__}: {error}"
        if jax.distributed.is_initialized():
            # The usual end would wait for processes that may be gone.
            print(text, file=sys.stderr, flush=True)
            os._exit(1)
        sys.exit(text)


def prepare_machine() -> None:
    """What makes steps and second starts faster, unless the flags forbid it."""
    # One of several processes cannot start again: the others would miss it.
    alone = not jax.distributed.is_initialized()
    if flags.FLAGS.huge_pages and alone and jax.default_backend() == "cpu":
        huge_pages.start_again()
    compilation_cache.use()


def define_flags() -> None:
    """Flags of a command with a configuration and a workdir.

    Those of single keys are read while they are defined; one that the configuration
    lacks ends the program.
    """
    try:
        config_flags.DEFINE_config_file(
            "config",
            configs.demo.__file__,
            "Configuration; single keys by --config.section.key=value, as in "
            "configs/default.py. Its Python code is executed.",
        )
    except (KeyError, AttributeError) as error:
        # ml_collections wraps the KeyError that names key and neighbour.
        cause = error.args[0]
        text = cause.args[0] if isinstance(cause, KeyError) else cause
        sys.exit(f"ConfigError: config has no key {text}")
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder for checkpoints, logs, results.json and report.html; the same command "
        "goes on where it stopped. Default: runs/<corpus>-fold<n>.",
    )
    define_machine_flags()


def define_machine_flags() -> None:
    """The flags of `prepare_machine`."""
    compilation_cache.define_flag()
    flags.DEFINE_bool(
        "huge_pages",
        True,
        "On CPU under Linux, start again with huge pages in GLIBC_TUNABLES: a step "
        "takes three quarters of the time.",
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
