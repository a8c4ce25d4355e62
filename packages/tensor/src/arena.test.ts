import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Backend, type CommandList, MinkeError } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { afterEach, describe, expect, test } from 'vitest';
import {
  Arena,
  add,
  affine,
  call,
  concat,
  exp,
  isTensor,
  linear,
  mul,
  neg,
  reportLeaks,
  scatterRows,
  square,
  sum,
  type Tensor,
} from './index.ts';

const reference = createReference();
const numbers = (t: Tensor) => Array.from(t.readSync());

test('a constant of a persistent arena fills whole tensors, whatever their size', () => {
  const owner = new Arena(reference, { persistent: true });
  const sizes = [0, 1, 2 ** 16, 2 ** 16 + 1, 3 * 2 ** 16 - 1];
  for (const size of sizes) {
    const wanted = new Array<number>(size).fill(1.5);
    expect(Array.from(owner.full([size], 1.5).readSync())).toEqual(wanted);
    expect(Array.from(owner.zeros([size], 'i32').readSync())).toEqual(new Array<number>(size).fill(0));
  }
  owner.dispose();
});

describe('results and ownership', () => {
  test('a result lives in the arena of its first non-persistent input', () => {
    const owner = new Arena(reference, { persistent: true });
    const step = new Arena(reference);
    const w = owner.tensor([1, 2], [2]);
    expect(add(w, step.tensor([1, 1], [2])).arena).toBe(step);
    expect(add(step.adopt(w), w).arena).toBe(step);
    expect(() => add(w, w)).toThrow(/add|binary.*only persistent tensors; pass arena.adopt/);
    const other = new Arena(reference);
    expect(() => add(step.zeros([2]), other.zeros([2]))).toThrow(/expected inputs of one arena/);
  });

  test('tensors of two backends do not mix', () => {
    const other = new Arena(createReference(), { persistent: true });
    const step = new Arena(reference);
    expect(() => add(step.zeros([1]), other.zeros([1]))).toThrow(/one backend/);
    expect(() => step.adopt(other.zeros([1]))).toThrow(/this backend/);
  });

  test('wrong arguments name the operation and the shapes', () => {
    const step = new Arena(reference);
    expect(() => step.tensor([1, 2, 3], [2])).toThrow('tensor: expected 2 numbers for [2], got 3');
    expect(() => step.zeros([1.5])).toThrow(/whole sizes/);
    const swapped = new Float32Array(1e6).fill(0.5) as unknown as number[];
    expect(() => step.tensor([1e6], swapped)).toThrow(/got \[(?:0\.5, ){8}and 999992 more\]$/);
    expect(() => add(step.zeros([2, 3]), step.zeros([2]))).toThrow(/binary: expected b \[2\]/);
    expect(() => linear(step.zeros([2, 3]), step.zeros([4, 5]))).toThrow(/linear: expected x \[\.\.\., 5\]/);
    expect(() => step.zeros([2, 3]).reshape([4, -1])).toThrow(/reshape/);
    expect(() => step.zeros([2, 3]).rows(1, 3)).toThrow(/rows: expected 0 <= start <= end <= 2/);
    expect(() => step.zeros([2, 3]).write([1])).toThrow(/write: expected 6 numbers/);
    expect(() => sum(step.zeros([2]), 1)).toThrow(/sum: expected an axis/);
  });

  test('tensors are recognised by their marker', () => {
    const step = new Arena(reference);
    expect(isTensor(step.zeros([1]))).toBe(true);
    expect(isTensor({ [Symbol.for('minke.tensor')]: true })).toBe(true);
    for (const x of [null, undefined, 1, {}, [1]]) expect(isTensor(x)).toBe(false);
  });
});

