/**
 * Pre-tokenizers of `tokenizer.json`: ByteLevel, Split, Digits and Sequences of them.
 *
 * Each step cuts every piece of the step before, so look-ahead at a piece's end sees the end of text, as in
 * Hugging Face `tokenizers`. Byte mapping is left to the merge step, which works on UTF-8 bytes: ByteLevel
 * must therefore come last, as it does in every published byte-level file. Merging behaviours
 * (MergedWithPrevious, MergedWithNext) and word-piece pre-tokenizers are refused.
 */
import {
  asArray,
  asFlag,
  asObject,
  asString,
  type JsonObject,
  unsupportedField,
  wrongField,
} from './json-fields.ts';
import { gpt2Pattern, knownScanner } from './known-patterns.ts';
import { compilePattern } from './pattern.ts';
import type { Scanner } from './scanner.ts';
import { withFrozenUnicode } from './unicode-version.ts';

/** Cuts text into the pieces inside which merges may happen. */
export interface PreTokenizer {
  /** Calls `emit` for each piece in order; with the published patterns the pieces join to the text. */
  split(text: string, emit: (piece: string) => void): void;
  /** The same cuts by hand, where the patterns are published ones. */
  readonly scanner: Scanner | undefined;
  /** `scanner` wants a space before a text that has none. */
  readonly prefixSpace: boolean;
}

type Step =
  | { readonly kind: 'prefix-space' }
  /** Cut at matches; `keep` says whether matches, gaps or both survive. */
  | {
      readonly kind: 'cut';
      readonly pattern: RegExp;
      readonly keep: 'both' | 'matches' | 'gaps';
      /** The pattern as the file has it. */
      readonly source: string;
    };

/** Published files have up to seven; each pattern costs time to compile and to run. */
const maxSteps = 32;

/** Compiles the `pre_tokenizer` field; throws `invalid-file` or `unsupported`. */
export function parsePreTokenizer(json: unknown): PreTokenizer {
  const steps: Step[] = [];
  const state = { byteLevel: false };
  parseInto(json, 'pre_tokenizer', steps, state, 0);
  if (!state.byteLevel)
    throw unsupportedField('pre_tokenizer', 'byte-level files, which end in ByteLevel', json);
  const split: PreTokenizer['split'] = (text, emit) => runSteps(steps, 0, text, emit);
  // Characters are put back by counting, which needs every piece to arrive; removing patterns go without.
  const whole = steps.every((step) => step.kind === 'prefix-space' || step.keep === 'both');
  return {
    split: whole ? (text, emit) => withFrozenUnicode(text, split, emit) : split,
    scanner: scannerOf(steps),
    prefixSpace: steps[0]?.kind === 'prefix-space',
  };
}

/** The scan for these steps; a space goes before the text, so only before the first of them. */
function scannerOf(steps: readonly Step[]): Scanner | undefined {
  const cuts = steps[0]?.kind === 'prefix-space' ? steps.slice(1) : steps;
  const patterns: string[] = [];
  for (const step of cuts) {
    if (step.kind !== 'cut' || step.keep !== 'both') return undefined;
    patterns.push(step.source);
  }
  return knownScanner(patterns);
}

function parseInto(
  json: unknown,
  path: string,
  steps: Step[],
  state: { byteLevel: boolean },
  depth: number,
): void {
  const node = asObject(json, path);
  const type = asString(node.type, `${path}.type`);
  if (state.byteLevel) throw unsupportedField(path, 'nothing after ByteLevel', node);
  if (steps.length > maxSteps)
    throw wrongField('pre_tokenizer', `a sequence of at most ${maxSteps} steps`, node);
  switch (type) {
    case 'Sequence': {
      if (depth > 8) throw wrongField(path, 'a Sequence nested at most 8 deep', node);
      asArray(node.pretokenizers, `${path}.pretokenizers`).forEach((child, i) => {
        parseInto(child, `${path}.pretokenizers[${i}]`, steps, state, depth + 1);
      });
      return;
    }
    case 'ByteLevel':
      state.byteLevel = true;
      if (asFlag(node.add_prefix_space, `${path}.add_prefix_space`, true))
        steps.push({ kind: 'prefix-space' });
      if (asFlag(node.use_regex, `${path}.use_regex`, true))
        steps.push({
          kind: 'cut',
          pattern: compilePattern(gpt2Pattern, path),
          keep: 'both',
          source: gpt2Pattern,
        });
      return;
    case 'Digits': {
      const source = asFlag(node.individual_digits, `${path}.individual_digits`, false)
        ? '\\p{N}'
        : '\\p{N}+';
      steps.push({ kind: 'cut', pattern: compilePattern(source, path), keep: 'both', source });
      return;
    }
    case 'Split':
      steps.push(parseSplit(node, path));
      return;
    default:
      throw unsupportedField(`${path}.type`, 'ByteLevel, Split, Digits and Sequence', type);
  }
}

function parseSplit(node: JsonObject, path: string): Step {
  const field = asObject(node.pattern, `${path}.pattern`);
  const pattern =
    field.String === undefined
      ? compilePattern(asString(field.Regex, `${path}.pattern.Regex`), `tokenizer.json: ${path}.pattern`)
      : literalPattern(asString(field.String, `${path}.pattern.String`), path);
  const source = field.String === undefined ? String(field.Regex) : pattern.source;
  const behavior = asString(node.behavior, `${path}.behavior`);
  const invert = asFlag(node.invert, `${path}.invert`, false);
  if (behavior === 'Isolated') return { kind: 'cut', pattern, keep: 'both', source };
  if (behavior === 'Removed') return { kind: 'cut', pattern, keep: invert ? 'matches' : 'gaps', source };
  throw unsupportedField(`${path}.behavior`, 'Isolated and Removed', behavior);
}

function literalPattern(text: string, path: string): RegExp {
  if (text.length === 0) throw wrongField(`${path}.pattern.String`, 'a non-empty string', text);
  return new RegExp(text.replace(/[\^$\\.*+?()[\]{}|/]/g, '\\$&'), 'gu');
}

function runSteps(steps: readonly Step[], index: number, piece: string, emit: (piece: string) => void): void {
  const step = steps[index];
  if (step === undefined) {
    emit(piece);
    return;
  }
  if (step.kind === 'prefix-space') {
    runSteps(steps, index + 1, piece.startsWith(' ') ? piece : ` ${piece}`, emit);
    return;
  }
  const { pattern, keep } = step;
  const last = index + 1 === steps.length;
  let done = 0;
  // Deeper steps have patterns of their own, so nothing below moves this one's lastIndex.
  pattern.lastIndex = 0;
  for (;;) {
    const match = pattern.exec(piece);
    if (match === null) break;
    const text = match[0];
    const end = match.index + text.length;
    if (text.length === 0) {
      pattern.lastIndex = end + ((piece.codePointAt(end) ?? 0) > 0xffff ? 2 : 1);
      continue;
    }
    if (match.index > done && keep !== 'matches') {
      const gap = piece.slice(done, match.index);
      if (last) emit(gap);
      else runSteps(steps, index + 1, gap, emit);
    }
    if (keep !== 'gaps') {
      if (last) emit(text);
      else runSteps(steps, index + 1, text, emit);
    }
    done = end;
  }
  if (done < piece.length && keep !== 'matches') {
    const gap = done === 0 ? piece : piece.slice(done);
    if (last) emit(gap);
    else runSteps(steps, index + 1, gap, emit);
  }
}
