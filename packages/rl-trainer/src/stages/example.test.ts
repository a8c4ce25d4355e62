import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const example = fileURLToPath(new URL('../../examples/grpo.ts', import.meta.url));
const model = fileURLToPath(new URL('../../../tiny-reasoner/model', import.meta.url));
const [before, argument] = [process.cwd(), process.argv[2]];

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-example-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

it("the README's example of reinforcement learning runs, word for word", async () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  expect(readme).toContain(`\`\`\`ts\n${readFileSync(example, 'utf8')}\`\`\``);
  if (!existsSync(join(model, 'config.json'))) throw new Error(`expected the published model in ${model}`);
  process.argv[2] = model;
  process.chdir(root);
  try {
    await import(example);
  } finally {
    process.chdir(before);
    process.argv[2] = argument as string;
  }
  const [run] = readdirSync(root);
  const lines = readFileSync(join(root, run as string, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(JSON.parse(line)['rollout/logprob_diff_max']).toBe(0);
});
