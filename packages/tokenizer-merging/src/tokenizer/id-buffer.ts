/** A growing list of token ids over one Int32Array: no boxing and no spread of long arrays. */
export class IdBuffer {
  private data = new Int32Array(64);
  private length = 0;

  push(id: number): void {
    this.reserve(1);
    this.data[this.length++] = id;
  }

  pushAll(ids: ArrayLike<number>): void {
    this.reserve(ids.length);
    for (let i = 0; i < ids.length; i++) this.data[this.length + i] = ids[i]!;
    this.length += ids.length;
  }

  /** The ids so far, copied. */
  toArray(): Int32Array {
    return this.data.slice(0, this.length);
  }

  private reserve(extra: number): void {
    if (this.length + extra <= this.data.length) return;
    const grown = new Int32Array(Math.max(2 * this.data.length, this.length + extra));
    grown.set(this.data);
    this.data = grown;
  }
}
