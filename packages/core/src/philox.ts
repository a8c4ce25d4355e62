/**
 * Philox4x32-10, a counter-based random number generator: the same key and counter give the same numbers on
 * every machine, and a stream can be resumed from its position alone.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, table 2 and
 * figure 4. Deviation: none; known-answer vectors of the authors' Random123 are in the test.
 */
const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** The upper word of a 64-bit product, in 32-bit integer arithmetic throughout: the engine keeps it in registers. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) >>> 0;
  const cross = ((middle & 0xffff) + Math.imul(aLow, bHigh)) >>> 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (cross >>> 16)) | 0;
}

/** One block of Philox4x32-10: four 32-bit words from a 4-word counter and a 2-word key. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, c0);
    const low0 = Math.imul(M0, c0);
    const high1 = mulHigh(M1, c2);
    const low1 = Math.imul(M1, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + W0) | 0;
    k1 = (k1 + W1) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** Where a stream stands: everything needed to continue it exactly. Plain JSON. */
export interface RandomState {
  readonly seed: number;
  readonly stream: number;
  /** 32-bit words drawn so far. */
  readonly position: number;
}

/**
 * A seeded stream of random numbers.
 *
 * @example
 * const random = new Random(7);
 * random.uniform(); // in [0, 1)
 * const state = random.state(); // later: Random.from(state)
 */
export class Random {
  readonly seed: number;
  readonly stream: number;
  #position = 0;
  #block: [number, number, number, number] = [0, 0, 0, 0];
  #blockIndex = -1;

  /** @param seed integer in [0, 2^53); @param stream integer in [0, 2^32), independent streams of one seed. */
  constructor(seed: number, stream = 0) {
    this.seed = seed;
    this.stream = stream;
  }

  /** A stream that continues where `state` was taken. */
  static from(state: RandomState): Random {
    const random = new Random(state.seed, state.stream);
    random.#position = state.position;
    return random;
  }

  /** The position to resume from. */
  state(): RandomState {
    return { seed: this.seed, stream: this.stream, position: this.#position };
  }

  /** An independent stream derived from this seed; does not advance this one. */
  fork(stream: number): Random {
    return new Random(this.seed, (Math.imul(this.stream, 0x9e3779b1) + stream + 1) >>> 0);
  }

  /** A 32-bit unsigned integer. */
  uint32(): number {
    const position = this.#position++;
    const index = Math.floor(position / 4);
    if (index !== this.#blockIndex) {
      const counter = [index >>> 0, Math.floor(index / 0x100000000) >>> 0, this.stream >>> 0, 0] as const;
      this.#block = philox4x32(counter, [this.seed >>> 0, Math.floor(this.seed / 0x100000000) >>> 0]);
      this.#blockIndex = index;
    }
    return this.#block[position - 4 * index] as number;
  }

  /** A double in [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** An integer in [low, high), unbiased. */
  integer(low: number, high: number): number {
    const range = high - low;
    const limit = Math.floor(0x100000000 / range) * range;
    let word = this.uint32();
    while (word >= limit) word = this.uint32();
    return low + (word % range);
  }

  /** A standard normal (Box-Muller, one value a call so that the position alone is the state). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** One element of a non-empty array. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length)] as T;
  }

  /** Shuffles in place (Fisher-Yates) and returns the array. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(0, i + 1);
      [items[i], items[j]] = [items[j] as T, items[i] as T];
    }
    return items;
  }
}
