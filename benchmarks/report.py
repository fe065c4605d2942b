"""python -m benchmarks.report: the tables of docs/benchmarks.md and the README's six rows.

Both are written from the committed JSON, never typed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT, results_file
from gtp_fast.errors import UserError

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
_HEADER = (
    "benchmark",
    "reference eager",
    "torch.compile",
    "ours",
    "ours vs eager",
    "ours vs torch.compile",
)
_RIVALS = ("benchmark", "measured against", "its time", "ours vs it")
HEADLINES = (
    "sampler, batch 1, K = 5",
    "sampler, batch 1, K = 5, int8",
    "sampler, batch 256, K = 5",
    "whole update, 1 seed, K = 5",
    "whole update, 16 seeds, K = 5",
    "loading 200,000 transitions, cached",
)
"""Rows of ours that the README shows."""
_LABELS = {
    "eager": "reference eager",
    "compiled": "torch.compile",
    "plain": "as first written",
    "jax": "JAX",
    "ours": "ours",
}


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; return the exit code."""
    options = _parse(argv)
    if options.collect:
        record = results_file.collect(options.collect)
        print(f"wrote {results_file.write(record, options.results)}")
    files = options.files or sorted(options.results.glob("*.json"))
    if not files:
        raise UserError(
            f"{options.results} holds no results: measure, then give the raw JSON to --collect."
        )
    records = [results_file.read(path) for path in files]
    wanted = {options.readme: headlines(records), options.page: render(records)}
    pages = {path: _page(path, tables) for path, tables in wanted.items()}
    stale = [path for path, text in pages.items() if text != path.read_text()]
    if not stale:
        print(f"{_names(pages)} agree with {len(files)} file(s) of results")
        return 0
    if options.check:
        print(
            f"{_names(stale)} and the results disagree; mend it with: python -m benchmarks.report",
            file=sys.stderr,
        )
        return 1
    for path in stale:
        path.write_text(pages[path])
    print(f"wrote the tables into {_names(stale)}")
    return 0


def _page(path: Path, tables: str) -> str:
    """Return the text of a page with new tables between its markers."""
    return replace(path.read_text() if path.exists() else "", tables, str(path))


def _names(paths: Iterable[Path]) -> str:
    return " and ".join(path.name for path in paths)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="results to show (default: all)")
    parser.add_argument(
        "--collect",
        nargs="+",
        type=Path,
        metavar="RAW",
        help="raw JSON of one run, as --benchmark-json writes it, to be made into results",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when a page disagrees"
    )
    parser.add_argument(
        "--readme", type=Path, default=ROOT / "README.md", help="page that shows six rows"
    )
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page of all tables"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the committed JSON"
    )
    return parser.parse_args(argv)


