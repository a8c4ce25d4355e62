import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const model = fileURLToPath(new URL('../../../tiny-reasoner/model', import.meta.url));
const [before, argument] = [process.cwd(), process.argv[2]];

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-example-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Runs an example of the README, word for word, in a new folder. */
async function run(name: string): Promise<string> {
  const example = fileURLToPath(new URL(`../../examples/${name}.ts`, import.meta.url));
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  expect(readme).toContain(`\`\`\`ts\n${readFileSync(example, 'utf8')}\`\`\``);
  if (!existsSync(join(model, 'config.json'))) throw new Error(`expected the published model in ${model}`);
  const folder = join(root, name);
  mkdirSync(folder);
  process.argv[2] = model;
  process.chdir(folder);
  try {
    await import(example);
  } finally {
    process.chdir(before);
    process.argv[2] = argument as string;
  }
  return folder;
}

it("the README's example of reinforcement learning runs, word for word", async () => {
  const folder = await run('grpo');
  const [made] = readdirSync(folder);
  const lines = readFileSync(join(folder, made as string, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(JSON.parse(line)['rollout/logprob_diff_max']).toBe(0);
});

it("the README's example of an adapter runs, word for word", async () => {
  const folder = await run('lora');
  const [adapter, merged] = readdirSync(folder).sort();
  expect(readdirSync(join(folder, adapter as string)).sort()).toEqual([
    'adapter_config.json',
    'adapter_model.safetensors',
  ]);
  expect(readdirSync(join(folder, merged as string))).toContain('tokenizer.json');
});
