/** What `minke inspect` says of a model: as data, and as text. */
import { cacheBytesPerToken, countParameters } from '@minke/cost-planner';
import { isDenseConfig, type ModelConfig } from '@minke/transformer';
import { type Fit, fitsIn, type MachineMemory } from './machine-fit.ts';
import type { InspectedModel } from './open-inspected.ts';
import { groupTensors, type TensorGroup, type TensorRow } from './tensor-groups.ts';

/** The answer, JSON-ready. Bytes unless said otherwise. */
export interface InspectReport {
  readonly name: string;
  readonly hub: InspectedModel['hub'];
  readonly format: InspectedModel['format'];
  readonly architecture: string;
  readonly config: ModelConfig;
  readonly parameters: { readonly total: number; readonly active: number; readonly mtp: number };
  readonly weights: {
    readonly bytes: number;
    readonly files: readonly string[];
    readonly dtypes: Readonly<Record<string, number>>;
    readonly groups: readonly TensorGroup[];
    /** Every tensor, where they were asked for. */
    readonly tensors?: readonly TensorRow[];
  };
  /** Of a token in all layers: latents, or keys and values. */
  readonly cacheBytesPerToken: { readonly f32: number; readonly bf16: number };
  /** Tokens. */
  readonly context: number;
  readonly tokenizer: string | null;
  readonly template: string | null;
  readonly machine: MachineMemory & { readonly tokens: number; readonly fits: readonly Fit[] };
}

/** @param tokens of the conversation that is to fit; default: 4,096, or the context */
export function inspectReport(
  model: InspectedModel,
  machine: MachineMemory,
  { tensors, tokens }: { readonly tensors?: boolean | undefined; readonly tokens?: number | undefined },
): InspectReport {
  const { config } = model;
  const { total, active, mtp } = countParameters(config);
  const groups = groupTensors(model.tensors, config.numLayers);
  const dtypes: Record<string, number> = {};
  for (const group of groups)
    for (const [dtype, bytes] of Object.entries(group.dtypes)) dtypes[dtype] = (dtypes[dtype] ?? 0) + bytes;
  const planned = tokens ?? Math.min(4096, config.maxPositions);
  return {
    name: model.name,
    hub: model.hub,
    format: model.format,
    architecture: model.architecture,
    config,
    parameters: { total, active, mtp },
    weights: {
      bytes: model.tensors.reduce((sum, { bytes }) => sum + bytes, 0),
      files: model.files,
      dtypes,
      groups,
      ...(tensors && { tensors: model.tensors }),
    },
    cacheBytesPerToken: { f32: cacheBytesPerToken(config, 4), bf16: cacheBytesPerToken(config, 2) },
    context: config.maxPositions,
    tokenizer: model.tokenizer,
    template: model.template,
    machine: { ...machine, tokens: planned, fits: fitsIn(machine, config, planned) },
  };
}

const count = (n: number) => n.toLocaleString('en-US');

/** 1.2 GB, 35 MB, 700 bytes. */
export function size(bytes: number): string {
  const [unit, name] = bytes >= 1e9 ? [1e9, 'GB'] : bytes >= 1e6 ? [1e6, 'MB'] : [1e3, 'kB'];
  if (bytes < 1000) return `${bytes} bytes`;
  const value = bytes / unit;
  return `${value < 100 ? value.toFixed(1) : value.toFixed(0)} ${name}`;
}

/** 15.7B, 135M. */
const short = (n: number) =>
  n >= 1e9 ? `${(n / 1e9).toPrecision(3)}B` : n >= 1e6 ? `${(n / 1e6).toPrecision(3)}M` : count(n);

const both = (n: number) => (n >= 1e6 ? `${count(n)} (${short(n)})` : count(n));

