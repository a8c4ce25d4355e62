// The report of a study: what its results say, as Markdown and plots.
//
//   node tools/study/report.mjs [--results docs/study/results] [--out docs/study]
//
// Writes README.md and SVG plots into the folder. Everything in it comes from the files of results, and from the
// headroom.json that `headroom.mjs` writes there.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { chartColours, chartStyle, escapeHtml, lineChart } from '../../apps/r1-recipe/dist/index.js';
import { bitsOf, compressionOf, difference, floors, mean, percent, readResults, signed } from './results.mjs';
import { defaultResults } from './run.mjs';

/** Arms that are drawn together, and the series that losses are drawn beside. */
const groups = [
  {
    title: 'Merging',
    file: 'merging',
    base: 'fixed stride',
    series: {
      'plain with a convolution': ['plain-conv'],
      'fixed stride': ['stride-2'],
      'random boundaries': ['random-2'],
      "H-Net's router": ['learned-2'],
      ours: ['ours-1.5', 'ours-2'],
      'paced router': ['paced-2'],
      'ours, copied back': ['ours-1.5-copy', 'ours-2-copy'],
    },
  },
  {
    title: 'No convolution',
    file: 'merging-noconv',
    base: 'fixed stride',
    series: {
      plain: ['plain'],
      'fixed stride': ['stride-2-noconv'],
      'random boundaries': ['random-2-noconv'],
      "H-Net's router": ['learned-2-noconv'],
    },
  },
  {
    title: 'Attention',
    file: 'attention',
    base: 'full',
    series: {
      full: ['plain'],
      'local only': ['local'],
      '3 local to 1 global': ['hybrid-3-1'],
      'dynamic hybrid': ['dynamic'],
      DSA: ['dsa'],
    },
  },
];

/** What the quality is drawn against. */
const axes = [
  {
    ...{ file: 'flops', title: 'bits per byte against training MFLOP a token', xLabel: 'MFLOP' },
    of: ({ training }) => training.flops / training.tokens / 1e6,
  },
  {
    ...{ file: 'seconds', title: 'bits per byte against seconds of training', xLabel: 'seconds' },
    of: ({ training }) => training.seconds,
  },
  {
    ...{ file: 'cache', title: 'bits per byte against cache bytes a token', xLabel: 'bytes' },
    of: ({ cacheBytesPerToken }) => cacheBytesPerToken,
  },
];

/**
 * Files of the report by name.
 *
 * @param {Map<string, object[]>} results
 * @param {object} [headroom] what `headroom.mjs` wrote
 */
export function reportFiles(results, headroom) {
  const [text, tasks] = ['text', 'reasoning'].map((task) =>
    onOneMachine(new Map([...results].filter(([, [run]]) => run.task === task))),
  );
  const files = new Map();
  const plots = [];
  for (const { title, file, base, series } of groups) {
    const present = Object.entries(series).filter(([, names]) => names.some((name) => text.has(name)));
    if (present.length === 0) continue;
    for (const axis of axes) {
      const name = `${file}-${axis.file}.svg`;
      files.set(
        name,
        plot(
          `${title}: ${axis.title}`,
          axis.xLabel,
          present.map((one) => points(one, text, axis.of)),
        ),
      );
      plots.push(`![${title}: ${axis.title}](${name})`);
    }
    const name = `${file}-loss.svg`;
    const first = (names) => text.get(names.findLast((one) => text.has(one)))?.[0];
    const beside = first(series[base]);
    if (beside === undefined) continue;
    const curves = present.map(([label, names]) => lossBeside(label, first(names), beside));
    const loss = `${title}: training loss above ${base}, over TFLOP`;
    files.set(name, plot(loss, 'TFLOP', curves, false));
    plots.push(`![${loss}](${name})`);
  }
  files.set('README.md', `${sections(text, tasks, headroom, plots).join('\n\n')}\n`);
  return files;
}

/**
 * The runs with seconds as on the machine of the first plain one: theirs, by what a step of the plain model takes there and
 * took beside them. Runs that do not know it keep their own.
 */
function onOneMachine(results) {
  const [reference] = results.get('plain') ?? results.get('tasks-plain') ?? [];
  const { plainStepSeconds } = reference?.machine ?? {};
  const scaled = (run) => {
    const own = run.machine.plainStepSeconds;
    if (!plainStepSeconds || !own) return run;
    return {
      ...run,
      training: { ...run.training, seconds: (run.training.seconds * plainStepSeconds) / own },
    };
  };
  return new Map([...results].map(([name, runs]) => [name, runs.map(scaled)]));
}

