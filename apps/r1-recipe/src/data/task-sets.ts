/**
 * The task mix of the recipe, "R1-mini", as plain data: which families at which levels, how often, and what stays for
 * out-of-distribution measurements.
 *
 * 60 % reasoning (sums and differences of up to 3 digits, products of up to 2, greatest common divisors, bases, counting
 * letters, sorting and comparing, parity, two search tasks with tries) and 40 % general requests. Levels keep thoughts at
 * 20 to 100 tokens. A set beyond the training distribution holds the next level of those families that have one.
 */
import type { Difficulty, FamilyName } from '@minke/reasoning-tasks';
import type { GeneralKind } from './general-facts.ts';

/** Relative frequencies of levels. */
export type Levels = Readonly<Partial<Record<Difficulty, number>>>;

/** A family in a set. */
export interface Entry {
  /** Relative frequency of the family. */
  readonly weight: number;
  readonly levels: Levels;
}

/** A set of tasks. */
export interface TaskSet {
  readonly reasoning: Readonly<Partial<Record<FamilyName, Entry>>>;
  readonly general: Readonly<Partial<Record<GeneralKind, number>>>;
  /** Share of general requests, in [0, 1]. */
  readonly generalShare: number;
  /** Share of questions in Spanish, in [0, 1]. */
  readonly spanish: number;
}

const arithmetic = {
  chain_sum: { weight: 0.15, levels: { 1: 0.2, 2: 0.3, 3: 0.5 } },
  products: { weight: 0.12, levels: { 1: 0.1, 2: 0.4, 3: 0.5 } },
  gcd: { weight: 0.17, levels: { 1: 0.6, 2: 0.4 } },
  base_conversion: { weight: 0.13, levels: { 1: 1 } },
  letter_counting: { weight: 0.15, levels: { 1: 0.3, 2: 0.4, 3: 0.3 } },
  // Learnt last of all, so it is given the most.
  number_sorting: { weight: 0.22, levels: { 1: 0.2, 2: 0.25, 3: 0.55 } },
  number_comparison: { weight: 0.06, levels: { 1: 0.2, 2: 0.3, 3: 0.5 } },
} as const satisfies TaskSet['reasoning'];

const search = {
  signed_sum: { weight: 0.8, levels: { 1: 0.35, 2: 0.35, 3: 0.3 } },
  countdown: { weight: 0.2, levels: { 1: 1 } },
} as const satisfies TaskSet['reasoning'];

const parity = {
  parity: { weight: 1, levels: { 1: 0.1, 2: 0.2, 3: 0.7 } },
} as const satisfies TaskSet['reasoning'];

const chat = {
  greeting: 0.15,
  identity: 0.15,
  capitals: 0.2,
  list: 0.2,
  harmful: 0.15,
  off_ground: 0.15,
} as const satisfies TaskSet['general'];

/** Entries with their weights divided so that they add up to `share`. */
function scaled(entries: TaskSet['reasoning'], share: number): TaskSet['reasoning'] {
  const sum = Object.values(entries).reduce((total, { weight }) => total + weight, 0);
  return Object.fromEntries(
    Object.entries(entries).map(([name, { weight, levels }]) => [
      name,
      { weight: (weight * share) / sum, levels },
    ]),
  );
}

const reasoning = { ...scaled(arithmetic, 0.7), ...scaled(search, 0.22), ...scaled(parity, 0.08) };

/** Entries all at one level. */
function only(level: Difficulty, names: readonly FamilyName[]): TaskSet['reasoning'] {
  return Object.fromEntries(names.map((name) => [name, { weight: 1, levels: { [level]: 1 } }]));
}

const spanish = 0.4;
const ofReasoning = (entries: TaskSet['reasoning']): TaskSet => ({
  reasoning: entries,
  general: {},
  generalShare: 0,
  spanish,
});

const beyondArithmetic = { ...only(3, ['gcd']), ...only(2, ['base_conversion']) };
const beyondSearch = { ...only(4, ['signed_sum']), ...only(2, ['countdown']) };
const beyondParity = only(4, ['parity']);

/** The named sets. Those with `beyond-` lie outside what is trained. */
export const taskSets = {
  /** Everything: 60 % reasoning, 40 % general. */
  'r1-mini': { reasoning, general: chat, generalShare: 0.4, spanish },
  arithmetic: ofReasoning(arithmetic),
  search: ofReasoning(search),
  /** What is derived, not searched for: 85 % arithmetic, 15 % parity. */
  derived: ofReasoning({ ...scaled(arithmetic, 0.85), ...scaled(parity, 0.15) }),
  parity: ofReasoning(parity),
  /** Where tries pay: two thirds search, the rest so that nothing else is forgotten. */
  evolution: ofReasoning({ ...scaled(search, 0.66), ...scaled(arithmetic, 0.3), ...scaled(parity, 0.04) }),
  /** All reasoning families: 70 % arithmetic, 22 % search, 8 % parity. */
  reasoning: ofReasoning(reasoning),
  general: { reasoning: {}, general: chat, generalShare: 1, spanish },
  'beyond-arithmetic': ofReasoning(beyondArithmetic),
  'beyond-search': ofReasoning(beyondSearch),
  'beyond-parity': ofReasoning(beyondParity),
  'beyond-reasoning': ofReasoning({
    ...scaled(beyondArithmetic, 0.6),
    ...scaled(beyondSearch, 0.3),
    ...scaled(beyondParity, 0.1),
  }),
} as const satisfies Record<string, TaskSet>;

/** Name of a set. */
export type TaskSetName = keyof typeof taskSets;

/** The families that the recipe trains, in a fixed order. */
export const recipeFamilies = Object.keys(reasoning) as readonly FamilyName[];
