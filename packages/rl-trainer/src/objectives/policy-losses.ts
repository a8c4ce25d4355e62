/**
 * Losses of the GRPO family for each token, before corrections, KL and aggregation.
 *
 * rho is the importance ratio of `ratio.ts`, A the advantage, l the log-probability, sg stops the gradient.
 *
 * clip        -min(rho A, clip(rho, 1 - low, 1 + high) A): PPO, https://arxiv.org/abs/1707.06347, equation 7; high above
 *             low is DAPO's clip-higher, https://arxiv.org/abs/2503.14476. `delta` also caps the first rho (INTELLECT-2,
 *             https://arxiv.org/abs/2505.07291); `dualClip` bounds the loss by -c A where A < 0 (https://arxiv.org/abs/1912.09729).
 *             With a sequence's ratio it is GSPO, and with sums over sequences LUSPO (https://arxiv.org/abs/2602.05261).
 * gmpo        -exp(mean of log ratios, cut at high for A > 0 and at -low for A <= 0) A, https://arxiv.org/abs/2507.20673
 * cispo       -sg(min(rho, ratioMax)) A l, https://arxiv.org/abs/2506.13585, with the one bound of ScaleRL
 * sapo        -(4 / tau) sigmoid(tau (rho - 1)) A, https://arxiv.org/abs/2511.20347
 * vespo       -sg(phi(w)) A l, phi = e^lambda w^k e^(-lambda w), w the ratio of the whole sequence, https://arxiv.org/abs/2602.10693
 * reinforce   -A l: one update for each rollout, no ratio
 */
import { MinkeError } from '@minke/core';
import {
  add,
  affine,
  clamp,
  exp,
  maximum,
  minimum,
  mul,
  neg,
  sigmoid,
  sub,
  type Tensor,
} from '@minke/tensor';
import { MAX_LOG_RATIO } from './kl.ts';
import { importanceRatio, type RatioLevel } from './ratio.ts';
import { type Segments, segmentSum, spread } from './segments.ts';
import { choose, isPositive } from './selection.ts';

export interface ClipLoss {
  readonly name: 'clip';
  readonly ratio: RatioLevel;
  /** Below 1 by how much a ratio may move where A < 0; at least 0. PPO 0.2, GSPO 3e-4. */
  readonly epsilonLow: number;
  /** Above 1 by how much a ratio may move where A > 0; at least 0. DAPO 0.28, GSPO 4e-4. */
  readonly epsilonHigh: number;
  /** Largest ratio where A < 0, above 1 + epsilonHigh; INTELLECT-2: 4. */
  readonly delta?: number;
  /** Largest loss where A < 0 in units of -A, above 1; usually 3. */
  readonly dualClip?: number;
}

export interface GmpoLoss {
  readonly name: 'gmpo';
  /** Bounds of the log ratio, at least 0; the paper has 0.4 for both. */
  readonly epsilonLow: number;
  readonly epsilonHigh: number;
}

export interface CispoLoss {
  readonly name: 'cispo';
  readonly ratio: RatioLevel;
  /** Largest weight, above 0; ScaleRL (https://arxiv.org/abs/2510.13786): 5. */
  readonly ratioMax: number;
}

export interface SapoLoss {
  readonly name: 'sapo';
  readonly ratio: RatioLevel;
  /** Sharpness of the gate where A > 0, above 0; the paper has 1. */
  readonly temperaturePositive: number;
  /** Where A <= 0; the paper has 1.05. */
  readonly temperatureNegative: number;
}

export interface VespoLoss {
  readonly name: 'vespo';
  /** Shape and rate of phi where A >= 0; the paper has 2 and 3. */
  readonly kPositive: number;
  readonly lambdaPositive: number;
  /** Where A < 0; the paper has 3 and 2. */
  readonly kNegative: number;
  readonly lambdaNegative: number;
}

export interface ReinforceLoss {
  readonly name: 'reinforce';
}

export type PolicyLoss = ClipLoss | GmpoLoss | CispoLoss | SapoLoss | VespoLoss | ReinforceLoss;

/** Tensors of one micro-batch; N tokens. */
export interface PolicyTensors {
  readonly segments: Segments;
  /** Of the policy, [N]; the gradient flows here. */
  readonly logProbs: Tensor;
  /** Of the policy before this rollout's updates, [N], constant. */
  readonly oldLogProbs: Tensor;
  /** [N], constant. */
  readonly advantages: Tensor;
}

