import { afterAll, describe, expect, it } from 'vitest';
import { codeReward } from '../rewards/index.ts';
import { extractCode, verifyCode } from './code.ts';
import { CodeSandbox, type CodeTest } from './code-sandbox.ts';

const sandbox = new CodeSandbox({
  timeMs: 300,
  totalTimeMs: 5000,
  memoryBytes: 16 << 20,
  outputLength: 10_000,
});
afterAll(() => sandbox.close());

const call = (name: string, args: unknown[], expected: unknown): CodeTest => ({ call: name, args, expected });
const statuses = async (program: string, ...tests: CodeTest[]) =>
  (await sandbox.run(program, tests)).map(({ status }) => status);
const f = call('f', [], 1);

describe('CodeSandbox', () => {
  it('calls functions with JSON and compares what they return', async () => {
    const sum = [call('sum', [[1, 2, 3]], 6), call('sum', [[]], 0), call('sum', [[0.5, -1]], -0.5)];
    for (const program of [
      'function sum(a) { return a.reduce((x, y) => x + y, 0); }',
      'const sum = (a) => { let s = 0; for (const x of a) s += x; return s; };',
      'async function sum(a) { let s = 0; for (const x of a) s += await x; return s; }',
      'class sumClass {}; var sum = (a) => Promise.resolve(eval(["0", ...a].join("+")));',
    ])
      expect(await statuses(program, ...sum)).toEqual(['passed', 'passed', 'passed']);
    expect(await statuses('const sum = (a) => a.length', ...sum)).toEqual(['failed', 'passed', 'failed']);
    expect(
      await statuses('var f = () => ({ b: [1, null], a: "x" })', call('f', [], { a: 'x', b: [1, null] })),
    ).toEqual(['passed']);
    expect(await statuses('var o = { f: (x) => x }', call('o.f', [{ deep: [1] }], { deep: [1] }))).toEqual([
      'passed',
    ]);
  });

  it('feeds text and compares what is printed', async () => {
    const test: CodeTest = { stdin: '3\n4 5\n', stdout: '12\ndone\n' };
    expect(
      await statuses(
        'const n = +readline(); const [a, b] = readline().split(" ").map(Number);\nconsole.log(n + a + b); print("done  ")',
        test,
      ),
    ).toEqual(['passed']);
    expect(
      await statuses(
        'let s = 0; for (const x of input.match(/\\d+/g)) s += +x; Promise.resolve().then(() => { console.log(s, ); console.log("done") })',
        test,
      ),
    ).toEqual(['passed']);
    expect(await statuses('console.log(12)', test)).toEqual(['failed']);
  });

  it('says what went wrong', async () => {
    expect(await sandbox.run('function f( {', [f])).toMatchObject([
      { status: 'error', message: expect.stringMatching(/^SyntaxError/) },
    ]);
    expect((await sandbox.run('throw new TypeError("no")', [f]))[0]?.message).toBe('TypeError: no');
    expect((await sandbox.run('', [f]))[0]?.message).toMatch(/ReferenceError: .?f.? is not defined/);
    expect((await sandbox.run('var f = 3', [f]))[0]?.message).toBe('f is not a function');
    expect(await statuses('var f = () => { throw null }', f)).not.toContain('passed');
    expect(await statuses('var f = () => { throw Symbol() }', f)).toEqual(['error']);
    expect(await statuses('var f = () => undefined', f)).toEqual(['failed']);
    expect(await statuses('var f = () => () => 1', f)).toEqual(['failed']);
    expect(await statuses('var f = () => { const a = []; a.push(a); return a }', f)).toEqual(['error']);
    expect(await statuses('var f = () => 1n', f)).toEqual(['error']);
    expect(await statuses('var f = () => new Promise(() => {})', f)).toEqual(['error']);
    expect(await statuses('var f = async () => { throw new Error("late") }', f)).toEqual(['error']);
  });

  it('ends what does not end, and goes on with the next program', async () => {
    for (const program of [
      'for (;;);',
      'var f = () => { while (true) {} }',
      'var f = () => { try { for (;;); } finally { for (;;); } }',
      'var f = () => { for (;;) { try { for (;;); } catch {} } }',
      'var f = async () => { for (;;) await 0; }',
      'const again = () => Promise.resolve().then(again); again(); var f = () => new Promise(() => {});',
      'var f = () => /^(a+)+$/.test("a".repeat(40) + "!")',
      'var f = () => Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)',
      'var f = () => Array.prototype.lastIndexOf.call({ length: 2 ** 53 - 1 }, 1)',
      'var f = () => ({ toJSON() { for (;;); } })',
      'var f = () => ({ get then() { for (;;); } })',
      'var f = () => { throw { get message() { for (;;); }, get name() { for (;;); } } }',
      'var f = function* () { yield 1 }; f = () => [...(function* () { for (;;) yield 1 })()].length',
    ]) {
      const started = performance.now();
      const [status] = await statuses(program, f);
      expect(['time', 'memory', 'error'], program).toContain(status);
      expect(performance.now() - started).toBeLessThan(1500);
      expect(await statuses('var f = () => 1', f)).toEqual(['passed']);
    }
  });

  it('stops memory bombs, deep recursion and floods of output', async () => {
    for (const program of [
      'var f = () => { const a = []; for (;;) a.push(new Array(1000).fill(7)); }',
      'var f = () => "x".repeat(2 ** 29)',
      'var f = () => { let s = "x"; for (;;) s += s; }',
      'var f = () => new Uint8Array(2 ** 30).length',
      'var f = () => new ArrayBuffer(2 ** 40)',
      'var f = () => { const a = []; try { for (;;) a.push("y".repeat(1e5) + a.length); } catch { return f(); } }',
      'var f = () => f() + 1',
      'var f = (n = 0) => [f(n + 1)]',
      'var f = () => JSON.parse("[".repeat(1e6))',
      'var f = () => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a }',
      `var f = () => eval("(".repeat(1e5) + "1" + ")".repeat(1e5))`,
      'var f = () => "z".repeat(20000)',
      'var f = () => { for (;;) console.log("flood") }',
      'var f = () => { try { for (;;) print("flood") } catch {} return 1 }',
      'var f = () => new RegExp("(".repeat(1e5) + ")".repeat(1e5)).test("")',
    ]) {
      const [status] = await statuses(program, f);
      expect(['memory', 'error', 'time', 'output'], program).toContain(status);
      expect(await statuses('var f = () => 1', f)).toEqual(['passed']);
    }
  });

  it('shows a program nothing of the host', async () => {
    const names = [
      'process',
      'require',
      'module',
      'Buffer',
      'fetch',
      'WebAssembly',
      'setTimeout',
      'importScripts',
      'self',
      'parentPort',
      'Worker',
      'performance',
      'navigator',
      'std',
      'os',
      'bjson',
      'test',
      'expected',
      'limits',
    ];
    expect(
      await statuses(
        `var f = () => ${JSON.stringify(names)}.filter((name) => { try { return typeof eval(name) !== "undefined" } catch { return false } })`,
        call('f', [], []),
      ),
    ).toEqual(['passed']);
    for (const program of [
      'var f = () => Function("return process")().version',
      'var f = () => console.log.constructor("return process")().version',
      'var f = () => print.constructor.constructor("return globalThis.process.pid")()',
      'var f = () => this.constructor.constructor("return require")()("fs")',
      'var f = async () => (await import("node:fs")).readdirSync("/").length',
      'import fs from "fs"; var f = () => 1',
      'var f = () => { try { null.x } catch (e) { return e.constructor.constructor("return process")().pid } }',
      'var f = () => readline.caller.arguments[0]',
      'var f = () => new Error().stack.prepareStackTrace()',
    ])
      expect(await statuses(program, f), program).toEqual(['error']);
  });

  it('is not fooled by changed built-ins, and forgets them', async () => {
    const one = call('f', [2], 4);
    for (const program of [
      'JSON.stringify = () => "4"; var f = () => 5',
      'JSON.parse = () => 9; JSON = null; var f = (x) => x + 3',
      'Object.prototype.toJSON = () => 4; var f = () => ({ a: 1 }), g = 0; Number.prototype.valueOf = () => 4; f = () => 5',
      'Array.prototype.every = () => true; Object.is = () => true; var f = () => 5',
      'Object.defineProperty(Object.prototype, "expected", { get: () => 4 }); var f = () => 5',
      'Object.prototype.status = "passed"; var f = () => { throw {} }',
      'Promise.prototype.then = function () { return 4 }; var f = async () => 5',
      'globalThis = undefined; var f = () => 5',
    ])
      expect((await statuses(program, one))[0], program).not.toBe('passed');
    expect(await statuses('JSON.stringify = null; JSON.parse = null; var f = (x) => 2 * x', one)).toEqual([
      'passed',
    ]);
    expect(await statuses('var n = 0; var f = () => ++n', f, f, f)).toEqual(['passed', 'passed', 'passed']);
    expect(
      await statuses('var f = () => "__proto__" in {} && ({}).polluted === undefined ? 1 : 0', f),
    ).toEqual(['passed']);
    expect(({} as Record<string, unknown>).status).toBeUndefined();
  });

  it('gives all tests together a limit', async () => {
    const small = new CodeSandbox({ timeMs: 200, totalTimeMs: 400 });
    const started = performance.now();
    const outcomes = await small.run(
      'for (;;);',
      Array.from({ length: 50 }, () => f),
    );
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['time']));
    expect(outcomes).toHaveLength(50);
    expect(performance.now() - started).toBeLessThan(3000);
    await small.close();
    await expect(small.run('', [f])).rejects.toMatchObject({ code: 'aborted' });
  });

  it('does not keep a program alive while it is idle', async () => {
    const count = () =>
      process.getActiveResourcesInfo().filter((name) => name === 'MessagePort' || name === 'Worker').length;
    const before = count();
    const idle = new CodeSandbox();
    expect(await idle.run('var f = () => 1', [f])).toEqual([{ status: 'passed' }]);
    expect(count()).toBe(before);
    await idle.close();
  });

  it('queues calls, and names bad limits and tests', async () => {
    const all = await Promise.all(
      Array.from({ length: 10 }, (_, i) => statuses(`var f = () => ${i}`, call('f', [], i))),
    );
    expect(all.flat()).toEqual(Array.from({ length: 10 }, () => 'passed'));
    expect(() => new CodeSandbox({ timeMs: 0, memoryBytes: 5 })).toThrow(
      /timeMs >= 1, got 0; expected memoryBytes >= 1048576/,
    );
    expect(() => sandbox.run('', [call('f(); g', [], 1)])).toThrow(/test 0: expected \{ call/);
    expect(() => sandbox.run('', [call('f', [], undefined)])).toThrow(/test 0/);
    expect(() => sandbox.run('', [{ stdin: 'x' } as never])).toThrow(/stdin, stdout/);
  });
});

