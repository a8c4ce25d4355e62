/**
 * Which of a prompt's samples are kept: filters first, then duplicates, then the number wanted.
 *
 * DeepSeek-R1 keeps correct samples only and drops mixed languages, long paragraphs and code blocks
 * (https://arxiv.org/abs/2501.12948, section 2.3.3); what is wrong with a sample is for filters of the caller to
 * say. The first samples that pass are kept, in the order they were drawn: preferring short or likely ones here
 * would be a second, hidden selection.
 */

/** A prompt to sample from. */
export interface RejectionPrompt {
  /** Unique among the prompts. */
  readonly id: string;
  /** Ids of the encoded prompt, at least one. */
  readonly tokens: readonly number[];
  /** The question as text, for the output and for filters. */
  readonly text: string;
  /** What the yield is counted by: a task family, `math`, `general` ... */
  readonly kind: string;
  /** Further columns, plain JSON: answer, metadata. They come out beside the sample. */
  readonly task: Readonly<Record<string, unknown>>;
}

/** A sample on trial. */
export interface Candidate {
  readonly prompt: RejectionPrompt;
  /** Which of its prompt's samples, from 0. */
  readonly sample: number;
  /** Ids of the completion, the stop token included. */
  readonly tokens: readonly number[];
  /** The completion without its stop token. */
  readonly text: string;
  readonly finish: 'stop' | 'length';
  readonly policyVersion: number;
}

/** Why a sample is not kept, in a word or two that the histogram counts by; null where nothing is wrong. */
export type RejectionFilter = (candidate: Candidate) => string | null | Promise<string | null>;

/** Rejects samples that were cut by the length limit: they would teach not to end. */
export const unfinished: RejectionFilter = ({ finish }) => (finish === 'length' ? 'unfinished' : null);

/** Settings of the selection. */
export interface SelectionOptions {
  /** In order; the first reason counts. */
  readonly filters: readonly RejectionFilter[];
  /** Most samples kept of one prompt. */
  readonly keepPerPrompt: number;
  /** Samples of one prompt with the same key are duplicates; default: the text. */
  readonly keyOf?: (candidate: Candidate) => string;
}

/** The reason of each candidate of one prompt, in order; null for those that are kept. */
export async function selectCandidates(
  candidates: readonly Candidate[],
  { filters, keepPerPrompt, keyOf = ({ text }) => text }: SelectionOptions,
): Promise<(string | null)[]> {
  const reasons: (string | null)[] = [];
  const seen = new Set<string>();
  for (const candidate of candidates) {
    let reason: string | null = null;
    for (const filter of filters) {
      reason = await filter(candidate);
      if (reason !== null) break;
    }
    const key = keyOf(candidate);
    if (reason === null && seen.has(key)) reason = 'duplicate';
    if (reason === null && seen.size >= keepPerPrompt) reason = 'surplus';
    if (reason === null) seen.add(key);
    reasons.push(reason);
  }
  return reasons;
}
