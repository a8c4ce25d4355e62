/**
 * Which type every tensor of a quantised checkpoint gets: blocks for what `quantizableParameters` names, the source's own
 * type for the rest, both changed by rules on names.
 */
import { check, MinkeError, type Shape } from '@minke/core';
import type { ModelConfig } from './config.ts';
import { type BlockType, blockTypeOf, type Read } from './fill-parameters.ts';
import { expertSiblings, headName, quantizableParameters, tokenTable } from './quantizable.ts';
import type { WeightSource } from './weight-source.ts';

/** What a tensor is stored as. */
export type StoredType = BlockType | 'bf16' | 'f16' | 'f32';

/** A choice for the tensors whose published name matches; of several the last one holds. */
export interface QuantizationRule {
  /** A name in which `*` stands for anything, `model.layers.0.*` for example. */
  readonly pattern: string;
  /** `keep`: as in the source. */
  readonly type: BlockType | 'bf16' | 'f32' | 'keep';
}

/** A tensor to write. */
export interface Choice {
  /** Its name in the checkpoint that is written. */
  readonly name: string;
  /** The tensor it is made of; the table of tokens for a head that is tied to it. */
  readonly source: string;
  readonly shape: Shape;
  readonly type: StoredType;
}

const ruleTypes = ['q8_0', 'q4_0', 'bf16', 'f32'] as const;

/**
 * Rules from `pattern=type` texts and from patterns of what is kept, which come last.
 * @throws MinkeError 'invalid-argument' for a text without a type
 */
export function rulesOf(overrides: readonly string[], kept: readonly string[]): QuantizationRule[] {
  const stated = overrides.map((text): QuantizationRule => {
    const at = text.lastIndexOf('=');
    const type = ruleTypes.find((known) => known === text.slice(at + 1));
    if (at < 1 || type === undefined)
      throw new MinkeError(
        'invalid-argument',
        `quantize: expected pattern=type with a type of ${ruleTypes.join(', ')}, got ${text}`,
      );
    return { pattern: text.slice(0, at), type };
  });
  return [...stated, ...kept.map((pattern): QuantizationRule => ({ pattern, type: 'keep' }))];
}

/**
 * Every tensor to write, in forward order.
 * @param plan reads of each parameter, as the loader makes them
 * @throws MinkeError 'invalid-argument' for a rule that matches nothing or asks for blocks where they cannot be, and for
 * rules that split what is one operation
 */
export function chooseTypes(
  config: ModelConfig,
  plan: ReadonlyMap<string, readonly Read[]>,
  weights: WeightSource,
  type: BlockType,
  rules: readonly QuantizationRule[],
): Choice[] {
  const fit = quantizableParameters(config);
  const matchers = rules.map((rule) => ({ ...rule, matches: matcher(rule.pattern), used: false }));
  const choose = (name: string, source: string, fits: boolean): Choice => {
    const { dtype, shape } = weights.tensors.get(source) as { dtype: string; shape: Shape };
    const kept = ownType(dtype, shape);
    let chosen: StoredType = fits ? type : kept;
    for (const rule of matchers) {
      if (!rule.matches(name)) continue;
      rule.used = true;
      chosen = rule.type === 'keep' ? kept : rule.type;
    }
    check(
      !isBlocks(chosen) || canBeBlocks(shape),
      () =>
        `quantize: expected rows of a multiple of 32 numbers for ${chosen}, got ${name} [${shape.join(', ')}]; leave it out of the rule`,
    );
    return { name, source, shape, type: chosen };
  };

  const choices = new Map<string, Choice>();
  const typeOf = new Map<string, StoredType>();
  for (const [parameter, reads] of plan)
    for (const { source } of reads) {
      const known = choices.get(source) ?? choose(source, source, fit.has(parameter));
      choices.set(source, known);
      const other = typeOf.get(parameter);
      check(
        other === undefined || other === known.type,
        () =>
          `quantize: expected one type for all experts of ${parameter}, got ${other} and ${known.type} (${source}); use a pattern of all of them`,
      );
      typeOf.set(parameter, known.type);
    }
  for (const parameter of typeOf.keys()) {
    const types = expertSiblings(parameter).map((name) => typeOf.get(name) as StoredType);
    check(
      new Set(types.map(isBlocks)).size <= 1 || !fit.has(parameter),
      () =>
        `quantize: expected gate, up and down of routed experts all in blocks or none, got ${types.join(', ')} for ${parameter}; use a pattern of all of them`,
    );
  }
  if (config.tieEmbeddings && fit.has(headName)) {
    const head = choose(headName, tokenTable, true);
    const kept = matchers.findLast(({ matches }) => matches(headName))?.type === 'keep';
    // Kept, plain, or of the table's own type, the head is the table itself.
    if (isBlocks(head.type) && !kept && head.type !== typeOf.get(tokenTable)) choices.set(headName, head);
  }
  const idle = matchers.find(({ used }) => !used);
  if (idle !== undefined)
    throw new MinkeError(
      'invalid-argument',
      `quantize: expected patterns of tensors in the model, got ${idle.pattern}, which matches none; names are such as ${[...choices.keys()].slice(-2).join(', ')}`,
    );
  return [...choices.values()];
}

/** Whether a type is blocks. */
export function isBlocks(type: StoredType): type is BlockType {
  return type === 'q8_0' || type === 'q4_0';
}

const canBeBlocks = (shape: Shape): boolean => shape.length >= 2 && (shape.at(-1) as number) % 32 === 0;

/** The type that keeps a tensor: its own where the format has it; bf16 for others that are smaller than f32. */
function ownType(dtype: string, shape: Shape): StoredType {
  const blocks = blockTypeOf(dtype);
  if (blocks !== null && canBeBlocks(shape)) return blocks;
  if (dtype === 'F32' || dtype === 'F64') return 'f32';
  return dtype === 'F16' ? 'f16' : 'bf16';
}

function matcher(pattern: string): (name: string) => boolean {
  const parts = pattern.split('*');
  return (name) => {
    const [first, ...rest] = parts as [string, ...string[]];
    if (!name.startsWith(first)) return false;
    const last = rest.pop();
    if (last === undefined) return name === first;
    let at = first.length;
    for (const part of rest) {
      const found = name.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return name.length - last.length >= at && name.endsWith(last);
  };
}
