/**
 * A hub on this machine, for tests: the API and addresses of a Hugging Face hub over files in memory, with the
 * faults of real ones on demand. Files in large-file storage are redirected to another host name, as the real hub
 * does to its store; the store counts requests that carry a token, which none may.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a request suffers. Positions are bytes of the body. */
export type HubFault =
  /** The connection ends in the middle of the body, after a share of it. */
  | { readonly kind: 'drop'; readonly share: number }
  /** The same, but as if the body ended well. */
  | { readonly kind: 'short'; readonly share: number }
  /** Content-Length says so many bytes more or fewer than there are. */
  | { readonly kind: 'wrong-length'; readonly difference: number }
  /** One byte is another. */
  | { readonly kind: 'garbage'; readonly share: number }
  | { readonly kind: 'ignore-range' }
  /** Another range than was asked for, and one that its header does not tell. */
  | { readonly kind: 'wrong-range' }
  | { readonly kind: 'wrong-etag' }
  /** A body compressed without being asked. */
  | { readonly kind: 'gzip' }
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'redirect'; readonly location: string }
  /** A pause before the answer, and another in the middle of its body. */
  | { readonly kind: 'slow'; readonly ms: number };

/** A model on the stand-in. */
export interface StandInModel {
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Files in large-file storage: by default those of at least 1,000 bytes. */
  readonly isLarge?: (path: string, bytes: Uint8Array) => boolean;
  /** Branches and tags. Default: `main`. */
  readonly revisions?: readonly string[];
  /** Only for requests with this token. */
  readonly token?: string;
  readonly gated?: boolean;
}

/** What `StandInHub` is told before each answer. */
export interface StandInRequest {
  readonly kind: 'api' | 'resolve' | 'store';
  readonly method: string;
  readonly url: string;
  readonly range: string | undefined;
}

interface Stored extends StandInModel {
  readonly commit: string;
  /** Changes the listing before it is sent. */
  readonly listing?: (listing: Record<string, unknown>) => unknown;
}

