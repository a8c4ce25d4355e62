/**
 * Problems as training text: the visible answer, the assistant's completion, chat rows and JSON lines.
 *
 * Rows have the Hub's conversational form with the thought apart, `{messages: [{role, content,
 * reasoning_content?}]}`, as DeepSeek's API returns it.
 */
import { chainOfThought } from './families.ts';
import type { Problem } from './problem.ts';
import type { ThoughtOptions } from './task-family.ts';

/** A chat row of one question and one answer. */
export interface ChatRow {
  readonly messages: readonly [
    { readonly role: 'user'; readonly content: string },
    { readonly role: 'assistant'; readonly content: string; readonly reasoning_content: string },
  ];
}

/** The visible answer: `The answer is 1325.`, or `La respuesta es 1325.` where the question is Spanish. */
export function answerSentence(problem: Pick<Problem, 'answer' | 'language'>): string {
  return `${problem.language === 'es' ? 'La respuesta es' : 'The answer is'} ${problem.answer}.`;
}

/** What is said after a thought that gave up; it scores 0. */
const noAnswer = { en: 'I do not know.', es: 'No lo sé.' } as const;

function visibleAnswer(problem: Problem, options: ThoughtOptions): string {
  return options.giveUp ? noAnswer[problem.language ?? 'en'] : answerSentence(problem);
}

/** What the assistant says after `<think>\n`: the thought, a closing `</think>`, the visible answer. */
export function completionText(problem: Problem, options: ThoughtOptions = {}): string {
  const thought = chainOfThought(problem, options);
  return `${thought}${thought === '' ? '' : '\n'}</think>\n${visibleAnswer(problem, options)}`;
}

/** The problem as a conversation with its thought in `reasoning_content`. */
export function toChat(problem: Problem, options: ThoughtOptions = {}): ChatRow {
  return {
    messages: [
      { role: 'user', content: problem.prompt },
      {
        role: 'assistant',
        content: visibleAnswer(problem, options),
        reasoning_content: chainOfThought(problem, options),
      },
    ],
  };
}

/**
 * JSON lines of chat rows, each with `id`, `family`, `difficulty` and `answer` beside `messages`; one newline
 * after every row.
 *
 * @example
 * for (const line of toJsonLines(dataset('products', 'train', { seed: 1, count: 100 }))) file.write(line);
 */
export function* toJsonLines(problems: Iterable<Problem>, options: ThoughtOptions = {}): Generator<string> {
  for (const problem of problems) {
    const { id, family, difficulty, answer } = problem;
    yield `${JSON.stringify({ id, family, difficulty, answer, ...toChat(problem, options) })}\n`;
  }
}
