/**
 * A named loss on a packed micro-batch: from hidden states before the tokens that count to one number and what the
 * caller wants to know of the tokens.
 *
 * Logits are made once, where the loss or the figures need them. Cross-entropy without figures of tokens needs
 * neither log-probabilities nor entropies, and where the logits of a micro-batch would not fit into memory it takes
 * them in chunks (`linearCrossEntropy`), predictions for the accuracy too.
 */
import { check } from '@minke/core';
import {
  type Arena,
  affine,
  call,
  crossEntropy,
  linear,
  linearCrossEntropy,
  slice,
  sum,
  type Tensor,
  topK,
} from '@minke/tensor';
import type { LossSpec } from './interfaces.ts';
import {
  distillationLoss,
  dpoLoss,
  packSegments,
  policyObjective,
  type Segments,
  type StepTotals,
  segmentSum,
  tokenEntropies,
  tokenLogProbs,
} from './objectives/index.ts';
import { type NumberColumn, type PackedSequences, split } from './packed-sequences.ts';

/** What a loss is computed from. */
export interface LossInputs {
  readonly arena: Arena;
  readonly pack: PackedSequences;
  /** [N, D], the rows before the tokens that count. */
  readonly hidden: Tensor;
  /** [V, D] */
  readonly head: Tensor;
  /** i32 [N] */
  readonly targets: Tensor;
}

/** A loss, and the figures it came with. */
export interface ComputedLoss {
  /** One element, differentiable. */
  readonly loss: Tensor;
  /** [N] each, or undefined where they were not asked for. */
  readonly tokens?: { readonly logProbs: Tensor; readonly entropies: Tensor };
  /** Tokens whose target had the largest logit. */
  readonly correct?: () => Promise<number>;
}

/** Logits that are held at once, 128 MiB: as in `linearCrossEntropy`. */
const HELD_LOGITS = 2 ** 25;

/**
 * The loss of one micro-batch. Throws `invalid-argument` naming what the sequences lack.
 *
 * @param options.chunkRows rows at a time of cross-entropy with outputs `sums`, as in `linearCrossEntropy`; for tests
 */
export function learnerLoss(
  inputs: LossInputs,
  spec: LossSpec,
  totals: StepTotals,
  options: { readonly chunkRows?: number } = {},
): ComputedLoss {
  if (spec.name === 'cross_entropy' && spec.outputs === 'sums')
    return plainCrossEntropy(inputs, totals, options);
  const { arena, pack, hidden, head, targets } = inputs;
  const logits = linear(hidden, head);
  const temperature = 'temperature' in spec ? spec.temperature : 1;
  const logProbs = tokenLogProbs(logits, targets, temperature);
  const differentiable = spec.name === 'policy' && spec.objective.entropyCoefficient !== 0;
  const entropies = tokenEntropies(differentiable ? logits : logits.detach(), temperature);
  const tokens = { logProbs, entropies };
  switch (spec.name) {
    case 'cross_entropy':
      return { loss: affine(sum(logProbs), -1 / totals.tokens, 0), tokens };
    case 'policy': {
      const upload = (name: NumberColumn) => {
        const values = pack.column(name);
        return values && arena.tensor(values, [values.length]);
      };
      const advantages = upload('advantages');
      check(
        advantages !== undefined,
        () => 'forwardBackward: expected advantages for a policy loss, got none',
      );
      const tensors = {
        segments: packSegments(arena, pack.lengths),
        ...tokens,
        advantages: advantages as Tensor,
        oldLogProbs: upload('oldLogProbs'),
        refLogProbs: upload('refLogProbs'),
        samplingLogProbs: upload('samplingLogProbs'),
      };
      return { loss: policyObjective(tensors, spec.objective, totals), tokens };
    }
    case 'dpo': {
      const segments = packSegments(arena, pack.lengths);
      return { loss: pairLoss(inputs, logProbs, segments, spec, totals), tokens };
    }
    case 'distillation': {
      const teacher = pack.teacher();
      check(
        teacher?.length === logits.size,
        () =>
          `forwardBackward: expected teacherLogProbs over ${logits.shape[1]} ids for each token, got ${teacher ? 'others' : 'none'}`,
      );
      const options = { beta: spec.beta, temperature };
      const each = distillationLoss(logits, arena.tensor(teacher as Float32Array, logits.shape), options);
      return {
        loss: affine(sum(each), 1 / totals.tokens, 0),
        tokens,
        correct: correctCount(logits.detach(), targets),
      };
    }
  }
}

function plainCrossEntropy(
  { arena, pack, hidden, head, targets }: LossInputs,
  totals: StepTotals,
  options: { readonly chunkRows?: number },
): ComputedLoss {
  const mean = (losses: Tensor): Tensor => affine(sum(losses), 1 / totals.tokens, 0);
  const [rows, vocabulary] = [hidden.shape[0] as number, head.shape[0] as number];
  if (options.chunkRows === undefined && rows * vocabulary <= HELD_LOGITS) {
    const logits = linear(hidden, head);
    const loss = mean(crossEntropy(logits, targets));
    return { loss, correct: correctCount(logits.detach(), targets) };
  }
  const step = options.chunkRows ?? Math.max(1, Math.floor(HELD_LOGITS / vocabulary));
  const loss = mean(linearCrossEntropy(hidden, head, targets, options));
  const correct = async (): Promise<number> => {
    let count = 0;
    for (let start = 0; start < rows; start += step) {
      const size = Math.min(step, rows - start);
      const part = arena.withoutGrad(() => linear(slice(hidden.detach(), 0, start, size), head.detach()));
      const wanted = arena.tensor(pack.targets.subarray(start, start + size), [size], 'i32');
      count += await correctCount(part, wanted)();
      part.dispose();
    }
    return count;
  };
  return { loss, correct };
}

/** Tensors now, their numbers when asked. */
function correctCount(logits: Tensor, targets: Tensor): () => Promise<number> {
  const [reached] = call('gatherLast', [logits, targets.reshape([logits.shape[0] as number, 1])], {});
  const best = topK(logits, 1).values;
  return async () => {
    const top = await best.read();
    return (await (reached as Tensor).read()).filter((logit, n) => logit === top[n]).length;
  };
}

function pairLoss(
  { arena, pack }: LossInputs,
  logProbs: Tensor,
  segments: Segments,
  { dpo }: Extract<LossSpec, { name: 'dpo' }>,
  totals: StepTotals,
): Tensor {
  const pairs = pack.lengths.length / 2;
  const reference = pack.column('refLogProbs');
  check(
    Number.isInteger(pairs) && reference !== undefined,
    () =>
      `forwardBackward: expected pairs of sequences with refLogProbs for dpo, got ${pack.lengths.length} ${reference ? 'with' : 'without'}`,
  );
  const both = segmentSum(logProbs, segments).reshape([pairs, 2]);
  const refs = split(reference as Float64Array, pack.lengths).map((l) => l.reduce((a, b) => a + b, 0));
  const side = (values: readonly number[], which: number) =>
    arena.tensor(
      values.filter((_, i) => i % 2 === which),
      [pairs],
    );
  return dpoLoss(
    {
      chosen: column(both, 0),
      rejected: column(both, 1),
      refChosen: side(refs, 0),
      refRejected: side(refs, 1),
      chosenLengths: side(pack.lengths, 0),
      rejectedLengths: side(pack.lengths, 1),
    },
    dpo,
    { pairs: totals.sequences / 2 },
  );
}

const column = (x: Tensor, index: number): Tensor => slice(x, 1, index, 1).reshape([x.shape[0] as number]);