describe('lifetime', () => {
  test('use after reset, dispose or the end of an arena throws and names the operation', () => {
    const step = new Arena(reference, { label: 'train' });
    const stale = step.tensor([1], [1]);
    const borrowed = stale.reshape([1, 1]);
    step.reset();
    expect(() => exp(stale)).toThrow(/unary: expected live tensors.*step of arena "train" that was reset/);
    expect(() => linear(borrowed, step.zeros([1, 1]))).toThrow(/reset/);
    expect(() => stale.readSync()).toThrow(/readSync: .*reset/);
    expect(() => stale.reshape([1])).toThrow(/reshape: .*reset/);
    const gone = step.tensor([1], [1]);
    gone.dispose();
    gone.dispose();
    expect(() => neg(gone)).toThrow(/was disposed/);
    const last = step.zeros([1]);
    step.dispose();
    step.dispose();
    expect(() => last.readSync()).toThrow(/arena "train", which was disposed/);
    expect(() => step.zeros([1])).toThrow(/expected an open arena, got "train"/);
    try {
      step.reset();
    } catch (error) {
      expect(MinkeError.isInstance(error)).toBe(true);
    }
  });

  test('an alias of a disposed tensor is not live', () => {
    const owner = new Arena(reference, { persistent: true });
    const step = new Arena(reference);
    const w = owner.tensor([1], [1]);
    const alias = step.adopt(w);
    w.dispose();
    expect(numbers(neg(alias))).toEqual([-1]); // the alias still holds the memory
    step.reset();
    expect(() => step.adopt(w)).toThrow(/disposed/);
    expect(owner.bytes).toBe(0);
  });

  test('views keep memory alive and release it with the last of them', () => {
    const step = new Arena(reference);
    const x = step.tensor([1, 2, 3, 4], [2, 2]);
    const row = x.rows(1, 2);
    x.dispose();
    for (let i = 0; i < 4; i++) step.tensor([9, 9, 9, 9], [2, 2]);
    expect(numbers(row)).toEqual([3, 4]);
  });

  test('dispose returns all memory to the backend', () => {
    const backend = createReference();
    const owner = new Arena(backend, { persistent: true, label: 'weights' });
    const step = new Arena(backend, { grad: true });
    const w = owner.parameter([1, 2], [2]);
    sum(square(step.adopt(w))).backward();
    expect(owner.bytes + step.bytes).toBe(backend.memoryUse().bytes);
    step.dispose();
    expect(owner.bytes).toBe(backend.memoryUse().bytes);
    owner.dispose();
    expect(backend.memoryUse()).toEqual({ buffers: 0, bytes: 0 });
  });

  test('disposing a parameter gives back its gradient too', () => {
    const backend = createReference();
    const owner = new Arena(backend, { persistent: true });
    const step = new Arena(backend, { grad: true });
    const w = owner.parameter([1, 2], [2]);
    sum(square(step.adopt(w))).backward();
    step.dispose();
    w.dispose();
    expect(backend.memoryUse().bytes).toBe(0);
  });

  test('a scope releases what it made and keeps what it returns', () => {
    const step = new Arena(reference);
    const x = step.tensor([1, 2], [2]);
    let inner: Tensor | undefined;
    const { y } = step.scope(() => {
      inner = exp(x);
      return { y: step.scope(() => neg(add(x, inner!))), text: 'kept' };
    });
    expect(() => neg(inner!)).toThrow(/disposed/);
    expect(numbers(y)[0]).toBeCloseTo(-1 - Math.E, 6);
    const bytes = step.bytes;
    let z = x;
    for (let i = 0; i < 50; i++) {
      const previous = z;
      z = step.scope(() => affine(exp(affine(previous, 0.5, 0)), 1, -1));
      if (previous !== x) previous.dispose();
    }
    expect(step.bytes).toBeLessThan(bytes + 5 * 128 * 4);
    expect(() => step.scope(async () => 1)).toThrow(/synchronous/);
  });

  test('what is made unscoped outlives every scope around it', () => {
    const step = new Arena(reference);
    let shared: Tensor | undefined;
    let own: Tensor | undefined;
    step.scope(() =>
      step.scope(() => {
        shared = step.unscoped(() => exp(step.tensor([0], [1])));
        own = neg(shared);
      }),
    );
    expect(numbers(shared!)).toEqual([1]);
    expect(() => neg(own!)).toThrow(/disposed/);
    expect(() => step.scope(() => step.unscoped(() => void neg(own!)))).toThrow(/disposed/);
    const after = step.scope(() => void (own = neg(shared!)));
    expect(after).toBeUndefined();
    expect(() => neg(own!)).toThrow(/disposed/);
  });

  test('a scope keeps everything while gradients are recorded', () => {
    const owner = new Arena(reference, { persistent: true });
    const step = new Arena(reference, { grad: true });
    const w = owner.parameter([1, 2], [2]);
    step.scope(() => sum(square(exp(step.adopt(w))))).backward();
    expect(numbers(w.grad!)[1]).toBeCloseTo(2 * Math.exp(4), 4);
  });

  describe('leak reports', () => {
    afterEach(() => reportLeaks(null));

    test('name arenas that were collected without dispose, and no others', async () => {
      setFlagsFromString('--expose-gc');
      const gc = runInNewContext('gc') as () => void;
      const reports: string[] = [];
      reportLeaks((label) => reports.push(label));
      (() => {
        new Arena(reference, { label: 'leaked' }).zeros([1]);
        new Arena(reference, { label: 'disposed' }).dispose();
      })();
      for (let i = 0; i < 50 && reports.length === 0; i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        gc();
      }
      expect(reports).toEqual(['leaked']);
    });
  });
});

