/**
 * What can go wrong between a hub and the cache, as kinds that a caller can act on.
 */
import { type ErrorCode, MinkeError } from '@minke/core';

/** The kinds of failure, and the code of the error that carries each. */
const codes = {
  /** No such model, or one that the token may not see: the hub does not tell which. */
  'no-such-model': 'invalid-argument',
  'no-such-revision': 'invalid-argument',
  /** No file of the model matches, or one is gone. */
  'no-such-file': 'invalid-argument',
  /** The model's terms have to be accepted on its page first. */
  gated: 'invalid-argument',
  /** The token is wrong or has expired. */
  unauthorized: 'invalid-argument',
  /** The hub's answer is no listing of files, or one that this client refuses to follow. */
  'bad-listing': 'invalid-file',
  /** The bytes that came are not those that the listing announces. */
  'wrong-bytes': 'invalid-file',
  /** The disk has not enough room. */
  'no-space': 'out-of-memory',
  /** The file system of the cache fails: a broken disk, a folder that may not be written to. */
  disk: 'unsupported',
  /** No connection, or a hub that stayed busy or broken through all attempts. */
  unreachable: 'unsupported',
  /** Something the hub answers that asking again cannot change. */
  refused: 'unsupported',
  /** Not in the cache. */
  'not-cached': 'invalid-argument',
} as const satisfies Record<string, ErrorCode>;

/** One kind of failure. */
export type HubProblem = keyof typeof codes;

/** An error of the hub client: `problem` is the kind, `details` has `url` and `status` where there are any. */
export class HubError extends MinkeError {
  readonly problem: HubProblem;

  constructor(
    problem: HubProblem,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(codes[problem], message, { ...options, details: { ...options.details, problem } });
    this.name = 'HubError';
    this.problem = problem;
  }
}
