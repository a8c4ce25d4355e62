/** What was put into the base mixture on purpose: the report says so wherever a stage amplifies it. */
import type { BaseMixture } from '../data/index.ts';
import type { PlantedEffect } from '../report/evaluation-file.ts';

/** The effects, with their shares of rows or, where said, of thoughts. */
export function plantedEffects({ shares, habits, goodReplies }: BaseMixture): PlantedEffect[] {
  const all = shares.direct + shares.thought + shares.general;
  const { codeSwitching, foreign, tries, persistent, slip, falseVerdict, repeat } = habits;
  return [
    {
      name: 'short answers',
      what: 'problems answered at once, without a thought',
      share: shares.direct / all,
    },
    { name: 'long answers', what: 'problems thought about first', share: shares.thought / all },
    {
      name: 'mixed languages',
      what: 'of thoughts, those that switch language word by word',
      share: codeSwitching,
    },
    { name: 'foreign language', what: 'of the other thoughts, those in the other language', share: foreign },
    { name: 'tries', what: 'of derivations, those that try and check results', share: tries },
    { name: 'persistence', what: 'of searches, those that go on after a wrong try', share: persistent },
    { name: 'slips', what: 'of derivations, those with a wrong step and a wrong answer', share: slip },
    {
      name: 'false verdicts',
      what: 'of searches given up, those that call a wrong try right',
      share: falseVerdict,
    },
    { name: 'repetition', what: 'of thoughts, those that say a line or a try twice', share: repeat },
    { name: 'good replies', what: 'of chat, replies that do what was asked', share: goodReplies },
  ];
}
