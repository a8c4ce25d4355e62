/** A growing list of token ids over one Int32Array: no boxing and no spread of long arrays. */
export class IdBuffer {
  private data: Int32Array;
  private length = 0;

  /** `expected`: how many ids there may be, where that is known. */
  constructor(expected = 64) {
    this.data = new Int32Array(expected);
  }

  push(id: number): void {
    if (this.length === this.data.length) this.reserve(1);
    this.data[this.length++] = id;
  }

  /** Appends `ids[start .. start + count)`. */
  pushAll(ids: ArrayLike<number>, start = 0, count = ids.length - start): void {
    if (this.length + count > this.data.length) this.reserve(count);
    const { data, length } = this;
    for (let i = 0; i < count; i++) data[length + i] = ids[start + i]!;
    this.length = length + count;
  }

  /** The ids so far, copied. */
  toArray(): Int32Array {
    return this.data.slice(0, this.length);
  }

  private reserve(extra: number): void {
    const grown = new Int32Array(Math.max(2 * this.data.length, this.length + extra));
    grown.set(this.data);
    this.data = grown;
  }
}
