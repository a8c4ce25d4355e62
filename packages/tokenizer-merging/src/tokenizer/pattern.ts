/**
 * Regular expressions of `tokenizer.json` as JavaScript ones.
 *
 * Hugging Face `tokenizers` runs Split patterns on Oniguruma (Ruby syntax, UTF-8). The published byte-level
 * patterns (GPT-2, Qwen2, Llama 3, GPT-4o, DeepSeek-V3) use a subset that this file translates one construct
 * at a time: `\s` is Unicode White_Space (JavaScript's own lacks U+0085 and adds U+FEFF), `\d` and `\w` are
 * Unicode, `.` excludes only the newline and `$` (DeepSeek-V2) is before one or at the end, `(?i:...)` is spelled out with simple case folding, `\p{Han}` is a
 * script. Everything else is refused, never guessed: anchors, back-references, possessive and atomic
 * groups, class intersection.
 *
 * Backtracking: a repeated group that itself contains a repetition or an alternative is refused, so no
 * pattern takes exponential time. Polynomial patterns remain possible in a hand-made file.
 */
import { MinkeError } from '@minke/core';

const maxPatternLength = 4096;

/** What the translator knows about the last item, to judge a quantifier after it. */
interface Item {
  readonly kind: 'none' | 'atom' | 'group' | 'look';
  readonly repeats: boolean;
}

interface Group {
  readonly look: boolean;
  readonly caseless: boolean;
  /** The body has a quantifier or an alternative. */
  repeats: boolean;
}

/**
 * Compiles an Oniguruma pattern to a global Unicode `RegExp`.
 *
 * Throws `MinkeError('unsupported')` for a construct outside the subset and `MinkeError('invalid-file')` for
 * a broken pattern. `where` names the field in messages.
 *
 * ```ts
 * 'a1 b'.match(compilePattern(' ?\\p{L}+', 'example')); // ['a', ' b']
 * ```
 */
export function compilePattern(source: string, where: string): RegExp {
  if (source.length === 0 || source.length > maxPatternLength)
    throw new MinkeError(
      'invalid-file',
      `${where}: expected a pattern of 1 to ${maxPatternLength} characters, got ${source.length}`,
    );
  const translated = new Translator(source, where).run();
  let compiled: RegExp;
  try {
    compiled = new RegExp(translated, 'gu');
  } catch (cause) {
    throw new MinkeError('invalid-file', `${where}: expected a regular expression, got ${source}`, { cause });
  }
  return compiled;
}

class Translator {
  private at = 0;
  private readonly groups: Group[] = [{ look: false, caseless: false, repeats: false }];
  private last: Item = { kind: 'none', repeats: false };

  constructor(
    private readonly source: string,
    private readonly where: string,
  ) {}

  run(): string {
    let out = '';
    while (this.at < this.source.length) out += this.next();
    if (this.groups.length !== 1) throw this.broken('an unclosed group');
    return out;
  }

