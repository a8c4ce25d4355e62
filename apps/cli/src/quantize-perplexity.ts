/** What a model loses by quantisation, in its own terms: the perplexity of a text before and after. */
import { readFile } from 'node:fs/promises';
import { type Backend, MinkeError } from '@minke/core';
import { bitsPerByte, modelScorer, perplexity, scoredDocument } from '@minke/evaluation';
import { type LanguageModel, loadLanguageModel } from '@minke/inference';

/** Of one model on one text. */
export interface TextScore {
  /** Mean of -ln p. */
  readonly natsPerToken: number;
  /** exp of it. */
  readonly perplexity: number;
}

export interface PerplexityChange {
  readonly file: string;
  /** Tokens scored; the windows they are read in. */
  readonly tokens: number;
  readonly context: number;
  readonly before: TextScore;
  readonly after: TextScore;
}

/**
 * Scores a text under both models, one after the other, so that memory holds one of them.
 * @param context tokens of a window, at most what the model can
 */
export async function perplexityChange(
  [before, after]: readonly [string, string],
  file: string,
  options: { readonly backend: Backend; readonly context: number; readonly onStep: (step: string) => void },
): Promise<PerplexityChange> {
  const text = await readText(file);
  const scores = [];
  for (const [i, from] of [before, after].entries()) {
    options.onStep(`reading the text with the ${i === 0 ? 'original' : 'quantised'} model`);
    const language = await loadLanguageModel(from, { backend: options.backend });
    try {
      scores.push(await score(language, text, Math.min(options.context, language.model.config.maxPositions)));
    } finally {
      language.model.headWeight.arena.dispose();
    }
  }
  const [first, second] = scores as [Score, Score];
  const { tokens, context } = first;
  return { file, tokens, context, before: first.score, after: second.score };
}

interface Score {
  readonly tokens: number;
  readonly context: number;
  readonly score: TextScore;
}

async function score(
  { model, tokenizer, stopTokenIds }: LanguageModel,
  text: string,
  context: number,
): Promise<Score> {
  const first = model.config.bosTokenId ?? (stopTokenIds[0] as number);
  const documents = [scoredDocument('text', text, tokenizer, first)];
  const { bits, tokens } = await bitsPerByte({
    documents,
    score: modelScorer(model),
    context,
    tokensPerCall: 2048,
  });
  const natsPerToken = (bits * Math.LN2) / tokens;
  return { tokens, context, score: { natsPerToken, perplexity: perplexity({ bits, tokens }) } };
}

async function readText(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new MinkeError(
      'invalid-file',
      `quantize: cannot read the text ${file}: ${(cause as Error).message}`,
      { cause },
    );
  }
  if (text.trim() === '')
    throw new MinkeError('invalid-file', `quantize: expected a text in ${file}, got an empty file`);
  return text;
}

/** Two lines. */
export function formatPerplexity({ file, tokens, context, before, after }: PerplexityChange): string {
  const line = ({ natsPerToken, perplexity }: TextScore) =>
    `${natsPerToken.toFixed(4)} nats a token, perplexity ${perplexity.toFixed(3)}`;
  const change = 100 * (after.perplexity / before.perplexity - 1);
  return [
    `${file}, ${tokens} tokens in windows of ${context}:`,
    `  original   ${line(before)}`,
    `  quantised  ${line(after)} (${change >= 0 ? '+' : ''}${change.toFixed(2)} %)`,
  ].join('\n');
}
