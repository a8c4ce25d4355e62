// Set-up for a machine that has only Node and npm: installs the workspace, compiles the native kernels
// where there is a C++ compiler, and builds the packages the command line needs.
//
// Each phase keeps a stamp (a hash of everything it depends on) in node_modules/.minke-setup.json and is
// skipped when the stamp still fits, so a second run reads a few hundred files, needs no network and starts
// no package manager. Phases print one line each, on stderr; a failing phase prints its whole log. Several
// runs at once are safe: the first does the work, the others wait for it.
//
// pnpm is fetched in its pinned version with npx (package.json, "packageManager"); corepack is not used.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './lock.mjs';
import { nodeModulesDir, pnpm, repositoryRoot, run, SetupError } from './process.mjs';
import { buildKey, compilersOnPath, installKey, nativeKey, workspacePackages } from './stamps.mjs';

const stampFile = join(nodeModulesDir, '.minke-setup.json');
const nativeScript = join(repositoryRoot, 'tools/kernels/build-native.mjs');
const declarationsScript = join(repositoryRoot, 'tools/scripts/declarations.mjs');
const nativeOutput = join(repositoryRoot, 'packages/gpu-backends/build/minke.node');

/** The package whose build `npm start` needs; turbo adds everything it depends on. */
const application = 'minke';

/** Installs the workspace's dependencies if they differ from what the lockfile and manifests ask for. */
export async function ensureInstalled() {
  if (installedUpToDate()) return;
  await underLock(async () => {
    if (installedUpToDate()) return;
    writeStamps({});
    await phase('installed dependencies', () =>
      pnpm(['install', '--frozen-lockfile', '--prefer-offline', '--config.confirmModulesPurge=false']),
    );
    writeStamps({ install: installKey() });
  });
}

/**
 * Compiles the native kernels if they are out of date and a C++ compiler exists; without one, WebAssembly is
 * used. A compiler that fails does not stop the set-up either; it is reported and returned.
 *
 * @returns {Promise<'built' | 'no-compiler' | 'failed' | 'absent'>} 'absent': this checkout has no kernels
 */
export async function ensureNative({ retry = false } = {}) {
  if (!existsSync(nativeScript)) return 'absent';
  await ensureInstalled();
  if (!nativeUpToDate(retry)) await underLock(() => buildNative(retry));
  return reportNative();
}

/**
 * Builds the command line and every workspace package it depends on, and the native kernels.
 * @param whole every package, and the type declarations
 */
export async function ensureBuilt({ whole = false } = {}) {
  await ensureInstalled();
  const nativeDone = !existsSync(nativeScript) || nativeUpToDate(false);
  if (whole || !nativeDone || !builtUpToDate())
    await underLock(() => Promise.all([buildNative(false), buildPackages(whole)]));
  reportNative();
}

/** Runs a script's set-up; a failed set-up prints its log and ends the process with code 1. */
export async function setUpOrExit(setUp) {
  try {
    await setUp();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    if (error.log) process.stderr.write(`${error.log.trimEnd()}\n`);
    note(error.message);
    process.exit(1);
  }
}

async function buildNative(retry) {
  if (!existsSync(nativeScript) || nativeUpToDate(retry)) return;
  const key = nativeKey();
  if (compilersOnPath().length === 0) rmSync(nativeOutput, { force: true }); // it may be of other sources
  try {
    const said = await run(process.execPath, [nativeScript, '--strict']);
    note(said.trim().split('\n').at(-1));
    writeStamps({
      ...readStamps(),
      native: { key, status: existsSync(nativeOutput) ? 'built' : 'no-compiler' },
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    if (retry) process.stderr.write(error.log);
    rmSync(nativeOutput, { force: true });
    writeStamps({ ...readStamps(), native: { key, status: 'failed' } });
  }
}

function reportNative() {
  const status = readStamps().native?.status ?? 'absent';
  if (status === 'failed') {
    note('native kernels did not compile, WebAssembly is used; node tools/kernels/build-native.mjs says why');
  }
  return status;
}

async function buildPackages(whole) {
  if (!whole && builtUpToDate()) return;
  const key = buildKey();
  const build = ['exec', 'turbo', 'run', 'build', '--output-logs=errors-only'];
  await phase('built packages', () => pnpm(whole ? build : [...build, `--filter=${application}...`]));
  if (whole) await phase('declared types', () => run(process.execPath, [declarationsScript]));
  writeStamps({ ...readStamps(), build: key });
}

function installedUpToDate() {
  const hasModules = ({ directory, manifest }) =>
    existsSync(join(directory, 'node_modules')) ||
    Object.keys({ ...manifest.dependencies, ...manifest.devDependencies }).length === 0;
  return readStamps().install === installKey() && workspacePackages().every(hasModules);
}

function nativeUpToDate(retry) {
  const { native } = readStamps();
  if (native?.key !== nativeKey()) return false;
  return native.status === 'built' ? existsSync(nativeOutput) : !(retry && native.status === 'failed');
}

function builtUpToDate() {
  return readStamps().build === buildKey() && applicationOutputs().every((file) => existsSync(file));
}

/** Every file that the application and its workspace dependencies promise in `exports` and `bin`. */
function applicationOutputs() {
  const byName = new Map(workspacePackages().map((entry) => [entry.manifest.name, entry]));
  const outputs = [];
  const visited = new Set();
  const visit = (name) => {
    const entry = byName.get(name);
    if (!entry || visited.has(name)) return;
    visited.add(name);
    const { exports = {}, bin = {}, dependencies = {} } = entry.manifest;
    const files = [...Object.values(exports).map((target) => target.default), ...Object.values(bin)];
    outputs.push(...files.filter(Boolean).map((file) => join(entry.directory, file)));
    Object.keys(dependencies).forEach(visit);
  };
  visit(application);
  return outputs;
}

function readStamps() {
  try {
    return JSON.parse(readFileSync(stampFile, 'utf8'));
  } catch {
    return {}; // no stamps yet, or cut short by a crash: every phase runs again
  }
}

function writeStamps(stamps) {
  mkdirSync(nodeModulesDir, { recursive: true });
  if (Object.keys(stamps).length === 0) rmSync(stampFile, { force: true });
  else writeFileSync(stampFile, `${JSON.stringify(stamps)}\n`);
}

let holdsLock = false;
let announced = false;

async function underLock(work) {
  if (holdsLock) return work();
  if (!announced) note('setting up (the first time takes a minute or two)');
  announced = true;
  mkdirSync(nodeModulesDir, { recursive: true });
  await withLock(join(nodeModulesDir, '.minke-setup.lock'), note, async () => {
    holdsLock = true;
    try {
      await work();
    } finally {
      holdsLock = false;
    }
  });
}

async function phase(title, work) {
  const start = performance.now();
  try {
    await work();
  } catch (error) {
    if (error instanceof SetupError) error.message = `failed: ${title}: ${error.message}`;
    throw error;
  }
  note(`${title} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}

function note(text) {
  process.stderr.write(`minke: ${text}\n`);
}
