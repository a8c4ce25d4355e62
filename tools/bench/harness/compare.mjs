// Measures our side and its peers in rounds that take turns, after a warm-up of each, so that a disturbance of the
// machine falls on all of them. The first side is ours. A side whose calls are so slow that it would take more
// than its budget leaves after fewer rounds; ratios are of rounds that both sides took part in.

import { setTimeout as pause } from 'node:timers/promises';
import { median } from './numbers.mjs';

/** Some libraries' threads go on spinning for tens of milliseconds after a call. */
const restMilliseconds = 80;

/** The largest relative difference between a peer's check numbers and ours. */
const tolerance = 1e-3;

/**
 * @param {Record<string, () => Promise<object>>} starts how to start each side (`side.mjs`), ours first
 * @param {{ rounds: number, roundSeconds: number, budgetSeconds?: number, warmSeconds?: number }} options
 *   `warmSeconds`: how long to run each side first; at least one call, more where compilers learn from calls
 * @returns {Promise<Record<string, { name?: string, why?: string, seconds?: number, rounds?: number[],
 *   megabytes?: number, resident?: number }>>} for each side the median seconds of a call, the seconds of each round's
 *   calls, the largest resident set and the last one
 */
export async function compare(starts, { rounds, roundSeconds, budgetSeconds = 60, warmSeconds = 0 }) {
  const sides = [];
  for (const [key, start] of Object.entries(starts)) sides.push({ key, rounds: [], ...(await start()) });
  const running = sides.filter((side) => side.measure);
  const [ours] = sides;
  for (const side of running) {
    if (ours.check && side.check) checkAgreement(side, ours);
    const estimate = await warmUp(side, roundSeconds, warmSeconds);
    side.calls = Math.max(1, Math.round(roundSeconds / estimate));
    side.limit = Math.max(1, Math.min(rounds, Math.floor(budgetSeconds / (estimate * side.calls))));
  }
  for (let round = 0; round < rounds; round++)
    for (const side of running) {
      if (round >= side.limit) continue;
      const { seconds, megabytes, resident } = await side.measure(side.calls);
      side.rounds.push(seconds / side.calls);
      Object.assign(side, { megabytes, resident });
      await pause(restMilliseconds);
    }
  for (const side of running) await side.end();
  return Object.fromEntries(sides.map((side) => [side.key, resultOf(side)]));
}

/** @returns {Promise<number>} about how many seconds a call takes */
async function warmUp(side, roundSeconds, warmSeconds) {
  let latest = (await side.measure(1)).seconds;
  for (let total = latest; total < warmSeconds; total += latest) latest = (await side.measure(1)).seconds;
  return latest < roundSeconds ? (await side.measure(3)).seconds / 3 : latest;
}

function resultOf({ name, why, details, rounds, megabytes, resident }) {
  return why ? { name, why } : { name, details, rounds, seconds: median(rounds), megabytes, resident };
}

/** How many times faster ours is: the median over common rounds, or null where a side did not run. */
export function ratioOf(ours, peer) {
  if (!ours.rounds || !peer.rounds) return null;
  const common = Math.min(ours.rounds.length, peer.rounds.length);
  return median(ours.rounds.slice(0, common).map((own, i) => peer.rounds[i] / own));
}

function checkAgreement(side, ours) {
  side.check.forEach((value, i) => {
    const own = ours.check[i];
    if (!(Math.abs(value - own) <= tolerance * Math.abs(own)))
      throw new Error(`bench: ${side.name}: expected ${own} as ours, got ${value}; not the same computation`);
  });
}
