/**
 * Adapters as folders in PEFT's layout: adapter_config.json and adapter_model.safetensors.
 *
 * Keys are `base_model.model.<module>.lora_A.weight` [r, in] and `.lora_B.weight` [out, r], routed experts one by one
 * (`mlp.experts.<e>.up_proj`), as PEFT writes them for models whose experts are modules, vLLM reads them and PEFT
 * converts them for transformers 5. PEFT's own keys for fused experts (`mlp.experts.lora_A`) are refused, and so is
 * whatever changes the maths: DoRA, biases, patterns of ranks, further modules. A fingerprint of the base goes into
 * the file's metadata, so that an adapter of another base of the same shape is recognised. Needs Node.
 */
import { openSafetensors, type TensorData, type TensorReader, writeSafetensors } from '@minke/checkpoints';
import { MinkeError, type Shape } from '@minke/core';
import type { Arena } from '@minke/tensor';
import { baseFingerprint } from './base-fingerprint.ts';
import type { DeepSeekModel } from './deepseek.ts';
import {
  type Lora,
  type LoraConfig,
  loraModules,
  loraProblems,
  loraShapes,
  loraTargets,
  makeLora,
} from './lora.ts';
import { publishedTensors } from './names.ts';

const PREFIX = 'base_model.model.';
const FINGERPRINT = 'minke.base_fingerprint';

/** One module of an adapter under its published name: a whole pair of ours, or one expert's part. */
interface PublishedPair {
  readonly module: string;
  readonly ours: string;
  readonly expert: number | undefined;
}

/** Published names of modules that can have an adapter, in the model's order. */
function publishedPairs(model: DeepSeekModel): PublishedPair[] {
  const modules = loraModules(model.config);
  return publishedTensors(model.config).flatMap(({ name, target }) => {
    const ours = target.name.replace(/\.weight$/, '');
    if (!modules.has(ours)) return [];
    return [{ module: name.replace(/\.weight$/, ''), ours, expert: target.expert }];
  });
}

/**
 * Writes the adapter of a model, in f32, as PEFT does: `PeftModel.from_pretrained(base, folder)` loads it.
 * Throws `invalid-argument` for a model without adapter.
 *
 * @param options `base` is written as `base_model_name_or_path`
 * @example
 * await saveLora(adapted, 'my-adapter', { base: 'deepseek-ai/DeepSeek-V2-Lite' });
 */
export async function saveLora(
  model: DeepSeekModel,
  folder: string,
  { base = null }: { readonly base?: string | null } = {},
): Promise<void> {
  const { lora } = model;
  if (lora === null)
    throw new MinkeError('invalid-argument', 'saveLora: expected a model with an adapter, got one without');
  const { mkdir, writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const entries = new Map<string, TensorData>();
  const adapted: string[] = [];
  for (const { module, ours, expert } of publishedPairs(model)) {
    const pair = lora.pairs.get(ours);
    if (pair === undefined) continue;
    adapted.push(module);
    for (const [letter, whole] of [['A', pair.a] as const, ['B', pair.b] as const]) {
      const tensor = expert === undefined ? whole : whole.rows(expert, expert + 1);
      const data = async () => Float32Array.from(await tensor.read());
      const shape = tensor.shape.slice(-2);
      entries.set(`${PREFIX}${module}.lora_${letter}.weight`, { dtype: 'F32', shape, data });
    }
  }
  const all = publishedPairs(model).map(({ module }) => module);
  await mkdir(folder, { recursive: true });
  const metadata = { format: 'pt', [FINGERPRINT]: await baseFingerprint(model) };
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), entries, { metadata });
  const text = {
    base_model_name_or_path: base,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: lora.config.alpha,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: 'LORA',
    r: lora.config.r,
    target_modules: shortest(adapted, all),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: lora.config.rslora ?? false,
  };
  await writeFile(join(folder, 'adapter_config.json'), `${JSON.stringify(text, null, 2)}\n`);
}

/** Last parts of names where they stand for no other module, else whole names. */
function shortest(adapted: readonly string[], all: readonly string[]): string[] {
  const leaf = (name: string) => name.slice(name.lastIndexOf('.') + 1);
  const chosen = new Set(adapted);
  const partial = new Set(all.filter((name) => !chosen.has(name)).map(leaf));
  return [...new Set(adapted.map((name) => (partial.has(leaf(name)) ? name : leaf(name))))].sort();
}

/**
 * An adapter from a folder that `saveLora` or PEFT wrote, for its base.
 * Throws `invalid-file` for names, shapes or a base that do not fit, `invalid-config` for absurd settings and
 * `unsupported` for kinds of adapters that are not plain LoRA; all problems together.
 *
 * @example
 * const adapted = model.withLora(await loadLora(model, 'my-adapter'));
 */
