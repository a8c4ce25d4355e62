export { type CodeOptions, type CodeVerdict, extractCode, verifyCode } from './code.ts';
export { CodeSandbox, type CodeTest, type SandboxLimits, type TestOutcome } from './code-sandbox.ts';
export { gsm8kVerifier, type MathsVerifierOptions, mathsEqual, mathVerifier } from './maths.ts';
export { type MathsOptions, type MathsValue, parseMaths } from './maths-parser.ts';
export { boxedContents } from './stated-answer.ts';
export { type ChoiceOptions, choiceVerifier, normalText, textVerifier } from './strings.ts';
export type { AnswerVerifier, Mode, Verdict } from './verdict.ts';