/** A running stand-in. */
export class StandInHub {
  /** Requests so far. */
  readonly requests: StandInRequest[] = [];
  /** Requests to the store that carried a token. */
  leaks = 0;
  /** Called before each answer. */
  fault: (request: StandInRequest) => HubFault | undefined = () => undefined;
  readonly #models = new Map<string, Stored>();
  readonly #blobs = new Map<string, Uint8Array>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Starts one on a free port of the loopback address. */
  static async start(): Promise<StandInHub> {
    const server = createServer();
    const hub = new StandInHub(server);
    server.on('request', (request, response) => {
      response.on('error', () => {});
      hub.#answer(request, response).catch(() => response.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return hub;
  }

  /** Its address, for `HF_ENDPOINT`. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /**
   * Adds or replaces a model; its commit follows from its content.
   *
   * @param listing changes the API's answer, for malformed ones
   * @returns the commit
   */
  add(id: string, model: StandInModel, listing?: (listing: Record<string, unknown>) => unknown): string {
    const sum = createHash('sha1').update(id);
    for (const [path, bytes] of Object.entries(model.files)) {
      sum.update(path).update(bytes);
      this.#blobs.set(sha256(bytes), bytes);
    }
    const commit = sum.digest('hex');
    this.#models.set(id, { ...model, commit, ...(listing && { listing }) });
    return commit;
  }

  /** Ends it and all connections. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request;
    const path = decodeURIComponent(url.split('?')[0] as string);
    const kind = path.startsWith('/api/') ? 'api' : path.startsWith('/store/') ? 'store' : 'resolve';
    const asked: StandInRequest = { kind, method, url, range: headers.range };
    this.requests.push(asked);
    if (kind === 'store' && headers.authorization !== undefined) this.leaks++;
    const fault = this.fault(asked);
    if (fault?.kind === 'status') {
      response.writeHead(fault.status, fault.headers).end(`fault ${fault.status}`);
      return;
    }
    if (fault?.kind === 'redirect') {
      response.writeHead(302, { location: fault.location }).end();
      return;
    }
    if (fault?.kind === 'slow') await sleep(fault.ms);
    if (kind === 'store') {
      const bytes = this.#blobs.get(path.slice('/store/'.length));
      if (bytes === undefined) response.writeHead(404).end();
      else await send(request, response, bytes, `md5-${bytes.length}`, {}, fault);
      return;
    }
    const found = /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(revision|tree|resolve)\/(.*)$/.exec(path);
    const model = this.#models.get(found?.[1] ?? '');
    if (found === null || model === undefined) return refuse(response, 404, 'RepoNotFound');
    if (model.token !== undefined && headers.authorization !== `Bearer ${model.token}`)
      return refuse(response, 401, 'RepoNotFound');
    if (model.gated && headers.authorization === undefined) return refuse(response, 401, 'GatedRepo');
    const revisions = [...(model.revisions ?? ['main']), model.commit];
    const rest = found[3] as string;
    const revision = revisions.find((name) => rest === name || rest.startsWith(`${name}/`));
    if (revision === undefined) return refuse(response, 404, 'RevisionNotFound');
    if (found[2] === 'resolve')
      return this.#resolve(request, response, model, rest.slice(revision.length + 1), fault);
    const listing = found[2] === 'tree' ? tree(model) : siblings(found[1] as string, model);
    const body = Buffer.from(JSON.stringify(listing));
    await send(request, response, body, 'listing', { 'content-type': 'application/json' }, fault);
  }

  async #resolve(
    request: IncomingMessage,
    response: ServerResponse,
    model: Stored,
    path: string,
    fault: HubFault | undefined,
  ): Promise<void> {
    const bytes = Object.hasOwn(model.files, path) ? model.files[path] : undefined;
    const common = { 'x-repo-commit': model.commit };
    if (bytes === undefined) return refuse(response, 404, 'EntryNotFound', common);
    if (!isLarge(model, path, bytes)) return send(request, response, bytes, gitSha1(bytes), common, fault);
    response
      .writeHead(302, {
        ...common,
        location: `http://localhost:${this.#port}/store/${sha256(bytes)}?signature=secret`,
        'x-linked-size': String(bytes.length),
        'x-linked-etag': `"${sha256(bytes)}"`,
      })
      .end();
  }
}

function isLarge({ isLarge: large }: StandInModel, path: string, bytes: Uint8Array): boolean {
  return large === undefined ? bytes.length >= 1000 : large(path, bytes);
}

function siblings(id: string, model: Stored): unknown {
  const listing = {
    id,
    modelId: id,
    private: false,
    sha: model.commit,
    siblings: entries(model).map(({ path, oid, size, lfs }) => ({
      rfilename: path,
      size,
      blobId: oid,
      ...(lfs && { lfs: { sha256: lfs.oid, size, pointerSize: 130 } }),
    })),
  };
  return model.listing === undefined ? listing : model.listing(listing);
}

function tree(model: Stored): unknown {
  return entries(model).map((entry) => ({ type: 'file', ...entry }));
}

function entries(model: Stored) {
  return Object.entries(model.files).map(([path, bytes]) => ({
    path,
    // Git stores a pointer in place of a large file.
    oid: isLarge(model, path, bytes) ? gitSha1(Buffer.from(sha256(bytes))) : gitSha1(bytes),
    size: bytes.length,
    ...(isLarge(model, path, bytes) && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
  }));
}

function refuse(response: ServerResponse, status: number, code: string, headers: object = {}): void {
  response
    .writeHead(status, { ...headers, 'x-error-code': code, 'content-type': 'application/json' })
    .end(JSON.stringify({ error: code }));
}

/** Sends content or the range asked for, with a fault if there is one. */
async function send(
  { method, headers: asked }: IncomingMessage,
  response: ServerResponse,
  bytes: Uint8Array,
  etag: string,
  extra: Readonly<Record<string, string>>,
  fault: HubFault | undefined,
): Promise<void> {
  const range = /^bytes=(\d+)-(\d*)$/.exec(fault?.kind === 'ignore-range' ? '' : (asked.range ?? ''));
  let [from, to] = [0, bytes.length];
  if (range !== null) {
    from = Number(range[1]);
    to = range[2] ? Math.min(Number(range[2]) + 1, bytes.length) : bytes.length;
    if (from >= bytes.length)
      return void response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
  }
  let body = new Uint8Array(bytes.subarray(from, to));
  if (fault?.kind === 'wrong-range') {
    // Even without a header that tells.
    if (from > 0) body = new Uint8Array(bytes.subarray(from - 1, to - 1));
    else to = Math.max(from + 1, to - 1);
  }
  const at = (share: number) => Math.floor(share * body.length);
  if (fault?.kind === 'garbage' && body.length > 0) {
    const index = Math.min(body.length - 1, at(fault.share));
    body[index] = (body[index] as number) ^ 0x55;
  }
  const length = body.length + (fault?.kind === 'wrong-length' ? fault.difference : 0);
  const chunked = fault?.kind === 'short';
  response.writeHead(range === null ? 200 : 206, {
    ...extra,
    etag: `"${fault?.kind === 'wrong-etag' ? gitSha1(Buffer.from(etag)) : etag}"`,
    'accept-ranges': 'bytes',
    ...(range !== null && { 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` }),
    ...(fault?.kind === 'gzip' && { 'content-encoding': 'gzip' }),
    ...(!chunked && { 'content-length': String(Math.max(0, length)) }),
  });
  if (method === 'HEAD') return void response.end();
  if (fault?.kind === 'drop' || fault?.kind === 'short') {
    const part = body.slice(0, at(fault.share));
    if (part.length > 0) await new Promise((resolve) => response.write(part, resolve));
    if (fault.kind === 'drop') response.destroy();
    else response.end();
  } else if (fault?.kind === 'slow') {
    response.write(body.slice(0, at(0.5)));
    await sleep(fault.ms);
    response.end(body.slice(at(0.5)));
  } else if (fault?.kind === 'wrong-length') {
    // Past Node's own check: the socket gets what the header does not announce.
    response.flushHeaders();
    response.socket?.end(body);
  } else response.end(body);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function gitSha1(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
