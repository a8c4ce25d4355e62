/**
 * A learner in this process: one DeepSeek-shaped model and AdamW, objectives on packed sequences.
 *
 * Sequences of a micro-batch are packed without padding and attend within themselves; logits are computed for
 * the rows before completion tokens only. The attention form is pinned to the expanded one, which samplers that
 * want equal log-probabilities pin too. A mixture of experts stays even: the sequence-wise balance loss is added,
 * and the correction bias moves by the load of the whole step (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
 * Calls run one after the other in the order they were made, so that none needs to be awaited before the next.
 * Only the parameters, moments and step count are state; gradients of an unfinished step are not saved.
 */
import { check, MinkeError } from '@minke/core';
import { loadStatistics } from '@minke/moe-router';
import { AdamW, Arena, add, affine, slice, sum, type Tensor } from '@minke/tensor';
import type { DeepSeekModel } from '@minke/transformer';
import { packExamples } from './batch.ts';
import type {
  ForwardBackwardResult,
  Learner,
  LossSpec,
  OptimStepResult,
  PolicyExport,
  TrainingSequence,
} from './interfaces.ts';
import { readState, writeState } from './model-state.ts';
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
import { RunStore } from './run-store.ts';

export interface LocalLearnerOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** On matrices only. */
  readonly weightDecay: number;
  /** Global gradient norm above which gradients are scaled down; 0 for never. */
  readonly maxGradNorm: number;
  /** Step of the correction bias; 0 leaves it. */
  readonly biasUpdateGamma: number;
  /** Weight of the sequence-wise balance loss. */
  readonly balanceAlpha: number;
}

export const defaultLearner: LocalLearnerOptions = {
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
  biasUpdateGamma: 1e-3,
  balanceAlpha: 1e-4,
};

/**
 * @example
 * const learner = new LocalLearner(model);
 * await learner.forwardBackward(sequences, { name: 'cross_entropy' }, { sequences: 2, tokens: 31 });
 * await learner.optimStep({ learningRate: 1e-4 });
 */
export class LocalLearner implements Learner {
  readonly model: DeepSeekModel;
  readonly #options: LocalLearnerOptions;
  #lazyOptimizer: AdamW | undefined;
  readonly #arena: Arena;
  readonly #inference: Arena;
  /** The end of the last call. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Choices per expert since the last step, one array a layer. */
  #loads: Float64Array[] = [];

  constructor(model: DeepSeekModel, options: Partial<LocalLearnerOptions> = {}) {
    this.model = model;
    this.#options = { ...defaultLearner, ...options };
    this.#arena = new Arena(model.backend, { grad: true, label: 'learner step' });
    this.#inference = new Arena(model.backend, { label: 'learner forward' });
  }

  forward(
    sequences: readonly TrainingSequence[],
    { temperature }: { readonly temperature: number },
  ): Promise<number[][]> {
    return this.#inTurn(() => this.#forward(sequences, temperature));
  }

  forwardBackward(
    sequences: readonly TrainingSequence[],
    loss: LossSpec,
    totals: StepTotals,
  ): Promise<ForwardBackwardResult> {
    return this.#inTurn(() => this.#forwardBackward(sequences, loss, totals));
  }

  optimStep({ learningRate }: { readonly learningRate: number }): Promise<OptimStepResult> {
    return this.#inTurn(() => this.#optimStep(learningRate));
  }

  saveState(folder: string): Promise<void> {
    return this.#inTurn(() => this.#saveState(folder));
  }

  loadState(folder: string): Promise<void> {
    return this.#inTurn(() => this.#loadState(folder));
  }

  /** Samplers of this process share the weights. */
  exportForSampler(): Promise<PolicyExport> {
    return this.#inTurn(async () => ({ version: this.#lazyOptimizer?.stepCount ?? 0, location: null }));
  }

  /** Takes over the weights of another model of the same shape: how a reference becomes the policy of now. */
  copyFrom(model: DeepSeekModel): Promise<void> {
    return this.#inTurn(() => this.#copyFrom(model));
  }