function sections(text, tasks, headroom, plots) {
  const [some] = [...text.values(), ...tasks.values()].flat();
  if (some === undefined) return ['# A study of merging and attention', 'No results yet.'];
  const { settings, machine } = some;
  const commits = [...new Set([...text.values(), ...tasks.values()].flat().map(({ commit }) => commit))];
  return [
    '# A study of merging and attention',
    `Written by \`node tools/study/report.mjs\` from the files in \`results\`; nothing here is typed by hand. Setting \`${some.setting}\`, context ${settings.context}, ${(some.parameters.active / 1e6).toFixed(2)}M active parameters (unmerged), ${machine.cpu}, ${machine.cores} cores, backend ${machine.backend}; commit ${commits.join(', ')}. Training FLOPs of all arms are the same by the count of \`@minke/cost-planner\`, so cheaper arms see more tokens. Seconds are of one thread, as on the machine of the first plain run, by the time of a plain step there and beside each run. Intervals are 95 %, over documents of the test split, drawn in pairs for differences; with several seeds a document counts with its mean, and single seeds are listed.`,
    ...(text.size > 0 ? ['## Real text', textTable(text), '### Floors', floorTable(text)] : []),
    ...(headroom
      ? [
          '### What other boundaries and another inflation would gain in trained models',
          headroomText(headroom),
        ]
      : []),
    ...(text.size > 0 ? ['### Differences to the plain model', differenceTable(text, 'plain')] : []),
    ...(text.has('plain-conv')
      ? ['### Differences to the plain model with a convolution', differenceTable(text, 'plain-conv')]
      : []),
    ...(tasks.size > 0 ? ['## Reasoning tasks', taskTable(tasks)] : []),
    ...(plots.length > 0 ? ['## Plots', plots.join('\n')] : []),
    '## How to make it again',
    '```sh\npnpm build\nnode tools/study/corpus.mjs runs/corpus\nnode tools/study/run.mjs --corpus runs/corpus\nnode tools/study/report.mjs\n```',
  ];
}

function textTable(results) {
  const rows = [...results].map(([, runs]) => {
    const { value, low, high, seeds } = bitsOf(runs);
    const over = (of) => mean(runs.map(of));
    return [
      runs[0].label,
      `**${value.toFixed(4)}** (${low.toFixed(4)} to ${high.toFixed(4)})`,
      seeds.map((one) => one.toFixed(4)).join(', '),
      compressionOf(runs).toFixed(3),
      (over(({ training }) => training.tokens) / 1e6).toFixed(2),
      (over(({ training }) => training.flops) / 1e12).toFixed(1),
      over(({ training }) => training.seconds).toFixed(0),
      over(({ cacheBytesPerToken }) => cacheBytesPerToken).toFixed(0),
    ];
  });
  const head = [
    'arm',
    'bits per byte',
    'seeds',
    'tokens an entry',
    'M tokens',
    'TFLOP',
    'seconds',
    'cache bytes a token',
  ];
  return table(head, rows);
}

function floorTable(results) {
  const word = new Map([
    [true, 'holds'],
    [false, '**missed**'],
    [null, 'not measured'],
  ]);
  const rows = floors(results).map(({ claim, holds, why }) => [claim, word.get(holds), why]);
  return table(['floor', '', 'difference in bits per byte'], rows);
}

function headroomText({ arm, seed, tokens, bitsPerByteOfNat, fresh, stale, stride, judged, inflation }) {
  const bits = (nats) => (nats * bitsPerByteOfNat).toFixed(4);
  const { gain } = inflation;
  const moved = (nats) => `${nats > 0 ? '-' : '+'}${bits(Math.abs(nats))}`;
  return [
    `Boundaries: the trained model of \`${arm}\` (seed ${seed}) has ${fresh.toFixed(4)} nats for a token of the test split behind a boundary and ${stale.toFixed(4)} for the same behind none (${tokens} tokens, each both ways). So all that a fixed stride loses by the change that is not fresh is ${bits(stride.value)} bits a byte (${bits(stride.low)} to ${bits(stride.high)}); a router gains more in it only by telling which tokens a fresh change makes worse. A choice by the token and the one before, learned from every second document, leaves ${bits(judged.byPair)} of ${bits(judged.stride)} on the others.`,
    `Inflation: in the trained model of \`${inflation.arm}\` a token behind no boundary copies the change of the latest entry and has ${inflation.stale.toFixed(4)} nats for what follows it; with its own change, as if it alone of its neighbours began an entry, ${inflation.fresh.toFixed(4)} (${inflation.tokens} tokens, ${share(inflation.share)} % of all). Bits a byte with its own for every token: ${moved(gain.value)} (${moved(gain.high)} to ${moved(gain.low)}).`,
    'Models that are trained with other boundaries or another inflation are another matter. By `node tools/study/headroom.mjs`.',
  ].join('\n\n');
}

