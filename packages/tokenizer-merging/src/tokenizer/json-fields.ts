/**
 * Typed reads of an untrusted JSON value: each returns the field or throws `MinkeError('invalid-file')` that
 * names its path, what was expected and what was found.
 */
import { MinkeError } from '@minke/core';

/** A JSON object whose fields have not been looked at yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The error for a field of the wrong kind. */
export function wrongField(path: string, expected: string, value: unknown): MinkeError {
  return new MinkeError(
    'invalid-file',
    `tokenizer.json: expected ${path} to be ${expected}, got ${describe(value)}`,
  );
}

/** The error for a field that is well-formed but that this package cannot honour. */
export function unsupportedField(path: string, supported: string, value: unknown): MinkeError {
  return new MinkeError(
    'unsupported',
    `tokenizer.json: ${path} supports ${supported}, got ${describe(value)}`,
  );
}

export function asObject(value: unknown, path: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrongField(path, 'an object', value);
  return value as JsonObject;
}

export function asArray(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw wrongField(path, 'an array', value);
  return value;
}

export function asString(value: unknown, path: string): string {
  if (typeof value !== 'string') throw wrongField(path, 'a string', value);
  return value;
}

/** A boolean, or `fallback` where the file leaves the field out or null. */
export function asFlag(value: unknown, path: string, fallback: boolean): boolean {
  if (value === undefined || value === null) return fallback;
  if (typeof value !== 'boolean') throw wrongField(path, 'true or false', value);
  return value;
}

/** Largest token id accepted, exclusive: 2^22, far above any published vocabulary. */
export const maxTokens = 1 << 22;

export function isTokenId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < maxTokens;
}

export function asTokenId(value: unknown, path: string): number {
  if (!isTokenId(value)) throw wrongField(path, `an integer from 0 to ${maxTokens - 1}`, value);
  return value;
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) {
    const type = (value as JsonObject).type;
    return typeof type === 'string' ? `an object of type ${JSON.stringify(type.slice(0, 60))}` : 'an object';
  }
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
