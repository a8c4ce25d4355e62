// Greedy completions of prompts by a model of this process, with or without merging: batches step together.

import { Arena } from '../../packages/tensor/dist/index.js';

/**
 * @param {object} model a `DeepSeekModel` or a `MergingTransformer`
 * @param {readonly (readonly number[])[]} prompts ids
 * @param {{ maxTokens: number, end: number }} limits of prompt and completion together, and the id that ends it
 * @returns {Promise<number[][]>} ids of the completions, without the end
 */
export async function greedy(model, prompts, { maxTokens, end }) {
  const size = { maxTokens, sequences: prompts.length, form: 'expanded' };
  const merges = 'merger' in model;
  const holder = merges ? model.createState({ ...size, rollback: 0 }) : model.createCache(size);
  const arena = new Arena(model.backend);
  const completions = prompts.map(() => []);
  let fed = prompts.map((ids, sequence) => ({ sequence, ids }));
  while (fed.length > 0) {
    const requests = fed.map(({ sequence, ids }) => ({ sequence, count: ids.length, role: 'prompt' }));
    const rows = fed.flatMap(({ ids }) => [...ids]);
    const batch = { ids: arena.tensor(rows, [rows.length], 'i32'), ...holder.append(arena, requests) };
    const past = merges ? { state: holder } : { cache: holder };
    const { logits } = await model.forward(batch, { ...past, form: 'expanded', outputs: 'last' });
    const numbers = await logits.read();
    const width = logits.shape[1];
    const next = [];
    fed.forEach(({ sequence }, row) => {
      const id = largest(numbers, row * width, width);
      const done = prompts[sequence].length + completions[sequence].length + 1 >= maxTokens;
      if (id === end) return;
      completions[sequence].push(id);
      if (!done) next.push({ sequence, ids: [id] });
    });
    fed = next;
    arena.reset();
  }
  arena.dispose();
  holder.dispose();
  return completions;
}

function largest(numbers, start, count) {
  let best = 0;
  for (let i = 1; i < count; i++) if (numbers[start + i] > numbers[start + best]) best = i;
  return best;
}
