/**
 * Runs an untrusted Jinja chat template with bounds, on the interpreter of `@huggingface/jinja`.
 *
 * Every statement and expression goes through `Interpreter.evaluate`, which is overridden here to count
 * steps, watch the clock, and look at the size of each value made; `range` is replaced by one that stops
 * early, recursion ends in a caught stack overflow, and templates see no JavaScript objects. What this does
 * not bound: a single built-in call (`replace`, `join`, a literal's parsing) runs to its end before its result
 * is looked at, so memory can briefly reach V8's own string limit, and the lexer and parser are bounded only
 * by the size of the template.
 */

import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { MinkeError } from '@minke/core';

/** What a template may use; the defaults are far above any published template. */
export interface TemplateLimits {
  /** Characters of template source; default 262,144. */
  readonly sourceLength: number;
  /** Characters of the output and of any string made on the way, beyond what the input holds; default 4 Mi. */
  readonly outputLength: number;
  /** Statements and expressions evaluated; default 2,000,000. */
  readonly steps: number;
  /** Milliseconds of one rendering; default 2,000. */
  readonly milliseconds: number;
  /** Items of any list made; default 100,000. */
  readonly listLength: number;
}

export const defaultTemplateLimits: TemplateLimits = {
  sourceLength: 262_144,
  outputLength: 4_194_304,
  steps: 2_000_000,
  milliseconds: 2_000,
  listLength: 100_000,
};

type Evaluate = Interpreter['evaluate'];

/** How often the clock is read, in steps; setting up a loop of `listLength` items is one step. */
const clockInterval = 4;

class BoundedInterpreter extends Interpreter {
  private steps = 0;
  private readonly deadline: number;

  constructor(
    environment: Environment,
    private readonly limits: TemplateLimits,
    private readonly longest: number,
  ) {
    super(environment);
    this.deadline = Date.now() + limits.milliseconds;
  }

  override evaluate(...[statement, environment]: Parameters<Evaluate>): ReturnType<Evaluate> {
    if (++this.steps > this.limits.steps) throw overLimit(`${this.limits.steps} steps`);
    if (this.steps % clockInterval === 0 && Date.now() > this.deadline)
      throw overLimit(`${this.limits.milliseconds} ms`);
    const result = super.evaluate(statement, environment);
    const value: unknown = result?.value;
    if (typeof value === 'string' && value.length > this.longest)
      throw overLimit(`strings of ${this.longest} characters`);
    if (Array.isArray(value) && value.length > this.limits.listLength)
      throw overLimit(`lists of ${this.limits.listLength} items`);
    return result;
  }
}

/** A parsed template; `run` renders it with variables. */
export class BoundedTemplate {
  private readonly program: Template['parsed'];

  /** Throws `MinkeError('invalid-file')` for a template that is too long or does not parse. */
  constructor(
    source: string,
    private readonly limits: TemplateLimits,
  ) {
    if (source.length > limits.sourceLength)
      throw new MinkeError(
        'invalid-file',
        `chat template: expected at most ${limits.sourceLength} characters, got ${source.length}`,
      );
    try {
      this.program = new Template(source).parsed;
    } catch (cause) {
      throw new MinkeError('invalid-file', `chat template: expected valid Jinja, got: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  /**
   * Renders. `inputLength` is added to the bound on strings, so that a long conversation is no failure.
   * Throws `invalid-argument` where the template refuses the messages (`raise_exception`) or fails on them,
   * and `out-of-memory` where it passes a limit.
   */
  run(variables: Readonly<Record<string, unknown>>, inputLength: number): string {
    const environment = new Environment();
    const longest = inputLength + this.limits.outputLength;
    for (const [name, value] of Object.entries({ ...globals(this.limits), ...variables }))
      if (value !== undefined) environment.set(name, value);
    let output: unknown;
    try {
      output = new BoundedInterpreter(environment, this.limits, longest).run(this.program).value;
    } catch (cause) {
      if (MinkeError.isInstance(cause)) throw cause;
      if (cause instanceof RangeError)
        throw new MinkeError(
          'out-of-memory',
          `chat template: stack or string limit reached: ${cause.message}`,
          { cause },
        );
      throw new MinkeError('invalid-argument', `chat template: refused the messages: ${messageOf(cause)}`, {
        cause,
      });
    }
    if (typeof output !== 'string' || output.length > longest)
      throw overLimit(`an output of ${longest} characters`);
    return output;
  }
}

/** Jinja's globals, as transformers provides them to chat templates. */
function globals(limits: TemplateLimits): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    range: (...bounds: number[]) => boundedRange(bounds, limits.listLength),
    strftime_now: (format: string) => strftime(new Date(), format),
  };
}

function boundedRange(bounds: readonly number[], most: number): number[] {
  const [start, stop, step] =
    bounds.length === 1 ? [0, bounds[0]!, 1] : [bounds[0]!, bounds[1]!, bounds[2] ?? 1];
  if (![start, stop, step].every(Number.isInteger) || step === 0)
    throw new Error('range() takes integers and a step that is not zero');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > most) throw overLimit(`lists of ${most} items`);
  return Array.from({ length }, (_, i) => start + i * step);
}

/** The date fields that published templates ask for. */
function strftime(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const month = (style: 'long' | 'short') => date.toLocaleString('en-US', { month: style });
  const fields: Record<string, string> = {
    '%Y': String(date.getFullYear()),
    '%m': two(date.getMonth() + 1),
    '%d': two(date.getDate()),
    '%b': month('short'),
    '%B': month('long'),
    '%H': two(date.getHours()),
    '%M': two(date.getMinutes()),
    '%S': two(date.getSeconds()),
    '%%': '%',
  };
  return format.replace(/%[YmdbBHMS%]/g, (field) => fields[field]!);
}

function overLimit(what: string): MinkeError {
  return new MinkeError(
    'out-of-memory',
    `chat template: expected to stay within ${what}; the template is at fault`,
  );
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
