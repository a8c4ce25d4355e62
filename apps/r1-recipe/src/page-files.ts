/**
 * The files of the local page, by a fixed list: no path from a request ever reaches the file system.
 */
import { readFile } from 'node:fs/promises';
import { chartStyle, figureStyle } from './report/chart-style.ts';

// From src as from dist, `../page` is beside both; what is shared with the report is built into dist.
/** By request path. */
export const pageFiles: Readonly<
  Record<string, { readonly type: string; readonly read: () => Promise<Uint8Array> }>
> = {
  '/': { type: 'text/html', read: () => readFile(new URL('../page/index.html', import.meta.url)) },
  '/app.js': { type: 'text/javascript', read: () => readFile(new URL('../page/app.js', import.meta.url)) },
  '/chart.js': { type: 'text/javascript', read: () => readFile(new URL('./chart.js', import.meta.url)) },
  '/style.css': { type: 'text/css', read: () => readFile(new URL('../page/style.css', import.meta.url)) },
  '/icon.svg': { type: 'image/svg+xml', read: () => readFile(new URL('../page/icon.svg', import.meta.url)) },
  '/chart.css': { type: 'text/css', read: async () => Buffer.from(`${chartStyle}${figureStyle}`) },
};

/** Sent with every answer. */
export const pageHeaders = {
  'content-security-policy':
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};