  /** Gives the step's memory back once the calls before it are over; the model stays. */
  dispose(): Promise<void> {
    return this.#inTurn(async () => {
      this.#arena.dispose();
      this.#inference.dispose();
    });
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(call);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #forward(sequences: readonly TrainingSequence[], temperature: number): Promise<number[][]> {
    const arena = this.#inference;
    try {
      const pack = packSequences(sequences);
      const { logits, targets } = this.#logits(arena, pack);
      const logProbs = await tokenLogProbs(logits, targets, temperature).read();
      return split(logProbs, pack.lengths);
    } finally {
      arena.reset();
    }
  }

  async #forwardBackward(
    sequences: readonly TrainingSequence[],
    spec: LossSpec,
    totals: StepTotals,
  ): Promise<ForwardBackwardResult> {
    const arena = this.#arena;
    const { balanceAlpha } = this.#options;
    try {
      const pack = packSequences(sequences);
      const pass = this.#logits(arena, pack);
      const { loss, logProbs, entropies } = lossOf(arena, pack, pass, spec, totals);
      const share = (balanceAlpha * sequences.length) / totals.sequences;
      const balanced = balanceAlpha > 0 && pass.result.loads.length > 0;
      const total = balanced
        ? add(loss, this.model.balanceLoss(pass.result, pass.rows, { alpha: share }))
        : loss;
      // Read before the backward pass: a call that fails must leave the gradients as they were.
      const [value] = await loss.read();
      if (!Number.isFinite(value))
        throw new MinkeError(
          'invalid-argument',
          `forwardBackward: the loss became ${value}; lower the learning rate and go back to the last good state`,
        );
      total.backward();
      const loads = await Promise.all(pass.result.loads.map((load) => load.read()));
      this.#loads = loads.map((load, i) =>
        Float64Array.from(load, (count, e) => count + (this.#loads[i]?.[e] ?? 0)),
      );
      return {
        loss: value as number,
        logProbs: split(await logProbs.read(), pack.lengths),
        entropies: split(await entropies.read(), pack.lengths),
      };
    } finally {
      arena.reset();
    }
  }

  async #optimStep(learningRate: number): Promise<OptimStepResult> {
    const arena = this.#arena;
    const { biasUpdateGamma: gamma } = this.#options;
    try {
      const normSquared = this.#optimizer.step(arena, { lr: learningRate });
      this.#optimizer.zeroGrad(arena);
      const loads = this.#loads.map((load) => arena.tensor(load, [load.length]));
      if (gamma > 0) this.model.updateBiases(loads, { gamma });
      const statistics = this.#loads.map(loadStatistics);
      this.#loads = [];
      const [norm] = await normSquared.read();
      return {
        step: this.#optimizer.stepCount,
        gradNorm: Math.sqrt(norm as number),
        metrics: {
          max_vio: Math.max(0, ...statistics.map(({ maxVio }) => maxVio)),
          dead_experts: statistics.reduce((n, { dead }) => n + dead, 0),
        },
      };
    } finally {
      arena.reset();
    }
  }

  async #saveState(folder: string): Promise<void> {
    const state = {
      stage: 'learner',
      step: this.#optimizer.stepCount,
      source: null,
      metricsBytes: 0,
      tokens: 0,
      config: this.#options,
    };
    await new RunStore(folder).save(state, await readState(this.model, this.#optimizer));
  }

  async #loadState(folder: string): Promise<void> {
    const saved = await new RunStore(folder).load();
    if (saved === undefined)
      throw new MinkeError('invalid-file', `loadState: expected a state in ${folder}, found none`);
    const { state, tensors } = saved;
    writeState(`loadState: ${folder}`, this.model, this.#optimizer, { tensors, step: state.step });
    this.#loads = [];
  }

  async #copyFrom(model: DeepSeekModel): Promise<void> {
    const own = this.model.parameters();
    for (const [name, tensor] of model.parameters()) {
      const target = own.get(name);
      check(
        target?.shape.join() === tensor.shape.join(),
        () => `copyFrom: expected a model of the same shape, got one that differs in ${name}`,
      );
      (target as Tensor).write(await tensor.read());
    }
  }

  /** Made at the first update: a reference needs no moments. */
  get #optimizer(): AdamW {
    const { beta1, beta2, eps, weightDecay, maxGradNorm } = this.#options;
    this.#lazyOptimizer ??= new AdamW(
      new Map([...this.model.parameters()].filter(([, p]) => p.requiresGrad)),
      {
        lr: 0,
        beta1,
        beta2,
        eps,
        weightDecay,
        maxGradNorm,
        decay: (name, shape) => shape.length >= 2 && !name.includes('embed_tokens'),
      },
    );
    return this.#lazyOptimizer;
  }

  #logits(arena: Arena, pack: Pack) {
    const count = pack.targets.length;
    const rows = this.model.batch(arena, pack.sequences);
    const targets = arena.tensor(pack.targets, [count], 'i32');
    const outputs = arena.tensor(pack.supervisedRows, [count], 'i32');
    const result = this.model.forward(rows, { outputs, form: 'expanded' });
    return { rows, result, logits: result.logits, targets };
  }
}

