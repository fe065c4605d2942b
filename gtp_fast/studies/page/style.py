"""The style sheet of the page: one column, both colour schemes, desk and phone."""

from __future__ import annotations

SHEET = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2129; --soft: #5c6470; --rule: #dfe3e8;
  --tint: #f5f6f8; --warn: #8a4b00; --warn-tint: #fff4e2;
  --c0: #0b6bb8; --c1: #c8501e; --c2: #1c8260; --c3: #a4488f; --c4: #8a6d00; --c5: #4f5bd5;
  --c6: #b3333f; --c7: #5b6470; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --ink: #e4e7eb; --soft: #9aa3af; --rule: #2c323a; --tint: #1c2027;
    --warn: #f2b866; --warn-tint: #2c2417;
    --c0: #5cb0f2; --c1: #f28f5f; --c2: #4fc79d; --c3: #dd8fce; --c4: #dcbb4a; --c5: #9aa3ff;
    --c6: #f27f8a; --c7: #aab2bd; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; }
main, header, footer { max-width: 1128px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 6px;
  font-weight: 650; }
h2 { font-size: 19px; line-height: 1.3; margin: 52px 0 12px; font-weight: 650;
  border-top: 1px solid var(--rule); padding-top: 16px; scroll-margin-top: 8px; }
h3 { font-size: 15px; margin: 28px 0 8px; font-weight: 650; }
p { margin: 8px 0; max-width: 76ch; }
.lead { color: var(--soft); }
.note { color: var(--soft); font-size: 13px; }
nav ul, .legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0;
  margin: 14px 0 0; font-size: 14px; }
a { color: var(--c0); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible, .scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--c0);
  outline-offset: 2px; }
.legend { margin: 0 0 10px; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 7px;
  background: var(--c); flex: none; }
.scroll { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th, td { text-align: left; padding: 7px 16px 7px 0; border-bottom: 1px solid var(--rule);
  vertical-align: middle; font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: 12.5px; white-space: nowrap; vertical-align: bottom; }
tbody th[scope="rowgroup"] { padding-top: 20px; font-weight: 650; }
tbody th[scope="rowgroup"] span { position: sticky; left: 0; display: inline-block;
  max-width: calc(100vw - 40px); overflow-wrap: anywhere; }
tbody th[scope="rowgroup"] small { font-weight: 400; color: var(--soft); margin-left: 8px; }
td.number, th.number { text-align: right; white-space: nowrap; }
td small, th small { color: var(--soft); }
thead small { display: block; white-space: normal; min-width: 160px; }
th .swatch { vertical-align: 0; }
tbody th[scope="row"] { white-space: nowrap; }
.strip { display: block; width: 160px; height: 18px; }
.matrix td { text-align: center; }
.matrix th.number { text-align: center; }
.panels { display: grid; gap: 24px 28px; grid-template-columns: 1fr; margin: 12px 0; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: 13.5px; color: var(--soft); margin-bottom: 4px; }
figcaption strong { color: var(--ink); font-weight: 600; display: block; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .level { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg .curve { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
svg .dashed { stroke-dasharray: 5 4; }
svg .band { fill: var(--c); opacity: 0.13; }
svg .dot { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
svg .whisker { stroke: var(--c); stroke-width: 2.4; stroke-linecap: round; opacity: 0.55; }
svg .fill { fill: var(--c); opacity: 0.75; }
.desk { display: none; }
.warnings { background: var(--warn-tint); border-left: 3px solid var(--warn); list-style: none;
  margin: 12px 0; padding: 10px 16px; font-size: 14px; }
.warnings li + li { margin-top: 6px; }
.warnings b { color: var(--warn); font-weight: 600; }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--c0); font-size: 14px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 8px 0;
  font-size: 14px; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; max-width: 80ch; }
video { width: 100%; display: block; border-radius: 4px; background: var(--tint); }
footer { color: var(--soft); font-size: 13px; margin-top: 56px; padding-bottom: 40px; }
@media (min-width: 700px) { .panels { grid-template-columns: 1fr 1fr; }
  .columns1 { grid-template-columns: 1fr; } }
@media (min-width: 1000px) { .columns3 { grid-template-columns: 1fr 1fr 1fr; }
  .desk { display: block; } .phone { display: none; } }
@media (max-width: 600px) { main, header, footer { padding-left: 20px; padding-right: 20px; }
  header { padding-top: 28px; } h1 { font-size: 24px; } .strip { width: 88px; }
  .strip .dot { r: 6.5px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 10px; } }
@media print { .scroll { overflow: visible; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } }
""" + "\n".join(f".c{i} {{ --c: var(--c{i}); }}" for i in range(8))
