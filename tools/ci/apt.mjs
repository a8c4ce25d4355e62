// System packages that only some checks need, from Debian's own repository, when this is Debian and root.

import { existsSync } from 'node:fs';
import { findOnPath, run, SetupError } from '../scripts/process.mjs';

let listsUpdated = false;

/**
 * Installs what is missing.
 *
 * @param {Record<string, string>} commands the apt package that brings each command or (absolute) file
 * @throws {SetupError} when something is missing and cannot be installed here
 */
export async function ensureCommands(commands) {
  const isMissing = (command) => (command.startsWith('/') ? !existsSync(command) : !findOnPath(command));
  const missing = Object.keys(commands).filter(isMissing);
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((command) => commands[command]))];
  if (process.getuid?.() !== 0 || !findOnPath('apt-get')) {
    throw new SetupError(
      `expected ${missing.join(', ')}, got nothing of that name; install ${packages.join(' ')} ` +
        '(done here only as root on Debian)',
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  console.log(`installing ${packages.join(' ')}`);
  if (!listsUpdated) await run('apt-get', ['update', '-qq'], { env });
  listsUpdated = true;
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env });
  const stillMissing = missing.filter(isMissing);
  if (stillMissing.length > 0)
    throw new SetupError(`apt-get installed ${packages.join(' ')} but not ${stillMissing.join(', ')}`);
}
