"""The record of a run of the benchmarks, and the tables made from it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("pytest_benchmark")

from benchmarks import RESULTS, demo, profile, report, results_file  # noqa: E402
from benchmarks.workload import (  # noqa: E402
    COMPILED,
    EAGER,
    OURS,
    Row,
)
from gtp_fast.errors import UserError  # noqa: E402


def entry(row: Row, data: list[float], group: str = "work", **info: Any) -> dict[str, Any]:
    facts = dict.fromkeys(results_file.MACHINE)
    facts |= {
        "device": "Abacus 9",
        "threads": 2,
        "python": "3.11",
        "torch": "2.13",
        "triton": "3.9",
    }
    facts |= {"gtp_fast": "0.1.0", "row": row.name, "role": row.role, "note": "", "K": 5} | info
    return {"group": group, "stats": {"data": data}, "extra_info": facts}


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    def write(*entries: dict[str, Any], skipped: tuple[dict[str, str], ...] = ()) -> Path:
        path = tmp_path / f"raw{len(list(tmp_path.iterdir()))}.json"
        content = {"datetime": "2026-11-24T01:02:03", "benchmarks": entries, "skipped": skipped}
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def record(raw: Callable[..., Path]) -> dict[str, Any]:
    reason = {"group": "lonely", "row": "ours", "role": "ours", "reason": "no such kernel"}
    first = raw(
        entry(EAGER, [0.008, 0.008, 0.008]),
        entry(OURS, [0.001, 0.001]),
        entry(COMPILED, [0.003, 0.003], note="in parts"),
        entry(OURS, [0.004, 0.002, 0.002]),
        entry(EAGER, [0.5, 0.5], group="lonely"),
        skipped=(reason,),
    )
    second = raw(
        entry(Row("their loader", "eager"), [3.0, 3.0], group="load"),
        entry(Row("ours cached", "ours"), [1e-5, 1e-5], group="load"),
    )
    return results_file.collect([first, second])


def test_turns_become_one_sample(record: dict[str, Any]) -> None:
    work = record["groups"][0]
    assert (work["group"], work["K"]) == ("work", 5)
    ours = next(row for row in work["rows"] if row["row"] == "ours")
    assert (ours["median_seconds"], ours["rounds"]) == (0.002, 5)
    assert ours["quartiles_seconds"] == [0.001, 0.002]
    assert record["measured"] == "2026-11-24"


def test_table_shows_medians_ratios_and_reasons(record: dict[str, Any]) -> None:
    table = report.render([record])
    lines = table.splitlines()
    assert "| work | 8 ms | 3 ms | 2 ms | 4.00x | 1.50x |" in lines
    assert "| lonely | 500 ms | - | - | - | - |" in lines
    assert "| load, cached | 3 s | - | 10 us | 300000.00x | - |" in lines
    assert "- ours: no such kernel (lonely)" in lines
    assert "- torch.compile: in parts (work)" in lines
    # No absolute time stands without the device that it was measured on.
    assert "**Abacus 9**" in lines[0]
    for fact in ("2026-11-24", "2 CPU threads", "Python 3.11", "torch 2.13", "triton 3.9"):
        assert fact in lines[0]


def test_a_target_stands_beside_what_was_measured(record: dict[str, Any]) -> None:
    group = record["groups"][0]
    assert "target" not in report.render([record])
    group["target"] = "20 us, 5x compiled"
    for row in group["rows"]:
        row["note"] = f"9 us by {row['role']}"
    line = f"- target of {group['group']}: 20 us, 5x compiled; measured: 9 us by ours"
    table = report.render([record])
    assert line in table and table.count("- target of") == 1


def test_table_names_rivals_and_late_calls(raw: Callable[..., Path]) -> None:
    late = {"calls": 1_000_000, "p50_seconds": 2e-5, "p99_seconds": 3.14e-5, "p999_seconds": 1e-3}
    one = raw(
        entry(EAGER, [0.008, 0.008]),
        entry(Row("their runtime", "rival"), [0.003, 0.003], note="one thread"),
        entry(OURS, [0.001, 0.001]),
        entry(Row("ours bf16", "ours"), [0.0005, 0.0005]),
        entry(OURS, [2e-5, 2e-5], group="act", **late),
    )
    lines = report.render([results_file.collect([one])]).splitlines()
    assert "| work | 8 ms | - | 1 ms | 8.00x | - |" in lines
    assert "| work | their runtime | 3 ms | 3.00x |" in lines
    assert "| work, bf16 | their runtime | 3 ms | 6.00x |" in lines
    assert "- their runtime: one thread (work)" in lines
    assert "- median 20 us, p99 31.4 us, p99.9 1 ms over 1,000,000 calls (act)" in lines


def test_figures_of_unequal_machines_are_not_mixed(raw: Callable[..., Path]) -> None:
    one, other = raw(entry(EAGER, [1.0, 1.0])), raw(entry(OURS, [1.0, 1.0], torch="2.11"))
    with pytest.raises(UserError, match=r"differ in torch.*2\.13.*2\.11"):
        results_file.collect([one, other])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"a": 1}', "lacks 'datetime'"),
        ('{"datetime": "2026-11-24", "benchmarks": []}', "No benchmark was measured"),
    ],
)
def test_raw_files_that_are_none_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "raw.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        results_file.collect([path])


@pytest.fixture
def pages(tmp_path: Path) -> dict[str, Path]:
    """README and page of all tables, each with room for what is generated."""
    made = {"readme": tmp_path / "README.md", "page": tmp_path / "benchmarks.md"}
    for page in made.values():
        page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    return made


def options(pages: dict[str, Path], results: Path) -> list[str]:
    """Return the options that name these pages and results."""
    where = [word for name, page in pages.items() for word in (f"--{name}", str(page))]
    return [*where, "--results", str(results)]


def test_report_writes_and_checks_both_pages(
    record: dict[str, Any], pages: dict[str, Path], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert results_file.write(record, results).name == "abacus-9.json"
    where = options(pages, results)
    assert report.main([*where, "--check"]) == 1
    assert all("old" in page.read_text() for page in pages.values()), "--check writes nothing"
    assert report.main(where) == 0
    for page, first in ((pages["readme"], "Medians"), (pages["page"], "Measured ")):
        text = page.read_text()
        assert text.startswith(f"before\n{report.BEGIN}\n{first}")
        assert text.endswith(f"\n{report.END}\nafter\n")
        assert "old" not in text
    assert report.main([*where, "--check"]) == 0
    for page, figure in ((pages["readme"], "2 CPU threads"), (pages["page"], "4.00x")):
        right = page.read_text()
        page.write_text(right.replace(figure, "5.00x"))
        assert report.main([*where, "--check"]) == 1, f"a typed figure in {page.name} is found"
        page.write_text(right)


def test_report_needs_markers_and_results(
    record: dict[str, Any], pages: dict[str, Path], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    with pytest.raises(UserError, match="holds no results"):
        report.main(options(pages, results))
    results_file.write(record, results)
    for page in pages.values():
        right = page.read_text()
        page.write_text("no markers")
        with pytest.raises(UserError, match=f"{page.name} has no place for the table"):
            report.main(options(pages, results))
        page.write_text(right)


def test_six_rows_show_the_fastest_rival_of_each_device(raw: Callable[..., Path]) -> None:
    group = report.HEADLINES[0]
    rows = [
        entry(EAGER, [0.008, 0.008], group=group),
        entry(COMPILED, [0.003, 0.003], group=group),
        entry(OURS, [0.001, 0.001], group=group),
        entry(Row("ours int8", "ours"), [0.0005, 0.0005], group=group),
    ]
    rival = entry(Row("their runtime", "rival"), [0.002, 0.002], group=group)
    one, other = results_file.collect([raw(*rows)]), results_file.collect([raw(*rows, rival)])
    lines = report.headlines([one, other]).splitlines()
    ends = {line.split(" | ")[0].strip("| "): line for line in lines}
    first = "1 ms | 8.00x | 3.00x torch.compile | 1 ms | 8.00x | 2.00x their runtime |"
    assert ends[group] == f"| {group} | {first}"
    assert ends[f"{group}, int8"].endswith("| 500 us | 16.00x | 4.00x their runtime |")
    assert ends[report.HEADLINES[-1]].count(" - |") == 6, "a row that was not measured is empty"


def test_eager_is_the_fastest_rival_where_it_is(raw: Callable[..., Path]) -> None:
    group = report.HEADLINES[0]
    rows = [
        entry(EAGER, [0.002, 0.002], group=group),
        entry(COMPILED, [0.003, 0.003], group=group),
        entry(OURS, [0.001, 0.001], group=group),
    ]
    lines = report.headlines([results_file.collect([raw(*rows)])]).splitlines()
    assert f"| {group} | 1 ms | 2.00x | 2.00x reference eager |" in lines


def test_pages_agree_with_the_committed_results() -> None:
    if not list(RESULTS.glob("*.json")):
        pytest.skip("no results are committed yet")
    assert report.main(["--check"]) == 0
    records = [results_file.read(path) for path in sorted(RESULTS.glob("*.json"))]
    for line in report.headlines(records).splitlines()[4:]:
        assert set(line.split(" | ")[1:]) - {"-", "- |"}, f"nobody measured: {line}"


def test_the_page_of_the_profile_ends_as_it_is_written() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    assert page.endswith(f"\n\n{profile.ACTION}")
    assert f"K = 5\n\n{profile.CLOCKS}\n\n![parts]" in page


def test_readme_agrees_with_the_committed_run_of_the_demo() -> None:
    begin, end = demo.MARKERS
    inside = (ROOT / "README.md").read_text().partition(begin)[2].partition(end)[0]
    assert inside.strip() == demo.block()
    assert (ROOT / demo.PICTURE).exists()
