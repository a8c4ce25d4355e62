/**
 * Tasks of a set by position, and the held-out tasks of a set.
 *
 * The task at a position depends on the set, the seed, the split and the position only, each position has its own
 * random stream, so a resumed run sees what it would have seen. Training draws from the train split and held-out tasks
 * from the test split; the hash of the canonical form decides.
 */
import { check, MinkeError, Random } from '@minke/core';
import {
  type Difficulty,
  type FamilyName,
  family,
  hash64,
  pose,
  type Split,
  split,
} from '@minke/reasoning-tasks';
import type { GeneralKind } from './general-facts.ts';
import { drawGeneral } from './general-tasks.ts';
import { reasoningTask, type Task } from './task.ts';
import { type Levels, type TaskSet, type TaskSetName, taskSets } from './task-sets.ts';

/** The task at a position, an integer in [0, 2^32). */
export type TaskAt<T extends Task = Task> = (position: number) => T;

/** One key of a table of relative frequencies. */
export function pickKey<Key extends string>(
  random: Random,
  table: Readonly<Partial<Record<Key, number>>>,
): Key {
  const entries = Object.entries(table) as [Key, number][];
  let left = random.uniform() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [key, weight] of entries) if ((left -= weight) < 0) return key;
  return (entries.findLast(([, weight]) => weight > 0) as [Key, number])[0];
}

/** A seed of its own for each name, so that sets and data kinds of one seed are independent. */
export function seedOf(seed: number, name: string): number {
  return Number(hash64(`${seed} ${name}`) & 0xffffffffffffn);
}

/** Draws in vain before a split counts as empty. */
const patience = 50_000;

function drawProblem(random: Random, name: FamilyName, levels: Levels, part: Split, spanish: number): Task {
  const difficulty = Number(pickKey(random, levels as Record<string, number>)) as Difficulty;
  const language = random.uniform() < spanish ? 'es' : 'en';
  const { draw, canonical } = family(name);
  for (let vain = 0; vain < patience; vain++) {
    const facts = draw(random, difficulty);
    if (split({ canonical: canonical(facts) }) === part)
      return reasoningTask(pose(name, facts, difficulty, random, language));
  }
  throw new MinkeError(
    'internal',
    `drawProblem: expected problems in ${name} ${part} level ${difficulty}, got none; report it`,
  );
}

/** Draws a task of a set. */
export function drawTask(random: Random, set: TaskSet, part: Split): Task {
  if (random.uniform() < set.generalShare)
    return drawGeneral(
      random,
      pickKey<GeneralKind>(random, set.general),
      part,
      random.uniform() < set.spanish ? 'es' : 'en',
    );
  const weights = Object.fromEntries(
    Object.entries(set.reasoning).map(([name, { weight }]) => [name, weight]),
  ) as Partial<Record<FamilyName, number>>;
  const name = pickKey(random, weights);
  return drawProblem(random, name, (set.reasoning[name] as { levels: Levels }).levels, part, set.spanish);
}

/**
 * The tasks of a set.
 *
 * @param seed integer in [0, 2^53)
 * @example
 * const at = tasksOf('search', { seed: 1 });
 * at(0).prompt; // 'Put + or - between 7 2 4 to make 9.'
 */
export function tasksOf(
  set: TaskSetName | TaskSet,
  { seed, split: part = 'train' }: { readonly seed: number; readonly split?: Split },
): TaskAt {
  const of = typeof set === 'string' ? taskSets[set] : set;
  const stream = seedOf(seed, `tasks ${part}`);
  return (position) => drawTask(new Random(stream, position), of, part);
}

/**
 * Different held-out tasks: what the test split has of a set, each once, in the order of their first draw. A family
 * that has few (small products, lists) is used up and gives fewer than its weight.
 *
 * @throws MinkeError `invalid-argument` where the set has not that many.
 * @example
 * const problems = heldOutProblems('reasoning', 2000, 0);
 */
export function heldOutProblems(
  set: TaskSetName | TaskSet,
  count: number,
  seed: number,
  part: Split = 'test',
): Task[] {
  const at = tasksOf(set, { seed: seedOf(seed, 'held out'), split: part });
  const found = new Map<string, Task>();
  for (let position = 0, vain = 0; found.size < count; position++) {
    const task = at(position);
    vain = found.has(task.id) ? vain + 1 : 0;
    check(
      vain < 2_000,
      () =>
        `heldOutProblems: expected ${count} different tasks of the ${part} split, got ${found.size}; ask for fewer`,
    );
    if (!found.has(task.id)) found.set(task.id, task);
  }
  return [...found.values()];
}
