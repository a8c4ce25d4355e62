/**
 * Reading a config.json: typed access to its fields that collects problems, so that all of a file's are reported together.
 */
import { show } from './show.ts';

/** @internal Typed access to a JSON object that collects problems instead of throwing. */
export class Fields {
  readonly #json: Record<string, unknown>;
  readonly #prefix: string;
  readonly problems: string[];

  constructor(json: Record<string, unknown>, prefix: string, problems: string[] = []) {
    this.#json = json;
    this.#prefix = prefix;
    this.problems = problems;
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.#json, name) ? this.#json[name] : undefined;
  }

  number(name: string, fallback?: number): number {
    return this.#typed(name, 'number', fallback, Number.NaN);
  }

  /** A number or null; missing counts as `fallback`, and as a problem without one. */
  nullable(name: string, fallback?: number | null): number | null {
    if (this.raw(name) === null) return null;
    if (this.raw(name) === undefined && fallback !== undefined) return fallback;
    return this.number(name);
  }

  flag(name: string, fallback: boolean): boolean {
    return this.#typed(name, 'boolean', fallback, fallback);
  }

  text(name: string, fallback: string): string {
    return this.#typed(name, 'string', fallback, fallback);
  }

  /** Reports any value but this one, or none. */
  only(name: string, expected: unknown): void {
    const value = this.raw(name) ?? expected;
    if (value !== expected) this.#problem(name, show(expected), value);
  }

  #typed<T>(name: string, type: string, fallback: T | undefined, bad: T): T {
    const value = this.raw(name);
    // Published files write null for a default.
    if ((value === undefined || value === null) && fallback !== undefined) return fallback;
    const found: string = typeof value;
    if (found === type) return value as T;
    this.#problem(name, `a ${type}`, value);
    return bad;
  }

  #problem(name: string, expected: string, value: unknown): void {
    this.problems.push(`${this.#prefix}${name} ${expected}, got ${show(value)}`);
  }
}
