/**
 * The conformance suite: is a backend right? One set of cases for every backend, ours and other people's.
 *
 * Each op of core's table is run with random shapes (odd, single, empty, every rank and broadcast form), every
 * enumerated attribute, indices outside their tables, ties, NaN and other extreme values, and compared with the plain
 * TypeScript reference within stated tolerances; further cases check the contract itself (order, replay,
 * lifetimes, equal bits). Needs no test runner: the browser runs it as it is.
 */
import { type Attributes, type Backend, type OpName, opNames } from '@minke/core';
import { attentionDrafts } from './conformance/attention-drafts.ts';
import { contractChecks } from './conformance/contract.ts';
import { type Draft, Draw } from './conformance/draw.ts';
import { absolute, compare, execute } from './conformance/execute.ts';
import { expertDrafts } from './conformance/expert-drafts.ts';
import { hostileDrafts } from './conformance/hostile.ts';
import { mathsDrafts } from './conformance/maths-drafts.ts';
import { memoryDrafts } from './conformance/memory-drafts.ts';
import { networkDrafts } from './conformance/network-drafts.ts';
import { quantizedDrafts } from './conformance/quantized-drafts.ts';
import { samplingDrafts } from './conformance/sampling-drafts.ts';
import { type Tolerance, tolerances } from './conformance/tolerances.ts';
import { createReference } from './reference/index.ts';

/** The outcome of one case: it passes when `worst <= tolerance`. */
export interface ConformanceResult {
  /** Largest error in units of its magnitude; Infinity where exact agreement is missing. */
  readonly worst: number;
  readonly tolerance: number;
  /** Where the largest error is, or what the contract check found. */
  readonly detail: string;
}

/** One thing a backend must get right. */
export interface ConformanceCase {
  /** Unique within a suite. */
  readonly name: string;
  /** The op it needs, or `contract` for what every backend must do. */
  readonly op: OpName | 'contract';
  /** Runs the case; what the backend throws is an outcome with `worst` Infinity. */
  run(backend: Backend, reference: Backend): Promise<ConformanceResult>;
}

/** What to generate. */
export interface ConformanceOptions {
  /** Seed of shapes and numbers; 1 by default. */
  readonly seed?: number;
  /**
   * Also NaN, infinities and subnormal numbers; true by default. WGSL, for one, lets an implementation assume that
   * there are none.
   */
  readonly hostile?: boolean;
  /** Only these ops (and, with `contract`, the contract checks); all by default. */
  readonly ops?: readonly (OpName | 'contract')[];
}

/** A case that did not pass. */
export interface ConformanceFailure extends ConformanceResult {
  readonly name: string;
  readonly op: OpName | 'contract';
}

/** The outcome of a whole run. */
export interface ConformanceReport {
  /** Cases that ran. */
  readonly cases: number;
  readonly failures: readonly ConformanceFailure[];
  /** Ops the backend does not support: their cases did not run. */
  readonly unsupported: readonly OpName[];
}

/** One generator per op: an op without one does not compile. */
const drafts: { readonly [O in OpName]: (draw: Draw) => Draft<O>[] } = {
  ...memoryDrafts,
  ...mathsDrafts,
  ...networkDrafts,
  ...attentionDrafts,
  ...samplingDrafts,
  ...expertDrafts,
  ...quantizedDrafts,
};

/** Runs `body` and turns what it throws into a failed result. */
async function outcome(body: () => Promise<ConformanceResult>): Promise<ConformanceResult> {
  try {
    return await body();
  } catch (error) {
    return { worst: Number.POSITIVE_INFINITY, tolerance: 0, detail: String(error) };
  }
}

function opCases<O extends OpName>(op: O, seed: number, hostile: boolean): ConformanceCase[] {
  const draw = new Draw(seed, opNames.indexOf(op));
  const ordinary = drafts[op](draw);
  const all = hostile ? [...ordinary, ...hostileDrafts(op, draw, ordinary)] : ordinary;
  return all.map(({ label, inputs, attributes }, index) => {
    const shapes = inputs.map(({ shape }) => `[${shape}]`).join(' ');
    const tolerate = tolerances[op] as (s: readonly (readonly number[])[], a: Attributes<O>) => Tolerance;
    const tolerance = tolerate(
      inputs.map(({ shape }) => shape),
      attributes,
    );
    const expect = async (reference: Backend) => {
      const positive = absolute(op, inputs, attributes);
      return {
        reference,
        want: await execute(reference, op, inputs, attributes),
        absolutes:
          tolerance.magnitude === 'absolute'
            ? await execute(reference, op, positive.inputs, positive.attributes)
            : [],
      };
    };
    // Kept, so that one suite can be run over several backends.
    let expected: Awaited<ReturnType<typeof expect>> | undefined;
    return {
      name: [`${op} #${index}`, label, shapes].filter((part) => part !== '').join(' '),
      op,
      run: (backend, reference) =>
        outcome(async () => {
          if (expected?.reference !== reference) expected = await expect(reference);
          const { want, absolutes } = expected;
          const got = await execute(backend, op, inputs, attributes, index % 4);
          return { ...compare(got, want, inputs, tolerance, absolutes), tolerance: tolerance.relative };
        }),
    };
  });
}

/**
 * All cases, from core's op table.
 *
 * @example
 * for (const { name, run } of conformanceCases({ ops: ['matmul'] })) {
 *   const { worst, tolerance, detail } = await run(backend, createReference());
 *   if (worst > tolerance) console.log(name, detail);
 * }
 */
export function conformanceCases(options: ConformanceOptions = {}): ConformanceCase[] {
  const { seed = 1, hostile = true, ops = [...opNames, 'contract'] } = options;
  const contract = contractChecks(seed).map(
    (check): ConformanceCase => ({
      name: `contract: ${check.name}`,
      op: check.op ?? 'contract',
      run: (backend, reference) =>
        outcome(async () => {
          await check.run(backend, reference);
          return { worst: 0, tolerance: 0, detail: 'kept' };
        }),
    }),
  );
  const perOp = opNames.filter((op) => ops.includes(op)).flatMap((op) => opCases(op, seed, hostile));
  return [...perOp, ...contract.filter(({ op }) => ops.includes(op))];
}

/**
 * Runs the suite on a backend and returns what failed.
 *
 * @param options `onCase` is told each outcome as it comes; `reference` replaces the plain TypeScript one.
 * @example
 * const { failures, unsupported } = await runConformance(myBackend);
 */
export async function runConformance(
  backend: Backend,
  options: ConformanceOptions & {
    readonly reference?: Backend;
    readonly onCase?: (outcome: ConformanceFailure) => void;
  } = {},
): Promise<ConformanceReport> {
  const reference = options.reference ?? createReference();
  const unsupported = opNames.filter((op) => !backend.supports(op));
  const failures: ConformanceFailure[] = [];
  const cases = conformanceCases(options).filter(({ op }) => op === 'contract' || backend.supports(op));
  for (const { name, op, run } of cases) {
    const result = { name, op, ...(await run(backend, reference)) };
    // Written so that NaN fails.
    if (!(result.worst <= result.tolerance)) failures.push(result);
    options.onCase?.(result);
  }
  return { cases: cases.length, failures, unsupported };
}
