"""``bench``: how fast a source or a pipeline goes with several numbers of workers and threads, and which to choose."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datarax_mp.commands.table import Refused
from datarax_mp.commands.target import named

if TYPE_CHECKING:
    from datarax_mp.commands.benching.measured import Measured
    from datarax_mp.pipeline import Pipeline

_EXPECTED = "module:attribute, a Pipeline, a source, or a function without arguments that makes one"
_SECONDS = 3.0
_WIDE = 90  # letters of an error in the table
_DIFFER = 0.2  # a share of a rate
_VISITS = 2  # there and back, so that what changes meanwhile on the machine falls on all alike


def arguments(parser: argparse.ArgumentParser) -> None:
    """See ``Command``."""
    parser.epilog = (
        "Each setting is run twice, from first to last and back. Other programs on the machine make all of it wrong: "
        "the spread between the two runs is shown."
    )
    parser.add_argument("target", help=_EXPECTED)
    parser.add_argument("--batch-size", type=int, default=32, help="where the target is a source (%(default)s)")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="for each setting (%(default)g)")
    parser.add_argument("--step-ms", type=float, default=0.0, help="what your training step takes, for each batch")
    parser.add_argument("--workers", type=int, nargs="*", help="numbers of processes, instead of up to the cores")
    parser.add_argument("--threads", type=int, nargs="*", help="numbers of threads, likewise; none of them: --threads")
    parser.add_argument("--plot", metavar="FILE", help="draw it, to a PNG, PDF or SVG (datarax-mp[monitoring])")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(options: argparse.Namespace) -> int:
    """See ``Command``."""
    from datarax_mp.commands.benching.tried import measure_all

    if not (options.seconds > 0 and options.step_ms >= 0 and options.batch_size > 0):
        raise Refused("--seconds and --batch-size must be greater than 0, and --step-ms must not be less")
    if any(number < 0 for number in [*(options.workers or ()), *(options.threads or ())]):
        raise Refused("--workers and --threads must be numbers of workers, from 0")
    if options.plot is not None:
        from datarax_mp.commands.benching.plot import drawable

        drawable()  # before anything is measured
    step = options.step_ms / 1e3
    with closing(_pipeline(options.target, options.batch_size)) as pipeline:
        bench = _Bench(pipeline, options.seconds / _VISITS, step, quiet=options.json)
        bench.say(f"{options.target}: {pipeline!r}")
        found = measure_all(options.workers, options.threads, bench.measure)
        bench.again(found)
    if not any(one.rate for one in found):
        raise Refused(f"nothing could be measured: {found[0].error}")
    return _tell(options, found, step)


class _Bench:
    """Measures settings of a pipeline, and says so."""

    def __init__(self, pipeline: Pipeline[Any], seconds: float, step: float, *, quiet: bool) -> None:
        self._pipeline, self._seconds, self._step, self._quiet = pipeline, seconds, step, quiet

    def measure(self, setting: Any) -> Measured:
        """A first visit."""
        from datarax_mp.commands.benching.measured import Measured, visit

        found = Measured(setting)
        try:
            visit(found, self._pipeline, self._seconds, self._step)
        except Exception as error:
            if not setting.num_workers:
                raise  # it does not work at all
            found.error = f"{type(error).__name__}: {error}".splitlines()[0]
        self.say(f"  {setting!s:>12}: {_short(found.error) if found.error else f'{found.rate:.4g} records/s'}")
        return found

    def again(self, found: Sequence[Measured]) -> None:
        """The other visits, on the way back."""
        from datarax_mp.commands.benching.measured import visit

        for one in reversed(found):
            if one.error is None:
                visit(one, self._pipeline, self._seconds, self._step)

    def say(self, line: str) -> None:
        """Say how far it is."""
        if not self._quiet:
            print(line, flush=True)


def _pipeline(target: str, batch_size: int) -> Pipeline[Any]:
    """The pipeline that is meant, or one over the source that is."""
    from datarax_mp.pipeline import Pipeline

    made = named(target, _EXPECTED)
    if not isinstance(made, Pipeline) and callable(made) and (isinstance(made, type) or not hasattr(made, "__len__")):
        made = made()
    if isinstance(made, Pipeline):
        return made
    try:
        return Pipeline(source=made, batch_size=batch_size, output="numpy")
    except (TypeError, ValueError) as error:
        raise Refused(f"{target} must be {_EXPECTED.partition(', ')[2]}: {error}") from None


def _tell(options: argparse.Namespace, found: Sequence[Measured], step: float) -> int:
    from datarax_mp.commands.benching.verdict import bound, chosen

    best = chosen(found)
    why = bound(best, step, found)
    rows = best.stats.rows / best.stats.batches
    if options.plot is not None:
        from datarax_mp.commands.benching.plot import draw

        draw(found, best, options.target, options.plot, rows / step if step else None)
    if options.json:
        settings = [_flat(one) for one in found]
        told = {"target": options.target, "cores": best.stats.cores, "step_seconds": step, "settings": settings}
        print(json.dumps({**told, "bound": why, "chosen": asdict(best.setting)}, indent=1))
        return 0
    print("\n".join(_table(found, best)))
    gain = f", {best.rate / found[0].rate:.2g} times as fast as none" if best is not found[0] and found[0].rate else ""
    print(f"Choose {best.setting.arguments}{gain}. It is bound by {why}.")
    if best.spread > _DIFFER:
        print(f"Two runs of it differ by {best.spread:.0%}: other programs disturb, so take this with care.")
    if best.stats.hits:
        print("Records came out of a Cache, so this says nothing about the first epoch.")
    return 0


def _table(found: Sequence[Measured], best: Measured) -> list[str]:
    heads = ("workers", "records/s", "spread", "first batch", "waiting", "workers busy", "cores", "")
    rows = [heads]
    for one in found:
        if one.error is not None:
            rows.append((str(one.setting), _short(one.error), "", "", "", "", "", ""))
            continue
        stats = one.stats
        busy = f"{stats.busy:.0%}" if one.setting.num_workers else ""
        cells = f"{one.rate:.4g}", f"{one.spread:.0%}", f"{min(one.firsts):.2f} s", f"{1 - stats.utilisation:.0%}"
        rows.append((str(one.setting), *cells, busy, f"{one.cores:.1f}", "<-" if one is best else ""))
    wide = [max(len(row[place]) for row in rows if row[2]) for place in range(len(heads))]
    return [_line(row, wide) for row in rows]


def _line(row: Sequence[str], wide: Sequence[int]) -> str:
    if not row[2]:
        return f"{row[0].ljust(wide[0])}  {row[1]}"
    others = [cell.rjust(width) for cell, width in zip(row[1:], wide[1:], strict=True)]
    return "  ".join([row[0].ljust(wide[0]), *others]).rstrip()


def _short(error: str) -> str:
    return error if len(error) <= _WIDE else f"{error[:_WIDE]}..."


def _flat(one: Measured) -> dict[str, Any]:
    stats = one.stats
    return {
        **asdict(one.setting),
        "error": one.error,
        "records_per_second": one.rate,
        "visits": one.rates,
        "first_batch_seconds": one.firsts,
        "utilisation": stats.utilisation,
        "busy": stats.busy,
        "cores": one.cores,
        "shares": stats.shares,
    }
