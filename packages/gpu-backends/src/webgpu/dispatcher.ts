/**
 * Collects the dispatches of one submit and hands them to the queue as one command buffer.
 *
 * All dispatches share one compute pass, in which WebGPU keeps their order; their parameters lie in one uniform
 * buffer at dynamic offsets. A dispatch may not bind a buffer for writing and once more: where tensors of one
 * call share a buffer, all but one written occurrence move to temporary memory, copied in before and, when
 * written, back afterwards.
 */
import type { Block, MemoryPool } from './memory-pool.ts';
import { GPUBufferUsageFlags } from './memory-pool.ts';
import { groupSize, parameterBytes, type Shader } from './shader.ts';

/** Part of a block, in units of `unit` bytes. */
export interface View {
  readonly block: Block;
  readonly at: number;
  readonly length: number;
  readonly unit: number;
}

interface Dispatch {
  readonly kind: 'dispatch';
  readonly shader: Shader;
  readonly blocks: readonly Block[];
  readonly groups: number;
}

interface Copy {
  readonly kind: 'copy';
  readonly from: Block;
  readonly fromByte: number;
  readonly to: Block;
  readonly toByte: number;
  readonly bytes: number;
}

interface Compiled {
  readonly id: number;
  readonly layout: GPUBindGroupLayout;
  readonly pipeline: GPUComputePipeline;
}

const mostGroups = 65535;
const mostBindGroups = 8192;

/** The first and last whole word around a view, in bytes. */
function words({ at, length, unit }: View): [start: number, bytes: number] {
  const start = Math.floor((at * unit) / 4) * 4;
  return [start, Math.ceil(((at + length) * unit - start) / 4) * 4];
}

export class Dispatcher {
  readonly #device: GPUDevice;
  readonly #pool: MemoryPool;
  readonly #compiled = new Map<Shader, Compiled>();
  readonly #bindGroups = new Map<string, GPUBindGroup>();
  readonly #steps: (Dispatch | Copy)[] = [];
  #words = new ArrayBuffer(64 * parameterBytes);
  #view = new DataView(this.#words);
  #dispatches = 0;
  #parameters: GPUBuffer | undefined;

  constructor(device: GPUDevice, pool: MemoryPool) {
    this.#device = device;
    this.#pool = pool;
  }

  /** Temporary memory of `length` words, free again when `use` returns. */
  scratch(length: number, use: (view: View) => void): void {
    const block = this.#pool.acquire(Math.max(length, 1) * 4);
    use({ block, at: 0, length, unit: 4 });
    this.#pool.release(block);
  }

  /** One thread for each of `count`. */
  each<B extends string, P extends string>(
    shader: Shader<B, P>,
    buffers: Readonly<Record<B, View>>,
    parameters: Readonly<Record<P, number>>,
    count: number,
  ): void {
    this.groups(shader, buffers, parameters, Math.ceil(count / groupSize));
  }

