export { type GrpoMetrics, type GrpoOptions, trainGrpo } from './grpo.ts';
export { type LocalPolicy, type LocalPolicyOptions, localPolicy } from './local-policy.ts';
export {
  type PromptData,
  type PromptFormat,
  type PromptSource,
  type RlPrompt,
  rowPrompts,
  taskPrompts,
} from './prompt-source.ts';
export { LocalReference, type Reference } from './reference.ts';
export { withoutClock } from './step-clock.ts';
