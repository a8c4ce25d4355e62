/** What a run trained on, read from the settings that its stages recorded: families and their shares. */

/** A family's share among the tasks of its kind. */
export interface TaskShare {
  readonly set: 'problems' | 'chat';
  readonly name: string;
  /** In [0, 1]. */
  readonly share: number;
}

type Weights = Readonly<Record<string, number>>;

/** Of the first stage that names task sets; none where no stage does. */
export function taskShares(settings: readonly unknown[]): readonly TaskShare[] {
  for (const recorded of settings) {
    const { tasks } = (recorded ?? {}) as { readonly tasks?: unknown };
    if (tasks === undefined) continue;
    const sets = (Array.isArray(tasks) ? tasks : [tasks]) as {
      readonly reasoning?: Readonly<Record<string, { readonly weight: number }>>;
      readonly general?: Weights;
    }[];
    return sets.flatMap(({ reasoning = {}, general = {} }) => [
      ...shares(
        'problems',
        Object.fromEntries(Object.entries(reasoning).map(([name, { weight }]) => [name, weight])),
      ),
      ...shares('chat', general),
    ]);
  }
  return [];
}

function shares(set: TaskShare['set'], weights: Weights): TaskShare[] {
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  return Object.entries(weights).map(([name, weight]) => ({ set, name, share: weight / total }));
}
