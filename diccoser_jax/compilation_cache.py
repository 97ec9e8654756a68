"""Compiled programs that the next start finds on disk."""

import pathlib

import jax
from absl import flags


def define_flag() -> None:
    """The flag ``--compilation_cache`` of a command."""
    flags.DEFINE_string(
        "compilation_cache",
        "~/.cache/diccoser_jax/compiled",
        "Folder for compiled programs, so that the next run starts at once; '' for "
        "none. JAX_COMPILATION_CACHE_DIR has precedence.",
    )


def use() -> None:
    """Does as the flag says, unless the environment says where the cache is."""
    if flags.FLAGS.compilation_cache and not jax.config.jax_compilation_cache_dir:
        use_folder(pathlib.Path(flags.FLAGS.compilation_cache).expanduser())


def use_folder(folder: pathlib.Path) -> None:
    """Keeps compiled programs there, and finds them there."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Of the small ones there are many: together they take seconds, too.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
