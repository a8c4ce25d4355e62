/**
 * Which code ran, for reports: the commit of a checkout, with `-dirty` where files differ from it, or the version of
 * an installed package.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export function codeVersion(): string {
  const manifest = fileURLToPath(new URL('../package.json', import.meta.url));
  const git = (...args: string[]): string =>
    execFileSync('git', args, {
      cwd: dirname(manifest),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    // An installed package may lie inside a repository of someone else, which does not track it.
    git('ls-files', '--error-unmatch', manifest);
    const dirty = git('status', '--porcelain', '--untracked-files=no') !== '';
    return `${git('rev-parse', 'HEAD')}${dirty ? '-dirty' : ''}`;
  } catch {
    const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
    return `minke@${version}`;
  }
}
