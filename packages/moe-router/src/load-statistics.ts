/**
 * How even a layer's expert load is, in the literature's terms. MaxVio: Wang et al., "Auxiliary-loss-free
 * load balancing strategy for mixture-of-experts", arXiv 2408.15664, section 4.1.
 */
export interface LoadStatistics {
  /** max load / mean load - 1; 0 is perfect. */
  readonly maxVio: number;
  /** min load / mean load; 0 means an unused expert. */
  readonly minShare: number;
  /** Experts never chosen. */
  readonly dead: number;
  /** Standard deviation / mean. */
  readonly variation: number;
  /** Entropy of the load over log E; 1 is perfect. */
  readonly entropy: number;
}

/** Statistics of one layer's counts per expert. An all-zero load reports every expert dead. */
export function loadStatistics(load: ArrayLike<number>): LoadStatistics {
  const counts = Array.from(load);
  const total = counts.reduce((a, b) => a + b, 0);
  const dead = counts.filter((count) => count === 0).length;
  if (total === 0) return { maxVio: 0, minShare: 0, dead, variation: 0, entropy: 0 };
  const mean = total / counts.length;
  const variance = counts.reduce((a, count) => a + (count - mean) ** 2, 0) / counts.length;
  const entropy = counts.reduce(
    (a, count) => (count > 0 ? a - (count / total) * Math.log(count / total) : a),
    0,
  );
  return {
    maxVio: Math.max(...counts) / mean - 1,
    minShare: Math.min(...counts) / mean,
    dead,
    variation: Math.sqrt(variance) / mean,
    entropy: counts.length > 1 ? entropy / Math.log(counts.length) : 1,
  };
}
