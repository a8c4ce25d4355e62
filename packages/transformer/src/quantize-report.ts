/** What quantising a checkpoint did: sizes and errors by tensor, and as a table by kinds of tensors. */
import type { StoredType } from './quantize-choices.ts';

/** One tensor. Errors are relative: the root of the squares of what rounding changed over those of the numbers. */
export interface QuantizedTensor {
  readonly name: string;
  readonly type: StoredType;
  /** Type in the source, as its container spells it. */
  readonly from: string;
  readonly parameters: number;
  /** Stored bytes, scales included. */
  readonly bytes: number;
  /** Sum of squares of its numbers, and of what rounding changed. */
  readonly squares: number;
  readonly errorSquares: number;
}

/** Tensors of one name but for the numbers in it, and of one type. */
export interface TensorGroup {
  readonly name: string;
  readonly type: StoredType;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Over all of its numbers. */
  readonly error: number;
  /** Of its worst tensor. */
  readonly worstError: number;
  readonly worst: string;
}

export interface QuantizationReport {
  readonly folder: string;
  readonly files: readonly string[];
  readonly groups: readonly TensorGroup[];
  readonly parameters: number;
  /** Stored bits a parameter, all tensors counted. */
  readonly bitsPerWeight: number;
  /** Of the quantised tensors: over all of their numbers, and of the worst. */
  readonly error: number;
  readonly worstError: number;
  readonly worst: string | null;
  /** Bytes of the weight files. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Tensors of the source that the model has no use for (copies of the embedding in MTP modules): not written. */
  readonly leftOut: readonly string[];
}

export const relativeError = ({
  squares,
  errorSquares,
}: Pick<QuantizedTensor, 'squares' | 'errorSquares'>) =>
  errorSquares === 0 ? 0 : Math.sqrt(errorSquares / squares);

/** Tensors by kind, in order of their first. */
export function groupsOf(tensors: readonly QuantizedTensor[]): TensorGroup[] {
  const groups = new Map<string, QuantizedTensor[]>();
  for (const tensor of tensors) {
    const key = `${tensor.name.replaceAll(/(?<=\.)\d+(?=\.)/g, '*')} ${tensor.type}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [tensor]);
    else group.push(tensor);
  }
  return [...groups].map(([key, members]) => ({
    name: key.slice(0, key.lastIndexOf(' ')),
    type: (members[0] as QuantizedTensor).type,
    tensors: members.length,
    parameters: sum(members, 'parameters'),
    bytes: sum(members, 'bytes'),
    ...errorsOf(members),
  }));
}

/** Error over all tensors, and of the worst one. */
export function errorsOf(tensors: readonly QuantizedTensor[]): {
  error: number;
  worstError: number;
  worst: string;
} {
  const worst = tensors.reduce((a, b) => (relativeError(b) > relativeError(a) ? b : a));
  const all = { squares: sum(tensors, 'squares'), errorSquares: sum(tensors, 'errorSquares') };
  return { error: relativeError(all), worstError: relativeError(worst), worst: worst.name };
}

export function sum<K extends string>(items: readonly Readonly<Record<K, number>>[], name: K): number {
  return items.reduce((total, item) => total + item[name], 0);
}

/** The report as a table. */
export function formatQuantization(report: QuantizationReport): string {
  const rows = report.groups.map(({ name, type, tensors, parameters, bytes, error, worstError, worst }) => [
    name.replaceAll('model.layers.', '').replaceAll('.weight', ''),
    type,
    String(tensors),
    millions(parameters),
    ((8 * bytes) / parameters).toFixed(2),
    ...(error === 0
      ? ['-', '-']
      : [percent(error), tensors === 1 ? '-' : `${percent(worstError)} ${short(worst)}`]),
  ]);
  const head = ['tensors', 'type', 'n', 'M', 'bits', 'error', 'worst'];
  const widths = head.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => (row[i] as string).length)),
  );
  const left = new Set([0, 1, 6]);
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (left.has(i) ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
      .join('  ')
      .trimEnd();
  const { bitsPerWeight, error, worstError, worst, bytesBefore, bytesAfter, parameters, leftOut } = report;
  return [
    line(head),
    ...rows.map(line),
    '',
    `${millions(parameters)} million parameters, ${bitsPerWeight.toFixed(2)} bits a weight; ${size(bytesBefore)} before, ${size(bytesAfter)} after`,
    `relative error of what was rounded: ${percent(error)}${worst === null ? '' : `, at worst ${percent(worstError)} (${worst})`}`,
    ...(leftOut.length > 0
      ? [`left out, of no use to the model: ${leftOut.length} tensors, such as ${leftOut[0]}`]
      : []),
  ].join('\n');
}

const short = (name: string): string =>
  /\.layers\.(\d+)(?:.*\.experts\.(\d+))?/.exec(name)?.slice(1).filter(Boolean).join('/') ?? name;
const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
const millions = (count: number): string => (count / 1e6).toFixed(count < 1e6 ? 3 : 1);

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