interface Pack {
  readonly sequences: readonly (readonly number[])[];
  readonly supervisedRows: Int32Array;
  readonly targets: Int32Array;
  /** Tokens that count, of each sequence. */
  readonly lengths: readonly number[];
  /** Numbers of the tokens that count, [N], or undefined when no sequence has them. */
  readonly column: (name: NumberColumn) => Float64Array | undefined;
  readonly teacher: () => Float64Array | undefined;
}

type NumberColumn = 'advantages' | 'oldLogProbs' | 'refLogProbs' | 'samplingLogProbs';

/** Packs whole sequences and leaves masked tokens out of the rows that count. */
function packSequences(sequences: readonly TrainingSequence[]): Pack {
  const packed = packExamples(
    sequences.map(({ tokens, completionStart }) => ({ ids: Int32Array.from(tokens), completionStart })),
  );
  const kept = sequences.map(({ tokens, completionStart, mask }, i) => {
    const count = tokens.length - completionStart;
    check(
      mask === undefined || mask.length === count,
      () => `LocalLearner: expected a mask of ${count} in sequence ${i}, got ${mask?.length}`,
    );
    return Array.from({ length: count }, (_, t) => mask === undefined || mask[t] !== 0);
  });
  const counts = kept.flat();
  /** One value for each token that counts, from the arrays of all sequences or of none. */
  const gather = <T>(name: NumberColumn | 'teacherLogProbs'): T[] | undefined => {
    if (sequences.every((sequence) => sequence[name] === undefined)) return undefined;
    return sequences.flatMap((sequence, i) => {
      const values = sequence[name] as readonly T[] | undefined;
      const flags = kept[i] as boolean[];
      check(
        values?.length === flags.length,
        () =>
          `LocalLearner: expected ${flags.length} ${name} in sequence ${i}, got ${values?.length ?? 'none'}`,
      );
      return (values as readonly T[]).filter((_, t) => flags[t]);
    });
  };
  const column = (name: NumberColumn) => {
    const values = gather<number>(name);
    return values && Float64Array.from(values);
  };
  return {
    sequences: packed.sequences,
    supervisedRows: packed.supervisedRows.filter((_, t) => counts[t]),
    targets: packed.targets.filter((_, t) => counts[t]),
    lengths: kept.map((flags) => flags.filter(Boolean).length),
    column,
    teacher: () => {
      const rows = gather<readonly number[]>('teacherLogProbs');
      return rows && Float64Array.from(rows.flat());
    },
  };
}

interface Computed {
  readonly loss: Tensor;
  readonly logProbs: Tensor;
  readonly entropies: Tensor;
}

function lossOf(
  arena: Arena,
  pack: Pack,
  { logits, targets }: { logits: Tensor; targets: Tensor },
  spec: LossSpec,
  totals: StepTotals,
): Computed {
  const temperature = 'temperature' in spec ? spec.temperature : 1;
  const logProbs = tokenLogProbs(logits, targets, temperature);
  const segments = packSegments(arena, pack.lengths);
  const differentiable = spec.name === 'policy' && spec.objective.entropyCoefficient !== 0;
  const entropies = tokenEntropies(differentiable ? logits : logits.detach(), temperature);
  const loss = (): Tensor => {
    switch (spec.name) {
      case 'cross_entropy':
        return affine(sum(logProbs), -1 / totals.tokens, 0);
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
          segments,
          logProbs,
          entropies,
          advantages: advantages as Tensor,
          oldLogProbs: upload('oldLogProbs'),
          refLogProbs: upload('refLogProbs'),
          samplingLogProbs: upload('samplingLogProbs'),
        };
        return policyObjective(tensors, spec.objective, totals);
      }
      case 'dpo':
        return pairLoss(arena, pack, logProbs, segments, spec, totals);
      case 'distillation': {
        const teacher = pack.teacher();
        check(
          teacher?.length === logits.size,
          () =>
            `forwardBackward: expected teacherLogProbs over ${logits.shape[1]} ids for each token, got ${teacher ? 'others' : 'none'}`,
        );
        const options = { beta: spec.beta, temperature };
        const each = distillationLoss(logits, arena.tensor(teacher as Float64Array, logits.shape), options);
        return affine(sum(each), 1 / totals.tokens, 0);
      }
    }
  };
  return { loss: loss(), logProbs, entropies };
}

function pairLoss(
  arena: Arena,
  pack: Pack,
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

function split(values: ArrayLike<number>, lengths: readonly number[]): number[][] {
  const all = Array.from(values);
  let start = 0;
  return lengths.map((n) => all.slice(start, (start += n)));
}