describe('verifyCode', () => {
  const tests = [call('twice', [1], 2), call('twice', [5], 10)];
  const fenced = (code: string, language = 'js') => `Here:\n\`\`\`${language}\n${code}\n\`\`\`\nDone.`;

  it('scores the share of tests or all of them, and null without tests', async () => {
    const half = fenced('const twice = (x) => 2');
    expect((await verifyCode(sandbox, half, tests, { score: 'share' })).score).toBe(0.5);
    expect((await verifyCode(sandbox, half, tests)).score).toBe(0);
    expect(await verifyCode(sandbox, fenced('const twice = (x) => x + x'), tests)).toEqual({
      score: 1,
      extracted: 'const twice = (x) => x + x',
      outcomes: [{ status: 'passed' }, { status: 'passed' }],
    });
    expect((await verifyCode(sandbox, half, [])).score).toBeNull();
    expect((await verifyCode(sandbox, half, null)).score).toBeNull();
    expect((await verifyCode(sandbox, 'no code', tests)).score).toBe(0);
  });

  it('reads one block strictly, the last one leniently', () => {
    expect(extractCode(fenced('a'))).toBe('a');
    expect(extractCode(fenced('a', ''))).toBe('a');
    expect(extractCode(fenced('a', 'python'))).toBeNull();
    expect(extractCode(fenced('a') + fenced('b'))).toBeNull();
    expect(extractCode(`${fenced('a')}\n${fenced('b')}`, 'lenient')).toBe('b');
    expect(extractCode('const a = 1', 'lenient')).toBe('const a = 1');
    expect(extractCode('```js\nnever closed')).toBeNull();
    expect(extractCode(fenced('x'.repeat(200_000)))).toBeNull();
  });

  it('is a reward for what follows the thought', async () => {
    const reward = codeReward(sandbox, {
      testsOf: ({ metadata }) => (metadata as CodeTest[] | undefined) ?? null,
    });
    const input = (completion: string, metadata?: unknown) => ({
      prompt: '',
      completion,
      length: 1,
      metadata,
    });
    const good = fenced('const twice = (x) => x * 2');
    expect(
      await reward(
        [
          input(`hm</think>${good}`, tests),
          input(good, tests),
          input('hm</think>no', tests),
          input(`hm</think>${good}`),
        ],
        {},
      ),
    ).toEqual([1, 0, 0, null]);
  });
});
