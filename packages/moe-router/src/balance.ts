/**
 * Keeping the experts evenly used: balance losses and the auxiliary-loss-free bias update.
 *
 * Losses: DeepSeek-V2 section 2.2.3 eq. 23-31 (expert, device, communication), DeepSeek-V3 section 2.1.2
 * eq. 17-20 (sequence-wise). In each, f counts choices and carries no gradient, P averages scores and
 * carries it all. Bias update: DeepSeek-V3 section 2.1.2; Moonlight's variant (arXiv 2502.16982, appendix
 * C) subtracts the mean step, so that the bias does not drift.
 */
import { check } from '@minke/core';
import {
  affine,
  call,
  clamp,
  div,
  isTensor,
  matmul,
  max,
  mean,
  mul,
  neg,
  sub,
  sum,
  type Tensor,
  topK,
} from '@minke/tensor';

/** 1 where an expert was chosen: indices i32 [N, K] -> f32 [N, E]; no gradient. */
function chosen(indices: Tensor, experts: number): Tensor {
  const ones = indices.arena.full(indices.shape, 1);
  return (call('scatterLast', [ones, indices], { size: experts }) as [Tensor])[0];
}

/**
 * V3's complementary sequence-wise loss, averaged over sequences: alpha sum_i f_i P_i with
 * f_i = E / (K T) #(tokens whose K best scores include i), P_i = mean of s_i / sum_j s_j.
 * @param scores [N, E] of all sequences, rows flattened
 * @param averaging [B, N]: row b holds 1 / T_b at the rows of sequence b, else 0
 * @returns one element, to be added to the training loss
 */
export function sequenceBalanceLoss(
  scores: Tensor,
  averaging: Tensor,
  { topK: k, alpha }: { topK: number; alpha: number },
): Tensor {
  const experts = scores.shape[1] as number;
  const sequences = averaging.shape[0] as number;
  const normalised = div(scores, affine(sum(scores, 1), 1, 1e-20).reshape([-1, 1]));
  const frequency = matmul(averaging, chosen(topK(scores.detach(), k).indices, experts));
  const probability = matmul(averaging, normalised);
  return affine(sum(mul(frequency, probability)), (alpha * experts) / (k * sequences), 0);
}

/** V2's expert-level loss over a batch: alpha sum_i f_i P_i, with the choices actually made. */
export function expertBalanceLoss(scores: Tensor, indices: Tensor, { alpha }: { alpha: number }): Tensor {
  const { frequency, probability } = batchStatistics(scores, indices);
  return affine(sum(mul(frequency, probability)), alpha, 0);
}

/** V2's device-level loss: alpha sum_d mean(f in d) sum(P in d), experts laid out device by device. */
export function deviceBalanceLoss(
  scores: Tensor,
  indices: Tensor,
  { alpha, devices }: { alpha: number; devices: number },
): Tensor {
  const { frequency, probability } = batchStatistics(scores, indices);
  const byDevice = perDevice(scores.shape[1] as number, devices);
  return affine(
    sum(mul(mean(frequency.reshape(byDevice), 1), sum(probability.reshape(byDevice), 1))),
    alpha,
    0,
  );
}

/** V2's communication loss: alpha sum_d f''_d P''_d, f''_d = D / (M T) #(tokens sent to device d). */
export function communicationBalanceLoss(
  scores: Tensor,
  indices: Tensor,
  { alpha, devices, topDevices }: { alpha: number; devices: number; topDevices: number },
): Tensor {
  const [rows, experts] = scores.shape as readonly [number, number];
  const byDevice = perDevice(experts, devices);
  const { probability } = batchStatistics(scores, indices);
  const sent = mean(max(chosen(indices, experts).reshape([rows, ...byDevice]), 2), 0);
  const toDevice = affine(sent, devices / topDevices, 0);
  return affine(sum(mul(toDevice, sum(probability.reshape(byDevice), 1))), alpha, 0);
}

function perDevice(experts: number, devices: number): [number, number] {
  check(
    experts % devices === 0,
    () => `deviceBalanceLoss: expected devices dividing ${experts} experts, got ${devices}`,
  );
  return [devices, experts / devices];
}

function batchStatistics(scores: Tensor, indices: Tensor): { frequency: Tensor; probability: Tensor } {
  const experts = scores.shape[1] as number;
  const k = indices.shape[1] as number;
  return {
    frequency: affine(mean(chosen(indices, experts), 0), experts / k, 0),
    probability: mean(scores, 0),
  };
}

/**
 * Moves the correction bias towards even load, in place: each b_i by +gamma when expert i was chosen less
 * than the mean, -gamma when more, 0 when equal. `load` is of the whole batch, in any unit.
 * @param bias [E]; @param load f32 [E] in a transient arena
 */
export function updateBias(
  bias: Tensor,
  load: Tensor,
  { gamma, centred = false }: { gamma: number; centred?: boolean },
): void {
  check(
    isTensor(load) && load.size === bias.size,
    () => `updateBias: expected load [${bias.size}], got [${load.shape.join(', ')}]`,
  );
  // Loads are counts, so a difference from the mean is at least 1 / E: the slope makes the clamp a sign.
  const error = neg(sub(load, mean(load, 0)));
  let sign = clamp(affine(error, 1e9, 0), -1, 1);
  if (centred) sign = sub(sign, mean(sign, 0));
  call('accumulate', [sign, bias], { scale: gamma });
}