/** Loss of each token, [N]. */
export function tokenPolicyLoss(loss: PolicyLoss, batch: PolicyTensors): Tensor {
  const { logProbs, advantages } = batch;
  switch (loss.name) {
    case 'clip':
      return clipLoss(loss, batch);
    case 'gmpo':
      return gmpoLoss(loss, batch);
    case 'cispo': {
      const weight = minimum(ratioOf(loss.ratio, batch), loss.ratioMax).detach();
      return neg(mul(mul(weight, advantages), logProbs));
    }
    case 'sapo':
      return sapoLoss(loss, batch);
    case 'vespo':
      return neg(mul(mul(vespoWeights(loss, batch), advantages), logProbs));
    case 'reinforce':
      return neg(mul(advantages, logProbs));
    default:
      throw new MinkeError(
        'invalid-config',
        `tokenPolicyLoss: expected clip, gmpo, cispo, sapo, vespo or reinforce, got ${(loss as { name: unknown }).name}`,
      );
  }
}

const ratioOf = (level: RatioLevel, { logProbs, oldLogProbs, segments }: PolicyTensors): Tensor =>
  importanceRatio(logProbs, oldLogProbs, segments, level);

/** Above any loss, for bounds that do not apply. */
const UNBOUNDED = 1e30;

function clipLoss(loss: ClipLoss, batch: PolicyTensors): Tensor {
  const { advantages } = batch;
  const ratio = ratioOf(loss.ratio, batch);
  const clipped = clamp(ratio, 1 - loss.epsilonLow, 1 + loss.epsilonHigh);
  const first = loss.delta === undefined ? ratio : minimum(ratio, loss.delta);
  const token = neg(minimum(mul(first, advantages), mul(clipped, advantages)));
  if (loss.dualClip === undefined) return token;
  const negative = isPositive(neg(advantages));
  return minimum(token, choose(negative, mul(advantages, -loss.dualClip), UNBOUNDED));
}

function gmpoLoss({ epsilonLow, epsilonHigh }: GmpoLoss, batch: PolicyTensors): Tensor {
  const { logProbs, oldLogProbs, advantages, segments } = batch;
  const positive = isPositive(advantages);
  const above = choose(positive, epsilonHigh, UNBOUNDED);
  const below = choose(positive, -UNBOUNDED, -epsilonLow);
  const logRatio = maximum(minimum(sub(logProbs, oldLogProbs), above), below);
  const mean = mul(segmentSum(logRatio, segments), segments.inverseLengths);
  const weight = spread(exp(clamp(mean, -MAX_LOG_RATIO, MAX_LOG_RATIO)), segments);
  return neg(mul(weight, advantages));
}

function sapoLoss(
  { ratio: level, temperaturePositive, temperatureNegative }: SapoLoss,
  batch: PolicyTensors,
): Tensor {
  const { advantages } = batch;
  const positive = isPositive(advantages);
  const temperature = choose(positive, temperaturePositive, temperatureNegative);
  const scale = choose(positive, 4 / temperaturePositive, 4 / temperatureNegative);
  const gate = sigmoid(mul(affine(ratioOf(level, batch), 1, -1), temperature));
  return neg(mul(mul(gate, scale), advantages));
}

/** log 1e-8: the smallest sequence ratio that the reference implementation tells from 0. */
const MIN_LOG_WEIGHT = Math.log(1e-8);

function vespoWeights(
  loss: VespoLoss,
  { logProbs, oldLogProbs, advantages, segments }: PolicyTensors,
): Tensor {
  const logRatio = clamp(sub(logProbs.detach(), oldLogProbs), -MAX_LOG_RATIO, MAX_LOG_RATIO);
  const logWeight = spread(clamp(segmentSum(logRatio, segments), MIN_LOG_WEIGHT, MAX_LOG_RATIO), segments);
  const negative = isPositive(neg(advantages));
  const k = choose(negative, loss.kNegative, loss.kPositive);
  const lambda = choose(negative, loss.lambdaNegative, loss.lambdaPositive);
  const exponent = add(mul(k, logWeight), mul(lambda, affine(exp(logWeight), -1, 1)));
  return exp(exponent);
}
