/**
 * The files of a model at a revision, as the hub's API lists them (`/api/models/{id}/revision/{revision}`), with the
 * size and digest of each. What comes is bounded and checked before any of it becomes a path.
 */
import type { HubClient } from './client.ts';
import { type Digest, digestOf } from './digest.ts';
import { HubError } from './hub-error.ts';
import { type HubId, isCommit, pathProblem } from './hub-id.ts';

/** One file of a model. */
export interface HubFile {
  /** In the model, with slashes. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** What its content must give; its digits name the blob in the cache. */
  readonly digest: Digest;
  /** Git's name of the content, or of the pointer to it in large-file storage. */
  readonly blobId: string | undefined;
}

/** A model at a revision. */
export interface HubListing extends HubId {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** Largest listing that is read, in bytes. */
const maxListingBytes = 64 << 20;
/** Most files that a model may have. */
const maxFiles = 100_000;

/**
 * Asks for a model's files.
 *
 * @throws HubError `no-such-model`, `no-such-revision`, `gated`, `unauthorized`, `unreachable`, `bad-listing`
 */
export async function fetchListing(client: HubClient, { id, revision }: HubId): Promise<HubListing> {
  const url = `${client.endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const { bytes } = await client.read(id, url, maxListingBytes);
  const bad = (problem: string) =>
    new HubError(
      'bad-listing',
      `${id}: ${problem} in the listing of ${client.endpoint}; is it a Hugging Face hub (HF_ENDPOINT)?`,
    );
  let listing: { sha?: unknown; siblings?: unknown } | null;
  try {
    listing = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw bad('expected JSON');
  }
  const commit = listing?.sha;
  const siblings = listing?.siblings;
  if (typeof commit !== 'string' || !isCommit(commit)) throw bad('expected the commit as "sha"');
  if (isCommit(revision) && commit !== revision)
    throw bad(`expected commit ${revision}, got ${commit} as "sha"`);
  if (!Array.isArray(siblings)) throw bad('expected files as "siblings"');
  if (siblings.length > maxFiles)
    throw bad(`expected at most ${maxFiles} files, got ${siblings.length} "siblings"`);
  const files: HubFile[] = [];
  for (const sibling of siblings) {
    files.push(fileOf(nameOf(sibling, bad), sibling, bad));
  }
  checkTree(files, bad);
  return { id, revision, commit, files };
}

/** Where a file is fetched. */
export function fileUrl(client: HubClient, { id, revision }: HubId, path: string): string {
  const parts = path.split('/').map(encodeURIComponent).join('/');
  return `${client.endpoint}/${id}/resolve/${encodeURIComponent(revision)}/${parts}`;
}

type Sibling = {
  readonly rfilename?: unknown;
  readonly size?: unknown;
  readonly blobId?: unknown;
  readonly lfs?: { readonly size?: unknown; readonly sha256?: unknown; readonly oid?: unknown } | null;
} | null;

function nameOf(sibling: Sibling, bad: (problem: string) => HubError): string {
  const path = sibling?.rfilename;
  if (typeof path !== 'string') throw bad('expected a name for each file');
  const problem = pathProblem(path);
  if (problem !== undefined)
    throw bad(`expected names of files, but ${JSON.stringify(path.slice(0, 100))} ${problem}`);
  return path;
}

function fileOf(path: string, sibling: Sibling, bad: (problem: string) => HubError): HubFile {
  const { size, blobId, lfs } = sibling ?? {};
  const id = typeof blobId === 'string' && digestOf(blobId) !== undefined ? blobId : undefined;
  const tag = lfs ? (lfs.sha256 ?? lfs.oid) : blobId;
  const digest = typeof tag === 'string' ? digestOf(tag) : undefined;
  const bytes = lfs?.size ?? size;
  if (digest === undefined || (lfs && digest.algorithm !== 'sha256'))
    throw bad(`expected the digest of ${path}, got ${JSON.stringify(tag)}`);
  if (!isSize(bytes)) throw bad(`expected the size of ${path}, got ${JSON.stringify(bytes)}`);
  return { path, size: bytes, digest, blobId: id };
}

/** The hub's name of a file's content, from the headers of its own answer. */
export function entityTag(headers: Headers): string | undefined {
  const tag = headers.get('x-linked-etag') ?? headers.get('etag');
  return tag === null ? undefined : tag.replace(/^W\//, '').replaceAll('"', '');
}

/** No file twice, none of them a folder of another. */
function checkTree(files: readonly HubFile[], bad: (problem: string) => HubError): void {
  const paths = new Set<string>();
  const folders = new Set<string>();
  for (const { path } of files) {
    if (paths.has(path)) throw bad(`expected each file once, got ${path} twice`);
    paths.add(path);
    for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1))
      folders.add(path.slice(0, slash));
  }
  for (const folder of folders)
    if (paths.has(folder)) throw bad(`expected ${folder} to be a file or a folder, got both`);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
