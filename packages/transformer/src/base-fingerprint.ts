/**
 * What tells the base of an adapter from others of the same shape: SHA-256 over names, shapes and the first numbers of
 * every weight. Numbers are rounded to bf16 first, so a model and its copy in bf16 have the same. A means against
 * mistakes, not against somebody who forges weights.
 */
import { float32ToBfloat16 } from '@minke/core';
import type { DeepSeekModel } from './deepseek.ts';

/** Numbers of each weight that count. */
const SAMPLE = 256;

/** 64 hexadecimal digits. An adapter of the model itself does not count. */
export async function baseFingerprint(model: DeepSeekModel): Promise<string> {
  const encoder = new TextEncoder();
  const parts: Uint8Array[] = [];
  for (const [name, tensor] of model.parameters()) {
    const first = tensor.reshape([tensor.size]).rows(0, Math.min(SAMPLE, tensor.size));
    const rounded = float32ToBfloat16(Float32Array.from(await first.read()));
    parts.push(encoder.encode(`${name} ${tensor.shape.join()}\n`), new Uint8Array(rounded.buffer));
  }
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