function differenceTable(results, base) {
  const rows = [...results].flatMap(([name, [run]]) => {
    const found = name === base ? null : difference(results, base, name);
    return found ? [[run.label, signed(found), percent(found.relative)]] : [];
  });
  return rows.length === 0
    ? 'None: no run of the plain model.'
    : table(['arm', 'bits per byte', 'relative'], rows);
}

function taskTable(results) {
  const rows = [...results].flatMap(([, runs]) =>
    runs.map(({ label, seed, accuracy, n, compression, training, cacheBytesPerToken, families }) => [
      label,
      seed,
      `**${share(accuracy.value)}** (${share(accuracy.low)} to ${share(accuracy.high)}), n ${n}`,
      Object.entries(families)
        .map(([family, { passAt1 }]) => `${family} ${share(passAt1.value)}`)
        .join(', '),
      compression.toFixed(3),
      ...[
        (training.tokens / 1e6).toFixed(2),
        (training.flops / 1e12).toFixed(1),
        training.seconds.toFixed(0),
      ],
      cacheBytesPerToken.toFixed(0),
    ]),
  );
  const head = ['arm', 'seed', 'greedy accuracy, %', 'by family', 'tokens an entry'];
  return table([...head, 'M tokens', 'TFLOP', 'seconds', 'cache bytes a token'], rows);
}

const share = (value) => (100 * value).toFixed(1);

const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** A point for each run of a series' arms. */
function points([label, names], results, of) {
  const runs = names.flatMap((name) => results.get(name) ?? []);
  return { label, x: runs.map(of), y: runs.map(({ bitsPerByte }) => bitsPerByte.value) };
}

/** What a run's loss is above another one's at equal arithmetic, once a fifth of it is spent: means of a tenth of it. */
export function lossBeside(label, run, other) {
  const [own, base] = [run, other].map(lossCurve);
  const spent = base.at(-1).x;
  const points = own
    .filter(({ x }) => x >= spent / 5 && x <= spent)
    .map(({ x, y }) => ({ x, y: y - between(base, x) }));
  const reach = Math.ceil(own.length / 20);
  const means = points
    .map(({ x }, i) => ({
      x,
      y: mean(points.slice(Math.max(0, i - reach), i + reach + 1).map(({ y }) => y)),
    }))
    .filter((_, i) => i % 3 === 0);
  return { label, x: means.map(({ x }) => x), y: means.map(({ y }) => y) };
}

/** Training loss over TFLOP. */
function lossCurve({ training: { curve, flops, tokens } }) {
  return curve.map(([at, loss]) => ({ x: ((at / tokens) * flops) / 1e12, y: loss }));
}

/** A curve's value at x, linear between its points; x is in their range. */
function between(points, x) {
  const next = Math.max(
    1,
    points.findIndex((point) => point.x >= x),
  );
  const [a, b] = [points[next - 1], points[next]];
  return a.y + ((b.y - a.y) * (x - a.x)) / (b.x - a.x);
}

/** A chart that stands alone: title, chart and legend in one SVG. */
export function plot(title, xLabel, curves, dots = true) {
  const line = 16;
  const [width, chart] = [360, 170];
  const legend = curves.map(({ label }, i) => {
    const [x, y] = [8 + (i % 2) * (width / 2), 42 + chart + Math.floor(i / 2) * line];
    return `<circle class="dot c${i % chartColours}" cx="${x}" cy="${y - 4}" r="4"/><text x="${x + 9}" y="${y}">${escapeHtml(label)}</text>`;
  });
  const height = 46 + chart + Math.ceil(curves.length / 2) * line;
  const inner = lineChart({ title, curves, xLabel, dots }).replace(
    '<svg ',
    `<svg y="22" width="${width}" height="${chart}" `,
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${2 * width}">` +
    `<style>${chartStyle}</style><text x="8" y="14">${escapeHtml(title)}</text>${inner}${legend.join('')}</svg>\n`
  );
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { results: { type: 'string' }, out: { type: 'string' } } });
  const folder = resolve(values.results ?? defaultResults());
  const out = resolve(values.out ?? dirname(folder));
  mkdirSync(out, { recursive: true });
  const headroom = join(out, 'headroom.json');
  const known = existsSync(headroom) ? JSON.parse(readFileSync(headroom, 'utf8')) : undefined;
  const files = reportFiles(readResults(folder), known);
  for (const [name, content] of files) writeFileSync(join(out, name), content);
  console.log(`${[...files.keys()].join(', ')} in ${out}`);
}