def replace(text: str, table: str, name: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """Return the text with the table between its markers; raises UserError when one is missing."""
    first, last = markers
    head, begin, rest = text.partition(first)
    _, end, tail = rest.partition(last)
    if not begin or not end:
        raise UserError(
            f"{name} has no place for the table: write {first} and {last} where it belongs."
        )
    return f"{head}{first}\n{table}\n{last}{tail}"


def headlines(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `HEADLINES` as one Markdown table, three columns a device."""
    about = [
        f"**{record['device']}**, {record['measured']}, {record['threads']} CPU threads, torch "
        f"{record['torch']}"
        for record in records
    ]
    header = [""]
    for record in records:
        header += [record["device"], "vs eager", "vs fastest rival"]
    lines = [_line(header), "|---|" + "---:|" * (len(header) - 1)]
    for name in HEADLINES:
        cells = [cell for record in records for cell in _headline(record["groups"], name)]
        lines.append(_line([name, *cells]))
    head = f"Medians; the rows of a line were measured in turns in one run. {'; '.join(about)}."
    return "\n".join([head, "", *lines])


def _headline(groups: Sequence[Mapping[str, Any]], name: str) -> tuple[str, str, str]:
    """Return our time, and its ratios to eager PyTorch and to the fastest of several rivals."""
    for group in groups:
        rivals = [row for row in group["rows"] if row["role"] != "ours" and "skipped" not in row]
        eager = next((row for row in rivals if row["role"] == "eager"), None)
        # Eager alone has its column already.
        others = any(row is not eager for row in rivals)
        fastest = min(rivals, key=lambda x: x["median_seconds"]) if others else None
        for row in group["rows"]:
            if row["role"] == "ours" and "skipped" not in row and _name(group, row) == name:
                label = _LABELS.get(fastest["role"], fastest["row"]) if fastest else ""
                return _time(row), _ratio(eager, row), f"{_ratio(fastest, row)} {label}".strip()
    return "-", "-", "-"


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """Return one Markdown table a device, each headed by where and with what it was measured."""
    return "\n\n".join(_device(record) for record in records)


def _device(record: Mapping[str, Any]) -> str:
    versions = [
        f"{name} {record[name]}"
        for name in ("gtp_fast", "torch", "triton", "driver")
        if record[name]
    ]
    head = (
        f"Measured {record['measured']} on **{record['device']}** with {record['threads']} CPU"
        f" threads, Python {record['python']}, {', '.join(versions)}. Medians; the rows of a line"
        " were measured in turns in one run, each behind its correctness gate."
    )
    lines = [_line(_HEADER), "|---|" + "---:|" * (len(_HEADER) - 1)]
    for group in record["groups"]:
        lines += _lines(group)
    groups = record["groups"]
    remarks = [*_rivals(groups), *_targets(groups), *_remarks(groups)]
    return "\n".join([head, "", *lines, "", *remarks])


def _rivals(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a second table, of the rivals other than eager and compiled PyTorch."""
    lines = []
    for group in groups:
        rivals = [
            row
            for row in group["rows"]
            if row["role"] in ("rival", "plain", "jax") and "skipped" not in row
        ]
        for row in group["rows"]:
            if row["role"] == "ours":
                lines += [
                    _line([_name(group, row), rival["row"], _time(rival), _ratio(rival, row)])
                    for rival in rivals
                ]
    return [_line(_RIVALS), "|---|---|---:|---:|", *lines, ""] if lines else []


def _name(group: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return the group, and which of our rows where there are several."""
    return str(group["group"] + row["row"].removeprefix("ours").replace(" ", ", ", 1))


def _lines(group: Mapping[str, Any]) -> list[str]:
    """Return the lines of a group, one for each row of ours."""
    rivals = {row["role"]: row for row in group["rows"] if row["role"] in ("eager", "compiled")}
    eager, compiled = rivals.get("eager"), rivals.get("compiled")
    lines = []
    for row in group["rows"]:
        if row["role"] == "ours":
            times = [_time(x) for x in (eager, compiled, row)]
            lines.append(
                _line([_name(group, row), *times, _ratio(eager, row), _ratio(compiled, row)])
            )
    return lines


def _targets(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each target with what our row says of itself."""
    return [
        f"- target of {group['group']}: {group['target']}; measured: {row['note']}"
        for group in groups
        for row in group["rows"]
        if "target" in group and row["role"] == "ours" and row.get("note")
    ]


def _remarks(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the cells cannot say: why a row is missing, and how a rival was run."""
    places: dict[str, list[str]] = {}
    for group in groups:
        for row in group["rows"]:
            text = row.get("skipped") or (row["role"] != "ours" and row.get("note"))
            if text:
                label = _LABELS.get(row["role"], row["row"])
                places.setdefault(f"{label}: {text}", []).append(group["group"])
        if "p99_seconds" in group:
            late = (group["p50_seconds"], group["p99_seconds"], group["p999_seconds"])
            median, p99, p999 = (_seconds(seconds) for seconds in late)
            text = f"median {median}, p99 {p99}, p99.9 {p999} over {group['calls']:,} calls"
            places.setdefault(text, []).append(group["group"])
    return [f"- {text} ({'; '.join(names)})" for text, names in places.items()]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _time(row: Mapping[str, Any] | None) -> str:
    if row is None or "skipped" in row:
        return "-"
    return _seconds(row["median_seconds"])


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def _ratio(rival: Mapping[str, Any] | None, row: Mapping[str, Any]) -> str:
    if rival is None or "skipped" in rival or "skipped" in row:
        return "-"
    return f"{rival['median_seconds'] / row['median_seconds']:.2f}x"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
