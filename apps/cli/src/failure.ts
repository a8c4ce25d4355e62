/**
 * A failure as one line and an exit code. The stack is shown only with `DEBUG` set.
 */
import { MinkeError } from '@minke/core';

/** What to print for a failed command, and how to end: 1 failed, 130 interrupted. */
export function failure(problem: unknown): { message: string; exitCode: 1 | 130 } {
  const text = problem instanceof Error ? problem.message : String(problem);
  const stack = process.env.DEBUG && problem instanceof Error ? problem.stack : undefined;
  return {
    message: stack ?? `minke: ${text.replaceAll(/\s*\n\s*/g, ' ')}`,
    exitCode: MinkeError.isInstance(problem) && problem.code === 'aborted' ? 130 : 1,
  };
}