describe('order of host and device', () => {
  /** A backend that runs submitted lists only when something is read, as a queue would. */
  function deferred(): Backend {
    const inner = createReference();
    const queue: (() => void)[] = [];
    const flush = () => {
      for (const job of queue.splice(0)) job();
    };
    return {
      ...inner,
      submit: (list: CommandList) => void queue.push(() => inner.submit(list)),
      write: (buffer, data, offset) => {
        const copy = data.slice();
        queue.push(() => inner.write(buffer, copy, offset));
      },
      release: (buffer) => void queue.push(() => inner.release(buffer)),
      readSync: (buffer, offset, length) => {
        flush();
        return inner.readSync(buffer, offset, length);
      },
    };
  }

  test('an upload does not overwrite memory that open commands still read', () => {
    const step = new Arena(deferred());
    const x = step.tensor([1, 2], [2]);
    const y = exp(x);
    const z = neg(y);
    x.dispose();
    y.dispose();
    const uploads = Array.from({ length: 8 }, (_, i) => step.tensor([i, i], [2]));
    const total = uploads.reduce((a, b) => add(a, b));
    expect(numbers(z)).toEqual([-Math.fround(Math.E), -Math.fround(Math.exp(2))]);
    expect(numbers(total)).toEqual([28, 28]);
  });

  test('write takes effect between the commands before and after it', () => {
    const owner = new Arena(deferred(), { persistent: true });
    const step = new Arena(owner.backend);
    const w = owner.tensor([1], [1]);
    const before = neg(step.adopt(w));
    w.write([5]);
    const after = neg(step.adopt(w));
    expect([numbers(before), numbers(after)]).toEqual([[-1], [-5]]);
  });

  test('arenas that share memory take effect in the order they were recorded', () => {
    const owner = new Arena(deferred(), { persistent: true });
    const [a, b] = [new Arena(owner.backend), new Arena(owner.backend)];
    const cache = owner.zeros([2, 1]);
    const early = neg(b.adopt(cache));
    scatterRows(a.tensor([7], [1, 1]), a.tensor([1], [1], 'i32'), cache);
    const late = neg(b.adopt(cache));
    expect(b.pending).toBe(1); // the first was submitted before the write, the write before the second
    expect(numbers(late)).toEqual([-0, -7]);
    expect(numbers(early)).toEqual([-0, -0]);
    call('fill', [cache], { value: 3 }, a);
    expect(numbers(cache)).toEqual([3, 3]);
  });

  test('two arenas that only read shared memory do not make each other submit', () => {
    const owner = new Arena(reference, { persistent: true });
    const [a, b] = [new Arena(reference), new Arena(reference)];
    const w = owner.tensor([2], [1]);
    neg(a.adopt(w));
    neg(b.adopt(w));
    expect([a.pending, b.pending]).toEqual([1, 1]);
  });

  test('an adopted tensor of another step is seen by both in order', () => {
    const backend = deferred();
    const [a, b] = [new Arena(backend), new Arena(backend)];
    const x = neg(a.tensor([1], [1]));
    const alias = b.adopt(x);
    call('fill', [alias], { value: 4 }, b);
    const y = neg(x);
    expect(numbers(y)).toEqual([-4]);
    a.reset();
    expect(() => neg(alias)).toThrow(/alias of a tensor that was disposed or reset/);
  });

  test('a persistent tensor is released after the commands that use it', () => {
    const owner = new Arena(deferred(), { persistent: true });
    const step = new Arena(owner.backend);
    const w = owner.tensor([2], [1]);
    const y = mul(w, step.tensor([3], [1]));
    w.dispose();
    expect(numbers(y)).toEqual([6]);
  });
});

describe('reuse of memory', () => {
  test('steps of equal shape allocate nothing after the first', () => {
    const backend = createReference();
    const step = new Arena(backend);
    const bytes: number[] = [];
    for (let i = 0; i < 5; i++) {
      const x = step.tensor([1, 2, 3, 4], [4]);
      const y = add(exp(x), step.tensor([0, 0, 0, 1], [4]));
      expect(numbers(y)[3]).toBeCloseTo(Math.exp(4) + 1, 4);
      step.reset();
      bytes.push(backend.memoryUse().bytes);
    }
    expect(new Set(bytes).size).toBe(1);
  });

  test('uploads inside a step hold memory flat', () => {
    const backend = createReference();
    const step = new Arena(backend);
    const bytes: number[] = [];
    for (let i = 0; i < 30; i++) {
      let x = step.tensor([1], [1]);
      for (let j = 0; j < 10; j++) x = step.scope(() => add(neg(x), step.tensor([j], [1])));
      step.reset();
      bytes.push(backend.memoryUse().bytes);
    }
    expect(bytes[29]).toBe(bytes[10]);
  });

  test('steps of varying shape stay within twice the largest one', () => {
    const backend = createReference();
    const step = new Arena(backend);
    const run = (n: number) => {
      neg(exp(step.zeros([n])));
      step.reset();
    };
    run(4000);
    const largest = backend.memoryUse().bytes;
    for (let n = 1; n <= 4000; n += 37) run(n);
    for (let n = 4000; n > 0; n -= 41) run(n);
    expect(backend.memoryUse().bytes).toBeLessThan(2 * 2 * largest);
  });
});

test('concat along rows joins integers', () => {
  const step = new Arena(reference);
  const joined = concat([step.tensor([1, 2], [2], 'i32'), step.tensor([3], [1], 'i32')], 0);
  expect([joined.dtype, numbers(joined)]).toEqual(['i32', [1, 2, 3]]);
});

test('empty tensors pass through', () => {
  const step = new Arena(reference);
  expect(numbers(linear(step.zeros([0, 3]), step.zeros([2, 3])))).toEqual([]);
  expect(linear(step.zeros([2, 0, 3]), step.zeros([4, 3])).shape).toEqual([2, 0, 4]);
  expect(numbers(sum(step.zeros([0])))).toEqual([0]);
});
