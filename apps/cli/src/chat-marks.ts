/**
 * Says when a tokenizer has no single token for the marks of a conversation.
 *
 * Bytes take their place, so nothing fails, but a model that was not trained on that spelling answers nonsense, and
 * marks in a question cannot be told from real ones.
 */
import type { TextFormat } from '@minke/inference';
import { deepseekTokens, thinkTags } from '@minke/tokenizer-merging/chat';

/** The marks that the template or thoughts need and the tokenizer spells with several tokens. */
export function spelledMarks({ tokenizer, template }: Pick<TextFormat, 'tokenizer' | 'template'>): string[] {
  const { user, assistant } = deepseekTokens;
  const marks = [user, assistant, thinkTags.open].filter((mark) => template.source.includes(mark));
  return [...marks, thinkTags.close].filter(
    (mark) => tokenizer.encode(mark, { allowSpecial: true }).length > 1,
  );
}

/** Warns on stderr. */
export function warnOfSpelledMarks(folder: string, language: TextFormat): void {
  const marks = spelledMarks(language);
  if (marks.length > 0)
    process.stderr.write(
      `minke: warning: the tokenizer of ${folder} has no token for ${marks.join(', ')} and spells them; use the tokenizer the model was trained with\n`,
    );
}
