/**
 * A failure as one line and an exit code. The stack is shown only with `DEBUG` set.
 */
import { MinkeError } from '@minke/core';

export function failure(problem: unknown): { message: string; exitCode: 1 | 2 | 130 } {
  if (process.env.DEBUG && problem instanceof Error)
    return { message: problem.stack ?? problem.message, exitCode: 1 };
  const message = `minke: ${problem instanceof Error ? problem.message : String(problem)}`;
  return { message, exitCode: MinkeError.isInstance(problem) && problem.code === 'aborted' ? 130 : 1 };
}
