/**
 * The page's files, by a fixed list: no path from a request ever reaches the file system.
 */
import { readFile } from 'node:fs/promises';

const types: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
  'app.js': 'text/javascript; charset=utf-8',
  'stream.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};

const security = {
  'content-security-policy':
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

/** The file behind a request path, or undefined. */
export async function pageFile(
  path: string,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; headers: Record<string, string> } | undefined> {
  const name = path === '/' ? 'index.html' : path.slice(1);
  const type = Object.hasOwn(types, name) ? types[name] : undefined;
  if (type === undefined) return undefined;
  // `../page` from src as from dist: the folder is published beside both.
  const bytes = await readFile(new URL(`../page/${name}`, import.meta.url));
  return { bytes: new Uint8Array(bytes), headers: { 'content-type': type, ...security } };
}
