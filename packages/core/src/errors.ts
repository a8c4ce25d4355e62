/**
 * The error base class of every Minke package.
 *
 * A message has one line: `where: expected ..., got ...; what to do`. Errors are recognised by a symbol
 * marker, not by `instanceof`, so that two copies of this package in one application agree.
 */
const marker = Symbol.for('minke.error');

/** Machine-readable kinds of failure; each is one way a caller can react. */
export type ErrorCode =
  | 'invalid-argument' // the caller passed a wrong value: fix the call
  | 'invalid-config' // a configuration has missing or absurd fields: fix the file
  | 'invalid-file' // a file is truncated, malformed or inconsistent: fetch it again
  | 'unsupported' // well-formed, but this build or backend cannot do it
  | 'out-of-memory' // an allocation failed or a stated limit was reached
  | 'context-overflow' // a prompt does not fit the model's context
  | 'aborted' // the caller cancelled
  | 'internal'; // a bug of ours

/** Base class of all errors thrown on purpose by Minke packages. */
export class MinkeError extends Error {
  readonly [marker] = true;
  readonly code: ErrorCode;
  /** Facts for programs, for example `{ promptTokens: 900, contextLength: 512 }`. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MinkeError';
    this.code = code;
    this.details = options.details ?? {};
  }

  /** True for a `MinkeError` of any copy of this package. */
  static isInstance(value: unknown): value is MinkeError {
    return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[marker] === true;
  }
}

/** Throws `MinkeError('invalid-argument')` unless `condition` holds. `message` is built only on failure. */
export function check(condition: unknown, message: () => string): asserts condition {
  if (!condition) throw new MinkeError('invalid-argument', message());
}
