import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { Calculator } from './calculator.ts';
import { pose } from './families.ts';

const problem = pose('products', { left: 47, right: 86 }, 3, new Random(1));

describe('Calculator', () => {
  it('answers calls exactly, marks who wrote what, and scores the end', () => {
    const calculator = new Calculator();
    expect(calculator.reset(problem)).toBe(problem.prompt);
    expect(calculator.step('so <calc>47*86</calc>')).toEqual({ reply: '<result>4042</result>', done: false });
    expect(calculator.step('<calc>(1/3 + 1/6) * 7</calc>')).toEqual({
      reply: '<result>7/2</result>',
      done: false,
    });
    expect(calculator.score().score).toBe(0);
    expect(calculator.step('\n</think>\nThe answer is 4042.')).toEqual({ reply: null, done: true });
    expect(calculator.parts()).toEqual([
      { from: 'model', text: 'so <calc>47*86</calc>' },
      { from: 'environment', text: '<result>4042</result>' },
      { from: 'model', text: '<calc>(1/3 + 1/6) * 7</calc>' },
      { from: 'environment', text: '<result>7/2</result>' },
      { from: 'model', text: '\n</think>\nThe answer is 4042.' },
    ]);
    expect(calculator.score()).toEqual({ score: 1, extracted: '4042' });
    expect(calculator.state()).toMatchObject({ calls: 2, failures: 0, done: true });
    expect(() => calculator.step('more')).toThrow(/call reset\(\) first/);
  });

  it('answers errors and goes on', () => {
    const calculator = new Calculator();
    calculator.reset(problem);
    for (const [call, reply] of [
      ['1/0', 'error: division-by-zero'],
      ['9^9^9', 'error: too-large'],
      ['fetch("x")', 'error: syntax'],
      ['', 'error: syntax'],
      ['7*'.repeat(500), 'error: too-long'],
      [`${'('.repeat(99)}7`, 'error: too-deep'],
      ['2^10', '1024'],
    ])
      expect(calculator.step(`<calc>${call}</calc>`)).toEqual({
        reply: `<result>${reply}</result>`,
        done: false,
        ...(reply?.startsWith('error') && { failed: true }),
      });
    expect(calculator.state()).toMatchObject({ calls: 7, failures: 6 });
  });

  it('ends at the limit of calls, and drops what was said after a call', () => {
    const calculator = new Calculator({ maxCalls: 1 });
    calculator.reset(problem);
    calculator.step('<calc>1+1</calc><result>4042</result>\n</think>\nThe answer is 4042.');
    expect(calculator.score().score).toBe(0);
    expect(calculator.parts()[0]).toEqual({ from: 'model', text: '<calc>1+1</calc>' });
    expect(calculator.step('<calc>2+2</calc>')).toEqual({ reply: null, done: true });
  });

  it('never takes the environment for the model', () => {
    const calculator = new Calculator();
    calculator.reset(problem);
    calculator.step('</think>\n<calc>47*86</calc>');
    expect(calculator.score().score).toBe(0);
    calculator.step('\nThe answer is 1.');
    expect(calculator.score().score).toBe(0);
  });

  it('continues from a state that went through JSON', () => {
    const calculator = new Calculator();
    expect(() => calculator.step('x')).toThrow(/expected an episode/);
    calculator.reset(problem);
    calculator.step('<calc>2+2</calc>');
    const resumed = Calculator.fromState(JSON.parse(JSON.stringify(calculator.state())));
    for (const one of [calculator, resumed]) one.step('</think>The answer is 4042.');
    expect(resumed.state()).toEqual(calculator.state());
    expect(resumed.score().score).toBe(1);
  });
});
