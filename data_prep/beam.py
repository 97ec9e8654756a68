"""Builds shared by several processes or machines: Apache Beam, the extra ``beam``."""

import contextlib
import difflib
import io
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from data_prep.corpus import CorpusError


class Workers:
    """Those of a runner of Beam, which must see the folders that this process sees."""

    def __init__(self, options: Sequence[str]):
        """Checks the options, and starts nothing yet.

        Args:
          options: of Beam, as on its command lines but for the dashes:
            'runner=FnApiRunner'.

        Raises:
          CorpusError: Beam is not installed, or does not take an option.
        """
        try:
            import apache_beam
            from apache_beam.options import pipeline_options
        except ImportError as error:
            raise CorpusError(
                "beam_options need Apache Beam, which is not installed. Run `pip "
                "install 'diccoser-jax[beam]'`, or leave them out to build in this "
                "process"
            ) from error
        self._beam = apache_beam
        self._options = pipeline_options.PipelineOptions(
            [f"--{option.removeprefix('--')}" for option in options]
        )
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                known = self._options.get_all_options()
                # Beam leaves out what it does not know without an error.
                given = self._options.get_all_options(retain_unknown_options=True)
                apache_beam.Pipeline(options=self._options)
        except SystemExit as error:  # of argparse
            _, _, reason = said.getvalue().strip().rpartition("error: ")
            raise CorpusError(f"beam_options: {reason}") from error
        except (ValueError, ImportError, AttributeError) as error:
            raise CorpusError(f"beam_options: {error}") from error
        for name in given.keys() - known.keys():
            nearest = difflib.get_close_matches(name, known, n=1)
            raise CorpusError(
                f"beam_options: Beam has no option {name!r}"
                + (f"; did you mean {nearest[0]}?" if nearest else "")
            )

    def map(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        folder: pathlib.Path,
    ) -> list[Any]:
        """Returns ``function`` of each item, in their order.

        Args:
          function: picklable; what it returns becomes JSON, so that tuples come back
            as lists.
          items: picklable.
          folder: new, for the results on their way here.
        """
        beam = self._beam

        def numbered(number: int, item: Any) -> str:
            return json.dumps([number, function(item)])

        folder.mkdir(parents=True)
        with beam.Pipeline(options=self._options) as pipeline:
            _ = (
                pipeline
                | "Items" >> beam.Create(list(enumerate(items)))
                | "Deal" >> beam.Reshuffle()
                | "Map" >> beam.MapTuple(numbered)
                | "Write" >> beam.io.WriteToText(str(folder / "results"))
            )
        lines = [
            line
            for path in folder.glob("results*")
            for line in path.read_text().splitlines()
        ]
        results = dict(map(json.loads, lines))
        if len(results) != len(items):
            raise OSError(
                f"{folder} holds {len(results)} of {len(items)} results of the workers "
                "of Beam; have all of them that folder?"
            )
        return [results[number] for number in range(len(items))]
