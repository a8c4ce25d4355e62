/**
 * A calculator as an environment: the model writes `<calc>12*(3+4)</calc>` and reads `<result>84</result>`.
 *
 * Arithmetic is exact (fractions as `7/3`) and bounded, see `rational.ts`; a refused expression is answered with
 * `<result>error: division-by-zero</result>` and the episode goes on. An episode ends with a turn that makes no call,
 * or when a call goes beyond `maxCalls`. Only what the model wrote is judged: the environment's text can neither
 * contain the answer nor close the thought, and a `<result>` of the model's own making is the model's text.
 */
import { check } from '@minke/core';
import { type Answerable, type Verdict, verify } from './answer.ts';
import type { Environment, TextPart, Turn } from './environment.ts';
import { type EvaluationLimits, evaluate, formatRational } from './rational.ts';

/** Bounds of an episode. */
export interface CalculatorOptions {
  /** Calls that are answered. Default 8. */
  readonly maxCalls?: number;
  /** Bounds of one expression. */
  readonly limits?: EvaluationLimits;
}

/** A task of the calculator: a question and what its verifier needs. Every `Problem` is one. */
export type CalculatorTask = Answerable & { readonly prompt: string };

/** An episode as plain JSON. */
export interface CalculatorState {
  readonly task: CalculatorTask;
  readonly parts: readonly TextPart[];
  readonly calls: number;
  readonly failures: number;
  readonly done: boolean;
}

const [open, close] = ['<calc>', '</calc>'] as const;

/**
 * The calculator environment.
 *
 * @example
 * const calculator = new Calculator();
 * const prompt = calculator.reset(problem);
 * calculator.step('<calc>47*86</calc>'); // { reply: '<result>4042</result>', done: false }
 * calculator.step('\n</think>\nThe answer is 4042.'); // { reply: null, done: true }
 * calculator.score(); // { score: 1, extracted: '4042' }
 */
export class Calculator implements Environment<CalculatorTask> {
  readonly stop = [close] as const;
  readonly #options: CalculatorOptions;
  #state: CalculatorState | null = null;

  constructor(options: CalculatorOptions = {}) {
    this.#options = options;
  }

  /** An episode that continues where `state` was taken. */
  static fromState(state: CalculatorState, options: CalculatorOptions = {}): Calculator {
    const calculator = new Calculator(options);
    calculator.#state = state;
    return calculator;
  }

  /** Everything needed to continue; plain JSON. */
  state(): CalculatorState {
    check(this.#state !== null, () => 'Calculator: expected an episode, got none; call reset() first');
    return this.#state;
  }

  reset(task: CalculatorTask): string {
    this.#state = { task, parts: [], calls: 0, failures: 0, done: false };
    return task.prompt;
  }

  step(text: string): Turn {
    const state = this.state();
    check(!state.done, () => 'Calculator: expected an episode that is not over; call reset() first');
    const from = text.indexOf(open);
    const end = from === -1 ? -1 : text.indexOf(close, from);
    const { maxCalls = 8, limits = {} } = this.#options;
    if (end === -1 || state.calls >= maxCalls) {
      this.#state = { ...state, parts: [...state.parts, { from: 'model', text }], done: true };
      return { reply: null, done: true };
    }
    // Sampling stops at the call; anything after it was said without knowing the result and is not kept.
    const said = text.slice(0, end + close.length);
    const found = evaluate(text.slice(from + open.length, end), limits);
    const reply = `<result>${found.ok ? formatRational(found.value) : `error: ${found.problem}`}</result>`;
    this.#state = {
      ...state,
      parts: [...state.parts, { from: 'model', text: said }, { from: 'environment', text: reply }],
      calls: state.calls + 1,
      failures: state.failures + (found.ok ? 0 : 1),
    };
    return { reply, done: false, ...(!found.ok && { failed: true }) };
  }

  score(): Verdict {
    const { task, parts } = this.state();
    const said = parts.filter(({ from }) => from === 'model').map(({ text }) => text);
    return verify(task, said.join('\n'));
  }

  parts(): readonly TextPart[] {
    return this.state().parts;
  }
}
