"""How the report of a search looks, on light and dark, wide and narrow screens."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --page: #fff; --line: #d5dbe3;
  --mark: #184e94; --k0: #184e94; --k1: #c2410c; --k2: #15803d; --k3: #7e22ce; --k4: #a16207; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --soft: #9aa6b5; --page: #14181e; --line: #364150; --mark: #7fb2f0;
    --k0: #7fb2f0; --k1: #fb923c; --k2: #4ade80; --k3: #c994f7; --k4: #eab308; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
p { color: var(--soft); margin: .2rem 0 .7rem; }
.warning { color: var(--k1); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .mono { font-family: ui-monospace, Menlo, Consolas, monospace; }
svg .small { font-size: 11px; fill: var(--soft); }
svg .none { fill: none; stroke: var(--line); stroke-dasharray: 3 3; }
svg .grid { stroke: var(--line); }
svg .bar { stroke: var(--mark); stroke-width: 2; }
svg .dot, svg .fill { fill: var(--mark); } svg .weak.dot { fill: var(--soft); opacity: .6; }
svg .front, svg .curve { fill: none; stroke: var(--mark); stroke-width: 2; }
svg .front { stroke-dasharray: 4 3; }
svg .curve.weak { stroke: var(--soft); opacity: .35; stroke-width: 1; }
svg .c0 { stroke: var(--k0); } svg .k0 { fill: var(--k0); }
svg .c1 { stroke: var(--k1); } svg .k1 { fill: var(--k1); }
svg .c2 { stroke: var(--k2); } svg .k2 { fill: var(--k2); }
svg .c3 { stroke: var(--k3); } svg .k3 { fill: var(--k3); }
svg .c4 { stroke: var(--k4); } svg .k4 { fill: var(--k4); }
article { border-top: 1px solid var(--line); padding: .4rem 0; }
article .who { color: var(--soft); font-size: .8rem; }
mark.entity { color: #111; white-space: normal; }
.entities { overflow-wrap: anywhere; }
"""
