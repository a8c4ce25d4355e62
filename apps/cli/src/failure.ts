/**
 * How a command ends: exit codes, and errors as one clear line on stderr (with a stack trace when DEBUG is set).
 */
import { MinkeError } from '@minke/core';

/** 0 done, 1 failed with a message, 2 wrong usage, 130 interrupted. */
export type ExitCode = 0 | 1 | 2 | 130;

/** The command line asks for something that does not exist or does not go together: exit code 2. */
export class UsageError extends Error {}

/** Prints why a command failed and tells its exit code. */
export function report(problem: unknown): ExitCode {
  const debug = process.env.DEBUG !== undefined && process.env.DEBUG !== '';
  const text = problem instanceof Error ? problem.message : String(problem);
  const line =
    debug && problem instanceof Error ? (problem.stack ?? text) : text.replaceAll(/\s*\n\s*/g, ' ');
  process.stderr.write(`error: ${line}\n`);
  if (problem instanceof UsageError) return 2;
  return MinkeError.isInstance(problem) && problem.code === 'aborted' ? 130 : 1;
}
