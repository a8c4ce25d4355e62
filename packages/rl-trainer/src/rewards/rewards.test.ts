import { Random } from '@minke/core';
import { completionText, generate } from '@minke/reasoning-tasks';
import { describe, expect, it } from 'vitest';
import type { AnswerVerifier } from '../verifiers/verdict.ts';
import {
  accuracyReward,
  cosineLengthReward,
  formatReward,
  formatTaxReward,
  hasFormat,
  helpfulReward,
  kimiLengthReward,
  languageConsistency,
  languageCounter,
  languageReward,
  onlyWhere,
  perCompletion,
  type RewardInput,
  randomReward,
  reasoningStepsReward,
  repetitionRate,
  repetitionReward,
  safetyReward,
  softOverlongReward,
  tagCountReward,
  taskAccuracyReward,
} from './index.ts';

const input = (completion: string, rest: Partial<RewardInput> = {}): RewardInput => ({
  prompt: 'What is 6 * 7?',
  completion,
  length: completion.length,
  ...rest,
});
const lengths = (...all: number[]) => all.map((length) => input('', { length }));

describe('accuracy', () => {
  const exact: AnswerVerifier = (visible, gold) =>
    gold === '?'
      ? { score: null, extracted: null }
      : { score: visible.trim() === gold ? 1 : 0, extracted: visible.trim() };

  it('judges only what follows the one closing tag, and is null without a gold answer that can be read', async () => {
    const group = [
      input('6*7 </think> 42', { answer: '42' }),
      input('<think>6*7 </think>42', { answer: '42' }),
      input('42 </think> 41', { answer: '42' }),
      input('42', { answer: '42' }),
      input('a </think> b </think> 42', { answer: '42' }),
      input('6*7 </think> 42'),
      input('6*7 </think> 42', { answer: null }),
      input('6*7 </think> 42', { answer: '?' }),
      input('never ends', { answer: '?' }),
    ];
    expect(await accuracyReward(exact)(group, {})).toEqual([1, 1, 0, 0, 0, null, null, null, null]);
    expect(await accuracyReward(exact, { thinks: false })([input('42', { answer: '42' })], {})).toEqual([1]);
  });

  it('judges generated tasks by their own verifier', async () => {
    const problem = generate('products', new Random(3), 2);
    const group = [
      input(completionText(problem), { metadata: problem }),
      input('hm</think>The answer is -1.', { metadata: problem }),
      input('hm</think>The answer is -1.'),
    ];
    expect(await taskAccuracyReward()(group, {})).toEqual([1, 0, null]);
  });
});

describe('format', () => {
  const good = ['6*7=42\n</think>\n42', '6*7=42</think>42', ' x </think>\n\n\n42 \n'];
  const bad = [
    '',
    '42',
    '</think>42',
    'x</think>',
    'x</think> \n',
    '<think>x</think>42',
    'x</think>42</think>',
    'x</think><answer>42</answer>',
    'x</ think>42',
  ];

  it('of R1 is a thought, its closing tag and an answer, with free white space', () => {
    for (const text of good) expect(hasFormat(text), text).toBe(true);
    for (const text of bad) expect(hasFormat(text), text).toBe(false);
  });

  it('accepts the opening tag exactly where the prompt does not give it', () => {
    for (const text of ['<think>x</think>42', '<think>\nx\n</think>\n42']) {
      expect(hasFormat(text, { opened: false })).toBe(true);
      expect(hasFormat(text)).toBe(false);
    }
    for (const text of good) expect(hasFormat(text, { opened: false })).toBe(false);
    expect(hasFormat('so <think>x</think>42', { opened: false })).toBe(false);
    expect(hasFormat('<think><think>x</think>42', { opened: false })).toBe(false);
  });

  it('of R1-Zero wants answer tags around all that follows', () => {
    const zero = { shape: 'think-answer' } as const;
    for (const text of ['x</think><answer>42</answer>', 'x\n</think>\n\n<answer> 42 </answer>\n'])
      expect(hasFormat(text, zero), text).toBe(true);
    for (const text of [
      'x</think>42',
      'x</think><answer></answer>',
      'x</think><answer>42</answer> bye',
      'x</think>so <answer>42</answer>',
      '<answer>42</answer></think>x',
      'x</think><answer>4</answer><answer>2</answer>',
    ])
      expect(hasFormat(text, zero), text).toBe(false);
    expect(hasFormat('<think>x</think> <answer>42</answer>', { ...zero, opened: false })).toBe(true);
  });

  it('pays 1 or 0, taxes by 0 or -0.1, and pays tags each', async () => {
    const group = [input(good[0] as string), input('42'), input('x</think></think><answer>4</answer>')];
    expect(await formatReward()(group, {})).toEqual([1, 0, 0]);
    expect(await formatTaxReward()(group, {})).toEqual([0, -0.1, -0.1]);
    expect(await tagCountReward({ opened: false })(group, {})).toEqual([0.25, 0, 0.5]);
    const all = [input('<think>x</think><answer>4</answer>')];
    expect(await tagCountReward({ opened: false })(all, {})).toEqual([1]);
    expect(await tagCountReward()([input('x</think><answer>4')], {})).toEqual([2 / 3]);
  });
});

