import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '@minke/checkpoints';
import { createReference } from '@minke/gpu-backends/reference';
import { afterAll, expect, it } from 'vitest';
import { exportLanguageModel } from './export-language-model.ts';
import { loadLanguageModel } from './language-model.ts';
import { quantizeLanguageModel } from './quantize-language-model.ts';
import { saveLanguageModel } from './save-language-model.ts';
import { tinyPath } from './testing/gguf-model.ts';

const root = mkdtempSync(join(tmpdir(), 'minke-export-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const backend = createReference();

it('a GGUF file is exported as it is saved once loaded, file by file', async () => {
  const [saved, out] = [join(root, 'saved'), join(root, 'exported')];
  await saveLanguageModel(await loadLanguageModel(tinyPath, { backend }), saved, { dtype: 'f32' });
  await exportLanguageModel(tinyPath, out, { dtype: 'f32' });
  expect(readdirSync(out).sort()).toEqual(readdirSync(saved).sort());
  for (const name of readdirSync(saved).filter((file) => file.endsWith('.json')))
    expect(readFileSync(join(out, name), 'utf8'), name).toBe(readFileSync(join(saved, name), 'utf8'));
});

it('a quantised model becomes a plain one of the numbers that its blocks stand for', async () => {
  const [blocks, out] = [join(root, 'blocks'), join(root, 'plain')];
  await quantizeLanguageModel(tinyPath, blocks, { backend, type: 'q8_0' });
  await exportLanguageModel(blocks, out, { dtype: 'f32' });
  // The file has blocks of 8 bits itself, so that nothing is lost but what quantising keeps in bfloat16.
  const [plain, original] = await Promise.all([
    openCheckpoint(out),
    loadLanguageModel(tinyPath, { backend }),
  ]);
  for (const [name, { dtype }] of plain.tensors) {
    expect(dtype).toBe('F32');
    const expected = original.model.parameters().get(name)!.readSync();
    const got = await plain.readFloat32(name);
    for (let i = 0; i < got.length; i++)
      expect(Math.abs(got[i]! - expected[i]!)).toBeLessThanOrEqual(2 ** -8 * Math.abs(expected[i]!));
  }
  expect(plain.tensors.size).toBe(original.model.parameters().size);
  await plain.close();
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as object;
  expect(config).not.toHaveProperty('quantization_config');
  expect((await loadLanguageModel(out, { backend })).stopTokenIds).toEqual(original.stopTokenIds);
});
