"""python -m benchmarks.report: the README's table, written from the committed JSON, never typed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
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
    text = options.readme.read_text() if options.readme.exists() else ""
    wanted = replace(text, render([results_file.read(path) for path in files]), str(options.readme))
    if wanted == text:
        print(f"{options.readme.name} agrees with {len(files)} file(s) of results")
        return 0
    if options.check:
        print(
            f"{options.readme.name} and the results disagree;"
            " mend it with: python -m benchmarks.report",
            file=sys.stderr,
        )
        return 1
    options.readme.write_text(wanted)
    print(f"wrote the table into {options.readme.name}")
    return 0


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
        "--check", action="store_true", help="write nothing; exit 1 when README disagrees"
    )
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
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
    """Return a second table, of the rivals beside eager and compiled PyTorch."""
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
    """Return what was aimed at, beside what our row says of itself."""
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