export async function loadLora(
  model: DeepSeekModel,
  folder: string,
  options: { readonly arena?: Arena } = {},
): Promise<Lora> {
  const { join } = await import('node:path');
  const { r, alpha, rslora } = await readSettings(join(folder, 'adapter_config.json'));
  const path = join(folder, 'adapter_model.safetensors');
  const file = await openSafetensors(path);
  try {
    const base = file.metadata[FINGERPRINT];
    if (base !== undefined && base !== (await baseFingerprint(model)))
      throw new MinkeError(
        'invalid-file',
        `loadLora: ${path} is an adapter of another base, whose weights are not this model's; load that base`,
      );
    const { found, targets } = fitting(model, file, r, path);
    const config: LoraConfig = { r, alpha, targets, ...(rslora && { rslora }) };
    loraTargets(model.config, config);
    const numbers = new Map<string, Float32Array>();
    for (const key of found) numbers.set(key, await file.readFloat32(key));
    const published = publishedPairs(model);
    return makeLora(model, config, options.arena, (module, { a, b }) => {
      const parts = published.filter(({ ours }) => ours === module);
      const joined = (letter: 'A' | 'B', shape: Shape) => {
        const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
        const size = data.length / parts.length;
        for (const part of parts)
          data.set(numbers.get(keyOf(part.module, letter)) as Float32Array, (part.expert ?? 0) * size);
        return data;
      };
      return { a: joined('A', a), b: joined('B', b) };
    });
  } finally {
    await file.close();
  }
}

const keyOf = (module: string, letter: 'A' | 'B'): string => `${PREFIX}${module}.lora_${letter}.weight`;

/** The settings that matter of adapter_config.json. */
async function readSettings(path: string): Promise<{ r: number; alpha: number; rslora: boolean }> {
  const { readFile } = await import('node:fs/promises');
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new MinkeError('invalid-file', `loadLora: cannot read ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
  const isEmpty = (value: unknown) =>
    value === undefined ||
    value === null ||
    value === false ||
    (typeof value === 'object' && Object.keys(value).length === 0);
  const unsupported: string[] = [];
  if (json.peft_type !== 'LORA') unsupported.push(`peft_type LORA, got ${json.peft_type}`);
  if (json.bias !== undefined && json.bias !== 'none') unsupported.push(`bias none, got ${json.bias}`);
  for (const name of ['use_dora', 'lora_bias', 'fan_in_fan_out', 'rank_pattern', 'alpha_pattern'] as const)
    if (!isEmpty(json[name])) unsupported.push(`no ${name}, got ${JSON.stringify(json[name])}`);
  for (const name of ['modules_to_save', 'trainable_token_indices', 'target_parameters'] as const)
    if (!isEmpty(json[name])) unsupported.push(`no ${name}, got ${JSON.stringify(json[name])}`);
  if (unsupported.length > 0)
    throw new MinkeError('unsupported', `loadLora: ${path}: expected ${unsupported.join('; ')}`);
  const settings = {
    r: json.r as number,
    alpha: json.lora_alpha as number,
    rslora: json.use_rslora === true,
  };
  const problems = loraProblems(settings);
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `loadLora: ${path}: expected ${problems.join('; ')}`);
  return settings;
}

/** The keys of a file, and the modules of ours they make up. Throws naming everything that does not fit. */
function fitting(model: DeepSeekModel, file: TensorReader, r: number, path: string) {
  const modules = loraModules(model.config);
  const problems: string[] = [];
  const found = new Set<string>();
  const targets = new Set<string>();
  const pairs = publishedPairs(model);
  for (const { module, ours } of pairs)
    if (file.tensors.has(keyOf(module, 'A')) || file.tensors.has(keyOf(module, 'B'))) targets.add(ours);
  for (const { module, ours } of pairs) {
    if (!targets.has(ours)) continue;
    const shapes = loraShapes((modules.get(ours) as Shape).slice(-2), r);
    for (const [letter, shape] of [['A', shapes.a] as const, ['B', shapes.b] as const]) {
      const key = keyOf(module, letter);
      const actual = file.tensors.get(key)?.shape;
      if (actual === undefined) problems.push(`${key} is missing`);
      else if (actual.join() !== shape.join())
        problems.push(`${key} is [${actual.join(', ')}] instead of [${shape.join(', ')}]`);
      found.add(key);
    }
  }
  for (const key of file.tensors.keys())
    if (!found.has(key)) problems.push(`${key} belongs to no module of this model`);
  if (found.size === 0) problems.push('there are no adapter matrices');
  if (problems.length > 0) {
    const rest = problems.length > 8 ? `; and ${problems.length - 8} more` : '';
    throw new MinkeError(
      'invalid-file',
      `loadLora: expected an adapter of this model in ${path}, but ${problems.slice(0, 8).join('; ')}${rest}`,
      { details: { problems } },
    );
  }
  return { found, targets: [...targets] };
}
