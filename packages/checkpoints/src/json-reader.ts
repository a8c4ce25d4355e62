/**
 * A strict pull parser for small JSON documents from untrusted files.
 *
 * `JSON.parse` hides duplicate keys, rounds integers above 2^53, and builds objects in which a `__proto__` key
 * is a trap. This reader walks the text once, hands each key to the caller, and refuses all three, as well as
 * lone surrogates and deep nesting (RFC 8259; the checks are those of huggingface/safetensors). The caller
 * says what it expects at each place, so no intermediate objects are built.
 */
import { MinkeError } from '@minke/core';

const maxDepth = 8;
const whitespace = /[ \t\n\r]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids exactly these in a string
const plainText = /[^"\\\u0000-\u001f]*/y;
const wholeNumber = /(?:0|[1-9][0-9]*)(?![0-9.eE])/y;
const anyNumber = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

export class JsonReader {
  readonly #text: string;
  readonly #where: string;
  #at = 0;
  #depth = 0;

  /** @param where the beginning of every error message, such as `openSafetensors(model.safetensors)`. */
  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
  }

  /** An error that names the file; the position is where the reader stands. */
  error(problem: string): MinkeError {
    return new MinkeError('invalid-file', `${this.#where}: ${problem} (at character ${this.#at})`);
  }

  /** Reads an object; `onKey` must consume the value of each key. Keys are unique and never `__proto__`. */
  object(onKey: (key: string) => void): void {
    this.#nest('{', '}', (seen: Set<string>) => {
      const key = this.string('a key');
      if (key === '__proto__') throw this.error('the key "__proto__" is not allowed');
      if (seen.has(key)) throw this.error(`the key ${JSON.stringify(key)} appears twice`);
      seen.add(key);
      this.#expect(':', `":" after the key ${JSON.stringify(key)}`);
      onKey(key);
    });
  }

  /** Reads an array; `onItem` must consume each element. */
  array(onItem: () => void): void {
    this.#nest('[', ']', () => onItem());
  }

  string(what: string): string {
    this.#skip(whitespace);
    if (this.#text[this.#at] !== '"') throw this.error(`expected ${what} (a string), got ${this.#next()}`);
    this.#at++;
    let value = '';
    for (;;) {
      value += this.#skip(plainText);
      const char = this.#text[this.#at];
      if (char === '"') break;
      if (char !== '\\')
        throw this.error(char === undefined ? 'a string does not end' : 'a control character in a string');
      value += this.#escape();
    }
    this.#at++;
    if (
      /[\ud800-\udfff]/.test(value) &&
      /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value)
    ) {
      throw this.error('a string with half a surrogate pair');
    }
    return value;
  }

  /** Reads a whole number from 0 to 2^53 - 1, written without sign, fraction or exponent. */
  wholeNumber(what: string): number {
    this.#skip(whitespace);
    const value = Number(this.#skip(wholeNumber) || Number.NaN);
    if (!Number.isSafeInteger(value))
      throw this.error(`expected ${what} (a whole number below 2^53), got ${this.#next()}`);
    return value;
  }

  /** Consumes a value of any kind, checking its syntax. */
  skipValue(): void {
    this.#skip(whitespace);
    const char = this.#text[this.#at];
    if (char === '{') this.object(() => this.skipValue());
    else if (char === '[') this.array(() => this.skipValue());
    else if (char === '"') this.string('a value');
    else {
      const word = ['true', 'false', 'null'].find((candidate) => this.#text.startsWith(candidate, this.#at));
      if (word !== undefined) this.#at += word.length;
      else if (this.#skip(anyNumber) === '') throw this.error(`expected a value, got ${this.#next()}`);
    }
  }

  /** Checks that nothing but white space follows. */
  end(): void {
    this.#skip(whitespace);
    if (this.#at < this.#text.length)
      throw this.error(`unexpected text after the closing brace: ${this.#next()}`);
  }

  #nest(open: string, close: string, onEntry: (seen: Set<string>) => void): void {
    this.#expect(open, open === '{' ? 'an object' : 'an array');
    if (++this.#depth > maxDepth) throw this.error(`nested deeper than ${maxDepth} levels`);
    const seen = new Set<string>();
    this.#skip(whitespace);
    if (this.#text[this.#at] === close) this.#at++;
    else {
      for (;;) {
        onEntry(seen);
        this.#skip(whitespace);
        const char = this.#text[this.#at];
        if (char !== ',' && char !== close)
          throw this.error(`expected "," or "${close}", got ${this.#next()}`);
        this.#at++;
        if (char === close) break;
      }
    }
    this.#depth--;
  }

  #escape(): string {
    const kind = this.#text[this.#at + 1] ?? '';
    if (kind === 'u') {
      const digits = this.#text.slice(this.#at + 2, this.#at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.error('a \\u escape without four hexadecimal digits');
      this.#at += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const char = Object.hasOwn(escapes, kind) ? escapes[kind] : undefined;
    if (char === undefined) throw this.error(`an unknown escape \\${kind}`);
    this.#at += 2;
    return char;
  }

  #expect(char: string, what: string): void {
    this.#skip(whitespace);
    if (this.#text[this.#at] !== char) throw this.error(`expected ${what}, got ${this.#next()}`);
    this.#at++;
  }

  /** Consumes what the sticky pattern matches here, and returns it. */
  #skip(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += text.length;
    return text;
  }

  #next(): string {
    const text = this.#text.slice(this.#at, this.#at + 12);
    return text === '' ? 'the end of the text' : JSON.stringify(text);
  }
}
