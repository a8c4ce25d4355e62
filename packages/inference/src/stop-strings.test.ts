import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopStrings } from './stop-strings.ts';

function run(stops: string[], pieces: string[]): { text: string; stopped: boolean } {
  const matcher = new StopStrings(stops);
  let text = '';
  for (const piece of pieces) {
    const result = matcher.push(piece);
    text += result.text;
    if (result.stopped) return { text, stopped: true };
  }
  return { text: text + matcher.flush(), stopped: false };
}

describe('StopStrings', () => {
  it('finds a stop string spread over several pieces', () => {
    expect(run(['END'], ['abc E', 'N', 'D more'])).toEqual({ text: 'abc ', stopped: true });
  });

  it('lets the stop that is complete first win and never shows it', () => {
    expect(run(['bc', 'ab'], ['xabc'])).toEqual({ text: 'x', stopped: true });
  });

  it('shows nothing that comes after a stop string', () => {
    const matcher = new StopStrings(['.']);
    expect(matcher.push('a.')).toEqual({ text: 'a', stopped: true });
    expect(matcher.push('b')).toEqual({ text: '', stopped: true });
    expect(matcher.flush()).toBe('');
  });

  it('gives the same text however it is cut', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b') }),
        fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 }), {
          maxLength: 3,
        }),
        fc.integer({ min: 1, max: 5 }),
        (text, stops, size) => {
          const pieces = text.match(new RegExp(`.{1,${size}}`, 'g')) ?? [];
          expect(run(stops, pieces)).toEqual(run(stops, [text]));
          const found = stops
            .map((stop) => ({ at: text.indexOf(stop), stop }))
            .filter(({ at }) => at >= 0)
            .sort((a, b) => a.at + a.stop.length - b.at - b.stop.length || a.at - b.at);
          expect(run(stops, [text]).text).toBe(found[0] ? text.slice(0, found[0].at) : text);
        },
      ),
    );
  });
});
