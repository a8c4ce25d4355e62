/** Style sheet of charts, light and dark; the first custom properties are shared with the pages around them. */

export const chartStyle = `
:root{--ink:#16232b;--quiet:#5c6f7b;--line:#d5dfe5;--c0:#1f6f8b;--c1:#c2571a;--c2:#3d7d37;--c3:#8a4fa3;--c4:#a8761a;--c5:#b3365f;--c6:#4a52b8;--c7:#6e6e6e}
@media (prefers-color-scheme:dark){:root{--ink:#e6eef2;--quiet:#93a7b3;--line:#2b3a43;--c0:#58b1cf;--c1:#f09a5f;--c2:#85c77c;--c3:#c79ade;--c4:#e0b653;--c5:#f08cab;--c6:#a3a8f5;--c7:#b5b5b5}}
svg text{font:11px system-ui,sans-serif;fill:var(--quiet)}
.grid{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:1.75;stroke-linejoin:round}
.line.raw{stroke-width:1;opacity:.35}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}
.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}
.line.c6{stroke:var(--c6)}.line.c7{stroke:var(--c7)}
.dot.c0{fill:var(--c0)}.dot.c1{fill:var(--c1)}.dot.c2{fill:var(--c2)}
.dot.c3{fill:var(--c3)}.dot.c4{fill:var(--c4)}.dot.c5{fill:var(--c5)}
.dot.c6{fill:var(--c6)}.dot.c7{fill:var(--c7)}
`
  .trim()
  .replaceAll('\n', '');

/** Around charts: figures, captions and legends. */
export const figureStyle = `
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));gap:1.25rem}
.chart{margin:0;min-width:0}
.chart svg{display:block;width:100%;height:auto}
.chart figcaption{font-size:.875rem;font-weight:600;margin-bottom:.25rem}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;margin:0;padding:0 0 0 2.5rem;font-size:.8125rem;color:var(--quiet)}
.legend b{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}
.legend span{display:inline-block;width:.75rem;height:.2rem;border-radius:.1rem;margin-right:.35rem;vertical-align:middle}
.legend .c0 span{background:var(--c0)}.legend .c1 span{background:var(--c1)}.legend .c2 span{background:var(--c2)}
.legend .c3 span{background:var(--c3)}.legend .c4 span{background:var(--c4)}.legend .c5 span{background:var(--c5)}
.legend .c6 span{background:var(--c6)}.legend .c7 span{background:var(--c7)}
`
  .trim()
  .replaceAll('\n', '');
