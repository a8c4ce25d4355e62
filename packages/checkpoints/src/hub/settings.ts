/**
 * Where a hub is, who asks and where the cache lies: the environment variables of huggingface_hub, read alike. Node's
 * modules are not imported, for bundlers for browsers would follow them.
 */
import { MinkeError } from '@minke/core';

/** What stands in for the environment; each defaults to it. */
export interface HubSettings {
  /** The hub. Default: `HF_ENDPOINT`, else https://huggingface.co. */
  readonly endpoint?: string;
  /**
   * Sent to the endpoint and to no other host; null sends none. Default: `HF_TOKEN`, else the file that the Python
   * client's login wrote (`HF_TOKEN_PATH`, else `token` in `HF_HOME`).
   */
  readonly token?: string | null;
  /**
   * The cache. Default: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in `XDG_CACHE_HOME/huggingface`, else
   * `~/.cache/huggingface/hub`.
   */
  readonly cache?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The folder that holds the cache of hub files. */
export function hubCache({ cache }: HubSettings = {}, environment: Environment = process.env): string {
  return (
    cache ??
    expand(environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE) ??
    join(home(environment), 'hub')
  );
}

/** The hub's address, without a slash at its end. Throws `invalid-argument` where it is none. */
export function hubEndpoint({ endpoint }: HubSettings = {}, environment: Environment = process.env): string {
  const url = (endpoint ?? (environment.HF_ENDPOINT || 'https://huggingface.co')).replace(/\/+$/, '');
  if (URL.canParse(url) && /^https?:/.test(url)) return url;
  throw new MinkeError(
    'invalid-argument',
    `hub: expected an http(s) address as endpoint (HF_ENDPOINT), got ${JSON.stringify(url.slice(0, 200))}`,
  );
}

/** The token to send, undefined for none. */
export function hubToken(
  { token }: HubSettings = {},
  environment: Environment = process.env,
): string | undefined {
  if (token !== undefined) return clean(token);
  const named = clean(environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN);
  if (named !== undefined || isOn(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return named;
  try {
    return clean(readFileSync(expand(environment.HF_TOKEN_PATH) ?? join(home(environment), 'token'), 'utf8'));
  } catch {
    return undefined; // Nobody is logged in.
  }
}

/** Whether the user forbids requests: `HF_HUB_OFFLINE`. */
export function isOffline(environment: Environment = process.env): boolean {
  return isOn(environment.HF_HUB_OFFLINE || environment.TRANSFORMERS_OFFLINE);
}

function home(environment: Environment): string {
  const caches = expand(environment.XDG_CACHE_HOME) ?? join(homeFolder(), '.cache');
  return expand(environment.HF_HOME) ?? join(caches, 'huggingface');
}

/** A path with `~` for the home folder; undefined for none. */
function expand(path: string | undefined): string | undefined {
  if (path === undefined || path === '') return undefined;
  return /^~(?=$|[/\\])/.test(path) ? join(homeFolder(), path.slice(1)) : path;
}

function homeFolder(): string {
  return process.getBuiltinModule('node:os').homedir();
}

function join(...parts: string[]): string {
  return process.getBuiltinModule('node:path').join(...parts);
}

function isOn(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? '');
}

/** A header's value has no line breaks. */
function clean(token: string | null | undefined): string | undefined {
  const text = token?.replaceAll(/[\r\n]/g, '').trim();
  if (text === undefined || text === '') return undefined;
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new MinkeError('invalid-argument', 'hub: expected a token of visible ASCII characters, got others');
}
