/**
 * Settings of soft token merging and dynamic token inflation, and their checks.
 */
import { MinkeError } from '@minke/core';

/**
 * What an entry takes from the tokens before its boundary: their weighted mean by count (`mass`), the same through a
 * learned gate for each channel (`gated`), or nothing (`select`, H-Net's choice).
 */
export type MergeMix = 'mass' | 'gated' | 'select';

/**
 * Who decides about boundaries: a router that learns by what tokens are (`learned`), one that also knows how many came
 * since the latest boundary and begins as every N-th token (`paced`), the caller by what tokens are (`tokens`, see
 * `entropyBoundaries`), or, to compare with them, every N-th token (`stride`) or each token with the probability 1 / N
 * (`random`), whatever the text says.
 */
export type MergeRouter = (typeof routers)[number];

const routers = ['learned', 'paced', 'tokens', 'stride', 'random'] as const;

/** Settings of a `SoftTokenMerger`. */
export interface MergerConfig {
  /** Width of the tokens' states, D. */
  readonly hiddenSize: number;
  /** A token is a boundary where its probability is at least this, in [0, 1]; at 0 every token is one. Default 0.5. */
  readonly threshold?: number;
  /** Most tokens an entry stands for, at least 1. Default 8. */
  readonly maxRun?: number;
  /** Default `gated`. */
  readonly mix?: MergeMix;
  /** Default `learned`. `tokens`, `stride` and `random` have no weights and decide in place of a router: by force. */
  readonly router?: MergeRouter;
  /** N of all but `learned`, from 1 to `maxRun`; 1.5 is two boundaries in three tokens. `tokens` only records it. Default 2. */
  readonly tokensPerEntry?: number;
  /** Of `random`, a whole number of 0 or more. Default 0. */
  readonly seed?: number;
}

/** Settings of a `DynamicTokenInflator`. */
export interface InflatorConfig {
  /** Width of the tokens' states, D. */
  readonly hiddenSize: number;
  /** As that of the merger. Default 8. */
  readonly maxRun?: number;
  /** Mixes each entry's change with that of the entries before it, by boundary probability. Default true. */
  readonly smoothing?: boolean;
  /**
   * A learned scale for each distance from the boundary; without it the change is repeated. Default false: it does not
   * pay in our study.
   */
  readonly offsets?: boolean;
  /** A learned, gated correction from the token's own state beyond its boundary. Default false. */
  readonly refine?: boolean;
}

/**
 * Settings of an inflator that only copies back: every token gets the change of its entry as it is. What inflation is
 * to be compared with.
 *
 * @example
 * DynamicTokenInflator.init({ hiddenSize: 64, ...copyBack }, { backend });
 */
export const copyBack = {
  smoothing: false,
  offsets: false,
  refine: false,
} as const satisfies Partial<InflatorConfig>;

/** Throws `invalid-config` with every problem. */
function report(where: string, problems: readonly string[]): void {
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `${where}: expected ${problems.join('; ')}`);
}

const positive = (name: string, value: number): string[] =>
  Number.isSafeInteger(value) && value >= 1 ? [] : [`${name} a whole number of 1 or more, got ${value}`];

/** What is wrong with who decides about boundaries, each as "expected" continues it. */
export function routerProblems({
  router = 'learned',
  tokensPerEntry = 2,
  seed = 0,
  maxRun = 8,
}: Pick<MergerConfig, 'router' | 'tokensPerEntry' | 'seed' | 'maxRun'>): string[] {
  return [
    ...(routers.includes(router)
      ? []
      : [`router ${routers.slice(0, -1).join(', ')} or ${routers.at(-1)}, got ${router}`]),
    ...(router === 'learned' || (tokensPerEntry >= 1 && tokensPerEntry <= maxRun)
      ? []
      : [`tokensPerEntry from 1 to maxRun ${maxRun}, got ${tokensPerEntry}`]),
    ...(Number.isSafeInteger(seed) && seed >= 0 ? [] : [`seed a whole number of 0 or more, got ${seed}`]),
  ];
}

/** The settings with their defaults. Throws `invalid-config` naming all problems. */
export function resolveMergerConfig(config: MergerConfig): Required<MergerConfig> {
  const { hiddenSize, threshold = 0.5, maxRun = 8, mix = 'gated' } = config;
  const { router = 'learned', tokensPerEntry = 2, seed = 0 } = config;
  report('SoftTokenMerger', [
    ...positive('hiddenSize', hiddenSize),
    ...(threshold >= 0 && threshold <= 1 ? [] : [`threshold in [0, 1], got ${threshold}`]),
    ...positive('maxRun', maxRun),
    ...(['mass', 'gated', 'select'].includes(mix) ? [] : [`mix mass, gated or select, got ${mix}`]),
    ...routerProblems({ router, tokensPerEntry, seed, maxRun }),
  ]);
  return { hiddenSize, threshold, maxRun, mix, router, tokensPerEntry, seed };
}

/** The settings with their defaults. Throws `invalid-config` naming all problems. */
export function resolveInflatorConfig(config: InflatorConfig): Required<InflatorConfig> {
  const { hiddenSize, maxRun = 8, smoothing = true, offsets = false, refine = false } = config;
  report('DynamicTokenInflator', [...positive('hiddenSize', hiddenSize), ...positive('maxRun', maxRun)]);
  return { hiddenSize, maxRun, smoothing, offsets, refine };
}