describe('reasoning steps', () => {
  it('counts markers up to three', async () => {
    const texts = [
      'Step 1: add',
      '1. add\n2. carry',
      '- a\n* b\nFirst, c',
      'Finally, x. Next, y. Step 3: z. 4',
      'no. 1.5',
    ];
    expect(
      await reasoningStepsReward()(
        texts.map((text) => input(text)),
        {},
      ),
    ).toEqual([1 / 3, 2 / 3, 1, 1, 0]);
  });
});

describe('language consistency', () => {
  const planted = {
    en: { words: ['carry', 'check', 'wrong', 'so', 'not'] },
    es: { words: ['llevo', 'comprueba', 'mal', 'luego', 'no es'] },
  };
  const scripts = { en: { scripts: ['Latin'] }, zh: { scripts: ['Han'] } };

  it('is the share of words in the wanted language', () => {
    const counter = languageCounter(planted);
    expect(languageConsistency('try 12: check, carry 1; so 12', 'en', counter)).toBe(1);
    expect(languageConsistency('Check 3*4=12, luego 12. MAL', 'en', counter)).toBeCloseTo(1 / 3);
    expect(languageConsistency('Check 3*4=12, luego 12. MAL', 'es', counter)).toBeCloseTo(2 / 3);
    expect(languageConsistency('3*4=12', 'en', counter)).toBeNull();
    expect(counter.count('5 no es par')).toEqual({ en: 0, es: 2 });
  });

  it('counts Han characters as words and leaves out maths, tags, digits and variables', () => {
    const counter = languageCounter(scripts);
    expect(counter.count('先算 x + y, then \\frac{1}{2} <b>加</b> 12')).toEqual({ en: 1, zh: 3 });
    expect(languageConsistency('先算 then', 'zh', counter)).toBeCloseTo(2 / 3);
  });

  it('does not count words that several languages share', () => {
    const counter = languageCounter({
      en: { words: ['no', 'so'], scripts: ['Latin'] },
      es: { words: ['no', 'luego'], scripts: ['Latin'] },
    });
    expect(counter.count('no so luego Paris')).toEqual({ en: 1, es: 1 });
  });

  it('reads only the thought, and says null rather than 0 where nothing can be told', async () => {
    const group = [
      input('so 1</think>luego', { language: 'en' }),
      input('luego so', { language: 'en' }),
      input('12', { language: 'en' }),
      input('so'),
    ];
    expect(await languageReward({ languages: planted })(group, {})).toEqual([1, 0.5, null, null]);
    expect(await languageReward({ languages: planted, whenEmpty: 1, target: 'es' })(group, {})).toEqual([
      1, 0.5, 1, 0,
    ]);
  });

  it('names what is wrong with its settings', async () => {
    expect(() => languageCounter({})).toThrow(/at least one language/);
    expect(() => languageCounter({ en: {} })).toThrow(/words or scripts for 'en'/);
    expect(() => languageCounter({ en: { scripts: ['Elvish'] } })).toThrow(
      /Unicode script name, got 'Elvish'/,
    );
    await expect(async () =>
      languageReward({ languages: planted })([input('so', { language: 'de' })], {}),
    ).rejects.toThrow(/one of en, es, got 'de'/);
  });
});

