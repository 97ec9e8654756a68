"""Commands of the package, without the seconds of importing it for each of them.

One process imports it; each command is a fork of that process.
"""

import atexit
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]

_FORKS = """
import json, os, runpy, signal, sys
sys.path.insert(0, os.getcwd())
import data_prep.build, data_prep.continuous.__main__
import diccoser_jax.main, diccoser_jax.predict
import librosa.filters  # imported late: it takes a second
for line in sys.stdin:
    module, arguments, cwd, *files = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(300)
        for number, path in enumerate(files):
            os.dup2(os.open(path, os.O_WRONLY if number else os.O_RDONLY), number)
        os.chdir(cwd)
        for name in (module, module + ".__main__"):
            sys.modules.pop(name, None)
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@functools.cache
def _forks() -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", _FORKS],
        cwd=ROOT,
        # A command that starts itself again would have to import all of it.
        env=os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


def run(
    module: str,
    *arguments: str | os.PathLike,
    cwd: pathlib.Path = ROOT,
    stdin: pathlib.Path = pathlib.Path(os.devnull),
) -> subprocess.CompletedProcess:
    """As ``python -m MODULE ARGUMENTS``, in the folder of the repository or another."""
    forks = _forks()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
        for path in outputs:
            path.touch()
        job = (module, list(map(os.fspath, arguments)))
        job += tuple(map(str, (cwd, stdin, *outputs)))
        print(json.dumps(job), file=forks.stdin, flush=True)
        code = int(forks.stdout.readline())
        texts = [path.read_text() for path in outputs]
    return subprocess.CompletedProcess((module, *arguments), code, *texts)
