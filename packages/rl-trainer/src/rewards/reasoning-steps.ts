/**
 * Rewards visible structure: min(1, markers / 3), where a marker is `Step n:`, a numbered or bulleted line, or
 * First, Second, Next, Finally followed by a comma.
 *
 * open-r1's `reasoning_steps_reward` (https://github.com/huggingface/open-r1). It is easily hacked, since markers
 * need no content: use it to log, or early and with a small weight.
 */
import { check } from '@minke/core';
import { perCompletion, type Reward } from './reward.ts';

const marker = /Step \d+:|^[ \t]*\d{1,3}\.\s|^[ \t]*[-*]\s|\b(?:First|Second|Next|Finally),/gm;

/** min(1, number of markers / `enough`); `enough` is 3 by default. */
export function reasoningStepsReward(options: { readonly enough?: number } = {}): Reward {
  const { enough = 3 } = options;
  check(
    enough >= 1,
    () => `reasoningStepsReward: expected enough >= 1, got ${enough}; pass the markers that earn 1`,
  );
  return perCompletion(({ completion }) => Math.min(1, (completion.match(marker)?.length ?? 0) / enough));
}
