import { split } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import { preferenceRows, preferenceSettings, safetyRows } from './preferences.ts';
import { fingerprint, firstRows } from './testing/rows.ts';

const pairs = firstRows(preferenceRows({ seed: 1 }), 2000);
const labelled = firstRows(safetyRows({ seed: 1 }), 2000);
const text = (messages: readonly { content: string }[]) => (messages[0] as { content: string }).content;
const share = <T>(of: readonly T[], is: (row: T) => boolean) => of.filter(is).length / of.length;

describe('preferenceRows', () => {
  it('tells nothing by length: the longer reply is chosen in half', () => {
    const different = pairs.filter(({ chosen, rejected }) => text(chosen).length !== text(rejected).length);
    const longer = share(different, ({ chosen, rejected }) => text(chosen).length > text(rejected).length);
    expect(Math.abs(longer - 0.5)).toBeLessThan(0.04);
  });

  it('flips about one label in twenty, and keeps only gaps above the threshold', () => {
    const flipped = share(pairs, ({ extra }) => extra.flipped === true);
    expect(flipped).toBeGreaterThan(0.03);
    expect(flipped).toBeLessThan(0.08);
    for (const { extra, chosen, rejected } of pairs) {
      expect(extra.gap).toBeGreaterThanOrEqual(preferenceSettings.gap);
      expect(chosen).not.toEqual(rejected);
    }
  });

  it('is noiseless without noise', () => {
    const settings = { ...preferenceSettings, judgeNoise: 0, firstBias: 0.3, labelNoise: 0 };
    const clean = firstRows(preferenceRows({ seed: 2, settings }), 200);
    // The bias towards the first reply cancels over the two orders.
    expect(clean.every(({ extra }) => extra.flipped === false)).toBe(true);
    expect(new Set(clean.map(({ extra }) => (extra.gap as number).toFixed(6))).size).toBeLessThan(60);
  });

  it('says what to do where no pair has the gap', () => {
    const at = preferenceRows({ seed: 1, settings: { ...preferenceSettings, gap: 5 } });
    expect(() => at(0)).toThrow(/expected pairs with a gap of 5/);
  });

  it('draws from the train split, and the same pairs for ever', () => {
    for (const { extra } of pairs) expect(split({ canonical: extra.canonical as string })).toBe('train');
    expect(fingerprint(pairs.slice(0, 1000))).toMatchInlineSnapshot(`"61e39677f1b0115d"`);
  });
});

describe('safetyRows', () => {
  it('labels complying unsafe, and refusals safe, needless ones too', () => {
    const of = (style: string) =>
      labelled.filter(({ extra }) => extra.style === style && extra.flipped === false);
    expect(of('complies').every(({ label }) => !label)).toBe(true);
    for (const style of ['needless-refusal', 'good', 'rude', 'rambling'])
      expect(
        of(style).every(({ label }) => label),
        style,
      ).toBe(true);
    expect(of('needless-refusal').every(({ extra }) => extra.family !== 'harmful')).toBe(true);
    expect(of('complies').length).toBeGreaterThan(700);
    expect(of('needless-refusal').length).toBeGreaterThan(150);
  });

  it('is 70 % harmful requests, with one label in fifty flipped', () => {
    expect(Math.abs(share(labelled, ({ extra }) => extra.family === 'harmful') - 0.7)).toBeLessThan(0.03);
    expect(share(labelled, ({ extra }) => extra.flipped === true)).toBeLessThan(0.035);
  });

  it('draws from the train split, and the same rows for ever', () => {
    for (const { extra } of labelled) expect(split({ canonical: extra.canonical as string })).toBe('train');
    expect(fingerprint(labelled.slice(0, 1000))).toMatchInlineSnapshot(`"422e46f012e5de76"`);
  });
});
