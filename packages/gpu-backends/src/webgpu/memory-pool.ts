/**
 * GPU buffers by size, used again once released.
 *
 * A queue runs what it is given in order, so a buffer can be handed out again while work submitted earlier still
 * uses it: whatever writes it next comes later. Beyond `keptBytes` released buffers are destroyed, which WebGPU
 * also defers until submitted work has ended.
 */

/** A GPU buffer with a number that names it in keys. */
export interface Block {
  readonly id: number;
  readonly gpu: GPUBuffer;
  readonly bytes: number;
}

const keptBytes = 256 * 2 ** 20;

/** Few sizes, so that blocks are found again: powers of two, then multiples of 64 KiB. */
function blockBytes(bytes: number): number {
  if (bytes > 65536) return Math.ceil(bytes / 65536) * 65536;
  let size = 64;
  while (size < bytes) size *= 2;
  return size;
}

export class MemoryPool {
  readonly #device: GPUDevice;
  readonly #free = new Map<number, Block[]>();
  #kept = 0;
  #next = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  acquire(bytes: number): Block {
    const size = Math.min(blockBytes(bytes), this.#device.limits.maxStorageBufferBindingSize);
    const found = this.#free.get(size)?.pop();
    if (found !== undefined) {
      this.#kept -= found.bytes;
      return found;
    }
    const usage =
      GPUBufferUsageFlags.storage | GPUBufferUsageFlags.copySource | GPUBufferUsageFlags.copyTarget;
    return { id: this.#next++, gpu: this.#device.createBuffer({ size, usage }), bytes: size };
  }

  release(block: Block): void {
    if (this.#kept + block.bytes > keptBytes) {
      block.gpu.destroy();
      return;
    }
    this.#kept += block.bytes;
    const same = this.#free.get(block.bytes);
    if (same === undefined) this.#free.set(block.bytes, [block]);
    else same.push(block);
  }

  /** Destroys what was released. */
  dispose(): void {
    for (const blocks of this.#free.values()) for (const { gpu } of blocks) gpu.destroy();
    this.#free.clear();
  }
}

/** WebGPU's numbers for buffer usage: Node has no global `GPUBufferUsage`. */
export const GPUBufferUsageFlags = {
  mapRead: 0x1,
  copySource: 0x4,
  copyTarget: 0x8,
  uniform: 0x40,
  storage: 0x80,
} as const;