  /** `count` workgroups; nothing when it is 0. */
  groups<B extends string, P extends string>(
    shader: Shader<B, P>,
    buffers: Readonly<Record<B, View>>,
    parameters: Readonly<Record<P, number>>,
    count: number,
  ): void {
    if (count === 0) return;
    const names = Object.keys(shader.buffers) as B[];
    const views: View[] = names.map((name) => buffers[name]);
    const written = names.map((name) => shader.buffers[name].written);
    const moved: { index: number; original: View; block: Block }[] = [];
    views.forEach((view, index) => {
      const clash = views.some(
        (other, j) =>
          j !== index &&
          other.block === view.block &&
          // A reader gives way to any writer, a writer to the writers before it.
          (written[index] ? written[j] && j < index : written[j]),
      );
      if (clash) moved.push({ index, original: view, block: this.#pool.acquire(words(view)[1] || 4) });
    });
    for (const { index, original, block } of moved) {
      const [start, bytes] = words(original);
      this.#copy(original.block, start, block, 0, bytes);
      views[index] = { ...original, block, at: original.at - start / original.unit };
    }
    this.#writeParameters(shader, views, parameters);
    this.#steps.push({ kind: 'dispatch', shader, blocks: views.map(({ block }) => block), groups: count });
    for (const { index, original, block } of moved) {
      const [start, bytes] = words(original);
      if (written[index]) this.#copy(block, 0, original.block, start, bytes);
      this.#pool.release(block);
    }
  }

  /** Sends what was collected. */
  flush(): void {
    const steps = this.#steps.splice(0);
    const dispatches = this.#dispatches;
    this.#dispatches = 0;
    if (steps.length === 0) return;
    const parameters = this.#upload(dispatches);
    const encoder = this.#device.createCommandEncoder();
    let pass: GPUComputePassEncoder | undefined;
    let index = 0;
    for (const step of steps) {
      if (step.kind === 'copy') {
        pass?.end();
        pass = undefined;
        encoder.copyBufferToBuffer(step.from.gpu, step.fromByte, step.to.gpu, step.toByte, step.bytes);
        continue;
      }
      pass ??= encoder.beginComputePass();
      const compiled = this.#compile(step.shader);
      pass.setPipeline(compiled.pipeline);
      pass.setBindGroup(0, this.#bindGroup(compiled, step.blocks, parameters), [index++ * parameterBytes]);
      const rows = Math.ceil(step.groups / mostGroups);
      pass.dispatchWorkgroups(Math.ceil(step.groups / rows), rows);
    }
    pass?.end();
    this.#device.queue.submit([encoder.finish()]);
  }

  /** Forgets what was collected and not sent. */
  discard(): void {
    this.#steps.length = 0;
    this.#dispatches = 0;
  }

  dispose(): void {
    this.#parameters?.destroy();
    this.#bindGroups.clear();
  }

  #copy(from: Block, fromByte: number, to: Block, toByte: number, bytes: number): void {
    if (bytes > 0) this.#steps.push({ kind: 'copy', from, fromByte, to, toByte, bytes });
  }

  #writeParameters(shader: Shader, views: readonly View[], values: Readonly<Record<string, number>>): void {
    let at = this.#dispatches++ * parameterBytes;
    if (at === this.#words.byteLength) {
      const larger = new ArrayBuffer(2 * at);
      new Uint8Array(larger).set(new Uint8Array(this.#words));
      this.#words = larger;
      this.#view = new DataView(larger);
    }
    this.#view.setUint32(at, 0x7f800000, true);
    for (const view of views) this.#view.setUint32((at += 4), view.at, true);
    for (const [name, type] of Object.entries(shader.parameters)) {
      at += 4;
      const value = values[name] as number;
      if (type === 'f32') this.#view.setFloat32(at, value, true);
      else this.#view.setInt32(at, value, true);
    }
  }

  #upload(dispatches: number): GPUBuffer {
    const bytes = dispatches * parameterBytes;
    if (this.#parameters === undefined || this.#parameters.size < bytes) {
      this.#parameters?.destroy();
      this.#bindGroups.clear();
      this.#parameters = this.#device.createBuffer({
        size: this.#words.byteLength,
        usage: GPUBufferUsageFlags.uniform | GPUBufferUsageFlags.copyTarget,
      });
    }
    if (bytes > 0) this.#device.queue.writeBuffer(this.#parameters, 0, this.#words, 0, bytes);
    return this.#parameters;
  }

  #compile(shader: Shader): Compiled {
    const known = this.#compiled.get(shader);
    if (known !== undefined) return known;
    const compute = 4; // GPUShaderStage.COMPUTE
    const layout = this.#device.createBindGroupLayout({
      label: shader.name,
      entries: [
        { binding: 0, visibility: compute, buffer: { type: 'uniform', hasDynamicOffset: true } },
        ...Object.values(shader.buffers).map(({ written }, index) => ({
          binding: index + 1,
          visibility: compute,
          buffer: { type: written ? ('storage' as const) : ('read-only-storage' as const) },
        })),
      ],
    });
    const pipeline = this.#device.createComputePipeline({
      label: shader.name,
      layout: this.#device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module: this.#device.createShaderModule({ label: shader.name, code: shader.code }) },
    });
    const compiled = { id: this.#compiled.size, layout, pipeline };
    this.#compiled.set(shader, compiled);
    return compiled;
  }

  #bindGroup({ id, layout }: Compiled, blocks: readonly Block[], parameters: GPUBuffer): GPUBindGroup {
    const key = `${id}:${blocks.map((block) => block.id).join(',')}`;
    const known = this.#bindGroups.get(key);
    if (known !== undefined) return known;
    if (this.#bindGroups.size >= mostBindGroups) this.#bindGroups.clear();
    const group = this.#device.createBindGroup({
      layout,
      entries: [
        { binding: 0, resource: { buffer: parameters, size: parameterBytes } },
        ...blocks.map(({ gpu }, index) => ({ binding: index + 1, resource: { buffer: gpu } })),
      ],
    });
    this.#bindGroups.set(key, group);
    return group;
  }
}
