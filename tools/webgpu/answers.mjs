// Greedy answers of the embedded model to 50 held-out problems: the same tokens on every backend, or, where they
// part, two best logits less than 1e-3 from each other, where rounding may decide.

import { createBackend } from '../../packages/gpu-backends/dist/index.js';
import { Engine, loadLanguageModel } from '../../packages/inference/dist/index.js';
import { familyNames, heldOut } from '../../packages/reasoning-tasks/dist/index.js';
import { Arena } from '../../packages/tensor/dist/index.js';
import { modelFolder } from '../../packages/tiny-reasoner/dist/index.js';
import { encodeChat } from '../../packages/tokenizer-merging/dist/chat/index.js';
import { secondsSince } from '../scripts/steps.mjs';

const smallestMargin = 1e-3;
const count = 50;
const perFamily = Math.ceil(count / familyNames.length);
const problems = familyNames
  .flatMap((family) => heldOut(family, 'test', { seed: 5, count: perFamily }))
  .slice(0, count);

/** Greedy answers as token ids, all in one batch. */
async function answer(name, some) {
  const start = performance.now();
  const backend = await createBackend(name);
  const language = await loadLanguageModel(modelFolder, { backend });
  const engine = new Engine(language.model, { maxSequences: some.length });
  const answers = await Promise.all(
    some.map(async ({ prompt }) => {
      const { ids } = encodeChat(language.tokenizer, language.template, [{ role: 'user', content: prompt }], {
        addGenerationPrompt: true,
      });
      const tokens = [];
      const request = {
        promptIds: ids,
        maxNewTokens: engine.contextLength,
        sampling: { ...language.sampling, temperature: 0 },
        seed: 0,
        stopTokenIds: language.stopTokenIds,
      };
      for await (const { token } of engine.generate(request)) tokens.push(token);
      return { prompt: ids, tokens };
    }),
  );
  await engine.dispose();
  const text = language.tokenizer.decode(answers[0].tokens);
  backend.dispose();
  const total = answers.reduce((sum, { tokens }) => sum + tokens.length, 0);
  console.log(
    `${name}: ${some.length} answers, ${total} tokens in ${secondsSince(start).toFixed(1)} s; ${JSON.stringify(some[0].prompt)} ends ${JSON.stringify(text.slice(-30))}`,
  );
  return answers;
}

/** How far the two best logits after `ids` are apart, by the WebAssembly kernels. */
async function marginAfter(ids) {
  const backend = await createBackend('wasm');
  const { model } = await loadLanguageModel(modelFolder, { backend });
  const arena = new Arena(backend, { label: 'margin' });
  const { logits } = model.forward(model.batch(arena, [ids]), { outputs: 'last' });
  const [best, second] = Array.from(await logits.read()).sort((a, b) => b - a);
  backend.dispose();
  return best - second;
}

let passed = 0;
let failed = 0;
const names = process.argv.slice(2).length > 0 ? process.argv.slice(2) : ['native', 'webgpu', 'reference'];
const expected = await answer('wasm', problems);
for (const name of names) {
  const answers = await answer(name, problems);
  for (const [i, { prompt, tokens }] of answers.entries()) {
    const want = expected[i].tokens;
    const at = want.findIndex((token, t) => token !== tokens[t]);
    if (at < 0) {
      passed++;
      continue;
    }
    const margin = await marginAfter([...prompt, ...want.slice(0, at)]);
    const excused = margin < smallestMargin;
    console.log(
      `${excused ? 'near tie' : 'FAILED'} ${name}, ${JSON.stringify(problems[i].prompt)}: token ${at} differs, margin ${margin.toExponential(1)}`,
    );
    if (excused) passed++;
    else failed++;
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
