/**
 * Checkpoints whose weights are blocks of 8 or 4 bits: our own format, in safetensors and config.json (README,
 * "Quantised checkpoints"). A weight W [..., K] is two tensors: its integers, and `W_scale` F16 [..., K / 32], a scale
 * for 32 numbers along the last axis. q8_0: integers I8 [..., K], a number is scale q. q4_0: U8 [..., K / 2], of each 32
 * numbers 16 bytes, byte i with n of number i in its low half and of number i + 16 in its high half; a number is
 * scale (n - 8). Together they are GGUF's blocks of the same names, so the conversion loses nothing, both ways.
 * `quantization_config` of config.json names the tensors that are stored so; all others are plain.
 */
import { MinkeError } from '@minke/core';
import type { TensorSpec } from './encode.ts';

/** How the numbers of a weight are stored. */
export type QuantizedType = 'q8_0' | 'q4_0';

export const quantizedTypes: readonly QuantizedType[] = ['q8_0', 'q4_0'];

/** The value of `quant_method`: transformers, which does not know it, refuses such a folder instead of misreading it. */
export const quantizedMethod = 'minke';
/** The only `format_version`. */
export const quantizedVersion = 1;
/** Numbers that share a scale. */
export const quantizedGroup = 32;

/** `quantization_config` as it is written. */
export interface QuantizationConfig {
  readonly quant_method: typeof quantizedMethod;
  readonly format_version: typeof quantizedVersion;
  readonly group_size: typeof quantizedGroup;
  /** Names of quantised tensors by type; `*` stands for a whole number. */
  readonly tensors: Readonly<Partial<Record<QuantizedType, readonly string[]>>>;
}

/** The name of a weight's scales. */
export const scaleName = (name: string): string => `${name}_scale`;

/** The two tensors of a weight. K, the last size, must be a multiple of 32. */
export function quantizedSpecs(
  name: string,
  shape: readonly number[],
  type: QuantizedType,
): [string, TensorSpec][] {
  const rows = shape.slice(0, -1);
  const width = shape.at(-1) as number;
  const integers: TensorSpec =
    type === 'q8_0' ? { dtype: 'I8', shape } : { dtype: 'U8', shape: [...rows, width / 2] };
  return [
    [name, integers],
    [scaleName(name), { dtype: 'F16', shape: [...rows, width / quantizedGroup] }],
  ];
}

/**
 * The config of tensors by name and type, the same types of layers and experts under one pattern where no other tensor
 * has that.
 *
 * @param others names of the tensors that are not quantised
 */
export function quantizationConfig(
  types: ReadonlyMap<string, QuantizedType>,
  others: Iterable<string>,
): QuantizationConfig {
  /** The one type of all tensors of a pattern, or null. */
  const shared = new Map<string, QuantizedType | null>();
  for (const name of others) shared.set(collapsed(name), null);
  for (const [name, type] of types) {
    const known = shared.get(collapsed(name));
    shared.set(collapsed(name), known === undefined || known === type ? type : null);
  }
  const tensors: Partial<Record<QuantizedType, string[]>> = {};
  for (const type of quantizedTypes) {
    const own = [...types].filter(([, other]) => other === type).map(([name]) => name);
    const names = own.map((name) => (shared.get(collapsed(name)) === type ? collapsed(name) : name));
    if (names.length > 0) tensors[type] = [...new Set(names)];
  }
  return {
    quant_method: quantizedMethod,
    format_version: quantizedVersion,
    group_size: quantizedGroup,
    tensors,
  };
}

/**
 * The `quantization_config` of a parsed config.json if it is of this format, null where there is none or it is another
 * one's.
 *
 * @param where the beginning of error messages.
 * @throws MinkeError 'unsupported' for another version or group size; 'invalid-file' for fields that are none.
 */
export function parseQuantizationConfig(config: unknown, where: string): QuantizationConfig | null {
  const found = fieldsOf(fieldsOf(config)?.quantization_config);
  if (found === undefined || found.quant_method !== quantizedMethod) return null;
  const at = `${where}: quantization_config`;
  const expectOnly = (name: string, wanted: number) => {
    if (found[name] === wanted) return;
    const got = JSON.stringify(found[name])?.slice(0, 40) ?? 'nothing';
    throw new MinkeError(
      'unsupported',
      `${at}: expected ${name} ${wanted}, got ${got}; quantise the model again, or read it with the version of Minke that wrote it`,
    );
  };
  expectOnly('format_version', quantizedVersion);
  expectOnly('group_size', quantizedGroup);
  const tensors = fieldsOf(found.tensors);
  const unknown = Object.keys(tensors ?? {}).find((type) => !quantizedTypes.includes(type as QuantizedType));
  const named = Object.values(tensors ?? {});
  if (
    tensors === undefined ||
    unknown !== undefined ||
    !named.every((list) => Array.isArray(list) && list.every((name) => typeof name === 'string'))
  )
    throw new MinkeError(
      'invalid-file',
      `${at}: expected tensors with lists of names under ${quantizedTypes.join(' and ')}, got ${unknown ?? 'something else'}`,
    );
  return found as unknown as QuantizationConfig;
}

/** The name with every whole number in it as `*`. */
const collapsed = (name: string): string => name.replaceAll(/(?<=\.)\d+(?=\.|$)/g, '*');

/** Which quantised type a tensor has by the config, and the name there; the function throws a string where two are named. */
export function typeFinder(
  config: QuantizationConfig,
): (name: string) => { readonly type: QuantizedType; readonly pattern: string } | null {
  const patterns = new Map<string, { type: QuantizedType; pattern: string }[]>();
  for (const type of quantizedTypes)
    for (const pattern of config.tensors[type] ?? []) {
      const known = patterns.get(collapsed(pattern));
      if (known === undefined) patterns.set(collapsed(pattern), [{ type, pattern }]);
      else known.push({ type, pattern });
    }
  return (name) => {
    const parts = name.split('.');
    const found = (patterns.get(collapsed(name)) ?? []).filter(({ pattern }) =>
      pattern.split('.').every((part, i) => part === '*' || part === parts[i]),
    );
    if (new Set(found.map(({ type }) => type)).size > 1)
      throw `${name} is named as ${found.map(({ type, pattern }) => `${type} (${pattern})`).join(' and ')}`;
    return found[0] ?? null;
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
