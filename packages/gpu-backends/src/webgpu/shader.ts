/**
 * A kernel as data: its storage buffers, its parameters and the body of its WGSL main function.
 *
 * Every kernel runs 64 threads a workgroup. Its body sees `t` (thread of the workgroup), `group` (workgroup) and
 * `i` (thread of the dispatch), the buffers by name with `<name>_at`, where the tensor begins, and the parameters
 * as `P.<name>`. Workgroups beyond 65,535 continue in the second dimension, so `i` and `group` can run past the
 * count and bodies test for it.
 */
import { MinkeError } from '@minke/core';
import { groupText, mathsText } from './maths.ts';

/** Threads in a workgroup, of every kernel. */
export const groupSize = 64;

/** Bytes of one dispatch's parameters: the alignment WebGPU guarantees for dynamic uniform offsets. */
export const parameterBytes = 256;

/** Storage buffers every WebGPU device offers a kernel. */
const mostBuffers = 8;

type Scalar = 'u32' | 'i32' | 'f32';

export interface Slot {
  readonly type: Scalar | 'atomic<i32>';
  readonly written: boolean;
}

/** Numbers a kernel gets with each dispatch. */
export type Parameters = Readonly<Record<string, Scalar>>;

export interface Shader<B extends string = string, P extends string = string> {
  readonly name: string;
  readonly buffers: Readonly<Record<B, Slot>>;
  readonly parameters: Readonly<Record<P, Scalar>>;
  readonly code: string;
}

/** Storage a kernel only reads. */
export const reads = (type: Scalar = 'f32'): Slot => ({ type, written: false });

/** Storage a kernel writes, and may read. */
export const writes = (type: Scalar | 'atomic<i32>' = 'f32'): Slot => ({ type, written: true });

/** Assembles a kernel. `declarations` go before main: functions, workgroup memory. */
export function shader<B extends string, P extends string>(
  name: string,
  buffers: Readonly<Record<B, Slot>>,
  parameters: Readonly<Record<P, Scalar>>,
  body: string,
  declarations = '',
): Shader<B, P> {
  const names = Object.keys(buffers) as B[];
  const fields = [
    'inf_bits: u32',
    ...names.map((one) => `${one}_at: u32`),
    ...Object.entries(parameters).map(([one, type]) => `${one}: ${type}`),
  ];
  if (names.length > mostBuffers || fields.length * 4 > parameterBytes)
    throw new MinkeError(
      'internal',
      `${name}: expected at most ${mostBuffers} buffers and ${parameterBytes / 4} parameters, got ${names.length} and ${fields.length}`,
    );
  const bindings = names.map((one, index) => {
    const { type, written } = buffers[one];
    return `@group(0) @binding(${index + 1}) var<storage, ${written ? 'read_write' : 'read'}> ${one}: array<${type}>;`;
  });
  const usesGroup = /group_(sum|max)\(/.test(body + declarations);
  const code = `struct Parameters { ${fields.join(', ')} }
@group(0) @binding(0) var<uniform> P: Parameters;
${bindings.join('\n')}
${mathsText}${usesGroup ? groupText : ''}${declarations}
@compute @workgroup_size(${groupSize})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u, @builtin(local_invocation_index) t: u32) {
  let group = wid.x + wid.y * nwg.x;
  let i = group * ${groupSize}u + t;
${names.map((one) => `  let ${one}_at = P.${one}_at;`).join('\n')}
${body}
}`;
  return { name, buffers, parameters, code };
}
