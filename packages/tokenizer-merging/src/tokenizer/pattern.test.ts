import { describe, expect, it } from 'vitest';
import { compilePattern } from './pattern.ts';

const matches = (pattern: string, text: string) => text.match(compilePattern(pattern, 'test')) ?? [];

describe('compilePattern', () => {
  it('reads white space as Unicode does: NEL counts, the byte order mark does not', () => {
    expect(matches('\\s+', 'a\u0085b\ufeffc\u3000')).toEqual(['\u0085', '\u3000']);
    expect(matches('[^\\s]+', 'a\u0085b\ufeffc')).toEqual(['a', 'b\ufeffc']);
  });

  it('spells out case-insensitive groups, with the long s and the Kelvin sign', () => {
    expect(matches("(?i:'s|'k)", "'s 'S 'ſ 'k 'K 'x")).toEqual(["'s", "'S", "'ſ", "'k", "'K"]);
  });

  it('reads a dot as anything but a newline', () => {
    expect(matches('.', '\r\n\u2028')).toEqual(['\r', '\u2028']);
  });

  it('reads a dollar as the end of the text or of a line', () => {
    expect(matches('\\s+$', ' a \t\n b  ')).toEqual([' \t', '  ']);
    expect(matches('a$', 'a\ra\na')).toEqual(['a', 'a']);
  });

  it('reads hexadecimal escapes, scripts, counts and literal braces', () => {
    expect(matches('[\\x{4e00}-\\x{9fa5}]+', 'a鲸鱼b')).toEqual(['鲸鱼']);
    expect(matches('\\x41\\u0042', 'AB')).toEqual(['AB']);
    expect(matches('\\p{Han}+', 'a鲸鱼b')).toEqual(['鲸鱼']);
    expect(matches('\\p{^L}', 'a1')).toEqual(['1']);
    expect(matches('a{,2}b{1}c{2,}', 'aabcc bcc')).toEqual(['aabcc', 'bcc']);
    expect(matches('a{b}', 'a{b}')).toEqual(['a{b}']);
  });

  it('reads hyphens in classes as ranges only between characters', () => {
    expect(matches('[-a-c\\p{N}-]', 'a-b1d')).toEqual(['a', '-', 'b', '1']);
    expect(matches('[^-a]', '-ab')).toEqual(['b']);
  });

  it.each([
    '^a',
    'a$*',
    'a++',
    'a?+',
    '(?>a)',
    '(?<name>a)',
    '(?i)a',
    '(a)\\1',
    '\\bword',
    '\\G',
    '[a&&b]',
    '[[:alpha:]]',
    '[]a]',
    '(?i:[a-z])',
    '\\p{NoSuchThing}',
    '(a+)+',
    '(a|b)*',
    '(?:a?){2,}',
    '(?=a)*',
  ])('refuses %s as unsupported', (pattern) => {
    expect(() => compilePattern(pattern, 'test')).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });

  it.each(['', '(', ')', '[a', '*a', 'a|+', '\\', '\\p', '\\x', '[z-a]', 'a{2,1}', 'x'.repeat(5000)])(
    'refuses %j as a broken file',
    (pattern) => {
      expect(() => compilePattern(pattern, 'test')).toThrow(
        expect.objectContaining({ code: 'invalid-file' }),
      );
    },
  );
});
