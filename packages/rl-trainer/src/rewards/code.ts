/**
 * The reward of programs: tests run in the sandbox, on what follows the thought.
 */
import { type CodeOptions, verifyCode } from '../verifiers/code.ts';
import type { CodeSandbox, CodeTest } from '../verifiers/code-sandbox.ts';
import { perCompletion, type Reward, type RewardInput } from './reward.ts';
import { occurrences, sections } from './sections.ts';

/** Where tests come from. */
export interface CodeRewardOptions extends CodeOptions {
  /** The hidden tests of a prompt; null where it has none, which scores null. */
  readonly testsOf: (input: RewardInput) => readonly CodeTest[] | null;
}

/** The code verifier's score of each completion; a thought that does not end exactly once answered nothing. */
export function codeReward(sandbox: CodeSandbox, options: CodeRewardOptions): Reward {
  return perCompletion(async (input) => {
    const answered = occurrences(input.completion, '</think>') === 1;
    const visible = answered ? (sections(input.completion).visible ?? '') : '';
    return (await verifyCode(sandbox, visible, options.testsOf(input), options)).score;
  });
}
