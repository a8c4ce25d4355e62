/** A context for work in a folder inside a stage's. */
import { join } from 'node:path';
import type { StageContext } from '../run/index.ts';

export const inside = (context: StageContext, name: string): StageContext => ({
  ...context,
  folder: join(context.folder, name),
  input: (key) => context.input(key),
});