/** The shape in the field's terms. */
function shape(config: ModelConfig): string {
  const { numLayers, hiddenSize, vocabSize, numHeads } = config;
  const layers = `${numLayers} layers of width ${count(hiddenSize)}, vocabulary ${count(vocabSize)}`;
  if (isDenseConfig(config))
    return `${layers}, ${numHeads} heads of ${config.headDim}, ${config.numKeyValueHeads} for keys and values`;
  const { kvLoraRank, qkRopeHeadDim, moe, indexer } = config;
  const latents = `${numHeads} heads on latents of ${kvLoraRank} + ${qkRopeHeadDim}`;
  const experts = moe
    ? `, ${moe.topK} of ${moe.experts} experts${moe.sharedExperts ? ` + ${moe.sharedExperts} shared` : ''}`
    : '';
  return `${layers}, ${latents}${indexer ? `, indexer of ${count(indexer.topK)} tokens` : ''}${experts}`;
}

const dtypesText = (dtypes: Readonly<Record<string, number>>) =>
  Object.entries(dtypes)
    .sort(([, a], [, b]) => b - a)
    .map(([dtype, bytes]) => `${dtype} ${size(bytes)}`)
    .join(', ');

/** Columns, the first to the left, numbers to the right. */
function table(rows: readonly (readonly string[])[], left: readonly number[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) =>
        left.includes(i) ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number),
      )
      .join('  ')
      .trimEnd(),
  );
}

export function reportText(report: InspectReport): string {
  const { parameters, weights, machine, cacheBytesPerToken: cache, config, hub } = report;
  const { total, active, mtp } = parameters;
  const files = weights.files.length;
  const kept = isDenseConfig(config) ? 'keys and values' : 'latents';
  const lines = [
    ['model', report.name + (hub ? ` on the hub; ${size(hub.received)} read of it` : '')],
    ['architecture', `${report.architecture}: ${shape(config)}`],
    [
      'parameters',
      `${both(total)}${active === total ? '' : `, active ${both(active)}`}${mtp ? `, and ${short(mtp)} of MTP` : ''}`,
    ],
    [
      'weights',
      `${size(weights.bytes)} in ${files === 1 ? `one ${report.format} file` : `${files} ${report.format} files`}: ${dtypesText(weights.dtypes)}`,
    ],
    ['cache', `${count(cache.f32)} bytes a token (${kept} in f32; ${count(cache.bf16)} in bf16)`],
    ['context', `${count(report.context)} tokens`],
    ['tokenizer', report.tokenizer ?? 'none found'],
    ['template', report.template ?? "none found; DeepSeek-R1's is used"],
  ] as const;
  const groups = weights.groups.map(({ kind, tensors, numbers, bytes, dtypes }) => [
    ...[kind, count(tensors), count(numbers), size(bytes), Object.keys(dtypes).join(', ')],
  ]);
  const tensors = (weights.tensors ?? []).map(({ name, dtype, shape: dims, bytes, file }) => [
    ...[name, dtype, `[${dims.join(', ')}]`, size(bytes), files > 1 ? file : ''],
  ]);
  const fits = machine.fits.map(({ storage, weights: bytes, needed, fits: answer }) => [
    ...[storage, size(bytes), size(needed), answer],
  ]);
  return [
    ...lines.map(([label, text]) => `${label.padEnd(14)}${text}`),
    '',
    ...table([['part', 'tensors', 'numbers', 'size', 'types'], ...groups], [0, 4]),
    ...(weights.tensors
      ? [
          '',
          ...table([['tensor', 'type', 'shape', 'size', files > 1 ? 'file' : ''], ...tensors], [0, 1, 2, 4]),
        ]
      : []),
    '',
    `memory of this machine: ${size(machine.total)}, ${size(machine.free)} free; with a conversation of ${count(machine.tokens)} tokens:`,
    ...table([['weights as', 'weights', 'needed', 'fits'], ...fits], [0, 3]),
    'Minke computes from f32, or from q8_0 or q4_0 with --quantize; bf16 is for comparison.',
    '',
  ].join('\n');
}