  private next(): string {
    const char = this.take();
    switch (char) {
      case '\\':
        return this.atom(this.escape(false));
      case '[':
        return this.atom(this.characterClass());
      case '(':
        return this.open();
      case ')':
        return this.close();
      case '|':
        this.top().repeats = true;
        this.last = { kind: 'none', repeats: false };
        return '|';
      case '.':
        return this.atom('[^\\n]');
      case '*':
        return this.quantifier('*', Number.POSITIVE_INFINITY);
      case '+':
        return this.quantifier('+', Number.POSITIVE_INFINITY);
      case '?':
        return this.quantifier('?', 1);
      case '{': {
        const counts = /^(\d{0,5})(,?)(\d{0,5})\}/.exec(this.source.slice(this.at, this.at + 14));
        if (counts === null || (counts[1] === '' && counts[3] === '')) return this.atom('\\{');
        this.at += counts[0].length;
        const min = counts[1] === '' ? '0' : counts[1]!;
        const max = counts[2] === '' ? min : counts[3]!;
        const text = counts[2] === '' ? `{${min}}` : `{${min},${max}}`;
        return this.quantifier(text, max === '' ? Number.POSITIVE_INFINITY : Number(max));
      }
      case '$':
        this.last = { kind: 'look', repeats: false };
        return '(?![^\\n])';
      case '^':
        throw this.unsupported(`anchor ${char}`);
      default:
        return this.atom(this.literal(char));
    }
  }

  private quantifier(text: string, max: number): string {
    const { kind, repeats } = this.last;
    if (kind === 'none') throw this.broken(`${text} with nothing to repeat`);
    if (kind === 'look') throw this.unsupported('a repeated look-around');
    if (repeats && max > 1) throw this.unsupported('a repetition inside a repetition (unbounded time)');
    let lazy = '';
    if (this.source[this.at] === '?') {
      this.at++;
      lazy = '?';
    } else if (this.source[this.at] === '+') {
      throw this.unsupported('a possessive quantifier');
    }
    this.top().repeats = true;
    this.last = { kind: 'none', repeats: false };
    return text + lazy;
  }

  private open(): string {
    const rest = this.source.slice(this.at, this.at + 4);
    const parent = this.top();
    const kinds: [string, string, boolean, boolean][] = [
      ['?i:', '(?:', false, true],
      ['?:', '(?:', false, parent.caseless],
      ['?=', '(?=', true, parent.caseless],
      ['?!', '(?!', true, parent.caseless],
      ['?<=', '(?<=', true, parent.caseless],
      ['?<!', '(?<!', true, parent.caseless],
    ];
    const kind = kinds.find(([prefix]) => rest.startsWith(prefix));
    if (kind === undefined && rest.startsWith('?')) throw this.unsupported(`group (${rest}`);
    if (this.groups.length > 64) throw this.unsupported('groups nested deeper than 64');
    this.groups.push({ look: kind?.[2] ?? false, caseless: kind?.[3] ?? parent.caseless, repeats: false });
    this.at += kind?.[0].length ?? 0;
    this.last = { kind: 'none', repeats: false };
    return kind?.[1] ?? '(?:';
  }

  private close(): string {
    if (this.groups.length === 1) throw this.broken('a closing parenthesis without its opening one');
    const group = this.groups.pop()!;
    if (group.repeats) this.top().repeats = true;
    this.last = { kind: group.look ? 'look' : 'group', repeats: group.repeats };
    return ')';
  }

  private escape(inClass: boolean): string {
    if (this.at >= this.source.length) throw this.broken('a backslash at the end');
    const char = this.take();
    switch (char) {
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'v':
        return `\\${char}`;
      case 's':
        return '\\p{White_Space}';
      case 'S':
        return '\\P{White_Space}';
      case 'd':
        return '\\p{Nd}';
      case 'D':
        return '\\P{Nd}';
      case 'w':
        return inClass ? '\\p{L}\\p{M}\\p{N}\\p{Pc}' : '[\\p{L}\\p{M}\\p{N}\\p{Pc}]';
      case 'W':
        if (inClass) throw this.unsupported('\\W in a character class');
        return '[^\\p{L}\\p{M}\\p{N}\\p{Pc}]';
      case 'p':
      case 'P':
        return this.property(char);
      case 'x':
      case 'u': {
        const hex = /^(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{4}|[0-9A-Fa-f]{2}))/.exec(
          this.source.slice(this.at, this.at + 8),
        );
        if (hex === null) throw this.broken(`\\${char} without hexadecimal digits`);
        const digits = hex[1] ?? (char === 'x' ? hex[2]!.slice(0, 2) : hex[2]!);
        this.at += hex[1] === undefined ? digits.length : hex[0].length;
        return `\\u{${digits}}`;
      }
      default:
        if (/[0-9A-Za-z]/.test(char)) throw this.unsupported(`escape \\${char}`);
        return this.literal(char);
    }
  }

  private property(letter: 'p' | 'P'): string {
    const match = /^\{(\^?)([A-Za-z_]{1,40})\}/.exec(this.source.slice(this.at, this.at + 48));
    if (match === null) throw this.broken(`\\${letter} without a property in braces`);
    this.at += match[0].length;
    const negated = (letter === 'P') !== (match[1] === '^');
    for (const name of [match[2]!, `Script=${match[2]}`]) {
      const text = `\\${negated ? 'P' : 'p'}{${name}}`;
      if (isPattern(text)) return text;
    }
    throw this.unsupported(`property ${match[2]}`);
  }

  private characterClass(): string {
    let out = '[';
    const caseless = this.top().caseless;
    if (this.source[this.at] === '^') {
      this.at++;
      out += '^';
    }
    if (this.source[this.at] === ']') throw this.unsupported('] as the first member of a class');
    for (;;) {
      if (this.at >= this.source.length) throw this.broken('an unclosed character class');
      const char = this.take();
      if (char === ']') return `${out}]`;
      if (char === '[') throw this.unsupported('a class inside a class');
      if (char === '&' && this.source[this.at] === '&') throw this.unsupported('class intersection &&');
      if (caseless && /\p{L}/u.test(char)) throw this.unsupported('letters of a class under (?i:');
      if (char === '\\') out += this.escape(true);
      else if (char === '-') out += this.isRange(out) ? '-' : '\\-';
      else out += quote(char);
    }
  }

  /** A hyphen is a range unless it stands first, last, or after a class escape. */
  private isRange(before: string): boolean {
    return (
      !before.endsWith('[') &&
      !before.endsWith('[^') &&
      this.source[this.at] !== ']' &&
      !/\\[pP]\{[^}]*\}$/.test(before)
    );
  }

  private literal(char: string): string {
    if (!this.top().caseless) return quote(char);
    const forms = new Set([
      char,
      char.toLowerCase(),
      char.toUpperCase(),
      ...(caseFolds.get(char.toLowerCase()) ?? []),
    ]);
    const single = [...forms].filter((form) => [...form].length === 1);
    return single.length === 1 ? quote(char) : `[${single.map(quote).join('')}]`;
  }

  private atom(text: string): string {
    this.last = { kind: 'atom', repeats: false };
    return text;
  }

  private take(): string {
    const char = String.fromCodePoint(this.source.codePointAt(this.at)!);
    this.at += char.length;
    return char;
  }

  private top(): Group {
    return this.groups[this.groups.length - 1]!;
  }

  private unsupported(what: string): MinkeError {
    return new MinkeError(
      'unsupported',
      `${this.where}: expected a pattern of the GPT-2, Qwen2, Llama 3 or DeepSeek-V3 kind, got ${what} at offset ${this.at}`,
    );
  }

  private broken(what: string): MinkeError {
    return new MinkeError(
      'invalid-file',
      `${this.where}: expected a regular expression, got ${what} at offset ${this.at}`,
    );
  }
}

/** Letters whose simple case folding has a third form: long s and the Kelvin sign. */
const caseFolds: ReadonlyMap<string, readonly string[]> = new Map([
  ['s', ['\u017f']],
  ['k', ['\u212a']],
]);

function quote(char: string): string {
  return /[\^$\\.*+?()[\]{}|/-]/.test(char) ? `\\u{${char.codePointAt(0)!.toString(16)}}` : char;
}

function isPattern(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}
