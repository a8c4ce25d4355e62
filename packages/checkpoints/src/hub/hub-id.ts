/**
 * Names on a hub: `owner/name@revision`, commits, and the paths of files, all of which become paths on this disk
 * and are therefore checked character by character.
 */
import { MinkeError } from '@minke/core';

/** A model and a revision of it. */
export interface HubId {
  /** `owner/name`. */
  readonly id: string;
  /** A branch, a tag, `refs/pr/1` or a commit. */
  readonly revision: string;
}

/** As huggingface_hub: at most 96 characters, no `--` (which separates in the cache) and no `..`. */
const namePart = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?$/;
const revisionName = /^[A-Za-z0-9_][A-Za-z0-9._+/-]*$/;
const maxIdLength = 96;
const maxRevisionLength = 250;
const maxPathLength = 1024;

/** Whether a text has the shape of `owner/name` or `owner/name@revision`. Folders can have it too. */
export function isHubId(text: string): boolean {
  const { id, revision } = split(text);
  return isModelId(id) && isRevision(revision);
}

/**
 * Takes `owner/name@revision` apart; the revision is `main` where none is named.
 *
 * @throws MinkeError `invalid-argument`
 * @example
 * parseHubId('deepseek-ai/DeepSeek-V2-Lite'); // { id: 'deepseek-ai/DeepSeek-V2-Lite', revision: 'main' }
 */
export function parseHubId(text: string): HubId {
  const parts = split(text);
  if (!isModelId(parts.id))
    throw new MinkeError(
      'invalid-argument',
      `parseHubId: expected a model as owner/name or owner/name@revision, got ${JSON.stringify(text.slice(0, 200))}`,
    );
  if (!isRevision(parts.revision))
    throw new MinkeError(
      'invalid-argument',
      `parseHubId: expected a branch, tag or commit after the @, got ${JSON.stringify(parts.revision.slice(0, 200))}`,
    );
  return parts;
}

/** Whether a revision is a commit, which never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** The name of a model's folder in a cache. */
export function cacheName(id: string): string {
  return `models--${id.replace('/', '--')}`;
}

/** Why a path of a file in a model cannot be one on this disk; undefined if it can. */
export function pathProblem(path: string): string | undefined {
  if (path === '' || path.length > maxPathLength) return `has ${path.length} characters`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
  if (/[\\:*?"<>|\u0000-\u001f\u007f]/.test(path)) return 'has characters that are not allowed in names';
  for (const part of path.split('/')) {
    if (part === '' || part === '.' || part === '..') return 'leads out of its folder';
    if (part.length > 255) return 'has a name of more than 255 characters';
    if (/[. ]$/.test(part)) return 'has a name that ends with a dot or a space';
  }
  return undefined;
}

function split(text: string): HubId {
  const at = text.indexOf('@');
  return at < 0 ? { id: text, revision: 'main' } : { id: text.slice(0, at), revision: text.slice(at + 1) };
}

function isModelId(id: string): boolean {
  const parts = id.split('/');
  return (
    parts.length === 2 &&
    id.length <= maxIdLength &&
    !/--|\.\./.test(id) &&
    parts.every((part) => namePart.test(part))
  );
}

function isRevision(revision: string): boolean {
  return (
    revision.length <= maxRevisionLength &&
    revisionName.test(revision) &&
    !/\.\.|\/\/|\/\.|\.lock(\/|$)|[./]$/.test(revision)
  );
}
