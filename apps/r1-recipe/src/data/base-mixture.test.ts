import { languageConsistency, split } from '@minke/reasoning-tasks';
import { deepseekR1Template } from '@minke/tokenizer-merging/chat';
import { describe, expect, it } from 'vitest';
import { recipeSettings } from '../stages/settings.ts';
import { baseMixture, baseRows } from './base-mixture.ts';
import { generalRows } from './general-rows.ts';
import { RowSource } from './row-source.ts';
import type { Row } from './task.ts';
import { fingerprint, firstRows } from './testing/rows.ts';
import { recipeTokenizer } from './tokenizer.ts';
import { completionOf } from './trace.ts';

const rows = firstRows(baseRows({ seed: 1 }), 6000);
const thoughts = rows.filter(({ reasoning }) => reasoning !== '');
const share = (of: readonly Row[], is: (row: Row) => boolean) => of.filter(is).length / of.length;

describe('baseRows', () => {
  it('is 55 % direct answers, 35 % thoughts, 10 % chat, of which half good', () => {
    expect(Math.abs(share(rows, ({ style }) => style === 'direct' || style === 'guess') - 0.55)).toBeLessThan(
      0.02,
    );
    expect(Math.abs(thoughts.length / rows.length - 0.35)).toBeLessThan(0.015);
    const chat = rows.filter(({ domain }) => domain === 'general');
    expect(Math.abs(chat.length / rows.length - 0.1)).toBeLessThan(0.015);
    expect(Math.abs(share(chat, ({ style }) => style === 'good') - 0.5)).toBeLessThan(0.07);
    expect(chat.every(({ reasoning }) => reasoning === '')).toBe(true);
  });

  it('answers directly what is right', () => {
    for (const { style, answer } of rows)
      if (style === 'direct') expect(answer).toMatch(/^(?:The answer is|La respuesta es) /);
  });

  it('has thoughts in both languages at once, in the wrong one, with tries, and given up', () => {
    const consistency = thoughts.map(
      ({ reasoning, language }) => languageConsistency(reasoning, language) ?? 1,
    );
    const mixed = consistency.filter((value) => value > 0 && value < 1).length / thoughts.length;
    const foreign = consistency.filter((value) => value === 0).length / thoughts.length;
    // Code-switched thoughts of one word are in one language by chance.
    expect(mixed).toBeGreaterThan(0.08);
    expect(mixed).toBeLessThan(0.3);
    expect(foreign).toBeGreaterThan(0.15);
    expect(foreign).toBeLessThan(0.4);
    for (const [style, low, high] of [
      ['search', 0.08, 0.2],
      ['give-up', 0.08, 0.2],
      ['checked', 0.05, 0.15],
      ['slip', 0.06, 0.15],
      ['false-verdict', 0.003, 0.03],
      ['thought', 0.35, 0.55],
    ] as const) {
      const found = share(thoughts, (row) => row.style === style);
      expect(found, style).toBeGreaterThan(low);
      expect(found, style).toBeLessThan(high);
    }
  });

  it('takes its shares from the settings', () => {
    const mixture = { ...baseMixture, shares: { direct: 0, thought: 1, general: 0 } };
    expect(firstRows(baseRows({ seed: 1, mixture }), 200).every(({ reasoning }) => reasoning !== '')).toBe(
      true,
    );
    expect(() => baseRows({ seed: 1, mixture: { ...baseMixture, goodReplies: 2 } })).toThrow(/goodReplies 2/);
  });

  it('draws from the train split, and the same rows for ever', () => {
    expect(rows.every(({ canonical }) => split({ canonical }) === 'train')).toBe(true);
    expect(fingerprint(rows.slice(0, 1000))).toMatchInlineSnapshot(`"0b7022dd7b867db2"`);
    expect(fingerprint(firstRows(generalRows({ seed: 1 })))).toMatchInlineSnapshot(`"576fb7f6dad55ea6"`);
  });
});

describe('RowSource', () => {
  it('continues from its state with the example that would have come next', () => {
    const source = () => new RowSource(baseRows({ seed: 3 }), recipeTokenizer(), deepseekR1Template);
    const [one, other] = [source(), source()];
    for (let i = 0; i < 7; i++) one.next();
    other.restore(JSON.parse(JSON.stringify(one.state())));
    expect(other.next()).toEqual(one.next());
    expect(() => other.restore({})).toThrow(/expected a position/);
  });

  it('keeps completions short: 19 of 20 thoughts below 125 tokens, all within what reinforcement samples', () => {
    const tokenizer = recipeTokenizer();
    const lengths = thoughts.map((row) => tokenizer.encode(completionOf(row)).length).sort((a, b) => a - b);
    expect(lengths[Math.floor(lengths.length * 0.95)]).toBeLessThan(125);
    expect(lengths.at(-1)).toBeLessThan(recipeSettings.full.selfEvolution.config.maxCompletionLength);
  });
});
