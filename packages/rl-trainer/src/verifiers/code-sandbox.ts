/**
 * Runs untrusted JavaScript against tests, in QuickJS compiled to WebAssembly, in a thread of its own.
 *
 * Node's `vm` and worker threads are no security borders; a WebAssembly instance without imports of the host is. The
 * thread is there for time: when a program does not come back, it is ended and a new one started. Programs get the
 * language, `console.log` and `print`, and the test's text as `input` and line by line from `readline()`; no modules,
 * no files, no network, no timers. Each test runs in a fresh interpreter and does not see what it should answer.
 *
 * QuickJS comes from two optional packages (MIT, no install scripts): quickjs-emscripten-core and
 * @jitl/quickjs-wasmfile-release-sync.
 */
import { Worker } from 'node:worker_threads';
import { check, MinkeError } from '@minke/core';

/** A test: a function of the program called with JSON values, or a text read and a text printed. */
export type CodeTest =
  | { readonly call: string; readonly args: readonly unknown[]; readonly expected: unknown }
  | { readonly stdin: string; readonly stdout: string };

/** How a test ended; all but `passed` count as not passed. */
export interface TestOutcome {
  readonly status: 'passed' | 'failed' | 'error' | 'time' | 'memory' | 'output';
  readonly message?: string;
}

/** What one test may use. */
export interface SandboxLimits {
  /** Milliseconds a test. Default 1,000. */
  readonly timeMs?: number;
  /** Milliseconds for all tests of a program; the rest of them then fail as `time`. Default 10,000. */
  readonly totalTimeMs?: number;
  /** Heap bytes. Default 64 MB; at least 1 MB. */
  readonly memoryBytes?: number;
  /** Stack bytes. Default 256 KB. */
  readonly stackBytes?: number;
  /** Characters printed or returned. Default 100,000. */
  readonly outputLength?: number;
}

const defaults: Required<SandboxLimits> = {
  timeMs: 1000,
  totalTimeMs: 10_000,
  memoryBytes: 64 << 20,
  stackBytes: 256 << 10,
  outputLength: 100_000,
};
type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'outcome'; readonly id: number; readonly outcome: TestOutcome };

/** What a thread gets beyond the time of its test before it is ended. */
const graceMs = 250;
const script = new URL('./code-sandbox-worker.js', import.meta.url);

/**
 * A place to run programs, one at a time; calls queue. Make several for several threads.
 *
 * @example
 * const sandbox = new CodeSandbox();
 * await sandbox.run('const add = (a, b) => a + b', [{ call: 'add', args: [1, 2], expected: 3 }]); // [{ status: 'passed' }]
 * await sandbox.close();
 */
export class CodeSandbox {
  readonly #limits: Required<SandboxLimits>;
  #worker: Worker | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #next = 0;
  #closed = false;
  /** Takes the outcome of the running test; id null: the thread is gone. */
  #settle: ((id: number | null, outcome: TestOutcome) => void) | undefined;

  /** @throws MinkeError `invalid-config` listing every bad limit */
  constructor(limits: SandboxLimits = {}) {
    this.#limits = { ...defaults, ...limits };
    const problems = Object.entries(this.#limits)
      .filter(
        ([name, value]) => !Number.isSafeInteger(value) || value < (name === 'memoryBytes' ? 1 << 20 : 1),
      )
      .map(([name, value]) => `expected ${name} >= ${name === 'memoryBytes' ? 1 << 20 : 1}, got ${value}`);
    if (problems.length > 0) throw new MinkeError('invalid-config', `CodeSandbox: ${problems.join('; ')}`);
  }

  /**
   * The outcome of each test.
   *
   * @throws MinkeError `invalid-argument` for malformed tests; `unsupported` where the QuickJS packages are missing;
   * `aborted` after `close`. What the program does never throws.
   */
  run(program: string, tests: readonly CodeTest[]): Promise<TestOutcome[]> {
    for (const [i, test] of tests.entries()) checkTest(test, i);
    const outcome = this.#queue.then(() => this.#runAll(program, tests));
    this.#queue = outcome.catch(() => {});
    return outcome;
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #runAll(program: string, tests: readonly CodeTest[]): Promise<TestOutcome[]> {
    const outcomes: TestOutcome[] = [];
    let left = this.#limits.totalTimeMs;
    for (const test of tests) {
      if (left <= 0) {
        outcomes.push({ status: 'time', message: 'no time left for this test' });
        continue;
      }
      const worker = await this.#started();
      const started = performance.now();
      outcomes.push(await this.#runOne(worker, program, test, Math.min(left, this.#limits.timeMs)));
      left -= performance.now() - started;
    }
    return outcomes;
  }

  async #started(): Promise<Worker> {
    if (this.#closed)
      throw new MinkeError('aborted', 'CodeSandbox: expected an open sandbox, got a closed one');
    if (this.#worker !== undefined) return this.#worker;
    // No environment, and not the parent's flags: nothing of it is this thread's business.
    // Its output is caught and dropped: QuickJS reports its own aborts there, and the outcome says what happened.
    const worker = new Worker(script, { env: {}, execArgv: [], stdout: true, stderr: true });
    await new Promise<void>((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'ready') resolve();
        else this.#settle?.(message.id, message.outcome);
      });
      worker.on('error', (cause) => {
        this.#settle?.(null, { status: 'memory', message: 'its thread failed' });
        reject(
          new MinkeError(
            'unsupported',
            `CodeSandbox: expected QuickJS, got: ${cause.message}; npm install quickjs-emscripten-core @jitl/quickjs-wasmfile-release-sync`,
            { cause },
          ),
        );
      });
      worker.on('exit', () => {
        if (this.#worker === worker) this.#worker = undefined;
        this.#settle?.(null, { status: 'error', message: 'its thread ended' });
        reject(
          new MinkeError(
            'aborted',
            'CodeSandbox: expected a thread, got its end while it started; run again',
          ),
        );
      });
    });
    // An idle sandbox does not keep the program alive; a running test has its timer for that.
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  async #runOne(worker: Worker, program: string, test: CodeTest, timeMs: number): Promise<TestOutcome> {
    const id = this.#next++;
    const outcome = await new Promise<TestOutcome | null>((resolve) => {
      const timer = setTimeout(() => resolve(null), timeMs + graceMs);
      this.#settle = (of, value) => {
        if (of !== null && of !== id) return;
        clearTimeout(timer);
        resolve(value);
      };
      worker.postMessage({ id, program, test, limits: { ...this.#limits, timeMs } });
    });
    this.#settle = undefined;
    if (outcome !== null) return outcome;
    this.#worker = undefined;
    await worker.terminate();
    return { status: 'time', message: 'did not come back' };
  }
}

function checkTest(test: CodeTest, i: number): void {
  if ('call' in test)
    check(
      /^[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*$/.test(test.call) &&
        Array.isArray(test.args) &&
        JSON.stringify(test.expected) !== undefined,
      () =>
        `CodeSandbox: test ${i}: expected { call: name, args: [...], expected: JSON value }, got ${JSON.stringify(test)}`,
    );
  else
    check(
      typeof test.stdin === 'string' && typeof test.stdout === 'string',
      () => `CodeSandbox: test ${i}: expected { stdin, stdout } as texts, got ${JSON.stringify(test)}`,
    );
}