describe('length', () => {
  it('of Kimi compares within the group', async () => {
    const score = kimiLengthReward();
    expect(await score(lengths(100, 200, 300, 100, 300), { accuracy: [1, 1, 1, 0, 0] })).toEqual([
      0.5, 0, -0.5, 0, -0.5,
    ]);
    expect(await score(lengths(7, 7), { accuracy: [1, 0] })).toEqual([0, 0]);
    expect(await score(lengths(7), { accuracy: [1] })).toEqual([0]);
  });

  it('of Kimi leaves unjudged completions out of the range', async () => {
    expect(await kimiLengthReward()(lengths(100, 9000, 200), { accuracy: [1, null, 0] })).toEqual([
      0.5,
      null,
      -0.5,
    ]);
    expect(await kimiLengthReward()(lengths(1, 2), { accuracy: [null, null] })).toEqual([null, null]);
  });

  it('on a cosine goes from 1 to 0.5 where right and from -1 to -0.5 where wrong, and stays there', async () => {
    const score = cosineLengthReward({ maxLength: 1000 });
    const at = lengths(0, 500, 1000, 2000, 250);
    const right = (await score(at, { accuracy: [1, 1, 1, 1, 1] })) as number[];
    const wrong = (await score(at, { accuracy: [0, 0, 0, 0, 0] })) as number[];
    for (const [i, value] of [1, 0.75, 0.5, 0.5, 0.926777].entries()) {
      expect(right[i]).toBeCloseTo(value, 6);
      expect(wrong[i]).toBeCloseTo([-1, -0.75, -0.5, -0.5, -0.926777][i] as number, 6);
    }
    expect(await score(lengths(1), { accuracy: [null] })).toEqual([null]);
  });

  it('punishes softly near the limit, with DAPO’s numbers', async () => {
    const score = softOverlongReward({ maxLength: 20_480, cache: 4_096 });
    expect(await score(lengths(0, 16_384, 18_432, 20_480, 50_000), {})).toEqual([0, 0, -0.5, -1, -1]);
    expect(() => softOverlongReward({ maxLength: 10, cache: 11 })).toThrow(/0 < cache <= maxLength/);
  });

  it('says which term is missing', () => {
    expect(() => kimiLengthReward()(lengths(1), { format: [1] })).toThrow(/'accuracy' before it, got format/);
    expect(() => cosineLengthReward({ maxLength: 1, accuracy: 'toString' })(lengths(1), {})).toThrow(
      /got none/,
    );
  });
});

describe('repetition', () => {
  it('is the share of n-grams that are not new, by brute force', () => {
    const random = new Random(5);
    for (let round = 0; round < 200; round++) {
      const words = Array.from({ length: random.integer(0, 12) }, () => random.pick(['a', 'b', 'c']));
      const n = random.integer(1, 4);
      let repeated = 0;
      let all = 0;
      for (let i = 0; i + n <= words.length; i++, all++) {
        const gram = words.slice(i, i + n).join(' ');
        let earlier = false;
        for (let j = 0; j < i; j++) if (words.slice(j, j + n).join(' ') === gram) earlier = true;
        if (earlier) repeated++;
      }
      expect(repetitionRate(words.join(' '), n)).toBeCloseTo(all === 0 ? 0 : repeated / all, 12);
    }
  });

  it('costs at most the penalty', async () => {
    const group = [input('a b c'), input('so so so so so'), input(''), input('Wait wait WAIT wait')];
    expect(await repetitionReward()(group, {})).toEqual([0, -2 / 3, 0, -0.5]);
    expect(() => repetitionReward({ maxPenalty: 1 })).toThrow(/maxPenalty <= 0/);
  });
});

describe('model scores', () => {
  it('judge helpfulness by the summary and safety by everything', async () => {
    const seen: string[] = [];
    const model = async (texts: readonly { response: string }[]) =>
      texts.map(({ response }) => {
        seen.push(response);
        return response.length;
      });
    const group = [input('plan</think> ok '), input('never ends'), input('x</think>')];
    expect(await helpfulReward(model, { withoutSummary: -1 })(group, {})).toEqual([2, -1, -1]);
    expect(seen).toEqual(['ok']);
    const safe = await safetyReward(async (texts) => texts.map((_, i) => [0, 2, null][i] as number | null))(
      group,
      {},
    );
    expect(safe[0]).toBe(0.5);
    expect(safe[1]).toBeCloseTo(0.880797, 6);
    expect(safe[2]).toBeNull();
    await expect(async () => safetyReward(async () => [1])(group, {})).rejects.toThrow(/3 scores, got 1/);
  });
});

describe('helpers', () => {
  it('apply a reward where it belongs, with the columns of those completions', async () => {
    const group = [
      input('', { domain: 'math', length: 10 }),
      input('', { domain: 'chat', length: 999 }),
      input('', { domain: 'math', length: 20 }),
    ];
    const reward = onlyWhere(({ domain }) => domain === 'math', kimiLengthReward());
    expect(await reward(group, { accuracy: [1, null, 1] })).toEqual([0.5, null, -0.5]);
    expect(
      await onlyWhere(
        () => false,
        perCompletion(() => 1),
      )(group, {}),
    ).toEqual([null, null, null]);
  });

  it('draw the random control from the stream given', async () => {
    const group = lengths(...Array.from({ length: 1000 }, () => 1));
    const scores = (await randomReward(new Random(1))(group, {})) as number[];
    expect(await randomReward(new Random(1))(group, {})).toEqual(scores);
    expect(Math.abs(scores.reduce((sum, score) => sum + score, 0) - 500)).toBeLessThan(60);
    expect(() => randomReward(new Random(1), 2)).toThrow(/probability in \[0, 1\]/);
  });
});
