/**
 * The code verifier: does the program in an answer pass its tests?
 *
 * DeepSeek-R1 (https://arxiv.org/abs/2501.12948, section 2.2.2) rewards code by running hidden tests. The score is
 * the share of tests passed (open-r1's), or 1 only for all of them. `strict` reads the one fenced block of
 * JavaScript; `lenient` the last block of any kind, and without one the whole text. No tests give null.
 */
import type { CodeSandbox, CodeTest, TestOutcome } from './code-sandbox.ts';
import type { Mode, Verdict } from './verdict.ts';

/** How to read and to score. */
export interface CodeOptions {
  readonly mode?: Mode;
  /** `share` of tests passed, or `all`: 1 only if every test passed. Default `all`. */
  readonly score?: 'share' | 'all';
}

/** A verdict with the outcome of each test. */
export interface CodeVerdict extends Verdict {
  readonly outcomes: readonly TestOutcome[];
}

const maxProgram = 100_000;

/** The program in an answer, null where there is none. */
export function extractCode(visible: string, mode: Mode = 'strict'): string | null {
  const blocks: { language: string; code: string }[] = [];
  const lines = visible.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const fence = /^\s{0,3}```\s*([\w+-]*)\s*$/.exec(lines[i] as string);
    if (fence === null) continue;
    const end = lines.findIndex((line, at) => at > i && /^\s{0,3}```\s*$/.test(line));
    if (end < 0) break;
    blocks.push({ language: (fence[1] as string).toLowerCase(), code: lines.slice(i + 1, end).join('\n') });
    i = end;
  }
  const wanted = blocks.filter(({ language }) => ['', 'js', 'javascript'].includes(language));
  const code =
    mode === 'strict'
      ? wanted.length === 1
        ? wanted[0]?.code
        : undefined
      : ((wanted.at(-1) ?? blocks.at(-1))?.code ?? visible);
  return code === undefined || code.trim() === '' || code.length > maxProgram ? null : code;
}

/**
 * Runs the program of an answer.
 *
 * @example
 * await verifyCode(sandbox, '```js\nconst twice = (x) => 2 * x;\n```', [{ call: 'twice', args: [3], expected: 6 }]);
 * // { score: 1, extracted: 'const twice = (x) => 2 * x;', outcomes: [{ status: 'passed' }] }
 */
export async function verifyCode(
  sandbox: CodeSandbox,
  visible: string,
  tests: readonly CodeTest[] | null,
  options: CodeOptions = {},
): Promise<CodeVerdict> {
  const { mode = 'strict', score = 'all' } = options;
  const extracted = extractCode(visible, mode);
  if (tests === null || tests.length === 0) return { score: null, extracted, outcomes: [] };
  if (extracted === null) return { score: 0, extracted, outcomes: [] };
  const outcomes = await sandbox.run(extracted, tests);
  const passed = outcomes.filter(({ status }) => status === 'passed').length;
  return {
    score: score === 'share' ? passed / tests.length : passed === tests.length ? 1 : 0,
    extracted,
    outcomes,
  };
}
