// `pnpm bench <name> [--quick] [--only PATTERN]`: runs tools/bench/<name>/run.mjs. The packages it compares with are
// no part of the workspace: they are installed from the benchmark's own lockfile, without install scripts, on first
// use.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { npm, repositoryRoot } from './process.mjs';
import { ensureBuilt, setUpOrExit } from './setup.mjs';

const benchmarks = join(repositoryRoot, 'tools/bench');
const names = existsSync(benchmarks)
  ? readdirSync(benchmarks).filter((name) => existsSync(join(benchmarks, name, 'run.mjs')))
  : [];
/** Where the peers of a benchmark stand, if not beside it. */
const peersOf = { decode: 'generation', prefill: 'generation' };
const [name, ...args] = process.argv.slice(2);

if (!names.includes(name)) {
  process.stderr.write(
    `bench: expected the name of a benchmark (${names.join(', ') || 'none here yet'}), got ` +
      `${name ?? 'nothing'}; run pnpm bench <name> [--quick] [--only PATTERN]\n`,
  );
  process.exit(2);
}

await setUpOrExit(async () => {
  await ensureBuilt();
  await installPeers(join(benchmarks, peersOf[name] ?? name));
});
const script = join(benchmarks, name, 'run.mjs');
process.argv = [process.execPath, script, ...args];
await import(pathToFileURL(script).href);

async function installPeers(directory) {
  const lockfile = join(directory, 'package-lock.json');
  if (!existsSync(lockfile)) return;
  const key = createHash('sha256').update(readFileSync(lockfile)).digest('hex');
  const stamp = join(directory, 'node_modules/.minke-setup');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return;
  process.stderr.write(`minke: installing what the ${name} benchmark compares with\n`);
  await npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: directory });
  writeFileSync(stamp, key);
}
